"""Lines in, runs out; what is no line of ours is named with its number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from langchain_replm._reply import parse_reply
from langchain_replm.state import make_response
from langchain_replm.trajectory_file import _rlms
from langchain_replm.trajectory_file._run import RecordedRun, TrajectoryFileError
from langchain_replm.trajectory_file._writer import SCHEMA, VERSION
from langchain_replm.types import (
    Cell,
    HostCall,
    Iteration,
    StopReason,
    SubCall,
    ended_seconds,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def read_trajectories(path: str | Path) -> list[RecordedRun]:
    r"""Read the runs of a trajectory file, or of a log file of the official `rlms` package.

    Half a line at the end of the file, or before the beginning of another run, is what a crash
    leaves; it becomes a note. Every other damaged line is an error.

    Args:
        path: The file.

    Returns:
        The runs in the order in which they began.

    Raises:
        TrajectoryFileError: The file cannot be read or a line is damaged; the message says which.

    Example:
        ```python
        from pathlib import Path
        from tempfile import mkdtemp

        from langchain_replm import RLM, read_trajectories
        from langchain_replm.testing import ScriptedChatModel

        path = Path(mkdtemp()) / "runs.jsonl"
        root = ScriptedChatModel(replies=["```repl\nFINAL(len(context))\n```"])
        response = RLM(root, trajectory_file=path).generate("How long?", "a heron")
        [run] = read_trajectories(path)
        assert run.finished
        assert run.response == response
        ```
    """
    lines = list(_lines(Path(path)))
    if not lines:
        msg = f"{path} has no runs in it."
        raise TrajectoryFileError(msg)
    if _rlms.is_log(lines[0][1]):
        return _rlms_runs(path, lines)
    runs: dict[str, _Run] = {}
    for number, data in lines:
        try:
            _take(data, runs)
        except (ValidationError, KeyError, TypeError, ValueError) as error:
            msg = f"{path}, line {number}: {_told(error)}"
            raise TrajectoryFileError(msg) from error
    return [run.finish() for run in runs.values()]


def read_entries(entries: Iterable[dict[str, Any]]) -> list[RecordedRun]:
    """The runs of entries that a recorder was given, with nothing read from a file."""
    runs: dict[str, _Run] = {}
    for entry in entries:
        _take({"schema": SCHEMA, "version": VERSION, **entry}, runs)
    return [run.finish() for run in runs.values()]


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        raw = path.read_bytes().split(b"\n")
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror or error}."
        raise TrajectoryFileError(msg) from error
    wrong: tuple[int, str] | None = None
    half = False
    for number, line in enumerate(raw, 1):
        if not line.strip():
            continue
        try:
            data = json.loads(line)
            if not isinstance(data, dict) or not isinstance(data.get("type"), str):
                msg = 'not an object with a "type"'
                raise ValueError(msg)  # noqa: TRY301, TRY004 - one place that tells
        except (ValueError, RecursionError) as error:
            _raise_if(wrong, path)
            wrong = (number, f"not a line of a trajectory file ({error})")
            continue
        if wrong is not None and data["type"] != "run":
            _raise_if(wrong, path)
        half, wrong = half or wrong is not None, None
        yield number, data
    # Only half a line, without its end, may be the last thing in a file.
    if wrong is not None and (raw[-1] == b"" or wrong[0] == 1):
        _raise_if(wrong, path)
    if wrong is not None or half:
        yield len(raw), {"type": "half"}


def _raise_if(wrong: tuple[int, str] | None, path: Path) -> None:
    if wrong is not None:
        msg = f"{path}, line {wrong[0]}: {wrong[1]}."
        raise TrajectoryFileError(msg)


class _Line(BaseModel):
    model_config = ConfigDict(extra="ignore")  # a later minor version may say more


class _Beginning(_Line):
    run: str
    version: int
    time: str | None = None
    thread: str | None = None
    query: str
    context: dict[str, Any]
    config: dict[str, Any] = {}
    sandbox_missing: list[str] = []
    past: list[Iteration] = []


class _End(_Line):
    answer: str | None = None
    stop_reason: StopReason
    variables: dict[str, str] = {}
    elapsed_seconds: float = 0.0
    structured_response: Any = None


class _Run:
    def __init__(self, began: _Beginning) -> None:
        self.began = began
        self.steps = list(began.past)
        self.reply: dict[str, Any] | None = None
        self.calls: list[SubCall] = []
        self.end: _End | None = None
        self.notes: list[str] = []

    def take(self, data: dict[str, Any]) -> None:
        """Add one line of the run."""
        match data["type"]:
            case "reply":
                names = Iteration.model_fields.keys() - {"cells", "observation"}
                self.reply = {name: data[name] for name in names if name in data}
                Iteration(**self.reply)
            case "sub_call":
                self.calls.append(SubCall.model_validate(data["record"]))
            case "iteration":
                self.steps.append(Iteration.model_validate(data["record"]))
                self.reply, self.calls = None, []
            case "end":
                given = {name: value for name, value in data.items() if value is not None}
                self.end = _End.model_validate(given)
            case "lost":
                kind = data.get("line_type")
                self.notes.append(f"a {kind!r} line is missing: it could not be redacted")
            case kind:
                msg = f"there is no line type {kind!r}"
                raise ValueError(msg)

    def finish(self) -> RecordedRun:
        """The run as it stands in the file."""
        steps = [*self.steps, *self._broken_off()]
        end = self.end or _End(stop_reason="cancelled", elapsed_seconds=ended_seconds(steps))
        state = {
            **end.model_dump(),
            "trajectory": [step.model_dump() for step in steps],
            "asked": {"query": self.began.query, "context": self.began.context},
            "sandbox_missing": self.began.sandbox_missing,
        }
        return RecordedRun(
            response=make_response(state),
            finished=self.end is not None,
            run=self.began.run,
            time=self.began.time,
            thread=self.began.thread,
            config=self.began.config,
            notes=tuple(self.notes),
        )

    def _broken_off(self) -> Iterator[Iteration]:
        """The iteration in which the file ends: its reply, and the calls that had ended."""
        if self.reply is None:
            return
        cells = [
            Cell(code=code, status="skipped") for code in parse_reply(self.reply["reply"]).cells
        ]
        if cells or self.calls:
            items = tuple(self.calls)
            call = HostCall(function="sub-calls that had ended", request_sha256="", items=items)
            cells[:1] = [
                Cell(
                    code=cells[0].code if cells else "",
                    status="died",
                    error="The record breaks off here.",
                    host_calls=(call,) if items else (),
                    started_seconds=min((one.started_seconds for one in items), default=0.0),
                )
            ]
        yield Iteration(**{**self.reply, "cells": tuple(cells)})


def _take(data: dict[str, Any], runs: dict[str, _Run]) -> None:
    if data["type"] == "half":
        for run in runs.values():
            run.notes.append("the file holds half a line: a writer was stopped while it wrote")
    elif data["type"] == "run":
        if data.get("schema") != SCHEMA or data.get("version") != VERSION:
            told = f"{data.get('schema')!r} version {data.get('version')!r}"
            msg = f"this version reads {SCHEMA!r} version {VERSION}, the line says {told}"
            raise ValueError(msg)
        runs[data["run"]] = _Run(_Beginning.model_validate(data))
    elif data.get("run") in runs:
        runs[data["run"]].take(data)
    else:
        msg = f"a {data['type']!r} line of a run that has not begun in this file"
        raise ValueError(msg)


def _rlms_runs(path: str | Path, lines: list[tuple[int, dict[str, Any]]]) -> list[RecordedRun]:
    try:
        return [
            RecordedRun(
                response=make_response(state),
                finished=bool(state["answer"]),
                run=f"rlms {position}",
                time=time,
                config=config,
                format="rlms",
            )
            for position, (state, time, config) in enumerate(_rlms.runs(lines), 1)
        ]
    except _rlms.LogError as error:
        msg = f"{path}, line {error.line}: {error}"
        raise TrajectoryFileError(msg) from error


def _told(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the line"
        return f"{where}: {first['msg']}."
    if isinstance(error, KeyError):
        return f"{error.args[0]!r} is missing."
    return f"{error}."
