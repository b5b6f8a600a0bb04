"""The record of a run: sums that count once, a history in order, values that do not change."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from langchain_replm._channels import record_steps
from langchain_replm.errors import RLMError
from langchain_replm.state import Turn, make_response, read_trajectory, read_turn
from langchain_replm.types import (
    Answer,
    Cell,
    HostCall,
    Iteration,
    RLMResponse,
    SubCall,
    add_usage_by_model,
    encodable,
    ended_seconds,
    total,
)
from tests.unit_tests._nodes.by_hand import usage


def item(**fields: Any) -> SubCall:
    given = {"kind": "llm_query", "prompt": "p", "prompt_chars": 1, "status": "ok", **fields}
    return SubCall(**given)


def host_call(*items: SubCall) -> HostCall:
    return HostCall(function="llm_query", request_sha256="0", items=items)


def step(number: int, *calls: HostCall, **fields: Any) -> Iteration:
    cells = (Cell(code="c", status="ok", host_calls=calls),) if calls else ()
    return Iteration(**{"number": number, "reply": "r", "cells": cells, **fields})


# -- sums ------------------------------------------------------------------------------------------

GRANDCHILD = (step(1, model="sub", usage=usage(1, 1)),)
CHILD = (
    step(
        1,
        host_call(
            item(sub_calls=1, usage={"sub": usage(10, 1)}),
            item(cached=True),
            item(kind="rlm_query", sub_calls=1, usage={"sub": usage(1, 1)}, child=GRANDCHILD),
        ),
        model="sub",
        usage=usage(100, 10),
    ),
)
# What the desk records for a child: its own one and all of the child's.
CHILD_ITEM = item(kind="rlm_query", sub_calls=1 + 2, usage={"sub": usage(111, 12)}, child=CHILD)
TREE = [
    step(
        1, host_call(CHILD_ITEM), host_call(item(cached=True)), model="root", usage=usage(1_000, 50)
    ),
    Iteration(number=2, error="RuntimeError: busy"),
    step(3, host_call(item(sub_calls=1, usage={"other": usage(5, 5)}), item(status="refused"))),
    step(4, host_call(item(kind="tool", sub_calls=0)), model="root", usage=usage(2_000, 60)),
    step(5, closing=True, model="root", usage=usage(3_000, 70)),
]


def test_everything_in_a_tree_is_counted_once() -> None:
    totals = total(TREE)
    assert totals.sub_calls == 4
    assert totals.cache_hits == 2, "one above, one in the child"
    assert totals.usage_by_model == {
        "root": usage(6_000, 180), "sub": usage(111, 12), "other": usage(5, 5),
    }  # fmt: skip


def test_the_sums_of_a_child_are_those_that_its_caller_records() -> None:
    totals = total(CHILD)
    assert CHILD_ITEM.sub_calls == 1 + totals.sub_calls
    assert CHILD_ITEM.usage == totals.usage_by_model
    assert totals.cache_hits == 1


def test_the_closing_reply_is_no_iteration_but_a_failed_call_is() -> None:
    assert total(TREE).iterations == 4
    assert total([]).iterations == 0


def test_a_model_without_a_name_is_counted_too() -> None:
    assert total([step(1, usage=usage(3, 1))]).usage_by_model == {"unknown": usage(3, 1)}


def test_cached_and_reasoning_tokens_are_summed() -> None:
    told = {"input_token_details": {"cache_read": 3}, "output_token_details": {"reasoning": 2}}
    ledger: dict[str, Any] = {}
    add_usage_by_model(ledger, {"m": usage(5, 4, **told)})
    add_usage_by_model(ledger, {"m": usage(5, 4, **told)})
    assert ledger["m"]["input_token_details"] == {"cache_read": 6}
    assert ledger["m"]["output_token_details"] == {"reasoning": 4}
    assert ledger["m"]["total_tokens"] == 18


def test_summing_changes_no_record() -> None:
    before = [one.model_dump_json() for one in TREE]
    assert total(TREE) == total(TREE)
    assert [one.model_dump_json() for one in TREE] == before


# -- response --------------------------------------------------------------------------------------


def state(trajectory: list[Iteration], **fields: Any) -> dict[str, Any]:
    steps = [one.model_dump() for one in trajectory]
    return {"trajectory": steps, "answer": "two", "stop_reason": "answered", **fields}


def test_a_response_is_made_of_the_state() -> None:
    response = make_response(state(TREE, variables={"n": "int: 2"}, elapsed_seconds=1.5))
    assert (response.answer, response.stop_reason) == ("two", "answered")
    assert (response.iterations, response.sub_calls, response.cache_hits) == (4, 4, 2)
    assert (response.total_input_tokens, response.total_output_tokens) == (6_116, 197)
    assert (response.repl_variables, response.elapsed_seconds) == ({"n": "int: 2"}, 1.5)
    assert response.trajectory == tuple(TREE)
    assert response.cost is None, "unknown is not zero"


def test_the_cost_is_the_sum_over_all_calls_of_the_tree() -> None:
    child = (step(1, model="mini", usage=usage(4, 1), cost_usd=0.25),)
    calls = host_call(
        item(sub_calls=1, usage={"m": usage(3, 1)}, cost_usd=0.5),
        item(sub_calls=2, usage={"mini": usage(4, 1)}, child=child, cost_usd=0.25),
        item(status="failed", error="RuntimeError: busy", sub_calls=1),
        item(status="refused", error="no sub-calls are left"),
        item(cached=True),
        SubCall(kind="tool", prompt="{}", prompt_chars=2, status="ok", response="1"),
    )
    cell = Cell(code="a", status="ok", host_calls=(calls,))
    first = step(1, usage=usage(5, 2), cost_usd=1.0).model_copy(update={"cells": (cell,)})
    tree = [first, Iteration(number=2, error="RuntimeError: gone")]
    response = make_response(state(tree))
    assert (response.cost, response.unpriced_models, response.tool_calls) == (1.75, (), 1)


@pytest.mark.parametrize(
    "unpriced",
    [
        step(1, model="dear", usage=usage(5, 2)),
        step(1, model="dear"),  # the provider told no tokens
        step(1, cost_usd=0.0).model_copy(
            update={"cells": (Cell(code="a", status="ok", host_calls=(
                host_call(item(sub_calls=1, model="dear", usage={"dear": usage(1, 1)})),
            )),)}
        ),
    ],
)  # fmt: skip
def test_a_cost_that_is_unknown_in_part_is_unknown_and_says_which_models(
    unpriced: Iteration,
) -> None:
    priced = step(2, model="m", usage=usage(5, 2), cost_usd=1.0)
    response = make_response(state([unpriced, priced]))
    assert (response.cost, response.unpriced_models) == (None, ("dear",))


def test_a_run_without_an_answer_has_an_empty_one() -> None:
    response = make_response(state([], answer=None, stop_reason="errors"))
    assert (response.answer, response.stop_reason, response.history) == ("", "errors", [])


def test_the_history_is_in_order_and_ends_with_the_final_turn() -> None:
    first = Cell(
        code="a",
        status="ok",
        output_head="head",
        output_tail="tail",
        output_chars=1_008,
        host_calls=(
            host_call(
                item(response="one"),
                item(status="failed", error="RuntimeError: busy"),
                item(status="refused", error="no sub-calls are left"),
            ),
        ),
    )
    second = Cell(code="b", status="error", output_head="x", output_chars=1, error="NameError")
    trajectory = (
        Iteration(number=1, reply="look", cells=(first, second), observation="seen"),
        Iteration(number=2, error="RuntimeError: gone"),
        Iteration(number=3, reply="FINAL(two herons)"),
    )
    response = make_response(state(list(trajectory)))
    assert [(entry.role, entry.iteration, entry.content) for entry in response.history] == [
        ("root", 1, "look"),
        ("sub_call", 1, "one"),
        ("sub_call", 1, "RuntimeError: busy"),
        ("sub_call", 1, "no sub-calls are left"),
        ("repl_output", 1, "head\n[... 1,000 characters left out ...]\ntail\nxNameError"),
        ("root", 2, "RuntimeError: gone"),
        ("root", 3, "FINAL(two herons)"),
    ]
    assert response.history[4].truncated_content == "seen"


def test_the_output_of_a_cell_marks_what_is_missing() -> None:
    whole = Cell(code="", status="ok", output_head="ab", output_tail="cd", output_chars=4)
    assert whole.output == "abcd"
    cut = whole.model_copy(update={"output_chars": 5})
    assert cut.output == "ab\n[... 1 characters left out ...]\ncd"


# -- values ----------------------------------------------------------------------------------------


def test_the_trajectory_survives_json() -> None:
    for one in TREE:
        assert Iteration.model_validate_json(one.model_dump_json()) == one
        assert Iteration.model_validate(json.loads(json.dumps(one.model_dump()))) == one


def test_a_response_is_json_data_and_json_text_alike() -> None:
    response = make_response(state(TREE))
    data = response.to_dict()
    assert json.loads(json.dumps(data)) == data
    assert json.loads(response.to_json()) == data
    assert data["history"][0] == {
        "role": "root", "content": "r", "truncated_content": "r", "iteration": 1,
    }  # fmt: skip
    assert data["trajectory"][0]["cells"][0]["host_calls"][0]["items"][0]["child"]


@pytest.mark.parametrize(
    ("record", "name"),
    [
        (RLMResponse(answer="", stop_reason="errors", iterations=0, sub_calls=0,
                     total_input_tokens=0, total_output_tokens=0), "answer"),
        (step(1), "reply"),
        (Cell(code="", status="ok"), "code"),
        (item(), "response"),
        (host_call(), "items"),
        (Answer(text=""), "text"),
        (Turn(number=1), "number"),
        (total([]), "sub_calls"),
    ],
)  # fmt: skip
def test_a_record_does_not_change(record: Any, name: str) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        setattr(record, name, "other")


def test_a_record_takes_no_unknown_field() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        Cell(code="", status="ok", stauts="ok")


def test_records_do_not_share_their_defaults() -> None:
    first, second = item(), item()
    first.usage["m"] = usage(1, 1)
    assert second.usage == {}


@pytest.mark.parametrize(
    ("text", "sent"),
    [("plain", "plain"), ("für 鷺 🪿", "für 鷺 🪿"), ("a\ud83d", "a?"), ("\udcff\udcfe", "??")],
)
def test_any_text_can_be_sent(text: str, sent: str) -> None:
    assert encodable(text) == sent
    assert encodable(text).encode()


# -- state -----------------------------------------------------------------------------------------


def test_a_damaged_state_is_named() -> None:
    with pytest.raises(RLMError, match="'trajectory' is damaged"):
        read_trajectory({"trajectory": [{"number": "x"}]})
    with pytest.raises(RLMError, match="'turn' is damaged"):
        read_turn({"turn": None})
    with pytest.raises(RLMError, match="'turn'"):
        read_turn({})


def test_a_new_run_on_a_thread_starts_without_the_old_trajectory() -> None:
    assert read_trajectory({}) == read_trajectory({"trajectory": None}) == []
    one, two, edited = {"number": 1}, {"number": 2}, {"number": 1, "reply": "edited"}
    assert record_steps([one], [[two]]) == [one, two]
    assert record_steps([one], [None]) == []
    assert record_steps([one], [None, [two], []]) == [two]
    assert record_steps([one, two], [[edited]]) == [edited, two]
    writes: list[Any] = [[one], None, [one], [two], [edited]]
    for cut in range(len(writes)):
        apart = record_steps(record_steps([], writes[:cut]), writes[cut:])
        assert apart == record_steps([], writes), "however the writes are folded"
    for damaged in ("text", {"number": 1}, ["text"], 3):
        with pytest.raises(RLMError, match="no list of iterations"):
            record_steps([one], [damaged])


def test_the_end_of_a_trajectory_is_the_end_of_its_last_part() -> None:
    cell = Cell(code="x", status="ok", started_seconds=3.0, elapsed_seconds=0.5, total_seconds=4.0)
    steps = [
        Iteration(number=1, started_seconds=0.0, elapsed_seconds=3.0, cells=(cell,)),
        Iteration(number=2, started_seconds=6.5, elapsed_seconds=0.25, error="gone"),
    ]
    assert (ended_seconds(steps), ended_seconds([])) == (7.0, 0.0)
