"""What the graph keeps between nodes: plain JSON data, small, checkpointable, free of the context.

Everything that lives (models, worker, listeners) is in `scope.py`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, TypeVar

from langchain_core.documents import Document  # noqa: TC002 - LangGraph reads the annotations
from langchain_core.messages.ai import UsageMetadata
from langgraph.channels.delta import DeltaChannel
from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from langchain_replm._channels import GO_ON_FROM, add_runs, record_steps
from langchain_replm.context_store import ContextHandle
from langchain_replm.errors import RLMError
from langchain_replm.types import (
    Cell,
    ContextSummary,
    Iteration,
    Record,
    RLMResponse,
    StopReason,
    Summary,
    total,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_replm._typed import AnswerFormat

T = TypeVar("T")


class RLMInput(TypedDict):
    """What a run is asked: a query, and the context that answers it."""

    query: str
    context: str | list[str] | list[Document]


class RLMOutput(TypedDict, total=False):
    """What the graph gives back; `RLMResponse` is made of it."""

    asked: dict[str, Any]
    answer: str
    stop_reason: StopReason
    trajectory: list[dict[str, Any]]
    variables: dict[str, str]
    structured_response: Any
    """JSON data of an answer that fits `response_format`; None without one."""
    rejected: RejectedAnswer | None
    sandbox_missing: list[str]
    elapsed_seconds: float


class RejectedAnswer(TypedDict):
    """The last answer that did not fit `response_format`."""

    answer: str
    problem: str


class RLMState(TypedDict, total=False):
    """Everything that the loop carries from node to node."""

    run_id: str
    """Names the run for its journal; a resumed run keeps it."""
    query: str
    context_handle: ContextHandle
    asked: dict[str, Any]
    """Query and handle again, under a name that goes out: a parent graph may use the others."""
    input_key: str
    """Of what the run was asked; an edit of the query leaves it as it is."""
    trajectory: Annotated[list[dict[str, Any]], DeltaChannel(record_steps)]
    """Finished iterations, as JSON data of `Iteration`."""
    session: Annotated[list[dict[str, Any]], DeltaChannel(add_runs)]
    """Earlier runs on the same thread, as JSON data of `PastRun`; their REPL is that of this."""
    finished: int
    """Iterations in `trajectory`, at least; one that is shorter was damaged."""
    runs: int
    """Runs in `session`, at least."""
    turn: dict[str, Any] | None
    """The iteration in work, as JSON data of `Turn`."""
    variables: dict[str, str]
    granted: dict[str, float]
    """What a person has added to the limits, by name."""
    limit: StopReason | None
    """A limit was met; the next reply is the closing one."""
    answer: str | None
    stop_reason: StopReason | None
    structured_response: Any
    rejected: RejectedAnswer | None
    sandbox_missing: list[str]
    elapsed_seconds: float


class PastRun(Record):
    """A finished run of a session: what its REPL was about, and what was done there."""

    query: str
    context_handle: dict[str, Any]
    answer: str
    trajectory: tuple[Iteration, ...]

    def said(self) -> dict[str, str]:
        """What a cell of a later run finds in `history`."""
        return {"query": self.query, "answer": self.answer}


class FinalText(Record):
    """A final that stands in the reply's text, outside of every cell."""

    kind: Literal["text", "var"]
    text: str


class Turn(Record):
    """The iteration in work. Each node adds its part; `truncate` makes an `Iteration` of it."""

    number: int
    closing: bool = False
    direct: bool = False
    """The root model was shown the whole context; its reply is the answer."""
    reply: str = ""
    model: str | None = None
    usage: UsageMetadata | None = None
    cost_usd: float | None = None
    error: str | None = None
    started_seconds: float = 0.0
    refused: StopReason | None = None
    """The limit that left no room for the call; nothing was asked."""
    elapsed_seconds: float = 0.0
    truncated: bool = False
    summary: Summary | None = None
    """Made before this reply, of older turns."""
    foreign: str | None = None
    """The reply came as a native tool call; the tool's name."""
    # parse
    code: tuple[str, ...] = ()
    final: FinalText | None = None
    problem: str | None = None
    detail: str = ""
    prose: str = ""
    held: str | None = None
    """The guard that does not take the answer; names as in `RLMConfig`."""
    # sandbox_exec
    asks: tuple[dict[str, Any], ...] = ()
    """Tool calls that a person is to decide about; then the cells run again from the start."""
    decisions: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """What a person has decided, by the key of the call."""
    verdict: str | None = None
    """What a person has done to the cells, for the root model to read."""
    cells: tuple[Cell, ...] = ()
    answer: str | None = None
    restarted: str | None = None

    def as_iteration(self, observation: str | None) -> Iteration:
        """The record of this turn.

        Args:
            observation: What the root model is shown next; None if there is no next.
        """
        return Iteration(
            number=self.number,
            closing=self.closing,
            direct=self.direct,
            reply=self.reply,
            model=self.model,
            usage=self.usage,
            cost_usd=self.cost_usd,
            error=self.error,
            summary=self.summary,
            cells=self.cells,
            held=self.held,
            observation=observation,
            started_seconds=self.started_seconds,
            elapsed_seconds=self.elapsed_seconds,
        )


def read_trajectory(state: Mapping[str, Any], known: Known | None = None) -> list[Iteration]:
    """The finished iterations of a state.

    Args:
        state: The state.
        known: What was read before, which is not checked again; what is new is added. Without it
            a run of n iterations would check the square of that many.

    Raises:
        RLMError: The state holds something else; it was damaged, or written by other code.
    """
    kept: Any = state.get("trajectory") or []
    known = {} if known is None else known
    new = kept
    if isinstance(kept, list):
        new = [one for one in kept if known.get(id(one), (None, None))[0] is not one]
    read = _read(_ITERATIONS, new, "trajectory")
    known.update({id(one): (one, step) for one, step in zip(new, read, strict=True)})
    steps = [known[id(one)][1] for one in kept]
    _check_count(steps, state.get("finished"), "trajectory")
    return steps


Known: TypeAlias = "dict[int, tuple[Any, Iteration]]"
"""Iterations, with what each was read from, by the `id` of that."""


def read_session(state: Mapping[str, Any]) -> list[PastRun]:
    """The earlier runs of a state.

    Raises:
        RLMError: The state holds something else; it was damaged, or written by other code.
    """
    runs = _read(_RUNS, state.get("session") or [], "session")
    _check_count(runs, state.get("runs"), "session")
    return runs


def variables_of(state: Mapping[str, Any], more: Sequence[Cell] = ()) -> dict[str, str]:
    """The variables of the REPL; those of earlier runs are there when a run begins."""
    variables = dict(state.get("variables") or {})
    past = [] if variables else [step for run in read_session(state) for step in run.trajectory]
    for cell in (*(cell for step in past for cell in step.cells), *more):
        for name in cell.removed:
            variables.pop(name, None)
        variables |= cell.changed
    return variables


def read_turn(state: Mapping[str, Any]) -> Turn:
    """The iteration in work.

    Raises:
        RLMError: There is none, or the state was damaged.
    """
    return _read(_TURN, state.get("turn"), "turn")


def make_response(
    state: Mapping[str, Any], answer_format: AnswerFormat | None = None
) -> RLMResponse:
    """The response of a finished run, from the graph's output.

    Without the format the structured response is the JSON data that fitted it.
    """
    structured = state.get("structured_response")
    if structured is not None and answer_format is not None:
        structured = answer_format.check(json.dumps(structured), is_json=True).value
    trajectory = read_trajectory(state)
    totals = total(trajectory)
    tokens_in = sum(usage["input_tokens"] for usage in totals.usage_by_model.values())
    tokens_out = sum(usage["output_tokens"] for usage in totals.usage_by_model.values())
    asked = state.get("asked") or {}
    handle = asked.get("context")
    return RLMResponse(
        answer=state.get("answer") or "",
        stop_reason=state.get("stop_reason") or "interrupted",
        questions=_questions(state),
        iterations=totals.iterations,
        sub_calls=totals.sub_calls,
        total_input_tokens=tokens_in,
        total_output_tokens=tokens_out,
        tool_calls=totals.tool_calls,
        cache_hits=totals.cache_hits,
        usage_by_model=totals.usage_by_model,
        cost=None if totals.unpriced_models else totals.cost_usd,
        unpriced_models=totals.unpriced_models,
        elapsed_seconds=state.get("elapsed_seconds", 0.0),
        repl_variables=state.get("variables") or {},
        structured_response=structured,
        query=asked.get("query", ""),
        context=handle and {name: handle[name] for name in ContextSummary.model_fields},
        sandbox_missing=tuple(state.get("sandbox_missing") or ()),
        trajectory=tuple(trajectory),
    )


def _questions(state: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """What a person is asked, of a run that waits for an answer."""
    values = (waiting.value for waiting in state.get("__interrupt__") or ())
    return tuple(value if isinstance(value, dict) else {"ask": value} for value in values)


def check_state(state: Mapping[str, Any]) -> None:
    """Check what a run that goes on reads without looking.

    Raises:
        RLMError: The state holds something else; it was damaged, or written by other code.
    """
    for name, adapter in _REST.items():
        if state.get(name) is not None or name in {"query", "context_handle"}:
            _read(adapter, state.get(name), name)


def _check_count(found: Sequence[object], count: object, name: str) -> None:
    if isinstance(count, int) and len(found) < count:
        msg = (
            f"The state's {name!r} is damaged: {count} were kept and {len(found)} are there. "
            f"{GO_ON_FROM}"
        )
        raise RLMError(msg)


_REST: dict[str, TypeAdapter[Any]] = {
    "query": TypeAdapter(str),
    "context_handle": TypeAdapter(ContextHandle),
    "asked": TypeAdapter(dict[str, Any]),
    "variables": TypeAdapter(dict[str, str]),
    "granted": TypeAdapter(dict[str, float]),
    "limit": TypeAdapter(StopReason),
    "rejected": TypeAdapter(RejectedAnswer),
    "finished": TypeAdapter(int),
    "runs": TypeAdapter(int),
}
_ITERATIONS = TypeAdapter(list[Iteration])
_TURN = TypeAdapter(Turn)
_RUNS = TypeAdapter(list[PastRun])


def _read(adapter: TypeAdapter[T], data: object, name: str) -> T:
    try:
        return adapter.validate_python(data)
    except ValidationError as error:
        msg = (
            f"The state's {name!r} is damaged or was written by another version. {GO_ON_FROM} "
            f"{error}"
        )
        raise RLMError(msg) from error
