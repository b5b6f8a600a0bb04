"""An independent reader of the data of `oolong` and `oolong-pairs`: from text alone to labels.

It knows the map from what people say to what it is about, and nothing of the generator.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from functools import cache
from typing import NamedTuple

from langchain_replm.evals.tasks._utterances import CHOICES, CLOSINGS, LABELS, OPENINGS, SHAPES

LINE = re.compile(r"Date: (\w{3} \d\d, \d{4}) \|\| User: (\d{5}) \|\| Instance: (.+)")


class Said(NamedTuple):
    day: date
    user: int
    label: str
    text: str


def one_of(texts: list[str]) -> str:
    return "(?:" + "|".join(sorted(map(re.escape, texts), key=len, reverse=True)) + ")"


def pattern(shape: str) -> re.Pattern[str]:
    filled = re.sub(r"\\\[(\w+)\\\]", lambda slot: one_of(CHOICES[slot[1]]), re.escape(shape))
    return re.compile(f"{one_of(OPENINGS)} {filled}{one_of(CLOSINGS)}")


PATTERNS = {label: [pattern(shape) for shape in SHAPES[label]] for label in LABELS}


@cache
def label_of(text: str) -> str:
    found = [label for label in LABELS if any(p.fullmatch(text) for p in PATTERNS[label])]
    assert len(found) == 1, (text, found)
    return found[0]


def read(context: str) -> list[Said]:
    rows = []
    for line in context.splitlines():
        found = LINE.fullmatch(line)
        assert found, line
        day = datetime.strptime(found[1], "%b %d, %Y").date()  # noqa: DTZ007
        rows.append(Said(day, int(found[2]), label_of(found[3]), found[3]))
    return rows
