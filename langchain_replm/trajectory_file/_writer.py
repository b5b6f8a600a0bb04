"""One line for each thing that happened, on disk before the run goes on."""

from __future__ import annotations

import json
import logging
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from langchain_replm.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from langchain_replm.scope import Recorder

SCHEMA = "langchain-replm/trajectory"
VERSION = 1

logger = logging.getLogger("langchain_replm")

_NOT_TEXT = frozenset(
    {"type", "run", "schema", "version", "time", "kind", "status", "function", "stop_reason",
     "request_sha256", "sha256", "root_model", "sub_model", "usage", "config", "thread",
     "sandbox_missing"}
)  # fmt: skip
"""Names whose values are numbers, hashes, settings, or words of a fixed list. The `model` of a call
is not among them: a cell may have asked for any."""
_NAMED_BY_CELLS = frozenset({"changed", "variables", "structured_response"})
"""Objects whose keys were chosen by a cell, so that they are text as well."""


class TrajectoryFile:
    r"""Appends runs to a JSON Lines file as they go on; a crash leaves what was written.

    Several runs, threads and processes may write to one file. A new file can be read by its owner
    only. The file is opened for each line and closed again: nothing is left open, and a file that
    was moved away is made anew.

    Args:
        path: The file; its directory must exist.
        redact: Called with every text before it is written; what it returns is written instead. If
            it fails, the line is left out and a `lost` line says so. Settings, hashes and numbers
            are not text.

    Raises:
        ConfigurationError: The path cannot be written to; before any run.

    Example:
        ```python
        from pathlib import Path
        from tempfile import mkdtemp

        from langchain_replm import RLM, TrajectoryFile, read_trajectories
        from langchain_replm.testing import ScriptedChatModel

        path = Path(mkdtemp()) / "runs.jsonl"
        keep = TrajectoryFile(path, redact=lambda text: text.replace("Ahab", "[name]"))
        root = ScriptedChatModel(replies=["```repl\nFINAL(context)\n```"])
        RLM(root, trajectory_file=keep).generate("Who?", "Ahab")
        assert read_trajectories(path)[0].response.answer == "[name]"
        ```
    """

    def __init__(self, path: str | Path, *, redact: Callable[[str], str] | None = None) -> None:
        self.path: Path = Path(path)
        self.redact = redact
        self._lock = threading.Lock()
        try:
            self._append(b"")
        except OSError as error:
            msg = f"trajectory_file: {self.path} cannot be written to: {error.strerror or error}."
            raise ConfigurationError(msg) from error

    def record(self, entry: Mapping[str, Any]) -> None:
        """Write one entry of a run; the engine calls this.

        Raises:
            OSError: The file cannot be written to any more.
        """
        if entry["type"] == "run":
            entry = {"type": "run", "schema": SCHEMA, "version": VERSION, **entry}
        try:
            written = entry if self.redact is None else _redacted(entry, self.redact)
            line = json.dumps(written, ensure_ascii=True, separators=(",", ":"), default=str)
        except Exception as error:  # noqa: BLE001 - a hook of the user may raise anything
            # Not the message: it may quote the text.
            kind = type(error).__name__
            logger.warning("a %r line was not written: redact failed: %s", entry["type"], kind)
            lost = {"type": "lost", "run": entry["run"], "line_type": entry["type"], "error": kind}
            line = json.dumps(lost)
        with self._lock:
            self._append(line.encode() + b"\n")

    def _append(self, data: bytes) -> None:
        """One write of whole lines, so that processes do not mix theirs."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | _CLOEXEC, 0o600)
        try:
            end = os.fstat(descriptor).st_size
            if data and end and not _ends_a_line(descriptor, end):
                data = b"\n" + data  # a crash has left half a line
            while data:
                data = data[os.write(descriptor, data) :]
        finally:
            os.close(descriptor)


_CLOEXEC = getattr(os, "O_CLOEXEC", 0)


def _ends_a_line(descriptor: int, end: int) -> bool:
    os.lseek(descriptor, end - 1, os.SEEK_SET)
    return os.read(descriptor, 1) == b"\n"


def _redacted(value: Any, redact: Callable[[str], str], *, keys: bool = False) -> Any:
    if isinstance(value, str):
        changed: object = redact(value)
        if not isinstance(changed, str):
            msg = f"redact returned {type(changed).__name__}, not str"
            raise TypeError(msg)
        return changed
    if isinstance(value, list | tuple):
        return [_redacted(item, redact, keys=keys) for item in value]
    if not isinstance(value, dict):
        return value
    if keys:
        return {redact(str(key)): _redacted(item, redact, keys=True) for key, item in value.items()}
    return {
        key: item if key in _NOT_TEXT else _redacted(item, redact, keys=key in _NAMED_BY_CELLS)
        for key, item in value.items()
    }


def as_recorder(given: object) -> Recorder | None:
    """The recorder that a user meant: a path, a `TrajectoryFile`, or one of their own."""
    if given is None:
        return None
    if callable(getattr(given, "record", None)):
        return cast("Recorder", given)
    if isinstance(given, str | Path):
        return TrajectoryFile(given)
    msg = (
        f"trajectory_file is a {type(given).__name__}. Pass a path, a TrajectoryFile, or an object "
        "with a method record(entry)."
    )
    raise ConfigurationError(msg)
