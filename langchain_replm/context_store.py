"""The context by handle: the text stays here, the graph's state holds only its description.

A text in a graph's state is written again at every superstep (10 MB and 20 supersteps make
230 MB in SQLite), so state, checkpoints and traces get a `ContextHandle` instead.
"""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NotRequired, Protocol

from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document
from typing_extensions import TypedDict

from langchain_replm._file_text import FileText
from langchain_replm.errors import ConfigurationError, ContextNotFoundError
from langchain_replm.types import encodable

if TYPE_CHECKING:
    from collections.abc import Iterator

HASH_CHUNK_CHARS = 1 << 20


class ContextHandle(TypedDict):
    """What the state knows about the context. Small whatever the size of the text.

    The hash covers kind, boundaries, text and metadata, so equal handles mean equal contexts.
    """

    sha256: str
    kind: Literal["str", "list"]
    items: int
    """Number of documents; 1 for a single text."""
    chars: int
    item_chars: dict[str, int]
    """`min`, `median` and `max` length of a document, in characters."""
    has_metadata: bool
    head: str
    tail: str
    """Start and end of the text (of the first and last document), for the preview."""
    uri: NotRequired[str]
    """The file that holds the text; without it the text is in the context store."""


class StoredContext:
    """A checked context: text or texts, and the metadata of documents in the same order."""

    __slots__ = ("metadata", "value")

    def __init__(
        self, value: str | list[str] | FileText, metadata: list[dict[str, Any]] | None = None
    ) -> None:
        self.value: str | list[str] | FileText = value
        self.metadata: list[dict[str, Any]] | None = metadata

    @property
    def items(self) -> list[str]:
        """The texts; one for a single text. A text that stays in its file is not among them."""
        if isinstance(self.value, FileText):
            return []
        return [self.value] if isinstance(self.value, str) else self.value


class ContextStore(Protocol):
    """Where contexts live while runs need them."""

    def put(self, handle: ContextHandle, context: StoredContext) -> None:
        """Keep a context; putting an equal one again is free."""

    def get(self, handle: ContextHandle) -> StoredContext:
        """The context of a handle.

        Raises:
            ContextNotFoundError: The store does not have it.
        """

    def release(self, handle: ContextHandle) -> None:
        """One run less needs this context; the store may forget it with the last one."""


class MemoryContextStore:
    """Contexts by reference in this process: no copy, gone when the process ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._contexts: dict[str, tuple[StoredContext, int]] = {}

    def put(self, handle: ContextHandle, context: StoredContext) -> None:
        """Keep a context until it was released as often as it was put."""
        with self._lock:
            known, users = self._contexts.get(handle["sha256"], (context, 0))
            self._contexts[handle["sha256"]] = (known, users + 1)

    def get(self, handle: ContextHandle) -> StoredContext:
        """The context of a handle, or `ContextNotFoundError`."""
        try:
            return self._contexts[handle["sha256"]][0]
        except KeyError:
            msg = (
                f"The context {handle['sha256'][:12]} ({handle['chars']:,} characters) is not in "
                "this process any more. Pass the context again, or give the graph a context_store "
                "that outlives the process."
            )
            raise ContextNotFoundError(msg) from None

    def release(self, handle: ContextHandle) -> None:
        """Forget the context when no run needs it any more."""
        with self._lock:
            context, users = self._contexts.pop(handle["sha256"], (None, 0))
            if context is not None and users > 1:
                self._contexts[handle["sha256"]] = (context, users - 1)

    def __len__(self) -> int:
        return len(self._contexts)


def find_context(store: ContextStore, handle: ContextHandle) -> StoredContext:
    """The context of a handle: from the file that it names, or from the store.

    Raises:
        ContextNotFoundError: It is gone, or is not what the handle describes.
    """
    uri = handle.get("uri")
    if uri is None:
        return store.get(handle)
    text = FileText(Path(uri))
    try:
        found = text.survey().sha256
    except ConfigurationError as error:
        raise ContextNotFoundError(str(error)) from error
    if found != handle["sha256"]:
        msg = f"The context file {uri!r} has changed since the run began. Restore it, or ask again."
        raise ContextNotFoundError(msg)
    return StoredContext(text)


def check_context(context: object) -> StoredContext:
    """Turn what the caller gave into a `StoredContext`, or say what is wrong with it.

    Raises:
        ConfigurationError: The context is not a `str`, a list of `str`, a list of `Document`, the
            path of a text file or a document loader, or has no characters at all.
    """
    allowed = (
        "Pass a str, a list[str], a list of LangChain Documents, the pathlib.Path of a text file, "
        "or a LangChain document loader."
    )
    if isinstance(context, Path):
        return StoredContext(FileText(context.absolute()))
    if isinstance(context, BaseLoader):
        context = list(context.lazy_load())
    if isinstance(context, bytes | bytearray):
        msg = f"context is {type(context).__name__}; decode it first (for example `.decode()`). "
        raise ConfigurationError(msg + allowed)
    if isinstance(context, str):
        stored = StoredContext(context)
    elif isinstance(context, list):
        stored = _check_list(context, allowed)
    else:
        msg = f"context is a {type(context).__name__}. {allowed}"
        raise ConfigurationError(msg)
    if not any(stored.items):
        msg = "context has no characters: there is nothing to read. Ask the model directly instead."
        raise ConfigurationError(msg)
    return stored


def _check_list(context: list[Any], allowed: str) -> StoredContext:
    kind: type = Document if context and isinstance(context[0], Document) else str
    for position, item in enumerate(context):
        if not isinstance(item, kind):
            msg = (
                f"context[{position}] is a {type(item).__name__}, but context[0] is a "
                f"{type(context[0]).__name__}. {allowed}"
            )
            raise ConfigurationError(msg)
    if kind is str:
        return StoredContext(context)
    return StoredContext(
        [document.page_content for document in context],
        [_json_metadata(document) for document in context],
    )


def _json_metadata(document: Document) -> dict[str, Any]:
    """Metadata as JSON data; what JSON cannot hold becomes its text."""
    plain: dict[str, Any] = json.loads(json.dumps(document.metadata, default=str))
    if document.id is not None:
        plain.setdefault("id", document.id)
    return plain


def make_handle(context: StoredContext, *, preview_chars: int) -> ContextHandle:
    """Describe a context; the text is read once, in chunks, and never copied whole."""
    head_chars, tail_chars = preview_chars - preview_chars // 3, preview_chars // 3
    if isinstance(context.value, FileText):
        return _file_handle(context.value, head_chars, tail_chars)
    items = context.items
    lengths = sorted(len(item) for item in items)
    return ContextHandle(
        sha256=digest_of(context),
        kind="str" if isinstance(context.value, str) else "list",
        items=len(items),
        chars=sum(lengths),
        item_chars={"min": lengths[0], "median": lengths[len(lengths) // 2], "max": lengths[-1]},
        has_metadata=context.metadata is not None,
        head=encodable(items[0][:head_chars]),
        tail=encodable(items[-1][-tail_chars:]) if tail_chars else "",
    )


def _file_handle(text: FileText, head_chars: int, tail_chars: int) -> ContextHandle:
    found = text.survey(max(head_chars, tail_chars))
    if not found.chars:
        msg = f"The context file {str(text.path)!r} is empty: there is nothing to read."
        raise ConfigurationError(msg)
    return ContextHandle(
        sha256=found.sha256,
        kind="str",
        items=1,
        chars=found.chars,
        item_chars=dict.fromkeys(("min", "median", "max"), found.chars),
        has_metadata=False,
        head=found.head[:head_chars],
        tail=found.tail[-tail_chars:] if tail_chars else "",
        uri=str(text.path),
    )


def digest_of(context: StoredContext) -> str:
    """The hash of a context that is in memory."""
    digest = hashlib.sha256(b"str" if isinstance(context.value, str) else b"list")
    for item in context.items:
        if len(item) < HASH_CHUNK_CHARS:
            digest.update(f"{len(item)}:{item}".encode("utf-8", "surrogatepass"))
            continue
        digest.update(f"{len(item)}:".encode())
        for chunk in encoded_chunks(item):
            digest.update(chunk)
    if context.metadata is not None:
        digest.update(json.dumps(context.metadata, sort_keys=True).encode())
    return digest.hexdigest()


def encoded_chunks(text: str) -> Iterator[bytes]:
    """A text as UTF-8, piece by piece."""
    for start in range(0, len(text), HASH_CHUNK_CHARS):
        # A lone surrogate has no UTF-8, but is legal in a Python string.
        yield text[start : start + HASH_CHUNK_CHARS].encode("utf-8", "surrogatepass")
