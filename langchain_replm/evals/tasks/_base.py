"""What generated tasks share: sizes, seeds, and examples that are made one at a time."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from langchain_replm.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_replm.evals.types import Example, Score

CHARS_PER_TOKEN = 4
"""The rule by which sizes are counted: near what tokenizers do with English, and no dependency."""

_GOLDEN = 0.6180339887498949


def check_request(name: str, *, context_tokens: int, least_tokens: int, count: int) -> None:
    """Refuse what no example can be made for.

    Raises:
        ConfigurationError: The size is under the least one of the task, or the count under 1.
    """
    if context_tokens < least_tokens:
        msg = (
            f"The task {name!r} needs context_tokens of at least {least_tokens:,}, "
            f"not {context_tokens:,}."
        )
        raise ConfigurationError(msg)
    if count < 1:
        msg = f"The task {name!r} needs a count of at least 1, not {count}."
        raise ConfigurationError(msg)


def rng_for(*key: object) -> random.Random:
    """A source of choices that depends on the key alone, on every machine and Python version."""
    return random.Random("/".join(map(str, key)))  # noqa: S311 - examples, no secrets


def spread(seed: int, index: int) -> float:
    """A number from 0 to 1; those of the first indices are spread evenly, however many there are.

    Steps of the golden ratio leave no large gap at any count, so that examples need not know how
    many of them were asked for.
    """
    return (rng_for("spread", seed).random() + index * _GOLDEN) % 1


def shuffled(rows: Sequence[int], *key: object) -> list[int]:
    """The rows in a random order that depends on the key alone."""
    return rng_for(*key).sample(rows, len(rows))


class GeneratedTask(ABC):
    """A task that makes its examples: one at a time, equal for equal size, seed and position."""

    name: ClassVar[str]
    least_tokens: ClassVar[int]
    """The smallest context in which the question makes sense."""

    def examples(self, *, context_tokens: int, count: int, seed: int) -> Iterator[Example]:
        """Make `count` examples of `context_tokens` each (four characters are a token), lazily.

        The example at a position does not depend on how many are asked for.

        Raises:
            ConfigurationError: The size is under `least_tokens`, or the count under 1.
        """
        check_request(
            self.name, context_tokens=context_tokens, least_tokens=self.least_tokens, count=count
        )
        return (self.make(context_tokens, seed, index) for index in range(count))

    @abstractmethod
    def make(self, context_tokens: int, seed: int, index: int) -> Example:
        """The one example at this position."""

    @abstractmethod
    def score(self, example: Example, answer: str) -> Score:
        """How right the answer is, by the published rule of the task."""

    def _id(self, context_tokens: int, seed: int, index: int) -> str:
        return f"{self.name}-{context_tokens}-{seed}-{index}"

    def _rng(self, context_tokens: int, seed: int, index: int) -> random.Random:
        return rng_for(self.name, context_tokens, seed, index)
