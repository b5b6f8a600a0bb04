"""Tasks times sizes times runners times repeats: run, resumed, bounded, written down."""

from __future__ import annotations

import asyncio
from concurrent.futures import as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_core.runnables.config import ContextThreadPoolExecutor

from langchain_replm.errors import ConfigurationError
from langchain_replm.evals._definition import describe_runner, describe_task
from langchain_replm.evals._progress import open_progress
from langchain_replm.evals._record import ResultsFile, check_example
from langchain_replm.evals._session import Examples, Job, Session
from langchain_replm.evals.results import Results
from langchain_replm.evals.types import NO_SIZE, has_sizes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from langchain_replm.evals.types import Runner, Task


class Experiment:
    r"""Runs every runner on every example, and keeps each result as it comes.

    A result is one line of a JSON Lines file. Run it again, in another process or after a kill, and
    only what is missing is done. More sizes, runners, tasks and repeats may be added to a file;
    another seed, count, task or runner under a known name is refused.

    A run that fails is a result with an `error` and the score 0. Limits are those of the whole
    experiment, earlier results in the file included (time: of this call): once one is met nothing
    more begins, and `Results.note` says what was left undone. Runs that are going on then end as
    usual, so up to `max_concurrency` runs may go over it; `RLMConfig` bounds each of them.

    Args:
        tasks: What is asked. Their names must differ.
        runners: What answers, by the name that results call it: `runner(...)`, an `RLM`, or any
            Runnable over `{"query", "context"}` that returns an `RLMResponse` or an `Outcome`.
        context_tokens: Sizes of the contexts, of all tasks that have sizes; `questions` has none.
        count: Examples of each task and size; a task from a file may have fewer.
        repeats: Runs of each runner on each example.
        seed: Of the examples. Models are not seeded: give them a temperature, or a seed of their
            own.
        results: The file; None keeps results in memory only.
        max_concurrency: Runs at once. Each of them may make several calls at once.
        max_cost_usd: Needs the prices of all models, that of a judge too.
        max_total_tokens: Input and output of all models, those of a judge too.
        max_seconds: Of this call of `run`.
        retry_errors: Make runs again that have failed.
        progress: Say on standard error how far it is.

    Raises:
        ConfigurationError: A value is wrong, or two tasks have one name.

    Example:
        ```python
        from langchain_replm.evals.experiment import Experiment
        from langchain_replm.evals.runners import runner
        from langchain_replm.evals.types import Example, Score
        from langchain_replm.testing import ScriptedChatModel


        class Herons:
            name = "herons"

            def examples(self, *, context_tokens, count, seed):
                for n in range(count):
                    text = "a heron. " * (n + 1)
                    yield Example(f"h{n}", self.name, "How many?", text, n + 1, context_tokens)

            def score(self, example, answer):
                return Score(float(answer == str(example.expected)))


        root = ScriptedChatModel(replies=["```repl\nFINAL(context.count('heron'))\n```"])
        runners = {"rlm": runner("rlm", root_model=root)}
        done = Experiment([Herons()], runners, context_tokens=[8], count=2, progress=False).run()
        assert [run.score for run in done.runs] == [1.0, 1.0]
        ```
    """

    def __init__(  # noqa: PLR0913 - the parameters of an experiment
        self,
        tasks: Sequence[Task],
        runners: Mapping[str, Runner],
        *,
        context_tokens: Sequence[int] = (),
        count: int = 5,
        repeats: int = 1,
        seed: int = 0,
        results: str | Path | None = None,
        max_concurrency: int = 4,
        max_cost_usd: float | None = None,
        max_total_tokens: int | None = None,
        max_seconds: float | None = None,
        retry_errors: bool = False,
        progress: bool = True,
    ) -> None:
        self.tasks: dict[str, Task] = {task.name: task for task in tasks}
        self.runners: dict[str, Runner] = dict(runners)
        self.context_tokens: list[int] = list(dict.fromkeys(context_tokens))
        self.count: int = count
        self.repeats: int = repeats
        self.seed: int = seed
        self.results: Path | None = None if results is None else Path(results)
        self.max_concurrency = max_concurrency
        self.max_cost_usd = max_cost_usd
        self.max_total_tokens = max_total_tokens
        self.max_seconds = max_seconds
        self.retry_errors = retry_errors
        self.progress = progress
        self._check(len(tasks))
        self.definition: dict[str, Any] = {
            "seed": seed,
            "count": count,
            "tasks": {name: describe_task(task) for name, task in self.tasks.items()},
            "runners": {name: describe_runner(one) for name, one in self.runners.items()},
        }
        self.examples: Examples = Examples(self.tasks, count, seed)

    def run(self) -> Results:
        """Do what is missing, in threads.

        An interrupt (Ctrl-C) keeps what has ended; runs that are going on make no more calls.

        Raises:
            ResultsFileError: The file is damaged, or is that of another experiment.
        """
        with self._session() as (session, jobs, file):
            executor = ContextThreadPoolExecutor(max_workers=self.max_concurrency)
            try:
                for future in as_completed(
                    [executor.submit(self._one, session, job) for job in jobs]
                ):
                    future.result()
            except BaseException:
                session.interrupted = True
                raise
            finally:
                executor.shutdown(cancel_futures=True)
        return self._finished(session, file)

    async def arun(self) -> Results:
        """`run`, awaitable: runs are tasks of the event loop; a cancel cancels them all."""
        places = asyncio.Semaphore(self.max_concurrency)

        async def placed(session: Session, job: Job) -> None:
            async with places:
                await self._aone(session, job)

        with self._session() as (session, jobs, file):
            try:
                async with asyncio.TaskGroup() as group:
                    for job in jobs:
                        group.create_task(placed(session, job))
            except ExceptionGroup as raised:  # no run: the disk, or a task that makes no examples
                raise raised.exceptions[0] from None
        return self._finished(session, file)

    def _one(self, session: Session, job: Job) -> None:
        attempt = session.begin(job)
        if attempt is not None:
            with attempt:
                runner = self.runners[job.runner]
                attempt.response = runner.invoke(attempt.given, attempt.config)
            session.finish(attempt)

    async def _aone(self, session: Session, job: Job) -> None:
        # In threads: an example may take seconds to make, and a judge asks a model.
        attempt = await asyncio.to_thread(session.begin, job)
        if attempt is not None:
            with attempt:
                runner = self.runners[job.runner]
                attempt.response = await runner.ainvoke(attempt.given, attempt.config)
            await asyncio.to_thread(session.finish, attempt)

    @contextmanager
    def _session(self) -> Iterator[tuple[Session, list[Job], ResultsFile]]:
        file = ResultsFile(self.results)
        file.define(self.definition)
        jobs, done = self._missing(file)
        with open_progress(done, done + len(jobs), quiet=not self.progress) as progress:
            yield Session(self, file, progress), jobs, file

    def _missing(self, file: ResultsFile) -> tuple[list[Job], int]:
        """What is to be done, example by example, so that a stop leaves comparable runs."""
        jobs, done = [], 0
        for task in self.tasks:
            for size in self._sizes(task):
                ids = self._ids(task, size, file)
                for index in range(len(ids) or self.count):
                    example = ids[index] if ids else ""
                    for repeat in range(self.repeats):
                        for runner in self.runners:
                            known = file.runs.get((task, size, example, runner, repeat))
                            if known is None or (self.retry_errors and known.error is not None):
                                jobs.append(Job(task, size, index, runner, repeat))
                            else:
                                done += 1
        return jobs, done

    def _sizes(self, task: str) -> list[int]:
        return self.context_tokens if has_sizes(self.tasks[task]) else [NO_SIZE]

    def _ids(self, task: str, size: int, file: ResultsFile) -> list[str]:
        """Ids of the examples of one size, checked against those of the file; none if it has none.

        Examples are large: they are made here only if the file has some of them.
        """
        known = {
            run.example: run
            for run in file.runs.values()
            if (run.task, run.context_tokens) == (task, size)
        }
        if not known:
            return []
        examples = self.examples.all(task, size)
        for example in examples:
            if example.id in known:
                check_example(example, known[example.id])
        return [example.id for example in examples]

    def _finished(self, session: Session, file: ResultsFile) -> Results:
        wanted = [run for run in file.ordered() if self._wants(run)]
        return Results(runs=tuple(wanted), undone=session.undone, stopped=session.stopped)

    def _wants(self, run: Any) -> bool:
        return (
            run.task in self.tasks
            and run.context_tokens in self._sizes(run.task)
            and run.runner in self.runners
            and run.repeat < self.repeats
        )

    def _problem_of_sizes(self) -> str | None:
        sized = [name for name, task in self.tasks.items() if has_sizes(task)]
        if sized and not self.context_tokens:
            return f"context_tokens must say how large the contexts of {', '.join(sized)} are"
        if self.context_tokens and not sized:
            return "no task here has sizes: leave context_tokens out"
        least = min(self.context_tokens, default=1)
        return f"a size is at least 1 token, not {least}" if least < 1 else None

    def _check(self, tasks: int) -> None:
        wrong = None
        if len(self.tasks) != tasks:
            wrong = "two tasks have the same name"
        elif not (self.tasks and self.runners):
            wrong = "there must be a task and a runner"
        else:
            wrong = self._problem_of_sizes()
        for name in ("count", "repeats", "max_concurrency"):
            if getattr(self, name) < 1:
                wrong = f"{name} is at least 1, not {getattr(self, name)}"
        for name in ("max_cost_usd", "max_total_tokens", "max_seconds"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                wrong = f"{name} is above 0, not {value}"
        if wrong is not None:
            msg = f"Experiment: {wrong}."
            raise ConfigurationError(msg)
