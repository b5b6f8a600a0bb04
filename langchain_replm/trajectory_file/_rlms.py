"""Log files of the official `rlms` package (its `RLMLogger`), as states of our graph.

A file has one `metadata` line and `iteration` lines; the numbers begin again with each completion.
The log knows less than ours: no tokens of the root model, no stop reason, no length of the context.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from langchain_replm.types import Answer, Cell, HostCall, Iteration, SubCall

if TYPE_CHECKING:
    from collections.abc import Iterator

QUERY = re.compile(
    r"(?:Answer the following: |answer the original prompt: \")(.{0,9999}?)(?:\n\n|\"\.)", re.DOTALL
)


class LogError(ValueError):
    """A line that the official logger does not write."""

    def __init__(self, line: int, message: str) -> None:
        self.line = line
        super().__init__(message)


class _Log(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _ModelUsage(_Log):
    total_input_tokens: int = 0
    total_output_tokens: int = 0
    total_cost: float | None = None


class _Usage(_Log):
    model_usage_summaries: dict[str, _ModelUsage] = {}


class _Call(_Log):
    root_model: str = ""
    prompt: Any = ""
    response: str = ""
    usage_summary: _Usage = _Usage()
    execution_time: float | None = None
    metadata: dict[str, Any] | None = None
    error: str | None = None


class _Result(_Log):
    stdout: str = ""
    stderr: str = ""
    locals: dict[str, Any] = {}
    execution_time: float | None = None
    rlm_calls: list[_Call] = []
    final_answer: Any = None


class _Block(_Log):
    code: str
    result: _Result


class _Step(_Log):
    iteration: int = 0
    timestamp: str | None = None
    prompt: Any = ""
    response: str | None = ""
    code_blocks: list[_Block] = []
    final_answer: Any = None
    iteration_time: float | None = None


def is_log(first: dict[str, Any]) -> bool:
    """The line is one that the official logger begins a file with."""
    if first["type"] == "metadata":
        return "root_model" in first or "backend" in first
    return first["type"] == "iteration" and "code_blocks" in first


def runs(
    lines: list[tuple[int, dict[str, Any]]],
) -> Iterator[tuple[dict[str, Any], str | None, dict[str, Any]]]:
    """A state, the time and the metadata for each completion in the file."""
    about: dict[str, Any] = {}
    steps: list[_Step] = []
    for number, data in lines:
        if data["type"] == "metadata":
            about = {key: data[key] for key in data if key not in {"type", "timestamp"}}
        elif data["type"] == "iteration":
            try:
                step = _Step.model_validate(data)
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"]))
                raise LogError(number, f"{where}: {first['msg']}.") from error
            if steps and step.iteration <= steps[-1].iteration:
                yield _state(steps, about), steps[0].timestamp, about
                steps = []
            steps.append(step)
        elif data["type"] != "half":
            raise LogError(number, f"the official logger has no line type {data['type']!r}.")
    if steps:
        yield _state(steps, about), steps[0].timestamp, about


def _state(steps: list[_Step], about: dict[str, Any]) -> dict[str, Any]:
    trajectory = _trajectory(steps, str(about.get("root_model") or "unknown"), _clock(steps))
    last = steps[-1]
    answer = "" if last.final_answer is None else str(last.final_answer)
    past = last.code_blocks[-1].result.locals if last.code_blocks else {}
    return {
        "trajectory": [step.model_dump() for step in trajectory],
        "answer": answer,
        "stop_reason": "answered" if answer else "cancelled",
        "variables": {name: _summary(value) for name, value in past.items()},
        "asked": {"query": _query(steps[0].prompt)},
        "elapsed_seconds": sum(step.iteration_time or 0.0 for step in steps),
    }


def _trajectory(steps: list[_Step], model: str, starts: list[float]) -> list[Iteration]:
    known: dict[str, Any] = {}
    made = []
    for step, start in zip(steps, starts, strict=True):
        ran = sum(block.result.execution_time or 0.0 for block in step.code_blocks)
        thought = max(0.0, (step.iteration_time or 0.0) - ran)
        cells, clock = [], start + thought
        for block in step.code_blocks:
            cells.append(_cell(block, known, clock))
            known = block.result.locals
            clock += block.result.execution_time or 0.0
        made.append(
            Iteration(
                number=step.iteration,
                reply=step.response or "",
                model=model,
                cells=tuple(cells),
                started_seconds=start,
                elapsed_seconds=thought,
            )
        )
    return made


def _cell(block: _Block, known: dict[str, Any], start: float) -> Cell:
    result = block.result
    clock, calls = start, []
    for call in result.rlm_calls:
        calls.append(_call(call, clock))
        clock += call.execution_time or 0.0
    took = result.execution_time or 0.0
    waited = min(took, sum(call.execution_time or 0.0 for call in result.rlm_calls))
    answer = result.final_answer
    return Cell(
        code=block.code,
        status="error" if result.stderr else "ok",
        output_head=result.stdout,
        output_chars=len(result.stdout),
        error=result.stderr or None,
        changed={
            name: _summary(value)
            for name, value in result.locals.items()
            if name not in known or known[name] != value
        },
        removed=tuple(name for name in known if name not in result.locals),
        answer=None if answer is None else Answer(text=str(answer)),
        host_calls=tuple(calls),
        started_seconds=start,
        elapsed_seconds=took - waited,
        total_seconds=took,
    )


def _call(call: _Call, start: float) -> HostCall:
    prompt = call.prompt if isinstance(call.prompt, str) else str(call.prompt)
    inner = (call.metadata or {}).get("iterations") or []
    steps = [_Step.model_validate(one) for one in inner]
    starts = [start + offset for offset in _clock(steps)]
    usages = call.usage_summary.model_usage_summaries
    costs = [usage.total_cost for usage in usages.values() if usage.total_cost is not None]
    record = SubCall(
        kind="rlm_query" if steps else "llm_query",
        prompt=prompt,
        prompt_chars=len(prompt),
        status="ok" if call.error is None else "failed",
        response=call.response,
        error=call.error,
        model=call.root_model or None,
        sub_calls=1,
        usage={
            name: {
                "input_tokens": usage.total_input_tokens,
                "output_tokens": usage.total_output_tokens,
                "total_tokens": usage.total_input_tokens + usage.total_output_tokens,
            }
            for name, usage in usages.items()
        },
        cost_usd=sum(costs) if costs else None,
        started_seconds=start,
        elapsed_seconds=call.execution_time or 0.0,
        child=tuple(_trajectory(steps, call.root_model or "unknown", starts)),
    )
    return HostCall(function=record.kind, request_sha256="", items=(record,))


def _clock(steps: list[_Step]) -> list[float]:
    """When each iteration began. The log tells how long each took, and when it was written."""
    starts, clock, first = [], 0.0, None
    for step in steps:
        starts.append(clock)
        clock += step.iteration_time or 0.0
        if step.timestamp is not None:
            try:
                written = datetime.fromisoformat(step.timestamp).timestamp()
            except ValueError:
                continue
            first = written - clock if first is None else first
            clock = max(clock, written - first)
    return starts


def _query(prompt: Any) -> str:
    messages = prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        found = QUERY.search(content) if isinstance(content, str) else None
        if found:
            return found[1]
    return ""


def _summary(value: Any) -> str:
    text = f"{type(value).__name__}: {value}"
    return text if len(text) <= 200 else f"{text[:199]}…"  # noqa: PLR2004 - a line for people
