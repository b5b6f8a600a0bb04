"""`sandbox_exec`, by hand: a real session, a worker played by the test, calls that end when it says.

The node is asked for nothing but effects, so every order of events can be written down: what a
thread, a clock or a dying process would bring about once in a thousand runs is one test here.
"""

from __future__ import annotations

from typing import Any

import pytest

from langchain_replm._effects import AwaitCalls, Datum, Exchange, Interrupt, Restart, StartCalls
from langchain_replm._nodes._service import INTERRUPT_GRACE_SECONDS
from langchain_replm._nodes.sandbox_exec import _name
from langchain_replm._subcalls import CallOutcome
from langchain_replm.errors import SandboxError
from langchain_replm.sandbox._wire import WireLimits
from langchain_replm.state import FinalText
from langchain_replm.types import Answer, Cell, SubCall
from tests.unit_tests._nodes.by_hand import (
    Played,
    call,
    done,
    handle_of,
    idle_session,
    said,
    scope_for,
    worked,
)

GARBAGE = b"\0\0\0\1X?"


def values(results: list[dict[str, Any]]) -> list[Any]:
    return [item.get("value", item) for item in results]


# -- cells -----------------------------------------------------------------------------------------


def test_one_cell_is_executed_and_recorded() -> None:
    node = Played(scope_for(), "x = 1\nprint(x)")
    assert node.sent() == [{"type": "execute", "id": "1.1", "code": "x = 1\nprint(x)"}]
    assert node.exchange().timeout_seconds == 120.0
    node.work(
        done("1.1", output_head="1\n", output_tail="t", output_chars=9, changed={"x": "int: 1"},
             removed=["y"]),
        seconds=0.25,
    )  # fmt: skip
    assert node.cells == (
        Cell(
            code="x = 1\nprint(x)",
            status="ok",
            output_head="1\n",
            output_tail="t",
            output_chars=9,
            changed={"x": "int: 1"},
            removed=("y",),
            elapsed_seconds=0.25,
            total_seconds=0.25,
        ),
    )
    assert (node.turn.answer, node.turn.restarted) == (None, None)
    assert node.kinds() == ["code_generated", "cell_start", "cell_end"]
    assert (node.events[1].detail["cell"], node.events[2].detail["output"][:2]) == (1, "1\n")
    assert node.events[0].detail == {"text": "reply", "cells": ["x = 1\nprint(x)"]}


def test_the_frames_of_a_worker_may_come_in_pieces() -> None:
    node = Played(scope_for(), "x = 1")
    data = worked(done("1.1")).exchanged.data
    for start in range(0, len(data), 7):
        assert isinstance(node.effect, Exchange)
        node.go(worked(data[start : start + 7], seconds=0.01))
    assert node.cells[0].status == "ok"


def test_cells_run_one_after_the_other() -> None:
    node = Played(scope_for(), "a = 1", "b = 2")
    assert [frame["id"] for frame in node.sent()] == ["1.1"]
    node.work(done("1.1"))
    assert [frame["id"] for frame in node.sent()] == ["1.2"]
    node.work(done("1.2"))
    assert [cell.status for cell in node.cells] == ["ok", "ok"]


def test_a_failing_cell_skips_the_rest() -> None:
    node = Played(scope_for(), "1 / 0", "b = 2", "c = 3")
    node.work(done("1.1", status="error", error="ZeroDivisionError", changed={"kept": "int"}))
    assert [(cell.code, cell.status) for cell in node.cells] == [
        ("1 / 0", "error"), ("b = 2", "skipped"), ("c = 3", "skipped"),
    ]  # fmt: skip
    assert (node.cells[0].error, node.cells[0].changed) == ("ZeroDivisionError", {"kept": "int"})


def test_an_answer_from_a_cell_ends_the_turn() -> None:
    node = Played(scope_for(), "FINAL([1])", "b = 2")
    node.work(done("1.1", answer={"text": "[1]", "json": True}))
    assert node.turn.answer == "[1]"
    assert node.cells[0].answer == Answer(text="[1]", is_json=True)
    assert node.cells[1].status == "skipped"


def test_an_empty_answer_is_an_answer() -> None:
    node = Played(scope_for(), "FINAL('')")
    node.work(done("1.1", answer={"text": "", "json": False}))
    assert node.turn.answer == ""


# -- calls -----------------------------------------------------------------------------------------


def test_a_call_is_started_and_its_reply_goes_back() -> None:
    node = Played(scope_for(), "r = llm_query('p')")
    node.work(call(1, "p"))
    [request] = node.started()
    assert (request.kind, request.prompt, request.model) == ("llm_query", "p", None)
    assert node.sent() == [], "the cell waits, there is nothing to say to it"
    node.ended(said(request, "pong", elapsed_seconds=2.0))
    assert node.sent() == [{"type": "reply", "id": 1, "results": [{"value": "pong"}]}]
    node.work(done("1.1"))
    [item] = node.cells[0].host_calls[0].items
    assert item == SubCall(
        kind="llm_query",
        prompt="p",
        prompt_chars=1,
        status="ok",
        response="pong",
        model="sub",
        sub_calls=1,
        usage={"sub": {"input_tokens": 10, "output_tokens": 2, "total_tokens": 12}},
        elapsed_seconds=2.0,
    )
    assert node.kinds() == [
        "code_generated", "cell_start", "sub_call_start", "sub_call_end", "cell_end",
    ]  # fmt: skip
    assert node.events[2].detail == {"kind": "llm_query", "prompt_chars": 1, "call_count": 1}


def test_a_batch_is_answered_when_its_last_item_is() -> None:
    node = Played(scope_for(), "r = llm_query_batch(['a', 'bad', 'c'])")
    node.work(call(1, "a", "bad", "c"))
    first, second, third = node.started()
    node.ended(said(third))
    assert node.sent() == []
    node.ended(CallOutcome(request=second, error="RuntimeError: overloaded"))
    assert node.sent() == []
    node.ended(said(first))
    assert node.sent() == [
        {
            "type": "reply",
            "id": 1,
            "results": [
                {"value": "re: a"}, {"error": "RuntimeError: overloaded"}, {"value": "re: c"},
            ],
        }
    ]  # fmt: skip
    node.work(done("1.1"))
    items = node.cells[0].host_calls[0].items
    assert [item.status for item in items] == ["ok", "failed", "ok"]
    assert [item.sub_calls for item in items] == [1, 1, 1], "a failed call was made"


def test_calls_of_two_threads_are_served_in_the_order_in_which_they_end() -> None:
    node = Played(scope_for(), "two threads")
    node.work(call(1, "slow"))
    [slow] = node.started()
    node.work(call(2, "quick"))
    [quick] = node.started()
    node.ended(said(quick))
    assert [frame["id"] for frame in node.sent()] == [2], "the first call is still running"
    assert node.exchange().timeout_seconds is None
    node.work(call(3, "another"), outcomes=[said(slow)])
    [another] = node.started()
    assert [frame["id"] for frame in node.sent()] == [1]
    node.ended(said(another))
    node.work(done("1.1"))
    prompts = [host_call.items[0].prompt for host_call in node.cells[0].host_calls]
    assert prompts == ["slow", "quick", "another"], "the record is in the order of asking"


def test_requests_that_come_together_are_all_started_before_any_waiting() -> None:
    node = Played(scope_for(), "many threads")
    node.work(call(1, "a"), call(2, "b", "c"))
    started = node.started() + node.started()
    assert [request.prompt for request in started] == ["a", "b", "c"]
    node.ended(*(said(request) for request in reversed(started)))
    assert sorted(frame["id"] for frame in node.sent()) == [1, 2]


def test_a_tool_gets_arguments_and_gives_json() -> None:
    node = Played(scope_for(), "add(1)")
    asks = {
        "type": "call",
        "id": 1,
        "function": "add",
        "kind": "tool",
        "items": [{"args": {"n": 1}}],
    }
    node.work(asks)
    [request] = node.started()
    assert (request.kind, request.prompt, request.arguments) == ("tool", "add", {"n": 1})
    node.ended(CallOutcome(request=request, text='{"sum": [1]}', sub_calls=0))
    assert values(node.sent()[0]["results"]) == [{"sum": [1]}]
    node.work(done("1.1"))
    item = node.cells[0].host_calls[0].items[0]
    assert (item.prompt, item.sub_calls) == ('{"n": 1}', 0)


@pytest.mark.parametrize(("depth", "kind"), [(0, "rlm_query"), (1, "llm_query")])
def test_a_child_query_carries_its_context_or_becomes_one_prompt(depth: int, kind: str) -> None:
    node = Played(scope_for(max_recursion_depth=2, depth=depth), "rlm_query('q', 'text')")
    items = [{"prompt": "q", "context": "text"}]
    asks = {"type": "call", "id": 1, "function": "rlm_query", "kind": "rlm_query", "items": items}
    node.work(asks)
    [request] = node.started()
    assert request.kind == "rlm_query"
    if kind == "rlm_query":
        assert (request.prompt, request.context) == ("q", "text")
    else:
        assert request.context is None
        assert request.prompt.startswith("q\n\nThe text to read")
        assert "\ntext\n" in request.prompt


# -- cache -----------------------------------------------------------------------------------------


def test_an_identical_later_call_comes_from_the_cache() -> None:
    scope = scope_for(cache_sub_calls=True)
    node = Played(scope, "two equal calls")
    node.work(call(1, "p"))
    node.ended(said(node.started()[0], "pong"))
    node.work(call(2, "p"))
    assert node.sent() == [{"type": "reply", "id": 2, "results": [{"value": "pong"}]}]
    node.work(done("1.1"))
    hit = node.cells[0].host_calls[1].items[0]
    assert (hit.cached, hit.sub_calls, hit.usage, hit.response) == (True, 0, {}, "pong")
    assert scope.budget.sub_calls == 1
    assert node.kinds()[-2:] == ["sub_call_cache_hit", "cell_end"]
    assert node.events[-1].detail["cache_hits"] == 1
    # Another cell of the run, another desk: the cache is the run's.
    later = Played(scope, "again")
    later.work(call(1, "p"))
    assert values(later.sent()[0]["results"]) == ["pong"]


def test_an_identical_call_under_way_is_joined() -> None:
    scope = scope_for(cache_sub_calls=True)
    node = Played(scope, "equal calls at once")
    node.work(call(1, "p", "p", "q"), call(2, "p"))
    requests = node.started()
    assert [request.prompt for request in requests] == ["p", "q"]
    assert isinstance(node.effect, Exchange), "nothing to start for the second call"
    node.ended(said(requests[0], "pong"))
    assert [frame["id"] for frame in node.sent()] == [2], "one item of the first is still missing"
    node.ended(said(requests[1]))
    assert values(node.sent()[0]["results"]) == ["pong", "pong", "re: q"]
    node.work(done("1.1"))
    items = [item for host_call in node.cells[0].host_calls for item in host_call.items]
    assert [item.cached for item in items] == [False, True, False, True]
    assert sum(item.sub_calls for item in items) == scope.budget.sub_calls == 2


def test_a_failure_is_shared_by_those_who_wait_but_not_kept() -> None:
    node = Played(scope_for(cache_sub_calls=True), "equal calls at once")
    node.work(call(1, "p", "p"))
    [request] = node.started()
    node.ended(CallOutcome(request=request, error="RuntimeError: busy"))
    assert node.sent()[0]["results"] == [{"error": "RuntimeError: busy"}] * 2
    node.work(call(2, "p"))
    assert isinstance(node.effect, StartCalls), "the next one is tried again"


def test_without_a_cache_equal_calls_are_all_made() -> None:
    # A model may answer differently each time; that is what a cell asks for that samples.
    node = Played(scope_for(), "equal calls at once")
    node.work(call(1, "p", "p"), call(2, "p"))
    assert len(node.started() + node.started()) == 3


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "model", "why"),
    [
        ("  \n", None, "the prompt is empty"),
        ("x" * 11, None, "the prompt has 11 characters, the limit is 10"),
        ("p", "huge", "there is no model 'huge'; names: cheap, zoom"),
    ],
)
def test_what_cannot_be_asked_is_refused_at_once_and_for_free(
    prompt: str, model: str | None, why: str
) -> None:
    scope = scope_for(sub_call_max_input_chars=10, models={"zoom": None, "cheap": None})
    node = Played(scope, "llm_query(...)")
    node.work(call(1, prompt, model=model))
    [result] = node.sent()[0]["results"]
    assert why in result["refused"]
    assert node.exchange().timeout_seconds == 120.0, "nothing is running, so the clock is"
    node.work(done("1.1", status="error", error="SubCallError"))
    [item] = node.cells[0].host_calls[0].items
    assert (item.status, item.sub_calls) == ("refused", 0)
    assert scope.budget.sub_calls == 0


def test_a_named_model_is_asked_by_its_name() -> None:
    node = Played(scope_for(models={"zoom": None}), "llm_query('p', model='zoom')")
    node.work(call(1, "p", model="zoom"))
    assert node.started()[0].model == "zoom"


def test_refused_items_of_a_batch_keep_their_slots() -> None:
    node = Played(scope_for(sub_call_max_input_chars=10), "llm_query_batch(...)")
    node.work(call(1, "a", "", "x" * 11, "b"))
    requests = node.started()
    assert [(request.prompt, request.index) for request in requests] == [("a", 0), ("b", 3)]
    node.ended(*(said(request) for request in requests))
    first, empty, long, last = node.sent()[0]["results"]
    assert (first, last) == ({"value": "re: a"}, {"value": "re: b"})
    assert "empty" in empty["refused"]
    assert "11 characters" in long["refused"]


def test_a_batch_over_the_budget_gets_what_is_left() -> None:
    scope = scope_for(max_sub_calls=2)
    node = Played(scope, "llm_query_batch(...)")
    node.work(call(1, "a", "b", "c", "d"))
    requests = node.started()
    assert [request.prompt for request in requests] == ["a", "b"]
    node.ended(*(said(request) for request in requests))
    results = node.sent()[0]["results"]
    assert values(results[:2]) == ["re: a", "re: b"]
    assert all("no sub-calls are left (2 of 2 used)" in item["refused"] for item in results[2:])
    assert scope.budget.limit_met() == "max_sub_calls"
    node.work(call(2, "e"))
    assert "no sub-calls" in node.sent()[0]["results"][0]["refused"], "no StartCalls for nothing"


def test_tools_are_no_sub_calls_and_never_refused() -> None:
    scope = scope_for(max_sub_calls=0)
    node = Played(scope, "add(1)")
    item = {"args": {"prompt": ""}}
    node.work({"type": "call", "id": 1, "function": "add", "kind": "tool", "items": [item]})
    assert len(node.started()) == 1
    assert scope.budget.limit_met() is None


# -- the clock -------------------------------------------------------------------------------------


def test_the_clock_of_a_cell_stands_still_while_calls_run() -> None:
    node = Played(scope_for(sandbox_timeout=1.0), "slow calls")
    node.work(call(1, "p"), seconds=0.4)
    [first] = node.started()
    assert node.exchange().timeout_seconds is None
    node.ended(seconds=500.0)
    assert node.exchange().timeout_seconds is None
    node.work(call(2, "q"), seconds=500.0)
    [second] = node.started()
    node.ended(said(first), seconds=500.0)
    assert node.exchange().timeout_seconds is None, "one of two calls is still running"
    node.ended(said(second), seconds=500.0)
    assert node.exchange().timeout_seconds == pytest.approx(0.6)
    node.work(done("1.1"), seconds=0.1)
    assert node.cells[0].status == "ok"
    assert node.cells[0].elapsed_seconds == pytest.approx(0.5)


def test_the_time_left_shrinks_with_every_exchange() -> None:
    node = Played(scope_for(sandbox_timeout=1.0), "slow")
    node.work(seconds=0.3)
    assert node.exchange().timeout_seconds == pytest.approx(0.7)
    node.work(seconds=0.3)
    assert node.exchange().timeout_seconds == pytest.approx(0.4)


def test_each_cell_has_its_own_time() -> None:
    node = Played(scope_for(sandbox_timeout=1.0), "a", "b")
    node.work(done("1.1"), seconds=0.9)
    assert node.exchange().timeout_seconds == 1.0
    node.work(done("1.2"), seconds=0.9)
    assert [cell.status for cell in node.cells] == ["ok", "ok"]


def test_a_cell_that_ends_at_the_last_moment_is_fine() -> None:
    node = Played(scope_for(sandbox_timeout=1.0), "a")
    node.work(done("1.1"), seconds=1.0)
    assert (node.cells[0].status, node.cells[0].error) == ("ok", None)


def over_time(*code: str, **fields: Any) -> Played:
    node = Played(scope_for(sandbox_timeout=1.0), *(code or ("while True: pass",)), **fields)
    node.work(seconds=1.0)
    assert isinstance(node.effect, Interrupt)
    return node


def test_a_cell_over_its_time_that_stops_keeps_its_variables() -> None:
    node = over_time("while True: pass", "b = 2")
    node.go(True)
    assert node.exchange().timeout_seconds == INTERRUPT_GRACE_SECONDS
    assert node.sent() == []
    interrupted = done("1.1", status="interrupted", error="KeyboardInterrupt", changed={"n": "int"},
                       output_head="so far", output_chars=6)  # fmt: skip
    node.work(interrupted, seconds=0.1)
    cell, skipped = node.cells
    assert (cell.status, cell.changed, cell.output) == ("timeout", {"n": "int"}, "so far")
    assert cell.error is not None
    assert "after 1 seconds of its own time" in cell.error
    assert "Its variables are kept." in cell.error
    assert "KeyboardInterrupt" not in cell.error
    assert skipped.status == "skipped"
    assert node.turn.restarted is None


def test_a_cell_that_ends_by_itself_in_the_grace_time_is_no_timeout() -> None:
    node = over_time()
    node.go(True)
    node.work(done("1.1"), seconds=0.1)
    assert node.cells[0].status == "ok"


def test_a_cell_that_does_not_stop_in_time_loses_its_worker() -> None:
    node = over_time("loop", "b = 2")
    node.go(True)
    node.work(seconds=0.3)
    assert node.exchange().timeout_seconds == pytest.approx(INTERRUPT_GRACE_SECONDS - 0.3)
    node.work(seconds=0.3)
    node.restarts()
    cell, skipped = node.cells
    assert (cell.status, skipped.status) == ("timeout", "skipped")
    assert cell.error is not None
    assert "The REPL was restarted." in cell.error
    assert node.turn.restarted == "it ran out of time and could not be stopped"


def test_a_worker_that_cannot_be_interrupted_is_given_up_at_once() -> None:
    node = over_time()
    node.go(False)
    node.restarts()
    assert node.cells[0].status == "timeout"
    assert node.turn.restarted == "it ran out of time and could not be stopped"


def test_a_worker_that_dies_of_the_interrupt_is_replaced() -> None:
    node = over_time()
    node.go(True)
    node.work(eof=True)
    node.restarts()
    assert node.cells[0].status == "timeout"
    assert node.turn.restarted is not None


def test_a_call_made_in_the_grace_time_is_not_paid_for() -> None:
    node = over_time()
    node.go(True)
    node.work(call(1, "p"), seconds=0.1)
    assert isinstance(node.effect, Exchange), "no StartCalls"
    node.work(done("1.1", status="interrupted"))
    assert node.cells[0].host_calls == ()
    assert node.turn.restarted is None


def test_lies_in_the_grace_time_cost_the_worker() -> None:
    node = over_time()
    node.go(True)
    node.work(GARBAGE)
    node.restarts()
    assert node.cells[0].status == "timeout"
    assert "broke the protocol" in (node.turn.restarted or "")


def test_a_cell_is_not_stopped_while_its_calls_run() -> None:
    node = Played(scope_for(sandbox_timeout=1.0), "late call")
    node.work(call(1, "p"), seconds=1.2)
    [request] = node.started()
    assert isinstance(node.effect, Exchange)
    assert node.exchange().timeout_seconds is None
    node.ended(said(request))
    assert isinstance(node.effect, Interrupt)
    node.go(False)
    node.restarts()
    assert len(node.cells[0].host_calls) == 1, "it was paid for"


# -- the worker is gone ----------------------------------------------------------------------------


def test_a_worker_that_dies_in_a_cell_is_replaced() -> None:
    node = Played(scope_for(), "os._exit(1)", "b = 2")
    node.work(eof=True, seconds=0.2)
    assert isinstance(node.effect, Restart)
    node.restarts()
    cell, skipped = node.cells
    assert (cell.status, cell.elapsed_seconds, skipped.status) == ("died", 0.2, "skipped")
    assert cell.error == "The cell ended the REPL process: its worker died. The REPL was restarted."
    assert node.turn.restarted == "its worker died"


def test_a_worker_that_dies_in_the_middle_of_a_frame_is_dead() -> None:
    node = Played(scope_for(), "os._exit(1)")
    node.work(worked(done("1.1")).exchanged.data[:20], eof=True)
    node.restarts()
    assert (node.cells[0].status, node.turn.restarted) == ("died", "its worker died")


def test_a_worker_that_dies_right_after_its_cell_is_replaced_and_the_cell_counts() -> None:
    node = Played(scope_for(), "x = 1")
    node.work(done("1.1", changed={"x": "int: 1"}), eof=True)
    node.restarts()
    assert [frame["code"] for frame in node.sent()] == ["x = 1"], "the cell is run again"
    node.work(done("replay.1"))
    assert (node.cells[0].status, node.cells[0].changed) == ("ok", {"x": "int: 1"})
    assert node.turn.restarted == "its worker died"


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param(GARBAGE, id="unknown frame"),
        pytest.param(b"\xff\xff\xff\xffJ", id="a length beyond the limit"),
        pytest.param({"type": "ready", "version": 1, "python": "3"}, id="out of order"),
        pytest.param(done("9.9"), id="the end of another cell"),
        pytest.param({**call(1, "p"), "function": "rm"}, id="a function that does not exist"),
        pytest.param({**call(1, "p"), "items": []}, id="a call of nothing"),
    ],
)
def test_a_worker_that_lies_is_replaced(lie: Any) -> None:
    node = Played(scope_for(), "forge()")
    node.work(lie)
    node.restarts()
    assert node.cells[0].status == "died"
    assert "broke the protocol" in (node.cells[0].error or "")
    assert "broke the protocol" in (node.turn.restarted or "")


def test_what_a_liar_said_before_its_lie_was_served() -> None:
    node = Played(scope_for(), "call, then forge")
    node.work(call(1, "p"), GARBAGE)
    [request] = node.started()
    assert isinstance(node.effect, AwaitCalls), "the call runs on, there is nobody to talk to"
    node.awaits(said(request))
    node.restarts()
    assert node.cells[0].host_calls[0].items[0].response == "re: p"


def test_calls_that_run_when_the_worker_is_gone_are_awaited_and_recorded() -> None:
    node = Played(scope_for(), "llm_query_batch(...), then die")
    node.work(call(1, "a", "b"), call(2, "c"))
    first, second, third = node.started() + node.started()
    node.work(outcomes=[said(second)], eof=True)
    node.awaits(said(third))
    node.awaits()  # a wake without news
    node.awaits(CallOutcome(request=first, error="RuntimeError: busy"))
    node.restarts()
    assert node.cells[0].status == "died"
    items = [item for host_call in node.cells[0].host_calls for item in host_call.items]
    assert [(item.prompt, item.status) for item in items] == [
        ("a", "failed"), ("b", "ok"), ("c", "ok"),
    ]  # fmt: skip
    assert sum(item.sub_calls for item in items) == 3
    assert node.kinds().count("sub_call_end") == 3


def test_calls_of_threads_that_outlive_their_cell_are_awaited_and_recorded() -> None:
    node = Played(scope_for(), "start a thread", "x = 2")
    node.work(call(1, "p"))
    [request] = node.started()
    node.work(done("1.1"))
    node.awaits(said(request))
    assert [frame["id"] for frame in node.sent()] == ["1.2"], "no reply to a cell that has ended"
    node.work(done("1.2"))
    assert [len(cell.host_calls) for cell in node.cells] == [1, 0]


def test_a_call_that_ends_together_with_its_cell_is_recorded() -> None:
    node = Played(scope_for(), "start a thread")
    node.work(call(1, "p"))
    [request] = node.started()
    node.work(done("1.1"), outcomes=[said(request)])
    assert len(node.cells[0].host_calls) == 1


# -- replay ----------------------------------------------------------------------------------------


def cells_with_calls() -> tuple[Cell, ...]:
    """Two finished cells; the first asked the same thing twice and got two replies."""
    node = Played(scope_for(), "first", "second")
    node.work(call(7, "p"))
    node.ended(said(node.started()[0], "one"))
    node.work(call(8, "p"))
    node.ended(said(node.started()[0], "two"))
    node.work(call(9, "a", "b"))
    good, bad = node.started()
    node.ended(said(good, "fine"), CallOutcome(request=bad, error="RuntimeError: busy"))
    node.work(done("1.1"))
    node.work(done("1.2", status="error", error="NameError"))
    return node.cells


def test_a_fresh_session_is_brought_to_where_the_record_stands() -> None:
    past = cells_with_calls()
    node = Played(scope_for(max_sub_calls=0), "x = 3", past=past)
    assert [frame["code"] for frame in node.sent()] == ["first"]
    node.work(call(1, "p"))
    assert node.sent() == [{"type": "reply", "id": 1, "results": [{"value": "one"}]}]
    node.work(call(2, "p"))
    assert values(node.sent()[0]["results"]) == ["two"], (
        "the second equal request, the second reply"
    )
    node.work(call(3, "a", "b"))
    assert node.sent()[0]["results"] == [{"value": "fine"}, {"error": "RuntimeError: busy"}]
    node.work(done("replay.1"))
    assert [frame["code"] for frame in node.sent()] == ["second"], "a failed cell left variables"
    node.work(done("replay.2", status="error", error="NameError"))
    assert [frame["id"] for frame in node.sent()] == ["2.1"]
    node.work(done("2.1"))
    assert [cell.code for cell in node.cells] == ["x = 3"], "a replay records nothing"
    assert node.kinds() == ["code_generated", "cell_start", "cell_end"], "and tells nobody"


def test_the_clock_of_a_replayed_cell_is_its_own() -> None:
    node = Played(scope_for(sandbox_timeout=1.0), "x = 3", past=cells_with_calls())
    node.work(seconds=0.7)
    assert node.exchange().timeout_seconds == pytest.approx(0.3)
    node.work(done("replay.1"), seconds=0.2)
    assert node.exchange().timeout_seconds == 1.0


def test_equal_requests_at_once_are_replayed_in_order() -> None:
    node = Played(scope_for(), "x = 3", past=cells_with_calls())
    node.work(call(1, "p"), call(2, "p"))
    replies = node.sent()
    assert [(frame["id"], values(frame["results"])) for frame in replies] == [
        (1, ["one"]), (2, ["two"]),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        pytest.param([call(1, "other")], 1, id="another prompt"),
        pytest.param([call(1, "p", model="zoom")], 1, id="another model"),
        pytest.param([call(1, "b", "a")], 2, id="another order"),
    ],
)
def test_a_request_that_was_never_made_gets_an_error_and_no_call(asked: Any, count: int) -> None:
    scope = scope_for()
    node = Played(scope, "x = 3", past=cells_with_calls())
    node.work(*asked)
    [reply] = node.sent()
    assert len(reply["results"]) == count
    assert all("not made when the cell ran first" in item["error"] for item in reply["results"])
    assert scope.budget.sub_calls == 0


def test_a_third_equal_request_has_no_record() -> None:
    node = Played(scope_for(), "x = 3", past=cells_with_calls())
    node.work(call(1, "p"), call(2, "p"), call(3, "p"))
    assert "error" in node.sent()[2]["results"][0]


def test_only_cells_that_finished_are_replayed() -> None:
    past = [
        Cell(code="ok", status="ok"),
        Cell(code="error", status="error", error="e"),
        Cell(code="timeout", status="timeout", error="e"),
        Cell(code="died", status="died", error="e"),
        Cell(code="skipped", status="skipped"),
    ]
    node = Played(scope_for(), "x = 3", past=past)
    for position, code in enumerate(["ok", "error"], start=1):
        assert [frame["code"] for frame in node.sent()] == [code]
        node.work(done(f"replay.{position}"))
    assert [frame["code"] for frame in node.sent()] == ["x = 3"]


def test_a_session_that_holds_the_cells_is_not_replayed() -> None:
    live, past = idle_session(), cells_with_calls()
    live.done = [_name(Datum(handle_of()), cell) for cell in past]
    held = list(live.done)
    node = Played(scope_for(), "x = 3", past=past, live=live)
    assert [frame["code"] for frame in node.sent()] == ["x = 3"]
    node.work(done("2.1"))
    assert (live.done[:-1], len(live.done)) == (held, len(held) + 1)


def test_a_session_that_holds_a_part_is_brought_forward() -> None:
    live, past = idle_session(), cells_with_calls()
    live.done = [_name(Datum(handle_of()), past[0])]
    node = Played(scope_for(), "x = 3", past=past, live=live)
    assert [frame["code"] for frame in node.sent()] == [past[1].code]


def test_a_session_with_another_past_is_given_up() -> None:
    live = idle_session()
    live.done = [("a cell of another branch",)]
    node = Played(scope_for(), "x = 3", past=cells_with_calls(), live=live)
    node.restarts()


def test_after_a_restart_the_finished_cells_of_the_turn_come_back_too() -> None:
    node = Played(scope_for(), "a = llm_query('p')", "os._exit(1)")
    node.work(call(1, "p"))
    node.ended(said(node.started()[0], "pong"))
    node.work(done("1.1"))
    node.work(eof=True)
    node.restarts()
    assert [frame["code"] for frame in node.sent()] == ["a = llm_query('p')"]
    node.work(call(1, "p"))
    assert values(node.sent()[0]["results"]) == ["pong"]
    node.work(done("replay.1"))
    assert [cell.status for cell in node.cells] == ["ok", "died"]
    assert len(node.live.done) == 1


@pytest.mark.parametrize(
    "end",
    [
        pytest.param({"eof": True}, id="it died"),
        pytest.param({"seconds": 1.5}, id="it ran out of time"),
    ],
)
def test_a_replay_that_does_not_finish_is_the_machines_fault(end: dict[str, Any]) -> None:
    node = Played(scope_for(sandbox_timeout=1.0), "x = 3", past=cells_with_calls())
    with pytest.raises(SandboxError, match="cell 1 of 2 did not finish"):
        node.work(**end)


# -- finals in the text ----------------------------------------------------------------------------

VAR = FinalText(kind="var", text="found")
TEXT = FinalText(kind="text", text="herons")


def test_a_final_alone_is_resolved_in_the_repl() -> None:
    node = Played(scope_for(), final=VAR)
    assert node.sent() == [{"type": "submit", "id": "1.final", "kind": "var", "text": "found"}]
    node.work(done("1.final", answer={"text": "two", "json": False}))
    assert node.turn.answer == "two"
    assert [cell.code for cell in node.cells] == ['FINAL_VAR("found")']
    node = Played(scope_for(), final=TEXT)
    assert node.sent()[0]["kind"] == "text"
    node.work(done("1.final", answer={"text": "herons", "json": False}))
    assert [cell.code for cell in node.cells] == ["FINAL(herons)"]


def test_a_final_that_names_nothing_is_an_error_for_the_root_to_read() -> None:
    node = Played(scope_for(), final=VAR)
    node.work(done("1.final", status="error", error="NameError: there is no variable 'found'"))
    assert node.turn.answer is None
    assert "no variable" in (node.cells[0].error or "")


def test_a_final_var_after_cells_counts_when_they_ran_well() -> None:
    node = Played(scope_for(), "found = 2", final=VAR)
    node.work(done("1.1"))
    assert [frame["type"] for frame in node.sent()] == ["submit"]
    node.work(done("1.final", answer={"text": "2", "json": True}))
    assert node.turn.answer == "2"
    assert len(node.cells) == 2


@pytest.mark.parametrize("closing", [False, True])
def test_a_final_var_after_a_failing_cell_does_not_count(closing: bool) -> None:
    node = Played(scope_for(), "found = 1 / 0", final=VAR, closing=closing)
    node.work(done("1.1", status="error", error="ZeroDivisionError"))
    assert node.turn.answer is None
    assert len(node.cells) == 1


def test_a_final_with_words_beside_cells_does_not_count() -> None:
    # It was written before the output of those cells was there.
    node = Played(scope_for(), "print(found)", final=TEXT)
    node.work(done("1.1"))
    assert node.turn.answer is None
    assert len(node.cells) == 1


def test_in_the_closing_reply_it_counts_because_none_comes_after() -> None:
    node = Played(scope_for(), "print(found)", final=TEXT, closing=True)
    node.work(done("1.1"))
    assert [frame["type"] for frame in node.sent()] == ["submit"]
    node.work(done("1.final", answer={"text": "herons", "json": False}))
    assert node.turn.answer == "herons"


@pytest.mark.parametrize("final", [VAR, TEXT])
def test_an_answer_from_a_cell_beats_one_in_the_text(final: FinalText) -> None:
    node = Played(scope_for(), "FINAL(1)", final=final, closing=True)
    node.work(done("1.1", answer={"text": "1", "json": True}))
    assert node.turn.answer == "1"
    assert len(node.cells) == 1


# -- the end of the node itself --------------------------------------------------------------------


def test_a_node_that_is_closed_in_the_middle_ends_quietly() -> None:
    node = Played(scope_for(), "llm_query('p')")
    node.work(call(1, "p"))
    node.started()
    node._flow.close()


def test_the_session_is_asked_for_with_the_handle_of_the_context() -> None:
    from langchain_replm._effects import OpenSession
    from langchain_replm._nodes.sandbox_exec import sandbox_exec
    from langchain_replm.state import Turn
    from tests.unit_tests._nodes.by_hand import state_for

    flow = sandbox_exec(state_for(Turn(number=1, reply="r", code=("x",))), scope_for())
    next(flow)
    effect = flow.send(None)
    assert effect == OpenSession(Datum(handle_of()))


def test_an_output_beyond_what_was_agreed_breaks_the_protocol() -> None:
    limits = WireLimits(output_head_chars=100, output_tail_chars=100)
    node = Played(scope_for(), "print('x' * 1000)", live=idle_session(limits))
    node.work(done("1.1", output_head="x" * 101, output_chars=101))
    node.restarts()
    assert node.cells[0].status == "died"
