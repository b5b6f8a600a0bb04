"""An OpenAI-compatible server on the loopback interface, scripted by the test that uses it.

Tests and benchmarks talk to it through the real clients (`ChatOpenAI`, `openai.OpenAI`), so that
what is tested is what runs: connections, retries, server-sent events, usage counts and timeouts.
No key, no network beyond 127.0.0.1, no dependency beyond the standard library.

    with OpenAIServer(["first answer", Fault("status", status=429), "second answer"]) as server:
        model = ChatOpenAI(base_url=server.base_url, api_key="x", model="m")
        model.invoke("hello")
        server.requests[0].last_text  # "hello"

Two forms:

- `OpenAIServer`: an event loop in one daemon thread of this process. The script is Python.
- `OpenAIServerProcess`, or `python -m tests.openai_server --port 0 --latency-seconds 0.05`: a
  process of its own, so that a benchmark does not share its interpreter lock with its server. The
  first line on its standard output is the port. `GET /stats` tells the counts and the CPU time.

The server is one `asyncio.Protocol`: no task and no stream object per request, because a benchmark
with 1,000 sub-calls must measure the library and not the server.

What is served: `POST .../chat/completions` (plain and streamed; any prefix, so that the paths of
Azure deployments work too), `GET .../models`, `GET /stats`, `POST /reset`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import http.client
import importlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.parse
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

FaultKind = Literal[
    "status",
    "reset",
    "malformed",
    "empty_choices",
    "slow_first_byte",
    "hang",
    "cut_stream",
]

MAX_HEAD_BYTES = 65_536
"""A request whose head is longer is refused."""

CREATED = 1_700_000_000
"""`created` of every answer: a constant, so that two runs can be compared byte by byte."""


def count_tokens(text: str) -> int:
    """The server's tokenizer: words between white space."""
    return len(text.split())


@dataclass(frozen=True)
class Request:
    """One chat completion request, as it arrived."""

    index: int
    model: str
    messages: list[dict[str, Any]]
    body: dict[str, Any]
    headers: dict[str, str]
    path: str
    query: dict[str, str]
    stream: bool
    arrived_seconds: float
    """When the whole request was here, on the clock of `time.monotonic`."""

    @property
    def last_text(self) -> str:
        """Text of the last message."""
        return _text_of(self.messages[-1]) if self.messages else ""

    @property
    def system_text(self) -> str:
        """Text of every system (or developer) message."""
        roles = ("system", "developer")
        return "\n".join(_text_of(m) for m in self.messages if m.get("role") in roles)

    @property
    def prompt_tokens(self) -> int:
        """What `usage="auto"` reports for the prompt."""
        return sum(count_tokens(_text_of(message)) for message in self.messages)


@dataclass(frozen=True)
class Reply:
    """One answer of the model."""

    content: str | None = "ok"
    usage: dict[str, Any] | Literal["auto"] | None = "auto"
    """`"auto"`: counted from the texts. A dict: sent as it is. `None`: no usage at all."""
    finish_reason: str | None = None
    """`None` means `"tool_calls"` when there are any, and `"stop"` otherwise."""
    tool_calls: Sequence[dict[str, Any]] = ()
    """`{"name": ..., "args": {...} or a raw string, "id": optional}` for each call."""
    model: str | None = None
    """The model name that the answer carries; `None` repeats the requested name."""
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    """Details of the automatic usage. Reasoning tokens are added to the completion tokens."""
    pieces: int = 4
    """A streamed content comes in about this many deltas."""
    delay_seconds: float = 0.0
    """Added to the latency of the server."""
    gap_seconds: float = 0.0
    """Pause between two streamed events."""


@dataclass(frozen=True)
class Fault:
    """One answer that goes wrong.

    `status`: an error response. `reset`: the connection is reset (RST) without an answer.
    `malformed`: 200 with broken JSON. `empty_choices`: 200 with `"choices": []`.
    `slow_first_byte`: the answer of the script comes `delay_seconds` late. `hang`: no answer until
    the client goes away. `cut_stream`: the connection ends in the middle of `reply`.
    """

    kind: FaultKind
    status: int = 500
    message: str = "injected fault"
    retry_after_seconds: float | None = None
    delay_seconds: float = 0.0
    reply: Reply = field(default_factory=lambda: Reply("This answer is cut in the middle."))


Outcome = Reply | Fault | str
Responder = Callable[[Request], Outcome]


@dataclass(frozen=True)
class FaultPlan:
    """Which fraction of the requests fails, and how.

    The draw depends on the seed, on the model, on the messages, and on how often the same request
    came before; not on the order of arrival. So a concurrent run meets the same faults as a
    sequential one, and a streamed one the same as a plain one.
    """

    seed: int = 0
    status_429: float = 0.0
    status_500: float = 0.0
    status_503: float = 0.0
    reset: float = 0.0
    malformed: float = 0.0
    empty_choices: float = 0.0
    slow_first_byte: float = 0.0
    hang: float = 0.0
    cut_stream: float = 0.0
    retry_after_seconds: float | None = 0.0
    delay_seconds: float = 0.2
    at_most_per_request: int | None = None
    """After so many faults for the same request it succeeds. `None`: it may fail for ever."""

    def __post_init__(self) -> None:
        total = sum(fraction for _, fraction in self._table())
        if total > 1 or any(fraction < 0 for _, fraction in self._table()):
            msg = f"the fractions of a FaultPlan must be >= 0 and sum to at most 1, got {total:g}"
            raise ValueError(msg)

    def _table(self) -> list[tuple[Fault, float]]:
        after, delay = self.retry_after_seconds, self.delay_seconds
        return [
            (Fault("status", status=429, retry_after_seconds=after), self.status_429),
            (Fault("status", status=500, retry_after_seconds=after), self.status_500),
            (Fault("status", status=503, retry_after_seconds=after), self.status_503),
            (Fault("reset"), self.reset),
            (Fault("malformed"), self.malformed),
            (Fault("empty_choices"), self.empty_choices),
            (Fault("slow_first_byte", delay_seconds=delay), self.slow_first_byte),
            (Fault("hang"), self.hang),
            (Fault("cut_stream"), self.cut_stream),
        ]

    def draw(self, digest: bytes, repetition: int) -> Fault | None:
        """The fault for the `repetition`-th (from 0) arrival of the request with this digest."""
        if self.at_most_per_request is not None and repetition >= self.at_most_per_request:
            return None
        key = b"%d|%d|%b" % (self.seed, repetition, digest)
        point = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") / 2**64
        for fault, fraction in self._table():
            if point < fraction:
                return fault
            point -= fraction
        return None


class OpenAIServer:
    """The server in a thread of this process. Use it as a context manager.

    Args:
        script: A callable on the request (it runs in the server's thread, so it must not block),
            or the outcomes in order. A `str` is a `Reply` with that content. A request beyond the
            end of a sequence, or a script that raises, is answered with status 400, which clients
            do not retry, and is kept in `script_errors`.
        latency_seconds: Time between the arrival of a request and its answer.
        faults: Which requests fail, see `FaultPlan`. `inject` comes before it.
        record: Keep every request in `requests`. A long benchmark turns it off.
        host: Interface to listen on.
        port: 0 lets the system choose.
    """

    def __init__(
        self,
        script: Responder | Sequence[Outcome] = (),
        *,
        latency_seconds: float = 0.0,
        faults: FaultPlan | None = None,
        record: bool = True,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.latency_seconds = latency_seconds
        self.faults = faults
        self.record = record
        self.host = host
        self.port = port
        self.script_errors: list[str] = []
        self._script: Responder | Sequence[Outcome] = script
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._failure: BaseException | None = None
        self._open: set[_Connection] = set()
        self._injected: deque[Fault] = deque()
        self._clear()

    def _clear(self) -> None:
        self._requests: list[Request] = []
        self._seen: dict[bytes, int] = {}
        self._injected.clear()
        self.script_errors.clear()
        self._next_reply = 0
        self.request_count = 0
        self.fault_count = 0
        self.in_flight = 0
        self.peak_concurrency = 0
        self.connections = 0

    # -- life ---------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def start(self) -> Self:
        """Listen. Returns when the port is open."""
        if self._thread is not None:
            msg = "the server runs already"
            raise RuntimeError(msg)
        ready = threading.Event()
        self._failure = None
        self._thread = threading.Thread(
            target=self._run, args=(ready,), name="openai-server", daemon=True
        )
        self._thread.start()
        ready.wait()
        if self._failure is not None:
            self._thread.join()
            self._thread = None
            raise self._failure
        return self

    def close(self) -> None:
        """End every connection and the thread."""
        thread, self._thread = self._thread, None
        if thread is None or self._loop is None or self._stop is None:
            return
        self._loop.call_soon_threadsafe(self._stop.set)
        thread.join()
        self._loop = self._stop = None

    def _run(self, ready: threading.Event) -> None:
        try:
            asyncio.run(self.serve(lambda _port: ready.set()))
        except BaseException as error:
            self._failure = error
        finally:
            ready.set()

    async def serve(self, on_listening: Callable[[int], None]) -> None:
        """Serve on the running event loop until `close`, or until the task is cancelled."""
        self._loop = loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        listener = await loop.create_server(
            lambda: _Connection(self, loop), self.host, self.port, backlog=4096
        )
        self.port = listener.sockets[0].getsockname()[1]
        on_listening(self.port)
        try:
            await self._stop.wait()
        finally:
            # First no new connections, without closing the listener: asyncio loses the socket of a
            # connection that it accepts in the same turn as the listener is closed.
            for listening in listener.sockets:
                with contextlib.suppress(NotImplementedError):  # the proactor loop of Windows
                    loop.remove_reader(listening.fileno())
            # Then some turns, in which a connection that was just accepted becomes one of ours, and
            # in which the aborts are delivered.
            turns = 0
            while self._open or turns < 5:
                for connection in list(self._open):
                    connection.abort()
                turns += 1
                await asyncio.sleep(0)
            listener.close()
            await listener.wait_closed()

    # -- what a test asks -----------------------------------------------------------------------

    @property
    def origin(self) -> str:
        """The address without a path, as `azure_endpoint` wants it."""
        return f"http://{self.host}:{self.port}"

    @property
    def base_url(self) -> str:
        """The address for `base_url` of a client."""
        return f"{self.origin}/v1"

    @property
    def requests(self) -> list[Request]:
        """A copy of the chat requests so far, in the order of arrival."""
        with self._lock:
            return list(self._requests)

    def inject(self, *faults: Fault) -> None:
        """The next requests meet these faults, one each. They use up no reply of a sequence."""
        with self._lock:
            self._injected.extend(faults)

    def reset(self, script: Responder | Sequence[Outcome] | None = None) -> None:
        """Forget requests, counts and injected faults, and start the script from its beginning.

        Call it between runs, not while requests are in flight.
        """
        with self._lock:
            open_now = len(self._open)
            self._clear()
            self.connections = open_now
            if script is not None:
                self._script = script

    def stats(self) -> dict[str, Any]:
        """Counts, as `GET /stats` sends them. `cpu_seconds` is that of the whole process."""
        with self._lock:
            return {
                "requests": self.request_count,
                "faults": self.fault_count,
                "connections": self.connections,
                "in_flight": self.in_flight,
                "peak_concurrency": self.peak_concurrency,
                "cpu_seconds": time.process_time(),
            }

    # -- decisions, all on the loop's thread ----------------------------------------------------

    def _answer(self, request: Request, digest: bytes) -> _Answer:
        fault = self._choose_fault(digest)
        delay = self.latency_seconds
        outcome: Outcome
        if fault is None or fault.kind == "slow_first_byte":
            if fault is not None:
                delay += fault.delay_seconds
            try:
                outcome = self._consult_script(request)
            except Exception as error:
                with self._lock:
                    self.script_errors.append(f"{type(error).__name__}: {error}")
                outcome = Fault("status", status=400, message=self.script_errors[-1])
        else:
            outcome = fault
        if isinstance(outcome, str):
            outcome = Reply(outcome)
        if isinstance(outcome, Reply):
            return _reply_answer(request, outcome, delay + outcome.delay_seconds)
        with self._lock:
            self.fault_count += 1
        if outcome.kind == "slow_first_byte":  # by a script: it says itself what comes late
            return _reply_answer(request, outcome.reply, delay + outcome.delay_seconds)
        return _fault_answer(request, outcome, delay + outcome.delay_seconds)

    def _choose_fault(self, digest: bytes) -> Fault | None:
        with self._lock:
            if self._injected:
                fault: Fault | None = self._injected.popleft()
            elif self.faults is not None:
                repetition = self._seen.get(digest, 0)
                self._seen[digest] = repetition + 1
                fault = self.faults.draw(digest, repetition)
            else:
                return None
            if fault is not None and fault.kind == "slow_first_byte":
                self.fault_count += 1
            return fault

    def _consult_script(self, request: Request) -> Outcome:
        if callable(self._script):
            return self._script(request)
        position = self._next_reply
        if position >= len(self._script):
            msg = f"the script has {len(self._script)} replies, this is request {position + 1}"
            raise IndexError(msg)
        self._next_reply += 1
        return self._script[position]

    def _arrived(self, target: str, headers: dict[str, str], body: bytes) -> _Answer:
        path, _, raw_query = target.partition("?")
        try:
            parsed = json.loads(body)
            model, messages = str(parsed["model"]), list(parsed["messages"])
        except (ValueError, KeyError, TypeError) as error:
            return _json_answer(400, _error_body(f"not a chat request: {error!r}", 400))
        request = Request(
            index=self.request_count,
            model=model,
            messages=messages,
            body=parsed,
            headers=headers,
            path=path,
            query=dict(urllib.parse.parse_qsl(raw_query, keep_blank_values=True)),
            stream=bool(parsed.get("stream")),
            arrived_seconds=time.monotonic(),
        )
        with self._lock:
            self.request_count += 1
            self.in_flight += 1
            self.peak_concurrency = max(self.peak_concurrency, self.in_flight)
            if self.record:
                self._requests.append(request)
        digest = b""
        if self.faults is not None:
            digest = hashlib.blake2b(json.dumps([model, messages]).encode()).digest()
        return self._answer(request, digest)

    def _left(self) -> None:
        with self._lock:
            # `reset` in the middle of a request must not make the count negative.
            self.in_flight = max(0, self.in_flight - 1)


# -- the wire ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Answer:
    """Bytes to send, when, and how to end."""

    parts: Sequence[bytes]
    delay_seconds: float = 0.0
    gap_seconds: float = 0.0
    end: Literal["keep", "cut", "reset", "hang"] = "keep"


class _Connection(asyncio.Protocol):
    """One client connection: requests one after another, with keep-alive."""

    __slots__ = (
        "_buffer",
        "_chat",
        "_head",
        "_keep",
        "_length",
        "_loop",
        "_server",
        "_timer",
        "_transport",
        "_waiting",
    )

    def __init__(self, server: OpenAIServer, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self._buffer = bytearray()
        self._head: tuple[str, str, dict[str, str]] | None = None
        self._length = 0
        self._keep = True
        self._waiting = False
        self._chat = False
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._server._open.add(self)
        with self._server._lock:
            self._server.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._chat:
            self._chat = False
            self._server._left()
        self._server._open.discard(self)
        self._transport = None

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._waiting:
            self._read_request()

    def _read_request(self) -> None:
        if self._head is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > MAX_HEAD_BYTES:
                    self._keep = False
                    self._send(_json_answer(431, _error_body("the head is too long", 431)))
                return
            lines = self._buffer[:end].decode("latin-1").split("\r\n")
            del self._buffer[: end + 4]
            try:
                method, target, version = lines[0].split(" ")
                pairs = (line.partition(":") for line in lines[1:])
                headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
                self._length = int(headers.get("content-length", "0"))
            except ValueError:
                self._keep = False
                self._send(_json_answer(400, _error_body("not an HTTP/1.1 request", 400)))
                return
            self._keep = version == "HTTP/1.1" and headers.get("connection", "") != "close"
            if "transfer-encoding" in headers:
                self._keep = False
                self._send(_json_answer(411, _error_body("send a content-length", 411)))
                return
            self._head = (method, target, headers)
        if len(self._buffer) < self._length:
            return
        body = bytes(self._buffer[: self._length])
        del self._buffer[: self._length]
        (method, target, headers), self._head = self._head, None
        self._dispatch(method, target, headers, body)

    def _dispatch(self, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        path = target.partition("?")[0]
        if method == "POST" and path.endswith("/chat/completions"):
            before = self._server.request_count
            answer = self._server._arrived(target, headers, body)
            self._chat = self._server.request_count > before
            self._send(answer)
        elif method == "GET" and path.endswith("/models"):
            names = sorted({request.model for request in self._server.requests} or {"test-model"})
            data = [
                {"id": name, "object": "model", "created": CREATED, "owned_by": "tests"}
                for name in names
            ]
            self._send(_json_answer(200, {"object": "list", "data": data}))
        elif method == "GET" and path == "/stats":
            self._send(_json_answer(200, self._server.stats()))
        elif method == "POST" and path == "/reset":
            self._server.reset()
            self._send(_json_answer(200, {}))
        else:
            self._send(_json_answer(404, _error_body(f"no such path: {method} {path}", 404)))

    def _send(self, answer: _Answer) -> None:
        self._waiting = True
        if answer.end == "hang":
            return
        if answer.delay_seconds > 0:
            self._timer = self._loop.call_later(answer.delay_seconds, self._write, answer, 0)
        else:
            self._write(answer, 0)

    def _write(self, answer: _Answer, position: int) -> None:
        self._timer = None
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if answer.gap_seconds > 0 and position + 1 < len(answer.parts):
            transport.write(answer.parts[position])
            self._timer = self._loop.call_later(
                answer.gap_seconds, self._write, answer, position + 1
            )
            return
        # Before the bytes leave: whoever has read the answer must find the request finished.
        if self._chat:
            self._chat = False
            self._server._left()
        if answer.parts:
            transport.write(b"".join(answer.parts[position:]))
        if answer.end == "reset":
            # A linger time of zero turns the close into an RST, as a dying proxy sends it.
            sock: socket.socket = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        elif answer.end == "cut" or not self._keep:
            transport.close()
        else:
            self._waiting = False
            if self._buffer:
                self._read_request()


def _head(status: int, *headers: str) -> bytes:
    reason = http.client.responses.get(status, "Unknown")
    return "\r\n".join((f"HTTP/1.1 {status} {reason}", *headers, "", "")).encode("latin-1")


def _json_answer(status: int, body: Any, *headers: str, **how: Any) -> _Answer:
    data = json.dumps(body).encode()
    head = _head(status, "content-type: application/json", f"content-length: {len(data)}", *headers)
    return _Answer((head, data) if how.get("gap_seconds") else (head + data,), **how)


def _error_body(message: str, status: int) -> dict[str, Any]:
    kind = "rate_limit_error" if status == 429 else "server_error"
    if 400 <= status < 500 and status != 429:
        kind = "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _event(payload: Any) -> bytes:
    return _chunked(b"data: %b\n\n" % json.dumps(payload).encode())


# -- the protocol -----------------------------------------------------------------------------------


def _text_of(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return ""


def _usage_of(request: Request, reply: Reply) -> dict[str, Any] | None:
    if reply.usage != "auto":
        return reply.usage
    prompt = request.prompt_tokens
    completion = count_tokens(reply.content or "") + reply.reasoning_tokens
    completion += sum(count_tokens(_arguments(call)) for call in reply.tool_calls)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": reply.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": reply.reasoning_tokens},
    }


def _arguments(call: dict[str, Any]) -> str:
    arguments = call.get("args", {})
    return arguments if isinstance(arguments, str) else json.dumps(arguments)


def _tool_calls(request: Request, reply: Reply) -> list[dict[str, Any]]:
    return [
        {
            "id": call.get("id", f"call_{request.index}_{position}"),
            "type": "function",
            "function": {"name": call["name"], "arguments": _arguments(call)},
        }
        for position, call in enumerate(reply.tool_calls)
    ]


def _finish_reason(reply: Reply) -> str:
    return reply.finish_reason or ("tool_calls" if reply.tool_calls else "stop")


def _pieces(text: str, count: int) -> list[str]:
    size = max(1, -(-len(text) // max(1, count)))
    return [text[start : start + size] for start in range(0, len(text), size)]


def _envelope(request: Request, reply: Reply, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{request.index}",
        "object": kind,
        "created": CREATED,
        "model": reply.model or request.model,
    }


def _reply_answer(request: Request, reply: Reply, delay_seconds: float) -> _Answer:
    if request.stream:
        parts = [*_stream_parts(request, reply), b"0\r\n\r\n"]
        return _Answer(parts, delay_seconds, reply.gap_seconds)
    return _json_answer(
        200,
        _completion_body(request, reply),
        f"x-request-id: req-{request.index}",
        delay_seconds=delay_seconds,
    )


def _completion_body(request: Request, reply: Reply) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.content, "refusal": None}
    if reply.tool_calls:
        message["tool_calls"] = _tool_calls(request, reply)
    choice = {
        "index": 0,
        "message": message,
        "finish_reason": _finish_reason(reply),
        "logprobs": None,
    }
    body = {**_envelope(request, reply, "chat.completion"), "choices": [choice]}
    usage = _usage_of(request, reply)
    return body if usage is None else {**body, "usage": usage}


def _stream_parts(request: Request, reply: Reply) -> list[bytes]:
    envelope = _envelope(request, reply, "chat.completion.chunk")
    with_usage = bool((request.body.get("stream_options") or {}).get("include_usage"))
    usage = _usage_of(request, reply) if with_usage else None
    if with_usage:  # The protocol: null on every chunk but the last.
        envelope["usage"] = None

    def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
        return _event({**envelope, "choices": [choice]})

    head = _head(
        200,
        "content-type: text/event-stream; charset=utf-8",
        "cache-control: no-cache",
        "transfer-encoding: chunked",
        f"x-request-id: req-{request.index}",
    )
    first = chunk({"role": "assistant", "content": None if reply.content is None else ""})
    parts = [head + first]
    parts += [chunk({"content": piece}) for piece in _pieces(reply.content or "", reply.pieces)]
    for index, call in enumerate(_tool_calls(request, reply)):
        arguments = call["function"].pop("arguments")
        opening = {"index": index, **call, "function": {**call["function"], "arguments": ""}}
        parts.append(chunk({"tool_calls": [opening]}))
        for piece in _pieces(arguments, reply.pieces):
            more = {"index": index, "function": {"arguments": piece}}
            parts.append(chunk({"tool_calls": [more]}))
    parts.append(chunk({}, _finish_reason(reply)))
    if usage is not None:
        parts.append(_event({**envelope, "choices": [], "usage": usage}))
    parts.append(_chunked(b"data: [DONE]\n\n"))
    return parts


def _fault_answer(request: Request, fault: Fault, delay_seconds: float) -> _Answer:
    if fault.kind == "hang":
        return _Answer((), end="hang")
    if fault.kind == "reset":
        return _Answer((), delay_seconds, end="reset")
    if fault.kind == "status":
        headers = [f"x-request-id: req-{request.index}"]
        if fault.retry_after_seconds is not None:
            headers.append(f"retry-after: {fault.retry_after_seconds:g}")
        body = _error_body(fault.message, fault.status)
        return _json_answer(fault.status, body, *headers, delay_seconds=delay_seconds)
    if fault.kind == "cut_stream":
        return _Answer((_half(request, fault.reply),), delay_seconds, end="cut")
    return _broken_answer(request, fault, delay_seconds)


def _broken_answer(request: Request, fault: Fault, delay_seconds: float) -> _Answer:
    """Status 200, and a body that is no answer."""
    if not request.stream:
        if fault.kind == "empty_choices":
            body = {**_completion_body(request, fault.reply), "choices": []}
            return _json_answer(200, body, delay_seconds=delay_seconds)
        data = json.dumps(_completion_body(request, fault.reply)).encode()
        data = data[: len(data) // 2]
        head = _head(200, "content-type: application/json", f"content-length: {len(data)}")
        return _Answer((head + data,), delay_seconds)
    head = _head(200, "content-type: text/event-stream", "transfer-encoding: chunked")
    if fault.kind == "empty_choices":
        envelope = _envelope(request, fault.reply, "chat.completion.chunk")
        events = _event({**envelope, "choices": []})
    else:
        events = _chunked(b'data: {"id": "chatcmpl-broken", "choices": [{"ind\n\n')
    return _Answer((head, events, _chunked(b"data: [DONE]\n\n"), b"0\r\n\r\n"), delay_seconds)


def _half(request: Request, reply: Reply) -> bytes:
    if request.stream:
        parts = _stream_parts(request, reply)
        return b"".join(parts[: max(2, len(parts) // 2)])
    data = json.dumps(_completion_body(request, reply)).encode()
    head = _head(200, "content-type: application/json", f"content-length: {len(data)}")
    return head + data[: len(data) // 2]


# -- a process of its own ---------------------------------------------------------------------------


class OpenAIServerProcess:
    """The server in a process of its own, for benchmarks. Use it as a context manager.

    Args:
        responder: `"package.module:function"`, a callable on the request. It is imported in the
            new process, whose working directory is the root of the repository.
        reply: Content of every answer, when there is no responder.
        latency_seconds: As in `OpenAIServer`.
        faults: As in `OpenAIServer`.
    """

    def __init__(
        self,
        responder: str | None = None,
        *,
        reply: str = "ok",
        latency_seconds: float = 0.0,
        faults: FaultPlan | None = None,
    ) -> None:
        self._command = [sys.executable, "-m", "tests.openai_server", "--until-stdin-closes"]
        self._command += ["--latency-seconds", str(latency_seconds), "--reply", reply]
        if responder is not None:
            self._command += ["--responder", responder]
        if faults is not None:
            self._command += ["--faults", json.dumps(asdict(faults))]
        self._process: subprocess.Popen[str] | None = None
        self.port = 0

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command,
            cwd=Path(__file__).resolve().parent.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.__exit__()
            msg = "the server process did not start; its standard error says why"
            raise RuntimeError(msg)
        self.port = int(line)
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._process is not None:
            # Closes the standard input, which ends the process, and then waits for it.
            self._process.communicate()
            self._process = None

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        return f"{self.origin}/v1"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def stats(self) -> dict[str, Any]:
        """Requests, connections, peak concurrency and CPU seconds of the process."""
        result: dict[str, Any] = self._call("GET", "/stats")
        return result

    def reset(self) -> None:
        """Set the counts to zero (the CPU time goes on)."""
        self._call("POST", "/reset")

    def _call(self, method: str, path: str) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, headers={"connection": "close"})
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()


def load_responder(name: str) -> Responder:
    """Import `"package.module:function"`."""
    module, _, attribute = name.partition(":")
    responder: Responder = getattr(importlib.import_module(module), attribute or "responder")
    if not callable(responder):
        msg = f"{name} is not callable"
        raise TypeError(msg)
    return responder


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until a signal comes, or until the standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m tests.openai_server", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency-seconds", type=float, default=0.0)
    parser.add_argument("--reply", default="ok")
    parser.add_argument("--responder", metavar="MODULE:FUNCTION")
    parser.add_argument("--faults", type=json.loads, metavar="JSON", help="fields of FaultPlan")
    parser.add_argument("--record", action="store_true", help="keep every request in memory")
    parser.add_argument("--until-stdin-closes", action="store_true", help="end with the parent")
    options = parser.parse_args(arguments)
    reply = Reply(options.reply)
    server = OpenAIServer(
        load_responder(options.responder) if options.responder else lambda _request: reply,
        latency_seconds=options.latency_seconds,
        faults=FaultPlan(**options.faults) if options.faults else None,
        record=options.record,
        host=options.host,
        port=options.port,
    )
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve_process(server, until_stdin_closes=options.until_stdin_closes))


async def _serve_process(server: OpenAIServer, *, until_stdin_closes: bool) -> None:
    loop = asyncio.get_running_loop()

    def on_listening(port: int) -> None:
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()

    def stop() -> None:
        if server._stop is not None:
            server._stop.set()

    # Not on Windows, whose loops know no signal handlers.
    with contextlib.suppress(NotImplementedError):
        loop.add_signal_handler(signal.SIGTERM, stop)
    if until_stdin_closes:

        def watch() -> None:
            # Not `sys.stdin.read`: its lock would trouble an interpreter that ends by a signal.
            while os.read(0, 1024):
                pass
            with contextlib.suppress(RuntimeError):  # the loop has ended before us
                loop.call_soon_threadsafe(stop)

        threading.Thread(target=watch, daemon=True).start()
    await server.serve(on_listening)


if __name__ == "__main__":
    # Not the `main` above: the classes of `__main__` are not those that a responder imports.
    importlib.import_module("tests.openai_server").main()
