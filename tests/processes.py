"""Processes that have outlived whoever started them: workers of this tree, and database servers."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from langchain_replm.sandbox.process import WORKER
from tests import postgres_server

PATIENCE_SECONDS = 30.0
"""A worker whose host was killed notices at once; a busy machine may take a while."""


def outlived() -> list[str]:
    """The command lines of what is left and does not end by itself."""
    left = set(_left())
    deadline = time.monotonic() + PATIENCE_SECONDS
    # Only what is there now: other processes of the tests may kill hosts of their own meanwhile.
    while (left := left & set(_left())) and time.monotonic() < deadline:
        time.sleep(0.01)
    return [f"{pid}: {command}" for pid, command in sorted(left)]


def _left() -> Iterator[tuple[int, str]]:
    folders = [str(folder) for folder in postgres_server.STARTED]
    there = {pid: (parent, command) for pid, parent, command in running()}
    for pid, (parent, command) in there.items():
        # A worker of other tests at this moment has a Python that waits for it.
        is_alone = parent == os.getpid() or "python" not in there.get(parent, (0, ""))[1]
        is_orphan = str(WORKER) in command and is_alone
        if is_orphan or any(folder in command for folder in folders):
            yield pid, command


def children() -> set[str]:
    """Direct children of this process, zombies included, whichever thread has started them."""
    found: set[str] = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # the thread has ended meanwhile
            found |= set((task / "children").read_text().split())
    return found


def running() -> Iterator[tuple[int, int, str]]:
    """Process id, that of the parent, and command line; a process that is dead has no line."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            yield int(folder.name), int(parent), command
