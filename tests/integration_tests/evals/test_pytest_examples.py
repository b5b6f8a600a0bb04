"""A team's own test file, run by pytest in a process of its own, alone and shared out."""

from __future__ import annotations

import pytest

from langchain_replm import ConfigurationError
from langchain_replm.evals import task
from langchain_replm.evals.pytest import check, examples

pytest_plugins = ["pytester"]

FILE = """
from langchain_replm import RLM, ExtractiveChatModel
from langchain_replm.evals.pytest import check, examples

@examples("s-niah", context_tokens=1_000, count=3, distractors=2)
def test_needles_are_found(example):
    response = RLM(ExtractiveChatModel()).generate(example.query, example.context)
    assert check(example, response).value == 1.0

@examples("s-niah", context_tokens=1_000, count=1, seed=7)
def test_a_wrong_answer_fails(example):
    check(example, "no idea", at_least=0.5)
"""


@pytest.mark.parametrize("shared", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_each_example_is_a_test(pytester: pytest.Pytester, shared: tuple[str, ...]) -> None:
    pytester.makepyfile(FILE)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", *shared)
    result.assert_outcomes(passed=3, failed=1)
    told = result.stdout.str()
    assert "the score is 0, not 0.5" in told
    assert "answer:   'no idea'" in told
    assert "expected: " in told


def test_a_good_enough_answer_passes_and_says_its_score() -> None:
    oolong = task("oolong")
    [example] = oolong.examples(context_tokens=2_000, count=1, seed=0)
    assert examples(oolong, context_tokens=2_000, count=1).args[1] == [example]
    assert check(example, example.expected).value == 1.0
    assert check(example, "none of it", at_least=0.0).value == 0.0


def test_an_unknown_task_is_a_clear_error() -> None:
    with pytest.raises(ConfigurationError, match="Did you mean 's-niah'"):
        examples("s-nia", context_tokens=1_000, count=1)
