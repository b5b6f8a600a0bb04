"""Guards against answers that were never computed. Each one is a field `hold_...` of the config.

A guard that may be wrong holds an answer only once: the root model, told why, can submit it again.
None of them holds the answer of the closing reply, after which there is no other.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from langchain_replm._reply import submission_of, touched_by

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_replm.context_store import ContextHandle
    from langchain_replm.scope import RunScope
    from langchain_replm.state import Turn
    from langchain_replm.types import Answer, Cell, Iteration

MAX_PLAN_CHARS = 1_500
"""A plan is short; what is longer has found something."""

_PLAN = re.compile(
    r"\s*[#*_\"'(\[-]*\s*(?:"
    r"(?:(?:okay|ok|sure|alright|right|now|so|first|next|then|finally|to answer[^,.]{0,80}|"
    r"to (?:find|determine|solve|do)[^,.]{0,80})[,:.]?\s+)*"
    r"(?:i|we)(?:\s+(?:will|shall|would|should|need to|have to|must|can now|am going to|"
    r"are going to|plan to|want to|intend to)|['\u2019]ll|['\u2019]d need to|['\u2019]m going to)\b"
    r"|(?:(?:okay|ok|sure|now|first|next|so)[,:.]?\s+)*let(?:['\u2019]s| me| us)\b"
    r"|(?:my |the |here is (?:my|the) )?(?:plan|approach|next steps?)\s*(?:is\b|:)"
    r"|step\s*1\s*[:.)]"
    r")",
    re.IGNORECASE,
)


def is_plan(text: str) -> bool:
    """Say whether an answer reads like what is going to be done."""
    return len(text) <= MAX_PLAN_CHARS and _PLAN.match(text) is not None


def hold(
    turn: Turn, answer: Answer, past: Sequence[Iteration], context: ContextHandle, scope: RunScope
) -> str | None:
    """The guard that does not take a submitted answer, by its name; None takes it."""
    config = scope.settings.config
    if turn.closing or turn.direct:
        return None
    held = {step.held for step in past}
    submitting = next((cell for cell in turn.cells if cell.answer is not None), None)

    def may(guard: str) -> bool:
        return getattr(config, guard) and guard not in held

    if submitting is not None and may("hold_first_answer"):
        unseen = not any(step.reply for step in past) and not shown_whole(context)
        if unseen and _is_written_out(submitting):
            return "hold_first_answer"
    if may("hold_plan_answer") and not answer.is_json and is_plan(answer.text):
        return "hold_plan_answer"
    if submitting is not None and may("hold_stale_variable"):
        cells = [cell for step in past for cell in step.cells]
        if _is_stale(submitting, cells):
            return "hold_stale_variable"
    return None


def shown_whole(context: ContextHandle) -> bool:
    """The preview at the start holds all of the context."""
    shown = len(context["head"]) + len(context["tail"])
    return context["items"] == 1 and context["chars"] <= shown


def _is_written_out(cell: Cell) -> bool:
    submission = submission_of(cell.code)
    return submission is not None and submission.literal


def _is_stale(submitting: Cell, past: Sequence[Cell]) -> bool:
    """The answer comes from what a cell was to make when it failed, and none has made it since."""
    submission = submission_of(submitting.code)
    if submission is None:
        return False
    suspects = submission.names - touched_by(submitting.code).all
    for cell in reversed(past):
        if not suspects:
            return False
        if cell.status == "skipped":
            continue
        touched = touched_by(cell.code)
        if cell.status == "ok":
            suspects -= touched.all | cell.changed.keys()
        elif suspects & touched.all:
            made = cell.changed.keys() - touched.in_steps
            return bool((suspects & touched.all) - made)
    return False
