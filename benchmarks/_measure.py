"""Interleaved rounds, medians, and one table of ratios.

The machine may be busy, so a time alone says nothing. What is compared is run in turn, many times,
in one process; the result is the median of the ratios of the single rounds. Beside it stand their
quartiles: where those lie far apart, the machine was too busy to tell.
"""

from __future__ import annotations

import gc
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

Samples = dict[str, list[float]]


@dataclass(frozen=True)
class Plan:
    """How much to measure."""

    rounds: int
    quick: bool
    large: bool = False
    """Also what takes minutes."""

    def pick(self, full: Any, quick: Any) -> Any:
        """One value for a real run, another one for the smoke run."""
        return quick if self.quick else full


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    benchmark: str
    case: str
    ratio: float
    floor: str
    """What the ratio is against."""
    aim: float | None = None
    """The ratio that must not be exceeded; None where the row only explains another one."""
    low: float | None = None
    high: float | None = None
    """Quartiles of the ratios of single rounds."""
    ours: str = ""
    base: str = ""
    note: str = ""

    @property
    def met(self) -> bool | None:
        return None if self.aim is None else self.ratio <= self.aim

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "met": self.met}


def seconds(run: Callable[[], object]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def timed(run: Callable[[], object]) -> Callable[[], float]:
    """A case for `interleave` that measures the whole call."""
    return lambda: seconds(run)


def interleave(
    cases: Mapping[str, Callable[[], float]], rounds: int, *, is_warm: bool = False
) -> Samples:
    """Run every case once a round, in an order that changes; each case says its own number."""
    samples: Samples = {name: [] for name in cases}
    for run in () if is_warm else cases.values():
        run()  # imports, connections, caches
    order = list(cases)
    for _ in range(rounds):
        random.shuffle(order)
        for name in order:
            gc.collect()
            samples[name].append(cases[name]())
    return samples


def slopes(short: Sequence[float], long: Sequence[float], steps: int) -> list[float]:
    """Cost of one more step, for each round."""
    return [(b - a) / steps for a, b in zip(short, long, strict=True)]


def compare(
    benchmark: str,
    case: str,
    ours: Sequence[float],
    base: Sequence[float],
    *,
    floor: str,
    aim: float | None = None,
    note: str = "",
) -> Row:
    """The row of two series of seconds from the same rounds."""
    singles = [a / b for a, b in zip(ours, base, strict=True)]
    low, high = _quartiles(singles)
    return Row(
        benchmark,
        case,
        statistics.median(singles),
        floor,
        aim,
        low,
        high,
        _ms(statistics.median(ours)),
        _ms(statistics.median(base)),
        note,
    )


def progress(text: str) -> None:
    """Say on standard error what is going on; the table is on standard output."""
    print(f"... {text}", file=sys.stderr, flush=True)


def table(rows: Iterable[Row]) -> str:
    """The rows as a Markdown table."""
    head = ("benchmark", "case", "ratio", "quartiles", "aim", "met", "ours", "floor", "against")
    body = [
        (
            row.benchmark,
            row.case + (f" ({row.note})" if row.note else ""),
            f"{row.ratio:.2f}",
            "" if row.low is None else f"{row.low:.2f}-{row.high:.2f}",
            "" if row.aim is None else f"{row.aim:.2f}",
            {True: "yes", False: "NO", None: ""}[row.met],
            row.ours,
            row.base,
            row.floor,
        )
        for row in rows
    ]
    widths = [max(len(line[i]) for line in (head, *body)) for i in range(len(head))]
    lines = [head, tuple("-" * width for width in widths), *body]
    return "\n".join(
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    )


def _quartiles(values: Sequence[float]) -> tuple[float, float]:
    if len(values) < 2:
        return values[0], values[0]
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, third


def _ms(value: float) -> str:
    ms = value * 1000
    return f"{ms:,.0f} ms" if ms >= 100 else f"{ms:.3g} ms"
