"""What holds for every task that generates its examples."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Sequence

import pytest
from langchain_core.documents import Document

from langchain_replm.errors import ConfigurationError
from langchain_replm.evals.tasks import TASKS, task
from langchain_replm.evals.types import Example, Task

GENERATED = {
    "s-niah": "1a68822e",
    "oolong": "6470a0f6",
    "oolong-pairs": "68b83577",
    "documents": "879fe383",
    "code": "",  # differs by Python version
}
"""Names, with the hash of an example: a change of what is asked must be seen, and be meant."""

each_task = pytest.mark.parametrize("name", GENERATED)


def text_of(context: str | Sequence[str | Document]) -> str:
    if isinstance(context, str):
        return context
    return "".join(part if isinstance(part, str) else part.page_content for part in context)


def digest(example: Example) -> str:
    context = example.context
    parts = [context] if isinstance(context, str) else list(context)
    data = [
        example.id,
        example.query,
        example.expected,
        example.metadata,
        *(
            part if isinstance(part, str) else [part.page_content, part.metadata, part.id]
            for part in parts
        ),
    ]
    return hashlib.sha256(json.dumps(data).encode()).hexdigest()[:8]


@pytest.mark.parametrize("name", [name for name, digest in GENERATED.items() if digest])
def test_examples_are_what_they_were(name: str) -> None:
    [example] = task(name).examples(context_tokens=2**12, count=1, seed=0)
    assert digest(example) == GENERATED[name]


@each_task
def test_an_example_depends_on_size_seed_and_position_alone(name: str) -> None:
    made = task(name)
    few = [digest(e) for e in made.examples(context_tokens=2**12, count=2, seed=3)]
    many = [digest(e) for e in task(name).examples(context_tokens=2**12, count=4, seed=3)]
    assert many[:2] == few
    [other_seed] = made.examples(context_tokens=2**12, count=1, seed=4)
    [other_size] = made.examples(context_tokens=2**12 + 100, count=1, seed=3)
    assert len({*many, digest(other_seed), digest(other_size)}) == 6


@each_task
@pytest.mark.parametrize("tokens", [2**11, 2**14, 50_000])
def test_the_context_has_the_size_that_was_asked_for(name: str, tokens: int) -> None:
    for example in task(name).examples(context_tokens=tokens, count=2, seed=tokens):
        assert abs(len(text_of(example.context)) / 4 / tokens - 1) < 0.05
        assert example.context_tokens == tokens


@each_task
def test_examples_are_named_and_belong_to_the_task(name: str) -> None:
    made = task(name)
    assert isinstance(made, Task)
    assert made.name == name
    examples = list(made.examples(context_tokens=2**11, count=3, seed=0))
    assert len({example.id for example in examples}) == 3
    assert {example.task for example in examples} == {name}
    assert json.loads(json.dumps(examples[0].expected)) == examples[0].expected
    assert json.loads(json.dumps(examples[0].metadata)) == examples[0].metadata


@each_task
def test_examples_are_made_one_at_a_time(name: str) -> None:
    endless = task(name).examples(context_tokens=2**11, count=10**12, seed=0)
    assert len(list(itertools.islice(endless, 2))) == 2


@each_task
def test_what_no_example_can_be_made_for_is_refused_before_the_first(name: str) -> None:
    made = task(name)
    with pytest.raises(ConfigurationError, match=r"needs context_tokens of at least [\d,]+, not 7"):
        made.examples(context_tokens=7, count=1, seed=0)
    with pytest.raises(ConfigurationError, match="needs a count of at least 1, not 0"):
        made.examples(context_tokens=2**11, count=0, seed=0)


@each_task
def test_an_answer_of_nothing_is_wrong(name: str) -> None:
    made = task(name)
    for example in made.examples(context_tokens=2**11, count=3, seed=0):
        for answer in ("", "I could not find out.", "\n", "None", "?"):
            assert made.score(example, answer).value == 0


def test_the_prose_hardly_repeats_itself_and_hides_nothing_by_chance() -> None:
    [example] = task("s-niah", distractors=0).examples(context_tokens=2**17, count=1, seed=0)
    text = text_of(example.context)
    found = re.split(r"(?<=\.)\s", text)
    assert len(found) > 5_000
    assert len(set(found)) > 0.999 * len(found)
    assert re.findall(r"\d+", text) == [example.expected]


def test_every_task_is_known_by_its_name() -> None:
    assert set(GENERATED) <= set(TASKS)
    for name in GENERATED:
        assert task(name).name == name


def test_a_name_or_option_that_is_not_known_is_answered_with_those_that_are() -> None:
    with pytest.raises(ConfigurationError, match=r"no task .sniah.\. Did you mean .s-niah."):
        task("sniah")
    with pytest.raises(ConfigurationError, match=r"no option .size.\. It has: haystack, dis"):
        task("s-niah", size=3)
