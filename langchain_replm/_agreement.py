"""Which of several answers are the same, and how the root model is asked to pick among the rest."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from langchain_core.messages import HumanMessage

from langchain_replm.prompts import JUDGE, SHOWN_REPLY_CHARS, fence, shortened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage

    from langchain_replm.types import Candidate

_NOISE = re.compile(r"[\s\"'`*_.,;:!?()\[\]{}]+")
_NUMBER = re.compile(r"\d+")


def normalised(answer: str) -> str:
    """An answer without what does not make it another one: case, blanks, marks, order of keys."""
    try:
        data: Any = json.loads(answer)
    except (ValueError, RecursionError):
        data = answer
    text = data if isinstance(data, str) else json.dumps(data, sort_keys=True, ensure_ascii=False)
    if isinstance(data, int | float):
        return text
    # A minus and a point between digits mean something; marks around words do not.
    kept = re.sub(r"(?<=\d)[.,](?=\d)", "\ue000", text.casefold())
    return _NOISE.sub(" ", kept).strip().replace("\ue000", ".")


def leading_groups(found: Sequence[Candidate]) -> list[int]:
    """The first candidate of each of the largest groups of equal answers.

    Candidates that were answered come before those that met a limit; without an answer none counts,
    unless there is no other.
    """
    best = [at for at, item in enumerate(found) if item.answer and item.stop_reason == "answered"]
    best = best or [at for at, item in enumerate(found) if item.answer] or [0]
    groups: dict[str, list[int]] = {}
    for at in best:
        groups.setdefault(normalised(found[at].answer), []).append(at)
    most = max(map(len, groups.values()))
    return [group[0] for group in groups.values() if len(group) == most]


def judge_request(query: str, answers: Sequence[str]) -> list[BaseMessage]:
    """Ask the root model which answer is right; each is data in a fence of its own."""
    shown = [
        f"Answer {number}:\n{fence('answer', shortened(answer, SHOWN_REPLY_CHARS))}"
        for number, answer in enumerate(answers, start=1)
    ]
    return [HumanMessage("\n\n".join([JUDGE, f"Query:\n{query}", *shown]))]


def judge_number(reply: str, count: int) -> int | None:
    """The number that the judge names last, if it is one of the answers."""
    numbers = [int(digits[:6]) for digits in _NUMBER.findall(reply)]
    return next((number for number in reversed(numbers) if 1 <= number <= count), None)
