"""A run that is over its time, cancelled, interrupted or no longer read: it ends, and says what it has.

The models are behind a real server that never answers sub-calls, so what was asked after the stop can
be counted where it matters.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from langchain_replm import RLM, LimitExceededError, RLMConfig, RLMEvent, RLMResponse
from tests.clients import chat_openai
from tests.openai_server import Fault, OpenAIServer, Reply, Request
from tests.scenarios import cell

pytestmark = pytest.mark.usefixtures("no_worker_left", "clients_closed")

LONG_SECONDS = 20.0
BATCH = cell("kept = 'seven'", "r = llm_query_batch([f'p{i}' for i in range(200)])")
COLOURS = ["sync", "async"]
both = pytest.mark.parametrize("colour", COLOURS)


def root_says(*replies: Any) -> Callable[[Request], Any]:
    """The root says these in order; what a sub-call asks is never answered."""

    def respond(request: Request) -> Any:
        if request.model == "sub":
            return Fault("hang")
        turn = sum(message["role"] == "assistant" for message in request.messages)
        return replies[min(turn, len(replies) - 1)]

    return respond


def make(server: OpenAIServer, *, tools: Any = (), **config: Any) -> RLM:
    settings = RLMConfig(**{"max_concurrency": 4, **config})
    root, sub = chat_openai("root", server), chat_openai("sub", server)
    return RLM(root, sub_model=sub, tools=tools, config=settings)


async def run(rlm: RLM, colour: str) -> RLMResponse:
    if colour == "sync":
        return rlm.generate("q", "text")
    return await rlm.agenerate("q", "text")


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.01)


async def asks_nothing_more(server: OpenAIServer) -> None:
    asked = server.request_count
    await asyncio.sleep(0.3)
    assert server.request_count == asked


# -- the deadline ----------------------------------------------------------------------------------


async def over_time(
    respond: Callable[[Request], Any],
    colour: str,
    reached: Callable[[OpenAIServer, RLMResponse], bool],
    **config: Any,
) -> tuple[RLMResponse, OpenAIServer]:
    """Run until the deadline; give what came of it, and the server that heard nothing afterwards.

    A busy machine may not come as far as the test wants before the time is up; it is given more.
    """
    for seconds in (0.8, 3.0, 12.0, 40.0):
        with OpenAIServer(respond) as server:
            response = await run(make(server, max_seconds=seconds, **config), colour)
            await asks_nothing_more(server)
        if reached(server, response):
            return response, server
    raise AssertionError("the run never came so far")


def has_asked(count: int) -> Callable[[OpenAIServer, RLMResponse], bool]:
    return lambda server, _: server.request_count >= count


def has_run_a_cell(_: OpenAIServer, response: RLMResponse) -> bool:
    return "kept" in str(response.trajectory and response.trajectory[0].cells[0].changed)


@both
async def test_at_the_deadline_calls_are_cut_and_the_run_closes_with_what_is_known(
    colour: str,
) -> None:
    respond = root_says(BATCH, cell("FINAL(kept)"))
    response, server = await over_time(respond, colour, has_asked(2 + 4))
    assert server.request_count == 2 + 4, "no call after the first four"
    assert (response.answer, response.stop_reason) == ("seven", "deadline")
    items = response.trajectory[0].cells[0].host_calls[0].items
    assert [item.status for item in items] == ["failed"] * 4 + ["refused"] * 196
    assert response.sub_calls == 4
    assert "the time of the run is over" in (items[0].error or "")


@both
async def test_a_root_model_that_never_answers_ends_at_the_deadline(colour: str) -> None:
    response, server = await over_time(lambda _: Fault("hang"), colour, has_asked(1))
    assert server.request_count == 1, "there is nothing to close with"
    assert (response.answer, response.stop_reason, response.iterations) == ("", "deadline", 0)


@both
@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "while True:\n    try: llm_query('p')\n    except SubCallError: pass",
        "import threading\nthreading.Thread(target=llm_query, args=('p',)).start()\nwhile True: pass",
    ],
)
async def test_a_cell_that_never_ends_ends_at_the_deadline(colour: str, code: str) -> None:
    respond = root_says(cell("kept = 7", code), cell("FINAL(kept)"))
    response, _ = await over_time(respond, colour, has_run_a_cell)
    assert (response.answer, response.stop_reason) == ("7", "deadline")
    assert "the time of the run is over" in (response.trajectory[0].cells[0].error or "")


@both
async def test_a_tool_that_never_ends_is_left_at_the_deadline(colour: str) -> None:
    gate, started = threading.Event(), threading.Event()

    def wait() -> str:
        """Wait for ever."""
        started.set()
        gate.wait(LONG_SECONDS)
        return "late"

    respond = root_says(cell("wait()"), "closed")
    try:
        response, _ = await over_time(respond, colour, lambda *_: started.is_set(), tools=[wait])
    finally:
        gate.set()
    assert (response.answer, response.stop_reason) == ("closed", "deadline")


@both
async def test_children_end_at_the_deadline_of_their_parent(colour: str) -> None:
    def respond(request: Request) -> Any:
        if not request.system_text:
            return Fault("hang")
        if "at depth 1" in request.system_text:
            return BATCH
        return cell("rlm_query('what?', 'text')") if len(request.messages) == 2 else "closed"

    response, server = await over_time(respond, colour, has_asked(2 + 1 + 4), max_recursion_depth=2)
    assert (response.answer, response.stop_reason) == ("closed", "deadline")
    child = response.trajectory[0].cells[0].host_calls[0].items[0].child
    assert len(child[0].cells[0].host_calls[0].items) == 200
    assert response.sub_calls == 1 + 4
    assert server.request_count == 2 + 1 + 4


@both
async def test_an_error_instead_of_a_closing_request(colour: str) -> None:
    for seconds in (0.8, 3.0, 12.0, 40.0):
        with OpenAIServer(root_says(BATCH)) as server:
            with pytest.raises(LimitExceededError, match="deadline") as raised:
                await run(make(server, max_seconds=seconds, exit_behavior="error"), colour)
            asked = server.request_count
        if asked >= 1 + 4:
            break
    assert asked == 1 + 4
    assert raised.value.partial.stop_reason == "deadline"


# -- stopped from outside --------------------------------------------------------------------------


def check_partial(partial: RLMResponse) -> None:
    assert partial.stop_reason == "cancelled"
    assert partial.sub_calls == 4
    [step] = partial.trajectory
    items = step.cells[0].host_calls[0].items
    assert [item.status for item in items] == ["failed"] * 4 + ["refused"] * 196
    assert partial.usage_by_model.keys() == {"root"}
    assert RLMResponse.model_validate(partial.to_dict()) == partial


async def test_a_cancelled_task_closes_its_requests_and_tells_what_it_had() -> None:
    with OpenAIServer(root_says(BATCH)) as server:
        task = asyncio.create_task(make(server).agenerate("q", "text"))
        await until(lambda: server.request_count == 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as raised:
            await task
        await until(lambda: server.in_flight == 0)
        await asks_nothing_more(server)
        assert server.request_count == 5
    check_partial(raised.value.partial)  # type: ignore[attr-defined]


async def test_a_timeout_of_the_caller_tells_what_the_run_had() -> None:
    async def in_time(server: OpenAIServer) -> None:
        async with asyncio.timeout(None) as limit:
            ending = asyncio.create_task(end(limit, server))
            await make(server).agenerate("q", "text")
        await ending

    async def end(limit: asyncio.Timeout, server: OpenAIServer) -> None:
        await until(lambda: server.request_count == 5)
        limit.reschedule(asyncio.get_running_loop().time())

    with OpenAIServer(root_says(BATCH)) as server:
        with pytest.raises(TimeoutError) as raised:
            await in_time(server)
        await until(lambda: server.in_flight == 0)
    cause = raised.value.__cause__
    assert cause.partial.stop_reason == "cancelled"  # type: ignore[union-attr]


def press_when(condition: Callable[[], bool]) -> threading.Thread:
    """Press Ctrl-C in the main thread when something has happened."""

    def watch() -> None:
        deadline = time.monotonic() + LONG_SECONDS
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("entry", ["generate", "stream_generate", "graph"])
def test_an_interrupt_of_the_keyboard_starts_nothing_more(entry: str) -> None:
    def go(rlm: RLM) -> Any:
        if entry == "generate":
            return rlm.generate("q", "text")
        if entry == "stream_generate":
            return list(rlm.stream_generate("q", "text"))
        given: Any = {"query": "q", "context": "text"}
        return list(rlm.graph.stream(given, stream_mode=["custom", "updates"]))

    with OpenAIServer(root_says(BATCH)) as server:
        watcher = press_when(lambda: server.request_count == 5)
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt) as raised:
            go(make(server))
        assert time.monotonic() - began < LONG_SECONDS, "it did not wait for the provider"
        watcher.join(LONG_SECONDS)
        asyncio.run(asks_nothing_more(server))
        assert server.request_count == 5
    check_partial(raised.value.partial)  # type: ignore[attr-defined]


def test_an_interrupt_between_two_pieces_is_one_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from langchain_replm import runnable

    chunks = runnable._LastState.chunks
    started = []

    def interrupted(self: Any, mode: str, data: Any) -> Any:
        started.extend([data] if mode == "custom" and data["type"] == "sub_call_start" else [])
        if len(started) == 4:
            asyncio.run(until(lambda: server.request_count == 5))
            raise KeyboardInterrupt
        return chunks(self, mode, data)

    monkeypatch.setattr(runnable._LastState, "chunks", interrupted)
    with OpenAIServer(root_says(BATCH)) as server:
        with pytest.raises(KeyboardInterrupt) as raised:
            list(make(server).stream_generate("q", "text"))
        asyncio.run(asks_nothing_more(server))
        assert server.request_count == 5
    check_partial(raised.value.partial)  # type: ignore[attr-defined]


def test_a_closed_stream_stops_the_run() -> None:
    given: Any = {"query": "q", "context": "text"}
    with OpenAIServer(root_says(BATCH)) as server:
        stream = make(server).graph.stream(given, stream_mode="custom")
        assert any(event["type"] == "sub_call_start" for event in stream)
        asyncio.run(until(lambda: server.request_count == 5))
        stream.close()
        asyncio.run(asks_nothing_more(server))
        assert server.request_count == 5


async def test_a_closed_async_stream_stops_the_run() -> None:
    given: Any = {"query": "q", "context": "text"}
    with OpenAIServer(root_says(BATCH)) as server:
        stream = make(server).graph.astream(given, stream_mode="custom")
        async for event in stream:
            if event["type"] == "sub_call_start":
                break
        await until(lambda: server.request_count == 5)
        await stream.aclose()
        await until(lambda: server.in_flight == 0)
        await asks_nothing_more(server)
        assert server.request_count == 5


@both
async def test_a_callback_hears_the_end_of_a_stream_that_was_closed(colour: str) -> None:
    heard: list[RLMEvent] = []
    with OpenAIServer(root_says(BATCH)) as server:
        rlm = make(server)
        if colour == "sync":
            stream: Any = rlm.stream_generate("q", "text", on_event=heard.append)
            assert any(chunk.type == "token" for chunk in stream)
            stream.close()
        else:
            stream = rlm.astream_generate("q", "text", on_event=heard.append)
            async for chunk in stream:
                if chunk.type == "token":
                    break
            await stream.aclose()
        await asks_nothing_more(server)
    assert (heard[-1].type, heard[-1].detail["stop_reason"]) == ("final_answer", "cancelled")
    assert RLMResponse.model_validate(heard[-1].detail["response"]).stop_reason == "cancelled"


async def test_what_a_child_had_done_is_in_the_partial_response() -> None:
    def respond(request: Request) -> Any:
        if not request.system_text:
            return Reply("read") if request.last_text == "first" else Fault("hang")
        if "at depth 1" in request.system_text:
            return cell("a = llm_query('first')", "b = llm_query('second')")
        return cell("rlm_query_batch(['one?', 'two?'], ['text', 'text'])")

    with OpenAIServer(respond) as server:
        task = asyncio.create_task(make(server, max_recursion_depth=2).agenerate("q", "text"))
        await until(lambda: server.request_count == 1 + 2 + 2 + 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as raised:
            await task
    partial: RLMResponse = raised.value.partial  # type: ignore[attr-defined]
    items = partial.trajectory[0].cells[0].host_calls[0].items
    assert [len(item.child[0].cells[0].host_calls) for item in items] == [2, 2]
    assert partial.sub_calls == 2 + 4
    assert partial.usage_by_model["sub"]["input_tokens"] > 0
