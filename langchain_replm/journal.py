"""Results of sub-calls, durable as they arrive: what was paid for before a crash is not paid again.

LangGraph writes a checkpoint when a node ends; a cell with 500 sub-calls is one node. So every
result goes to a journal before the cell gets it. A run that is resumed in the middle of a cell runs
that cell again from its start, and its calls are answered from the journal.

An entry is found by *what was asked* (run, cell, model and its parameters, prompt, how-many-th
equal prompt of the cell), not by the order of calls: cells have threads. That is why LangGraph's
`@task` does not do here; it matches by position, and loses a fan-out when the process is killed.

Entries are JSON text. They are read through validation and never executed or unpickled.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import weakref
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, runtime_checkable
from uuid import UUID

from langchain_replm.errors import ConfigurationError, RLMError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.store.base import BaseStore

PAGE_ENTRIES: Final = 1_000
BUSY_SECONDS: Final = 30.0
"""How long a write waits for another process that writes to the same SQLite file."""

NAMESPACE: Final = "replm_journal"


@runtime_checkable
class Journal(Protocol):
    """Where results of sub-calls are written as they arrive. Called from many threads at once."""

    def read(self, run_id: str) -> Mapping[str, str]:
        """All entries of a run, by key; empty for a run that nobody knows."""

    def write(self, run_id: str, key: str, entry: str) -> None:
        """Keep an entry. When this returns it survives the end of the process."""

    def forget(self, run_id: str) -> None:
        """Remove the entries of a run, where that is possible."""


class MemoryJournal:
    """Entries in this process, for runs that only an exception can end."""

    def __init__(self) -> None:
        self._entries: dict[str, dict[str, str]] = {}

    def read(self, run_id: str) -> Mapping[str, str]:
        """All entries of a run."""
        return dict(self._entries.get(run_id, {}))

    def write(self, run_id: str, key: str, entry: str) -> None:
        """Keep an entry."""
        self._entries.setdefault(run_id, {})[key] = entry

    def forget(self, run_id: str) -> None:
        """Remove the entries of a run."""
        self._entries.pop(run_id, None)


class SqliteJournal:
    """Entries in one SQLite file, for many threads and processes of one machine.

    A write takes about 0.1 ms and survives the death of the process; with `synchronous="full"` it
    takes some milliseconds and survives the loss of power too.

    Args:
        path: The file; it is made when it is missing. Its directory must exist.
        synchronous: SQLite's pragma.

    Raises:
        RLMError: The file cannot be read or written, or is no journal.

    Example:
        ```python
        import tempfile
        from pathlib import Path

        from langchain_replm import SqliteJournal

        with tempfile.TemporaryDirectory() as folder:
            journal = SqliteJournal(Path(folder) / "journal.db")
            journal.write("run-1", "key", "{}")
            assert journal.read("run-1") == {"key": "{}"}
            journal.close()
        ```
    """

    def __init__(
        self, path: str | Path, *, synchronous: Literal["normal", "full"] = "normal"
    ) -> None:
        self.path: Path = Path(path)
        self._synchronous = "FULL" if synchronous == "full" else "NORMAL"
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def read(self, run_id: str) -> Mapping[str, str]:
        """All entries of a run."""
        rows = self._execute("SELECT key, entry FROM entries WHERE run_id = ?", run_id)
        return dict(rows)

    def write(self, run_id: str, key: str, entry: str) -> None:
        """Keep an entry."""
        self._execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", run_id, key, entry)

    def forget(self, run_id: str) -> None:
        """Remove the entries of a run."""
        self._execute("DELETE FROM entries WHERE run_id = ?", run_id)

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _execute(self, statement: str, *values: str) -> list[Any]:
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._open()
                with closing(self._connection.execute(statement, values)) as cursor:
                    return cursor.fetchall()
            except sqlite3.Error as error:
                msg = f"The journal {str(self.path)!r} cannot be used: {error}"
                raise RLMError(msg) from error

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS entries (run_id TEXT NOT NULL, key TEXT NOT NULL, "
                "entry TEXT NOT NULL, PRIMARY KEY (run_id, key)) WITHOUT ROWID"
            )
        except sqlite3.Error:
            connection.close()
            raise
        weakref.finalize(self, connection.close)
        return connection


class StoreJournal:
    """Entries in a LangGraph `BaseStore`, for example one in PostgreSQL that replicas share."""

    def __init__(self, store: BaseStore) -> None:
        self._store = store

    def read(self, run_id: str) -> Mapping[str, str]:
        """All entries of a run."""
        found: dict[str, str] = {}
        while True:
            page = self._store.search((NAMESPACE, run_id), limit=PAGE_ENTRIES, offset=len(found))
            found |= {item.key: item.value.get("entry", "") for item in page}
            if len(page) < PAGE_ENTRIES:
                return found

    def write(self, run_id: str, key: str, entry: str) -> None:
        """Keep an entry."""
        self._store.put((NAMESPACE, run_id), key, {"entry": entry}, index=False)

    def forget(self, run_id: str) -> None:
        """Remove the entries of a run."""
        for key in self.read(run_id):
            self._store.delete((NAMESPACE, run_id), key)


class CheckpointRows:
    """Small things beside the checkpoints of a thread, in a namespace of their own.

    A row is an empty checkpoint with writes that hang on it. As durable as the checkpoints, shared
    by whoever shares them, and gone with `checkpointer.delete_thread`.
    """

    def __init__(self, saver: BaseCheckpointSaver[Any], thread_id: str, namespace: str) -> None:
        self._saver = saver
        self._thread_id = thread_id
        self._namespace = namespace
        self._lock = threading.Lock()
        self._begun: set[str] = set()

    def read(self, row: str) -> dict[str, Any]:
        """All that hangs on a row, by key."""
        found = self._saver.get_tuple(self._config(row))
        writes = (found.pending_writes if found else None) or []
        return {task_id: value for task_id, name, value in writes if name == self._namespace}

    def write(self, row: str, key: str, value: Any) -> None:
        """Hang a value on a row. Row and key are UUIDs, as some databases want it."""
        with self._lock:
            if row not in self._begun:
                self._begin(row)
                self._begun.add(row)
        self._saver.put_writes(self._config(row), [(self._namespace, value)], key)

    def _begin(self, row: str) -> None:
        from langgraph.checkpoint.base import empty_checkpoint  # noqa: PLC0415 - slow to import

        place = {"thread_id": self._thread_id, "checkpoint_ns": self._namespace}
        empty: Any = {**empty_checkpoint(), "id": row}
        self._saver.put({"configurable": place}, empty, {}, {})

    def _config(self, row: str) -> Any:
        return {
            "configurable": {
                "thread_id": self._thread_id,
                "checkpoint_ns": self._namespace,
                "checkpoint_id": row,
            }
        }


class CheckpointJournal:
    """Entries beside the checkpoints of a thread: the default of a run that has a checkpointer."""

    def __init__(self, saver: BaseCheckpointSaver[Any], thread_id: str) -> None:
        self._rows = CheckpointRows(saver, thread_id, NAMESPACE)

    def read(self, run_id: str) -> Mapping[str, str]:
        """All entries of a run."""
        return self._rows.read(run_id)

    def write(self, run_id: str, key: str, entry: str) -> None:
        """Keep an entry."""
        self._rows.write(run_id, key, entry)

    def forget(self, run_id: str) -> None:
        """Nothing: a checkpointer removes whole threads."""


def journal_key(*parts: object) -> str:
    """Hash that is equal for equal parts in every process; a UUID, as some databases want it."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, default=str)
    return str(UUID(bytes=hashlib.sha256(text.encode()).digest()[:16]))


def as_journal(given: object) -> Journal:
    """The journal that a caller means: one of ours, a `BaseStore`, or the path of a SQLite file.

    Raises:
        ConfigurationError: It is something else.
    """
    if isinstance(given, str | Path):
        return SqliteJournal(given)
    if callable(getattr(given, "search", None)) and callable(getattr(given, "put", None)):
        return StoreJournal(given)  # type: ignore[arg-type]
    if isinstance(given, Journal):
        return given
    msg = (
        f"journal is a {type(given).__name__}. Pass a path, a LangGraph BaseStore, or an object "
        "with read, write and forget, such as SqliteJournal."
    )
    raise ConfigurationError(msg)
