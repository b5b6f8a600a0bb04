"""Whoever can write to the database cannot run code here: nothing is unpickled, nothing imported."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import ormsgpack
import pytest
from langgraph.checkpoint.sqlite import SqliteSaver

from langchain_replm import RLM, RLMConfig, RLMError
from langchain_replm.testing import ScriptedChatModel
from tests.scenarios import cell

CONFIG: Any = {"configurable": {"thread_id": "t"}}
SAYS_WHAT_TO_DO = (
    r"(?s)(damaged|no list of|is not in).*(Go on from an older|ask again|forget the run)"
)
CONSTRUCTOR_WITH_ARGUMENTS = 1
"""LangGraph's msgpack extension that calls a class with arguments."""


def stopped(connection: sqlite3.Connection, *, in_cell: bool = False) -> RLM:
    """A run that stands before its second reply, or in the middle of its first cell."""

    def respond(messages: list[Any]) -> str:
        if len(messages) > 2 and not done:
            done.append(True)
            raise KeyboardInterrupt
        calls = "a = llm_query('x')"
        if in_cell:
            calls += "; llm_query('stop')"
        return cell(calls) if len(messages) == 2 else cell("FINAL(a)")

    def answer(messages: list[Any]) -> str:
        if messages[-1].text == "stop" and not done:
            done.append(True)
            raise KeyboardInterrupt
        return "read"

    done: list[bool] = []
    rlm = RLM(
        ScriptedChatModel(respond=respond),
        sub_model=ScriptedChatModel(respond=answer),
        config=RLMConfig(sandbox_mode="none"),
        checkpointer=SqliteSaver(connection),
    )
    with pytest.raises(KeyboardInterrupt):
        rlm.invoke({"query": "q", "context": "text"}, CONFIG)
    return rlm


def calls_touch(file: Path) -> bytes:
    """What would start a program if the serializer built the object that it names."""
    body = ormsgpack.packb(("subprocess", "Popen", (["touch", str(file)],)))
    return ormsgpack.packb(ormsgpack.Ext(CONSTRUCTOR_WITH_ARGUMENTS, body))


@pytest.fixture
def connection() -> Any:
    made = sqlite3.connect(":memory:", check_same_thread=False)
    yield made
    made.close()


@pytest.mark.parametrize("kind", ["msgpack", "pickle"])
@pytest.mark.parametrize("table", ["writes", "checkpoints"])
def test_an_object_in_a_checkpoint_is_not_built(
    connection: sqlite3.Connection, tmp_path: Path, kind: str, table: str
) -> None:
    rlm, file = stopped(connection), tmp_path / "touched"
    data = calls_touch(file)
    if kind == "pickle":
        data = f"csubprocess\ncheck_call\n((lS'touch'\naS'{file}'\nat".encode() + b"R."
    column = "value" if table == "writes" else "checkpoint"
    connection.execute(f"update {table} set type = ?, {column} = ?", (kind, data))  # noqa: S608
    with pytest.raises(RLMError, match=SAYS_WHAT_TO_DO):
        rlm.invoke(None, CONFIG)  # type: ignore[arg-type]
    assert not file.exists()


@pytest.mark.filterwarnings("ignore")
def test_the_attack_is_one(connection: sqlite3.Connection, tmp_path: Path) -> None:
    """As LangGraph's serializer comes, the same bytes start the program."""
    file = tmp_path / "touched"
    started = SqliteSaver(connection).serde.loads_typed(("msgpack", calls_touch(file)))
    started.wait(10)
    assert file.exists()


BYTES: dict[str, Any] = {
    "cut": lambda old, kind: (old[: len(old) // 2], kind),
    "one byte": lambda old, kind: (bytes([old[0] ^ 0xFF]) + old[1:], kind),
    "empty": lambda old, kind: (b"", kind),
    "null": lambda old, kind: (None, kind),
    "no msgpack": lambda old, kind: (b"\xc1", "msgpack"),
    "deep": lambda old, kind: (b"\x91" * 5_000, "msgpack"),
    "a text": lambda old, kind: (ormsgpack.packb("text"), "msgpack"),
    "a dict": lambda old, kind: (ormsgpack.packb({"a": 1}), "msgpack"),
    "json": lambda old, kind: (b"{", "json"),
    "an unknown type": lambda old, kind: (old, "nonsense"),
}


@pytest.mark.parametrize("how", BYTES)
@pytest.mark.parametrize(
    ("table", "column", "where"),
    [
        ("checkpoints", "checkpoint", "checkpoint_ns = ''"),
        ("writes", "value", "checkpoint_ns = '' and channel in ('trajectory', 'turn')"),
        ("writes", "value", "channel = 'replm_journal'"),
        ("writes", "value", "channel = 'replm_context'"),
    ],
    ids=["checkpoints", "writes", "journal", "context"],
)
def test_bytes_of_another_kind_are_a_clear_error(
    connection: sqlite3.Connection, table: str, column: str, where: str, how: str
) -> None:
    rlm = stopped(connection, in_cell="journal" in where)
    read = f"select rowid, {column}, type from {table} where {where} and {column} is not null"  # noqa: S608
    rows = connection.execute(read).fetchall()
    assert rows
    for row, old, kind in rows:
        if old:
            changed = (*BYTES[how](old, kind), row)
            write = f"update {table} set {column} = ?, type = ? where rowid = ?"  # noqa: S608
            connection.execute(write, changed)
    with pytest.raises(RLMError, match=SAYS_WHAT_TO_DO):
        rlm.invoke(None, CONFIG)  # type: ignore[arg-type]


@pytest.mark.parametrize("metadata", ["", "{", "[]", "null", "7", '{"step": "x"}', None])
def test_metadata_of_another_kind_is_a_clear_error(
    connection: sqlite3.Connection, metadata: str | None
) -> None:
    rlm = stopped(connection)
    data = None if metadata is None else metadata.encode()
    connection.execute("update checkpoints set metadata = ?", (data,))
    with pytest.raises(RLMError, match=SAYS_WHAT_TO_DO):
        rlm.invoke(None, CONFIG)  # type: ignore[arg-type]


@pytest.mark.parametrize("missing", ["writes", "trajectory", "context"])
def test_what_is_missing_is_a_clear_error(connection: sqlite3.Connection, missing: str) -> None:
    rlm = stopped(connection)
    if missing == "writes":
        connection.execute("delete from writes where checkpoint_ns = ''")
    elif missing == "trajectory":
        connection.execute("delete from writes where checkpoint_ns = '' and channel = 'trajectory'")
    else:
        connection.execute("delete from checkpoints where checkpoint_ns = 'replm_context'")
    with pytest.raises(RLMError, match=SAYS_WHAT_TO_DO):
        rlm.invoke(None, CONFIG)  # type: ignore[arg-type]


def test_a_database_that_is_not_there_is_not_called_damaged(
    connection: sqlite3.Connection,
) -> None:
    rlm = stopped(connection)
    connection.execute("drop table writes")
    with pytest.raises(sqlite3.OperationalError):
        rlm.invoke(None, CONFIG)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "damage",
    [
        {"trajectory": "text"},
        {"trajectory": [{"number": "x"}]},
        {"trajectory": [{"number": 1, "cells": [{"code": 3}]}]},
        {"turn": {"number": None}},
        {"session": [{"query": "q"}]},
        {"session": "text"},
        {"query": 7},
        {"context_handle": None},
        {"context_handle": {"sha256": "x"}},
        {"context_handle": "text"},
        {"variables": ["a"]},
        {"granted": {"max_sub_calls": "many"}},
        {"limit": "nonsense"},
        {"rejected": 3},
        {"run_id": 7},
        {"run_id": ""},
    ],
)
def test_data_of_another_shape_is_a_clear_error(
    connection: sqlite3.Connection, damage: dict[str, Any]
) -> None:
    rlm = stopped(connection)
    node = "parse" if "turn" in damage else None
    with pytest.raises(RLMError, match=SAYS_WHAT_TO_DO):  # noqa: PT012
        if node:
            from langgraph.types import Command

            rlm.graph.update_state(CONFIG, Command(update=damage, goto="parse"))
        else:
            rlm.graph.update_state(CONFIG, damage)
        rlm.invoke(None, CONFIG)  # type: ignore[arg-type]


def test_a_journal_entry_that_was_changed_is_a_clear_error(connection: sqlite3.Connection) -> None:
    def respond(messages: list[Any]) -> str:
        prompt = messages[-1].text
        if prompt == "stop" and not stops:
            stops.append(True)
            raise KeyboardInterrupt
        return "read"

    stops: list[bool] = []
    rlm = RLM(
        ScriptedChatModel(replies=[cell("a = llm_query('x')", "FINAL(a + llm_query('stop'))")]),
        sub_model=ScriptedChatModel(respond=respond),
        config=RLMConfig(sandbox_mode="none"),
        checkpointer=SqliteSaver(connection),
    )
    with pytest.raises(KeyboardInterrupt):
        rlm.invoke({"query": "q", "context": "text"}, CONFIG)
    changed = connection.execute(
        "update writes set value = ? where channel = 'replm_journal'",
        (ormsgpack.packb('{"text": "lies", "more": 1}'),),
    )
    assert changed.rowcount == 1
    with pytest.raises(RLMError, match=r"journal of run .* is damaged"):
        rlm.invoke(None, CONFIG)  # type: ignore[arg-type]
