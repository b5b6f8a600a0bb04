"""Results in, bounded observation out; decides whether the run goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_replm._acceptance import Verdict, judge
from langchain_replm._effects import Emit, Flow
from langchain_replm.events import RLMEvent, preview, totals_of
from langchain_replm.prompts import (
    DIRECT_EMPTY,
    FINAL_WITH_CELLS,
    HELD,
    RESTARTED,
    budget_line,
    closing_request,
    nudge,
    observe_cells,
)
from langchain_replm.state import (
    PastRun,
    Turn,
    make_response,
    read_session,
    read_turn,
    variables_of,
)

if TYPE_CHECKING:
    from langchain_replm.scope import RunScope
    from langchain_replm.state import RLMState
    from langchain_replm.types import Iteration, StopReason


def truncate(state: RLMState, scope: RunScope) -> Flow:
    """Close the iteration: record it, and end the run or say what the root sees next.

    Yields:
        Events only.

    Returns:
        `trajectory`, `variables`, and either `answer` with `stop_reason`, or `limit` when the next
        reply is to be the closing one.
    """
    turn = read_turn(state)
    past = scope.steps(state)
    verdict = judge(turn, past, state["context_handle"], scope)
    if verdict is not None and verdict.held is not None:
        turn = turn.model_copy(update={"held": verdict.held})
    shown = _observation(turn, verdict, scope)
    if turn.cells:
        yield Emit(_executed(turn, shown, scope))
    update: dict[str, Any] = {"turn": None, "variables": variables_of(state, turn.cells)}
    if verdict is not None:
        update |= _what_was_submitted(verdict)
    stop_reason = _reason_to_stop(state, turn, past, verdict, scope)
    observation = None
    if stop_reason is None:
        limit = state.get("limit") or _limit_met(turn, scope)
        if limit is not None and not _closes(limit, scope):
            stop_reason = limit
        elif limit is not None:
            update["limit"] = limit
            observation = _closing_observation(shown, limit, turn, past)
        elif turn.error is None:  # a failed call is simply made again
            observation = shown if turn.direct else _join(shown, _budget_line(turn, scope))
    if stop_reason is not None:
        observation = None
        answer = verdict.text if verdict is not None else _best_so_far(state)
        update |= {"answer": answer, "stop_reason": stop_reason}
        update["elapsed_seconds"] = scope.elapsed_seconds()
        update["session"] = _past_runs(state, [*past, turn.as_iteration(None)], answer, scope)
        update["runs"] = len(read_session(state)) + len(update["session"])
    step = turn.as_iteration(observation)
    update["trajectory"] = [step.model_dump()]
    update["finished"] = len({step.number, *(known.number for known in past)})
    if stop_reason is not None:
        detail = {"answer": answer, "stop_reason": stop_reason}
        record = {**update, "trajectory": [*past, step]}
        detail |= totals_of(make_response(record))
        yield Emit(RLMEvent("final_answer", turn.number, preview(answer), detail, scope.depth))
    return update


def _executed(turn: Turn, shown: str, scope: RunScope) -> RLMEvent:
    errors = sum(cell.error is not None for cell in turn.cells)
    detail = {"observation": shown, "cells": len(turn.cells), "errors": errors}
    return RLMEvent("code_executed", turn.number, preview(shown), detail, scope.depth)


def _what_was_submitted(verdict: Verdict) -> dict[str, Any]:
    if verdict.taken:
        return {"structured_response": verdict.data}
    if verdict.problem:
        return {"rejected": {"answer": verdict.text, "problem": verdict.problem}}
    return {}


def _reason_to_stop(
    state: RLMState,
    turn: Turn,
    past: list[Iteration],
    verdict: Verdict | None,
    scope: RunScope,
) -> StopReason | None:
    """Why the run ends with this turn; None if it goes on, or if a limit is to be asked first."""
    limit = state.get("limit")
    if verdict is not None and verdict.taken:
        return limit or "answered"
    if turn.refused is not None:
        return limit or turn.refused
    if turn.error is not None:  # the same request is made again, the closing one too
        most = scope.settings.config.max_consecutive_errors
        return limit or "errors" if _failures(past) + 1 >= most else None
    return limit if turn.closing else None


def _best_so_far(state: RLMState) -> str:
    """The last answer that was refused for its form: better than none."""
    rejected = state.get("rejected")
    return rejected["answer"] if rejected is not None else ""


def _closes(limit: StopReason, scope: RunScope) -> bool:
    """Whether the root model is asked for a closing answer."""
    if limit == "cancelled" or (limit == "deadline" and scope.level > 0):
        return False  # the cell of the parent that would read it is stopped at the same moment
    return scope.settings.config.exit_behavior == "end"


def _closing_observation(
    shown: str, limit: StopReason, turn: Turn, past: list[Iteration]
) -> str | None:
    """What the root model reads before its closing reply; None if it has read it already."""
    request = closing_request(limit, direct=turn.direct)
    if any((step.observation or "").endswith(request) for step in past):
        return None
    return _join(shown, request)


def _failures(past: list[Iteration]) -> int:
    """Root calls that failed in a row until now."""
    count = 0
    for step in reversed(past):
        if step.error is None:
            break
        count += 1
    return count


def _limit_met(turn: Turn, scope: RunScope) -> StopReason | None:
    met = scope.budget.limit_met()
    if met is None and turn.number >= scope.max_iterations:
        return "max_iterations"
    return met


def _observation(turn: Turn, verdict: Verdict | None, scope: RunScope) -> str:
    """What the root model reads about its reply."""
    parts = []
    if turn.cells:
        shown_chars = scope.settings.config.metadata_prefix_chars
        parts.append(observe_cells(turn.cells, shown_chars=shown_chars))
    if turn.verdict is not None:
        parts.append(turn.verdict)
    if turn.problem is not None:
        parts.append(DIRECT_EMPTY if turn.direct else nudge(turn.problem, turn.detail))
    if turn.restarted is not None:
        parts.append(RESTARTED.replace("{reason}", turn.restarted))
    beside = turn.final is not None and turn.code and turn.final.kind == "text"
    if beside and scope.settings.config.hold_final_beside_cells and verdict is None:
        parts.append(FINAL_WITH_CELLS)
    if verdict is not None:
        parts.append(verdict.note)
    elif turn.held is not None:
        parts.append(HELD[turn.held])
    return _join(*parts)


def _join(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)


def _budget_line(turn: Turn, scope: RunScope) -> str:
    config, budget = scope.settings.config, scope.budget
    return budget_line(
        iterations_left=scope.max_iterations - turn.number,
        sub_calls_left=budget.sub_calls_left if config.enable_sub_calls else None,
        tool_calls_left=budget.tool_calls_left if scope.settings.tools else None,
        budget=budget,
    )


def _past_runs(
    state: RLMState, steps: list[Iteration], answer: str, scope: RunScope
) -> list[dict[str, Any]]:
    """The run as its session remembers it; a run without a thread has no session."""
    if scope.journal is None or scope.depth:
        return []
    run = PastRun(
        query=state["query"],
        context_handle=dict(state["context_handle"]),
        answer=answer,
        trajectory=tuple(steps),
    )
    return [run.model_dump()]
