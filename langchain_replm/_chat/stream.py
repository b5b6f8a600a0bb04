"""A run as a message: the work as reasoning, the answer as text, and the same piece by piece."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, AIMessageChunk, ToolCall
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.messages.tool import tool_call_chunk

from langchain_replm._chat.nesting import AGGREGATED_KEY, M
from langchain_replm.prompts import cut_middle
from langchain_replm.state import read_trajectory
from langchain_replm.types import total

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from langchain_core.messages import BaseMessage

    from langchain_replm.types import Iteration

WORK_OUTPUT_CHARS = 2_000
"""Characters of the cells' output that the reasoning of a message shows per iteration."""

REASONING_KEY = "reasoning_content"
"""Where LangChain looks for reasoning that is not part of `content`; `message.content_blocks` shows
it as a block of type `"reasoning"`, and `content` stays the plain text that chains expect."""

ANSWER = "FINAL("

MAY_BE_QUOTED = re.compile(r"[fFrRuU]{0,2}(?:[\"'`]|\Z)")


def step_text(step: Iteration) -> str:
    """One iteration as people read it; nothing for a reply that is the answer itself."""
    if not step.cells and is_answer_text(step.reply):
        return ""
    parts = [step.reply] if step.error is None else [f"(the root model failed: {step.error})"]
    for cell in step.cells:
        output, _ = cut_middle(cell, WORK_OUTPUT_CHARS)
        shown = [text.strip() for text in (output, cell.error or "") if text.strip()]
        if shown:
            parts.append("Output:\n" + "\n".join(shown))
    return "\n\n".join(parts) + "\n\n"


def is_answer_text(reply: str) -> bool:
    """The reply begins with an answer in its text."""
    return reply.lstrip().startswith(ANSWER)


def usage_of(steps: Iterable[Iteration]) -> UsageMetadata | None:
    """All tokens of some iterations, sub-calls and children included; None if nothing was told."""
    counted = None
    for usage in total(steps).usage_by_model.values():
        counted = add_usage(counted, usage)
    return counted


def make_message(
    content: str, work: str, calls: Sequence[ToolCall], told: dict[str, Any]
) -> AIMessage:
    """The message of a finished run."""
    return AIMessage(
        content=content,
        tool_calls=list(calls),
        additional_kwargs={REASONING_KEY: work} if work else {},
        response_metadata=told,
    )


class RunChunks:
    """Turns what the graph streams into chunks that add up to the message of the run.

    Args:
        past: Number of iterations of the run that this one goes on with.
        show_work: Whether the work is shown at all.
        text_may_stream: Nothing but the text itself decides about the answer.
        looked: A cell has run before, so that an answer in a reply's text is taken.
    """

    def __init__(self, past: int, *, show_work: bool, text_may_stream: bool, looked: bool) -> None:
        self.state: dict[str, Any] = {}
        self._done = past
        self._show_work = show_work
        self._may_stream = text_may_stream
        self._looked = looked
        self._reply = ""
        self._work_sent = ""
        self._text_sent = ""

    def feed(self, mode: str, data: dict[str, Any]) -> Iterator[AIMessageChunk]:
        """Take one item of the graph's stream, of mode "custom" or "values"."""
        if mode == "values":
            yield from self._values(data)
        elif data.get("depth") == 0 and data.get("type") == "token":
            self._reply += data["detail"]["text"]
            yield from self._token()

    def finish(self, message: AIMessage) -> Iterator[AIMessageChunk]:
        """Give what is missing of the text, and the last chunk."""
        content = str(message.content)
        rest = content.removeprefix(self._text_sent)
        if rest:
            yield AIMessageChunk(content=rest)
        yield last_chunk(message)

    def _token(self) -> Iterator[AIMessageChunk]:
        head = self._reply.lstrip()
        if len(head) < len(ANSWER) and ANSWER.startswith(head):
            return
        if not head.startswith(ANSWER):
            yield from self._work(self._reply)
        elif self._may_stream and self._looked:
            ready = settled_prefix(head[len(ANSWER) :])
            piece, self._text_sent = ready[len(self._text_sent) :], ready
            if piece:
                yield AIMessageChunk(content=piece)

    def _values(self, state: dict[str, Any]) -> Iterator[AIMessageChunk]:
        self.state = state
        if len(state.get("trajectory") or []) <= self._done:
            return
        for step in read_trajectory(state)[self._done :]:
            yield from self._work(step_text(step))
            self._done += 1
            self._looked = self._looked or bool(step.cells)
            self._reply = self._work_sent = ""

    def _work(self, whole: str) -> Iterator[AIMessageChunk]:
        """Give what is new of the text of the iteration in work."""
        piece = whole.removeprefix(self._work_sent)
        self._work_sent = whole
        if piece and self._show_work:
            yield AIMessageChunk(content="", additional_kwargs={REASONING_KEY: piece})


def settled_prefix(text: str) -> str:
    """As much of an answer that is being written as can no longer change.

    `text` follows `FINAL(`. Quotes may be taken off, a lone name may be a variable and an f-string
    is code, so these wait for the end; so does everything after the bracket that may close the
    answer, and white space before it.
    """
    text = text.lstrip()
    if MAY_BE_QUOTED.match(text) or text.split("(")[0].split(")")[0].isidentifier():
        return ""
    depth = 1
    for at, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            text = text[:at]
            break
    return text.rstrip()


def last_chunk(message: BaseMessage) -> AIMessageChunk:
    """The chunk that ends a stream: tool calls, metadata, usage."""
    calls = message.tool_calls if isinstance(message, AIMessage) else []
    return AIMessageChunk(
        content="",
        response_metadata=message.response_metadata,
        usage_metadata=message.usage_metadata if isinstance(message, AIMessage) else None,
        tool_call_chunks=[
            tool_call_chunk(name=call["name"], args=_json(call["args"]), id=call["id"], index=at)
            for at, call in enumerate(calls)
        ],
        chunk_position="last",
    )


def hide_usage(message: M) -> M:
    """Usage where callbacks do not count it: the inner runs have told them already."""
    usage = message.usage_metadata
    if usage is None:
        return message
    told = {**message.response_metadata, AGGREGATED_KEY: dict(usage)}
    return message.model_copy(update={"usage_metadata": None, "response_metadata": told})


def _json(args: Any) -> str:
    return json.dumps(args, ensure_ascii=False)
