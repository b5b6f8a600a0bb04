"""Contexts that outlive the process: chunked, compressed, found by their hash, verified when read.

One format for every place: a manifest (JSON) and chunks of about a megabyte, each compressed with
zlib, which every Python can read (zstd is in the standard library from 3.14 on only). The manifest
is written last, so a context that was cut off while it was stored is not there.

A place may be damaged or hostile: no chunk is inflated beyond its size, nothing is unpickled, and a
text whose hash is not that of its handle is not given out.
"""

from __future__ import annotations

import base64
import json
import os
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from langchain_replm.context_store import (
    StoredContext,
    digest_of,
    encoded_chunks,
)
from langchain_replm.errors import ConfigurationError, ContextNotFoundError
from langchain_replm.journal import CheckpointRows, journal_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.stores import ByteStore
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.store.base import BaseStore

    from langchain_replm.context_store import ContextHandle, ContextStore

CHUNK_BYTES: Final = 1 << 20
"""Security limit: bytes of one chunk when it is inflated."""

MANIFEST_BYTES: Final = 256 << 20
"""Security limit: bytes of a manifest, which holds the metadata of documents."""

FORMAT: Final = 1
FAST: Final = 1
"""Level of zlib: 80 MB of prose a second on one core, a third of the size."""

NAMESPACE: Final = "replm_context"


class Blobs(Protocol):
    """A place for bytes by name."""

    def get(self, sha256: str, part: str) -> bytes | None:
        """The bytes of a part, if it is there."""

    def put(self, sha256: str, part: str, data: bytes) -> None:
        """Keep the bytes of a part. When this returns they survive the end of the process."""


class ChunkedContextStore:
    """A `ContextStore` over any place for bytes."""

    def __init__(self, blobs: Blobs, place: str) -> None:
        self._blobs = blobs
        self._place = place

    def put(self, handle: ContextHandle, context: StoredContext) -> None:
        """Keep a context; free when an equal one is there."""
        name = handle["sha256"]
        if self._blobs.get(name, "manifest") is not None:
            return
        lengths: list[int] = []
        chunks = 0
        for chunk in _chunks(context, lengths):
            self._blobs.put(name, str(chunks), zlib.compress(chunk, FAST))
            chunks += 1
        manifest = {
            "format": FORMAT,
            "kind": handle["kind"],
            "chunks": chunks,
            "item_bytes": lengths,
            "metadata": context.metadata,
        }
        self._blobs.put(name, "manifest", zlib.compress(json.dumps(manifest).encode(), FAST))

    def get(self, handle: ContextHandle) -> StoredContext:
        """The context of a handle.

        Raises:
            ContextNotFoundError: It is gone, or what is there is not the context of the handle.
        """
        packed = self._blobs.get(handle["sha256"], "manifest")
        if packed is None:
            raise self._lost(handle, "is not in")
        try:
            context = self._unpack(handle, json.loads(_inflate(packed, MANIFEST_BYTES)))
        except (ValueError, TypeError, KeyError, zlib.error, RecursionError) as error:
            raise self._lost(handle, "is damaged in") from error
        if digest_of(context) != handle["sha256"]:
            raise self._lost(handle, "is damaged in")
        return context

    def release(self, handle: ContextHandle) -> None:
        """Nothing: a thread may be resumed at any time."""

    def _unpack(self, handle: ContextHandle, manifest: dict[str, Any]) -> StoredContext:
        if manifest["format"] != FORMAT or manifest["kind"] != handle["kind"]:
            msg = "another format"
            raise ValueError(msg)
        data = bytearray()
        for number in range(manifest["chunks"]):
            packed = self._blobs.get(handle["sha256"], str(number))
            if packed is None:
                msg = f"chunk {number} is missing"
                raise ValueError(msg)
            data += _inflate(packed, CHUNK_BYTES)
        if manifest["kind"] == "str":
            return StoredContext(data.decode("utf-8", "surrogatepass"))
        view, start, items = memoryview(data), 0, []
        for length in manifest["item_bytes"]:
            items.append(str(view[start : start + length], "utf-8", "surrogatepass"))
            start += length
        return StoredContext(items, manifest["metadata"])

    def _lost(self, handle: ContextHandle, what: str) -> ContextNotFoundError:
        return ContextNotFoundError(
            f"The context {handle['sha256'][:12]} ({handle['chars']:,} characters) {what} "
            f"{self._place}. The run cannot go on without it; ask again with the context."
        )


class DirectoryContextStore(ChunkedContextStore):
    """Contexts in a directory, one folder each, named by their hash.

    Equal contexts are stored once. Nothing is removed; delete folders that no run needs.

    Args:
        path: The directory; it is made when it is missing.

    Example:
        ```python
        import tempfile

        from langchain_replm import DirectoryContextStore
        from langchain_replm.context_store import check_context, make_handle

        with tempfile.TemporaryDirectory() as folder:
            store = DirectoryContextStore(folder)
            context = check_context("a long text")
            handle = make_handle(context, preview_chars=100)
            store.put(handle, context)
            assert store.get(handle).value == "a long text"
        ```
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(_Directory(Path(path)), f"the directory {str(path)!r}")


class _Directory:
    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, sha256: str, part: str) -> bytes | None:
        try:
            return self._folder(sha256).joinpath(part).read_bytes()
        except FileNotFoundError:
            return None

    def put(self, sha256: str, part: str, data: bytes) -> None:
        folder = self._folder(sha256)
        folder.mkdir(parents=True, exist_ok=True)
        # A reader, or a process that dies here, must not leave half a part.
        handle, name = tempfile.mkstemp(dir=folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            Path(name).replace(folder / part)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def _folder(self, sha256: str) -> Path:
        # The name comes from a checkpoint, and a checkpoint is not trusted with paths.
        if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):  # noqa: PLR2004 - of SHA-256
            msg = f"{sha256[:80]!r} is no SHA-256; the checkpoint was damaged."
            raise ContextNotFoundError(msg)
        return self._path / sha256


class _Bytes:
    """LangChain's `ByteStore`."""

    def __init__(self, store: ByteStore) -> None:
        self._store = store

    def get(self, sha256: str, part: str) -> bytes | None:
        (found,) = self._store.mget([f"{NAMESPACE}/{sha256}/{part}"])
        return found

    def put(self, sha256: str, part: str, data: bytes) -> None:
        self._store.mset([(f"{NAMESPACE}/{sha256}/{part}", data)])


class _Items:
    """LangGraph's `BaseStore`, which keeps JSON."""

    def __init__(self, store: BaseStore) -> None:
        self._store = store

    def get(self, sha256: str, part: str) -> bytes | None:
        found = self._store.get((NAMESPACE, sha256), part)
        return None if found is None else base64.b64decode(found.value["data"], validate=True)

    def put(self, sha256: str, part: str, data: bytes) -> None:
        text = base64.b64encode(data).decode("ascii")
        self._store.put((NAMESPACE, sha256), part, {"data": text}, index=False)


class _Rows:
    """Beside the checkpoints of a thread."""

    def __init__(self, saver: BaseCheckpointSaver[Any], thread_id: str) -> None:
        self._rows = CheckpointRows(saver, thread_id, NAMESPACE)

    def get(self, sha256: str, part: str) -> bytes | None:
        # A row of its own for each part: one read gives all that hangs on a row.
        found = self._rows.read(journal_key(sha256, part)).get(journal_key("data"))
        return found if isinstance(found, bytes) else None

    def put(self, sha256: str, part: str, data: bytes) -> None:
        self._rows.write(journal_key(sha256, part), journal_key("data"), data)


def checkpoint_contexts(saver: BaseCheckpointSaver[Any], thread_id: str) -> ChunkedContextStore:
    """Contexts beside the checkpoints of a thread: the default of a run that has a checkpointer."""
    return ChunkedContextStore(_Rows(saver, thread_id), "the checkpointer")


def as_context_store(given: Any) -> ContextStore:
    """The store that a caller means: one of ours, LangGraph's, LangChain's, or a directory.

    Raises:
        ConfigurationError: It is something else.
    """
    if isinstance(given, str | Path):
        return DirectoryContextStore(given)
    known = ("mget", "mset", "search", "put", "get", "release")
    names = {name for name in known if callable(getattr(given, name, None))}
    if {"mget", "mset"} <= names:
        return ChunkedContextStore(_Bytes(given), f"the {type(given).__name__}")
    if {"search", "put", "get"} <= names:
        return ChunkedContextStore(_Items(given), f"the {type(given).__name__}")
    if {"put", "get", "release"} <= names:
        store: ContextStore = given
        return store
    msg = (
        f"context_store is a {type(given).__name__}. Pass a directory, a LangGraph BaseStore, a "
        "LangChain ByteStore, or an object with put, get and release."
    )
    raise ConfigurationError(msg)


def _chunks(context: StoredContext, lengths: list[int]) -> Iterator[bytes]:
    """The texts back to back in chunks of equal size; their lengths are told on the way."""
    rest = bytearray()
    for item in context.items:
        length = 0
        for piece in encoded_chunks(item):
            length += len(piece)
            rest += piece
            while len(rest) >= CHUNK_BYTES:
                yield bytes(rest[:CHUNK_BYTES])
                del rest[:CHUNK_BYTES]
        lengths.append(length)
    if rest:
        yield bytes(rest)


def _inflate(packed: bytes, most: int) -> bytes:
    inflater = zlib.decompressobj()
    data = inflater.decompress(packed, most)
    if inflater.unconsumed_tail or not inflater.eof:
        msg = "a chunk is too large or cut off"
        raise ValueError(msg)
    return data
