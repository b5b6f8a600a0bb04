"""A live view in a notebook: one output that is written anew, without widgets."""

from __future__ import annotations

import time
from html import escape
from typing import TYPE_CHECKING, Any, Self

from langchain_replm.progress.board import Board, shorten

if TYPE_CHECKING:
    from langchain_replm.events import RLMEvent

PAUSE_SECONDS = 0.1
"""Between two drawings, except of what ends something: a batch of 500 must not flood the page."""


class NotebookProgress:
    """Shows a board as HTML. What it shows is text of strangers: all of it is escaped."""

    def __init__(self, *, cells: bool = False) -> None:
        self._cells = cells
        self._handle: Any = None
        self._drawn = 0.0
        self.board: Board = Board()

    def __enter__(self) -> Self:
        """Make the output."""
        from IPython import display  # noqa: PLC0415 - a kernel has it

        show: Any = display.display
        self._handle = show(_Shown(self.board), display_id=True)
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave the last drawing."""
        self._draw()

    def __call__(self, event: RLMEvent) -> None:
        """Hear an event."""
        self.board.hear(event)
        ends = event.type in {"iteration_start", "cell_end", "final_answer"} and not event.depth
        if ends or time.monotonic() - self._drawn >= PAUSE_SECONDS:
            self._draw()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        self._handle.update(_Shown(self.board))


class _Shown:
    """A board as a notebook asks for it, as HTML or as text."""

    def __init__(self, board: Board) -> None:
        self._text = board.title if board.ended is None else board.outcome
        self._html = as_html(board)

    def __repr__(self) -> str:
        return self._text

    def _repr_html_(self) -> str:
        return self._html


def as_html(board: Board) -> str:
    """A board as a piece of HTML that needs nothing else."""
    title = board.title if board.ended is None else board.outcome
    parts = [f"<b>RLM, {escape(title)}</b>"]
    rows = "".join(
        f"<tr><td>{row.iteration}</td><td style='text-align:left'><code>{escape(row.code)}</code>"
        f"</td><td style='text-align:left'>{escape(shorten(row.output, 1))}</td></tr>"
        for row in board.rows
    )
    if rows:
        parts.append(f"<table>{rows}</table>")
    calls = board.calls
    if board.ended is None and calls.begun:
        bar = f"<progress max='{calls.begun}' value='{calls.ended}'></progress>"
        parts.append(f"<div>{bar} sub-calls: {escape(str(calls))}</div>")
    if board.ended is None:
        parts.append(f"<div>{escape(board.spent)}; {escape(board.budget)}</div>")
    return "".join(parts)
