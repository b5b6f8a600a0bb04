"""The two drivers: every effect, in both colours, with the same result.

The keeper of the session is a double; models and threads are real. Nothing sleeps: where a test
must wait it waits for an event, with a limit that is only reached by a bug.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextvars import ContextVar
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool

from langchain_replm import _drivers
from langchain_replm._drivers import Node, adrive, drive
from langchain_replm._effects import (
    AwaitCalls,
    CallRootModel,
    Emit,
    Exchange,
    Interrupt,
    OpenSession,
    Restart,
    RootReply,
    StartCalls,
    Worked,
)
from langchain_replm._subcalls import CallOutcome, CallRequest
from langchain_replm.errors import SandboxError
from langchain_replm.events import RLMEvent
from langchain_replm.sandbox.base import Exchanged
from langchain_replm.scope import SCOPE_KEY, RunOptions, RunScope
from langchain_replm.testing import ScriptedChatModel
from langchain_replm.types import Cell, HostCall, Iteration, SubCall
from tests.unit_tests._nodes.by_hand import handle_of, scope_for, state_for, usage

LONG_SECONDS = 20.0

Flow = Generator[Any, Any, dict[str, Any]]


class Keeper:
    """Says what it was asked, in order. An exchange without an answer waits for `wake`."""

    def __init__(self, *answers: Exchanged | Exception) -> None:
        self.asked: list[Any] = []
        self._answers = list(answers)
        self._woken = threading.Event()

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """As the session's own thread would: an async driver must not do it in its loop."""
        future: Future[Any] = Future()

        def work() -> None:
            try:
                future.set_result(function(*args))
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=work).start()
        return future

    def exchange(self, data: Any, timeout_seconds: float | None) -> Exchanged:
        self.asked.append(("exchange", list(data), timeout_seconds))
        if self._answers:
            answer = self._answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        assert self._woken.wait(LONG_SECONDS), "nobody woke the exchange"
        self._woken.clear()
        return Exchanged(data=b"", elapsed_seconds=0.0)

    def wake(self) -> None:
        self._woken.set()

    def opening(self, make_setup: Any) -> Future[Any]:
        self.asked.append("opening")
        return self.submit(lambda: "a session")

    def restarting(self, make_setup: Any) -> Future[Any]:
        self.asked.append("restarting")
        return self.submit(lambda: "a fresh session")

    def interrupt(self) -> bool:
        self.asked.append("interrupt")
        return True


COLOURS = ["sync", "async"]
both = pytest.mark.parametrize("colour", COLOURS)


async def pump(colour: str, flow: Flow, scope: RunScope) -> dict[str, Any]:
    try:
        return drive(flow, scope) if colour == "sync" else await adrive(flow, scope)
    finally:
        scope.lanes.close()


@pytest.fixture(autouse=True)
def stream(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What LangGraph's stream writer would have got; there is no graph around these flows."""
    written: list[Any] = []
    monkeypatch.setattr(_drivers, "get_stream_writer", lambda: written.append)
    return written


def request(prompt: str = "p", *, index: int = 0, kind: Any = "llm_query", **fields: Any) -> Any:
    return CallRequest(call_id=1, index=index, kind=kind, prompt=prompt, **fields)


def upper(messages: list[Any]) -> str:
    return messages[-1].content.upper()


def collect(count: int) -> Generator[Any, Any, list[CallOutcome]]:
    """Await calls until so many have ended; a wake may bring none."""
    outcomes: list[CallOutcome] = []
    while len(outcomes) < count:
        outcomes += yield AwaitCalls()
    return outcomes


# -- effects and their replies ---------------------------------------------------------------------


@both
async def test_a_flow_without_effects_gives_its_result(colour: str) -> None:
    def flow() -> Flow:
        return {"a": 1}
        yield

    assert await pump(colour, flow(), scope_for()) == {"a": 1}


@both
async def test_the_session_effects_reach_the_keeper(colour: str) -> None:
    keeper = Keeper(Exchanged(data=b"abc", elapsed_seconds=0.5, eof=True))
    handle = handle_of()

    def flow() -> Flow:
        got = [(yield OpenSession(handle))]
        got.append((yield Exchange([b"x", b"y"], 1.5)))
        got.append((yield Interrupt()))
        got.append((yield Restart(handle)))
        return {"got": got}

    result = await pump(colour, flow(), scope_for(keeper=keeper))
    worked = Worked(Exchanged(data=b"abc", elapsed_seconds=0.5, eof=True), [])
    assert result["got"] == ["a session", worked, True, "a fresh session"]
    assert keeper.asked == [
        "opening", ("exchange", [b"x", b"y"], 1.5), "interrupt", "restarting",
    ]  # fmt: skip


@both
async def test_calls_are_started_and_their_outcomes_come_later(colour: str) -> None:
    scope = scope_for(keeper=Keeper(), sub=ScriptedChatModel(respond=upper, model_name="m"))

    def flow() -> Flow:
        nothing = yield StartCalls([request("a"), request("b", index=1)], iteration=1)
        assert nothing is None
        return {"outcomes": (yield from collect(2))}

    outcomes = (await pump(colour, flow(), scope))["outcomes"]
    assert {(outcome.request.index, outcome.text) for outcome in outcomes} == {(0, "A"), (1, "B")}
    assert all(outcome.usage == {"m": usage(1, 1)} for outcome in outcomes)


@both
async def test_a_call_that_ends_wakes_the_exchange_and_comes_with_it(colour: str) -> None:
    scope = scope_for(keeper=Keeper(), sub=ScriptedChatModel(respond=upper))

    def flow() -> Flow:
        yield StartCalls([request("a")], iteration=1)
        got: Worked = yield Exchange([], None)
        while not got.outcomes:
            got = yield Exchange([], None)
        return {"texts": [outcome.text for outcome in got.outcomes]}

    assert await pump(colour, flow(), scope) == {"texts": ["A"]}


@both
async def test_an_outcome_is_given_once(colour: str) -> None:
    keeper = Keeper()
    scope = scope_for(keeper=keeper, sub=ScriptedChatModel(respond=upper))

    def flow() -> Flow:
        yield StartCalls([request("a")], iteration=1)
        first = yield from collect(1)
        keeper.wake()
        second = yield Exchange([], None)
        return {"first": len(first), "second": len(second.outcomes)}

    assert await pump(colour, flow(), scope) == {"first": 1, "second": 0}


@both
async def test_failed_calls_are_outcomes_beside_the_others(colour: str) -> None:
    def flaky(messages: list[Any]) -> Any:
        return RuntimeError("busy") if messages[-1].content == "bad" else "ok"

    scope = scope_for(keeper=Keeper(), sub=ScriptedChatModel(respond=flaky))

    def flow() -> Flow:
        yield StartCalls([request("a"), request("bad", index=1)], iteration=1)
        return {"outcomes": (yield from collect(2))}

    outcomes = (await pump(colour, flow(), scope))["outcomes"]
    errors = {outcome.request.index: outcome.error for outcome in outcomes}
    assert errors == {0: None, 1: "RuntimeError: busy"}


@both
async def test_a_tool_that_is_called_wrongly_is_a_failed_call(colour: str) -> None:
    @tool
    def add(first: int) -> int:
        """Add."""
        return first + 1

    scope = scope_for(keeper=Keeper(), tools=[add])

    def flow() -> Flow:
        asked = [request("add", kind="tool", arguments={"first": "no number"})]
        yield StartCalls(asked, iteration=1)
        return {"outcomes": (yield from collect(1))}

    [outcome] = (await pump(colour, flow(), scope))["outcomes"]
    assert "wrong arguments for add(first: int): first:" in (outcome.error or "")
    assert outcome.sub_calls == 0


current = ContextVar("current", default="nobody's")


@both
async def test_calls_see_the_context_variables_of_the_run(colour: str) -> None:
    # Callbacks, tracing and tenants of a web application live in them.
    scope = scope_for(keeper=Keeper(), sub=ScriptedChatModel(respond=lambda _: current.get()))

    def flow() -> Flow:
        yield StartCalls([request()], iteration=1)
        return {"outcomes": (yield from collect(1))}

    token = current.set("mine")
    try:
        [outcome] = (await pump(colour, flow(), scope))["outcomes"]
    finally:
        current.reset(token)
    assert outcome.text == "mine"


@both
async def test_at_most_max_concurrency_calls_run_at_once(colour: str) -> None:
    inside, peak, lock = 0, 0, threading.Lock()
    full, gate = threading.Event(), threading.Event()

    def enter() -> None:
        nonlocal inside, peak
        with lock:
            inside += 1
            peak = max(peak, inside)
            if inside == 2:
                full.set()

    def leave() -> AIMessage:
        nonlocal inside
        with lock:
            inside -= 1
        return AIMessage("ok")

    def hold(_: Any) -> AIMessage:
        enter()
        assert gate.wait(LONG_SECONDS)
        return leave()

    async def ahold(_: Any) -> AIMessage:
        enter()
        for _turn in range(50):  # every task that may start has started after that many turns
            await asyncio.sleep(0)
        return leave()

    scope = scope_for(keeper=Keeper(), sub=RunnableLambda(hold, ahold), max_concurrency=2)

    def flow() -> Flow:
        yield StartCalls([request(index=index) for index in range(6)], iteration=1)
        if colour == "sync":
            assert full.wait(LONG_SECONDS)
            gate.set()
        return {"outcomes": (yield from collect(6))}

    result = await pump(colour, flow(), scope)
    assert [outcome.error for outcome in result["outcomes"]] == [None] * 6
    assert peak == 2


# -- the root model --------------------------------------------------------------------------------

QUESTION = CallRootModel([HumanMessage("question")], iteration=4)


def ask() -> Flow:
    reply = yield QUESTION
    return {"reply": reply}


@both
async def test_the_root_model_is_asked_with_its_parameters(colour: str) -> None:
    root = ScriptedChatModel(replies=["hello"], model_name="root")
    scope = scope_for(root=root, temperature=0.5)
    reply: RootReply = (await pump(colour, ask(), scope))["reply"]
    assert reply.error is None
    assert reply.message is not None
    assert (reply.message.text, reply.message.usage_metadata) == ("hello", usage(2, 2))
    assert reply.elapsed_seconds >= 0
    assert root.call_kwargs == [{"temperature": 0.5}]
    assert root.calls[0] == QUESTION.messages


@both
async def test_a_child_is_written_by_the_sub_model(colour: str) -> None:
    parent = scope_for()
    scope = scope_for(sub=ScriptedChatModel(replies=["sub"]), depth=1, parent=parent)
    assert (await pump(colour, ask(), scope))["reply"].message.text == "sub"


@both
async def test_a_root_model_that_fails_is_a_reply_with_an_error(colour: str) -> None:
    error = RuntimeError("overloaded")
    scope = scope_for(root=ScriptedChatModel(replies=[error]))
    reply = (await pump(colour, ask(), scope))["reply"]
    assert (reply.message, reply.error) == (None, error)


@both
async def test_a_root_model_that_gives_no_message_is_an_error_too(colour: str) -> None:
    reply = (await pump(colour, ask(), scope_for(root=RunnableLambda(lambda _: "text"))))["reply"]
    assert reply.message is None
    assert "returned a str" in str(reply.error)


@both
@pytest.mark.parametrize("text", ["two\nlines", ""])
async def test_a_streamed_reply_is_the_same_message(
    colour: str, text: str, stream: list[Any]
) -> None:
    replies = []
    for stream_tokens in (False, True):
        root = ScriptedChatModel(replies=[text], model_name="root")
        scope = scope_for(root=root, options=RunOptions(stream_tokens=stream_tokens))
        replies.append((await pump(colour, ask(), scope))["reply"].message)
    plain, streamed = replies
    assert type(streamed) is AIMessage, "no chunk reaches a node"
    assert (streamed.text, streamed.usage_metadata) == (plain.text, plain.usage_metadata)
    assert streamed.response_metadata == plain.response_metadata
    tokens = [event["detail"]["text"] for event in stream if event["type"] == "token"]
    assert tokens == text.splitlines(keepends=True)


@both
async def test_the_tokens_of_a_child_are_not_streamed(colour: str, stream: list[Any]) -> None:
    parent = scope_for(options=RunOptions(stream_tokens=True))
    sub = ScriptedChatModel(replies=["secret thoughts"])
    scope = scope_for(sub=sub, depth=1, parent=parent, options=RunOptions(parent=parent))
    await pump(colour, ask(), scope)
    assert stream == []


# -- exceptions ------------------------------------------------------------------------------------


@both
async def test_a_failing_effect_is_thrown_into_the_flow(colour: str) -> None:
    seen: list[Any] = []

    def flow() -> Flow:
        try:
            yield Exchange([], None)
        except SandboxError as error:
            seen.append(str(error))
            raise
        finally:
            seen.append("finally")
        return {}

    running = flow()
    with pytest.raises(SandboxError, match="broken"):
        await pump(colour, running, scope_for(keeper=Keeper(SandboxError("broken"))))
    assert seen == ["broken", "finally"]
    assert inspect.getgeneratorstate(running) == inspect.GEN_CLOSED


@both
async def test_a_flow_may_recover_from_a_failing_effect(colour: str) -> None:
    keeper = Keeper(SandboxError("broken"), Exchanged(data=b"on", elapsed_seconds=0.0))

    def flow() -> Flow:
        try:
            yield Exchange([], None)
        except SandboxError:
            got = yield Exchange([], None)
        return {"data": got.exchanged.data}

    assert await pump(colour, flow(), scope_for(keeper=keeper)) == {"data": b"on"}


@both
async def test_the_error_of_a_flow_is_that_of_the_run(colour: str) -> None:
    def flow() -> Flow:
        yield Interrupt()
        msg = "mine"
        raise KeyError(msg)

    running = flow()
    with pytest.raises(KeyError, match="mine"):
        await pump(colour, running, scope_for(keeper=Keeper()))
    assert inspect.getgeneratorstate(running) == inspect.GEN_CLOSED


def test_an_interrupt_of_the_keyboard_passes_through() -> None:
    # Waiting only: an event loop does not survive one, an async flow meets a cancellation.
    seen: list[str] = []

    def press(_: Any) -> str:
        raise KeyboardInterrupt

    def flow() -> Flow:
        try:
            yield QUESTION
        except KeyboardInterrupt:
            seen.append("seen")
            raise
        return {}

    with pytest.raises(KeyboardInterrupt):
        drive(flow(), scope_for(root=RunnableLambda(press)))
    assert seen == ["seen"]


async def test_cancelling_a_run_cancels_its_calls_and_closes_its_flow() -> None:
    entered, ended = asyncio.Event(), []

    async def slow(_: Any) -> AIMessage:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("call")
        return AIMessage("never")

    def flow() -> Flow:
        try:
            yield StartCalls([request()], iteration=1)
            yield AwaitCalls()
        finally:
            ended.append("flow")
        return {}

    scope = scope_for(keeper=Keeper(), sub=RunnableLambda(lambda _: AIMessage(""), slow))
    running = asyncio.create_task(adrive(flow(), scope))
    await asyncio.wait_for(entered.wait(), LONG_SECONDS)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert sorted(ended) == ["call", "flow"], "and both had ended when the run had"


async def test_an_async_run_never_blocks_its_loop() -> None:
    # The exchange waits in a thread; meanwhile the loop turns, and it is the loop that ends it.
    loop, entered = asyncio.get_running_loop(), asyncio.Event()

    class Telling(Keeper):
        def exchange(self, data: Any, timeout_seconds: float | None) -> Exchanged:
            loop.call_soon_threadsafe(entered.set)
            return super().exchange(data, timeout_seconds)

    def flow() -> Flow:
        got = yield Exchange([], None)
        return {"data": got.exchanged.data}

    keeper = Telling()
    running = asyncio.create_task(adrive(flow(), scope_for(keeper=keeper)))
    await asyncio.wait_for(entered.wait(), LONG_SECONDS)
    keeper.wake()
    assert await asyncio.wait_for(running, LONG_SECONDS) == {"data": b""}


# -- listeners -------------------------------------------------------------------------------------

EVENT = RLMEvent("code_executed", 1, "preview of the context", {"cells": 1})


def tell(event: RLMEvent = EVENT) -> Flow:
    nothing = yield Emit(event)
    return {"nothing": nothing}


@both
async def test_an_event_goes_to_the_stream_and_to_the_callback(
    colour: str, stream: list[Any]
) -> None:
    heard: list[RLMEvent] = []
    scope = scope_for(options=RunOptions(on_event=heard.append))
    assert await pump(colour, tell(), scope) == {"nothing": None}
    assert heard == [EVENT]
    assert stream == [EVENT.to_dict()]


@both
async def test_the_listeners_of_a_child_are_those_of_the_run(
    colour: str, stream: list[Any]
) -> None:
    heard: list[RLMEvent] = []
    written: list[Any] = []
    parent = scope_for(options=RunOptions(on_event=heard.append))
    parent.write = written.append
    child = scope_for(depth=1, parent=parent, options=RunOptions(parent=parent))
    await pump(colour, tell(), child)
    assert (heard, written) == ([EVENT], [EVENT.to_dict()])
    assert stream == [], "the writer of the child's own graph would go nowhere"


@both
async def test_a_listener_that_fails_is_logged_and_the_run_goes_on(
    colour: str, stream: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    def bad(_: RLMEvent) -> None:
        msg = "bad listener"
        raise ValueError(msg)

    with caplog.at_level(logging.WARNING, "langchain_replm"):
        await pump(colour, tell(), scope_for(options=RunOptions(on_event=bad)))
    assert "on_event failed for code_executed: ValueError in bad, line" in caplog.text
    assert "bad listener" not in caplog.text, "the message may quote what the listener has heard"
    assert stream == [EVENT.to_dict()]


@pytest.mark.parametrize("verbose", [False, True])
def test_the_log_at_info_quotes_nothing_of_the_context(
    verbose: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "langchain_replm"):
        drive(tell(), scope_for(verbose=verbose))
    [record] = caplog.records
    assert record.levelno == (logging.INFO if verbose else logging.DEBUG)
    assert ("preview of the context" in record.getMessage()) is not verbose
    assert "code_executed depth=0 iteration=1" in record.getMessage()


def test_tokens_are_for_streams_only(stream: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    heard: list[RLMEvent] = []
    token = RLMEvent("token", 1, "t", {"text": "t"})
    with caplog.at_level(logging.DEBUG, "langchain_replm"):
        drive(tell(token), scope_for(options=RunOptions(on_event=heard.append)))
        assert stream == []
        options = RunOptions(on_event=heard.append, stream_tokens=True)
        drive(tell(token), scope_for(options=options))
    assert stream == [token.to_dict()]
    assert (heard, caplog.records) == ([], [])


# -- both colours, one result ----------------------------------------------------------------------


def long_flow() -> Flow:
    """A bit of everything, as a node would do it."""
    log: list[Any] = [(yield OpenSession(handle_of()))]
    yield Emit(EVENT)
    reply: RootReply = yield QUESTION
    log.append(reply.message and reply.message.text)
    yield StartCalls([request(f"p{index}", index=index) for index in range(10)], iteration=1)
    got: Worked = yield Exchange([b"data"], 2.0)
    outcomes = list(got.outcomes)
    while len(outcomes) < 10:
        outcomes += yield AwaitCalls()
    log.append(sorted((item.request.index, item.text, item.error) for item in outcomes))
    try:
        yield Exchange([], None)
    except SandboxError as error:
        log.append(repr(error))
    log.append((yield Restart(handle_of())))
    log.append((yield Interrupt()))
    return {"log": log}


async def test_the_same_flow_gives_the_same_result_in_both_colours(stream: list[Any]) -> None:
    results, events, asked = [], [], []
    for colour in COLOURS:
        keeper = Keeper(Exchanged(data=b"", elapsed_seconds=0.0), SandboxError("gone"))
        scope = scope_for(
            root=ScriptedChatModel(replies=["hello"]),
            sub=ScriptedChatModel(respond=upper),
            keeper=keeper,
            max_concurrency=3,
        )
        results.append(await pump(colour, long_flow(), scope))
        asked.append(keeper.asked)
        events.append(list(stream))
        stream.clear()
    assert results[0] == results[1]
    assert results[0]["log"][2][9] == (9, "P9", None)
    assert events[0] == events[1] == [EVENT.to_dict()]
    assert asked[0] == asked[1]


# -- nodes -----------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("plain", [True, False])
async def test_a_node_runs_a_function_or_a_flow_and_says_where_it_leads(
    colour: str, plain: bool
) -> None:
    def function(state: Any, scope: Any) -> Any:
        return {"seen": state["n"]}

    def flow(state: Any, scope: Any) -> Flow:
        yield Emit(EVENT)
        return {"seen": state["n"]}

    node = Node(function if plain else flow, lambda update: f"to {update['seen']}", name="node")
    config: Any = {"configurable": {SCOPE_KEY: scope_for()}}
    state: Any = {"n": 7}
    if colour == "sync":
        command = node.invoke(state, config)
    else:
        command = await node.ainvoke(state, config)
    assert (command.update, command.goto) == ({"seen": 7}, "to 7")


@both
async def test_a_resumed_run_is_charged_once_with_what_it_had_spent(colour: str) -> None:
    item = SubCall(kind="llm_query", prompt="p", prompt_chars=1, status="ok", sub_calls=3)
    calls = (HostCall(function="llm_query", request_sha256="", items=(item,)),)
    past = [Iteration(number=1, reply="r", cells=(Cell(code="c", status="ok", host_calls=calls),))]
    node = Node(lambda state, scope: {}, lambda update: "next", name="node")
    scope = scope_for(max_sub_calls=5)
    state = {**state_for(past=past), "run_id": "of another call"}
    config: Any = {"configurable": {SCOPE_KEY: scope}}
    for _node in range(2):  # the first node of the resumed run, and the one after it
        if colour == "sync":
            node.invoke(state, config)
        else:
            await node.ainvoke(state, config)
    assert (scope.budget.sub_calls, scope.budget.sub_calls_left) == (3, 2)
    assert scope.budget.limit_met() is None
