"""Bytes to and from a worker on this machine, over two pipes, and a bell that ends a wait.

What a worker does or leaves undone never blocks us longer than the caller's time allows, and every
descriptor has one owner and is closed once.
"""

from __future__ import annotations

import os
import selectors
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from langchain_replm.sandbox.base import Exchanged, Transport

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

READ_BYTES: Final = 256 * 1024
MAX_READ_BYTES: Final = 1024 * 1024
"""Security limit: bytes taken in one exchange, so that a flood is judged before it is collected."""

PIPE_BYTES: Final = 1024 * 1024
"""Wished size of a pipe; a context crosses a larger pipe in fewer turns. The default is 64 KiB."""


class Pipes:
    """Both ends of the wire on the host's side, and the bell that ends a wait."""

    worker_read: int
    write_fd: int
    read_fd: int
    worker_write: int
    bell_read: int
    bell_write: int

    def __init__(self) -> None:
        self.worker_read, self.write_fd = os.pipe()
        self.read_fd, self.worker_write = os.pipe()
        self.bell_read, self.bell_write = os.pipe()
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._is_closed = False
        for fd in (self.write_fd, self.read_fd, self.bell_read, self.bell_write):
            os.set_blocking(fd, False)
        _widen(self.write_fd)
        _widen(self.read_fd)

    def ring(self) -> None:
        """End the running or the next wait; from any thread."""
        with self._lock:
            if not self._is_closed and os.getpid() == self._owner:
                # A full pipe already says what this would say.
                with suppress(BlockingIOError):
                    os.write(self.bell_write, b"\0")

    def hand_over(self) -> None:
        """Close the worker's ends, once the worker has them."""
        os.close(self.worker_read)
        os.close(self.worker_write)

    def close(self) -> None:
        """Close our ends, once."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            for fd in (self.write_fd, self.read_fd, self.bell_read, self.bell_write):
                os.close(fd)


class PipeTransport(Transport):
    """Bytes over two pipes: what every worker on this machine has in common.

    Args:
        pipes: The host's ends; closed by `close`.
    """

    def __init__(self, pipes: Pipes) -> None:
        self._pipes = pipes
        self._outbox: list[Iterator[bytes]] = []
        self._rest = memoryview(b"")
        self._turn = threading.RLock()
        self._is_ended = False
        self._is_closed = False

    def exchange(self, data: Iterable[bytes], timeout_seconds: float | None) -> Exchanged:
        """Send and receive; see `Transport.exchange`.

        When the time runs out, a wake comes, or a megabyte was received before everything is sent,
        the rest is kept and sent first by the next exchange.
        """
        start = time.monotonic()
        deadline = None if timeout_seconds is None else start + timeout_seconds
        with self._turn:
            if self._is_closed:
                return Exchanged(data=b"", elapsed_seconds=0.0, eof=True)
            self._outbox.append(iter(data))
            received, is_eof, is_rung = self._pump(deadline)
        return Exchanged(
            data=received,
            elapsed_seconds=time.monotonic() - start,
            eof=is_eof,
            timed_out=not (received or is_eof or is_rung),
        )

    def wake(self) -> None:
        """End the running or the next exchange early."""
        self._pipes.ring()

    def _end(self) -> None:
        """Let no exchange wait any longer: the worker is killed or abandoned."""
        self._is_ended = True
        self._pipes.ring()

    def _close_pipes(self) -> None:
        """Close the descriptors when no thread is inside an exchange."""
        self._end()
        with self._turn:
            self._is_closed = True
            self._pipes.close()
            self._outbox.clear()
            self._rest = memoryview(b"")

    def _pump(self, deadline: float | None) -> tuple[bytes, bool, bool]:
        """Write and read until there is something to tell.

        Returns:
            Bytes received, whether the worker is gone, whether the bell rang.
        """
        received = bytearray()
        pipes = self._pipes
        is_eof = is_rung = False
        with selectors.DefaultSelector() as selector:
            selector.register(pipes.read_fd, selectors.EVENT_READ)
            selector.register(pipes.bell_read, selectors.EVENT_READ)
            is_sending = self._has_more()
            if is_sending:
                selector.register(pipes.write_fd, selectors.EVENT_WRITE)
            while True:
                if self._is_ended:
                    # A grandchild may hold the pipe open: the end of file would never come.
                    self._read_into(received)
                    return bytes(received), True, is_rung
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                ready = {key.fd for key, _ in selector.select(left)}
                if pipes.write_fd in ready and not self._write():
                    selector.unregister(pipes.write_fd)
                    is_sending = False
                if pipes.read_fd in ready:
                    is_eof = self._read_into(received)
                if pipes.bell_read in ready:
                    is_rung = True
                    _drain(pipes.bell_read)
                is_full = len(received) >= MAX_READ_BYTES
                is_told = is_eof or is_rung or is_full or (bool(received) and not is_sending)
                # Judged by the clock too: a worker that reads byte by byte is always ready.
                is_late = left is not None and (left <= 0 or not ready)
                if (is_told and not self._is_ended) or is_late:
                    return bytes(received), is_eof, is_rung

    def _has_more(self) -> bool:
        """Fetch the next chunk that is to be sent, when the last one is gone."""
        while not self._rest:
            if not self._outbox:
                return False
            chunk = next(self._outbox[0], None)
            if chunk is None:
                self._outbox.pop(0)
            else:
                self._rest = memoryview(chunk)
        return True

    def _write(self) -> bool:
        """Write what the pipe takes; False when there is nothing more to write."""
        try:
            while self._has_more():
                self._rest = self._rest[os.write(self._pipes.write_fd, self._rest) :]
        except BlockingIOError:
            return True
        except BrokenPipeError:
            # The worker is ending; what it still says, and its end of file, come by reading.
            self._outbox.clear()
            self._rest = memoryview(b"")
        return False

    def _read_into(self, received: bytearray) -> bool:
        """Read what is there, up to the limit; True at the end of file."""
        while len(received) < MAX_READ_BYTES:
            try:
                data = os.read(self._pipes.read_fd, READ_BYTES)
            except BlockingIOError:
                return False
            if not data:
                return True
            received += data
        return False


def _widen(fd: int) -> None:
    """Ask for a larger pipe, where the system has that."""
    with suppress(ImportError, AttributeError, OSError):
        import fcntl  # noqa: PLC0415 - POSIX only

        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _drain(fd: int) -> None:
    with suppress(BlockingIOError):
        while os.read(fd, 4096):
            pass
