"""The tasks of this package in LangSmith's `evaluate` and `aevaluate`.

A dataset of LangSmith holds the question, the right answer and how the example was made; the
context is made again where it is needed, so it is never uploaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, UUID, uuid5

from langchain_core.runnables import RunnableLambda

from langchain_replm.errors import ConfigurationError
from langchain_replm.evals.types import NO_SIZE

if TYPE_CHECKING:
    from langchain_core.runnables import Runnable, RunnableConfig
    from langsmith.schemas import Example as LangSmithExample
    from langsmith.schemas import Run

    from langchain_replm.evals.types import Example, Runner, Task

__all__ = ["LangSmithTask"]

DATASET = uuid5(NAMESPACE_URL, "langchain-replm/evals")
"""The id of the dataset in examples that were not uploaded."""


class LangSmithTask:
    """Examples of a task, a target and an evaluator, as LangSmith's `evaluate` takes them.

    Args:
        task: What is asked.
        context_tokens: Size of the contexts, if the task has sizes.
        count: How many examples.
        seed: Which ones.

    Raises:
        ConfigurationError: The task makes no examples of this size.

    Example:
        ```python
        from langchain_replm.evals import runner, task
        from langchain_replm.evals.langsmith import LangSmithTask
        from langchain_replm.testing import ScriptedChatModel

        root = ScriptedChatModel(replies=["no idea"])
        needles = LangSmithTask(task("s-niah"), context_tokens=1_000, count=2)
        target = needles.target(runner("search", root_model=root))
        # langsmith.evaluate(target, data=needles.examples, evaluators=[needles.evaluator])
        assert target.invoke(needles.examples[0].inputs)["stop_reason"] == "answered"
        ```
    """

    def __init__(
        self, task: Task, *, context_tokens: int = NO_SIZE, count: int, seed: int = 0
    ) -> None:
        self.task: Task = task
        made = task.examples(context_tokens=context_tokens, count=count, seed=seed)
        self._made: dict[str, Example] = {example.id: example for example in made}
        if not self._made:
            msg = f"The task {task.name!r} has no examples of {context_tokens:,} tokens."
            raise ConfigurationError(msg)
        self._recipe = {"task": task.name, "context_tokens": context_tokens, "seed": seed}

    @property
    def examples(self) -> list[LangSmithExample]:
        """For `data=`; also for `Client.create_examples`. Equal tasks have equal ids."""
        from langsmith.schemas import Example as LangSmithExample  # noqa: PLC0415 - slow

        return [
            LangSmithExample(
                id=self._id(example),
                dataset_id=DATASET,
                inputs={**self._recipe, "example": example.id, "query": example.query},
                outputs={"expected": example.expected},
                metadata=example.metadata,
            )
            for example in self._made.values()
        ]

    def target(self, runner: Runner) -> Runnable[dict[str, Any], dict[str, Any]]:
        """What is evaluated: the runner, asked about the context of an example.

        Its runs are below that of the target in the trace. What it gives back holds `answer`,
        `stop_reason`, `iterations`, `sub_calls`, `cost` and `usage_by_model`.
        """

        def ask(inputs: dict[str, Any], config: RunnableConfig) -> dict[str, Any]:
            return _told(runner.invoke(self._given(inputs), config))

        async def aask(inputs: dict[str, Any], config: RunnableConfig) -> dict[str, Any]:
            return _told(await runner.ainvoke(self._given(inputs), config))

        return RunnableLambda(ask, afunc=aask, name="rlm_eval")

    def evaluator(self, run: Run, example: LangSmithExample) -> dict[str, Any]:
        """The score of a run, by the published rule of the task, and the reason of it."""
        answer = (run.outputs or {}).get("answer")
        if answer is None:
            return {"key": self.task.name, "score": 0.0, "comment": "the run failed"}
        score = self.task.score(self._find(example.inputs or {}), answer)
        return {"key": self.task.name, "score": score.value, "comment": score.reason}

    def _given(self, inputs: dict[str, Any]) -> Any:
        example = self._find(inputs)
        return {"query": example.query, "context": example.context}

    def _find(self, inputs: dict[str, Any]) -> Example:
        found = self._made.get(inputs.get("example", ""))
        if found is None or {name: inputs.get(name) for name in self._recipe} != self._recipe:
            msg = (
                f"The example {inputs.get('example')!r} of the dataset is none of {self._recipe}. "
                "Make LangSmithTask with the task, size and seed that the dataset was made with."
            )
            raise ConfigurationError(msg)
        return found

    def _id(self, example: Example) -> UUID:
        return uuid5(DATASET, f"{example.id}/{self._recipe}")


def _told(response: Any) -> dict[str, Any]:
    names = ("answer", "stop_reason", "iterations", "sub_calls", "cost", "usage_by_model")
    return {name: getattr(response, name) for name in names}
