"""The watch over a worker's memory that macOS needs, over real workers of this system."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from langchain_replm.sandbox import ProcessSandbox, _memory
from langchain_replm.sandbox._child import start_worker
from langchain_replm.sandbox._memory import WatchedTransport
from tests import worker_harness
from tests.worker_harness import Harness, WorkerDiedError

MIB = 1024 * 1024

pytestmark = pytest.mark.usefixtures("nothing_left_behind")


class Watched(ProcessSandbox):
    """Without a jail; the memory that is watched for is its own number."""

    watched_bytes = 100 * MIB

    def open(self) -> WatchedTransport:
        return start_worker(
            self._command, lambda child: WatchedTransport(child, self.watched_bytes)
        )


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(_memory, "EXTRA_BYTES", 50 * MIB)
    sandbox = Watched("subprocess", isolation="process", memory_bytes=8 * 1024 * MIB)
    monkeypatch.setattr(worker_harness, "make_sandbox", lambda _: sandbox)
    opened: list[Harness] = []

    def open_one(**options: Any) -> Harness:
        opened.append(Harness("watched", **options))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def test_a_worker_that_takes_too_much_is_killed(harness: Any) -> None:
    worker = harness()
    assert worker.output("x = bytearray(20_000_000)\nprint(1)") == "1\n"
    with pytest.raises(WorkerDiedError):
        worker.run("y = b'x' * 300_000_000\nwhile True: pass")


def test_a_large_context_makes_room_for_itself(harness: Any) -> None:
    worker = harness(context="0123456789" * 5_000_000)
    assert worker.output("y = b'x' * 100_000_000\nimport time\ntime.sleep(0.5)\nprint(1)") == "1\n"


def test_a_forgotten_worker_is_not_held_by_its_watch() -> None:
    transport = Watched("subprocess", isolation="process").open()
    seen = weakref.ref(transport)
    del transport
    gc.collect()
    assert seen() is None
