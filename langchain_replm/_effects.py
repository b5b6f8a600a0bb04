"""What a node may ask of the outside world. A node yields one of these and gets the reply back.

| effect | reply |
| --- | --- |
| `CallRootModel` | `RootReply` |
| `LookUp` | for each call the reply that the cache over runs holds, or None |
| `StartCalls` | nothing; outcomes arrive with later `Exchange`s, in the order in which they end |
| `Exchange` | `Worked` |
| `AwaitCalls` | at least one outcome of a started call, or none when the time is up |
| `ReadContext` | `StoredContext`, the text itself |
| `CutCalls` | nothing; every call that was started has its outcome now |
| `OpenSession` | `LiveSession`, the session of the run, opened on first use |
| `Renew` | `LiveSession`, with another context in it |
| `Restart` | `LiveSession`, always a fresh one |
| `AskPerson` | what the person has answered |
| `Interrupt` | whether the running cell was asked to stop |
| `Emit` | nothing |

Calls are started, not made, so that a cell with threads is served while earlier calls are running:
an exchange with the worker ends as soon as the worker or one of the calls has something to say.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from langchain_core.messages import AIMessage, BaseMessage

    from langchain_replm._subcalls import CallOutcome, CallRequest
    from langchain_replm.context_store import ContextHandle
    from langchain_replm.events import RLMEvent
    from langchain_replm.sandbox.base import Exchanged
    from langchain_replm.types import StopReason


@dataclass(frozen=True, slots=True)
class CallRootModel:
    """Ask the root model for a reply."""

    messages: Sequence[BaseMessage]
    iteration: int
    closing: bool = False
    """It may use what the budget has kept for the closing request."""
    purpose: Literal["root_generate", "root_summary", "root_judge"] = "root_generate"
    """What for; only the tokens of replies are streamed."""


@dataclass(frozen=True, slots=True)
class RootReply:
    """What the root model said, how the call failed, or the limit that left no room for it."""

    message: AIMessage | None
    error: Exception | None
    elapsed_seconds: float
    started_seconds: float = 0.0
    """Since the start of the run."""
    cost_usd: float | None = None
    refused: StopReason | None = None


@dataclass(frozen=True, slots=True)
class LookUp:
    """Look for replies of earlier runs to these calls."""

    requests: Sequence[CallRequest]


@dataclass(frozen=True, slots=True)
class StartCalls:
    """Start sub-calls and tool calls; at most `max_concurrency` model calls run at once."""

    requests: Sequence[CallRequest]
    iteration: int


@dataclass(frozen=True, slots=True)
class Exchange:
    """Send bytes to the worker and wait until it, or a started call, has something to say."""

    data: Sequence[bytes]
    timeout_seconds: float | None


@dataclass(frozen=True, slots=True)
class Worked:
    """What an exchange brought: bytes from the worker and calls that ended meanwhile."""

    exchanged: Exchanged
    outcomes: Sequence[CallOutcome]
    ended_seconds: float = field(default=0.0, compare=False)
    """When it ended, since the start of the run."""


@dataclass(frozen=True, slots=True)
class AwaitCalls:
    """Wait for started calls alone, when there is no cell to talk to any more."""

    timeout_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class CutCalls:
    """End the calls that were started; only child runs go on, and end by themselves."""

    error: str


@dataclass(frozen=True, slots=True)
class ReadContext:
    """Fetch the context, for a run that shows it to the root model."""

    context: ContextHandle


SESSION_ROOM_CHARS = 1_000_000
"""A session has room for a context of this length, whatever its first one is: queries of a thread
come with contexts that are a little longer or shorter."""


@dataclass(frozen=True, slots=True)
class Datum:
    """What a REPL is about at one time: a context, and the questions before it."""

    context: ContextHandle
    history: tuple[Mapping[str, str], ...] | None = None
    """None where a run has no past to have: without a checkpointer."""
    room_chars: int = 0
    """The longest context that the session will have."""

    @property
    def name(self) -> str:
        """Equal for equal data."""
        return f"{self.context['sha256']} {len(self.history or ())}"


@dataclass(frozen=True, slots=True)
class OpenSession:
    """The session of this run; the worker was started while the root model was thinking."""

    datum: Datum


@dataclass(frozen=True, slots=True)
class Renew:
    """Put another context and history into the session; its variables stay."""

    datum: Datum


@dataclass(frozen=True, slots=True)
class Restart:
    """End the worker, whatever it does, and start a fresh one."""

    datum: Datum


@dataclass(frozen=True, slots=True)
class AskPerson:
    """Stop the run until a person has answered; LangGraph's `interrupt`."""

    question: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Ask the running cell to stop; it keeps its variables if it does."""


@dataclass(frozen=True, slots=True)
class Emit:
    """Tell whoever listens."""

    event: RLMEvent


Effect = (
    CallRootModel
    | LookUp
    | StartCalls
    | Exchange
    | AwaitCalls
    | ReadContext
    | CutCalls
    | OpenSession
    | Renew
    | Restart
    | AskPerson
    | Interrupt
    | Emit
)
Flow: TypeAlias = "Generator[Effect, Any, dict[str, Any]]"
"""A node that does I/O: yields effects, gets their replies, returns the update of the state."""
