"""Pairs of users: a solver that reads the question and the lines finds exactly the right ones."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable
from datetime import date
from itertools import permutations

import pytest

from langchain_replm.evals.tasks import task
from langchain_replm.evals.tasks._records import records
from langchain_replm.evals.tasks.oolong_pairs import _FAMILIES, _ask
from langchain_replm.evals.types import Example
from tests.unit_tests.evals.labelled import Said, read

Holds = Callable[[list[Said]], bool]


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    made = task("oolong-pairs").examples(context_tokens=2**12, count=30, seed=2)
    return [*made, *task("oolong-pairs").examples(context_tokens=1500, count=12, seed=3)]


def condition(text: str) -> Holds:
    first, _, second = text.partition(", and also has ")
    if second:
        return lambda rows: condition(first)(rows) and condition(second)(rows)
    if found := re.fullmatch(r"more .* label '(\w+)' than .* label '(\w+)'", text):
        return lambda rows: count(rows, found[1]) > count(rows, found[2])
    found = re.fullmatch(
        r"at least (\d+) instances? with the label '(\w+)'(?: or '(\w+)' \(both .*\))?"
        r"(?: on (\S+) or later)?",
        text,
    )
    assert found, text
    since = date.fromisoformat(found[4] or "0001-01-01")
    return lambda rows: (
        sum(row.label in found.groups()[1:3] and row.day >= since for row in rows) >= int(found[1])
    )


def count(rows: list[Said], label: str) -> int:
    return [row.label for row in rows].count(label)


def favorite(rows: list[Said]) -> str:
    (label, most), *others = Counter(row.label for row in rows).most_common()
    return label if all(count < most for _, count in others) else ""


def relation(query: str) -> Callable[[list[Said], list[Said]], bool]:
    text = re.search(r"two different users where (.*)\. List all", query)
    assert text
    if found := re.fullmatch(r"each of the two users has (.*)", text[1]):
        return lambda one, other: condition(found[1])(one) and condition(found[1])(other)
    if found := re.fullmatch(r"one user has (.*); and the other user has (.*); it .*", text[1]):
        return lambda one, other: condition(found[1])(one) and condition(found[2])(other)
    if found := re.fullmatch(r"both .* same number .* label '(\w+)', which may be zero", text[1]):
        return lambda one, other: count(one, found[1]) == count(other, found[1])
    assert "both users have the same most common label" in text[1]
    return lambda one, other: favorite(one) == favorite(other) != ""


def solve(query: str, context: str) -> set[tuple[int, int]]:
    rows = read(context)
    users = {row.user: [r for r in rows if r.user == row.user] for row in rows}
    fits = relation(query)
    return {
        (min(pair), max(pair))
        for pair in permutations(users, 2)
        if fits(users[pair[0]], users[pair[1]])
    }


def test_a_solver_that_understands_each_line_finds_all_pairs(examples: list[Example]) -> None:
    pairs = task("oolong-pairs")
    for example in examples:
        found = solve(example.query, str(example.context))
        answer = "\n".join(f"({two}, {one})" for one, two in found)
        assert pairs.score(example, answer).value == 1, example.query


def test_families_take_turns_and_answers_are_neither_empty_nor_everything(
    examples: list[Example],
) -> None:
    assert {example.metadata["family"] for example in examples} == set(_FAMILIES)
    for example in examples:
        possible = example.metadata["users"] * (example.metadata["users"] - 1) / 2
        assert 0 < len(example.expected) <= possible / 2


def test_a_part_of_the_pairs_gets_a_part_of_the_score(examples: list[Example]) -> None:
    pairs = task("oolong-pairs")
    for example in examples:
        right = example.expected
        wrong = [[1, number] for number in range(2, 2 + len(right))]
        assert pairs.score(example, str(right + wrong)).value == pytest.approx(2 / 3)
        assert pairs.score(example, str(wrong)).value == 0
        half = right[: len(right) // 2]
        share = 2 * len(half) / (len(half) + len(right))
        assert pairs.score(example, str(half)).value == pytest.approx(share)
        assert pairs.score(example, str([[b, a] for a, b in right] + right)).value == 1


def test_users_between_whom_there_is_nothing_to_tell_are_no_question() -> None:
    rows = records(random.Random(0), 4000, lines_per_user=6, most_users=9)
    with pytest.raises(RuntimeError, match="no relation between these users"):
        _ask(random.Random(0), {1: rows, 2: rows}, 0)
