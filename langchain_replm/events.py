"""What a listener may see while a run goes on."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from langchain_replm.types import Cell, RLMResponse, SubCall

EventType = Literal[
    "iteration_start",
    "token",
    "root_reply",
    "history_compacted",
    "code_generated",
    "cell_start",
    "cell_end",
    "code_executed",
    "sub_call_start",
    "sub_call_end",
    "sub_call_cache_hit",
    "final_answer",
]
ChunkType = Literal["token", "iteration_start", "code_executed", "final_answer"]

PREVIEW_CHARS = 120


@dataclass(frozen=True, slots=True)
class RLMEvent:
    """Something happened in a run.

    `on_event` callbacks get these; LangGraph's `stream_mode="custom"` gets `to_dict()` of them.

    Attributes:
        type: What happened. `"token"` goes to streams only, never to `on_event`.
        iteration: Number of the root reply that it belongs to, from 1.
        preview: A short line for people, at most `PREVIEW_CHARS` characters.
        detail: JSON data that depends on the type; the README has the table.
        depth: 0 for the run itself, 1 for a child of `rlm_query`, and so on.
        record: What the event is about, whole: the `SubCall` that has ended. Not part of the
            event's JSON data.
    """

    type: EventType
    iteration: int
    preview: str
    detail: dict[str, Any] = field(default_factory=dict)
    depth: int = 0
    record: SubCall | None = field(default=None, compare=False, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The event as JSON data."""
        return {
            "type": self.type,
            "iteration": self.iteration,
            "preview": self.preview,
            "detail": deepcopy(self.detail),
            "depth": self.depth,
        }


@dataclass(frozen=True, slots=True)
class StreamChunk:
    """One piece of `stream_generate`.

    Attributes:
        type: `"token"` (text of the root model as it comes), `"iteration_start"`,
            `"code_executed"`, or `"final_answer"` (the last one; `detail["response"]` is the
            `RLMResponse`).
        content: The text of the piece.
        iteration: Number of the root reply that it belongs to, from 1.
        detail: More about it, by type.
    """

    type: ChunkType
    content: str
    iteration: int
    detail: dict[str, Any] = field(default_factory=dict)


def preview(text: str) -> str:
    """The first line of a text, shortened for people."""
    line = " ".join(text[: 4 * PREVIEW_CHARS].split())
    return line if len(line) <= PREVIEW_CHARS else line[: PREVIEW_CHARS - 1] + "…"


def cell_detail(cell: Cell) -> dict[str, Any]:
    """What listeners are told of a cell that has ended."""
    items = [item for call in cell.host_calls for item in call.items]
    return {
        "status": cell.status,
        "output": cell.output,
        "error": cell.error,
        "elapsed_seconds": cell.elapsed_seconds,
        "sub_calls": sum(item.sub_calls for item in items),
        "cache_hits": sum(item.cached for item in items),
        "refused": sum(item.status == "refused" for item in items),
    }


def call_detail(record: SubCall) -> dict[str, Any]:
    """What listeners are told of a sub-call that has ended; of a child run, with all of its own."""
    return {
        "kind": record.kind,
        "status": record.status,
        "model": record.model,
        "cached": record.cached,
        "prompt": preview(record.prompt),
        "prompt_chars": record.prompt_chars,
        "response_chars": len(record.response),
        "elapsed_seconds": record.elapsed_seconds,
        "error": record.error,
        "sub_calls": record.sub_calls,
        "usage_by_model": record.usage,
        "cost_usd": record.cost_usd,
    }


def totals_of(response: RLMResponse) -> dict[str, Any]:
    """The numbers of a run, as events and traces tell them."""
    return {
        "iterations": response.iterations,
        "sub_calls": response.sub_calls,
        "cache_hits": response.cache_hits,
        "input_tokens": response.total_input_tokens,
        "output_tokens": response.total_output_tokens,
        "cost_usd": response.cost,
    }
