"""What a person is asked before work is done, and what their answer means.

A question is asked first thing in a node, before any work, because LangGraph runs an interrupted
node from its top when it is resumed. An answer is `"approve"` or `"reject"` (or True, False), or a
dict with a `type` and what belongs to it. An answer that makes no sense is asked again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from langchain_replm._effects import AskPerson
from langchain_replm.types import Record

if TYPE_CHECKING:
    from collections.abc import Collection, Generator

DecisionType = Literal["approve", "edit", "reject", "grant", "finish"]


class Decision(Record):
    """What a person has decided."""

    type: DecisionType
    message: str = ""
    """Why; the root model reads it."""
    cells: tuple[str, ...] = ()
    args: dict[str, Any] | None = None
    amount: float = 0


def ask(
    question: dict[str, Any], allowed: Collection[DecisionType]
) -> Generator[AskPerson, Any, Decision]:
    """Ask until the answer is one of those that are allowed."""
    asked = {**question, "answers": sorted(allowed)}
    while True:
        answer = yield AskPerson(asked)
        decision = _read(answer)
        problem = _problem(decision, asked, allowed)
        if decision is not None and problem is None:
            return decision
        asked = {**asked, "problem": problem}


def _read(answer: object) -> Decision | None:
    if isinstance(answer, bool):
        answer = "approve" if answer else "reject"
    if isinstance(answer, str):
        answer = {"type": answer}
    try:
        return Decision.model_validate(answer)
    except ValueError:
        return None


def _problem(
    decision: Decision | None, asked: dict[str, Any], allowed: Collection[DecisionType]
) -> str | None:
    if decision is None or decision.type not in allowed:
        return f"Answer with one of {', '.join(sorted(allowed))}, or a dict with such a 'type'."
    if decision.type == "grant" and decision.amount <= 0:
        return "Say how much: {'type': 'grant', 'amount': 10}."
    if decision.type != "edit":
        return None
    if asked["ask"] == "cells" and not any(cell.strip() for cell in decision.cells):
        return "Give the cells that are to run instead: {'type': 'edit', 'cells': ['...']}."
    if asked["ask"] == "tools" and decision.args is None:
        return "Give the arguments to use instead: {'type': 'edit', 'args': {...}}."
    return None
