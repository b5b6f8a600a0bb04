"""Results of an experiment: read, summed up with their spread, shown as a table."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

from langchain_replm.errors import ConfigurationError
from langchain_replm.evals._record import ResultsFile, ResultsFileError, RunResult
from langchain_replm.evals._spread import deviation, score_interval, t_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["Results", "ResultsFileError", "RunResult", "Summary", "read_results"]

Format = Literal["text", "markdown", "csv"]


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean, and the 95 % interval around it over examples."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Summary:
    """One runner on one task at one size.

    Repeats of an example are averaged first: examples are what the intervals are over.
    """

    task: str
    context_tokens: int
    runner: str
    examples: int
    runs: int
    score: Interval
    """By Wilson's formula for proportions; see `_spread.score_interval`."""
    repeat_deviation: float
    """Standard deviation of the scores of one example's repeats, averaged over the examples."""
    input_tokens: Interval
    """This and what follows are numbers of one run, with t-intervals."""
    output_tokens: Interval
    cost: Interval | None
    """USD; None if that of any run is unknown."""
    iterations: Interval
    sub_calls: Interval
    seconds: Interval
    windows: int
    """Runs whose prompt was longer than the window; they count as wrong."""
    limited: int
    """Runs that a limit has ended."""
    errors: int
    """Runs that failed; they count as wrong."""


@dataclass(frozen=True)
class Results:
    """Finished runs, and what was left undone."""

    runs: tuple[RunResult, ...]
    undone: int = 0
    """Runs that were to be made and were not."""
    stopped: str | None = None
    """The limit that was met."""

    @property
    def note(self) -> str:
        """What is missing and why; empty if nothing is."""
        if not self.undone:
            return ""
        made = self.undone + len(self.runs)
        why = f"stopped at {self.stopped}" if self.stopped else "stopped"
        return (
            f"{why}: {self.undone:,} of {made:,} runs were not made. Run it again with a higher "
            "limit to go on."
        )

    def summaries(self) -> list[Summary]:
        """One for each task, size and runner, in the order in which they were run."""
        tasks = list(dict.fromkeys(run.task for run in self.runs))
        runners = list(dict.fromkeys(run.runner for run in self.runs))
        groups: dict[tuple[str, int, str], list[RunResult]] = {}
        for run in self.runs:
            groups.setdefault((run.task, run.context_tokens, run.runner), []).append(run)
        order = sorted(groups, key=lambda key: (tasks.index(key[0]), key[1], runners.index(key[2])))
        return [_summary(*key, groups[key]) for key in order]

    def table(self, form: Format = "text") -> str:
        """The summaries as a table: aligned text, Markdown, or CSV with unrounded numbers."""
        if form == "csv":
            return _csv(self.summaries())
        rows = [_cells(one) for one in self.summaries()]
        if form == "markdown":
            return _markdown(rows)
        return _text(rows)

    def plot(self, path: str | Path) -> Path:
        """Accuracy, tokens, cost and iterations against the size, as PNG, SVG or PDF.

        Raises:
            ConfigurationError: matplotlib is missing, or there is nothing to draw.
        """
        from langchain_replm.evals.plots import plot  # noqa: PLC0415 - of an extra

        return plot(self, path)


def read_results(path: str | Path) -> Results:
    """The results in a file; a torn last line is left out.

    Raises:
        ConfigurationError: There is no such file.
        ResultsFileError: It holds something else, or is damaged elsewhere.
    """
    place = Path(path)
    if not place.is_file():
        msg = f"There is no file {place}."
        raise ConfigurationError(msg)
    return Results(runs=ResultsFile(place, repair=False).ordered())


def _summary(task: str, size: int, runner: str, runs: list[RunResult]) -> Summary:
    examples: dict[str, list[RunResult]] = {}
    for run in runs:
        examples.setdefault(run.example, []).append(run)

    def of(measure: Callable[[RunResult], float]) -> list[float]:
        """The mean of each example over its repeats."""
        return [fmean(map(measure, repeats)) for repeats in examples.values()]

    def measured(measure: Callable[[RunResult], float]) -> Interval:
        return Interval(fmean(of(measure)), *t_interval(of(measure)))

    scores = of(lambda run: run.score)
    known = all(run.cost is not None for run in runs)
    return Summary(
        task=task,
        context_tokens=size,
        runner=runner,
        examples=len(examples),
        runs=len(runs),
        score=Interval(fmean(scores), *score_interval(scores)),
        repeat_deviation=fmean(
            deviation([run.score for run in repeats]) for repeats in examples.values()
        ),
        input_tokens=measured(lambda run: run.input_tokens),
        output_tokens=measured(lambda run: run.output_tokens),
        cost=measured(lambda run: run.cost or 0.0) if known else None,
        iterations=measured(lambda run: run.iterations),
        sub_calls=measured(lambda run: run.sub_calls),
        seconds=measured(lambda run: run.elapsed_seconds),
        windows=sum(run.stop_reason == "window" for run in runs),
        limited=sum(run.stop_reason not in {"answered", "window", "error"} for run in runs),
        errors=sum(run.error is not None for run in runs),
    )


# --- tables --------------------------------------------------------------------------------------

_HEADS = (
    "task", "tokens", "runner", "n", "score", "95 %", "repeats", "in", "out", "cost", "iterations",
    "sub-calls", "seconds", "notes",
)  # fmt: skip
_LEFT = {0, 2, 13}
"""Columns of words; numbers stand at the right."""


def _cells(one: Summary) -> list[str]:
    repeated = one.runs > one.examples
    return [
        one.task,
        f"{one.context_tokens:,}" if one.context_tokens else "own",
        one.runner,
        str(one.examples),
        f"{one.score.mean:.2f}" + ("*" if one.windows else ""),
        f"{one.score.low:.2f}-{one.score.high:.2f}",
        f"±{one.repeat_deviation:.2f}" if repeated else "",
        f"{one.input_tokens.mean:,.0f}",
        f"{one.output_tokens.mean:,.0f}",
        "unknown" if one.cost is None else f"${one.cost.mean:.4f}",
        f"{one.iterations.mean:.1f}",
        f"{one.sub_calls.mean:.1f}",
        f"{one.seconds.mean:.1f}",
        ", ".join(_notes(one)),
    ]


def _notes(one: Summary) -> Iterable[str]:
    if one.windows:
        yield f"{one.windows} of {one.runs} over the window"
    if one.limited:
        yield f"{one.limited} of {one.runs} met a limit"
    if one.errors:
        yield f"{one.errors} of {one.runs} failed"


def _text(rows: Sequence[Sequence[str]]) -> str:
    table = [_HEADS, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(_HEADS))]
    lines = []
    for row in table:
        cells = [
            cell.ljust(width) if column in _LEFT else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    rule = ["---" if column in _LEFT else "---:" for column in range(len(_HEADS))]
    lines = [_HEADS, rule, *rows]
    return "\n".join("| " + " | ".join(line).replace("*", "\\*") + " |" for line in lines)


def _csv(summaries: Sequence[Summary]) -> str:
    flat = [_flat(one) for one in summaries]
    out = io.StringIO()
    names = list(dict.fromkeys(name for row in flat for name in row))
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return out.getvalue()


def _flat(one: Summary) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name in Summary.__dataclass_fields__:
        value = getattr(one, name)
        if isinstance(value, Interval):
            row |= {name: value.mean, f"{name}_low": value.low, f"{name}_high": value.high}
        else:
            row[name] = value
    return row
