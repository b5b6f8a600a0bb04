"""Aggregation over many short utterances, in the manner of OOLONG."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from langchain_replm.evals.scoring_oolong import oolong
from langchain_replm.evals.tasks._base import CHARS_PER_TOKEN, GeneratedTask
from langchain_replm.evals.tasks._records import ABOUT_LABELS, MONTHS, as_text, records
from langchain_replm.evals.tasks._utterances import LABELS
from langchain_replm.evals.types import Example, Score

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from langchain_replm.evals.tasks._records import Record

_LINES_PER_USER = 12
_MOST_USERS = 300
_TRIES = 20

_FORMS = {
    "LABEL": "'Label: X', where X is one of the labels",
    "NUMERIC": "'Answer: N', where N is a number",
    "COMPARISON": (
        "'Answer: X', where X is 'more common than', 'less common than' or 'same frequency as'"
    ),
    "USER": "'User: N', where N is the user's number",
    "DATE": "'Date: YYYY-MM-DD'",
    "MONTH_YEAR": "'Answer: month year', such as 'Answer: May 2023'",
}


class _Question(NamedTuple):
    text: str
    kind: str
    truth: str | int


@dataclass(frozen=True)
class Oolong(GeneratedTask):
    """How often is what said? Each line must be understood, and all of them must be counted.

    After OOLONG (arXiv 2511.02817), on data of our own: dated lines of users, each about one of six
    subjects. No line names its subject and all are worded alike, so that a string search does not
    solve it; and the work grows with the text. Thirteen families of questions take turns: the most,
    second most and least common label, how many of a label, two labels compared; the same for one
    user, for several users, for a span of dates, before and after a date; the user, the month, the
    first date of a label. What would be a tie is not asked.

    Answers are read and scored as OOLONG does it; see `scoring_oolong.oolong`.

    Example:
        ```python
        from langchain_replm.evals.tasks import task

        oolong = task("oolong")
        for example in oolong.examples(context_tokens=2**12, count=3, seed=0):
            print(example.metadata["family"], example.expected)
        ```
    """

    name: ClassVar[str] = "oolong"
    least_tokens: ClassVar[int] = 1000

    def make(self, context_tokens: int, seed: int, index: int) -> Example:
        """The example at this position, which decides the family of its question."""
        rng = self._rng(context_tokens, seed, index)
        rows = records(
            rng,
            context_tokens * CHARS_PER_TOKEN,
            lines_per_user=_LINES_PER_USER,
            most_users=_MOST_USERS,
        )
        family, question = _ask(rng, rows, index)
        return Example(
            id=self._id(context_tokens, seed, index),
            task=self.name,
            query=f"{ABOUT_LABELS}{question.text} Give your answer as {_FORMS[question.kind]}.",
            context=as_text(rows),
            expected=question.truth,
            context_tokens=context_tokens,
            metadata={"family": family, "answer_type": question.kind, "instances": len(rows)},
        )

    def score(self, example: Example, answer: str) -> Score:
        """0.75 to the power of the error for numbers; 1 or 0 for everything else."""
        return oolong(answer, example.expected, example.metadata["answer_type"])


def _ask(rng: random.Random, rows: Sequence[Record], index: int) -> tuple[str, _Question]:
    """A question of the family whose turn it is; of the next one if that finds only ties."""
    names = list(_FAMILIES)
    turns = (names[(index + turn // _TRIES) % len(names)] for turn in range(_TRIES * len(names)))
    tried = ((family, _FAMILIES[family](rng, rows)) for family in turns)
    return next((family, question) for family, question in tried if question)  # `count` has one


# -- families --------------------------------------------------------------------------------------


def _labels(rows: Iterable[Record]) -> list[tuple[str, int]]:
    """Labels with their counts, the most common first; those that do not occur are counted, too."""
    found = Counter(dict.fromkeys(LABELS, 0))
    found.update(row.label for row in rows)
    return found.most_common()


def _only_top(values: Iterable[Hashable]) -> Hashable | None:
    """The value that occurs most often, if no other one occurs as often."""
    top = Counter(values).most_common(2)
    return top[0][0] if len(top) > 1 and top[0][1] > top[1][1] else None


def _ranked(rank: int, wording: str, rows: Sequence[Record], among: str = "") -> _Question | None:
    ranking = _labels(rows)
    label, count = ranking[rank]
    if not count or sum(other == count for _, other in ranking) > 1:
        return None
    return _Question(f"{among or 'In the data'}, which label is the {wording}?", "LABEL", label)


def _counted(label: str, rows: Iterable[Record], where: str) -> _Question | None:
    count = sum(row.label == label for row in rows)
    text = f"{where}, how many instances have the label '{label}'?"
    return _Question(text, "NUMERIC", count) if count else None


def _compared(text: str, one: int, other: int) -> _Question | None:
    truth = "more common than" if one > other else "less common than"
    return _Question(text, "COMPARISON", truth) if one != other else None


def _relative(rng: random.Random, rows: Sequence[Record]) -> _Question | None:
    one, other = rng.sample(LABELS, 2)
    counts = dict(_labels(rows))
    text = (
        f"In the data, is the label '{one}' more common, less common, or of the same frequency "
        f"when compared with the label '{other}'?"
    )
    return _compared(text, counts[one], counts[other])


def _of_user(rng: random.Random, rows: Sequence[Record]) -> tuple[str, list[Record]]:
    user = rng.choice(rows).user
    return f"Among the instances of user {user}", [row for row in rows if row.user == user]


def _of_users(rng: random.Random, rows: Sequence[Record]) -> tuple[str, list[Record]]:
    everyone = sorted({row.user for row in rows})
    users = sorted(rng.sample(everyone, max(3, len(everyone) // 10)))
    listed = ", ".join(map(str, users))
    chosen = set(users)
    return f"Among the instances of users {listed}", [r for r in rows if r.user in chosen]


def _of_dates(rng: random.Random, rows: Sequence[Record]) -> tuple[str, list[Record]]:
    first = rng.choice(rows).day
    last = first + timedelta(days=rng.randrange(30, 240))
    where = f"Among the instances from {first} to {last}, both days included"
    return where, [row for row in rows if first <= row.day <= last]


def _by_date(rng: random.Random, rows: Sequence[Record]) -> _Question | None:
    label = rng.choice(LABELS)
    cut = rng.choice(rows).day
    before = sum(row.label == label and row.day < cut for row in rows)
    after = sum(row.label == label and row.day >= cut for row in rows)
    text = (
        f"Count the instances with the label '{label}'. Is the label more common, less common, or "
        f"of the same frequency before {cut} when compared with {cut} and later?"
    )
    return _compared(text, before, after)


def _top_user(rng: random.Random, rows: Sequence[Record]) -> _Question | None:
    label = rng.choice(LABELS)
    user = _only_top(row.user for row in rows if row.label == label)
    text = f"In the data, which user has the most instances with the label '{label}'?"
    return _Question(text, "USER", int(str(user))) if user else None


def _top_month(rng: random.Random, rows: Sequence[Record]) -> _Question | None:
    label = rng.choice(LABELS)
    month = _only_top(row.day.replace(day=1) for row in rows if row.label == label)
    text = f"In the data, in which month of which year is the label '{label}' the most common?"
    if not isinstance(month, date):
        return None
    return _Question(text, "MONTH_YEAR", f"{MONTHS[month.month - 1]} {month.year}")


def _first_date(rng: random.Random, rows: Sequence[Record]) -> _Question | None:
    where, found = _of_user(rng, rows)
    label = rng.choice(LABELS)
    days = [row.day for row in found if row.label == label]
    text = f"{where}, what is the date of the earliest one with the label '{label}'?"
    return _Question(text, "DATE", str(min(days))) if days else None


def _some_label(
    part: Callable[[random.Random, Sequence[Record]], tuple[str, list[Record]]],
) -> Callable[[random.Random, Sequence[Record]], _Question | None]:
    def ask(rng: random.Random, rows: Sequence[Record]) -> _Question | None:
        where, found = part(rng, rows)
        return _counted(rng.choice(LABELS), found, where)

    return ask


def _top_label(
    part: Callable[[random.Random, Sequence[Record]], tuple[str, list[Record]]],
) -> Callable[[random.Random, Sequence[Record]], _Question | None]:
    def ask(rng: random.Random, rows: Sequence[Record]) -> _Question | None:
        where, found = part(rng, rows)
        return _ranked(0, "most common", found, where)

    return ask


_FAMILIES: dict[str, Callable[[random.Random, Sequence[Record]], _Question | None]] = {
    "most common": lambda _, rows: _ranked(0, "most common", rows),
    "count": _some_label(lambda _, rows: ("In the data", list(rows))),
    "compared": _relative,
    "least common": lambda _, rows: _ranked(-1, "least common", rows),
    "count of user": _some_label(_of_user),
    "count in dates": _some_label(_of_dates),
    "before and after": _by_date,
    "user with most": _top_user,
    "most common of users": _top_label(_of_users),
    "second most common": lambda _, rows: _ranked(1, "second most common", rows),
    "most common in dates": _top_label(_of_dates),
    "month with most": _top_month,
    "first date": _first_date,
}
"""What a family asks; None where the answer would be a tie, or nothing."""
