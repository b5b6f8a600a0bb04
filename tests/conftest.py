"""What every test gets: unit tests without sockets, and no worker left behind."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "unit_tests" in Path(item.fspath).parts:
            item.add_marker(pytest.mark.disable_socket)
            item.add_marker(pytest.mark.allow_hosts([]))


@pytest.fixture(autouse=True)
def _no_tracing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("LANGSMITH_", "LANGCHAIN_", "OPENAI_")):
            monkeypatch.delenv(name)


@pytest.fixture
def nothing_left_behind():
    """Fail if the test leaves a child process, a descriptor or a thread of ours."""
    before = _ours()
    yield
    after = _ours()
    assert after == before


def _ours() -> tuple[int, int, int]:
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    descriptors = len(os.listdir("/proc/self/fd"))
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("rlm-session")]
    return len(children), descriptors, len(threads)
