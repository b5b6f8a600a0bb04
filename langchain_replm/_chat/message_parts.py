"""The parts of a message, whoever made it: its role, its texts, and what is no text."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, cast

from langchain_core.messages import BaseMessage, ToolMessage

if TYPE_CHECKING:
    from collections.abc import Iterator

_ATTACHED = frozenset({"image", "audio", "video", "file"})


def speaker_of(message: BaseMessage) -> str:
    """Who speaks, as a transcript tells it."""
    role = role_of(message)
    if isinstance(message, ToolMessage):
        failed = " failed and" if message.status == "error" else ""
        return f"tool {message.name or message.tool_call_id}{failed} returned"
    return f"{role} {message.name}" if message.name else role


def role_of(message: BaseMessage) -> str:
    """`user`, `assistant`, `system`, `tool`, or what else the message says."""
    names = {"human": "user", "ai": "assistant"}
    kind = message.type.removesuffix("MessageChunk").lower()
    return names.get(kind, kind)


def _blocks(message: BaseMessage) -> list[dict[str, Any]]:
    return [cast("dict[str, Any]", block) for block in message.content_blocks]


def texts_of(message: BaseMessage) -> Iterator[str]:
    """The texts of a message, one for each block; no reasoning, no tool calls."""
    if isinstance(message.content, str):
        if message.content:
            yield _clean(message.content)
        return
    for block in _blocks(message):
        text = _text_of(block)
        if text:
            yield _clean(text)


def _clean(text: str) -> str:
    return text.replace("\x00", "\ufffd")


def _text_of(block: dict[str, Any]) -> str:
    kind = block.get("type")
    if kind in {"text", "text-plain"}:
        return str(block.get("text") or "")
    if kind == "file" and str(block.get("mime_type", "")).startswith("text/"):
        data = block.get("base64")
        return base64.b64decode(data).decode("utf-8", "replace") if data else ""
    if kind == "non_standard":
        value = block.get("value") or {}
        if value.get("type") == "tool_use":
            return ""  # it is in `tool_calls` too
        return json.dumps(value, ensure_ascii=False, default=str)
    return ""


def attached_to(message: BaseMessage) -> Iterator[dict[str, Any]]:
    """The content blocks that are no text: images, audio, files."""
    if isinstance(message.content, str):
        return
    for block in _blocks(message):
        if block.get("type") in _ATTACHED and not _text_of(block):
            yield {key: value for key, value in block.items() if key != "index"}
