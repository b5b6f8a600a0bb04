"""One call of `Experiment.run`: what is missing, what may still be begun, what has ended."""

from __future__ import annotations

import platform
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Self

from langchain_core.callbacks import UsageMetadataCallbackHandler

import langchain_replm
from langchain_replm._prices import cost_usd, price_of
from langchain_replm.config import RLMConfig
from langchain_replm.errors import ConfigurationError, RLMError
from langchain_replm.evals._record import ANSWER_CHARS, RunResult, fingerprint
from langchain_replm.evals.types import Score

if TYPE_CHECKING:
    from langchain_core.messages.ai import UsageMetadata
    from langchain_core.runnables import RunnableConfig

    from langchain_replm.evals._progress import Progress
    from langchain_replm.evals._record import ResultsFile
    from langchain_replm.evals.experiment import Experiment
    from langchain_replm.evals.types import Example, Task

KEPT_SIZES = 2
"""How many sizes of a task are held in memory; runs of neighboring sizes overlap."""

ERROR_CHARS = 2_000


@dataclass(frozen=True, slots=True)
class Job:
    """One run that is missing."""

    task: str
    context_tokens: int
    index: int
    runner: str
    repeat: int


class InterruptedRunError(RLMError):
    """The experiment was interrupted; the run makes no more calls."""

    def __init__(self) -> None:
        super().__init__("The experiment was interrupted.")


class Watch(UsageMetadataCallbackHandler):
    """Counts what a run takes, also if it fails; refuses its next call after an interrupt."""

    raise_error = True
    run_inline = True

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.stopped_it = False

    def on_chat_model_start(self, *_args: Any, **_kwargs: Any) -> None:
        """Before each call of a model."""
        if self._session.interrupted:
            self.stopped_it = True
            raise InterruptedRunError


@dataclass
class Attempt:
    """One run while it goes on: what is raised in its `with` block is its result."""

    job: Job
    example: Example
    given: Any
    config: RunnableConfig
    watch: Watch
    response: Any = None
    error: Exception | None = None
    elapsed_seconds: float = 0.0
    _started: float = field(default_factory=time.perf_counter)

    def __enter__(self) -> Self:
        """Begin."""
        self._started = time.perf_counter()
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        """Keep what was raised, but for an interrupt or a cancel."""
        self.elapsed_seconds = time.perf_counter() - self._started
        self.error = error if isinstance(error, Exception) else None
        return self.error is not None


class Examples:
    """The examples of the tasks, made when they are needed; the last few sizes are kept."""

    def __init__(self, tasks: dict[str, Task], count: int, seed: int) -> None:
        self._tasks, self._count, self._seed = tasks, count, seed
        self._made: dict[tuple[str, int], list[Example]] = {}
        self._lock = threading.Lock()

    def get(self, job: Job) -> Example | None:
        """The example of a job; None if the task has not that many."""
        made = self.all(job.task, job.context_tokens)
        return made[job.index] if job.index < len(made) else None

    def all(self, task: str, context_tokens: int) -> list[Example]:
        """All of one size."""
        with self._lock:
            if (task, context_tokens) not in self._made:
                made = self._tasks[task].examples(
                    context_tokens=context_tokens, count=self._count, seed=self._seed
                )
                examples = list(made)
                if len({example.id for example in examples}) != len(examples):
                    msg = (
                        f"The task {task!r} gives two examples of {context_tokens:,} tokens one id."
                    )
                    raise ConfigurationError(msg)
                self._made[task, context_tokens] = examples
                for oldest in list(self._made)[:-KEPT_SIZES]:
                    del self._made[oldest]
            return self._made[task, context_tokens]


class Session:
    """What one call of `run` knows; shared by all of its threads or tasks."""

    def __init__(self, experiment: Experiment, file: ResultsFile, progress: Progress) -> None:
        self.interrupted = False
        self.stopped: str | None = None
        self.undone = 0
        self._experiment = experiment
        self._file = file
        self._progress = progress
        self._began = time.monotonic()
        self._lock = threading.Lock()

    def begin(self, job: Job) -> Attempt | None:
        """Make ready for a run; None if it may not begin, or if there is no such example."""
        with self._lock:
            self.stopped = self.stopped or self._limit()
            is_over = self.stopped is not None or self.interrupted
            self.undone += is_over
        example = None if is_over else self._experiment.examples.get(job)
        if example is not None:
            return self._begin(job, example)
        if not is_over:
            with self._lock:
                self._progress.is_none()
        return None

    def finish(self, attempt: Attempt) -> None:
        """Score a run and write it down; a judge asks a model, so this may take a while."""
        if attempt.watch.stopped_it:
            with self._lock:
                self.undone += 1
            return
        result = self._result(attempt)
        self._file.keep(result)
        with self._lock:
            self._progress.ended(result)

    def _begin(self, job: Job, example: Example) -> Attempt:
        watch = Watch(self)
        metadata = {
            "task": job.task,
            "context_tokens": job.context_tokens,
            "example": example.id,
            "runner": job.runner,
            "repeat": job.repeat,
        }
        config: RunnableConfig = {
            "callbacks": [watch],
            "tags": ["langchain-replm-evals"],
            "metadata": metadata,
            "run_name": f"{job.runner} on {example.id}",
        }
        return Attempt(
            job, example, {"query": example.query, "context": example.context}, config, watch
        )

    def _result(self, attempt: Attempt) -> RunResult:
        job, example = attempt.job, attempt.example
        fields = self._scored(attempt)
        answer = fields.pop("answer")
        told = self._experiment.definition["runners"][job.runner]
        return RunResult(
            task=job.task,
            context_tokens=job.context_tokens,
            example=example.id,
            example_sha256=fingerprint(example),
            runner=job.runner,
            repeat=job.repeat,
            seed=self._experiment.seed,
            answer=answer[:ANSWER_CHARS],
            answer_chars=len(answer),
            expected=example.expected,
            elapsed_seconds=round(attempt.elapsed_seconds, 6),
            models={role: told[f"{role}_model"] for role in _ROLES if f"{role}_model" in told},
            versions=VERSIONS,
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            **fields,
        )

    def _scored(self, attempt: Attempt) -> dict[str, Any]:
        """The fields that come from the response, or from the error."""
        response, error = attempt.response, attempt.error
        if error is None:
            try:
                fields = {name: getattr(response, name) for name in _FIELDS}
                score = self._score(attempt)
            except Exception as raised:  # noqa: BLE001 - of a runner's class, or of a task
                error = raised
            else:
                told = {"score": score.value, "reason": score.reason}
                return {**fields, **told, **self._judged(score)}
        usage = dict(attempt.watch.usage_metadata)
        return {
            "answer": "",
            "score": 0.0,
            "reason": "the run failed",
            "stop_reason": "error",
            "usage_by_model": usage,
            "cost": _cost_usd(self._experiment.runners[attempt.job.runner], usage),
            "error": f"{type(error).__name__}: {error}"[:ERROR_CHARS],
        }

    def _judged(self, score: Score) -> dict[str, Any]:
        used = score.usage_by_model
        # Some runners ask no model and know no prices; the judge is the same for all of them.
        costs = (_cost_usd(runner, used) for runner in self._experiment.runners.values())
        cost = next((cost for cost in costs if cost is not None), None)
        return {"judge_usage_by_model": used, "judge_cost": cost}

    def _score(self, attempt: Attempt) -> Score:
        if attempt.response.stop_reason == "window":
            return Score(0.0, "the context is longer than the window of the model")
        task = self._experiment.tasks[attempt.job.task]
        return task.score(attempt.example, attempt.response.answer)

    def _limit(self) -> str | None:
        """Why nothing more may begin."""
        experiment, file = self._experiment, self._file
        if experiment.max_seconds is not None:
            seconds = time.monotonic() - self._began
            if seconds >= experiment.max_seconds:
                return f"max_seconds={experiment.max_seconds:g} is over"
        if experiment.max_total_tokens is not None:
            most = experiment.max_total_tokens
            if file.tokens >= most:
                return f"max_total_tokens={most:,}: {file.tokens:,} are spent"
        if experiment.max_cost_usd is not None:
            if file.unpriced is not None:
                return (
                    f"max_cost_usd={experiment.max_cost_usd:g} cannot be held: the cost of "
                    f"{file.unpriced} is unknown; give its models prices (RLMConfig.prices)"
                )
            if file.cost_usd >= experiment.max_cost_usd:
                return f"max_cost_usd={experiment.max_cost_usd:g}: ${file.cost_usd:.4f} are spent"
        return None


_ROLES = ("root", "sub")
_FIELDS = ("answer", "stop_reason", "iterations", "sub_calls", "cost", "usage_by_model")

VERSIONS = {
    "python": platform.python_version(),
    "langchain-replm": langchain_replm.__version__,
    "langchain-core": version("langchain-core"),
    "langgraph": version("langgraph"),
}


def _cost_usd(runner: Any, usage: dict[str, UsageMetadata]) -> float | None:
    """What that has cost, if the runner knows the prices of the models."""
    config = getattr(runner, "config", None)
    if not usage or not isinstance(config, RLMConfig):
        return None if usage else 0.0
    costs = [cost_usd(tokens, price_of(config, name)) for name, tokens in usage.items()]
    return None if None in costs else sum(cost or 0.0 for cost in costs)
