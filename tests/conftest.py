"""What every test gets: unit tests without sockets, and no worker left behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_socket

from tests import processes


@pytest.fixture(scope="session", autouse=True)
def _no_process_outlives_the_tests() -> Iterator[None]:
    yield
    assert processes.outlived() == []


@pytest.fixture(autouse=True)
def _ctrl_c_interrupts() -> None:
    """Also in tests that a shell has started in its background, with SIGINT ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One process more than processors: much of a test's time it waits for a worker or a server."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(autouse=True)
def _no_network_in_unit_tests(request: pytest.FixtureRequest) -> Iterator[None]:
    if "unit_tests" not in request.path.parts:
        yield
        return
    pytest_socket.disable_socket(allow_unix_socket=True)  # an event loop needs a socket pair
    yield
    pytest_socket.enable_socket()


@pytest.fixture(autouse=True)
def _no_tracing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("LANGSMITH_", "LANGCHAIN_", "OPENAI_")):
            monkeypatch.delenv(name)


@pytest.fixture
async def clients_closed():
    """Close the clients of `tests.clients` after the test."""
    yield
    from tests import clients  # langchain_openai is slow to import

    await clients.close_all()


@pytest.fixture
def nothing_left_behind():
    """Fail if the test leaves a child process, a descriptor or a thread of ours."""
    before = _ours()
    yield
    assert _more_than(before) == (0, 0, 0)


@pytest.fixture
def no_worker_left():
    """As above, without descriptors: an HTTP client keeps its connections."""
    before = _ours()[:2]
    yield
    assert _more_than(before) == (0, 0)


def _more_than(before: tuple[int, ...]) -> tuple[int, ...]:
    """What is there and was not; a thread that has just been told to end may take a moment.

    Less than before is none of ours: the collector has ended what an earlier test forgot.
    """
    deadline = time.monotonic() + 3
    while any(more := _growth(before)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return more


def _growth(before: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(max(0, now - was) for now, was in zip(_ours(), before, strict=False))


def _ours() -> tuple[int, int, int]:
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("rlm-session")]
    return len(children), len(threads), descriptors
