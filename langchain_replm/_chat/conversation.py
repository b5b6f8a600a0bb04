"""From a conversation to what a run is asked: a query, a context, instructions, attachments.

One rule: what is short stays in the query, what is long becomes an item of the context, and the
query says where it is. A pure function of the messages, so that a run that goes on later is asked
the same.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from langchain_replm._chat.message_parts import attached_to, role_of, speaker_of, texts_of
from langchain_replm._chat_prompts import (
    CONVERSATION,
    attachment_reference,
    earlier_reference,
    reference,
)
from langchain_replm.prompts import fence

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

INLINE_CHARS = 4_000
"""A text longer than this becomes an item of the context."""
SHOWN_CHARS = 1_500
"""Characters of a long text of the user that the query still shows, at each of its ends: that is
where people put the question."""
INSTRUCTION_CHARS = 20_000
"""Characters of the system messages that stay instructions; the middle of longer ones, where
retrieval chains put their documents, becomes an item of the context."""
TRANSCRIPT_CHARS = 12_000
"""Characters of the conversation in the query; the oldest messages of a longer one become items."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a run is asked, out of a conversation."""

    query: str
    context: str | list[Document]
    instructions: str
    attachments: tuple[dict[str, Any], ...]
    """Content blocks that are no text, in the order of their names in the query."""


@dataclass(slots=True)
class _Entry:
    """One message while it is read: who wrote it, and its texts."""

    number: int
    speaker: str
    role: str
    name: str | None
    texts: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    """What stands in the query whatever the length of the texts: tool calls, attachments."""

    def metadata(self) -> dict[str, Any]:
        told = {"message": self.number, "role": self.role, "name": self.name}
        return {key: value for key, value in told.items() if value is not None}

    def whole(self) -> str:
        return "\n\n".join([*self.texts, *self.lines])


def conversation_chars(messages: Iterable[BaseMessage]) -> int:
    """Characters of all texts in the messages."""
    return sum(len(text) for message in messages for text in texts_of(message))


def context_chars(context: object) -> int:
    """Characters of an explicit context; 0 for what `check_context` will refuse."""
    items = context if isinstance(context, list) else [context]
    texts = (item.page_content if isinstance(item, Document) else item for item in items)
    return sum(len(text) for text in texts if isinstance(text, str))


def read_conversation(messages: Sequence[BaseMessage], context: Any = None) -> Asked:
    r"""Split a conversation into query, context, instructions and attachments.

    Args:
        messages: The conversation; the answer is the message that comes next.
        context: An explicit context; texts of the conversation come after it.

    Example:
        ```python
        from langchain_core.messages import HumanMessage
        from langchain_replm._chat.conversation import read_conversation

        asked = read_conversation([HumanMessage("Who calls?\n\n" + "A heron calls. " * 999)])
        assert asked.query.startswith("Who calls?")
        assert len(asked.context) > 14_000
        ```
    """
    reader = _Reader(context)
    instructions = reader.instructions(messages)
    entries = [
        reader.entry(number, message)
        for number, message in enumerate(messages, start=1)
        if not isinstance(message, SystemMessage)
    ]
    query = reader.query(entries) or "Follow the instructions."
    return Asked(
        query=reader.resolve(query),
        context=reader.context(entries, query),
        instructions=reader.resolve(instructions),
        attachments=tuple(reader.attachments),
    )


def direct_messages(messages: Sequence[BaseMessage], context: Any) -> list[BaseMessage]:
    """The conversation as the root model gets it directly, with an explicit context before it."""
    plain = [_without_work(message) for message in messages]
    if context is None:
        return plain
    items = context if isinstance(context, list) else [context]
    texts = [item.page_content if isinstance(item, Document) else item for item in items]
    shown = "\n\n".join(fence("context", text) for text in texts)
    last = max(
        (at for at, message in enumerate(plain) if isinstance(message, HumanMessage)),
        default=len(plain),
    )
    return [*plain[:last], HumanMessage(shown), *plain[last:]]


class _Reader:
    """Collects what becomes context and attachments while the messages are read.

    References are written as marks first: whether a text is `context` or `context[0]` is known
    when all messages have been read. A mark holds a character that no text of ours has.
    """

    def __init__(self, context: Any) -> None:
        given = [] if context is None else context if isinstance(context, list) else [context]
        self._explicit = context
        self._items: list[Any] = list(given)
        self._given = len(self._items)
        self._marks: dict[str, int] = {}
        self.attachments: list[dict[str, Any]] = []

    def instructions(self, messages: Sequence[BaseMessage]) -> str:
        """The system messages; the middle of very long ones is moved to the context."""
        parts = []
        for number, message in enumerate(messages, start=1):
            if isinstance(message, SystemMessage):
                text = "\n\n".join(texts_of(message))
                entry = _Entry(number, "system", "system", message.name)
                parts.append(self._cut(text, entry, 2 * INLINE_CHARS, INSTRUCTION_CHARS))
        return "\n\n".join(parts)

    def entry(self, number: int, message: BaseMessage) -> _Entry:
        """Read one message: its texts, and lines for what is no text."""
        entry = _Entry(number, speaker_of(message), role_of(message), message.name)
        entry.texts = list(texts_of(message))
        for block in attached_to(message):
            self.attachments.append(block)
            name = f"attachment {len(self.attachments)}"
            kind, mime_type = str(block["type"]), str(block.get("mime_type") or "")
            entry.lines.append(attachment_reference(name, kind, mime_type))
        if isinstance(message, AIMessage):
            entry.lines += [
                f"[calls {call['name']}({json.dumps(call['args'], ensure_ascii=False)})]"
                for call in message.tool_calls
            ]
        return entry

    def query(self, entries: list[_Entry]) -> str:
        """The transcript, with long texts and old messages moved to the context."""
        if len(entries) == 1:
            return self._body(entries[0])
        parts = [f"{entry.speaker}: {self._body(entry)}" for entry in entries]
        kept, size = len(parts) - 1, len(parts[-1]) if parts else 0
        while kept > 0 and size + len(parts[kept - 1]) <= TRANSCRIPT_CHARS:
            kept -= 1
            size += len(parts[kept])
        if kept > 0:
            start = len(self._items)
            for entry, part in zip(entries[:kept], parts, strict=False):
                self._items.append(Document(part, metadata=entry.metadata()))
            first, last = entries[0].number, entries[0].number + kept - 1
            parts = [earlier_reference(first, last, start), *parts[kept:]]
        return "\n\n".join([CONVERSATION, *parts]) if parts else ""

    def resolve(self, text: str) -> str:
        """Put references in the place of marks."""
        single = len(self._items) == 1
        for mark, position in self._marks.items():
            if mark in text:
                chars = len(self._items[position].page_content)
                text = text.replace(mark, reference(None if single else position, chars))
        return text

    def context(self, entries: list[_Entry], query: str) -> Any:
        """The context of the run; the conversation itself if nothing else is long."""
        if self._explicit is not None and len(self._items) == self._given:
            return self._explicit
        if not self._items:
            return "\n\n".join(entry.whole() for entry in entries) or query
        if len(self._items) == 1:
            return self._items[0].page_content
        items = [item if isinstance(item, Document) else Document(item) for item in self._items]
        for item in items[self._given :]:
            item.page_content = self.resolve(item.page_content)
        return items

    def _body(self, entry: _Entry) -> str:
        trusted = entry.role in {"user", "assistant"}
        texts = [self._inline(text, entry, trusted=trusted) for text in entry.texts]
        return "\n\n".join([*texts, *entry.lines])

    def _inline(self, text: str, entry: _Entry, *, trusted: bool) -> str:
        if not trusted:
            shown = self._move(text, entry) if len(text) > INLINE_CHARS else fence("data", text)
            return f"\n{shown}"
        shown_chars = 2 * SHOWN_CHARS if entry.role == "user" else 0
        return self._cut(text, entry, shown_chars, INLINE_CHARS)

    def _cut(self, text: str, entry: _Entry, shown_chars: int, most: int) -> str:
        if len(text) <= most:
            return text
        mark = self._move(text, entry)
        if not shown_chars:
            return mark
        head = _cut_at_line(text[: shown_chars // 2], last=True)
        tail = _cut_at_line(text[-(shown_chars // 2) :], last=False)
        return f"{head}\n\n{mark}\n\n{tail}"

    def _move(self, text: str, entry: _Entry) -> str:
        mark = f"\x00{len(self._items)}\x00"
        self._marks[mark] = len(self._items)
        self._items.append(Document(text, metadata=entry.metadata()))
        return mark


def _cut_at_line(text: str, *, last: bool) -> str:
    """Leave out the line that was cut in its middle, unless there is only that one."""
    if last:
        return text.rpartition("\n")[0].rstrip() or text
    return text.partition("\n")[2].lstrip() or text


def _without_work(message: BaseMessage) -> BaseMessage:
    """An earlier answer of ours without the work that led to it: it is not the root's reasoning."""
    told = message.response_metadata.get("rlm") if isinstance(message, AIMessage) else None
    if not isinstance(told, dict) or told.get("direct"):
        return message
    content: Any = message.content
    if isinstance(content, list):
        content = [
            block
            for block in content
            if not (isinstance(block, dict) and block.get("type") == "reasoning")
        ]
    kept = {k: v for k, v in message.additional_kwargs.items() if k != "reasoning_content"}
    return message.model_copy(update={"content": content, "additional_kwargs": kept})
