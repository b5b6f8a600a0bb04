"""How far an experiment is: a bar on a terminal, lines elsewhere, on standard error."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Protocol, Self, TextIO

if TYPE_CHECKING:
    from langchain_replm.evals._record import RunResult


class Progress(Protocol):
    """Hears what has ended."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(self, *exc_info: object) -> None:
        """End."""

    def ended(self, result: RunResult) -> None:
        """One more run."""

    def is_none(self) -> None:
        """One run less than was thought: the task has no such example."""


class Silent:
    """Says nothing."""

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """End."""

    def ended(self, result: RunResult) -> None:
        """One more run."""

    def is_none(self) -> None:
        """One run less than was thought: the task has no such example."""


class Lines(Silent):
    """A line for each run."""

    def __init__(self, done: int, total: int, file: TextIO) -> None:
        self._done, self._total, self._file = done, total, file

    def __enter__(self) -> Self:
        """Begin."""
        if self._done:
            self._file.write(f"{self._done:,} of {self._total:,} runs are there already\n")
        return self

    def ended(self, result: RunResult) -> None:
        """One more run."""
        self._done += 1
        self._file.write(f"[{self._done:,}/{self._total:,}] {_told(result)}\n")
        self._file.flush()

    def is_none(self) -> None:
        """One run less than was thought: the task has no such example."""
        self._total -= 1


class Bar(Silent):
    """A bar of rich, with what the last run was."""

    def __init__(self, done: int, total: int) -> None:
        from rich.console import Console  # noqa: PLC0415 - an extra
        from rich.progress import (  # noqa: PLC0415 - an extra
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
        )
        from rich.progress import Progress as RichProgress  # noqa: PLC0415 - an extra

        self._bar = RichProgress(
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
            console=Console(stderr=True),
        )
        self._task: Any = self._bar.add_task("", completed=done, total=total)
        self._total, self._cost, self._tokens = total, 0.0, 0

    def __enter__(self) -> Self:
        """Begin."""
        self._bar.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """End."""
        self._bar.stop()

    def ended(self, result: RunResult) -> None:
        """One more run."""
        self._cost += result.cost or 0.0
        self._tokens += result.input_tokens + result.output_tokens
        told = f"${self._cost:.4f}, {self._tokens:,} tokens; last: {_told(result)}"
        self._bar.update(self._task, advance=1, description=told)

    def is_none(self) -> None:
        """One run less than was thought: the task has no such example."""
        self._total -= 1
        self._bar.update(self._task, total=self._total)


def open_progress(done: int, total: int, *, quiet: bool = False) -> Progress:
    """What fits the place."""
    if quiet:
        return Silent()
    if sys.stderr.isatty():
        try:
            return Bar(done, total)
        except ImportError:
            pass
    return Lines(done, total, sys.stderr)


def _told(result: RunResult) -> str:
    cost = "" if result.cost is None else f", ${result.cost:.4f}"
    size = f" {result.context_tokens:,}" if result.context_tokens else ""
    return (
        f"{result.task}{size} {result.runner}: {result.score:.2f} "
        f"({result.stop_reason}, {result.elapsed_seconds:.1f} s{cost})"
    )
