"""Aggregation over utterances: a solver that understands them is right, a search is not."""

from __future__ import annotations

import re
from collections import Counter
from datetime import date

import pytest

from langchain_replm.evals.tasks import task
from langchain_replm.evals.tasks._utterances import LABELS, SHAPES
from langchain_replm.evals.tasks.oolong import _FAMILIES
from langchain_replm.evals.types import Example
from tests.unit_tests.evals.labelled import Said, read

TOKENS = 2**11


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    return list(task("oolong").examples(context_tokens=TOKENS, count=52, seed=11))


def part(query: str, rows: list[Said]) -> list[Said]:
    if found := re.search(r"instances of users? ([\d, ]+), (?:which|how|what)", query):
        users = set(map(int, found[1].split(", ")))
        return [row for row in rows if row.user in users]
    if found := re.search(r"instances from (\S+) to (\S+), both days", query):
        first, last = map(date.fromisoformat, found.groups())
        return [row for row in rows if first <= row.day <= last]
    return rows


def top(values: list[object], rank: int = 0) -> object:
    ranking = Counter(values).most_common()
    assert [count for _, count in ranking].count(ranking[rank][1]) == 1, "a tie"
    return ranking[rank][0]


def compare(one: int, other: int) -> str:
    assert one != other, "a tie"
    return "more common than" if one > other else "less common than"


def solve(query: str, context: str) -> str:
    rows = part(query, read(context))
    return of_all_labels(query, rows) or of_one_label(query, rows)


def of_all_labels(query: str, rows: list[Said]) -> str | None:
    labels = [row.label for row in rows]
    if found := re.search(r"which label is the (most|second most|least) common\?", query):
        return f"Label: {top(labels, {'most': 0, 'second most': 1, 'least': -1}[found[1]])}"
    if found := re.search(r"how many instances have the label '(\w+)'", query):
        return f"Answer: {labels.count(found[1])}"
    if found := re.search(r"the label '(\w+)' more .* with the label '(\w+)'\?", query):
        return f"Answer: {compare(*map(labels.count, found.groups()))}"
    return None


def of_one_label(query: str, rows: list[Said]) -> str:
    if found := re.search(r"the label '(\w+)'\. .* before (\S+) when compared", query):
        label, cut = found[1], date.fromisoformat(found[2])
        days = [row.day for row in rows if row.label == label]
        return f"Answer: {compare(sum(d < cut for d in days), sum(d >= cut for d in days))}"
    found = re.search(r"the label '(\w+)'", query)
    assert found
    rows = [row for row in rows if row.label == found[1]]
    if "which user has the most" in query:
        return f"User: {top([row.user for row in rows])}"
    if "in which month" in query:
        return f"Answer: {top([format(row.day, '%B %Y') for row in rows])}"
    assert "earliest" in query
    return f"Date: {min(row.day for row in rows)}"


def test_a_solver_that_understands_each_line_is_always_right(examples: list[Example]) -> None:
    oolong = task("oolong")
    for example in examples:
        answer = solve(example.query, str(example.context))
        assert oolong.score(example, answer).value == 1, (example.query, answer, example.expected)


def test_families_take_turns_and_all_occur(examples: list[Example]) -> None:
    families = Counter(example.metadata["family"] for example in examples)
    assert set(families) == set(_FAMILIES)
    assert families.most_common(1)[0][1] <= 10
    kinds = {example.metadata["answer_type"] for example in examples}
    assert kinds == {"LABEL", "NUMERIC", "COMPARISON", "USER", "DATE", "MONTH_YEAR"}
    for kind, values in (("LABEL", LABELS), ("COMPARISON", ("more common than", "less"))):
        truths = {e.expected for e in examples if e.metadata["answer_type"] == kind}
        assert len(truths) >= len(values) - 2, "not always the same answer"


def test_wrong_answers_get_nothing_and_near_numbers_their_part(examples: list[Example]) -> None:
    oolong = task("oolong")
    for example in examples:
        kind, truth = example.metadata["answer_type"], example.expected
        if kind == "NUMERIC":
            assert oolong.score(example, f"Answer: {truth + 2}").value == 0.75**2
            assert oolong.score(example, f"Answer: {truth - 1}").value == 0.75
            assert oolong.score(example, "Answer: many").value == 0
        elif kind == "LABEL":
            for label in set(LABELS) - {truth}:
                assert oolong.score(example, f"Label: {label}").value == 0
        elif kind == "COMPARISON":
            other = {"more common than", "less common than"} - {truth}
            assert oolong.score(example, f"Answer: {other.pop()}").value == 0
            assert oolong.score(example, "Answer: same frequency as").value == 0
        elif kind == "DATE":
            assert oolong.score(example, "Date: 2022-01-01").value == 0
        else:
            assert oolong.score(example, "User: 1").value == 0


def test_no_line_names_a_label(examples: list[Example]) -> None:
    stems = ("cook ", "cooking", "health", "money", "travel", "sport", "comput")
    for example in examples:
        text = str(example.context).lower()
        assert not [stem for stem in stems if stem in text]


def test_a_string_search_does_not_count(examples: list[Example]) -> None:
    """Not even one that is told, for each label, which word to search for."""
    rows = [row for example in examples for row in read(str(example.context))]
    for label in LABELS:
        mine = [set(re.findall(r"\w+", row.text.lower())) for row in rows if row.label == label]
        others = [set(re.findall(r"\w+", row.text.lower())) for row in rows if row.label != label]
        inside = Counter(word for words in mine for word in words)
        outside = Counter(word for words in others for word in words)
        best = max(inside, key=lambda word: inside[word] - outside[word])
        assert inside[best] < 0.4 * len(mine), best


def test_labels_are_worded_alike(examples: list[Example]) -> None:
    asks = {"how", "why", "whether", "which", "when", "what"}
    for shapes in SHAPES.values():
        assert {shape.split()[0] for shape in shapes} == asks
    rows = [row for example in examples for row in read(str(example.context))]
    for opening in ("Does anybody know", "Nobody could tell me", "Please explain"):
        assert {row.label for row in rows if row.text.startswith(opening)} == set(LABELS)


def test_lines_hardly_repeat(examples: list[Example]) -> None:
    lines = [line for example in examples for line in str(example.context).splitlines()]
    assert len(lines) > 2_500
    assert len(set(lines)) > 0.999 * len(lines)
