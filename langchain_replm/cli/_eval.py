"""`langchain-replm eval`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_replm.cli import FAILED, LIMIT, OK
from langchain_replm.cli._models import config_of, models_of
from langchain_replm.cli._terminal import put, say
from langchain_replm.errors import ConfigurationError
from langchain_replm.evals import Experiment, Task, runner, task
from langchain_replm.evals.plots import check_plots
from langchain_replm.evals.types import has_sizes

if TYPE_CHECKING:
    import argparse

    from langchain_replm.evals import Results, Runner

SIZES = (8192,)
"""Tokens of the contexts, where nothing else is said."""

PLACE = {"code": "directory"}
"""What the part after the colon is to a task; a `path` for all others."""


def run(options: argparse.Namespace) -> int:
    """Run what is missing of an experiment, and show all of it."""
    if options.plot:
        check_plots()
    tasks = [find_task(name) for name in dict.fromkeys(options.tasks)]
    runners = find_runners(options)
    folder = Path(options.out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"--out {folder}: {error}."
        raise ConfigurationError(msg) from error
    path = folder / "results.jsonl"
    results = Experiment(
        tasks,
        runners,
        context_tokens=options.size or (SIZES if any(map(has_sizes, tasks)) else ()),
        count=options.count,
        repeats=options.repeats,
        seed=options.seed,
        results=path,
        max_concurrency=options.concurrency,
        max_cost_usd=options.total_cost_usd,
        max_total_tokens=options.total_tokens,
        max_seconds=options.total_seconds,
        retry_errors=options.retry_errors,
        progress=not options.quiet,
    ).run()
    _show(results, options)
    if not options.quiet:
        say(f"results: {path}")
    if options.plot and results.runs:
        say(f"plot: {results.plot(folder / 'results.png')}")
    if results.note:
        say(results.note)
        return LIMIT
    return FAILED if all(one.error is not None for one in results.runs) else OK


def find_task(told: str) -> Task:
    """The task of `NAME` or `NAME:PATH`."""
    name, colon, place = told.partition(":")
    given: dict[str, Any] = {PLACE.get(name, "path"): place} if colon else {}
    return task(name, **given)


def find_runners(options: argparse.Namespace) -> dict[str, Runner]:
    """The runners by name; models are named only if one of them needs them."""
    names = list(dict.fromkeys(options.runner))
    config = config_of(options)
    if names == ["search"] and options.root is None:
        options.root = "extractive"  # a string search asks no model
    root, sub = models_of(options)
    window = {} if options.window is None else {"window_tokens": options.window}
    return {
        name: runner(
            name,
            root_model=root,
            sub_model=sub,
            config=config,
            **({} if name.startswith("rlm") else window),
        )
        for name in names
    }


def _show(results: Results, options: argparse.Namespace) -> None:
    if options.json:
        for one in results.runs:
            put(one.model_dump_json())
    elif results.runs:
        put(results.table(options.format))
