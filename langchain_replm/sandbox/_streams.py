"""A worker over its standard streams, by threads: where pipes cannot be polled.

Made for Windows, where `_pipes.py` and `_child.py` cannot work; runs everywhere, and is tested
where the tests run. One thread writes and one reads; the exchange waits for either.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
import weakref
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from langchain_replm.errors import SandboxError
from langchain_replm.sandbox._child import ENVIRONMENT, REAP_SECONDS
from langchain_replm.sandbox._pipes import MAX_READ_BYTES, READ_BYTES
from langchain_replm.sandbox.base import Exchanged, Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

NEEDED_BY_WINDOWS: Final = ("SYSTEMROOT",)
"""Python does not start there without it; it is the name of a folder and no secret."""


class Streams:
    """A process, its two streams, and the threads that serve them."""

    def __init__(self, process: subprocess.Popen[bytes], release: Callable[[], object]) -> None:
        self.process = process
        self.news = threading.Condition()
        self.received = bytearray()
        self.outbox: deque[Iterator[bytes]] = deque()
        self.is_eof = self.is_ended = False
        self._release = release
        self._threads = [
            threading.Thread(target=work, name="rlm-session-stream", daemon=True)
            for work in (self._read, self._write)
        ]
        for thread in self._threads:
            thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None  # noqa: S101 - for the type checker
        with suppress(OSError):
            while data := os.read(self.process.stdout.fileno(), READ_BYTES):
                with self.news:
                    # Security limit: a flood is judged before more of it is collected.
                    self.news.wait_for(lambda: self.is_ended or len(self.received) < MAX_READ_BYTES)
                    self.received += data
                    self.news.notify_all()
        with self.news:
            self.is_eof = True
            self.news.notify_all()

    def _write(self) -> None:
        assert self.process.stdin is not None  # noqa: S101 - for the type checker
        fd = self.process.stdin.fileno()
        with suppress(OSError):
            while True:
                with self.news:
                    self.news.wait_for(lambda: self.is_ended or self.outbox)
                    if self.is_ended:
                        return
                    chunks = self.outbox.popleft()
                for chunk in chunks:
                    view = memoryview(chunk)
                    while view:
                        view = view[os.write(fd, view[:READ_BYTES]) :]

    def kill(self) -> None:
        """End the worker, without waiting for it."""
        with self.news:
            self.is_ended = True
            self.news.notify_all()
        with suppress(OSError):
            self.process.kill()

    def end(self) -> None:
        """Do all of it: for `close`, the garbage collector and the end of the interpreter."""
        self.kill()
        self._release()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(REAP_SECONDS)
        for thread in self._threads:
            thread.join(REAP_SECONDS)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()


class StreamTransport(Transport):
    """The conversation with a worker over its standard streams."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._turn = threading.Lock()
        self._is_rung = False
        self._finalizer = weakref.finalize(self, streams.end)

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._streams.process.pid

    def exchange(self, data: Iterable[bytes], timeout_seconds: float | None) -> Exchanged:
        """Send and receive; see `Transport.exchange`."""
        start = time.monotonic()
        streams = self._streams
        with self._turn, streams.news:
            streams.outbox.append(iter(data))
            streams.news.notify_all()
            streams.news.wait_for(self._has_news, timeout_seconds)
            is_rung, self._is_rung = self._is_rung, False
            received = bytes(streams.received)
            streams.received.clear()
            streams.news.notify_all()
            is_eof = streams.is_ended or streams.is_eof
        return Exchanged(
            data=received,
            elapsed_seconds=time.monotonic() - start,
            eof=is_eof,
            timed_out=not (received or is_eof or is_rung),
        )

    def _has_news(self) -> bool:
        streams = self._streams
        return bool(streams.received) or streams.is_eof or streams.is_ended or self._is_rung

    def wake(self) -> None:
        """End the running or the next exchange early."""
        with self._streams.news:
            self._is_rung = True
            self._streams.news.notify_all()

    def interrupt(self) -> bool:
        """Say no: a process there cannot be interrupted without its whole console."""
        return False

    def kill(self) -> None:
        """End the worker."""
        self._streams.kill()

    def close(self) -> None:
        """Kill, reap, close."""
        if self._finalizer.detach() is not None:
            self._streams.end()


def start_streams(
    command: Callable[[int, int, int], list[str]],
    confine: Callable[[subprocess.Popen[bytes]], Callable[[], object]],
) -> StreamTransport:
    """Start a worker's program over its standard streams.

    Args:
        command: As for `_child.start_worker`; it is given 0, 1 and no lifeline.
        confine: Puts limits around the new process; gives what releases them.

    Raises:
        SandboxError: It could not be started or limited.
    """
    environment = {
        **ENVIRONMENT,
        **{name: os.environ[name] for name in NEEDED_BY_WINDOWS if name in os.environ},
    }
    try:
        process = subprocess.Popen(  # noqa: S603 - our own program, nothing of the user's
            command(0, 1, -1),
            env=environment,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except (OSError, ValueError) as error:
        msg = f"The worker could not be started: {error}"
        raise SandboxError(msg) from error
    try:
        release = confine(process)
    except OSError as error:
        process.kill()
        process.wait()
        process.communicate()
        msg = f"The worker could not be limited: {error}"
        raise SandboxError(msg) from error
    return StreamTransport(Streams(process, release))
