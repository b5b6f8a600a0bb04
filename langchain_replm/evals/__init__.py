"""Find out whether an RLM is worth it: tasks, runners to compare on equal terms, experiments.

An `Experiment` runs every runner on every example of its tasks, keeps each result on disk as it
comes, and goes on where it was stopped. `Results` sums up with spread, as tables and plots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_replm._lazy import lazy

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_replm.evals.experiment import Experiment
    from langchain_replm.evals.results import (
        Results,
        ResultsFileError,
        RunResult,
        Summary,
        read_results,
    )
    from langchain_replm.evals.runners import RUNNERS, runner
    from langchain_replm.evals.tasks import TASKS, task
    from langchain_replm.evals.types import Example, Outcome, Runner, Score, Task

_HOMES = {
    "Example": "types",
    "Experiment": "experiment",
    "Outcome": "types",
    "RUNNERS": "runners",
    "Results": "results",
    "ResultsFileError": "results",
    "RunResult": "results",
    "Runner": "types",
    "Score": "types",
    "Summary": "results",
    "TASKS": "tasks",
    "Task": "types",
    "read_results": "results",
    "runner": "runners",
    "task": "tasks",
}

__all__ = [
    "RUNNERS",
    "TASKS",
    "Example",
    "Experiment",
    "Outcome",
    "Results",
    "ResultsFileError",
    "RunResult",
    "Runner",
    "Score",
    "Summary",
    "Task",
    "read_results",
    "runner",
    "task",
]

__getattr__: Callable[[str], Any]
__dir__: Callable[[], list[str]]
__getattr__, __dir__ = lazy(__name__, _HOMES)
