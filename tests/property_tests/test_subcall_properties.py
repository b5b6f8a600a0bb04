"""Whatever cells ask for, in whatever order calls end: one result for each item, none over budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_replm._cache import SubCallCache
from langchain_replm._subcalls import (
    Admission,
    CallOutcome,
    CallRequest,
    Replay,
    SubCallDesk,
)
from langchain_replm.budget import Budget
from langchain_replm.config import RLMConfig
from langchain_replm.types import HostCall
from tests.unit_tests._nodes.by_hand import usage

LONGEST = 6

# Few different prompts, so that equal ones are common; some that are refused.
prompts = st.sampled_from(["a", "b", "c", "bad", "", " ", "x" * LONGEST, "x" * (LONGEST + 1)])
models = st.sampled_from([None, None, None, "zoom", "unknown"])
model_items = st.fixed_dictionaries({"prompt": prompts, "model": models})
child_items = st.fixed_dictionaries(
    {"prompt": prompts, "context": st.sampled_from([None, "t", ["t"]])}
)
tool_items = st.fixed_dictionaries({"args": st.fixed_dictionaries({"n": st.integers(0, 1)})})
batches = (
    st.tuples(st.just("llm_query"), st.lists(model_items, min_size=1, max_size=8))
    | st.tuples(st.just("rlm_query"), st.lists(child_items, min_size=1, max_size=4))
    | st.tuples(st.just("tool"), st.lists(tool_items, min_size=1, max_size=1))
)
# A number picks which running call ends next; None lets the next request in.
steps = st.lists(batches | st.integers(0, 20), max_size=25)


def outcome_of(request: CallRequest) -> CallOutcome:
    """The same for equal requests, and different for others."""
    if request.kind == "tool":
        return CallOutcome(request=request, text=str(dict(request.arguments)["n"]), sub_calls=0)
    if request.prompt == "bad":
        return CallOutcome(request=request, error="RuntimeError: busy")
    text = f"{request.kind} {request.prompt} {request.model} {request.context}"
    return CallOutcome(request=request, text=text, usage={"m": usage(3, 1)})


@dataclass
class Cell:
    """A cell and its calls, with a ledger of what has happened."""

    desk: SubCallDesk
    asked: list[tuple[str, Sequence[dict[str, Any]]]] = field(default_factory=list)
    running: list[CallRequest] = field(default_factory=list)
    started: list[CallRequest] = field(default_factory=list)
    open: dict[int, Admission] = field(default_factory=dict)
    closed: dict[int, HostCall] = field(default_factory=dict)

    def admit(self, kind: str, items: Sequence[dict[str, Any]]) -> None:
        call_id = len(self.asked)
        self.asked.append((kind, items))
        admission = self.desk.admit(call_id, f"{kind}_batch", kind, items)
        assert [request.index for request in admission.start] == sorted(
            {request.index for request in admission.start}
        ), "started in order, none twice"
        self.running += admission.start
        self.started += admission.start
        self.open[call_id] = admission
        self.close_complete(admission.call)

    def settle(self, pick: int) -> None:
        request = self.running.pop(pick % len(self.running))
        (record, *followers), touched = self.desk.settle(outcome_of(request))
        assert all(follower.sub_calls == 0 for follower in followers)
        assert record.sub_calls == (request.kind != "tool")
        assert len({id(call) for call in touched}) == len(touched), "each request is told once"
        for call in touched:
            self.close_complete(call)

    def close_complete(self, call: Any) -> None:
        assert call.missing == call.slots.count(None)
        if call.complete:
            assert call.call_id in self.open, "complete once, and only once"
            del self.open[call.call_id]
            self.closed[call.call_id] = self.desk.close(call)


def play(plan: list[Any], *, cache: bool, most: int, depth: int = 1) -> tuple[Cell, Budget]:
    config = RLMConfig(
        cache_sub_calls=cache,
        max_sub_calls=most,
        max_recursion_depth=depth,
        sub_call_max_input_chars=LONGEST,
    )
    budget = Budget(config)
    desk = SubCallDesk(
        config=config, budget=budget, cache=SubCallCache(), depth=0, models={"zoom": None}
    )
    cell = Cell(desk)
    for step in plan:
        if not isinstance(step, int):
            cell.admit(*step)
        elif cell.running:
            cell.settle(step)
        assert desk.waiting == bool(cell.open)
    while cell.running:
        cell.settle(0)
    return cell, budget


plans = {
    "plan": steps,
    "cache": st.booleans(),
    "most": st.integers(0, 12),
    "depth": st.sampled_from([1, 2]),
}


@given(**plans)
@settings(max_examples=300)
def test_every_item_gets_one_result_in_its_place(
    plan: list[Any], cache: bool, most: int, depth: int
) -> None:
    cell, _ = play(plan, cache=cache, most=most, depth=depth)
    assert cell.open == {}, "nobody waits for ever"
    assert not cell.desk.waiting
    assert sorted(cell.closed) == list(range(len(cell.asked)))
    for call_id, (kind, items) in enumerate(cell.asked):
        records = cell.closed[call_id].items
        assert len(records) == len(items)
        for item, record in zip(items, records, strict=True):
            assert record.kind == kind
            if kind == "tool":
                assert record.response == str(item["args"]["n"])
            elif record.status == "ok":
                # The reply of exactly this prompt, not of its neighbour.
                assert f" {item['prompt']}" in record.response
                assert item["prompt"].strip()
                assert len(item["prompt"]) <= LONGEST


@given(**plans)
@settings(max_examples=300)
def test_no_call_is_made_that_the_budget_does_not_allow(
    plan: list[Any], cache: bool, most: int, depth: int
) -> None:
    cell, budget = play(plan, cache=cache, most=most, depth=depth)
    paid = [request for request in cell.started if request.kind != "tool"]
    assert len(paid) == budget.sub_calls <= most
    items = [item for call in cell.closed.values() for item in call.items]
    assert sum(item.sub_calls for item in items) == len(paid), "each paid call is charged once"
    tokens = sum(usage["total_tokens"] for item in items for usage in item.usage.values())
    successes = [request for request in paid if request.prompt != "bad"]
    assert tokens == 4 * len(successes), "and its tokens are counted once"
    no_room = [item for item in items if item.error and item.error.startswith("no sub-calls")]
    assert (budget.limit_met() is not None) == bool(no_room)
    if no_room:
        assert budget.sub_calls == most, "refused only when nothing was left"


@given(**plans)
@settings(max_examples=300)
def test_equal_calls_are_made_once_where_replies_are_kept(
    plan: list[Any], cache: bool, most: int, depth: int
) -> None:
    cell, _ = play(plan, cache=cache, most=most, depth=depth)
    seen: set[Any] = set()
    for request in cell.started:
        key = (request.kind, request.prompt, request.model, str(request.context))
        if cache and request.kind != "tool" and request.prompt != "bad":
            assert key not in seen
        seen.add(key)
    items = [item for call in cell.closed.values() for item in call.items]
    if not cache:
        assert not any(item.cached for item in items)
    for item in items:
        if item.cached:
            assert (item.status, item.sub_calls, item.usage) == ("ok", 0, {})


@given(**plans)
@settings(max_examples=200)
def test_a_replay_gives_every_request_what_it_got_before(
    plan: list[Any], cache: bool, most: int, depth: int
) -> None:
    cell, _ = play(plan, cache=cache, most=most, depth=depth)
    replay = Replay(tuple(call for _, call in sorted(cell.closed.items())))
    for call_id, (kind, items) in enumerate(cell.asked):
        results = replay.results(kind, [dict(item) for item in items])
        assert len(results) == len(items)
        for result, record in zip(results, cell.closed[call_id].items, strict=True):
            if record.status != "ok":
                kind_of_error = "refused" if record.status == "refused" else "error"
                assert result == {kind_of_error: record.error}
            elif kind == "tool":
                assert str(result["value"]) == record.response
            else:
                assert result == {"value": record.response}


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), max_size=60), st.integers(1, 4)
)
def test_the_cache_is_a_least_recently_used_one(uses: list[tuple[str, bool]], most: int) -> None:
    from langchain_replm.types import SubCall

    cache = SubCallCache(max_entries=most)
    model: dict[str, SubCall] = {}  # in order of use, the oldest first
    for number, (key, is_put) in enumerate(uses):
        if is_put:
            model.pop(key, None)
            model[key] = SubCall(kind="llm_query", prompt=key, prompt_chars=number, status="ok")
            cache.put(key, model[key])
            if len(model) > most:
                del model[next(iter(model))]
        else:
            assert cache.get(key) == model.get(key)
            if key in model:
                model[key] = model.pop(key)
