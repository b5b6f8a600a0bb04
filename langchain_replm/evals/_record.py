"""What an experiment writes down: one JSON line for each finished run, on disk as it ends."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from typing import TYPE_CHECKING, Any

from langchain_core.documents import Document
from langchain_core.messages.ai import UsageMetadata
from pydantic import Field, ValidationError

from langchain_replm.errors import RLMError
from langchain_replm.types import Record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from langchain_replm.evals.types import Example

SCHEMA = "langchain-replm/experiment"
VERSION = 1

ANSWER_CHARS = 10_000
"""Characters of an answer that are kept; the score is that of the whole."""

Key = tuple[str, int, str, str, int]
"""Task, size, example, runner, repeat."""


class ResultsFileError(RLMError):
    """A file of results is damaged, or is that of another experiment."""


class RunResult(Record):
    """One run of one runner on one example, as it stands in the file."""

    task: str
    context_tokens: int
    example: str
    """Id of the example."""
    example_sha256: str
    runner: str
    repeat: int
    """0 for the first run on the example."""
    seed: int
    answer: str
    """At most `ANSWER_CHARS` characters of it."""
    answer_chars: int
    expected: Any
    score: float
    reason: str = ""
    """Why the score is what it is, in the words of the task."""
    stop_reason: str
    """As in `RLMResponse`; `"window"` (see the runner `base`), and `"error"`."""
    iterations: int = 0
    sub_calls: int = 0
    usage_by_model: dict[str, UsageMetadata] = Field(default_factory=dict)
    cost: float | None = None
    """USD; None if any part of it is unknown."""
    judge_usage_by_model: dict[str, UsageMetadata] = Field(default_factory=dict)
    """What the judge of the task took, if it has one; not in the numbers of the run."""
    judge_cost: float | None = 0.0
    """USD; None if it is unknown."""
    elapsed_seconds: float = 0.0
    error: str | None = None
    """What went wrong, if the runner raised."""
    models: dict[str, str] = Field(default_factory=dict)
    """Names of the models that the runner was built with, by role."""
    versions: dict[str, str] = Field(default_factory=dict)
    time: str = ""
    """When it ended, UTC."""

    @property
    def key(self) -> Key:
        """What tells it from every other run of the experiment."""
        return (self.task, self.context_tokens, self.example, self.runner, self.repeat)

    @property
    def input_tokens(self) -> int:
        """Over all models."""
        return sum(usage["input_tokens"] for usage in self.usage_by_model.values())

    @property
    def output_tokens(self) -> int:
        """Over all models."""
        return sum(usage["output_tokens"] for usage in self.usage_by_model.values())


class ResultsFile:
    """A JSON Lines file: definitions of the experiment, and the runs that have ended.

    Args:
        path: The file, or None to keep nothing.
        repair: Cut off a torn last line, so that more can be written.

    Raises:
        ResultsFileError: It holds something else, or was damaged elsewhere than at its end.
    """

    def __init__(self, path: Path | None, *, repair: bool = True) -> None:
        self.path = path
        self.definition: dict[str, Any] = {}
        self.runs: dict[Key, RunResult] = {}
        self.tokens = 0
        """Input and output of all runs and judges, those that were made again included."""
        self.cost_usd = 0.0
        self.unpriced: str | None = None
        """Of which the cost is unknown."""
        self._lock = threading.Lock()
        if path is not None and path.exists():
            self._read(path, repair=repair)

    def define(self, definition: Mapping[str, Any]) -> None:
        """Say what is going to be written; more tasks, runners or sizes than before are welcome.

        Raises:
            ResultsFileError: The file is that of another experiment.
        """
        merged = _merged(self.definition, definition, self.path)
        if merged != self.definition:
            self._append({"type": "experiment", "schema": SCHEMA, "version": VERSION, **definition})
            self.definition = merged

    def keep(self, result: RunResult) -> None:
        """Write a run down; it is on its way to the disk when this returns."""
        with self._lock:
            self._append({"type": "run", **result.model_dump(mode="json")})
            self._add(result)

    def ordered(self) -> tuple[RunResult, ...]:
        """All runs by task, size, runner, example and repeat, as they were asked for."""
        tasks, runners = list(self.definition["tasks"]), list(self.definition["runners"])

        def place(run: RunResult) -> tuple[int, int, int, str, int]:
            task, runner = tasks.index(run.task), runners.index(run.runner)
            return (task, run.context_tokens, runner, run.example, run.repeat)

        return tuple(sorted(self.runs.values(), key=place))

    def _add(self, result: RunResult) -> None:
        self.runs[result.key] = result
        judged = sum(usage["total_tokens"] for usage in result.judge_usage_by_model.values())
        self.tokens += result.input_tokens + result.output_tokens + judged
        self.cost_usd += (result.cost or 0.0) + (result.judge_cost or 0.0)
        if result.cost is None:
            self.unpriced = f"a run of {result.runner!r}"
        elif result.judge_cost is None:
            self.unpriced = f"the judge of {result.task!r}"

    def _append(self, entry: dict[str, Any]) -> None:
        if self.path is None:
            return
        data = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
        with self.path.open("ab", buffering=0) as file:
            file.write(data)  # one write: a kill leaves all of it or a torn last line

    def _read(self, path: Path, *, repair: bool) -> None:
        lines = path.read_bytes().split(b"\n")
        torn = lines.pop()
        for number, line in enumerate(lines, 1):
            try:
                entry = json.loads(line)
                self._take(entry)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                told = _first(error)
                msg = f"{path}, line {number}, is no result of this version: {told}"
                raise ResultsFileError(msg) from error
        if (
            torn and repair
        ):  # a kill in the middle of a write; that run is missing, and is made again
            os.truncate(path, path.stat().st_size - len(torn))

    def _take(self, entry: dict[str, Any]) -> None:
        kind = entry.pop("type")
        if kind == "experiment":
            if (entry.pop("schema"), entry.pop("version")) != (SCHEMA, VERSION):
                msg = f"the schema is not {SCHEMA} version {VERSION}"
                raise ValueError(msg)
            self.definition = _merged(self.definition, entry, self.path)
        elif kind == "run":
            result = RunResult.model_validate(entry)
            known = self.definition
            if result.task not in known["tasks"] or result.runner not in known["runners"]:
                msg = f"no definition of {result.task!r} and {result.runner!r} stands before it"
                raise ValueError(msg)
            self._add(result)
        else:
            msg = f"a line of type {kind!r}"
            raise ValueError(msg)


def fingerprint(example: Example) -> str:
    """A hash of what was asked: equal examples have equal ones, on every machine."""
    digest = hashlib.sha256()
    context = [example.context] if isinstance(example.context, str) else example.context
    for item in context:
        text = item.page_content if isinstance(item, Document) else item
        digest.update(text.encode("utf-8", "replace") + b"\0")
    told = [example.query, example.expected]
    digest.update(json.dumps(told, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def check_example(example: Example, result: RunResult) -> None:
    """Refuse to go on with other examples than those of the file.

    Raises:
        ResultsFileError: The example of this id was another one when the file was written.
    """
    if fingerprint(example) != result.example_sha256:
        msg = (
            f"The results hold another example {example.id!r} than the task {example.task!r} makes "
            "now: the task has changed. Name another file."
        )
        raise ResultsFileError(msg)


def _merged(before: Mapping[str, Any], now: Mapping[str, Any], path: Path | None) -> dict[str, Any]:
    """Both definitions together.

    Raises:
        ResultsFileError: They contradict each other.
    """
    if not before:
        return dict(now)
    changed = [
        f"{name} was {before[name]!r} and is {now[name]!r}"
        for name in ("seed", "count")
        if before[name] != now[name]
    ]
    merged: dict[str, Any] = {**before, **now}
    for name in ("tasks", "runners"):
        merged[name] = {**before[name], **now[name]}
        changed += [
            f"{name[:-1]} {key!r} was {before[name][key]} and is {now[name][key]}"
            for key in now[name]
            if before[name].get(key, now[name][key]) != now[name][key]
        ]
    if changed:
        msg = (
            f"{path} holds the results of another experiment: {'; '.join(changed)}. Name another "
            "file, or ask for what the file was begun with."
        )
        raise ResultsFileError(msg)
    return merged


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        one = error.errors()[0]
        return f"{'.'.join(map(str, one['loc']))}: {one['msg']}"
    return f"{type(error).__name__}: {error}"
