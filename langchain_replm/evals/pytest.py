"""Examples of a task as the parameters of a test, and a check that says what went wrong.

Works with pytest-xdist, and beside LangSmith's own `@pytest.mark.langsmith`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from langchain_replm.evals.tasks import task as find
from langchain_replm.evals.types import NO_SIZE

if TYPE_CHECKING:
    from langchain_replm.evals.types import Example, Score, Task

__all__ = ["check", "examples"]

SHOWN_CHARS = 500
"""Of a wrong answer."""


class _Known:
    """The task of each example that was handed out, so that `check` knows the rule."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}

    def add(self, task: Task) -> None:
        self._tasks[task.name] = task

    def of(self, example: Example) -> Task:
        return self._tasks.get(example.task) or find(example.task)


_KNOWN = _Known()


def examples(
    task: Task | str, *, context_tokens: int = NO_SIZE, count: int, seed: int = 0, **options: Any
) -> pytest.MarkDecorator:
    """Run a test once for each example; the test has an argument named `example`.

    Args:
        task: A task, or its name.
        context_tokens: Size of the contexts, if the task has sizes.
        count: How many examples.
        seed: Which ones.
        **options: Of the task, if it is named.

    Raises:
        ConfigurationError: There is no such task, or an option is wrong.

    Example:
        ```python
        from langchain_replm import RLM, ExtractiveChatModel
        from langchain_replm.evals.pytest import check, examples


        @examples("s-niah", context_tokens=8_192, count=5)
        def test_needles_are_found(example):
            response = RLM(ExtractiveChatModel()).generate(example.query, example.context)
            check(example, response)
        ```
    """
    chosen = find(task, **options) if isinstance(task, str) else task
    _KNOWN.add(chosen)
    made = list(chosen.examples(context_tokens=context_tokens, count=count, seed=seed))
    return pytest.mark.parametrize("example", made, ids=[one.id for one in made])


def check(example: Example, response: Any, *, at_least: float = 1.0) -> Score:
    """Fail the test if the answer is not right enough.

    Args:
        example: What was asked.
        response: An `RLMResponse`, an `Outcome`, or the answer itself.
        at_least: The lowest score that is good enough, from 0 to 1.

    Returns:
        The score.

    Raises:
        AssertionError: The score is lower; it says what was expected, what came, and why.

    Example:
        ```python
        from langchain_replm.evals import task
        from langchain_replm.evals.pytest import check

        [example] = task("s-niah").examples(context_tokens=1_000, count=1, seed=0)
        assert check(example, f"It is {example.expected}.").value == 1.0
        ```
    """
    __tracebackhide__ = True
    answer = response if isinstance(response, str) else response.answer
    score = _KNOWN.of(example).score(example, answer)
    if score.value < at_least:
        stop = "" if isinstance(response, str) else f" (stop reason: {response.stop_reason})"
        pytest.fail(
            f"{example.id}: the score is {score.value:g}, not {at_least:g}. {score.reason}\n"
            f"asked:    {example.query}\nexpected: {example.expected!r}\n"
            f"answer:   {answer[:SHOWN_CHARS]!r}{stop}",
            pytrace=False,
        )
    return score
