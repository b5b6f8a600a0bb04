"""One worker process: what it is started with, how it is signalled, and how it ends for certain.

1. A process id is signalled only while the process is not yet reaped, so that never another process
   is hit.
2. A forked copy of the host may hold our objects; it closes its descriptors and touches no worker.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

from langchain_replm.errors import SandboxError
from langchain_replm.sandbox._pipes import Pipes, PipeTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from langchain_replm.sandbox.base import Exchanged

T = TypeVar("T")

STDERR_BYTES: Final = 4096
"""Most that a worker which failed to start may say."""

REAP_SECONDS: Final = 10.0
"""A killed process is gone within milliseconds, unless the kernel itself is stuck."""

ENVIRONMENT: Final = {
    "LC_ALL": "C.UTF-8",
    # One thread for linear algebra: many would each reserve memory that the worker may not have.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
    # Sets and dicts of strings have the same order in a replay as in the first run.
    "PYTHONHASHSEED": "0",
}
"""The whole environment of a worker; nothing of the host's own, where the secrets are."""


class SidePipes:
    """The lifeline, which the worker dies of when it closes, and the worker's last words."""

    lifeline: int
    stderr: int

    def __init__(self) -> None:
        self.lifeline, self._hold = os.pipe()
        try:
            self._words, self.stderr = os.pipe()
        except OSError:
            self.hand_over()
            os.close(self._hold)
            raise
        self._lock = threading.Lock()
        self._is_closed = False
        os.set_blocking(self._words, False)

    def hand_over(self) -> None:
        """Close the worker's ends, once the worker has them."""
        os.close(self.lifeline)
        if hasattr(self, "stderr"):
            os.close(self.stderr)

    def last_words(self) -> str:
        """Give what the worker wrote to its standard error before its first cell."""
        with self._lock, suppress(OSError):
            if not self._is_closed:
                return os.read(self._words, STDERR_BYTES).decode("utf-8", "replace").strip()
        return ""

    def close(self) -> None:
        """Close our ends, once."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                os.close(self._hold)
                os.close(self._words)


class Child:
    """A worker process and its pipes, and the one way in which both end."""

    def __init__(
        self, process: subprocess.Popen[bytes], pipes: Pipes, side_pipes: SidePipes
    ) -> None:
        self.process = process
        self.pipes = pipes
        self.side_pipes = side_pipes
        self._owner = os.getpid()
        self._lock = threading.Lock()

    def signal(self, number: int, *, group: bool) -> bool:
        """Signal the worker unless it is reaped or belongs to the process we were forked from."""
        if os.getpid() != self._owner:
            return False
        with self._lock:
            if self.process.returncode is not None:
                return False
            with suppress(ProcessLookupError, PermissionError):
                (os.killpg if group else os.kill)(self.process.pid, number)
                return True
        return False

    def reap(self) -> None:
        """Kill and wait, then nothing of the worker is left."""
        if os.getpid() != self._owner:
            # Popen's destructor would wait for a process that is not our child.
            self.process.returncode = 0
            self.side_pipes.close()
            return
        self.signal(signal.SIGKILL, group=True)
        self.side_pipes.close()
        with suppress(subprocess.TimeoutExpired), self._lock:
            self.process.wait(timeout=REAP_SECONDS)

    def end(self) -> None:
        """Do all of it: for the garbage collector and the end of the interpreter."""
        self.reap()
        self.pipes.close()


class ProcessTransport(PipeTransport):
    """The conversation with one child process."""

    def __init__(self, child: Child) -> None:
        super().__init__(child.pipes)
        self._child = child
        self._has_spoken = False
        # Runs when the transport is forgotten, and at exit at the latest.
        self._finalizer = weakref.finalize(self, child.end)

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._child.process.pid

    def exchange(self, data: Iterable[bytes], timeout_seconds: float | None) -> Exchanged:
        """Send and receive; see `Transport.exchange`.

        Raises:
            SandboxError: The worker ended before its first message and has said why.
        """
        done = super().exchange(data, timeout_seconds)
        self._has_spoken = self._has_spoken or bool(done.data)
        if done.eof and not self._has_spoken and not self._is_ended:
            words = self._child.side_pipes.last_words()
            if words:
                msg = f"The sandbox worker could not be started: {words}"
                raise SandboxError(msg)
        return done

    def interrupt(self) -> bool:
        """Send `SIGINT`; a worker without a running cell ignores it."""
        return self._child.signal(signal.SIGINT, group=False)

    def kill(self) -> None:
        """Kill the worker's process group."""
        self._child.signal(signal.SIGKILL, group=True)
        self._end()

    def close(self) -> None:
        """Kill, reap, close."""
        self.kill()
        self._child.reap()
        self._close_pipes()
        self._finalizer.detach()


def start_worker(command: Callable[[int, int, int], list[str]], made: Callable[[Child], T]) -> T:
    """Start a worker's program.

    Args:
        command: Gives the command line for three descriptors: where the program reads frames,
            where it writes them, and its lifeline.
        made: Makes the transport.

    Raises:
        SandboxError: It could not be started.
    """
    try:
        pipes = Pipes()
    except OSError as error:
        msg = f"The pipes to a worker could not be made: {error}"
        raise SandboxError(msg) from error
    try:
        return made(_start(command, pipes))
    except (OSError, ValueError) as error:
        pipes.close()
        msg = f"The worker could not be started: {error}"
        raise SandboxError(msg) from error
    finally:
        pipes.hand_over()


def _start(command: Callable[[int, int, int], list[str]], pipes: Pipes) -> Child:
    side_pipes = SidePipes()
    given = (pipes.worker_read, pipes.worker_write, side_pipes.lifeline)
    try:
        process = subprocess.Popen(  # noqa: S603 - our own program, nothing of the user's
            command(*given),
            pass_fds=given,
            env=ENVIRONMENT,
            cwd="/",
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=side_pipes.stderr,
        )
    except BaseException:
        side_pipes.close()
        raise
    finally:
        side_pipes.hand_over()
    return Child(process, pipes, side_pipes)
