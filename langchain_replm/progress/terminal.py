"""A live view on a terminal, with rich. What it shows is text of strangers: never markup."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from langchain_replm.progress.board import (
    CELL_LINES,
    OBSERVATION_LINES,
    Board,
    printable,
    shorten,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

    from langchain_replm.events import RLMEvent

BAR_CHARS = 24
REFRESHES_PER_SECOND = 8


class TerminalProgress:
    """Where the run stands, its last cells, its sub-calls and what it has spent."""

    def __init__(
        self, file: TextIO | None = None, *, cells: bool = False, console: Console | None = None
    ) -> None:
        self.console: Console = console or Console(file=file)
        self._cells = cells
        self.board: Board = Board()
        self._spinner = Spinner("dots")
        self._live = Live(
            console=self.console,
            get_renderable=self.render,
            refresh_per_second=REFRESHES_PER_SECOND,
            transient=True,
        )

    def __enter__(self) -> Self:
        """Begin to show."""
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Put the terminal back; how the runs ended stays in sight."""
        self._live.stop()

    def __call__(self, event: RLMEvent) -> None:
        """Hear an event."""
        board = self.board
        with board.lock:
            board.hear(event)
        if event.depth:
            return
        if event.type == "final_answer":
            style = "green" if event.detail["stop_reason"] == "answered" else "yellow"
            self.console.print(Text(printable(board.outcome), style=style))
        elif self._cells and event.type == "cell_start" and not event.detail["submits"]:
            code = shorten(printable(event.detail["code"]), CELL_LINES)
            shown = Syntax(code, "python", word_wrap=True, background_color="default")
            self._panel(shown, f"iteration {event.iteration}: cell {event.detail['cell']}", "blue")
        elif self._cells and event.type == "code_executed":
            text = shorten(printable(event.detail["observation"]), OBSERVATION_LINES)
            self._panel(Text(text), "what the root model sees", "dim")

    def render(self) -> RenderableType:
        """The live part."""
        board = self.board
        with board.lock:
            if board.ended is not None or not board.iteration:
                return Text("")
            self._spinner.text = Text(printable(f"RLM, {board.title}"), style="bold")
            parts: list[RenderableType] = [self._spinner]
            if board.rows and not self._cells:
                parts.append(_table(board))
            if board.calls.begun or board.calls.cached:
                parts.append(_bar(board))
            parts.append(Text(f"  {board.spent}", style="cyan"))
            if board.budget:
                parts.append(Text(f"  {board.budget}", style="dim"))
        return Group(*parts)

    def _panel(self, body: Any, title: str, style: str) -> None:
        self.console.print(Panel(body, title=title, title_align="left", border_style=style))


def _table(board: Board) -> Table:
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(justify="right", style="dim")
    for _ in range(2):
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    for row in board.rows:
        output = Text(printable(row.output), style="" if row.good else "red")
        table.add_row(f"  {row.iteration}", Text(printable(row.code), style="blue"), output)
    return table


def _bar(board: Board) -> Table:
    calls = board.calls
    line = Table.grid(padding=(0, 1))
    bar = ProgressBar(total=max(1, calls.begun), completed=calls.ended, width=BAR_CHARS)
    running = f", {calls.running:,} to come" if calls.running else ""
    line.add_row("  sub-calls", bar, Text(f"{calls}{running}"))
    return line
