"""Dated utterances of users, in the line format of OOLONG, with labels that are not written."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from langchain_replm.evals.tasks._utterances import LABELS, utter

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

_FIRST_DAY = date(2023, 1, 1)
_DAYS = 2 * 365 - 1
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
_MEAN_LINE_CHARS = 150

ABOUT_LABELS = (
    "Each line of the data is an instance: something a user said on a date. Each instance is about "
    f"exactly one of these labels: {', '.join(LABELS)}. The data does not name the labels; find "
    "them from the meaning of each instance. "
)
"""What every question over records begins with."""


class Record(NamedTuple):
    """One line, and what it is about."""

    day: date
    user: int
    label: str
    text: str

    @property
    def line(self) -> str:
        """The record as it stands in the context: without its label."""
        day = f"{MONTHS[self.day.month - 1][:3]} {self.day.day:02}, {self.day.year}"
        return f"Date: {day} || User: {self.user} || Instance: {self.text}"


def records(
    rng: random.Random, chars: int, *, lines_per_user: int, most_users: int
) -> list[Record]:
    """Records whose lines have about `chars` characters.

    How often a label occurs, and who says how much, differs from one call to the next.
    """
    users_count = max(4, min(most_users, chars // _MEAN_LINE_CHARS // lines_per_user))
    users = rng.sample(range(10_000, 100_000), users_count)
    of_users = list(accumulate(rng.uniform(0.5, 1.5) for _ in users))
    of_labels = list(accumulate(rng.uniform(0.4, 1.6) for _ in LABELS))
    made: list[Record] = []
    while True:
        [user] = rng.choices(users, cum_weights=of_users)
        [label] = rng.choices(LABELS, cum_weights=of_labels)
        day = _FIRST_DAY + timedelta(days=rng.randrange(_DAYS))
        record = Record(day, user, label, utter(label, rng))
        chars -= len(record.line) + 1
        if chars < 0:
            return made
        made.append(record)


def as_text(rows: Sequence[Record]) -> str:
    """The context: one line for each record."""
    return "\n".join(row.line for row in rows)
