"""One needle in a haystack, after the single-needle tasks of RULER that the RLM paper uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from langchain_replm.errors import ConfigurationError
from langchain_replm.evals.scoring import digits_in
from langchain_replm.evals.tasks._base import CHARS_PER_TOKEN, GeneratedTask, spread
from langchain_replm.evals.tasks._prose import ADJECTIVES, NOUNS, paragraphs, sentences
from langchain_replm.evals.types import Example, Score

if TYPE_CHECKING:
    import random

Haystack = Literal["prose", "noise"]

_MOST_DISTRACTORS = 10
_NOISE = (
    "Rain fell on the roofs.",
    "The kettle began to sing.",
    "Somebody closed a window.",
    "The road ran on and on.",
    "Then it was evening again.",
)


@dataclass(frozen=True)
class SNiah(GeneratedTask):
    """A code is given once in a long text, and like ones are given for other things.

    The RLM paper (arXiv 2512.24601) asks this for 2^13 to 2^20 tokens, after RULER (arXiv
    2404.06654). The work does not grow with the text: a string search solves it, so it shows
    whether a system keeps what it can do at all, not whether it can aggregate.

    The answer is right if it has the number and none of the other needles' numbers.

    Args:
        haystack: `"prose"` (a grammar's sentences, hardly one of them twice) or `"noise"` (five
            sentences again and again, as in RULER's easiest needle task).
        distractors: How many other needles there are, from 0 to 10.

    Example:
        ```python
        from langchain_replm.evals.tasks import task

        for example in task("s-niah").examples(context_tokens=2**13, count=2, seed=1):
            print(example.query, example.expected)
        ```
    """

    haystack: Haystack = "prose"
    distractors: int = 4

    name: ClassVar[str] = "s-niah"
    least_tokens: ClassVar[int] = 512

    def __post_init__(self) -> None:
        if self.haystack not in get_args(Haystack):
            msg = f"haystack is one of {', '.join(get_args(Haystack))}, not {self.haystack!r}."
            raise ConfigurationError(msg)
        if self.distractors not in range(_MOST_DISTRACTORS + 1):
            msg = f"distractors is from 0 to {_MOST_DISTRACTORS}, not {self.distractors!r}."
            raise ConfigurationError(msg)

    def make(self, context_tokens: int, seed: int, index: int) -> Example:
        """The example at this position; needles of neighboring positions lie at far depths."""
        rng = self._rng(context_tokens, seed, index)
        depth = spread(seed, index)
        keys = _keys(rng, self.distractors + 1)
        numbers = [str(number) for number in rng.sample(range(1_000_000, 10_000_000), len(keys))]
        needles = [_needle(key, number) for key, number in zip(keys, numbers, strict=True)]
        depths = [depth, *(rng.random() for _ in needles[1:])]
        room = context_tokens * CHARS_PER_TOKEN - sum(len(needle) + 1 for needle in needles)
        hay = sentences(rng, room) if self.haystack == "prose" else _noise(room)
        places = sorted(zip(depths, needles, strict=True), reverse=True)
        for place, needle in [(round(depth * len(hay)), needle) for depth, needle in places]:
            hay.insert(place, needle)
        return Example(
            id=self._id(context_tokens, seed, index),
            task=self.name,
            query=(
                f"Somewhere in the text a secret code is given for the {keys[0]}. "
                "What is that code? Answer with the code alone."
            ),
            context=paragraphs(rng, hay),
            expected=numbers[0],
            context_tokens=context_tokens,
            metadata={"depth": round(depth, 4), "other_codes": numbers[1:]},
        )

    def score(self, example: Example, answer: str) -> Score:
        """1 if the code is in the answer and no other needle's is, else 0."""
        said = digits_in(answer)
        if example.expected not in said:
            return Score(0, f"the code {example.expected} is not in the answer")
        if wrong := [code for code in example.metadata["other_codes"] if code in said]:
            return Score(0, f"the answer also has the code {wrong[0]} of something else")
        return Score(1)


def _needle(key: str, number: str) -> str:
    return f"The secret code for the {key} is {number}."


def _keys(rng: random.Random, count: int) -> list[str]:
    """Different things; every other one shares a word with the first, which is asked for."""
    adjectives = rng.sample(ADJECTIVES, count)
    nouns = rng.sample(NOUNS, count)
    shared = [
        (adjectives[0] if at % 4 == 1 else adjective, nouns[0] if at % 4 == 3 else noun)  # noqa: PLR2004
        for at, (adjective, noun) in enumerate(zip(adjectives, nouns, strict=True))
    ]
    return [f"{adjective} {noun}" for adjective, noun in shared]


def _noise(chars: int) -> list[str]:
    found: list[str] = []
    while chars > 0:
        found.append(_NOISE[len(found) % len(_NOISE)])
        chars -= len(found[-1]) + 1
    return found
