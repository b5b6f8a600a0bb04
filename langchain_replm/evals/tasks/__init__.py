"""Kinds of questions whose right answers are known, by name.

Most tasks are generated: nothing is downloaded, and the same size, seed and position give the same
example on every machine. Three read public data sets that you have on disk, one reads questions of
your own.

Sizes are counted by one rule everywhere: four characters are a token. Real tokenizers need a little
more or less for the same text.
"""

from __future__ import annotations

import difflib
import inspect
from importlib import import_module
from typing import TYPE_CHECKING, Any

from langchain_replm.errors import ConfigurationError

if TYPE_CHECKING:
    from langchain_replm.evals.types import Task

_HOMES = {
    "s-niah": ("s_niah", "SNiah"),
    "oolong": ("oolong", "Oolong"),
    "oolong-pairs": ("oolong_pairs", "OolongPairs"),
    "documents": ("documents", "Documents"),
    "code": ("code", "Code"),
    "questions": ("questions", "Questions"),
    "oolong-file": ("oolong_file", "OolongFile"),
    "browsecomp-plus": ("browsecomp_plus", "BrowseCompPlus"),
    "longbench-v2": ("longbench_v2", "LongBenchV2"),
}

TASKS: tuple[str, ...] = tuple(_HOMES)
"""The names that `task` knows."""


def task(name: str, **options: Any) -> Task:
    """The task of that name.

    Args:
        name: One of `TASKS`.
        **options: What the task can be told, such as `path` for those that read files. The
            docstring of each task lists its own.

    Returns:
        A task; it makes its examples one at a time and keeps none.

    Raises:
        ConfigurationError: There is no such task, it has no such option, or an option has a value
            that it cannot have.

    Example:
        ```python
        from langchain_replm.evals.tasks import task

        needles = task("s-niah")
        [example] = needles.examples(context_tokens=2**13, count=1, seed=0)
        assert needles.score(example, f"It is {example.expected}.").value == 1
        ```
    """
    if name not in _HOMES:
        near = difflib.get_close_matches(name, TASKS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        msg = f"There is no task {name!r}.{hint} The tasks are: {', '.join(TASKS)}."
        raise ConfigurationError(msg)
    module, kind = _HOMES[name]
    make = getattr(import_module(f"{__name__}.{module}"), kind)
    known = list(inspect.signature(make).parameters)
    if unknown := sorted(set(options) - set(known)):
        msg = f"The task {name!r} has no option {unknown[0]!r}. It has: {', '.join(known)}."
        raise ConfigurationError(msg)
    made: Task = make(**options)
    return made
