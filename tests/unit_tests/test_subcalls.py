"""The desk: what is admitted, what is settled, what is remembered. No call is made here either."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from langchain_replm._cache import SubCallCache
from langchain_replm._subcalls import (
    Admission,
    CallOutcome,
    CallRequest,
    Replay,
    SubCallDesk,
    request_key,
    wire_results,
)
from langchain_replm.budget import Budget
from langchain_replm.config import RLMConfig
from langchain_replm.types import PROMPT_RECORD_CHARS, HostCall, Iteration, SubCall
from tests.unit_tests._nodes.by_hand import usage


def desk_for(
    *, cache: SubCallCache | None = None, depth: int = 0, models: Any = (), **config: Any
) -> SubCallDesk:
    settings = RLMConfig(**config)
    return SubCallDesk(
        config=settings,
        budget=Budget(settings),
        cache=cache or SubCallCache(),
        depth=depth,
        models=models,
    )


def admit(
    desk: SubCallDesk, *prompts: str, call_id: int = 1, model: str | None = None
) -> Admission:
    items = [{"prompt": prompt, "model": model} for prompt in prompts]
    return desk.admit(call_id, "llm_query_batch", "llm_query", items)


def said(request: CallRequest, text: str = "pong", **fields: Any) -> CallOutcome:
    return CallOutcome(request=request, text=text, model="m", usage={"m": usage(5, 1)}, **fields)


def reply(text: str, **fields: Any) -> SubCall:
    return SubCall(
        kind="llm_query", prompt="p", prompt_chars=1, status="ok", response=text, **fields
    )


# -- admission and settlement ----------------------------------------------------------------------


def test_a_desk_waits_from_admission_until_the_call_is_closed() -> None:
    desk = desk_for()
    assert not desk.waiting
    admission = admit(desk, "a", "b")
    assert desk.waiting
    assert not admission.call.complete
    for request in admission.start:
        (record,), touched = desk.settle(said(request))
        assert record.status == "ok"
        assert touched == [admission.call]
    assert admission.call.complete
    assert desk.waiting, "the reply has not been sent yet"
    closed = desk.close(admission.call)
    assert not desk.waiting
    assert closed.function == "llm_query_batch"
    assert [item.prompt for item in closed.items] == ["a", "b"]


def test_the_record_keeps_the_start_of_a_long_prompt_and_its_length() -> None:
    desk = desk_for()
    prompt = "x" * (PROMPT_RECORD_CHARS + 1)
    [request] = admit(desk, prompt).start
    assert request.prompt == prompt, "the model gets all of it"
    (record,), _ = desk.settle(said(request))
    assert (record.prompt, record.prompt_chars) == ("x" * PROMPT_RECORD_CHARS, len(prompt))


def test_the_longest_allowed_prompt_is_allowed() -> None:
    desk = desk_for(sub_call_max_input_chars=10)
    assert len(admit(desk, "x" * 10, "x" * 11).start) == 1


def test_a_reply_with_lone_surrogates_can_be_stored() -> None:
    desk = desk_for()
    [request] = admit(desk, "p").start
    (record,), _ = desk.settle(said(request, "a \ud83d b"))
    assert record.response == "a ? b"
    assert json.loads(record.model_dump_json())["response"] == "a ? b"


def test_a_failed_call_is_charged_and_keeps_the_model_that_was_asked_for() -> None:
    desk = desk_for(models={"zoom": None})
    [request] = admit(desk, "p", model="zoom").start
    (record,), _ = desk.settle(CallOutcome(request=request, error="RuntimeError: busy", model=None))
    assert (record.status, record.error, record.sub_calls) == ("failed", "RuntimeError: busy", 1)


def test_the_budget_refuses_the_end_of_a_batch_and_says_what_was_used() -> None:
    desk = desk_for(max_sub_calls=2)
    admission = admit(desk, "a", "b", "c")
    assert [request.prompt for request in admission.start] == ["a", "b"]
    refused = admission.call.slots[2]
    assert refused is not None
    assert (refused.status, refused.sub_calls) == ("refused", 0)
    assert "2 of 2 used" in (refused.error or "")


def test_followers_of_a_call_without_room_are_refused_with_it() -> None:
    desk = desk_for(max_sub_calls=1, cache_sub_calls=True)
    admission = admit(desk, "a", "b", "b", "a")
    assert [request.prompt for request in admission.start] == ["a"]
    statuses = [slot and slot.status for slot in admission.call.slots]
    assert statuses == [None, "refused", "refused", None]
    desk.settle(said(admission.start[0]))
    assert admission.call.complete
    assert [slot.cached for slot in admission.call.slots if slot] == [False, False, False, True]


def test_a_refusal_for_lack_of_room_is_not_remembered() -> None:
    cache = SubCallCache()
    poor = desk_for(max_sub_calls=0, cache_sub_calls=True, cache=cache)
    assert admit(poor, "p").start == []
    assert len(admit(desk_for(cache_sub_calls=True, cache=cache), "p").start) == 1


def test_cached_replies_cost_nothing_even_without_any_budget() -> None:
    cache = SubCallCache()
    rich = desk_for(cache_sub_calls=True, cache=cache)
    rich.settle(said(admit(rich, "p").start[0]))
    poor = desk_for(max_sub_calls=0, cache_sub_calls=True, cache=cache)
    admission = admit(poor, "p")
    assert admission.start == []
    assert admission.call.complete
    assert admission.call.slots[0] is not None
    assert admission.call.slots[0].cached


def test_calls_that_differ_in_model_or_context_are_not_identical() -> None:
    desk = desk_for(cache_sub_calls=True, max_recursion_depth=2, models={"zoom": None})
    assert len(admit(desk, "p").start) == 1
    assert len(admit(desk, "p", call_id=2, model="zoom").start) == 1
    for call_id, context in enumerate([None, "a", "b", ["a"]], start=3):
        items = [{"prompt": "p", "context": context}]
        assert len(desk.admit(call_id, "rlm_query", "rlm_query", items).start) == 1, context


def test_equal_tool_calls_are_all_made() -> None:
    # A tool may do something; only models are asked for the same thing twice in vain.
    desk = desk_for(cache_sub_calls=True, max_sub_calls=0)
    for call_id in (1, 2):
        admission = desk.admit(call_id, "add", "tool", [{"args": {"n": 1}}])
        assert [request.prompt for request in admission.start] == ["add"]
        desk.settle(CallOutcome(request=admission.start[0], text="2", sub_calls=0))


def test_the_hit_of_a_child_run_does_not_count_the_child_again() -> None:
    desk = desk_for(cache_sub_calls=True, max_recursion_depth=2)
    items = [{"prompt": "q", "context": "text"}] * 2
    admission = desk.admit(1, "rlm_query_batch", "rlm_query", items)
    [request] = admission.start
    child = (Iteration(number=1, reply="r", usage=usage(5, 1)),)
    desk.settle(said(request, sub_calls=4, child=child))
    leader, follower = (slot for slot in admission.call.slots if slot)
    assert (leader.sub_calls, leader.child, leader.cached) == (4, child, False)
    assert (follower.sub_calls, follower.child, follower.usage) == (0, (), {})
    assert (follower.cached, follower.response, follower.elapsed_seconds) == (True, "pong", 0.0)


def test_a_context_of_texts_reaches_a_plain_model_as_one_fenced_prompt() -> None:
    desk = desk_for()
    items = [{"prompt": "q", "context": ["eins", "zwei"]}, {"prompt": "alone", "context": None}]
    first, second = desk.admit(1, "rlm_query_batch", "rlm_query", items).start
    assert '["eins", "zwei"]' in first.prompt
    assert (first.context, second.prompt) == (None, "alone")


# -- cache -----------------------------------------------------------------------------------------


def test_the_least_recently_used_reply_goes_first() -> None:
    cache = SubCallCache(max_entries=2)
    cache.put("a", reply("1"))
    cache.put("b", reply("2"))
    assert cache.get("a") == reply("1")
    cache.put("c", reply("3"))
    assert cache.get("b") is None
    assert cache.get("a") == reply("1")
    assert cache.get("c") == reply("3")


def test_a_reply_that_is_put_again_is_used_again_and_takes_no_second_place() -> None:
    cache = SubCallCache(max_entries=2)
    cache.put("a", reply("1"))
    cache.put("b", reply("2"))
    cache.put("a", reply("new"))
    assert (cache.get("a"), cache.get("b")) == (reply("new"), reply("2"))
    cache.put("a", reply("newer"))
    cache.put("c", reply("3"))
    assert [cache.get(key) for key in "abc"] == [reply("newer"), None, reply("3")]


def test_a_miss_leaves_no_trace() -> None:
    cache = SubCallCache(max_entries=1)
    cache.put("a", reply("1"))
    assert cache.get("b") is None
    assert cache.get("a") == reply("1")


def test_threads_share_a_cache_that_never_grows_beyond_its_size() -> None:
    cache = SubCallCache(max_entries=10)

    def use(start: int) -> None:
        for number in range(start, start + 200):
            cache.put(str(number), reply(str(number)))
            cache.get(str(number - 1))

    threads = [threading.Thread(target=use, args=(100 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(cache.get(str(number)) is not None for number in range(600)) == 10


# -- replay ----------------------------------------------------------------------------------------


def item(prompt: str) -> dict[str, Any]:
    return {"prompt": prompt, "model": None}


def host_call(*replies: str, of: list[dict[str, Any]], kind: str = "llm_query") -> HostCall:
    items = tuple(reply(text, model="m") for text in replies)
    return HostCall(function="f", request_sha256=request_key(kind, of), items=items)


def test_the_nth_equal_request_gets_the_nth_record() -> None:
    replay = Replay(
        (
            host_call("1", of=[item("p")]),
            host_call("other", of=[item("q")]),
            host_call("2", of=[item("p")]),
        )
    )
    assert replay.results("llm_query", [item("p")]) == [{"value": "1"}]
    assert replay.results("llm_query", [item("p")]) == [{"value": "2"}]
    assert replay.results("llm_query", [item("q")]) == [{"value": "other"}]
    assert "error" in replay.results("llm_query", [item("p")])[0]


def test_a_request_without_a_record_gets_one_error_for_each_item() -> None:
    replay = Replay((host_call("1", of=[item("p")]),))
    results = replay.results("rlm_query", [item("p"), item("q")])
    assert [result.keys() for result in results] == [{"error"}, {"error"}]


def test_the_wire_gets_values_and_errors_that_are_no_values() -> None:
    records = (
        reply("plain text, even if it looks like JSON: [1]"),
        reply("").model_copy(update={"status": "failed", "error": "RuntimeError: busy"}),
        reply("").model_copy(update={"status": "refused"}),
        reply('{"a": [1, null]}').model_copy(update={"kind": "tool"}),
    )
    results = wire_results(HostCall(function="f", request_sha256="", items=records))
    assert results == [
        {"value": "plain text, even if it looks like JSON: [1]"},
        {"error": "RuntimeError: busy"},
        {"refused": "the call failed"},
        {"value": {"a": [1, None]}},
    ]


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (("k", [{"a": 1, "b": 2}]), ("k", [{"b": 2, "a": 1}]), True),
        (("k", [{"a": 1}]), ("l", [{"a": 1}]), False),
        (("k", [1, 2]), ("k", [2, 1]), False),
        (("k", ["1"]), ("k", [1]), False),
        (("k", ["ü"]), ("k", ["u\u0308"]), False),
    ],
)
def test_equal_requests_have_equal_keys(one: Any, other: Any, equal: bool) -> None:
    assert (request_key(*one) == request_key(*other)) is equal
