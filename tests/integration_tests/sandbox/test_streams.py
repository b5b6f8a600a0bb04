"""Workers over their standard streams, as Windows needs them, on the system of the tests."""

from __future__ import annotations

import gc
import subprocess
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from langchain_replm import RLM, RLMConfig
from langchain_replm.errors import SandboxError
from langchain_replm.sandbox import ProcessSandbox
from langchain_replm.sandbox._streams import StreamTransport, start_streams
from langchain_replm.sandbox._wire import WireLimits
from langchain_replm.sandbox.process import WORKER
from langchain_replm.testing import ScriptedChatModel
from tests import worker_harness
from tests.scenarios import cell
from tests.worker_harness import Harness, WorkerDiedError

pytestmark = pytest.mark.usefixtures("nothing_left_behind")

released: list[int] = []


def unlimited(process: subprocess.Popen[bytes]) -> Any:
    return lambda: released.append(process.pid)


class StreamSandbox(ProcessSandbox):
    def open(self) -> StreamTransport:
        return start_streams(lambda *_: [*self._python(), str(WORKER), "0", "1"], unlimited)


def make() -> StreamSandbox:
    return StreamSandbox("subprocess", isolation="process")


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(worker_harness, "make_sandbox", lambda _: make())
    opened: list[Harness] = []

    def open_one(**options: Any) -> Harness:
        opened.append(Harness("streams", **options))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_run_with_a_cell_that_must_be_killed(colour: str) -> None:
    rlm = RLM(
        ScriptedChatModel(
            replies=[
                cell("a = llm_query('one')", "print(a)"),
                cell("while True: pass"),
                cell("FINAL([a, llm_query_batch(['a', 'b'])])"),
            ]
        ),
        sub_model=ScriptedChatModel(respond=lambda messages: messages[-1].content.upper()),
        config=RLMConfig(sandbox_timeout=1),
        sandbox=make(),
    )
    response = rlm.generate("q", "text") if colour == "sync" else await rlm.agenerate("q", "text")
    assert response.answer == '["ONE", ["A", "B"]]'
    assert response.trajectory[1].cells[0].status == "timeout"


def test_what_is_printed_by_any_means_stays_off_the_wire(harness: Any) -> None:
    worker = harness()
    code = (
        "import os, subprocess, sys\n"
        "for fd in (0, 1, 2):\n"
        "    os.write(fd, b'x' * 100_000)\n"
        "sys.__stdout__.write('x' * 10_000)\n"
        "sys.__stdout__.flush()\n"
        "subprocess.run([sys.executable, '-c', 'print(9 * 10**9)'], check=True)\n"
        "try: print(len(sys.__stdin__.read()))\n"
        "except OSError: print('closed')"
    )
    assert worker.output(code) == "0\n"
    assert worker.output("print(1)") == "1\n"


def test_large_and_many(harness: Any) -> None:
    text = "ä \r\n\x1a\x04" * 2_000_000
    worker = harness(context=text, limits=WireLimits(output_head_chars=3_000_000))
    assert worker.output("context == 'ä \\r\\n\\x1a\\x04' * 2_000_000") == "True\n"
    assert len(worker.output("print('y' * 3_000_000)")) == 3_000_001
    code = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(16) as pool: r = list(pool.map(llm_query, map(str, range(100))))\n"
        "r == [f'reply to {n}' for n in range(100)]"
    )
    assert worker.output(code) == "True\n"


def test_a_flood_is_not_collected_before_it_is_judged() -> None:
    transport = start_streams(
        lambda *_: ["/bin/sh", "-c", "exec head -c 50000000 /dev/zero"], unlimited
    )
    taken = transport.exchange([], 10.0)
    time.sleep(0.2)
    assert len(taken.data) < 3_000_000
    assert len(transport._streams.received) < 3_000_000
    transport.close()


def test_a_worker_that_dies_is_seen(harness: Any) -> None:
    with pytest.raises(WorkerDiedError):
        harness().run("import os\nos._exit(3)")


def test_wakes_and_waits(harness: Any) -> None:
    transport = harness().transport
    assert transport.exchange([], 0.0).timed_out
    transport.wake()
    done = transport.exchange([], 30.0)
    assert (done.data, done.eof, done.timed_out) == (b"", False, False)
    assert not transport.interrupt()


def test_kill_close_and_forget() -> None:
    transport = make().open()
    transport.kill()
    transport.kill()
    assert transport.exchange([b"late"], 5.0).eof
    transport.close()
    transport.close()
    assert transport.exchange([], 5.0).eof
    assert released[-1] == transport.pid
    forgotten = make().open()
    pid, seen = forgotten.pid, weakref.ref(forgotten)
    del forgotten
    gc.collect()
    assert seen() is None
    assert released[-1] == pid


def test_a_start_that_fails_is_an_error_and_leaves_nothing() -> None:
    with pytest.raises(SandboxError, match="could not be started"):
        start_streams(lambda *_: ["/no/such/python"], unlimited)

    def refuse(_: object) -> Any:
        raise OSError(5, "no job for you")

    with pytest.raises(SandboxError, match="no job for you"):
        start_streams(lambda *_: [*make()._python(), "-c", "import time; time.sleep(60)"], refuse)
