"""Results as a picture: one line a runner, against the size of the context.

Needs matplotlib: `pip install "langchain-replm[evals]"`. No display is used.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_replm.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_replm.evals.results import Interval, Results, Summary

FORMATS = (".png", ".svg", ".pdf")

_PANEL_INCHES = (3.6, 3.0)
_DOTS_PER_INCH = 150

# Okabe and Ito's colours, which colour-blind people can tell apart, and a mark for each.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#8A6D00")
_MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")


def _tokens(one: Summary) -> Interval:
    """Both directions; the widths of their intervals add at most."""
    kind = type(one.input_tokens)
    return kind(
        one.input_tokens.mean + one.output_tokens.mean,
        one.input_tokens.low + one.output_tokens.low,
        one.input_tokens.high + one.output_tokens.high,
    )


_PANELS: tuple[tuple[str, Callable[[Summary], Interval | None]], ...] = (
    ("score (95 %)", lambda one: one.score),
    ("tokens a run", _tokens),
    ("USD a run", lambda one: one.cost),
    ("iterations a run", lambda one: one.iterations),
)


def check_plots() -> None:
    """Say early that plots cannot be made here.

    Raises:
        ConfigurationError: matplotlib is missing.
    """
    if find_spec("matplotlib") is None:
        msg = 'Plots need matplotlib: pip install "langchain-replm[evals]"'
        raise ConfigurationError(msg)


def plot(results: Results, path: str | Path) -> Path:
    """Draw accuracy, tokens, cost and iterations against the size of the context.

    Each task has a row of its own. Bars are 95 % intervals over the examples. A runner whose costs
    are unknown has no line in the third panel.

    Args:
        results: What to draw.
        path: Where to; the suffix says what: `.png`, `.svg` or `.pdf`.

    Returns:
        The path.

    Raises:
        ConfigurationError: matplotlib is missing, the suffix is another one, or there are no runs.
    """
    place = Path(path)
    if place.suffix.lower() not in FORMATS:
        msg = f"A plot is written as {', '.join(FORMATS)}, not as {place.name!r}."
        raise ConfigurationError(msg)
    summaries = results.summaries()
    if not summaries:
        msg = "There are no results to draw."
        raise ConfigurationError(msg)
    figure = _figure(summaries)
    from matplotlib import rc_context  # noqa: PLC0415 - of an extra

    # Ids of an SVG are hashes of a salt, which is random unless it is given.
    options = {"metadata": {"Date": None}} if place.suffix.lower() == ".svg" else {}
    with rc_context({"svg.hashsalt": "langchain-replm"}):
        figure.savefig(place, dpi=_DOTS_PER_INCH, bbox_inches="tight", **options)
    return place


def _figure(summaries: Sequence[Summary]) -> Any:
    check_plots()
    from matplotlib.figure import Figure  # noqa: PLC0415 - of an extra

    tasks = list(dict.fromkeys(one.task for one in summaries))
    runners = list(dict.fromkeys(one.runner for one in summaries))
    width, height = _PANEL_INCHES
    # A figure of its own, not one of pyplot: no display, and nothing global.
    figure = Figure(figsize=(width * len(_PANELS), height * len(tasks) + 0.5), layout="constrained")
    grid = figure.subplots(len(tasks), len(_PANELS), squeeze=False)
    for row, task in enumerate(tasks):
        mine = [one for one in summaries if one.task == task]
        for column, (title, measure) in enumerate(_PANELS):
            axes = grid[row][column]
            _panel(axes, mine, runners, measure)
            axes.set_title(f"{task}: {title}" if column == 0 else title, fontsize=10)
            if column == 0:
                axes.set_ylim(-0.05, 1.05)
    lines, names = grid[0][0].get_legend_handles_labels()
    figure.legend(lines, names, loc="outside lower center", ncols=len(runners), frameon=False)
    return figure


def _panel(
    axes: Any,
    summaries: Sequence[Summary],
    runners: Sequence[str],
    measure: Callable[[Summary], Interval | None],
) -> None:
    sizes = sorted({one.context_tokens for one in summaries})  # 0: as they are
    for number, runner in enumerate(runners):
        points = [
            (max(1, one.context_tokens), interval)
            for one in summaries
            if one.runner == runner and (interval := measure(one)) is not None
        ]
        means = [interval.mean for _, interval in points]
        below = [max(0.0, interval.mean - interval.low) for _, interval in points]
        above = [max(0.0, interval.high - interval.mean) for _, interval in points]
        # A little beside each other, so that equal values can be told apart.
        beside = 2 ** (0.06 * (number - (len(runners) - 1) / 2))
        axes.errorbar(
            [size * beside for size, _ in points],
            means,
            yerr=[below, above],
            label=runner,
            color=_COLOURS[number % len(_COLOURS)],
            marker=_MARKS[number % len(_MARKS)],
            markersize=5,
            linewidth=1.2,
            elinewidth=0.8,
            capsize=2,
        )
    axes.set_xscale("log", base=2)
    axes.set_xticks([max(1, size) for size in sizes], [_short(size) for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel("tokens of context", fontsize=9)
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    axes.grid(visible=True, alpha=0.3)


def _short(tokens: int) -> str:
    """`8k` for 8,192 and for 8,000; `1M` for 2^20; `own` where contexts are what they are."""
    if not tokens:
        return "own"
    for unit, size in (("M", 2**20), ("k", 2**10)):
        if tokens >= size and tokens % size == 0:
            return f"{tokens // size}{unit}"
    for unit, size in (("M", 10**6), ("k", 10**3)):
        if tokens >= size and tokens % size == 0:
            return f"{tokens // size}{unit}"
    return str(tokens)
