"""A node without a driver: the test yields, looks and answers. No process, no model, no clock.

The worker of `sandbox_exec` is played by the test: it writes the frames that a worker would write,
and reads those that the node sends. The session between them is the real one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages.ai import UsageMetadata

from langchain_replm._cache import SubCallCache
from langchain_replm._effects import (
    AwaitCalls,
    Effect,
    Emit,
    Exchange,
    OpenSession,
    Restart,
    StartCalls,
    Worked,
)
from langchain_replm._lanes import Lanes
from langchain_replm._nodes.sandbox_exec import sandbox_exec
from langchain_replm._subcalls import CallOutcome, CallRequest
from langchain_replm.budget import Budget
from langchain_replm.config import RLMConfig
from langchain_replm.context_store import (
    ContextHandle,
    MemoryContextStore,
    check_context,
    make_handle,
)
from langchain_replm.events import RLMEvent
from langchain_replm.sandbox._live import LiveSession
from langchain_replm.sandbox._policy import sub_call_functions
from langchain_replm.sandbox._wire import (
    HEADER_BYTES,
    WIRE_VERSION,
    Function,
    Ready,
    Session,
    Setup,
    WireLimits,
    encode_frame,
)
from langchain_replm.sandbox.base import Exchanged, Sandbox
from langchain_replm.scope import RunOptions, RunScope, Settings
from langchain_replm.state import FinalText, Turn, read_turn
from langchain_replm.testing import ScriptedChatModel
from langchain_replm.types import Cell, Iteration

FUNCTIONS = (*sub_call_functions(), Function(name="add", kind="tool"))


class Untouched:
    """Stands where a node must not reach: whatever is asked of it fails the test."""

    def __getattr__(self, name: str) -> Any:
        msg = f"a node touched {name!r} of something that belongs to the driver"
        raise AssertionError(msg)


class NoSandbox(Sandbox):
    """A place that can be described but never opened."""

    @property
    def policy(self) -> Any:
        return "restricted"

    def describe(self) -> str:
        return "Cells run by hand."

    def open(self) -> Any:
        msg = "nothing may be opened here"
        raise AssertionError(msg)


def scope_for(
    *,
    root: Any = None,
    sub: Any = None,
    models: Mapping[str, Any] | None = None,
    tools: Sequence[Any] = (),
    keeper: Any = None,
    depth: int = 0,
    parent: RunScope | None = None,
    options: RunOptions | None = None,
    make_child: Any = None,
    store: MemoryContextStore | None = None,
    **config: Any,
) -> RunScope:
    settings = Settings(
        root_model=root or ScriptedChatModel(model_name="root"),
        sub_models=(sub or ScriptedChatModel(model_name="sub"),),
        models=models or {},
        config=RLMConfig(**config),
        tools=tools,
        sandbox=NoSandbox(),
        context_store=MemoryContextStore() if store is None else store,  # an empty one is false
        journal=None,
        make_child=make_child or Untouched(),
    )
    return RunScope(
        settings=settings,
        options=options or RunOptions(),
        budget=Budget(settings.config),
        cache=SubCallCache(),
        keeper=keeper or Untouched(),  # type: ignore[arg-type]
        contexts=MemoryContextStore() if store is None else store,
        lanes=Lanes(settings.config.max_concurrency),
        depth=depth,
        level=depth,
        parent=parent,
    )


def handle_of(context: Any = "the heron stands still. " * 500, *, shown: int = 1_000) -> Any:
    handle: ContextHandle = make_handle(check_context(context), preview_chars=shown)
    return handle


def state_for(
    turn: Turn | None = None, *, past: Sequence[Iteration] = (), **fields: Any
) -> dict[str, Any]:
    return {
        "query": "How many herons?",
        "context_handle": handle_of(),
        "trajectory": [step.model_dump() for step in past],
        "turn": turn and turn.model_dump(),
        **fields,
    }


def usage(tokens_in: int, tokens_out: int, **details: Any) -> UsageMetadata:
    return UsageMetadata(
        input_tokens=tokens_in,
        output_tokens=tokens_out,
        total_tokens=tokens_in + tokens_out,
        **details,
    )


# -- the worker's side of the wire -----------------------------------------------------------------


def idle_session(limits: WireLimits | None = None) -> LiveSession:
    """A session whose worker has just said that it is ready."""
    session = Session(limits)
    list(session.start(Setup(policy={}, functions=FUNCTIONS)))
    session.receive(encode_frame({"type": "ready", "version": WIRE_VERSION, "python": "3.11"}))
    assert isinstance(session.next_event(), Ready)
    return LiveSession(session)


def done(cell_id: str, **fields: Any) -> dict[str, Any]:
    return {
        "type": "done",
        "id": cell_id,
        "status": "ok",
        "output_head": "",
        "output_tail": "",
        "output_chars": 0,
        "error": None,
        "changed": {},
        "removed": [],
        "answer": None,
        **fields,
    }


def call(call_id: int, *prompts: str, model: str | None = None) -> dict[str, Any]:
    items = [{"prompt": prompt, "model": model} for prompt in prompts]
    function = "llm_query" if len(prompts) == 1 else "llm_query_batch"
    return {
        "type": "call", "id": call_id, "function": function, "kind": "llm_query", "items": items,
    }  # fmt: skip


def worked(
    *messages: Mapping[str, Any] | bytes,
    outcomes: Sequence[CallOutcome] = (),
    seconds: float = 0.0,
    eof: bool = False,
) -> Worked:
    data = b"".join(
        message if isinstance(message, bytes) else encode_frame(message) for message in messages
    )
    return Worked(Exchanged(data=data, elapsed_seconds=seconds, eof=eof), outcomes)


def read_frames(chunks: Sequence[bytes]) -> list[dict[str, Any]]:
    """What the host has sent, as a worker reads it."""
    data, messages = b"".join(chunks), []
    while data:
        length = int.from_bytes(data[:4], "big")
        messages.append(json.loads(data[HEADER_BYTES : HEADER_BYTES + length]))
        data = data[HEADER_BYTES + length :]
    return messages


def said(request: CallRequest, text: str = "", **fields: Any) -> CallOutcome:
    """A model's reply to a started call."""
    reply = text or f"re: {request.prompt}"
    counted = {"sub": usage(10, 2)}
    return CallOutcome(request=request, text=reply, model="sub", usage=counted, **fields)


class Played:
    """`sandbox_exec`, from effect to effect. Events are collected, everything else is shown.

    `effect` is what the node waits for, None when it has returned; then `turn` holds the result.
    """

    def __init__(
        self,
        scope: RunScope,
        *code: str,
        final: FinalText | None = None,
        closing: bool = False,
        past: Sequence[Cell] = (),
        live: LiveSession | None = None,
    ) -> None:
        number = 2 if past else 1
        before = [Iteration(number=1, reply="r", cells=tuple(past))] if past else []
        turn = Turn(number=number, reply="reply", code=code, final=final, closing=closing)
        self.events: list[RLMEvent] = []
        self.effect: Effect | None = None
        self._turn: Turn | None = None
        self._flow = sandbox_exec(state_for(turn, past=before), scope)
        self.go(None)
        assert isinstance(self.effect, OpenSession)
        self.live = live or idle_session()
        self.go(self.live)

    def go(self, reply: Any = None) -> Effect | None:
        """Give the reply to the effect and return the next one."""
        try:
            self.effect = self._flow.send(reply)
            while isinstance(self.effect, Emit):
                self.events.append(self.effect.event)
                self.effect = self._flow.send(None)
        except StopIteration as returned:
            self.effect = None
            self._turn = read_turn(returned.value)
        return self.effect

    def work(self, *messages: Any, **fields: Any) -> Effect | None:
        """The worker says something, or calls end, or time goes by."""
        self.exchange()
        # A worker names the cell that runs in each of its calls.
        cell = {"cell": self.live.session._wire_id}
        named = [
            {**cell, **m} if isinstance(m, Mapping) and m.get("type") == "call" else m
            for m in messages
        ]
        return self.go(worked(*named, **fields))

    def ended(self, *outcomes: CallOutcome, seconds: float = 0.0) -> Effect | None:
        """Calls end while the worker says nothing."""
        return self.work(outcomes=outcomes, seconds=seconds)

    def exchange(self) -> Exchange:
        assert isinstance(self.effect, Exchange), self.effect
        return self.effect

    def sent(self) -> list[dict[str, Any]]:
        """What the worker gets with the exchange that the node waits for."""
        return read_frames(self.exchange().data)

    def started(self) -> list[CallRequest]:
        """The calls that the node starts; it goes on at once."""
        assert isinstance(self.effect, StartCalls), self.effect
        requests = list(self.effect.requests)
        self.go()
        return requests

    def awaits(self, *outcomes: CallOutcome) -> Effect | None:
        assert isinstance(self.effect, AwaitCalls), self.effect
        return self.go(list(outcomes))

    def restarts(self) -> LiveSession:
        """Give the node a worker that knows nothing."""
        assert isinstance(self.effect, Restart), self.effect
        self.live = idle_session()
        self.go(self.live)
        return self.live

    @property
    def turn(self) -> Turn:
        assert self._turn is not None, f"the node waits for {self.effect}"
        return self._turn

    @property
    def cells(self) -> tuple[Cell, ...]:
        return self.turn.cells

    def kinds(self) -> list[str]:
        return [event.type for event in self.events]
