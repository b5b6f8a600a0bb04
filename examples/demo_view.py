"""What a person sees while a run goes on: panels on a terminal, plain flushed lines elsewhere."""

# ruff: noqa: D102 - the protocol `View` documents the methods

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol

from langchain_replm.progress import open_progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_replm.progress.board import Progress


class View(Protocol):
    """Shows a run."""

    def say(self, text: str = "") -> None:
        """Show one line."""

    def question(self, number: int, text: str) -> None:
        """A question begins."""

    event: Progress
    """Shows what happens in a run; the library's own view."""

    def result(self, answer: str, lines: Sequence[str], *, good: bool) -> None:
        """A question is answered."""

    def summary(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """All questions are answered."""

    def close(self) -> None:
        """Put the terminal back as it was."""


class PlainView:
    """Lines as they come, for logs."""

    def __init__(self) -> None:
        self.event = open_progress(plain=True, cells=True, file=sys.stdout)

    def say(self, text: str = "") -> None:
        print(text, flush=True)

    def question(self, number: int, text: str) -> None:
        self.say(f"\n=== Question {number}: {text}")

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
    """Panels, with a live part for what runs now."""

    def __init__(self) -> None:
        from langchain_replm.progress.terminal import TerminalProgress  # noqa: PLC0415 - has rich

        self.event = TerminalProgress(sys.stdout, cells=True)
        self._console = self.event.console

    def say(self, text: str = "") -> None:
        self._console.print(text, markup=False)

    def question(self, number: int, text: str) -> None:
        self._console.rule(f"Question {number}")
        self._console.print(text, style="bold", markup=False)
        self.event.__enter__()  # until the result

    def result(self, answer: str, lines: Sequence[str], *, good: bool) -> None:
        from rich.panel import Panel  # noqa: PLC0415 - only on a terminal
        from rich.text import Text  # noqa: PLC0415

        self.close()
        style = "green" if good else "red"
        self._console.print(
            Panel(Text(answer), title="answer", title_align="left", border_style=style)
        )
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
        self.event.__exit__()


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
