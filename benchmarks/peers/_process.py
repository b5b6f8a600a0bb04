"""A driver in a process of its own: ask it, watch its memory, end it and all that it started."""

from __future__ import annotations

import json
import os
import re
import selectors
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Self

DRIVER = Path(__file__).with_name("drivers") / "_driver.py"
SAMPLE_SECONDS = 0.01
TICKS = os.sysconf("SC_CLK_TCK")


class NoAnswerError(Exception):
    """The driver is silent, or gone."""


class Process:
    """One driver. Use it as a context manager."""

    def __init__(self, python: Path, name: str, base_url: str) -> None:
        self._command = [str(python), str(DRIVER), name, base_url]

    def __enter__(self) -> Self:
        self._noise = tempfile.TemporaryFile()
        self._home = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)  # some write files
        # Named as a package by nobody: what is imported must come from its own environment.
        hidden = ("PYTHONPATH", "OPENAI_API_KEY", "PYTHONDONTWRITEBYTECODE")
        environment = {name: value for name, value in os.environ.items() if name not in hidden}
        if self._command[2] == "ours":
            environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
        self._child = subprocess.Popen(
            self._command,
            cwd=self._home.name,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._noise,
            start_new_session=True,
        )
        return self

    def __exit__(self, *exc_info: object) -> None:
        pids = tree(self._child.pid)
        for pid in pids:
            _kill(pid)
        self._child.communicate()
        self._noise.close()
        self._home.cleanup()

    @property
    def pid(self) -> int:
        return self._child.pid

    def send(self, **command: Any) -> None:
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(json.dumps(command).encode() + b"\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            raise NoAnswerError(self._why("the process has ended")) from None

    def ask(self, seconds: float, **command: Any) -> dict[str, Any]:
        """Send a command and wait for what comes back.

        Raises:
            NoAnswerError: Nothing came back in that time.
        """
        self.send(**command)
        assert self._child.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._child.stdout, selectors.EVENT_READ)
            if not selector.select(seconds):
                raise NoAnswerError(f"no answer within {seconds:.0f} s")
        line = self._child.stdout.readline()
        if not line:
            raise NoAnswerError(self._why("the process has ended"))
        return json.loads(line)

    def _why(self, text: str) -> str:
        self._noise.seek(0)
        said = self._noise.read().decode(errors="replace").strip().splitlines()
        return f"{text}: {said[-1][:200]}" if said else text

    def cores(self, seconds: float = 1.0) -> float:
        """How many cores the process and its children keep busy while nobody asks for anything."""
        before = sum(map(_ticks, tree(self.pid)))
        time.sleep(seconds)
        return max(0.0, sum(map(_ticks, tree(self.pid))) - before) / TICKS / seconds


class Memory:
    """The most bytes that a process and its children hold together while the block runs."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self.before = self.peak = held(self._pid)
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def growth(self) -> int:
        return self.peak - self.before

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self.peak = max(self.peak, held(self._pid))


def held(pid: int) -> int:
    """Bytes of a process and its children; pages that they share are counted once."""
    return sum(map(_bytes, tree(pid)))


def tree(pid: int) -> list[int]:
    """A process and all that come from it."""
    found = [pid]
    for parent in found:
        try:
            for task in Path(f"/proc/{parent}/task").iterdir():
                children = (task / "children").read_text("ascii").split()
                found += [int(child) for child in children]
        except OSError:
            continue
    return found


def _bytes(pid: int) -> int:
    for name, field in (("smaps_rollup", "Pss"), ("status", "VmRSS")):
        try:
            text = Path(f"/proc/{pid}/{name}").read_text("ascii")
        except OSError:
            continue
        if line := re.search(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE):
            return int(line[1]) * 1024
    return 0


def _ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
