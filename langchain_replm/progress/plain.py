"""Lines as a run goes on, for logs and pipes: few, flushed, on standard error."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self, TextIO

from langchain_replm.progress.board import (
    CELL_LINES,
    OBSERVATION_LINES,
    Board,
    printable,
    shorten,
)

if TYPE_CHECKING:
    from langchain_replm.events import RLMEvent

QUIET_SECONDS = 5.0
"""Lines about running sub-calls are at least this far apart."""


class PlainProgress:
    """A line for each iteration and cell; while many sub-calls run, one now and then."""

    def __init__(self, file: TextIO, *, cells: bool = False) -> None:
        self._file = file
        self._cells = cells
        self._said = 0.0
        self.board: Board = Board()

    def __enter__(self) -> Self:
        """Nothing is to be prepared."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing is to be put back."""

    def say(self, text: str) -> None:
        """Write lines."""
        print(printable(text), file=self._file, flush=True)
        self._said = time.monotonic()

    def __call__(self, event: RLMEvent) -> None:
        """Hear an event."""
        self.board.hear(event)
        if event.type.startswith("sub_call_"):
            if time.monotonic() - self._said >= QUIET_SECONDS:
                self.say(f"    sub-calls: {self.board.calls}")
        elif event.depth:
            return
        elif event.type == "iteration_start":
            self.say(f"--- {self.board.title}")
        elif event.type == "root_reply" and event.detail["error"]:
            self.say(f"    {self.board.doing}")
        elif event.type == "cell_start" and self._cells:
            self.say(_indent(shorten(event.detail["code"], CELL_LINES), "  | "))
        elif event.type == "cell_end":
            self._end_cell()
        elif event.type == "code_executed" and self._cells:
            observation = str(event.detail["observation"])
            self.say(_indent(shorten(observation, OBSERVATION_LINES), "  > "))
        elif event.type == "final_answer":
            self.say(f"=== {self.board.outcome}")

    def _end_cell(self) -> None:
        row = self.board.rows[-1]
        if row.calls:
            self.say(f"    sub-calls: {row.calls}")
        if not self._cells:
            self.say(f"    {row.code} -> {row.output or '(no output)'}")


def _indent(text: str, prefix: str) -> str:
    return "\n".join(prefix + line for line in text.splitlines() or [""])
