"""Pairs of users that fulfil a condition, in the manner of OOLONG-Pairs."""

from __future__ import annotations

import operator
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from langchain_replm.evals.scoring_oolong import pairs_f1
from langchain_replm.evals.tasks._base import CHARS_PER_TOKEN, GeneratedTask
from langchain_replm.evals.tasks._records import ABOUT_LABELS, as_text, records
from langchain_replm.evals.tasks._utterances import LABELS
from langchain_replm.evals.types import Example, Score

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping, Sequence

    from langchain_replm.evals.tasks._records import Record

    _Users = Mapping[int, Sequence[Record]]

_LINES_PER_USER = 6
_MOST_USERS = 40
_TRIES = 50
_LEAST_SHARE = 0.02
_MOST_SHARE = 0.5
"""Of all pairs, how many the answer has: not nearly none, not nearly all."""

_FORM = (
    "List all such pairs, each pair once and the lower number first, in the form "
    "(user_1, user_2), one pair on each line."
)


class _Condition(NamedTuple):
    """Something that is true of a user or not; the text continues "who has"."""

    text: str
    holds: Callable[[Sequence[Record]], bool]


class _Relation(NamedTuple):
    """Something that is true of two users or not; the text continues "pairs of users"."""

    text: str
    trait: Callable[[Sequence[Record]], Any]
    """What must be known of each user: read once from all that the user said."""
    fits: Callable[[Any, Any], bool]
    """Whether two traits make a pair; symmetric."""


@dataclass(frozen=True)
class OolongPairs(GeneratedTask):
    """Which pairs of users fulfil a condition on what each of them said?

    After OOLONG-Pairs (RLM paper, arXiv 2512.24601, appendix), on the data of `oolong`: each line
    must be understood, counts be kept by user, and users be compared with each other. Conditions
    are of six families that take turns: both users, one and the other (in either order), with one
    or two conditions; the same count of a label; the same most common label. There are up to 40
    users, and between 2 % and half of their pairs are in the answer.

    The score is the F1 over unordered pairs.

    Example:
        ```python
        from langchain_replm.evals.tasks import task

        pairs = task("oolong-pairs")
        [example] = pairs.examples(context_tokens=2**12, count=1, seed=0)
        assert pairs.score(example, str(example.expected)).value == 1
        ```
    """

    name: ClassVar[str] = "oolong-pairs"
    least_tokens: ClassVar[int] = 1500

    def make(self, context_tokens: int, seed: int, index: int) -> Example:
        """The example at this position, which decides the family of its question."""
        rng = self._rng(context_tokens, seed, index)
        rows = records(
            rng,
            context_tokens * CHARS_PER_TOKEN,
            lines_per_user=_LINES_PER_USER,
            most_users=_MOST_USERS,
        )
        users: dict[int, list[Record]] = defaultdict(list)
        for row in rows:
            users[row.user].append(row)
        family, text, found = _ask(rng, users, index)
        return Example(
            id=self._id(context_tokens, seed, index),
            task=self.name,
            query=f"{ABOUT_LABELS}Find the pairs of two different users {text}. {_FORM}",
            context=as_text(rows),
            expected=[list(pair) for pair in found],
            context_tokens=context_tokens,
            metadata={"family": family, "users": len(users), "instances": len(rows)},
        )

    def score(self, example: Example, answer: str) -> Score:
        """F1 over unordered pairs: 1 for exactly the right ones, 0 for none of them."""
        return pairs_f1(answer, [(one, other) for one, other in example.expected])


def _ask(rng: random.Random, users: _Users, index: int) -> tuple[str, str, list[tuple[int, int]]]:
    """A relation that neither nearly none nor nearly all pairs are in, and those that are."""
    names = list(_FAMILIES)
    possible = len(users) * (len(users) - 1) // 2
    for attempt in range(_TRIES * len(names)):
        family = names[(index + attempt // _TRIES) % len(names)]
        relation = _FAMILIES[family](rng, users)
        traits = {user: relation.trait(rows) for user, rows in users.items()}
        found = [
            (one, other)
            for one, other in combinations(sorted(users), 2)
            if relation.fits(traits[one], traits[other])
        ]
        if found and _LEAST_SHARE <= len(found) / possible <= _MOST_SHARE:
            return family, relation.text, found
    msg = "no relation between these users is of use"  # 300 tries: never seen
    raise RuntimeError(msg)


# -- conditions ------------------------------------------------------------------------------------


def _usual(
    rng: random.Random,
    users: _Users,
    count: Callable[[Sequence[Record]], int],
) -> int:
    """A threshold that some users reach and some do not."""
    counts = sorted(count(rows) for rows in users.values())
    return max(1, counts[rng.randrange(len(counts) // 4, len(counts))])


def _condition(rng: random.Random, users: _Users) -> _Condition:
    one, other = rng.sample(LABELS, 2)
    kind = rng.randrange(4)
    if kind == 0:
        return _at_least(rng, users, f"'{one}'", lambda row: row.label == one)
    if kind == 1:
        either = f"'{one}' or '{other}' (both counted together)"
        return _at_least(rng, users, either, lambda row: row.label in {one, other})
    if kind == 2:  # noqa: PLR2004 - one of four
        day = rng.choice(rng.choice(list(users.values()))).day
        since = f"'{one}' on {day} or later"
        return _at_least(rng, users, since, lambda row: row.label == one and row.day >= day)
    return _Condition(
        f"more instances with the label '{one}' than with the label '{other}'",
        lambda rows: _count(rows, one) > _count(rows, other),
    )


def _at_least(
    rng: random.Random,
    users: _Users,
    text: str,
    counts: Callable[[Record], bool],
) -> _Condition:
    def count(rows: Sequence[Record]) -> int:
        return sum(map(counts, rows))

    least = _usual(rng, users, count)
    noun = "instance" if least == 1 else "instances"
    return _Condition(
        f"at least {least} {noun} with the label {text}", lambda rows: count(rows) >= least
    )


def _count(rows: Sequence[Record], label: str) -> int:
    return sum(row.label == label for row in rows)


def _favorite(rows: Sequence[Record]) -> str | None:
    """The most common label of a user; None if there are two."""
    top = Counter(row.label for row in rows).most_common(2)
    return None if len(top) > 1 and top[0][1] == top[1][1] else top[0][0]


# -- families --------------------------------------------------------------------------------------


def _two(rng: random.Random, users: _Users) -> _Condition:
    first, second = _condition(rng, users), _condition(rng, users)
    return _Condition(
        f"{first.text}, and also has {second.text}",
        lambda rows: first.holds(rows) and second.holds(rows),
    )


def _both(
    make: Callable[[random.Random, _Users], _Condition], rng: random.Random, users: _Users
) -> _Relation:
    each = make(rng, users)
    text = f"where each of the two users has {each.text}"
    return _Relation(text, each.holds, lambda one, other: one and other)


def _one_and_other(
    make: Callable[[random.Random, _Users], _Condition], rng: random.Random, users: _Users
) -> _Relation:
    first, second = make(rng, users), make(rng, users)
    return _Relation(
        f"where one user has {first.text}; and the other user has {second.text}; it does not "
        "matter which of the two is the one and which is the other",
        lambda rows: (first.holds(rows), second.holds(rows)),
        lambda one, other: (one[0] and other[1]) or (one[1] and other[0]),
    )


def _same_count(rng: random.Random, _: _Users) -> _Relation:
    label = rng.choice(LABELS)
    return _Relation(
        f"where both users have the same number of instances with the label '{label}', which may "
        "be zero",
        lambda rows: _count(rows, label),
        operator.eq,
    )


def _same_favorite(_: random.Random, __: _Users) -> _Relation:
    return _Relation(
        "where both users have the same most common label; a user who has two or more equally "
        "common labels at the top is in no pair",
        _favorite,
        lambda one, other: one is not None and one == other,
    )


_FAMILIES: dict[str, Callable[[random.Random, _Users], _Relation]] = {
    "both": lambda rng, users: _both(_condition, rng, users),
    "one and other": lambda rng, users: _one_and_other(_condition, rng, users),
    "same count": _same_count,
    "both, two conditions": lambda rng, users: _both(_two, rng, users),
    "one and other, two conditions": lambda rng, users: _one_and_other(_two, rng, users),
    "same favorite": _same_favorite,
}
