from __future__ import annotations

import pytest
from langchain_core.documents import Document

from langchain_replm.context_store import MemoryContextStore, check_context, make_handle
from langchain_replm.errors import ConfigurationError, ContextNotFoundError


@pytest.mark.parametrize(
    ("context", "said"),
    [
        (None, "NoneType"),
        (b"bytes", "decode"),
        (42, "int"),
        ({"a": 1}, "dict"),
        (("a", "b"), "tuple"),
        (["a", 1], r"context\[1\] is a int"),
        (["a", Document("b")], r"context\[1\] is a Document"),
        ([Document("b"), "a"], r"context\[1\] is a str"),
        ("", "no characters"),
        ([], "no characters"),
        (["", ""], "no characters"),
    ],
)
def test_a_wrong_context_is_named(context: object, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        check_context(context)


def handle_of(context: object, preview_chars: int = 30) -> dict:
    return make_handle(check_context(context), preview_chars=preview_chars)


def test_a_handle_describes_a_text() -> None:
    handle = handle_of("a" * 50 + "z" * 50)
    assert handle["kind"] == "str"
    assert (handle["chars"], handle["items"]) == (100, 1)
    assert (handle["head"], handle["tail"]) == ("a" * 20, "z" * 10)


def test_a_handle_describes_documents() -> None:
    handle = handle_of([Document("one", metadata={"n": 1}), Document("three")])
    assert handle["kind"] == "list"
    assert handle["item_chars"] == {"min": 3, "median": 5, "max": 5}
    assert handle["has_metadata"]


def test_equal_contexts_have_equal_handles_and_others_do_not() -> None:
    contexts = ["ab", ["ab"], ["a", "b"], ["", "ab"], [Document("ab")], "ba"]
    hashes = [handle_of(context)["sha256"] for context in contexts]
    assert len(set(hashes)) == len(contexts)
    assert handle_of("ab") == handle_of("ab")


def test_lone_surrogates_do_not_reach_the_handle() -> None:
    handle = handle_of("x\ud800y" * 10)
    handle["head"].encode()
    handle["tail"].encode()


def test_metadata_that_json_cannot_hold_becomes_text() -> None:
    stored = check_context([Document("a", metadata={"path": object})])
    assert stored.metadata == [{"path": "<class 'object'>"}]


def test_memory_store_forgets_with_the_last_user() -> None:
    store, context = MemoryContextStore(), check_context("abc")
    handle = make_handle(context, preview_chars=10)
    store.put(handle, context)
    store.put(handle, context)
    store.release(handle)
    assert store.get(handle) is context
    store.release(handle)
    assert len(store) == 0
    with pytest.raises(ContextNotFoundError, match="Pass the context again"):
        store.get(handle)
    store.release(handle)
