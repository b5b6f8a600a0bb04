"""`langchain-replm show`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from langchain_replm.cli import OK
from langchain_replm.cli._terminal import put, say
from langchain_replm.cli._texts import heading, tell
from langchain_replm.errors import ConfigurationError
from langchain_replm.trajectory_file import RecordedRun, TrajectoryFileError, read_trajectories
from langchain_replm.types import RLMResponse

if TYPE_CHECKING:
    import argparse


def run(options: argparse.Namespace) -> int:
    """Show the runs of a file."""
    runs = read_runs(options.file)
    if options.run is not None and not 1 <= options.run <= len(runs):
        msg = f"{options.file} has {len(runs)} runs; --run {options.run} is none of them."
        raise ConfigurationError(msg)
    if options.run is None and len(runs) > 1:
        if options.html or options.json:
            msg = f"{options.file} has {len(runs)} runs. Say which one: --run N"
            raise ConfigurationError(msg)
        for position, one in enumerate(runs, 1):
            put(heading(position, one))
        say("--run N shows one of them")
        return OK
    chosen = runs[(options.run or 1) - 1]
    if options.html:
        say(f"report: {chosen.to_html(options.html)}")
    if options.json:
        put(chosen.response.to_json())
    elif not options.html:
        for line in tell(chosen, full=options.full):
            put(line)
    return OK


def read_runs(path: str) -> list[RecordedRun]:
    """The runs of a trajectory file, or the one run of a response that was kept as JSON."""
    try:
        data = json.loads(Path(path).read_bytes())
    except (ValueError, RecursionError, OSError):
        return read_trajectories(path)
    if not isinstance(data, dict) or "stop_reason" not in data or "type" in data:
        return read_trajectories(path)
    try:
        response = RLMResponse.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        msg = f"{path} is no response of this version: {where}: {first['msg']}."
        raise TrajectoryFileError(msg) from error
    return [RecordedRun(response=response, finished=True, run="response")]
