"""What happens meanwhile, on standard error: one line that changes, or plain lines."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TYPE_CHECKING

from langchain_replm.cli._terminal import plain

if TYPE_CHECKING:
    from langchain_replm.events import RLMEvent

REDRAW_SECONDS = 0.1


class Progress:
    """Listens to the events of a run."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._live = not quiet and sys.stderr.isatty()
        self._iteration = ""
        self._doing = ""
        self._started = self._ended = self._failed = 0
        self._began = time.monotonic()
        self._drawn = 0.0
        self._is_drawn = False

    def __call__(self, event: RLMEvent) -> None:
        """Take in one event."""
        if self._quiet:
            return
        self._count(event)
        if event.depth:
            self._draw()
        elif event.type == "iteration_start":
            self._iteration, self._doing = event.preview, "the root model thinks"
            self._draw(now=True)
        elif event.type == "code_generated":
            self._doing = "a cell runs"
            self._line(f"{self._iteration}: {event.preview}")
        elif event.type == "code_executed":
            self._line(f"{self._iteration}: {self._calls()}output: {event.preview}")
        else:
            self._draw()

    def close(self) -> None:
        """Take the changing line away."""
        if self._is_drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._is_drawn = False

    def _count(self, event: RLMEvent) -> None:
        if event.type == "sub_call_start":
            self._started += 1
        elif event.type == "sub_call_end":
            self._ended += 1
            self._failed += event.detail.get("status") != "ok"

    def _calls(self) -> str:
        if not self._started:
            return ""
        failed = f", {self._failed} failed" if self._failed else ""
        return f"{self._ended} of {self._started} calls{failed}; "

    def _line(self, text: str) -> None:
        if not self._live:
            sys.stderr.write(plain(text) + "\n")
            sys.stderr.flush()
        self._draw(now=True)

    def _draw(self, *, now: bool = False) -> None:
        clock = time.monotonic()
        if not self._live or (not now and clock - self._drawn < REDRAW_SECONDS):
            return
        self._drawn, self._is_drawn = clock, True
        text = f"{self._iteration}: {self._calls()}{self._doing} ({clock - self._began:.0f} s)"
        width = shutil.get_terminal_size().columns - 1
        sys.stderr.write("\r\x1b[K" + plain(text)[:width])
        sys.stderr.flush()
