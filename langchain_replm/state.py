"""What the graph keeps between nodes, and what a run keeps outside of the graph.

The state is plain JSON data: small, checkpointable, free of the context and of live objects.
Everything that lives (models, worker, listeners) is in the `RunScope`, which exists as long as one
call of the graph does.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, TypeVar

from langchain_core.documents import Document  # noqa: TC002 - LangGraph reads the annotations
from langchain_core.messages.ai import UsageMetadata
from langgraph.channels.delta import DeltaChannel
from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from langchain_replm._file_text import FileText
from langchain_replm._log import log_failure
from langchain_replm.budget import Spend
from langchain_replm.context_store import (
    ContextHandle,
    MemoryContextStore,
    StoredContext,
    find_context,
)
from langchain_replm.errors import RLMError
from langchain_replm.types import (
    Cell,
    ContextSummary,
    Iteration,
    Record,
    RLMResponse,
    StopReason,
    Summary,
    ended_seconds,
    total,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from langchain_core.caches import BaseCache
    from langchain_core.language_models import BaseChatModel
    from langchain_core.runnables import Runnable
    from langchain_core.tools import BaseTool

    from langchain_replm._cache import SubCallCache
    from langchain_replm._lanes import Lanes
    from langchain_replm._recorded import RunJournal
    from langchain_replm._tool_calls import TurnFormat
    from langchain_replm._typed import AnswerFormat
    from langchain_replm.budget import Budget
    from langchain_replm.config import Approval, RLMConfig
    from langchain_replm.context_store import ContextStore
    from langchain_replm.events import RLMEvent
    from langchain_replm.journal import Journal
    from langchain_replm.sandbox._lifecycle import SessionKeeper
    from langchain_replm.sandbox.base import Sandbox

T = TypeVar("T")

SCOPE_KEY = "__replm_scope"
"""Where the config of a node holds its `RunScope`. LangChain keeps names that begin with two
underscores out of metadata and traces."""
OPTIONS_KEY = "__replm_options"
"""Where the config of a graph call may hold `RunOptions`."""


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


def record_steps(steps: list[dict[str, Any]], writes: Sequence[Any]) -> list[dict[str, Any]]:
    """What writes make of a trajectory.

    Iterations are appended; one with a number that is there replaces that one (somebody has edited
    it); None starts anew, also as the first item of a list. Writes are checkpointed one by one and
    folded when they are read: a channel that is written whole at every superstep grows with the
    square of the run.

    Raises:
        RLMError: A write is no list of iterations; the checkpoint was damaged.
    """
    steps = list(steps)
    for write in writes:
        if write is None:
            steps = []
            continue
        if isinstance(write, list) and write[:1] == [None]:
            steps, write = [], write[1:]  # noqa: PLW2901 - a run that goes on with another one
        if not isinstance(write, list) or not all(isinstance(step, dict) for step in write):
            msg = f"A write to the trajectory is no list of iterations: {str(write)[:80]!r}"
            raise RLMError(msg)
        for step in write:
            numbers = [known.get("number") for known in steps]
            if step.get("number") in numbers:
                steps[numbers.index(step.get("number"))] = step
            else:
                steps.append(step)
    return steps


def add_runs(runs: list[dict[str, Any]], writes: Sequence[Any]) -> list[dict[str, Any]]:
    """What writes make of the session: finished runs in their order; None forgets them."""
    runs = list(runs)
    for write in writes:
        if write is not None and not isinstance(write, list):
            msg = f"A write to the session is no list of runs: {str(write)[:80]!r}"
            raise RLMError(msg)
        runs = [] if write is None else [*runs, *write]
    return runs


class RLMState(TypedDict, total=False):
    """Everything that the loop carries from node to node."""

    run_id: str
    """Names the run for its journal; a resumed run keeps it."""
    query: str
    context_handle: ContextHandle
    asked: dict[str, Any]
    """Query and handle again, under a name that goes out: a parent graph may use the others."""
    trajectory: Annotated[list[dict[str, Any]], DeltaChannel(record_steps)]
    """Finished iterations, as JSON data of `Iteration`."""
    session: Annotated[list[dict[str, Any]], DeltaChannel(add_runs)]
    """Earlier runs on the same thread, as JSON data of `PastRun`; their REPL is that of this."""
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


class Recorder(Protocol):
    """Takes the records of runs as they come; `TrajectoryFile` is one."""

    def record(self, entry: dict[str, Any]) -> None:
        """Keep one entry: JSON data with a `type` and the `run` that it belongs to."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a graph is built with.

    Bound by closure, because a graph that is used as a node sees its parent's runtime context
    instead of its own.
    """

    root_model: BaseChatModel
    sub_models: tuple[BaseChatModel, ...]
    """By depth; the last one is for all that are deeper."""
    models: Mapping[str, BaseChatModel]
    config: RLMConfig
    tools: Sequence[BaseTool]
    sandbox: Sandbox
    context_store: ContextStore | None
    """None: beside the checkpoints, when there is a checkpointer, and else in this process."""
    journal: Journal | None
    """None: beside the checkpoints, when there is a checkpointer."""
    make_child: Callable[[], Runnable[Any, Any]]
    """The graph that runs an `rlm_query`."""
    make_candidate: Callable[[], Runnable[Any, Any]] | None = None
    """The graph that runs one candidate; None where there is only one."""
    cache: BaseCache | None = None
    response_format: AnswerFormat | None = None
    recorder: Recorder | None = None


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What one call of the graph may ask for."""

    on_event: Callable[[RLMEvent], None] | None = None
    stream_tokens: bool = False
    parent: RunScope | None = None
    """Set for a child run: its budget, cache, lanes and listeners are those of the parent."""
    is_candidate: bool = False
    """The child run is one of several runs of the query itself: its level is that of the parent."""
    path: str = ""
    """Set for a child run: the journal key of the call that it answers."""
    request: tuple[int, int] | None = None
    """Set for a child run: which call of the parent's cell it answers, and which item of it."""
    # Of a run inside a conversation:
    in_conversation: bool = False
    shows_tokens: bool = False  # a parent graph's "messages" may show those of the root model
    answer_format: TurnFormat | None = None
    instructions: str = ""
    attachments: Sequence[dict[str, Any]] = ()  # content blocks: images, files
    past: Sequence[dict[str, Any]] = ()  # the iterations of the run that this one goes on with
    root_kwargs: Mapping[str, Any] = field(default_factory=dict)
    ends_with_tool_calls: bool = False


@dataclass(kw_only=True)
class RunScope:
    """One call of the graph: what it owns and must close, and what it shares with its children."""

    settings: Settings
    options: RunOptions
    budget: Budget
    cache: SubCallCache
    keeper: SessionKeeper
    lanes: Lanes
    depth: int = 0
    """How many runs this one is inside of; events and traces show it."""
    level: int = 0
    """The same without runs that are candidates; it decides about models and recursion."""
    parent: RunScope | None = None
    run_id: str | None = None
    """The run that this call begins; None when it goes on with one that another call began."""
    more_iterations: int = 0
    """What a person has added to `max_iterations`."""
    journal: RunJournal | None = None
    """Where results of calls are kept; shared with the children."""
    recorded_as: str = ""
    """Names the run for its recorder, once it has begun."""
    contexts: ContextStore = field(default_factory=MemoryContextStore)
    """Where this run finds its contexts."""
    handle: ContextHandle | None = None
    """The context that this call has put into the store."""
    given: StoredContext | None = None
    """That context itself, so that it need not be read back."""
    write: Callable[[Any], None] = lambda _: None
    """LangGraph's stream writer of the run; children write to that of the run."""
    trace: dict[str, Any] = field(default_factory=dict)
    """The runs that are open in a trace; empty when nobody listens."""
    forget: Callable[[], None] = lambda: None
    """Takes the worker off the list of what ends when the run is stopped."""
    children: dict[tuple[int, int], RunScope] = field(default_factory=dict)
    """The child runs of the running cell, by call and item."""
    begun: set[int] = field(default_factory=set)
    """The `id`s of the running cell's requests that are with a model or a tool."""
    state: Mapping[str, Any] = field(default_factory=dict)
    """The state that the running node began with."""
    unfinished: Callable[[], Turn] | None = None
    """What the running node knows of its turn, if it is stopped in the middle."""
    emit_lock: threading.Lock = field(default_factory=threading.Lock)
    started: float = field(default_factory=time.monotonic)

    @property
    def root(self) -> RunScope:
        """The run that all this belongs to; itself, unless it is a child."""
        return self if self.parent is None else self.parent.root

    @property
    def sub_model(self) -> BaseChatModel:
        """Answers the sub-calls of this run, and writes the cells of its children."""
        models = self.settings.sub_models
        return models[min(self.level, len(models) - 1)]

    @property
    def answer_format(self) -> AnswerFormat | TurnFormat | None:
        """What the answer of this run must be; children answer in text."""
        if self.level > 0:
            return None
        return self.options.answer_format or self.settings.response_format

    def is_direct(self, context: ContextHandle) -> bool:
        """Whether this run is one call over the whole context, without a REPL."""
        short = context["chars"] < self.settings.config.direct_below_chars
        plain = not self.settings.tools and not self.options.in_conversation
        return short and self.level == 0 and plain

    def find_context(self, handle: ContextHandle) -> StoredContext:
        """The context of a handle.

        Raises:
            ContextNotFoundError: It is gone.
        """
        if self.given and self.handle and self.handle["sha256"] == handle["sha256"]:
            return self.given
        return find_context(self.contexts, handle)

    @property
    def max_iterations(self) -> int:
        """Most root replies: those of the past of a conversation and those granted on top."""
        past = len(self.options.past)
        return self.settings.config.max_iterations + past + self.more_iterations

    def grant(self, limit: str, amount: float) -> None:
        """Add to a limit what a person has granted."""
        if limit == "max_iterations":
            self.more_iterations += int(amount)
        self.budget.grant(limit, amount)

    def asks(self, what: Approval) -> bool:
        """A person decides about this in this run."""
        return self.depth == 0 and what in self.settings.config.approve

    def read_context(self, handle: ContextHandle) -> StoredContext:
        """As `find_context`, with the text in memory wherever it is kept."""
        found = self.find_context(handle)
        return StoredContext(found.value.read()) if isinstance(found.value, FileText) else found

    def rejoins(self, state: Mapping[str, Any]) -> bool:
        """The state is that of a run which another call of the graph began."""
        return bool(state.get("run_id") != self.run_id)

    def rejoin(self, state: Mapping[str, Any]) -> None:
        """Go on with that run: it is charged with what it has spent, and its journal is read.

        Raises:
            RLMError: State or journal are damaged.
        """
        run_id = state.get("run_id")
        if not isinstance(run_id, str) or not run_id:
            msg = "The checkpoint names no run; it was damaged or written by another version."
            raise RLMError(msg)
        self.run_id = run_id
        past = read_trajectory(state)
        done = total(past)
        before = ended_seconds(past)
        spent = Spend(done.tokens, done.cost_usd)
        self.budget.restore(done.sub_calls, done.tool_calls, spent, seconds=before)
        self.started -= before
        for limit, amount in (state.get("granted") or {}).items():
            self.grant(limit, amount)
        if self.journal is not None:
            self.journal.resume(run_id)

    def partial_trajectory(self) -> list[Iteration]:
        """The finished iterations, and what there is of the one in work."""
        steps = read_trajectory(self.state)
        if self.unfinished is not None:
            steps.append(self.unfinished().as_iteration(None))
        elif self.state.get("turn"):
            steps.append(read_turn(self.state).as_iteration(None))
        return steps

    def tell(self, event: RLMEvent) -> None:
        """Call the user's callback; if it fails, that is logged and the run goes on."""
        if self.options.on_event is not None:
            try:
                self.options.on_event(event)
            except Exception as error:  # noqa: BLE001 - no listener can end a run
                log_failure(f"on_event failed for {event.type}", error)

    def elapsed_seconds(self) -> float:
        """Seconds of the run; what earlier calls of the graph took for it is counted."""
        return time.monotonic() - self.started

    def run_seconds(self) -> float:
        """Seconds since the run began, of which this is the whole or a child."""
        return self.root.elapsed_seconds()


def read_trajectory(state: Mapping[str, Any]) -> list[Iteration]:
    """The finished iterations of a state.

    Raises:
        RLMError: The state holds something else; it was damaged, or written by other code.
    """
    return _read(_ITERATIONS, state.get("trajectory") or [], "trajectory")


def read_session(state: Mapping[str, Any]) -> list[PastRun]:
    """The earlier runs of a state.

    Raises:
        RLMError: The state holds something else; it was damaged, or written by other code.
    """
    return _read(_RUNS, state.get("session") or [], "session")


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


_ITERATIONS = TypeAdapter(list[Iteration])
_TURN = TypeAdapter(Turn)
_RUNS = TypeAdapter(list[PastRun])


def _read(adapter: TypeAdapter[T], data: object, name: str) -> T:
    try:
        return adapter.validate_python(data)
    except ValidationError as error:
        msg = f"The state's {name!r} is damaged or was written by another version: {error}"
        raise RLMError(msg) from error
