"""Runs in files: written line by line while they go on, read back as responses.

A file is JSON Lines. Each line has a `type` and the `run` that it belongs to; runs may share a
file. The schema has a version, in the first line of each run.

| `type` | written | holds |
| --- | --- | --- |
| `run` | at the first reply | what was asked, with which settings; `schema`, `version` |
| `reply` | when the root model has replied | the reply, before its cells run |
| `sub_call` | when a sub-call has ended | `iteration`, and its `record` |
| `iteration` | when the observation is made | the whole `record`, its sub-calls again |
| `end` | at the end | `answer`, `stop_reason`, `variables`, `elapsed_seconds` |
| `lost` | instead of a line that could not be redacted | the type of the line and of the error |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_replm._lazy import lazy

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_replm.trajectory_file._reader import read_entries, read_trajectories
    from langchain_replm.trajectory_file._run import RecordedRun, TrajectoryFileError
    from langchain_replm.trajectory_file._writer import (
        SCHEMA,
        VERSION,
        TrajectoryFile,
        as_recorder,
    )

__all__ = [
    "SCHEMA",
    "VERSION",
    "RecordedRun",
    "TrajectoryFile",
    "TrajectoryFileError",
    "as_recorder",
    "read_entries",
    "read_trajectories",
]

_HOMES = {
    **dict.fromkeys(("read_entries", "read_trajectories"), "_reader"),
    **dict.fromkeys(("RecordedRun", "TrajectoryFileError"), "_run"),
    **dict.fromkeys(("SCHEMA", "VERSION", "TrajectoryFile", "as_recorder"), "_writer"),
}

__getattr__: Callable[[str], Any]
__dir__: Callable[[], list[str]]
__getattr__, __dir__ = lazy(__name__, _HOMES)
