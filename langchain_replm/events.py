"""What a listener may see while a run goes on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

EventType = Literal[
    "iteration_start",
    "token",
    "code_generated",
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
    """

    type: EventType
    iteration: int
    preview: str
    detail: dict[str, Any] = field(default_factory=dict)
    depth: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The event as JSON data."""
        return asdict(self)


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
