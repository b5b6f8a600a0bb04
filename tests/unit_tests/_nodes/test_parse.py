"""`parse`, by hand: where a reply leads. The grammar itself has its own table in `test_reply.py`."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_replm._nodes.parse import parse, wants_sandbox
from langchain_replm.state import FinalText, Turn, read_turn
from langchain_replm.types import Cell, Iteration
from tests.unit_tests._nodes.by_hand import handle_of, scope_for, state_for

CELL = "```repl\nprint(len(context))\n```"


def read(
    reply: str, *, past: Any = (), handle: Any = None, config: Any = None, **fields: Any
) -> Turn:
    state = state_for(Turn(number=len(past) + 1, reply=reply, **fields), past=past)
    if handle is not None:
        state["context_handle"] = handle
    update = parse(state, scope_for(**(config or {})))
    assert update.keys() == {"turn"}
    return read_turn(update)


def test_cells_are_taken_in_order_and_go_to_the_sandbox() -> None:
    turn = read(f"First.\n\n{CELL}\n\nThen:\n\n```python\nx = 1\n```")
    assert turn.code == ("print(len(context))", "x = 1")
    assert (turn.final, turn.answer, turn.problem, turn.held) == (None, None, None, None)
    assert turn.prose == "First.\n\n\n\nThen:"
    assert wants_sandbox(turn)


def test_what_the_turn_knew_before_is_kept() -> None:
    turn = read(CELL, model="m", elapsed_seconds=2.0)
    assert (turn.number, turn.reply, turn.model, turn.elapsed_seconds) == (1, CELL, "m", 2.0)


def test_a_failed_call_passes_through() -> None:
    turn = read("", error="RuntimeError: busy")
    assert turn == Turn(number=1, error="RuntimeError: busy")
    assert not wants_sandbox(turn)


SEEN = Iteration(number=1, reply="look", cells=(Cell(code="1", status="ok"),), observation="o")
NUDGED = Iteration(number=1, reply="I will think.", observation="nudge")
FAILED = Iteration(number=1, error="RuntimeError: busy")


@pytest.mark.parametrize("final", ["FINAL(two herons)", "FINAL(herons)", "FINAL_VAR(herons)"])
def test_an_answer_before_any_look_is_held(final: str) -> None:
    turn = read(final)
    assert turn.held
    assert turn.answer is None
    assert not wants_sandbox(turn), "nothing of it runs"


def test_an_answer_is_still_the_first_reply_after_a_failed_call() -> None:
    assert read("FINAL(two herons)", past=[FAILED]).held


@pytest.mark.parametrize("past", [[SEEN], [NUDGED], [NUDGED, FAILED], [FAILED, SEEN]])
def test_an_answer_is_held_in_the_first_reply_only(past: list[Iteration]) -> None:
    turn = read("FINAL(two herons)", past=past)
    assert not turn.held
    assert turn.answer == "two herons"


def test_an_answer_after_being_held_counts() -> None:
    held = Iteration(number=1, reply="FINAL(two herons)", observation="held")
    assert read("FINAL(two herons)", past=[held]).answer == "two herons"


def test_no_answer_is_held_in_the_closing_reply_or_when_switched_off() -> None:
    assert read("FINAL(two herons)", closing=True).answer == "two herons"
    assert read("FINAL(two herons)", config={"hold_first_answer": False}).answer == "two herons"


@pytest.mark.parametrize(
    ("context", "shown", "held"),
    [
        pytest.param("h" * 1_000, 1_000, False, id="exactly the preview"),
        pytest.param("h" * 1_001, 1_000, True, id="one character more"),
        pytest.param(["h" * 10], 1_000, False, id="one short document"),
        pytest.param(["h"] * 2, 1_000, True, id="two documents: only the first and last are shown"),
        pytest.param("h", 0, True, id="no preview"),
    ],
)
def test_an_answer_over_a_context_that_was_shown_whole_is_not_held(
    context: Any, shown: int, held: bool
) -> None:
    assert read("FINAL(two herons)", handle=handle_of(context, shown=shown)).held == (
        "hold_first_answer" if held else None
    )


def test_an_answer_beside_a_cell_is_not_held_but_not_taken_either() -> None:
    turn = read(f"{CELL}\n\nFINAL(two herons)")
    assert (turn.held, turn.answer) == (None, None)
    assert turn.final == FinalText(kind="text", text="two herons")
    assert wants_sandbox(turn)


@pytest.mark.parametrize(
    ("reply", "kind", "text"),
    [
        ("FINAL(herons)", "text", "herons"),
        ("FINAL_VAR(herons)", "var", "herons"),
        ('FINAL_VAR("herons")', "var", "herons"),
    ],
)
def test_a_final_that_may_name_a_variable_asks_the_sandbox(
    reply: str, kind: str, text: str
) -> None:
    turn = read(reply, past=[SEEN])
    assert turn.answer is None
    assert turn.final is not None
    assert (turn.final.kind, turn.final.text) == (kind, text)
    assert wants_sandbox(turn)


def test_an_answer_in_words_needs_no_sandbox() -> None:
    turn = read("I have read it.\n\nFINAL(two herons, one stork)", past=[SEEN])
    assert turn.answer == "two herons, one stork"
    assert not wants_sandbox(turn)


def test_a_native_tool_call_alone_is_a_foreign_call() -> None:
    turn = read("", foreign="python")
    assert (turn.problem, turn.detail) == ("foreign_call", "a call of a tool named python")
    assert not wants_sandbox(turn)
    assert read("Let me see.", foreign="python").problem == "foreign_call"


def test_a_native_tool_call_beside_cells_or_an_answer_is_ignored() -> None:
    assert read(CELL, foreign="python").problem is None
    assert read("FINAL(two herons)", foreign="python", past=[SEEN]).problem is None


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        pytest.param("", "empty", id="nothing"),
        pytest.param("  \n", "empty", id="white space"),
        pytest.param("<think>\nI could look.\n</think>", "empty", id="thinking only"),
        pytest.param("<think>\nI could look", "no_action", id="thinking that never ends"),
        pytest.param(f"<think>\n{CELL}\nFINAL(x y)\n</think>", "empty", id="a draft in thinking"),
        pytest.param("I will read the text first.", "no_action", id="a plan"),
        pytest.param("```repl\nfor x in", "cut_off", id="a cell without an end"),
        pytest.param("<invoke name='python'>1</invoke>", "foreign_call", id="XML"),
    ],
)
def test_a_reply_with_nothing_to_run_has_a_problem(reply: str, problem: str) -> None:
    turn = read(reply)
    assert turn.problem == problem
    assert (turn.code, turn.final, turn.answer) == ((), None, None)
    assert not wants_sandbox(turn)


def test_the_token_limit_turns_an_open_cell_into_a_cut_one() -> None:
    # What is open at the token limit is incomplete even where it happens to parse.
    whole, cut = read("```repl\nx = 1"), read("```repl\nx = 1", truncated=True)
    assert (whole.code, whole.problem) == (("x = 1",), None)
    assert (cut.code, cut.problem) == ((), "cut_off")
