"""`langchain-replm ask`."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, nullcontext
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_replm.cli import INTERRUPTED, LIMIT, OK
from langchain_replm.cli._inputs import read_context
from langchain_replm.cli._models import config_of, models_of
from langchain_replm.cli._terminal import put, say
from langchain_replm.cli._texts import summary
from langchain_replm.context_store import MemoryContextStore, check_context, make_handle
from langchain_replm.errors import ConfigurationError, LimitExceededError
from langchain_replm.progress import open_progress
from langchain_replm.runnable import RLM
from langchain_replm.scope import OPTIONS_KEY, RunOptions
from langchain_replm.trajectory_file import TrajectoryFile, read_entries

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from langchain_replm.trajectory_file import RecordedRun


def run(options: argparse.Namespace) -> int:
    """Answer one question about files."""
    config = config_of(options)
    root, sub = models_of(options)
    context = read_context(options.paths)
    _check_writable(options.html)
    kept = Kept(options.trajectory)
    watching = nullcontext() if options.quiet else open_progress()
    with _checkpointer(options.resume) as saver:
        rlm = RLM(
            root, sub_model=sub, config=config, trajectory_file=kept, checkpointer=saver,
            context_store=MemoryContextStore(),
        )  # fmt: skip
        given, run_config = _task(rlm, options, context)
        # A run that is kept is kept step by step: LangGraph would be a few steps behind.
        how = {"durability": "sync"} if options.resume else {}
        try:
            with watching as view:
                run_config["configurable"][OPTIONS_KEY] = RunOptions(on_event=view)
                rlm.invoke(given, run_config, **how)
        except LimitExceededError:
            pass  # what was found is told below
        except KeyboardInterrupt:
            return _tell_interrupted(kept.recorded(), options)
    recorded = kept.recorded()
    assert recorded is not None  # noqa: S101 - a run that ended has told its end
    _tell(recorded, options, recorded.response.answer)
    return OK if recorded.ended == "answered" else LIMIT


class Kept:
    """Hears the run: for the file that was asked for, and for what is told when it is stopped."""

    def __init__(self, path: str | None) -> None:
        self._file = TrajectoryFile(path) if path else None
        self._entries: list[dict[str, Any]] = []

    def record(self, entry: dict[str, Any]) -> None:
        """Keep one entry of the run."""
        if entry["type"] == "iteration":  # it holds what was told of it before
            self._entries = [one for one in self._entries if one["type"] in {"run", "iteration"}]
        self._entries.append(entry)
        if self._file is not None:
            self._file.record(entry)

    def recorded(self) -> RecordedRun | None:
        """The run as far as it went; None if it never began."""
        runs = read_entries(self._entries)
        return runs[-1] if runs else None


@contextmanager
def _checkpointer(path: str | None) -> Iterator[Any]:
    if path is None:
        yield None
        return
    try:
        from langgraph.checkpoint.sqlite import SqliteSaver  # noqa: PLC0415 - an optional package
    except ImportError as error:
        msg = "--resume needs a package: pip install langgraph-checkpoint-sqlite"
        raise ConfigurationError(msg) from error
    import sqlite3  # noqa: PLC0415 - as above

    try:
        with SqliteSaver.from_conn_string(path) as saver:
            saver.setup()
            yield saver
    except sqlite3.Error as error:
        msg = f"--resume {path}: {error}."
        raise ConfigurationError(msg) from error


def _task(rlm: RLM, options: argparse.Namespace, context: Any) -> tuple[Any, Any]:
    """What to run: the question, or None to go on with a run that was stopped."""
    fresh = {"query": options.question, "context": context}
    if options.resume is None:
        return fresh, {"configurable": {}}
    stored = check_context(context)
    handle = make_handle(stored, preview_chars=rlm.config.context_preview_chars)
    thread = sha256(f"{handle['sha256']} {options.question}".encode()).hexdigest()
    run_config: Any = {"configurable": {"thread_id": thread}}
    found = rlm.graph.get_state(run_config)
    if not found.next:
        return fresh, run_config
    rlm.context_store.put(found.values["context_handle"], stored)
    done = len(found.values.get("trajectory") or ())
    if not options.quiet:
        say(f"going on after {done} iterations (from {options.resume})")
    return None, run_config


def _check_writable(path: str | None) -> None:
    """A report that cannot be written is an error before the run, not after it."""
    if path is not None and not (os.access(Path(path).parent, os.W_OK) and not Path(path).is_dir()):
        msg = f"--html {path}: there is no such directory, or nothing can be written there."
        raise ConfigurationError(msg)


def _tell(recorded: RecordedRun, options: argparse.Namespace, answer: str) -> None:
    put(recorded.response.to_json() if options.json else answer)
    sys.stdout.flush()  # first of all: it was paid for
    if options.html:
        recorded.to_html(options.html)
        if not options.quiet:
            say(f"report: {options.html}")


def _tell_interrupted(recorded: RecordedRun | None, options: argparse.Namespace) -> int:
    """What there is; the last words of the root model are no answer, and the status says so."""
    if recorded is None:
        say("interrupted before the root model had replied")
        return INTERRUPTED
    steps = recorded.response.trajectory
    last = next((step.reply for step in reversed(steps) if step.reply), "")
    _tell(recorded, options, last)
    say(summary(recorded))
    say("interrupted: this is what the root model said last, not an answer")
    if options.resume:
        say("ask the same again to go on")
    return INTERRUPTED
