"""Journals: what is written is found again, by what was asked and not by its order."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore

from langchain_replm import MemoryJournal, RLMError, SqliteJournal
from langchain_replm._recorded import CellKeys, RunJournal, SavedCall
from langchain_replm.errors import ConfigurationError
from langchain_replm.journal import (
    CheckpointJournal,
    Journal,
    StoreJournal,
    as_journal,
    journal_key,
)

RUN = journal_key("a run")
SAVER = InMemorySaver()
KINDS: dict[str, Callable[[Path], Journal]] = {
    "memory": lambda folder: MemoryJournal(),
    "sqlite": lambda folder: SqliteJournal(folder / "journal.db"),
    "sqlite, full": lambda folder: SqliteJournal(folder / "journal.db", synchronous="full"),
    "store": lambda folder: StoreJournal(InMemoryStore()),
    "checkpoints": lambda folder: CheckpointJournal(InMemorySaver(), "thread"),
}


@pytest.fixture(params=list(KINDS))
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    made = KINDS[request.param](tmp_path)
    yield made
    getattr(made, "close", lambda: None)()


def test_what_is_written_is_read(journal: Journal) -> None:
    assert journal.read(RUN) == {}
    entries = {journal_key(n): f'{{"text": "{n}é"}}' for n in range(1_100)}
    for key, entry in entries.items():
        journal.write(RUN, key, entry)
    journal.write(journal_key("another run"), journal_key(1), "other")
    assert journal.read(RUN) == entries
    journal.forget(RUN)
    assert journal.read(RUN) in ({}, entries)
    assert len(journal.read(journal_key("another run"))) == 1


def test_a_sqlite_journal_is_shared_by_its_path(tmp_path: Path) -> None:
    one, two = (SqliteJournal(tmp_path / "j.db") for _ in range(2))
    one.write(RUN, "k", "1")
    assert two.read(RUN) == {"k": "1"}
    one.close()
    assert one.read(RUN) == {"k": "1"}, "it opens itself again"
    one.close()
    two.close()


def test_a_file_that_is_no_journal_is_named(tmp_path: Path) -> None:
    (tmp_path / "j.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(RLMError, match=r"j\.db.*not a database"):
        SqliteJournal(tmp_path / "j.db").read(RUN)
    with pytest.raises(RLMError, match="unable to open"):
        SqliteJournal(tmp_path / "missing" / "j.db").write(RUN, "k", "1")
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("create table entries (a)")
    connection.close()
    with pytest.raises(RLMError, match="no such column"):
        SqliteJournal(tmp_path / "other.db").read(RUN)


def test_what_a_caller_may_pass(tmp_path: Path) -> None:
    assert isinstance(as_journal(str(tmp_path / "j.db")), SqliteJournal)
    assert isinstance(as_journal(InMemoryStore()), StoreJournal)
    memory = MemoryJournal()
    assert as_journal(memory) is memory
    with pytest.raises(ConfigurationError, match="journal is a int"):
        as_journal(3)


def test_equal_calls_of_a_cell_have_keys_of_their_own() -> None:
    keys = CellKeys("", "1.1", "code")
    first, second = keys.key("llm_query", "p"), keys.key("llm_query", "p")
    assert first != second
    again = CellKeys("", "1.1", "code")
    assert [again.key("other"), again.key("llm_query", "p")][1] == first, "order does not count"
    for other in (
        CellKeys("c", "1.1", "code"),
        CellKeys("", "1.2", "code"),
        CellKeys("", "1.1", "x"),
    ):
        assert other.key("llm_query", "p") != first


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "{",
        "null",
        "[]",
        '{"text": 1}',
        '{"text": "a", "more": 1}',
        '{"text": "a", "child": [{}]}',
    ],
)
def test_a_damaged_entry_is_an_error_that_says_what_to_do(entry: str) -> None:
    memory = MemoryJournal()
    memory.write(RUN, "k", entry)
    seen = RunJournal(memory)
    seen.resume(RUN)
    with pytest.raises(RLMError, match=r"damaged or was written by another version; forget"):
        seen.find("k", SavedCall)


class Broken:
    def read(self, run_id: str) -> Any:
        raise OSError("the disk is gone")

    def write(self, run_id: str, key: str, entry: str) -> None:
        raise OSError("no space left")

    def forget(self, run_id: str) -> None: ...


def test_a_journal_that_fails_ends_the_run() -> None:
    seen = RunJournal(Broken())
    with pytest.raises(RLMError, match="could not be read: OSError: the disk is gone"):
        seen.resume(RUN)
    with pytest.raises(RLMError, match="could not be written: OSError: no space left"):
        seen.record("k", SavedCall(text="a"))
