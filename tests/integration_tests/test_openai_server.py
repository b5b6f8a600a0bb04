"""The scripted server speaks the protocol as the real clients understand it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import openai
import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI

from tests.openai_server import (
    Fault,
    FaultPlan,
    OpenAIServer,
    OpenAIServerProcess,
    Reply,
    Request,
    count_tokens,
)

ROOT = Path(__file__).resolve().parents[2]
PROMPT = "one two three"
ANSWER = "Four words and\nunicode: ünïcödé 🦜."
USAGE = {"input_tokens": 3, "output_tokens": count_tokens(ANSWER)}


def by_model(request: Request) -> Reply | Fault | str:
    """A responder that the process form imports too."""
    if request.model == "root":
        return f"root heard {request.last_text}"
    return Reply(f"sub heard {request.last_text}", reasoning_tokens=5)


@pytest.fixture
def server():
    with OpenAIServer(lambda request: ANSWER) as running:
        yield running


def chat(server, **settings):
    settings = {"model": "m", "api_key": "x", "max_retries": 2, "stream_usage": True, **settings}
    return ChatOpenAI(base_url=server.base_url, use_responses_api=False, **settings)


def total(chunks) -> AIMessageChunk:
    """The sum of streamed chunks."""
    first, *rest = chunks
    return sum(rest, first)


async def in_four_ways(model, prompt=PROMPT):
    """The same call through `invoke`, `ainvoke`, `stream` and `astream`.

    `astream` and `ainvoke` are on one loop, `invoke` and `stream` in a thread, so that the server
    meets both colours.
    """
    plain = await asyncio.to_thread(model.invoke, prompt)
    streamed = total(await asyncio.to_thread(lambda: list(model.stream(prompt))))
    aplain = await model.ainvoke(prompt)
    astreamed = total([chunk async for chunk in model.astream(prompt)])
    return [plain, streamed, aplain, astreamed]


class TestAnswers:
    async def test_four_ways_one_answer(self, server):
        for message in await in_four_ways(chat(server)):
            assert message.text == ANSWER
            assert message.usage_metadata["input_tokens"] == USAGE["input_tokens"]
            assert message.usage_metadata["output_tokens"] == USAGE["output_tokens"]
            assert message.usage_metadata["total_tokens"] == sum(USAGE.values())
            assert message.response_metadata["finish_reason"] == "stop"
            assert message.response_metadata["model_name"] == "m"
        assert [request.stream for request in server.requests] == [False, True, False, True]
        assert {request.last_text for request in server.requests} == {PROMPT}

    def test_the_answer_comes_in_several_deltas(self, server):
        texts = [chunk.text for chunk in chat(server).stream(PROMPT)]
        assert len([text for text in texts if text]) >= 3
        assert "".join(texts) == ANSWER

    def test_usage_only_when_asked(self, server):
        assert total(chat(server, stream_usage=False).stream(PROMPT)).usage_metadata is None
        assert "stream_options" not in server.requests[0].body
        assert total(chat(server, stream_usage=True).stream(PROMPT)).usage_metadata is not None

    async def test_details_of_the_usage(self):
        reply = Reply("a b", cached_tokens=2, reasoning_tokens=7, finish_reason="length")
        with OpenAIServer(lambda request: reply) as server:
            for message in await in_four_ways(chat(server)):
                usage = message.usage_metadata
                assert usage["output_tokens"] == 9
                assert usage["input_token_details"]["cache_read"] == 2
                assert usage["output_token_details"]["reasoning"] == 7
                assert message.response_metadata["finish_reason"] == "length"

    async def test_given_usage_and_no_usage(self):
        given = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
        replies = [Reply("a", usage=given)] * 4 + [Reply("a", usage=None)] * 4
        with OpenAIServer(replies) as server:
            for message in await in_four_ways(chat(server)):
                assert message.usage_metadata["input_tokens"] == 100
            for message in await in_four_ways(chat(server)):
                assert message.usage_metadata is None

    async def test_tool_calls(self):
        calls = [{"name": "add", "args": {"a": 1, "b": 2}}, {"name": "now", "args": {}, "id": "c"}]
        with OpenAIServer(lambda request: Reply(None, tool_calls=calls)) as server:
            for message in await in_four_ways(chat(server)):
                assert [(c["name"], c["args"]) for c in message.tool_calls] == [
                    ("add", {"a": 1, "b": 2}),
                    ("now", {}),
                ]
                assert message.tool_calls[1]["id"] == "c"
                assert message.response_metadata["finish_reason"] == "tool_calls"

    def test_root_and_sub_by_model_name(self):
        with OpenAIServer(by_model) as server:
            assert chat(server, model="root").invoke("x").text == "root heard x"
            assert chat(server, model="sub").invoke("y").text == "sub heard y"

    def test_the_answer_can_name_another_model(self):
        with OpenAIServer([Reply("a", model="m-2026-01-01")]) as server:
            message = chat(server).invoke(PROMPT)
            assert message.response_metadata["model_name"] == "m-2026-01-01"

    def test_messages_and_headers_are_recorded(self, server):
        model = chat(server, default_headers={"X-Team": "red"}, default_query={"v": "1"})
        model.invoke([SystemMessage("be brief"), HumanMessage([{"type": "text", "text": "a b"}])])
        (request,) = server.requests
        assert request.system_text == "be brief"
        assert request.last_text == "a b"
        assert request.prompt_tokens == 4
        assert request.headers["authorization"] == "Bearer x"
        assert request.headers["x-team"] == "red"
        assert request.query == {"v": "1"}
        assert request.path == "/v1/chat/completions"

    def test_a_script_that_ends_is_said_and_not_retried(self):
        with OpenAIServer(["only one"]) as server:
            model = chat(server)
            assert model.invoke("a").text == "only one"
            with pytest.raises(openai.BadRequestError, match="the script has 1 replies"):
                model.invoke("b")
            assert len(server.requests) == 2
            assert len(server.script_errors) == 1
            server.reset()
            assert model.invoke("c").text == "only one"
            assert len(server.requests) == 1

    def test_a_script_that_raises_is_said(self):
        def broken(request):
            raise KeyError("oops")

        with (
            OpenAIServer(broken) as server,
            pytest.raises(openai.BadRequestError, match="KeyError: 'oops'"),
        ):
            chat(server).invoke("a")


class TestRawClients:
    def test_sync(self, server):
        with openai.OpenAI(base_url=server.base_url, api_key="x") as client:
            messages = [{"role": "user", "content": PROMPT}]
            done = client.chat.completions.create(model="m", messages=messages)
            assert done.choices[0].message.content == ANSWER
            assert done.usage.prompt_tokens == 3
            assert done.usage.prompt_tokens_details.cached_tokens == 0
            assert done.usage.completion_tokens_details.reasoning_tokens == 0
            assert done._request_id == "req-0"
            with client.chat.completions.create(
                model="m", messages=messages, stream=True
            ) as stream:
                chunks = list(stream)
            assert all(chunk.usage is None for chunk in chunks)
            assert chunks[0].choices[0].delta.role == "assistant"
            assert chunks[-1].choices[0].finish_reason == "stop"
            assert "".join(c.choices[0].delta.content or "" for c in chunks) == ANSWER
            assert [model.id for model in client.models.list()] == ["m"]

    async def test_async(self, server):
        async with openai.AsyncOpenAI(base_url=server.base_url, api_key="x") as client:
            messages = [{"role": "user", "content": PROMPT}]
            done = await client.chat.completions.create(model="m", messages=messages)
            assert done.choices[0].message.content == ANSWER
            stream = await client.chat.completions.create(
                model="m", messages=messages, stream=True, stream_options={"include_usage": True}
            )
            chunks = [chunk async for chunk in stream]
            assert chunks[-1].choices == []
            assert chunks[-1].usage.total_tokens == sum(USAGE.values())
            assert all(chunk.usage is None for chunk in chunks[:-1])

    def test_connections_are_kept_alive(self, server):
        with openai.OpenAI(base_url=server.base_url, api_key="x") as client:
            for _ in range(5):
                client.chat.completions.create(
                    model="m", messages=[{"role": "user", "content": "a"}]
                )
        assert server.connections == 1
        assert server.request_count == 5

    def test_a_large_request(self, server):
        text = "word " * 400_000
        with openai.OpenAI(base_url=server.base_url, api_key="x") as client:
            done = client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": text}]
            )
        assert done.usage.prompt_tokens == 400_000


class TestFaults:
    @pytest.mark.parametrize(
        "fault",
        [
            Fault("status", status=429, retry_after_seconds=0.01),
            Fault("status", status=500, retry_after_seconds=0.01),
            Fault("status", status=503, retry_after_seconds=0.01),
            Fault("reset"),
        ],
        ids=["429", "500", "503", "reset"],
    )
    async def test_a_client_with_retries_gets_over_it(self, server, fault):
        model = chat(server)
        server.inject(fault)
        assert (await asyncio.to_thread(model.invoke, PROMPT)).text == ANSWER
        server.inject(fault)
        assert (await model.ainvoke(PROMPT)).text == ANSWER
        assert server.request_count == 4
        assert server.fault_count == 2
        assert server.stats()["in_flight"] == 0

    @pytest.mark.parametrize(
        ("fault", "error"),
        [
            (Fault("status", status=401), openai.AuthenticationError),
            (Fault("status", status=429), openai.RateLimitError),
            (Fault("status", status=500), openai.InternalServerError),
            (Fault("reset"), openai.APIConnectionError),
            (Fault("cut_stream"), openai.APIConnectionError),
        ],
        ids=["401", "429", "500", "reset", "cut"],
    )
    async def test_a_client_without_retries_raises(self, server, fault, error):
        model = chat(server, max_retries=0)
        server.inject(fault, fault)
        with pytest.raises(error):
            await asyncio.to_thread(model.invoke, PROMPT)
        with pytest.raises(error):
            await model.ainvoke(PROMPT)

    def test_the_retry_after_header_arrives(self, server):
        server.inject(Fault("status", status=429, retry_after_seconds=1.5, message="slow down"))
        with pytest.raises(openai.RateLimitError, match="slow down") as caught:
            chat(server, max_retries=0).invoke(PROMPT)
        assert caught.value.response.headers["retry-after"] == "1.5"

    async def test_malformed_json_raises(self, server):
        # The SDK does not retry it, and does not wrap it either: a 200 is a success for it.
        model = chat(server)
        server.inject(*[Fault("malformed")] * 4)
        with pytest.raises(json.JSONDecodeError):
            await asyncio.to_thread(model.invoke, PROMPT)
        with pytest.raises(json.JSONDecodeError):
            await model.ainvoke(PROMPT)
        with pytest.raises(json.JSONDecodeError):
            await asyncio.to_thread(lambda: list(model.stream(PROMPT)))
        with pytest.raises(json.JSONDecodeError):
            _ = [chunk async for chunk in model.astream(PROMPT)]
        assert server.request_count == 4

    async def test_a_cut_stream_raises_in_the_middle(self, server):
        model = chat(server)
        server.inject(Fault("cut_stream"), Fault("cut_stream"))
        got = []
        # Which class it is depends on the version of the SDK.
        broken = "Connection error|incomplete chunked read"
        with pytest.raises(Exception, match=broken):
            await asyncio.to_thread(lambda: got.extend(model.stream(PROMPT)))
        text = "".join(chunk.text for chunk in got)
        assert text
        assert Fault("cut_stream").reply.content.startswith(text)
        agot = []

        async def collect():
            async for chunk in model.astream(PROMPT):
                agot.append(chunk)

        with pytest.raises(Exception, match=broken):
            await collect()
        assert [chunk.text for chunk in agot] == [chunk.text for chunk in got]

    @pytest.mark.parametrize("stream", [False, True])
    async def test_a_hang_ends_by_the_timeout_of_the_client(self, server, stream):
        model = chat(server, timeout=0.2, max_retries=0, streaming=stream)
        server.inject(Fault("hang"), Fault("hang"))
        with pytest.raises(openai.APITimeoutError):
            await asyncio.to_thread(model.invoke, PROMPT)
        with pytest.raises(openai.APITimeoutError):
            await model.ainvoke(PROMPT)

    async def test_a_late_answer(self, server):
        model = chat(server, timeout=0.2, max_retries=0)
        server.inject(Fault("slow_first_byte", delay_seconds=5.0))
        with pytest.raises(openai.APITimeoutError):
            await model.ainvoke(PROMPT)
        server.inject(Fault("slow_first_byte", delay_seconds=0.02))
        assert (await model.ainvoke(PROMPT)).text == ANSWER

    def test_injected_faults_use_up_no_reply(self):
        with OpenAIServer(["first", Fault("reset"), "second"]) as server:
            model = chat(server)
            server.inject(Fault("status", status=500, retry_after_seconds=0.0))
            assert model.invoke("a").text == "first"
            assert model.invoke("b").text == "second"


class TestFaultPlan:
    def outcomes(self, plan, numbers, *, stream=False):
        with (
            OpenAIServer(lambda request: "ok", faults=plan) as server,
            openai.OpenAI(base_url=server.base_url, api_key="x", max_retries=0) as client,
        ):
            result = {}
            for number in numbers:
                try:
                    answer = client.chat.completions.create(
                        model="m",
                        messages=[{"role": "user", "content": f"question {number}"}],
                        stream=stream,
                    )
                    result[number] = "ok"
                    if stream:
                        answer.close()
                except openai.APIStatusError as error:
                    result[number] = error.status_code
                except openai.APIConnectionError:
                    result[number] = "reset"
            return result

    def test_the_seed_decides_and_the_order_does_not(self):
        plan = FaultPlan(seed=7, status_429=0.3, status_500=0.2, reset=0.2)
        forwards = self.outcomes(plan, range(60))
        assert forwards == self.outcomes(plan, reversed(range(60)))
        assert forwards == self.outcomes(plan, range(60), stream=True)
        assert set(forwards.values()) == {"ok", 429, 500, "reset"}
        assert forwards != self.outcomes(FaultPlan(seed=8, status_429=0.3), range(60))

    def test_at_most_so_many_for_one_request(self):
        plan = FaultPlan(status_429=1.0, at_most_per_request=2)
        with OpenAIServer(lambda request: "ok", faults=plan) as server:
            assert chat(server, max_retries=2).invoke("a").text == "ok"
            assert server.request_count == 3

    def test_fractions_are_checked(self):
        with pytest.raises(ValueError, match="at most 1"):
            FaultPlan(status_429=0.7, reset=0.4)


class TestConcurrency:
    async def test_200_parallel_calls(self):
        with OpenAIServer(lambda request: request.last_text, latency_seconds=0.5) as server:
            async with openai.AsyncOpenAI(base_url=server.base_url, api_key="x") as client:

                async def ask(number):
                    done = await client.chat.completions.create(
                        model="m", messages=[{"role": "user", "content": f"n {number}"}]
                    )
                    return done.choices[0].message.content

                answers = await asyncio.gather(*(ask(number) for number in range(200)))
            assert answers == [f"n {number}" for number in range(200)]
            assert server.peak_concurrency > 50
            assert server.stats()["in_flight"] == 0
            assert server.connections <= 200

    async def test_a_client_that_leaves_is_no_longer_counted(self):
        with OpenAIServer([Fault("hang")]) as server:
            async with openai.AsyncOpenAI(base_url=server.base_url, api_key="x") as client:
                call = asyncio.create_task(
                    client.chat.completions.create(
                        model="m", messages=[{"role": "user", "content": "a"}]
                    )
                )
                await until(lambda: server.stats()["in_flight"] == 1)
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call
                await until(lambda: server.stats()["in_flight"] == 0)


async def until(condition):
    """Wait for the server's thread; pytest-timeout is the limit."""
    while not condition():  # noqa: ASYNC110 - the condition is another thread's
        await asyncio.sleep(0.005)


class TestWire:
    """What no well-behaved client sends, and what must not end the server."""

    def talk(self, server, data: bytes) -> bytes:
        with socket.create_connection((server.host, server.port), timeout=10) as sock:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: sock.recv(65536), b""))

    @pytest.mark.parametrize(
        ("data", "status"),
        [
            (b"nonsense\r\n\r\n", b"400"),
            (b"GET /nowhere HTTP/1.1\r\nconnection: close\r\n\r\n", b"404"),
            (b"POST /v1/chat/completions HTTP/1.0\r\ncontent-length: 2\r\n\r\n{}", b"400"),
            (b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: x\r\n\r\n", b"400"),
            (b"POST /a HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", b"411"),
            (b"a" * 70_000, b"431"),
        ],
    )
    def test_refused(self, server, data, status):
        assert self.talk(server, data).split(b" ")[1] == status
        assert chat(server).invoke(PROMPT).text == ANSWER

    def test_requests_that_come_byte_by_byte_and_pipelined(self, server):
        one = b"GET /stats HTTP/1.1\r\nhost: a\r\n\r\n"
        last = b"GET /stats HTTP/1.1\r\nconnection: close\r\n\r\n"
        with socket.create_connection((server.host, server.port), timeout=10) as sock:
            for byte in one:
                sock.sendall(bytes([byte]))
            sock.sendall(one + last)
            answer = b"".join(iter(lambda: sock.recv(65536), b""))
        assert answer.count(b"HTTP/1.1 200 OK") == 3


class TestLife:
    def test_nothing_stays_open(self):
        threads = threading.active_count()
        with OpenAIServer(["ok", Fault("hang")]) as server:
            port = server.port
            model = chat(server, timeout=0.2, max_retries=0)
            model.invoke("a")
            idle = socket.create_connection((server.host, port), timeout=10)
        assert threading.active_count() == threads
        with idle, contextlib.suppress(ConnectionError):
            assert idle.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((server.host, port))
        gc.collect()  # A forgotten socket would warn here, and a warning is an error.

    def test_a_second_start_and_a_taken_port_are_refused(self, server):
        with pytest.raises(RuntimeError, match="runs already"):
            server.start()
        other = OpenAIServer(port=server.port)
        with pytest.raises(OSError):
            other.start()
        other.close()

    def test_a_server_can_start_again(self):
        server = OpenAIServer(lambda request: "ok")
        for _ in range(2):
            with server:
                assert chat(server).invoke("a").text == "ok"
        assert server.request_count == 2


class TestProcess:
    def test_reply_latency_and_stats(self):
        with OpenAIServerProcess(reply="from afar", latency_seconds=0.01) as server:
            assert server.pid != os.getpid()
            model = chat(server)
            assert model.invoke(PROMPT).text == "from afar"
            assert total(model.stream(PROMPT)).usage_metadata["input_tokens"] == 3
            stats = server.stats()
            assert stats["requests"] == 2
            assert stats["peak_concurrency"] == 1
            assert stats["cpu_seconds"] > 0
            server.reset()
            assert server.stats()["requests"] == 0

    def test_a_responder_by_name_and_faults(self):
        name = "tests.integration_tests.test_openai_server:by_model"
        plan = FaultPlan(status_429=1.0, at_most_per_request=1)
        with OpenAIServerProcess(name, faults=plan) as server:
            assert chat(server, model="root").invoke("x").text == "root heard x"
            assert server.stats()["faults"] == 1

    def test_a_responder_that_does_not_exist(self, capfd):
        with (
            pytest.raises(RuntimeError, match="did not start"),
            OpenAIServerProcess("tests.no_such_module:f"),
        ):
            pass
        assert "no_such_module" in capfd.readouterr().err

    def test_the_command_line_and_sigterm(self):
        command = [sys.executable, "-m", "tests.openai_server", "--port", "0"]
        command += ["--latency-seconds", "30"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            port = int(process.stdout.readline())
            url = f"http://127.0.0.1:{port}/v1"
            with openai.OpenAI(base_url=url, api_key="x", timeout=0.2, max_retries=0) as client:
                assert [model.id for model in client.models.list()] == ["test-model"]
                with pytest.raises(openai.APITimeoutError):
                    client.chat.completions.create(model="m", messages=[])
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=10) == 0


async def test_empty_choices_as_the_client_sees_them(server):
    """What `ChatOpenAI` makes of `"choices": []`, because the library must cope with it.

    A plain call fails with an `IndexError` (a bug of the client rather than a decision of it), a
    streamed call is an empty message.
    """
    model = chat(server)
    server.inject(*[Fault("empty_choices")] * 4)
    with pytest.raises(IndexError):
        await asyncio.to_thread(model.invoke, PROMPT)
    with pytest.raises(IndexError):
        await model.ainvoke(PROMPT)
    assert total(await asyncio.to_thread(lambda: list(model.stream(PROMPT)))).text == ""
    assert total([chunk async for chunk in model.astream(PROMPT)]).text == ""


def test_gaps_between_deltas():
    reply = Reply("a b c d", gap_seconds=30.0)
    with OpenAIServer([reply, replace(reply, gap_seconds=0.01, delay_seconds=0.01)]) as server:
        stream = chat(server, timeout=0.2, max_retries=0).stream("a")
        assert next(stream).text == ""
        # In the middle of a stream only newer SDKs wrap what their HTTP library raises.
        with pytest.raises(Exception, match="timed out"):
            next(stream)
        assert total(chat(server).stream("a")).text == "a b c d"


def test_a_stream_that_is_left_early_takes_its_timers_with_it():
    with OpenAIServer([Reply("a b c d", gap_seconds=0.01)]) as server:
        stream = chat(server).stream("a")
        assert len(list(itertools.islice(stream, 2))) == 2
        stream.close()
    assert server.stats()["in_flight"] == 0
