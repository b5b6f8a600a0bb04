"""What is known of a run while it goes on, from its events; every view shows a board."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, Self

from langchain_replm.events import preview

if TYPE_CHECKING:
    from langchain_replm.events import RLMEvent

ROWS = 6
"""Finished cells that a view keeps in sight."""
CELL_LINES = 16
OBSERVATION_LINES = 12
LINE_CHARS = 160


class Progress(Protocol):
    """Shows runs, one after the other."""

    def __call__(self, event: RLMEvent) -> None:
        """Hear an event; to be passed as `on_event`."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(self, *exception: object) -> None:
        """Put the place back as it was."""


@dataclass
class Calls:
    """Sub-calls, by what became of them."""

    begun: int = 0
    ended: int = 0
    failed: int = 0
    cached: int = 0

    @property
    def running(self) -> int:
        """Sub-calls that were begun and have not ended."""
        return max(0, self.begun - self.ended)

    def take(self, event: RLMEvent) -> None:
        """Count the event, if it is about sub-calls."""
        if event.type == "sub_call_start":
            self.begun += 1
        elif event.type == "sub_call_end":
            self.ended += 1
            self.failed += event.detail["status"] != "ok"
        elif event.type == "sub_call_cache_hit":
            self.cached += 1

    def __str__(self) -> str:
        parts = [f"{self.ended:,} of {self.begun:,} finished"] if self.begun else []
        told = (("failed", self.failed), ("from the cache", self.cached))
        return ", ".join([*parts, *(f"{count:,} {what}" for what, count in told if count)])


@dataclass
class Row:
    """One cell that has ended."""

    iteration: int
    code: str
    output: str
    good: bool
    calls: str


@dataclass
class Board:
    """What is known of a run. Not locked: a run tells its events one at a time."""

    iteration: int = 0
    max_iterations: int = 0
    doing: str = "starting"
    calls: Calls = field(default_factory=Calls)
    """Of the iteration, children included."""
    rows: list[Row] = field(default_factory=list)
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = 0.0
    """None: some model has no known price."""
    left: dict[str, Any] = field(default_factory=dict)
    ended: dict[str, Any] | None = None
    """Detail of the final answer."""
    started: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)
    """For views that draw in a thread of their own."""

    def hear(self, event: RLMEvent) -> None:
        """Take the event in."""
        self.calls.take(event)
        # One budget is kept over all depths.
        self.left = event.detail.get("left", self.left)
        if event.depth:
            return
        if event.type == "iteration_start":
            self._begin(event)
        elif event.type == "root_reply":
            usage = {event.detail["model"]: event.detail["usage"]} if event.detail["usage"] else {}
            self._charge(usage, event.detail["cost_usd"])
            error = event.detail["error"]
            self.doing = f"the call failed: {preview(error)}" if error else "the reply is read"
        elif event.type == "cell_start":
            cell = event.detail["cell"]
            self.doing = (
                "an answer is submitted" if event.detail["submits"] else f"cell {cell} runs"
            )
        elif event.type == "sub_call_end":
            self._charge(event.detail["usage_by_model"], event.detail["cost_usd"])
        elif event.type == "cell_end":
            self._end_cell(event)
        elif event.type == "final_answer":
            self.ended = event.detail
            self.doing = "finished"
            self.cost_usd = event.detail["cost_usd"]

    @property
    def title(self) -> str:
        """Where the run stands."""
        most = f" of at most {self.max_iterations}" if self.max_iterations else ""
        return f"iteration {self.iteration}{most}: {self.doing}"

    @property
    def spent(self) -> str:
        """Tokens, cost and time until now."""
        parts = [f"{self.input_tokens:,} tokens in, {self.output_tokens:,} out"]
        if self.cost_usd is not None:
            parts.append(f"${self.cost_usd:.4f}")
        parts.append(f"{time.monotonic() - self.started:.1f} s")
        return ", ".join(parts)

    @property
    def budget(self) -> str:
        """What is left of the limits that are set."""
        kinds = (
            ("sub_calls_left", "{:,} sub-calls"),
            ("tokens_left", "{:,} tokens"),
            ("cost_left_usd", "${:.2f}"),
        )
        known = [form.format(self.left[name]) for name, form in kinds if self.left.get(name)]
        return f"left: {', '.join(known)}" if known else ""

    @property
    def outcome(self) -> str:
        """How the run ended."""
        ended = self.ended or {}
        return (
            f"{ended['stop_reason']}: {ended['iterations']} iterations, "
            f"{ended['sub_calls']} sub-calls ({ended['cache_hits']} cache hits), {self.spent}"
        )

    def _begin(self, event: RLMEvent) -> None:
        if event.iteration == 1 and not event.detail["closing"]:
            # A view may be used for several runs.
            vars(self).update({**vars(Board()), "lock": self.lock, "left": self.left})
        self.iteration = event.iteration
        self.max_iterations = event.detail["max_iterations"]
        self.calls = Calls()
        closing = "the root model is asked to close" if event.detail["closing"] else ""
        self.doing = closing or "the root model thinks"

    def _charge(self, usage: dict[str, Any], cost_usd: float | None) -> None:
        self.input_tokens += sum(tokens["input_tokens"] for tokens in usage.values())
        self.output_tokens += sum(tokens["output_tokens"] for tokens in usage.values())
        if usage and cost_usd is None:
            self.cost_usd = None
        if self.cost_usd is not None:
            self.cost_usd += cost_usd or 0.0

    def _end_cell(self, event: RLMEvent) -> None:
        detail = event.detail
        self.doing = "the output is read"
        good = detail["error"] is None
        output = preview(detail["output"] if good else detail["error"].strip().splitlines()[-1])
        self.rows.append(
            Row(event.iteration, preview(detail["code"]), output, good, str(self.calls))
        )
        del self.rows[:-ROWS]


def shorten(text: str, lines: int) -> str:
    """The first lines of a text (and its last one), each bounded."""
    kept = [line[:LINE_CHARS] for line in text.strip().splitlines()]
    if len(kept) > lines:
        kept = [*kept[: lines - 1], f"... ({len(kept) - lines} more lines)", kept[-1]]
    return "\n".join(kept)


def printable(text: str) -> str:
    """The text without what could steer a terminal: it may come from anywhere."""
    return "".join(
        char if char.isprintable() or char in "\n\t" else f"\\x{ord(char):02x}" for char in text
    )
