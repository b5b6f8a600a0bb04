"""One needle in a haystack: the question can be answered from the text, and only so."""

from __future__ import annotations

import re

import pytest

from langchain_replm.errors import ConfigurationError
from langchain_replm.evals.tasks import task


def solve(query: str, text: str) -> str:
    thing = re.search(r"code is given for the (.+?)\.", query)
    assert thing
    [code] = re.findall(rf"The secret code for the {thing[1]} is (\d+)\.", text)
    return code


@pytest.mark.parametrize("options", [{}, {"haystack": "noise"}, {"distractors": 10}])
def test_a_search_for_the_needle_finds_it_and_a_distractor_is_wrong(options: dict) -> None:
    needles = task("s-niah", **options)
    for example in needles.examples(context_tokens=2**11, count=20, seed=5):
        text = str(example.context)
        code = solve(example.query, text)
        assert needles.score(example, code).value == 1
        assert needles.score(example, f"The code is **{int(code):,}**.").value == 1
        others = set(re.findall(r"\d{7}", text)) - {code}
        assert len(others) == options.get("distractors", 4)
        for other in others:
            assert needles.score(example, other).value == 0
            assert needles.score(example, f"{code} or {other}").value == 0
        assert needles.score(example, code[:-1]).value == 0
        assert needles.score(example, code + "0").value == 0


def test_needles_lie_at_all_depths() -> None:
    depths = []
    for example in task("s-niah").examples(context_tokens=2**11, count=20, seed=0):
        at = str(example.context).index(example.expected) / len(str(example.context))
        assert abs(at - example.metadata["depth"]) < 0.05
        depths.append(at)
    gaps = [b - a for a, b in zip([0, *sorted(depths)], [*sorted(depths), 1], strict=True)]
    assert max(gaps) < 0.15


def test_some_distractors_share_a_word_with_the_thing_that_is_asked_for() -> None:
    [example] = task("s-niah").examples(context_tokens=2**11, count=1, seed=0)
    things = re.findall(r"The secret code for the (\w+) (\w+) is", str(example.context))
    asked = re.search(r"for the (\w+) (\w+)\.", example.query)
    assert asked
    assert sum(asked[1] == adjective for adjective, _ in things) == 2
    assert sum(asked[2] == noun for _, noun in things) == 2
    assert len(set(things)) == 5


@pytest.mark.parametrize(
    "options", [{"haystack": "hay"}, {"distractors": 11}, {"distractors": "4"}]
)
def test_options_that_cannot_be_are_refused(options: dict) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        task("s-niah", **options)
