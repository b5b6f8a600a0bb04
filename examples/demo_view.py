"""What a person sees while a run goes on: panels on a terminal, plain flushed lines elsewhere."""

# ruff: noqa: D102 - the protocol `View` documents the methods

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_replm import RLMEvent

_CELL_LINES = 16
_OBSERVATION_LINES = 12
_LINE_CHARS = 160


def shorten(text: str, lines: int) -> str:
    """The first lines of a text (and its last one), each bounded."""
    kept = [line[:_LINE_CHARS] for line in text.strip().splitlines()]
    if len(kept) > lines:
        kept = [*kept[: lines - 1], f"... ({len(kept) - lines} more lines)", kept[-1]]
    return "\n".join(kept)


class View(Protocol):
    """Shows a run."""

    def say(self, text: str = "") -> None:
        """Show one line."""

    def question(self, number: int, text: str) -> None:
        """A question begins."""

    def event(self, event: RLMEvent) -> None:
        """Something happened in the run; may be called from several threads."""

    def result(self, answer: str, lines: Sequence[str], *, good: bool) -> None:
        """A question is answered."""

    def summary(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """All questions are answered."""

    def close(self) -> None:
        """Put the terminal back as it was."""


class _Counts:
    """Sub-calls of one iteration: begun, ended, from the cache."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.reset()

    def reset(self) -> None:
        self.begun = self.ended = self.cached = 0

    def take(self, kind: str) -> bool:
        """Count an event; false when it is not about sub-calls."""
        if kind == "sub_call_start":
            self.begun += 1
        elif kind == "sub_call_end":
            self.ended += 1
        elif kind == "sub_call_cache_hit":
            self.cached += 1
        else:
            return False
        return True

    def __str__(self) -> str:
        cached = f", {self.cached} from the cache" if self.cached else ""
        return f"sub-calls: {self.ended} of {self.begun} finished{cached}"


class PlainView:
    """Lines as they come, for logs."""

    def __init__(self) -> None:
        self._counts = _Counts()

    def say(self, text: str = "") -> None:
        print(text, flush=True)

    def question(self, number: int, text: str) -> None:
        self.say(f"\n=== Question {number}: {text}")

    def event(self, event: RLMEvent) -> None:
        counts = self._counts
        with counts.lock:
            if counts.take(event.type):
                if event.type != "sub_call_start":
                    self.say(f"    {counts}")
            elif event.type == "iteration_start":
                counts.reset()
                self.say(f"--- iteration {event.iteration}")
            elif event.type == "code_generated":
                for cell in _cells(event.detail):
                    self.say(_indent(shorten(cell, _CELL_LINES), "  | "))
            elif event.type == "code_executed":
                observation = str(event.detail.get("observation", event.preview))
                self.say(_indent(shorten(observation, _OBSERVATION_LINES), "  > "))

    def result(self, answer: str, lines: Sequence[str], *, good: bool) -> None:
        self.say(_indent(answer, "[ok] " if good else "[!!] "))
        for line in lines:
            self.say(f"     {line}")

    def summary(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        table = [list(header), *map(list, rows)]
        widths = [max(len(row[i]) for row in table) for i in range(len(header))]
        self.say()
        for row in table:
            self.say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))

    def close(self) -> None:
        """Nothing to put back."""


class RichView:
    """Panels, with a live line for what runs now."""

    def __init__(self) -> None:
        from rich.console import Console  # noqa: PLC0415 - only on a terminal

        self._console = Console()
        self._status = self._console.status("starting")
        self._counts = _Counts()

    def say(self, text: str = "") -> None:
        self._console.print(text, markup=False)

    def question(self, number: int, text: str) -> None:
        self._console.rule(f"Question {number}")
        self._console.print(text, style="bold", markup=False)
        self._status.update("the root model thinks")
        self._status.start()

    def event(self, event: RLMEvent) -> None:
        with self._counts.lock:
            if self._counts.take(event.type):
                self._status.update(f"{self._counts}")
            elif event.type == "iteration_start":
                self._counts.reset()
                self._status.update(f"iteration {event.iteration}: the root model thinks")
            elif event.type == "code_generated":
                self._show_cells(event)
            elif event.type == "code_executed":
                if self._counts.begun or self._counts.cached:
                    self._console.print(f"  {self._counts}", style="cyan")
                observation = str(event.detail.get("observation", event.preview))
                self._panel(shorten(observation, _OBSERVATION_LINES), "observation", "dim")

    def _show_cells(self, event: RLMEvent) -> None:
        from rich.syntax import Syntax  # noqa: PLC0415 - only on a terminal

        for cell in _cells(event.detail):
            code = Syntax(shorten(cell, _CELL_LINES), "python", word_wrap=True)
            self._panel(code, f"iteration {event.iteration}: cell", "blue")
        self._status.update(f"iteration {event.iteration}: the cell runs")

    def _panel(self, body: Any, title: str, style: str) -> None:
        from rich.panel import Panel  # noqa: PLC0415 - only on a terminal
        from rich.text import Text  # noqa: PLC0415

        body = Text(body) if isinstance(body, str) else body
        self._console.print(Panel(body, title=title, title_align="left", border_style=style))

    def result(self, answer: str, lines: Sequence[str], *, good: bool) -> None:
        self._status.stop()
        self._panel(answer, "answer", "green" if good else "red")
        for line in lines:
            self._console.print(f"  {line}", markup=False, highlight=False)

    def summary(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        from rich.table import Table  # noqa: PLC0415 - only on a terminal
        from rich.text import Text  # noqa: PLC0415

        table = Table(*header, title="All questions")
        for row in rows:
            table.add_row(*map(Text, row))
        self._console.print(table)

    def close(self) -> None:
        self._status.stop()


def _cells(detail: dict[str, Any]) -> list[str]:
    return [str(cell) for cell in detail.get("cells", ())]


def _indent(text: str, prefix: str) -> str:
    return "\n".join(prefix + line for line in text.splitlines() or [""])


def open_view(*, plain: bool = False) -> View:
    """Panels when standard output is a terminal and rich is installed; else plain lines."""
    if plain or not sys.stdout.isatty():
        return PlainView()
    try:
        return RichView()
    except ImportError:
        return PlainView()
