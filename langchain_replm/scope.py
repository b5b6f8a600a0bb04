"""What a run keeps outside of the graph's state: models, worker, listeners, and what it has spent.

A `RunScope` exists as long as one call of the graph does; nothing of it is checkpointed.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from langchain_replm._channels import GO_ON_FROM
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
from langchain_replm.state import check_state, read_trajectory, read_turn
from langchain_replm.types import (
    Iteration,
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
    from langchain_replm._typed import AnswerFormat, ReplyFormat
    from langchain_replm.budget import Budget
    from langchain_replm.config import Approval, RLMConfig
    from langchain_replm.context_store import ContextStore
    from langchain_replm.events import RLMEvent
    from langchain_replm.journal import Journal
    from langchain_replm.sandbox._lifecycle import SessionKeeper
    from langchain_replm.sandbox.base import Sandbox
    from langchain_replm.state import Known, Turn

SCOPE_KEY = "__replm_scope"
"""Where the config of a node holds its `RunScope`. LangChain keeps names that begin with two
underscores out of metadata and traces."""
OPTIONS_KEY = "__replm_options"
"""Where the config of a graph call may hold `RunOptions`."""


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
    answer_format: TurnFormat | ReplyFormat | None = None
    """Set for a turn of a conversation, and for a child run that was asked for data."""
    # Of a run inside a conversation:
    in_conversation: bool = False
    shows_tokens: bool = False  # a parent graph's "messages" may show those of the root model
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
    configurable: Mapping[str, Any] = field(default_factory=dict)
    """The configurable values of the call and of what is around it."""
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
    known: Known = field(default_factory=dict)
    """The iterations that this call has read from its state."""
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
    def answer_format(self) -> AnswerFormat | TurnFormat | ReplyFormat | None:
        """What the answer of this run must be; that of a child is what its cell has asked for."""
        own = self.settings.response_format if self.level == 0 else None
        return self.options.answer_format or own

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

    def left(self) -> dict[str, int | float]:
        """What is left of the limits that are set."""
        left = {
            "sub_calls_left": (
                self.budget.sub_calls_left if self.settings.config.enable_sub_calls else None
            ),
            "tool_calls_left": self.budget.tool_calls_left if self.settings.tools else None,
            "tokens_left": self.budget.tokens_left,
            "cost_left_usd": self.budget.cost_left_usd,
        }
        return {name: value for name, value in left.items() if value is not None}

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

    def steps(self, state: Mapping[str, Any]) -> list[Iteration]:
        """The finished iterations of a state.

        Raises:
            RLMError: The state is damaged.
        """
        return read_trajectory(state, self.known)

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
            msg = f"The checkpoint names no run; it is damaged. {GO_ON_FROM}"
            raise RLMError(msg)
        check_state(state)
        self.run_id = run_id
        past = self.steps(state)
        done = total(past)
        before = ended_seconds(past)
        spent = Spend(done.tokens, done.cost_usd)
        self.budget.restore(done.sub_calls, done.tool_calls, spent, seconds=before)
        self.started -= before
        for limit, amount in (state.get("granted") or {}).items():
            self.grant(limit, amount)
        self.cache.refill(past)
        if self.journal is not None:
            self.journal.resume(run_id)

    def partial_trajectory(self) -> list[Iteration]:
        """The finished iterations, and what there is of the one in work."""
        steps = self.steps(self.state)
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
