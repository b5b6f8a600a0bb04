"""A worker that says anything at all, through real pipes: our side never crashes, hangs, grows or runs it.

The worker is a process that writes prepared bytes and ends. What it says is well-formed frames of
every kind, right and wrong, cut, doubled, shuffled, with lengths that lie, and plain noise.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langchain_replm import RLM, RLMConfig
from langchain_replm.errors import ProtocolError, SandboxError
from langchain_replm.sandbox import Sandbox
from langchain_replm.sandbox._pipes import Pipes, PipeTransport
from langchain_replm.sandbox._policy import policy_data, sub_call_functions
from langchain_replm.sandbox._wire import (
    WIRE_VERSION,
    CallRequested,
    CellFinished,
    Ready,
    Session,
    Setup,
    State,
    WireLimits,
    clean,
    encode_frame,
)
from langchain_replm.testing import ScriptedChatModel

pytestmark = pytest.mark.skipif(os.name != "posix", reason="workers need POSIX so far")

LIMITS = WireLimits(frame_bytes=64 * 1024)
READY = {"type": "ready", "version": WIRE_VERSION, "python": "3"}
CODE = "__import__('os').system('true')"

texts = st.sampled_from(["", "x", "c1", "\ud800", CODE, "\0", "a" * 3000]) | st.text(max_size=20)
atoms = st.none() | st.booleans() | st.integers() | st.floats() | texts
values = st.recursive(
    atoms,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=12,
)
CALL = {
    "type": "call", "id": 1, "cell": "c1", "function": "llm_query", "kind": "llm_query",
    "items": [{"prompt": CODE, "model": None}],
}  # fmt: skip
DONE = {
    "type": "done", "id": "c1", "status": "ok", "output_head": "", "output_tail": "",
    "output_chars": 0, "error": None, "changed": {}, "removed": [], "answer": None,
}  # fmt: skip


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """A frame that is right, or wrong in one or two places."""
    message = dict(draw(st.sampled_from([READY, CALL, DONE])))
    if message["type"] == "call":
        message["id"] = draw(st.integers(0, 5))
    for name in draw(st.lists(st.sampled_from(sorted(message)), max_size=2)):
        message[name] = draw(values)
    if draw(st.integers(0, 9)) == 0:
        del message[draw(st.sampled_from(sorted(message)))]
    frame = encode_frame(message)
    damage = draw(st.integers(0, 9))
    if damage == 0:
        frame = draw(st.integers(0, 2**32 - 1)).to_bytes(4, "big") + frame[4:]
    elif damage == 1:
        frame = frame[: draw(st.integers(0, len(frame)))]
    elif damage == 2:
        at = draw(st.integers(0, len(frame)))
        frame = frame[:at] + draw(st.binary(max_size=9)) + frame[at:]
    elif damage == 3:
        frame = frame[:4] + draw(st.sampled_from([b"B", b"\0", b"X"])) + frame[5:]
    return frame


streams = st.lists(messages() | st.binary(max_size=30), max_size=8).map(
    lambda parts: encode_frame(READY) + b"".join(parts)
)

watched: list[str] | None = None
SUSPECT = ("exec", "compile", "import", "pickle.find_class", "os.system", "open", "marshal.loads")


def _audit(event: str, _arguments: Any) -> None:
    if watched is not None and event in SUSPECT:
        watched.append(event)


@pytest.fixture(scope="module")
def nothing_is_run() -> None:
    clean("\ud800")  # loads a codec, once
    sys.addaudithook(_audit)


@contextmanager
def audited() -> Iterator[list[str]]:
    """What our side runs, opens and imports meanwhile."""
    global watched  # noqa: PLW0603 - an audit hook cannot be taken away again
    watched = []
    try:
        yield watched
    finally:
        watched = None


class Parrot(Sandbox):
    """A sandbox whose worker says what it was given, whatever it is told."""

    policy: Literal["restricted"] = "restricted"

    def __init__(self, said: bytes) -> None:
        self._said = said

    def describe(self) -> str:
        return "Nothing happens here."

    def open(self) -> PipeTransport:
        pipes = Pipes()
        with tempfile.TemporaryFile() as file:
            file.write(self._said)
            file.seek(0)
            process = subprocess.Popen(
                ["/bin/cat"], stdin=file, stdout=pipes.worker_write, start_new_session=True
            )
        pipes.hand_over()
        return ParrotTransport(pipes, process)


class ParrotTransport(PipeTransport):
    def __init__(self, pipes: Pipes, process: subprocess.Popen[bytes]) -> None:
        super().__init__(pipes)
        self._process = process

    def interrupt(self) -> bool:
        return False

    def kill(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, 9)
        self._end()

    def close(self) -> None:
        self.kill()
        self._process.wait()
        self._close_pipes()


def talk(said: bytes) -> tuple[State, list[str]]:
    """Serve the worker until it has ended or broken the protocol."""
    transport = Parrot(said).open()
    session = Session(LIMITS)
    try:
        data: list[bytes] = list(
            session.start(Setup(policy=policy_data("full"), functions=sub_call_functions()))
        )
        with audited() as run:
            for _ in range(100):
                got = transport.exchange(data, 0.2)
                data = []
                session.receive(got.data, eof=got.eof or got.timed_out)
                while (event := session.next_event()) is not None:
                    if isinstance(event, CallRequested):
                        results = [{"value": "x"} for _ in event.items]
                        data.append(session.reply(event.call_id, results))
                    elif isinstance(event, Ready | CellFinished):
                        data.append(session.execute("c1", "pass"))
                if session.state is State.CLOSED:
                    return session.state, run
        raise AssertionError("it never ended")
    except ProtocolError:
        return session.state, run
    finally:
        transport.close()


@pytest.mark.usefixtures("nothing_is_run", "nothing_left_behind")
@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(streams)
def test_whatever_a_worker_says_ends_the_session_in_order(said: bytes) -> None:
    state, run = talk(said)
    assert state in (State.CLOSED, State.BROKEN)
    assert run == []


@pytest.mark.usefixtures("nothing_left_behind")
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(streams)
def test_whatever_a_worker_says_a_run_ends_in_order(said: bytes) -> None:
    """The root is told that its cell has ended the REPL; a run without a REPL is a SandboxError."""
    root = ScriptedChatModel(replies=["```repl\nx = 1\n```", "```repl\nFINAL(1)\n```"])
    config = RLMConfig(sandbox_timeout=0.05, max_iterations=2)
    rlm = RLM(
        root,
        sub_model=ScriptedChatModel(respond=lambda _: "x"),
        config=config,
        sandbox=Parrot(said),
    )
    try:
        response = rlm.generate("q", "some text")
    except SandboxError:
        return
    assert response.trajectory[0].cells[0].status in ("died", "timeout", "ok", "error")
    assert root.calls


def test_the_noise_reaches_every_state() -> None:
    """A worker that says the right thing gets through, so the strategies are not all noise."""
    state, run = talk(encode_frame(READY) + encode_frame(CALL) + encode_frame(DONE))
    assert (state, run) == (State.CLOSED, [])
    state, _ = talk(encode_frame(READY) + encode_frame(DONE) + b"\xff\xff\xff\xffJ")
    assert state is State.BROKEN
