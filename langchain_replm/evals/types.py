"""The words of an evaluation: an example, a task that makes and scores them, an outcome."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.documents import Document
    from langchain_core.messages.ai import UsageMetadata
    from langchain_core.runnables import Runnable

    from langchain_replm.state import RLMInput
    from langchain_replm.types import RLMResponse


NO_SIZE: Final = 0
"""The `context_tokens` of a task that has no sizes."""


@dataclass(frozen=True, slots=True)
class Example:
    """One question with its context and the answer that is known to be right."""

    id: str
    """Unique within the task, and the same for the same task, size and seed."""
    task: str
    query: str
    context: str | list[str] | list[Document]
    expected: Any
    """JSON data; only the task that made it knows its shape."""
    context_tokens: int
    """The size that was asked for; a real tokenizer may count some more or fewer."""
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Score:
    """How right an answer is: from 0 (wrong) to 1 (right), and why."""

    value: float
    reason: str = ""
    usage_by_model: dict[str, UsageMetadata] = field(default_factory=dict, compare=False)
    """What a judge took to say so."""


@runtime_checkable
class Task(Protocol):
    """A kind of question whose answers can be checked."""

    @property
    def name(self) -> str:
        """What it is called in results and on the command line, such as `s-niah`."""

    def examples(self, *, context_tokens: int, count: int, seed: int) -> Iterator[Example]:
        """`count` examples of about `context_tokens` each, one at a time; equal for equal input.

        There may be fewer, where they are not made but found. A task whose contexts are what they
        are has a `has_sizes` that is False, and is asked for `NO_SIZE` tokens.
        """

    def score(self, example: Example, answer: str) -> Score:
        """How right the answer is, by the published rule of the task."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a runner that is no RLM gives back: the fields of `RLMResponse` that are compared."""

    answer: str
    stop_reason: str = "answered"
    iterations: int = 1
    sub_calls: int = 0
    cost: float | None = None
    """USD; None where no prices are known."""
    usage_by_model: dict[str, UsageMetadata] = field(default_factory=dict)


def has_sizes(task: Task) -> bool:
    """Whether the task makes contexts of the size that is asked for."""
    return bool(getattr(task, "has_sizes", True))


Runner: TypeAlias = "Runnable[RLMInput, RLMResponse] | Runnable[RLMInput, Outcome]"
"""A way to answer: an `RLM`, or any other Runnable over the same input."""
