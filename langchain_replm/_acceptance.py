"""Whether a submitted answer is taken: the one place where a run can end well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_replm._guards import hold
from langchain_replm.prompts import HELD, rejected_answer
from langchain_replm.types import Answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_replm.context_store import ContextHandle
    from langchain_replm.scope import RunScope
    from langchain_replm.state import Turn
    from langchain_replm.types import Iteration


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What becomes of a submitted answer."""

    text: str
    taken: bool = True
    held: str | None = None
    """The guard that holds it; names as in `RLMConfig`."""
    problem: str = ""
    """Why it does not fit `response_format`."""
    note: str = ""
    """What the root model reads when the answer was not taken."""
    data: Any = None
    """The answer as JSON data, where there is a `response_format`."""


def judge(
    turn: Turn, past: Sequence[Iteration], context: ContextHandle, scope: RunScope
) -> Verdict | None:
    """Judge what a turn has submitted; None if it has submitted nothing."""
    answer = _submitted(turn)
    if answer is None:
        return None
    guard = hold(turn, answer, past, context, scope)
    if guard is not None:
        return Verdict(text=answer.text, taken=False, held=guard, note=HELD[guard])
    answer_format = scope.answer_format
    if answer_format is None:
        return Verdict(text=answer.text)
    checked = answer_format.check(answer.text, is_json=answer.is_json)
    if checked.fits:
        return Verdict(text=answer.text, data=checked.data)
    return Verdict(
        text=answer.text,
        taken=False,
        problem=checked.problem,
        note=rejected_answer(checked.problem, direct=turn.direct),
    )


def _submitted(turn: Turn) -> Answer | None:
    from_cell = next((cell.answer for cell in turn.cells if cell.answer), None)
    if from_cell is not None:
        return from_cell
    if turn.answer is not None:
        return Answer(text=turn.answer)
    # The closing reply may be just the answer; words around code that failed are none.
    if turn.closing and turn.prose and not turn.code and turn.final is None:
        return Answer(text=turn.prose)
    return None
