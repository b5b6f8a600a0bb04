"""Whoever can write to the database cannot run code here: nothing is unpickled, nothing imported."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any

import ormsgpack
import pytest
from langgraph.checkpoint.sqlite import SqliteSaver

from langchain_replm import RLM, RLMConfig, RLMError
from langchain_replm.testing import ScriptedChatModel
from tests.scenarios import cell

CONFIG: Any = {"configurable": {"thread_id": "t"}}
CONSTRUCTOR_WITH_ARGUMENTS = 1
"""LangGraph's msgpack extension that calls a class with arguments."""


def stopped(connection: sqlite3.Connection) -> RLM:
    """A run that stands before its second reply."""

    def respond(messages: list[Any]) -> str:
        if len(messages) > 2 and not done:
            done.append(True)
            raise KeyboardInterrupt
        return cell("a = llm_query('x')") if len(messages) == 2 else cell("FINAL(a)")

    done: list[bool] = []
    rlm = RLM(
        ScriptedChatModel(respond=respond),
        sub_model=ScriptedChatModel(replies=["read"] * 9),
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
    with suppress(Exception):
        rlm.invoke(None, CONFIG)  # type: ignore[arg-type]
    assert not file.exists()


@pytest.mark.filterwarnings("ignore")
def test_the_attack_is_one(connection: sqlite3.Connection, tmp_path: Path) -> None:
    """As LangGraph's serializer comes, the same bytes start the program."""
    file = tmp_path / "touched"
    started = SqliteSaver(connection).serde.loads_typed(("msgpack", calls_touch(file)))
    started.wait(10)
    assert file.exists()


@pytest.mark.parametrize(
    "damage",
    [
        {"trajectory": "text"},
        {"trajectory": [{"number": "x"}]},
        {"trajectory": [{"number": 1, "cells": [{"code": 3}]}]},
        {"turn": {"number": None}},
        {"session": [{"query": "q"}]},
        {"session": "text"},
        {"run_id": 7},
        {"run_id": ""},
    ],
)
def test_data_of_another_shape_is_a_clear_error(
    connection: sqlite3.Connection, damage: dict[str, Any]
) -> None:
    rlm = stopped(connection)
    node = "parse" if "turn" in damage else None
    with pytest.raises(RLMError, match=r"damaged|no list of|names no run"):  # noqa: PT012
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
