"""`truncate`, by hand: whether the run goes on, and what the root model reads if it does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from langchain_replm._effects import Emit
from langchain_replm._nodes.truncate import truncate
from langchain_replm.events import RLMEvent
from langchain_replm.prompts import FINAL_WITH_CELLS, HELD, NUDGES, closing_request
from langchain_replm.scope import RunScope
from langchain_replm.state import FinalText, Turn
from langchain_replm.types import Answer, Cell, Iteration
from tests.unit_tests._nodes.by_hand import scope_for, state_for, usage

OK = Cell(code="print(1)", status="ok", output_head="one", output_chars=3)
BAD = Cell(code="1 / 0", status="error", error="ZeroDivisionError: division by zero")
STEP = Iteration(number=1, reply="look", observation="saw it")


def close(
    turn: Turn, scope: RunScope | None = None, *, past: Sequence[Iteration] = (), **state: Any
) -> tuple[dict[str, Any], Iteration, list[RLMEvent]]:
    """The update, the iteration in it, and the events on the way."""
    flow = truncate(state_for(turn, past=past, **state), scope or scope_for())
    events = []
    try:
        effect = next(flow)
        while True:
            assert isinstance(effect, Emit)
            events.append(effect.event)
            effect = flow.send(None)
    except StopIteration as returned:
        update = returned.value
    assert update["turn"] is None, "the next reply starts from nothing"
    assert len(update["trajectory"]) == 1
    return update, Iteration.model_validate(update["trajectory"][0]), events


def shown(turn: Turn, scope: RunScope | None = None, **state: Any) -> str:
    """The observation of a turn after which the run goes on."""
    update, step, events = close(turn, scope, **state)
    assert "stop_reason" not in update
    assert [event.type for event in events if event.type == "final_answer"] == []
    assert step.observation is not None
    return step.observation


def refused(**config: Any) -> RunScope:
    """A run whose budget has just refused a call."""
    scope = scope_for(max_sub_calls=1, **config)
    scope.budget.admit(2)
    return scope


# -- the run ends ----------------------------------------------------------------------------------


def test_an_answer_ends_the_run() -> None:
    update, step, events = close(Turn(number=1, reply="r", answer="two", cells=(OK,)))
    assert (update["answer"], update["stop_reason"]) == ("two", "answered")
    assert update["elapsed_seconds"] >= 0
    assert step.observation is None
    assert [event.type for event in events] == ["code_executed", "final_answer"]
    detail = events[1].detail
    assert (detail["answer"], detail["stop_reason"], detail["iterations"]) == ("two", "answered", 1)


def test_an_answer_counts_although_a_limit_was_met_in_the_same_turn() -> None:
    # Nothing was stopped that the answer needed: it is there.
    update, _, _ = close(Turn(number=1, reply="r", answer="two"), refused(max_iterations=1))
    assert update["stop_reason"] == "answered"


@pytest.mark.parametrize("limit", ["max_iterations", "max_sub_calls"])
def test_the_answer_of_the_closing_reply_keeps_the_limit_as_the_reason(limit: str) -> None:
    turn = Turn(number=3, closing=True, reply="r", answer="two")
    update, step, _ = close(turn, limit=limit)
    assert (update["answer"], update["stop_reason"]) == ("two", limit)
    assert step.closing


def test_closing_without_an_answer_takes_the_prose() -> None:
    turn = Turn(number=3, closing=True, reply="r", prose="It does not say.", problem="no_action")
    update, _, events = close(turn, limit="max_iterations")
    assert (update["answer"], update["stop_reason"]) == ("It does not say.", "max_iterations")
    assert events[-1].preview == "It does not say."


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"code": ("1 / 0",), "cells": (BAD,)}, id="a cell that fails"),
        pytest.param({"code": ("print(1)",), "cells": (OK,)}, id="a cell that does not submit"),
        pytest.param({"final": FinalText(kind="var", text="x"), "cells": (BAD,)}, id="no variable"),
    ],
)
def test_prose_around_a_closing_attempt_is_no_answer(fields: dict[str, Any]) -> None:
    # "Let me compute it:" before a failing cell must not become the answer of the run.
    turn = Turn(number=3, closing=True, reply="r", prose="Let me compute it:", **fields)
    update, step, _ = close(turn, limit="max_iterations")
    assert (update["answer"], update["stop_reason"]) == ("", "max_iterations")
    assert step.cells == turn.cells


def test_a_closing_call_that_fails_is_made_again_and_then_ends_the_run() -> None:
    asked = STEP.model_copy(update={"observation": "two\n\n" + closing_request("max_sub_calls")})
    turn = Turn(number=3, closing=True, error="RuntimeError: busy")
    update, step, _ = close(turn, limit="max_sub_calls", past=[asked])
    assert (update["limit"], step.observation) == ("max_sub_calls", None), "the request is there"
    assert "stop_reason" not in update
    past = [asked, *failures(2, 3)]
    update, step, _ = close(turn, limit="max_sub_calls", past=past)
    assert (update["answer"], update["stop_reason"]) == ("", "max_sub_calls")
    assert step.error == "RuntimeError: busy"


def test_a_call_that_became_the_closing_one_and_failed_is_told_so_when_it_is_made_again() -> None:
    turn = Turn(number=3, closing=True, error="RuntimeError: busy")
    _, step, _ = close(turn, limit="max_tokens", past=[STEP])
    assert step.observation == closing_request("max_tokens")


def failures(*numbers: int) -> list[Iteration]:
    return [Iteration(number=number, error="RuntimeError: busy") for number in numbers]


def test_errors_in_a_row_end_the_run() -> None:
    turn = Turn(number=4, error="RuntimeError: busy")
    update, _, events = close(turn, past=[STEP, *failures(2, 3)])
    assert (update["answer"], update["stop_reason"]) == ("", "errors")
    assert (events[-1].detail["answer"], events[-1].detail["stop_reason"]) == ("", "errors")


@pytest.mark.parametrize(
    "past",
    [
        pytest.param([], id="the first"),
        pytest.param([STEP, *failures(2)], id="two in a row"),
        pytest.param([*failures(1, 2), STEP, *failures(4)], id="a reply between them"),
    ],
)
def test_fewer_errors_in_a_row_do_not_end_the_run(past: list[Iteration]) -> None:
    update, _, _ = close(Turn(number=len(past) + 1, error="RuntimeError: busy"), past=past)
    assert "stop_reason" not in update
    assert "limit" not in update


def test_one_error_is_enough_where_only_one_is_allowed() -> None:
    turn = Turn(number=2, error="RuntimeError: busy")
    update, _, _ = close(turn, scope_for(max_consecutive_errors=1), past=[STEP])
    assert update["stop_reason"] == "errors"


# -- a limit is met --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "number", "limit"),
    [
        (scope_for(max_iterations=2), 1, None),
        (scope_for(max_iterations=2), 2, "max_iterations"),
        (refused(), 1, "max_sub_calls"),
        # What was refused says more about a run than that it was long.
        (refused(max_iterations=2), 2, "max_sub_calls"),
        (scope_for(max_sub_calls=0), 1, None),
    ],
)
def test_a_limit_asks_for_one_closing_reply(
    scope: RunScope, number: int, limit: str | None
) -> None:
    update, step, _ = close(Turn(number=number, reply="r", cells=(OK,), code=("print(1)",)), scope)
    assert update.get("limit") == limit
    assert "stop_reason" not in update
    assert step.observation is not None
    assert "one" in step.observation, "the output of the last cell is still shown"
    if limit is None:
        assert "The run ends here" not in step.observation
        assert "Left: " in step.observation
    else:
        assert step.observation.endswith("\n\n" + closing_request(limit))
        assert "Left: " not in step.observation, "there is nothing left"


@pytest.mark.parametrize(
    ("scope", "limit"),
    [
        (scope_for(max_iterations=1, exit_behavior="error"), "max_iterations"),
        (refused(exit_behavior="error"), "max_sub_calls"),
    ],
)
def test_exit_behavior_error_ends_at_the_limit_without_a_closing_reply(
    scope: RunScope, limit: str
) -> None:
    update, step, events = close(Turn(number=1, reply="r", cells=(OK,)), scope)
    assert (update["answer"], update["stop_reason"]) == ("", limit)
    assert "limit" not in update
    assert step.observation is None
    assert events[-1].type == "final_answer"


# -- what is shown ---------------------------------------------------------------------------------


def test_an_observation_says_what_is_left() -> None:
    scope = scope_for(max_iterations=10, max_sub_calls=5)
    scope.budget.admit(2)
    turn = Turn(number=4, reply="r", cells=(OK,))
    assert shown(turn, scope).endswith("\n\nLeft: 6 replies, 3 sub-calls.")
    without = scope_for(max_iterations=10, enable_sub_calls=False)
    assert shown(turn, without).endswith("\n\nLeft: 6 replies.")


def test_a_held_answer_is_explained_and_nothing_else() -> None:
    turn = Turn(
        number=1,
        reply="FINAL(x y)",
        held="hold_first_answer",
        final=FinalText(kind="text", text="x y"),
    )
    assert shown(turn) == f"{HELD['hold_first_answer']}\n\nLeft: 24 replies, 500 sub-calls."


@pytest.mark.parametrize("problem", NUDGES)
def test_each_problem_has_its_nudge(problem: str) -> None:
    observation = shown(Turn(number=1, reply="r", problem=problem, detail="an XML call"))
    expected = NUDGES[problem].replace("{detail}", "an XML call")
    assert observation == f"{expected}\n\nLeft: 24 replies, 500 sub-calls."


def test_a_foreign_call_without_a_known_form_still_reads_well() -> None:
    assert "(a tool call)" in shown(Turn(number=1, reply="r", problem="foreign_call"))


def test_cells_that_ran_and_a_cell_that_was_cut_off_are_both_told() -> None:
    turn = Turn(number=1, reply="r", code=("print(1)",), cells=(OK,), problem="cut_off")
    observation = shown(turn)
    assert observation.index("one") < observation.index("was cut off before")


def test_a_text_final_beside_cells_is_refused_in_words() -> None:
    final = FinalText(kind="text", text="six")
    turn = Turn(number=1, reply="r", code=("print(1)",), cells=(OK,), final=final)
    assert FINAL_WITH_CELLS in shown(turn)
    assert FINAL_WITH_CELLS not in shown(turn.model_copy(update={"final": None}))
    var = FinalText(kind="var", text="x")
    assert FINAL_WITH_CELLS not in shown(turn.model_copy(update={"final": var}))
    alone = turn.model_copy(update={"code": (), "cells": (BAD,)})
    assert FINAL_WITH_CELLS not in shown(alone), "no cell stood beside it; it failed by itself"


def test_a_restart_is_told_with_its_reason() -> None:
    died = Cell(code="x", status="died", error="The cell ended the REPL process.")
    observation = shown(Turn(number=1, reply="r", cells=(died,), restarted="its worker died"))
    assert "The REPL had to be restarted (its worker died)." in observation


def test_the_output_is_cut_to_the_configured_size() -> None:
    long = Cell(code="p", status="ok", output_head="h" * 5_000, output_chars=5_000)
    observation = shown(
        Turn(number=1, reply="r", cells=(long,)), scope_for(metadata_prefix_chars=300)
    )
    assert observation.count("h") < 400
    assert "5,000 characters, 4,700 left out" in observation


def test_a_turn_with_cells_tells_listeners_what_the_root_will_read() -> None:
    turn = Turn(number=2, reply="r", code=("1", "2", "3"), cells=(OK, BAD, BAD))
    _, step, events = close(turn, scope_for(depth=1))
    event = events[0]
    assert (event.type, event.iteration, event.depth) == ("code_executed", 2, 1)
    assert (event.detail["cells"], event.detail["errors"]) == (3, 2)
    assert step.observation is not None
    assert step.observation.startswith(event.detail["observation"])


def test_a_turn_without_cells_executes_nothing_and_says_so_to_nobody() -> None:
    assert close(Turn(number=1, reply="r", problem="no_action"))[2] == []


# -- what is kept ----------------------------------------------------------------------------------


def test_the_iteration_holds_the_whole_turn() -> None:
    turn = Turn(
        number=2, reply="r", model="m", usage=usage(5, 2), elapsed_seconds=1.5, cells=(OK, BAD),
        code=("a", "b"), prose="p",
    )  # fmt: skip
    _, step, _ = close(turn, past=[STEP])
    assert step.model_copy(update={"observation": None}) == Iteration(
        number=2, reply="r", model="m", usage=usage(5, 2), elapsed_seconds=1.5, cells=(OK, BAD)
    )


def variables(*cells: Cell, before: dict[str, str] | None = None) -> dict[str, str]:
    update, _, _ = close(Turn(number=1, reply="r", cells=cells), variables=before or {})
    merged: dict[str, str] = update["variables"]
    return merged


def test_variables_are_merged_cell_by_cell() -> None:
    first = Cell(code="", status="ok", changed={"a": "int: 1", "b": "int: 2"})
    second = Cell(code="", status="error", changed={"b": "int: 3"}, removed=("a", "unknown"))
    before = {"old": "str", "a": "int: 0"}
    assert variables(first, second, before=before) == {"old": "str", "b": "int: 3"}
    assert before == {"old": "str", "a": "int: 0"}, "the state itself is not changed"


def test_a_variable_that_one_cell_removes_and_a_later_one_makes_is_there() -> None:
    gone = Cell(code="", status="ok", removed=("a",))
    made = Cell(code="", status="ok", changed={"a": "int: 2"})
    assert variables(gone, made, before={"a": "int: 1"}) == {"a": "int: 2"}


def test_variables_are_kept_through_a_turn_without_cells_and_at_the_end() -> None:
    before = {"a": "int: 1"}
    assert variables(before=before) == before
    last = Cell(code="", status="ok", changed={"b": "int: 2"}, answer=Answer(text="2"))
    update, _, _ = close(Turn(number=1, reply="r", cells=(last,), answer="2"), variables=before)
    assert update["variables"] == {"a": "int: 1", "b": "int: 2"}
