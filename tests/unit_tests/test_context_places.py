"""Contexts that outlive the process, in every place; damaged ones are never given out."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document
from langchain_core.stores import InMemoryByteStore
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore

from langchain_replm import DirectoryContextStore, MemoryContextStore
from langchain_replm._context_chunks import (
    CHUNK_BYTES,
    ChunkedContextStore,
    as_context_store,
    checkpoint_contexts,
)
from langchain_replm._file_text import FileText
from langchain_replm.context_store import check_context, find_context, make_handle
from langchain_replm.errors import ConfigurationError, ContextNotFoundError

PLACES: dict[str, Callable[[Path], Any]] = {
    "directory": lambda folder: DirectoryContextStore(folder / "contexts"),
    "path": lambda folder: as_context_store(str(folder / "contexts")),
    "langgraph store": lambda folder: as_context_store(InMemoryStore()),
    "byte store": lambda folder: as_context_store(InMemoryByteStore()),
    "checkpoints": lambda folder: checkpoint_contexts(InMemorySaver(), "thread"),
}
CONTEXTS: dict[str, Any] = {
    "text": "the heron stands still",
    "long": "".join(f"{n} é\n" for n in range(400_000)),
    "surrogates": "a\ud800b",
    "texts": ["", "one", "zwei é", "x" * (2 * CHUNK_BYTES + 7), ""],
    "documents": [Document("a", metadata={"n": 1}), Document("", id="i"), Document("c")],
}


@pytest.fixture(params=list(PLACES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return PLACES[request.param](tmp_path)


@pytest.mark.parametrize("name", list(CONTEXTS))
def test_a_context_comes_back_as_it_was(store: Any, name: str) -> None:
    context = check_context(CONTEXTS[name])
    handle = make_handle(context, preview_chars=100)
    with pytest.raises(ContextNotFoundError, match=r"is not in the .*ask again"):
        store.get(handle)
    store.put(handle, context)
    store.put(handle, context)
    found = store.get(handle)
    assert (found.value, found.metadata) == (context.value, context.metadata)
    store.release(handle)
    assert store.get(handle).value == context.value, "a thread may be resumed at any time"


def damaged(folder: Path) -> dict[str, Callable[[], object]]:
    (home,) = folder.iterdir()
    manifest, chunk = home / "manifest", home / "0"

    def rewrite(**changes: Any) -> Callable[[], object]:
        told = {**json.loads(zlib.decompress(manifest.read_bytes())), **changes}
        return lambda: manifest.write_bytes(zlib.compress(json.dumps(told).encode()))

    bomb = zlib.compress(b"\0" * (CHUNK_BYTES + 1))
    return {
        "another text": lambda: chunk.write_bytes(zlib.compress(b"another text")),
        "cut": lambda: chunk.write_bytes(chunk.read_bytes()[:-3]),
        "no zlib": lambda: chunk.write_bytes(b"\x80\x04cos\nsystem\n"),
        "bomb": lambda: chunk.write_bytes(bomb),
        "missing": chunk.unlink,
        "no manifest": lambda: manifest.write_bytes(b"x"),
        "deep manifest": lambda: manifest.write_bytes(zlib.compress(b"[" * 100_000)),
        "list manifest": lambda: manifest.write_bytes(zlib.compress(b"[]")),
        "another format": rewrite(format=99),
        "another kind": rewrite(kind="list"),
        "fewer chunks": rewrite(chunks=0),
        "no number": rewrite(chunks="many"),
        "no UTF-8": lambda: chunk.write_bytes(zlib.compress(b"\xff\xfe")),
    }


@pytest.mark.parametrize(
    "how",
    ["another text", "cut", "no zlib", "bomb", "missing", "no manifest", "deep manifest",
     "list manifest", "another format", "another kind", "fewer chunks", "no number", "no UTF-8"],
)  # fmt: skip
def test_a_damaged_context_is_never_given_out(tmp_path: Path, how: str) -> None:
    store, context = DirectoryContextStore(tmp_path), check_context("the heron stands still")
    handle = make_handle(context, preview_chars=100)
    store.put(handle, context)
    damaged(tmp_path)[how]()
    with pytest.raises(ContextNotFoundError, match="is damaged in the directory"):
        store.get(handle)


def test_a_handle_cannot_name_a_place_outside_of_the_directory(tmp_path: Path) -> None:
    store, context = DirectoryContextStore(tmp_path), check_context("text")
    handle = {**make_handle(context, preview_chars=10), "sha256": "../" * 10 + "etc"}
    with pytest.raises(ContextNotFoundError, match="no SHA-256"):
        store.get(handle)  # type: ignore[arg-type]


class Dies:
    """A place whose process ends at the n-th write."""

    def __init__(self, at: int) -> None:
        self.parts: dict[str, bytes] = {}
        self._left = at

    def get(self, sha256: str, part: str) -> bytes | None:
        return self.parts.get(part)

    def put(self, sha256: str, part: str, data: bytes) -> None:
        if self._left == 0:
            raise KeyboardInterrupt
        self._left -= 1
        self.parts[part] = data


@pytest.mark.parametrize("at", range(4))
def test_a_context_that_was_cut_off_while_it_was_stored_is_stored_again(at: int) -> None:
    context = check_context("x" * (2 * CHUNK_BYTES + 1))
    handle = make_handle(context, preview_chars=10)
    place = Dies(at)
    store = ChunkedContextStore(place, "a place")
    with pytest.raises(KeyboardInterrupt):
        store.put(handle, context)
    with pytest.raises(ContextNotFoundError):
        store.get(handle)
    place._left = 99
    store.put(handle, context)
    assert store.get(handle).value == context.value


def test_what_a_caller_may_pass() -> None:
    memory = MemoryContextStore()
    assert as_context_store(memory) is memory
    with pytest.raises(ConfigurationError, match="context_store is a int"):
        as_context_store(3)


# -- files and loaders -----------------------------------------------------------------------------


def test_a_file_is_described_without_being_held(tmp_path: Path) -> None:
    text = "".join(f"é{n} " for n in range(400_000))
    file = tmp_path / "text.txt"
    file.write_text(text, encoding="utf-8")
    context = check_context(file)
    assert isinstance(context.value, FileText)
    handle = make_handle(context, preview_chars=30)
    assert (handle["chars"], handle["kind"], handle["items"]) == (len(text), "str", 1)
    assert (handle["head"], handle["tail"]) == (text[:20], text[-10:])
    found = find_context(MemoryContextStore(), handle)
    assert isinstance(found.value, FileText)
    assert found.value.read() == text
    assert found.value.utf8_bytes == len(text.encode())


def test_a_file_that_changed_or_went_is_named(tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text("the heron")
    context = check_context(file)
    handle = make_handle(context, preview_chars=30)
    for later in ("the Heron", "the heron stands", "the"):
        file.write_text(later)
        with pytest.raises(ContextNotFoundError, match=r"text\.txt.*has changed"):
            find_context(MemoryContextStore(), handle)
        with pytest.raises(ContextNotFoundError, match="has changed"):
            list(context.value.pieces())  # type: ignore[union-attr]
    file.unlink()
    with pytest.raises(ContextNotFoundError, match="cannot be read"):
        find_context(MemoryContextStore(), handle)
    with pytest.raises(ContextNotFoundError, match="cannot be read any more"):
        list(context.value.pieces())  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"abc\xff", "no UTF-8"),
        (b"abc\xc3", "no UTF-8"),
        (None, "cannot be read"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, content: bytes | None, said: str) -> None:
    file = tmp_path / "text.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=said):
        make_handle(check_context(file), preview_chars=30)


def test_a_loader_gives_documents() -> None:
    class Two(BaseLoader):
        def lazy_load(self) -> Any:
            yield Document("one", metadata={"n": 1})
            yield Document("two", metadata={"n": 2})

    context = check_context(Two())
    assert (context.value, context.metadata) == (["one", "two"], [{"n": 1}, {"n": 2}])
