"""What a person sees while a run goes on: a live view on a terminal, lines elsewhere.

A view is a callable that takes `RLMEvent`s, and a context manager. `progress=True` of `generate`
and its siblings opens one; `open_progress` is for those who need one over several runs.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from langchain_replm.progress.board import Board
from langchain_replm.progress.plain import PlainProgress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_replm.events import RLMEvent
    from langchain_replm.progress.board import Progress

__all__ = ["Board", "PlainProgress", "hearing", "open_progress"]

NO_RICH = "For a live view: pip install 'langchain-replm[progress]'"


def open_progress(
    *, plain: bool = False, cells: bool = False, file: TextIO | None = None
) -> Progress:
    """The view that fits the place: a terminal, a notebook, or a file that takes lines.

    Args:
        plain: Lines, wherever it is.
        cells: Also show the cells and what the root model saw of their output.
        file: Where to show it; standard error when None.

    Example:
        ```python
        from langchain_replm import RLM
        from langchain_replm.progress import open_progress
        from langchain_replm.testing import ScriptedChatModel

        rlm = RLM(ScriptedChatModel(replies=["FINAL(a heron)"]))
        with open_progress() as view:
            for question in ("Which bird?", "Is it a heron?"):
                rlm.generate(question, "a heron", on_event=view)
        ```
    """
    target = sys.stderr if file is None else file
    if not plain and file is None and _in_notebook():
        from langchain_replm.progress.notebook import NotebookProgress  # noqa: PLC0415 - IPython

        return NotebookProgress(cells=cells)
    view = PlainProgress(target, cells=cells)
    if plain or not target.isatty():
        return view
    try:
        from langchain_replm.progress.terminal import TerminalProgress  # noqa: PLC0415 - an extra
    except ImportError:
        view.say(NO_RICH)
        return view
    return TerminalProgress(target, cells=cells)


@contextmanager
def hearing(
    on_event: Callable[[RLMEvent], None] | None, *, progress: bool
) -> Iterator[Callable[[RLMEvent], None] | None]:
    """What hears the events of one run: `on_event`, and a view if there is to be one."""
    if not progress:
        yield on_event
        return
    with open_progress() as view:

        def both(event: RLMEvent) -> None:
            view(event)
            if on_event is not None:
                on_event(event)

        yield both


def _in_notebook() -> bool:
    """A kernel runs this; a plain IPython shell is a terminal."""
    if "ipykernel" not in sys.modules:
        return False
    from IPython import get_ipython  # noqa: PLC0415 - a kernel has it

    return getattr(get_ipython(), "kernel", None) is not None
