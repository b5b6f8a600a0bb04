"""Performs the effects of a node: once by waiting, once by awaiting. The loop's only two colours.

`drive` and `adrive` pump a node; `_Waiter` and `_Awaiter` perform one effect each. What a call is
and what becomes of it is said once, in the functions that both use. The manner is that of httpx's
auth flow and of h11: decisions are made where no colour exists.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Generator
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.runnables import Runnable
from langgraph.config import get_stream_writer
from langgraph.errors import GraphBubbleUp
from langgraph.types import Command, interrupt

from langchain_replm._cache import as_cached, cached_text
from langchain_replm._durable import keep_call, keep_reply, recorded_call, recorded_reply
from langchain_replm._effects import (
    AskPerson,
    AwaitCalls,
    CallRootModel,
    CutCalls,
    Emit,
    Exchange,
    Interrupt,
    LookUp,
    OpenSession,
    ReadContext,
    Renew,
    Restart,
    RootReply,
    StartCalls,
    Worked,
)
from langchain_replm._performer import Performer
from langchain_replm._recording import record_update
from langchain_replm._requests import (
    Call,
    RootCall,
    cache_key,
    lane_of,
    setup_maker,
    stream_kwargs,
)
from langchain_replm._tools import is_only_async, is_only_sync
from langchain_replm._traces.calls import apump, pump
from langchain_replm._traces.cells import CellTrace
from langchain_replm.errors import RunStoppedError
from langchain_replm.scope import SCOPE_KEY

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextvars import Context

    from langchain_core.runnables import RunnableConfig

    from langchain_replm._effects import Effect
    from langchain_replm._subcalls import CallOutcome, CallRequest
    from langchain_replm.budget import Spend
    from langchain_replm.scope import RunScope
    from langchain_replm.state import RLMState
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
        scope = _scope_of(input, config)
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
        scope = _scope_of(input, config)
        if scope.rejoins(input):
            await _await(scope.lanes.submit("journal", scope.rejoin, input))
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


def _scope_of(state: RLMState, config: RunnableConfig | None) -> RunScope:
    """The scope of this call of the graph."""
    scope: RunScope = (config or {})["configurable"][SCOPE_KEY]
    scope.state, scope.unfinished = state, None
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


class _Waiter(Performer):
    """Performs effects by waiting; calls run in threads of ours, with the context variables.

    A call that is cut, or that is running when the run is stopped, stays behind in its thread until
    its provider answers. The run does not wait for it, and nothing follows from it.
    """

    def __init__(self, scope: RunScope) -> None:
        super().__init__(scope)
        self.trace = CellTrace()
        if scope.parent is None:
            scope.write = get_stream_writer()
        self._arrived = threading.Event()
        self._forget = scope.lanes.on_stop(self.arrived)

    def arrived(self) -> None:
        self._arrived.set()
        self.scope.keeper.wake()

    def perform(self, effect: Effect) -> Any:  # noqa: C901, PLR0911, PLR0912 - a table of effects
        self.check()
        keeper = self.scope.keeper
        match effect:
            case Emit(event):
                pump(self.trace.hear(event))
                return self.emit(event)
            case CallRootModel():
                return self._call_root(effect)
            case LookUp(requests):
                return [self._look_up(request) for request in requests]
            case StartCalls():
                return self._start(effect)
            case CutCalls(error):
                return self.cut(error) and None
            case Exchange(data, timeout_seconds):
                exchanged = keeper.exchange(data, timeout_seconds)
                self.check()
                return Worked(exchanged, self.drain(), self.scope.run_seconds())
            case AwaitCalls(timeout_seconds):
                return self._await_calls(timeout_seconds)
            case ReadContext(context):
                return self.scope.read_context(context)
            case OpenSession(datum):
                return keeper.opening(setup_maker(self.scope, datum)).result()
            case Renew(datum):
                return keeper.renewing(setup_maker(self.scope, datum)).result()
            case Restart(datum):
                return keeper.restarting(setup_maker(self.scope, datum)).result()
            case AskPerson(question):
                return interrupt(dict(question))
            case Interrupt():
                return keeper.interrupt()

    def close(self) -> None:
        """Nobody waits any more for what is open."""
        self._forget()
        self.abandon()
        pump(self.trace.close())

    def _look_up(self, request: CallRequest) -> str | None:
        cache, key = self.scope.settings.cache, cache_key(request, self.scope)
        if cache is None or key is None:
            return None
        try:
            return cached_text(cache.lookup(*key))
        except Exception as error:  # noqa: BLE001 - without its cache the run goes on
            self.cache_failed(error)
            return None

    def _keep(self, request: CallRequest, outcome: CallOutcome) -> None:
        cache, key = self.scope.settings.cache, cache_key(request, self.scope)
        if cache is None or key is None or outcome.error is not None:
            return
        try:
            cache.update(*key, as_cached(outcome.text))
        except Exception as error:  # noqa: BLE001 - without its cache the run goes on
            self.cache_failed(error)

    def _await_calls(self, timeout_seconds: float | None) -> list[CallOutcome]:
        while not (outcomes := self.drain()):
            if not self._arrived.wait(timeout_seconds):
                break
            self._arrived.clear()
            self.check()
        return outcomes

    def _reserve(self, most: Spend, *, closing: bool = False) -> StopReason | None:
        room = threading.Event()
        ask = partial(self.scope.budget.reserve, most, closing=closing, when_room=room.set)
        while (verdict := ask()) == "wait":
            room.wait(self.scope.budget.seconds_left(closing=closing))
            room.clear()
        return None if verdict == "admitted" else verdict

    def _call_root(self, effect: CallRootModel) -> RootReply:
        if (recorded := recorded_reply(self.scope, effect)) is not None:
            return recorded
        call = RootCall(self.scope, effect)
        if limit := self._reserve(call.most, closing=effect.closing):
            return RootReply(None, None, 0.0, refused=limit)
        replied: Future[RootReply] = Future()
        ask = partial(copy_context().run, self._ask_root, call, effect, replied)
        self.scope.lanes.start("root", ask)
        replied.add_done_callback(lambda _: self._arrived.set())
        while not replied.done():
            if not self._arrived.wait(self.scope.budget.seconds_left(closing=effect.closing)):
                replied.cancel()  # its thread stops at the next word that it hears
                return call.cut()
            self._arrived.clear()
            self.check()
        return keep_reply(self.scope, effect, replied.result())

    def _ask_root(self, call: RootCall, effect: CallRootModel, replied: Future[RootReply]) -> None:
        model, started = call.model, time.monotonic()
        reply: RootReply | None = None
        try:
            if self.streams(effect):
                message: AIMessageChunk | AIMessage = AIMessage("")
                kwargs = stream_kwargs(model, call.kwargs)
                for chunk in model.stream(effect.messages, call.config, **kwargs):
                    if replied.cancelled():
                        return
                    self.token(effect, chunk)
                    message = message + chunk if isinstance(message, AIMessageChunk) else chunk
            else:
                message = model.invoke(effect.messages, call.config, **call.kwargs)
            reply = self.reply(started, message)
        except BaseException as error:  # noqa: BLE001 - what is no failure of a model is raised
            if isinstance(error, Exception) and not isinstance(error, _NO_FAILURES):
                reply = self.reply(started, error)
            else:
                _tell(replied, error)
        finally:
            call.settle(reply)
        if reply is not None:
            _tell(replied, call.priced(reply))

    def _start(self, effect: StartCalls) -> None:
        context = self.trace.context()
        self.open(effect.requests)
        for request in effect.requests:
            work = partial(self._serve, request, effect.iteration, context)
            self.scope.lanes.start(lane_of(request, self.scope), work)

    def _serve(self, request: CallRequest, iteration: int, context: Context) -> None:
        if not self.begin(request):
            return
        try:
            # A copy for each call, made when its turn has come: a context is entered once at a time
            outcome: CallOutcome | BaseException = context.copy().run(
                self._call, request, iteration
            )
        except BaseException as failure:  # noqa: BLE001 - it is raised into the node
            outcome = failure
        self.finish(request, outcome)

    def _call(self, request: CallRequest, iteration: int) -> CallOutcome:
        if (recorded := recorded_call(self.scope, request)) is not None:
            return recorded
        started = time.monotonic()
        call = Call(self.scope, request, iteration, cell=self.trace.cell)
        if limit := self._reserve(call.most):
            return call.refused(limit)
        outcome: CallOutcome | None = None
        try:
            result = self._made(call)
            outcome = call.done(result, started)
        except Exception as error:  # noqa: BLE001 - a failed call is a value for the cell
            outcome = call.failed(error, started)
        finally:
            call.settle(outcome)
        self._keep(request, outcome)
        return keep_call(self.scope, outcome)

    def _made(self, call: Call) -> Any:
        if is_only_async(call.target):
            # In a loop of its own: there is none in this thread, and the tool has no other way.
            made = call.target.ainvoke(call.input, call.config, **call.kwargs)
            return asyncio.run(_awaited(made))
        return call.target.invoke(call.input, call.config, **call.kwargs)


class _Awaiter(Performer):
    """Performs effects by awaiting; calls are tasks, the worker is read in a thread of its own.

    A task is made when there is a place for its call, not when a cell asks: a batch of any size
    has at most `max_concurrency` tasks.
    """

    def __init__(self, scope: RunScope) -> None:
        super().__init__(scope)
        self.trace = CellTrace()
        if scope.parent is None:
            scope.write = get_stream_writer()
        self._arrived = asyncio.Event()
        self._tasks: dict[int, asyncio.Task[CallOutcome]] = {}
        self._queues: defaultdict[str, deque[tuple[CallRequest, int, Context]]] = defaultdict(deque)
        self._running: Counter[str] = Counter()

    def arrived(self) -> None:
        self._arrived.set()
        self.scope.keeper.wake()

    async def perform(self, effect: Effect) -> Any:  # noqa: C901, PLR0911, PLR0912 - a table of effects
        self.check()
        keeper = self.scope.keeper
        match effect:
            case Emit(event):
                await apump(self.trace.hear(event))
                return self.emit(event)
            case CallRootModel():
                return await self._call_root(effect)
            case LookUp(requests):
                return await self._look_up_all(requests)
            case StartCalls():
                return self._start(effect)
            case CutCalls(error):
                return self._cut(error)
            case Exchange(data, timeout_seconds):
                exchanged = await _await(keeper.submit(keeper.exchange, data, timeout_seconds))
                return Worked(exchanged, self.drain(), self.scope.run_seconds())
            case AwaitCalls(timeout_seconds):
                return await self._await_calls(timeout_seconds)
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
        self._queues.clear()
        running = list(self._tasks.values())
        for task in running:
            task.cancel()
        if running:
            await asyncio.gather(*running, return_exceptions=True)
        await apump(self.trace.close())

    async def _look_up_all(self, requests: Sequence[CallRequest]) -> list[str | None]:
        known: list[str | None] = []
        step = self.scope.lanes.max_concurrency
        for start in range(0, len(requests), step):
            some = requests[start : start + step]
            known += await asyncio.gather(*map(self._look_up, some))
        return known

    async def _look_up(self, request: CallRequest) -> str | None:
        cache, key = self.scope.settings.cache, cache_key(request, self.scope)
        if cache is None or key is None:
            return None
        try:
            return cached_text(await cache.alookup(*key))
        except Exception as error:  # noqa: BLE001 - without its cache the run goes on
            self.cache_failed(error)
            return None

    async def _keep(self, request: CallRequest, outcome: CallOutcome) -> None:
        cache, key = self.scope.settings.cache, cache_key(request, self.scope)
        if cache is None or key is None or outcome.error is not None:
            return
        try:
            await cache.aupdate(*key, as_cached(outcome.text))
        except Exception as error:  # noqa: BLE001 - without its cache the run goes on
            self.cache_failed(error)

    async def _await_calls(self, timeout_seconds: float | None) -> list[CallOutcome]:
        while not (outcomes := self.drain()):
            try:
                async with asyncio.timeout(timeout_seconds):
                    await self._arrived.wait()
            except TimeoutError:
                break
            self._arrived.clear()
        return outcomes

    async def _reserve(self, most: Spend, *, closing: bool = False) -> StopReason | None:
        room = asyncio.Event()
        wake = partial(asyncio.get_running_loop().call_soon_threadsafe, room.set)
        ask = partial(self.scope.budget.reserve, most, closing=closing, when_room=wake)
        while (verdict := ask()) == "wait":
            with suppress(TimeoutError):
                async with asyncio.timeout(self.scope.budget.seconds_left(closing=closing)):
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
            async with asyncio.timeout(self.scope.budget.seconds_left(closing=effect.closing)):
                reply = await self._ask_root(call, effect)
        except TimeoutError:  # the model's own is a reply
            return call.cut()
        finally:
            call.settle(reply)
        return await self._kept(keep_reply, self.scope, effect, call.priced(reply))

    async def _kept(self, keep: Callable[..., T], *arguments: Any) -> T:
        """A journal writes to disk or network; that must not hold up the event loop."""
        if self.scope.journal is None:
            return keep(*arguments)
        return await _await(self.scope.lanes.submit("journal", keep, *arguments))

    async def _ask_root(self, call: RootCall, effect: CallRootModel) -> RootReply:
        model, started = call.model, time.monotonic()
        try:
            if self.streams(effect):
                message: AIMessageChunk | AIMessage = AIMessage("")
                kwargs = stream_kwargs(model, call.kwargs)
                async for chunk in model.astream(effect.messages, call.config, **kwargs):
                    self.token(effect, chunk)
                    message = message + chunk if isinstance(message, AIMessageChunk) else chunk
            else:
                message = await model.ainvoke(effect.messages, call.config, **call.kwargs)
            return self.reply(started, message)
        except _NO_FAILURES:
            raise
        except Exception as error:  # noqa: BLE001 - any failure of a model is a value here
            return self.reply(started, error)

    def _start(self, effect: StartCalls) -> None:
        context = self.trace.context()
        self.open(effect.requests)
        for request in effect.requests:
            queue = self._queues[lane_of(request, self.scope)]
            queue.append((request, effect.iteration, context))
        for lane in list(self._queues):
            self._fill(lane)

    def _fill(self, lane: str) -> None:
        queue = self._queues[lane]
        while queue and self._running[lane] < self.scope.lanes.max_concurrency:
            request, iteration, context = queue.popleft()
            call = self._call(lane, request, iteration)
            task = asyncio.create_task(call, context=context.copy())
            self._running[lane] += 1
            self._tasks[id(request)] = task
            task.add_done_callback(partial(self._done, lane, request))

    def _done(self, lane: str, request: CallRequest, task: asyncio.Task[CallOutcome]) -> None:
        del self._tasks[id(request)]
        self._running[lane] -= 1
        if task.cancelled():
            self.finish(request, asyncio.CancelledError())
        else:
            self.finish(request, task.exception() or task.result())
        self._fill(lane)

    def _cut(self, error: str) -> None:
        for request in self.cut(error):
            self._tasks[id(request)].cancel()
        for queue in self._queues.values():
            queue.clear()

    async def _call(self, lane: str, request: CallRequest, iteration: int) -> CallOutcome:
        async with self.scope.lanes.semaphore(lane):
            self.begin(request)
            if (recorded := recorded_call(self.scope, request)) is not None:
                return recorded
            started = time.monotonic()
            call = Call(self.scope, request, iteration, cell=self.trace.cell)
            if limit := await self._reserve(call.most):
                return call.refused(limit)
            outcome: CallOutcome | None = None
            try:
                result = await self._made(call)
                outcome = call.done(result, started)
            except Exception as error:  # noqa: BLE001 - a failed call is a value for the cell
                outcome = call.failed(error, started)
            finally:
                call.settle(outcome)
            await self._keep(request, outcome)
            return await self._kept(keep_call, self.scope, outcome)

    async def _made(self, call: Call) -> Any:
        if is_only_sync(call.target):
            # Not in the default threads of the loop, which waits for them when it ends.
            work = partial(call.target.invoke, call.input, call.config, **call.kwargs)
            lane = self.scope.lanes.submit("tool", copy_context().run, work)
            return await _await(lane)
        return await call.target.ainvoke(call.input, call.config, **call.kwargs)


_NO_FAILURES = (GraphBubbleUp, RunStoppedError)
"""Exceptions that say nothing about the model: an interrupt of LangGraph, the end of the run."""


async def _awaited(made: Awaitable[T]) -> T:
    return await made


def _tell(future: Future[T], result: T | BaseException) -> None:
    """Set a result that perhaps nobody waits for any more."""
    if future.set_running_or_notify_cancel():
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)


def _await(future: Future[T]) -> asyncio.Future[T]:
    return asyncio.wrap_future(future)
