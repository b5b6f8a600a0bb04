"""Performs the effects of a node: once by waiting, once by awaiting. The loop's only two colours.

`drive` and `adrive` pump a node; `_Waiter` and `_Awaiter` perform one effect each. What a call is
and what becomes of it is said once, in the functions that both use. The manner is that of httpx's
auth flow and of h11: decisions are made where no colour exists.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Generator
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.utils import message_chunk_to_message
from langchain_core.runnables import Runnable
from langgraph.config import get_stream_writer
from langgraph.errors import GraphBubbleUp
from langgraph.types import Command, interrupt

from langchain_replm._durable import keep_call, keep_reply, recorded_call, recorded_reply
from langchain_replm._effects import (
    AskPerson,
    AwaitCalls,
    CallRootModel,
    Emit,
    Exchange,
    Interrupt,
    OpenSession,
    ReadContext,
    Renew,
    Restart,
    RootReply,
    StartCalls,
    Worked,
)
from langchain_replm._log import log_event, log_failure
from langchain_replm._recording import record_event, record_update
from langchain_replm._requests import (
    Call,
    RootCall,
    lane_of,
    setup_maker,
    stream_kwargs,
)
from langchain_replm._traces.calls import apump, pump
from langchain_replm._traces.cells import CellTrace
from langchain_replm.events import RLMEvent, preview
from langchain_replm.state import SCOPE_KEY

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from langchain_core.runnables import RunnableConfig

    from langchain_replm._effects import Effect
    from langchain_replm._subcalls import CallOutcome, CallRequest
    from langchain_replm.budget import Spend
    from langchain_replm.state import RLMState, RunScope
    from langchain_replm.types import StopReason

T = TypeVar("T")


class Node(Runnable["RLMState", "Command[str]"]):
    """A node of the loop: a plain function or a generator of effects, and where it leads.

    A `Runnable` with both colours, so that LangGraph runs it as it is: no thread for an async run,
    and no second run in traces, as a `RunnableLambda` would make.
    """

    def __init__(
        self, function: Any, leads_to: Callable[[dict[str, Any]], str], *, name: str
    ) -> None:
        self.function = function
        self.leads_to = leads_to
        self.name = name

    def invoke(
        self,
        input: RLMState,
        config: RunnableConfig | None = None,
        **_: Any,
    ) -> Command[str]:
        """Run the node, waiting."""
        scope = _scope_of(config)
        if scope.rejoins(input):
            scope.rejoin(input)
        update = self.function(input, scope)
        if isinstance(update, Generator):
            update = drive(update, scope)
        return self._done(input, update, scope, config)

    async def ainvoke(
        self,
        input: RLMState,
        config: RunnableConfig | None = None,
        **_: Any,
    ) -> Command[str]:
        """Run the node, awaiting."""
        scope = _scope_of(config)
        if scope.rejoins(input):
            await _await(scope.lanes.pool("journal").submit(scope.rejoin, input))
        update = self.function(input, scope)
        if isinstance(update, Generator):
            update = await adrive(update, scope)
        return self._done(input, update, scope, config)

    def _done(
        self,
        state: RLMState,
        update: dict[str, Any],
        scope: RunScope,
        config: RunnableConfig | None,
    ) -> Command[str]:
        thread: str | None = (config or {}).get("configurable", {}).get("thread_id")
        record_update(scope, self.name or "", state, update, thread)
        return Command(update=update, goto=self.leads_to(update))


def _scope_of(config: RunnableConfig | None) -> RunScope:
    """The scope of this call of the graph."""
    scope: RunScope = (config or {})["configurable"][SCOPE_KEY]
    return scope


def drive(flow: Generator[Effect, Any, dict[str, Any]], scope: RunScope) -> dict[str, Any]:
    """Pump a node: perform what it yields, send the reply back, until it returns."""
    waiter = _Waiter(scope)
    try:
        effect = next(flow)
        while True:
            try:
                reply = waiter.perform(effect)
            except BaseException as error:  # noqa: BLE001 - the node's own `finally`s must see it
                effect = flow.throw(error)
            else:
                effect = flow.send(reply)
    except StopIteration as finished:
        result: dict[str, Any] = finished.value
        return result
    finally:
        flow.close()
        waiter.close()


async def adrive(flow: Generator[Effect, Any, dict[str, Any]], scope: RunScope) -> dict[str, Any]:
    """`drive`, with `await`."""
    awaiter = _Awaiter(scope)
    try:
        effect = next(flow)
        while True:
            try:
                reply = await awaiter.perform(effect)
            except BaseException as error:  # noqa: BLE001 - the node's own `finally`s must see it
                effect = flow.throw(error)
            else:
                effect = flow.send(reply)
    except StopIteration as finished:
        result: dict[str, Any] = finished.value
        return result
    finally:
        flow.close()
        await awaiter.close()


class _Performer:
    """What both colours share: the scope, the outcomes that came in, and the listeners."""

    def __init__(self, scope: RunScope) -> None:
        self.scope = scope
        self.trace = CellTrace()
        self.outcomes: deque[CallOutcome] = deque()
        self.failure: BaseException | None = None
        """What ended a call without an outcome: an interrupt, a cancel, a fault of ours."""
        if scope.parent is None:
            scope.write = get_stream_writer()

    def drain(self) -> list[CallOutcome]:
        """The outcomes that have arrived; what is no outcome is raised into the node."""
        if self.failure is not None:
            raise self.failure
        drained = []
        while self.outcomes:
            drained.append(self.outcomes.popleft())
        return drained

    def emit(self, event: RLMEvent) -> None:
        """Tell stream, callback and log; one event at a time, and no listener can end a run."""
        root = self.scope.root
        options = root.options
        verbose = root.settings.config.verbose or (event.type, event.depth) == ("final_answer", 0)
        level = logging.INFO if verbose else logging.DEBUG
        with root.emit_lock:
            if event.type == "token":
                if options.stream_tokens and event.depth == 0:
                    root.write(event.to_dict())
                return
            log_event(event, level)
            root.write(event.to_dict())
            record_event(root, event)
            if options.on_event is not None:
                try:
                    options.on_event(event)
                except Exception as error:  # noqa: BLE001 - no listener can end a run
                    log_failure(f"on_event failed for {event.type}", error)

    def token(self, effect: CallRootModel, chunk: AIMessageChunk) -> None:
        text = chunk.text
        if text:
            detail = {"text": text}
            self.emit(RLMEvent("token", effect.iteration, preview(text), detail, self.scope.depth))

    @property
    def streams(self) -> bool:
        """Whether somebody listens to the root model word by word."""
        return self.scope.root.options.stream_tokens and self.scope.depth == 0

    def reply(self, started: float, message: BaseMessage | Exception) -> RootReply:
        elapsed = time.monotonic() - started
        began = self.scope.run_seconds() - elapsed
        if isinstance(message, Exception):
            log_failure("the root model failed", message)
            return RootReply(None, message, elapsed, began)
        if isinstance(message, AIMessageChunk):
            message = message_chunk_to_message(message)
        if not isinstance(message, AIMessage):
            kind = type(message).__name__
            return RootReply(None, TypeError(f"the root model returned a {kind}"), elapsed, began)
        return RootReply(message, None, elapsed, began)


class _Waiter(_Performer):
    """Performs effects by waiting; calls run in threads of ours, with the context variables."""

    def __init__(self, scope: RunScope) -> None:
        super().__init__(scope)
        self._arrived = threading.Event()

    def perform(self, effect: Effect) -> Any:  # noqa: C901, PLR0911 - a table of effects
        match effect:
            case Emit(event):
                pump(self.trace.hear(event))
                return self.emit(event)
            case CallRootModel():
                return self._call_root(effect)
            case StartCalls():
                return self._start(effect)
            case Exchange(data, timeout_seconds):
                exchanged = self.scope.keeper.exchange(data, timeout_seconds)
                return Worked(exchanged, self.drain(), self.scope.run_seconds())
            case AwaitCalls():
                while not (outcomes := self.drain()):
                    self._arrived.wait()
                    self._arrived.clear()
                return outcomes
            case ReadContext(context):
                return self.scope.read_context(context)
            case OpenSession(datum):
                return self.scope.keeper.opening(setup_maker(self.scope, datum)).result()
            case Renew(datum):
                return self.scope.keeper.renewing(setup_maker(self.scope, datum)).result()
            case Restart(datum):
                return self.scope.keeper.restarting(setup_maker(self.scope, datum)).result()
            case AskPerson(question):
                return interrupt(dict(question))
            case Interrupt():
                return self.scope.keeper.interrupt()

    def close(self) -> None:
        """Nothing is left behind: `Lanes` cancels what has not begun."""
        pump(self.trace.close())

    def _reserve(self, most: Spend, *, closing: bool = False) -> StopReason | None:
        room = threading.Event()
        ask = partial(self.scope.budget.reserve, most, closing=closing, when_room=room.set)
        while (verdict := ask()) == "wait":
            room.wait()
            room.clear()
        return None if verdict == "admitted" else verdict

    def _call_root(self, effect: CallRootModel) -> RootReply:
        if (recorded := recorded_reply(self.scope, effect)) is not None:
            return recorded
        call = RootCall(self.scope, effect)
        if limit := self._reserve(call.most, closing=effect.closing):
            return RootReply(None, None, 0.0, refused=limit)
        reply: RootReply | None = None
        try:
            reply = self._ask_root(call, effect)
        finally:
            call.settle(reply)
        return keep_reply(self.scope, effect, call.priced(reply))

    def _ask_root(self, call: RootCall, effect: CallRootModel) -> RootReply:
        model, started = call.model, time.monotonic()
        try:
            if not self.streams or effect.purpose != "root_generate":
                message = model.invoke(effect.messages, call.config, **call.kwargs)
                return self.reply(started, message)
            whole: AIMessageChunk | None = None
            kwargs = stream_kwargs(model, call.kwargs)
            for chunk in model.stream(effect.messages, call.config, **kwargs):
                self.token(effect, chunk)
                whole = chunk if whole is None else whole + chunk
            return self.reply(started, whole or AIMessage(""))
        except GraphBubbleUp:
            raise
        except Exception as error:  # noqa: BLE001 - any failure of a model is a value here
            return self.reply(started, error)

    def _start(self, effect: StartCalls) -> None:
        for request in effect.requests:
            pool = self.scope.lanes.pool(lane_of(request, self.scope))
            context = self.trace.context()
            future = pool.submit(context.run, self._call, request, effect.iteration)
            future.add_done_callback(self._done)

    def _done(self, future: Future[CallOutcome]) -> None:
        if future.cancelled():
            return
        failure = future.exception()
        if failure is None:
            self.outcomes.append(future.result())
        else:
            self.failure = failure
        self._arrived.set()
        self.scope.keeper.wake()

    def _call(self, request: CallRequest, iteration: int) -> CallOutcome:
        if (recorded := recorded_call(self.scope, request)) is not None:
            return recorded
        started = time.monotonic()
        call = Call(self.scope, request, iteration, cell=self.trace.cell)
        if limit := self._reserve(call.most):
            return call.refused(limit)
        outcome: CallOutcome | None = None
        try:
            result = call.target.invoke(call.input, call.config, **call.kwargs)
            outcome = call.done(result, started)
        except Exception as error:  # noqa: BLE001 - a failed call is a value for the cell
            outcome = call.failed(error, started)
        finally:
            call.settle(outcome)
        return keep_call(self.scope, outcome)


class _Awaiter(_Performer):
    """Performs effects by awaiting; calls are tasks, the worker is read in a thread of its own."""

    def __init__(self, scope: RunScope) -> None:
        super().__init__(scope)
        self._arrived = asyncio.Event()
        self._tasks: set[asyncio.Task[CallOutcome]] = set()

    async def perform(self, effect: Effect) -> Any:  # noqa: C901, PLR0911 - a table of effects
        keeper = self.scope.keeper
        match effect:
            case Emit(event):
                await apump(self.trace.hear(event))
                return self.emit(event)
            case CallRootModel():
                return await self._call_root(effect)
            case StartCalls():
                return self._start(effect)
            case Exchange(data, timeout_seconds):
                exchanged = await _await(keeper.submit(keeper.exchange, data, timeout_seconds))
                return Worked(exchanged, self.drain(), self.scope.run_seconds())
            case AwaitCalls():
                while not (outcomes := self.drain()):
                    await self._arrived.wait()
                    self._arrived.clear()
                return outcomes
            case ReadContext(context):
                return await _await(keeper.submit(self.scope.read_context, context))
            case OpenSession(datum):
                return await _await(keeper.opening(setup_maker(self.scope, datum)))
            case Renew(datum):
                return await _await(keeper.renewing(setup_maker(self.scope, datum)))
            case Restart(datum):
                return await _await(keeper.restarting(setup_maker(self.scope, datum)))
            case AskPerson(question):
                return interrupt(dict(question))
            case Interrupt():
                return keeper.interrupt()

    async def close(self) -> None:
        """Cancel what still runs, and wait until it has ended."""
        running = list(self._tasks)
        for task in running:
            task.cancel()
        if running:
            await asyncio.gather(*running, return_exceptions=True)
        await apump(self.trace.close())

    async def _reserve(self, most: Spend, *, closing: bool = False) -> StopReason | None:
        room = asyncio.Event()
        wake = partial(asyncio.get_running_loop().call_soon_threadsafe, room.set)
        ask = partial(self.scope.budget.reserve, most, closing=closing, when_room=wake)
        while (verdict := ask()) == "wait":
            await room.wait()
            room.clear()
        return None if verdict == "admitted" else verdict

    async def _call_root(self, effect: CallRootModel) -> RootReply:
        if (recorded := recorded_reply(self.scope, effect)) is not None:
            return recorded
        call = RootCall(self.scope, effect)
        if limit := await self._reserve(call.most, closing=effect.closing):
            return RootReply(None, None, 0.0, refused=limit)
        reply: RootReply | None = None
        try:
            reply = await self._ask_root(call, effect)
        finally:
            call.settle(reply)
        return await self._kept(keep_reply, self.scope, effect, call.priced(reply))

    async def _kept(self, keep: Callable[..., T], *arguments: Any) -> T:
        """A journal writes to disk or network; that must not hold up the event loop."""
        if self.scope.journal is None:
            return keep(*arguments)
        return await _await(self.scope.lanes.pool("journal").submit(keep, *arguments))

    async def _ask_root(self, call: RootCall, effect: CallRootModel) -> RootReply:
        model, started = call.model, time.monotonic()
        try:
            if not self.streams or effect.purpose != "root_generate":
                message = await model.ainvoke(effect.messages, call.config, **call.kwargs)
                return self.reply(started, message)
            whole: AIMessageChunk | None = None
            kwargs = stream_kwargs(model, call.kwargs)
            async for chunk in model.astream(effect.messages, call.config, **kwargs):
                self.token(effect, chunk)
                whole = chunk if whole is None else whole + chunk
            return self.reply(started, whole or AIMessage(""))
        except GraphBubbleUp:
            raise
        except Exception as error:  # noqa: BLE001 - any failure of a model is a value here
            return self.reply(started, error)

    def _start(self, effect: StartCalls) -> None:
        for request in effect.requests:
            call = self._call(request, effect.iteration)
            task = asyncio.create_task(call, context=self.trace.context())
            self._tasks.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[CallOutcome]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            self.failure = asyncio.CancelledError()
        elif (failure := task.exception()) is not None:
            self.failure = failure
        else:
            self.outcomes.append(task.result())
        self._arrived.set()
        self.scope.keeper.wake()

    async def _call(self, request: CallRequest, iteration: int) -> CallOutcome:
        async with self.scope.lanes.semaphore(lane_of(request, self.scope)):
            if (recorded := recorded_call(self.scope, request)) is not None:
                return recorded
            started = time.monotonic()
            call = Call(self.scope, request, iteration, cell=self.trace.cell)
            if limit := await self._reserve(call.most):
                return call.refused(limit)
            outcome: CallOutcome | None = None
            try:
                result = await call.target.ainvoke(call.input, call.config, **call.kwargs)
                outcome = call.done(result, started)
            except Exception as error:  # noqa: BLE001 - a failed call is a value for the cell
                outcome = call.failed(error, started)
            finally:
                call.settle(outcome)
            return await self._kept(keep_call, self.scope, outcome)


def _await(future: Future[T]) -> asyncio.Future[T]:
    return asyncio.wrap_future(future)
