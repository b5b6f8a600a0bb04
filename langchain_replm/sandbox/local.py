"""Cells in the host's own process, for code that you trust: mode "none".

The worker's program runs in a thread of ours, over pipes, so that the loop meets the same wire. A
cell sees live objects, can do all that you can, and cannot be ended: `interrupt` reaches a thread
at its next step of Python, and a thread that never takes one is abandoned. Python's random numbers
are not seeded here, `sys.stdout` is not replaced; what a library prints by itself goes to the
host's own output.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, Literal

from langchain_replm.errors import SandboxError
from langchain_replm.sandbox import _worker
from langchain_replm.sandbox._pipes import Pipes, PipeTransport
from langchain_replm.sandbox._wire import RawText
from langchain_replm.sandbox.base import GUARANTEES, Guarantee, Sandbox

if TYPE_CHECKING:
    from collections.abc import Mapping


class LocalTransport(PipeTransport):
    """The conversation with a worker in a thread of this process."""

    def __init__(self, pipes: Pipes) -> None:
        super().__init__(pipes)
        self._shared: dict[str, Any] = {}
        self._worker = _worker.Local(pipes.worker_read, pipes.worker_write, self._shared)
        self._thread = threading.Thread(
            target=self._worker.serve, name="langchain_replm-local", daemon=True
        )
        self._thread.start()
        # The end of file lets the thread end; it holds no reference to this transport.
        self._finalizer = weakref.finalize(self, pipes.close)

    def interrupt(self) -> bool:
        """Raise `KeyboardInterrupt` in the cell at its next step of Python."""
        return self._worker.interrupt()

    def kill(self) -> None:
        """Interrupt and abandon: a thread cannot be killed."""
        self._worker.interrupt()
        self._end()

    def close(self) -> None:
        """Close our side; the thread ends by itself, at once if its cell can be interrupted."""
        self.kill()
        self._close_pipes()
        self._finalizer.detach()
        if threading.current_thread() is not self._thread:
            # An abandoned cell must not hold up its host.
            self._thread.join(timeout=1.0)

    def share(self, name: str, value: object) -> bool:
        """Put an object under a name in the REPL; call it before the setup is sent."""
        self._shared[name] = value.read() if isinstance(value, RawText) else value
        return True


class LocalSandbox(Sandbox):
    """Cells run in a thread of this process, with all of Python and no protection at all."""

    @property
    def policy(self) -> Literal["full"]:
        """All of Python."""
        return "full"

    def describe(self) -> str:
        """Say what cells may do here."""
        return "Cells run with all of Python and the installed packages in the caller's process."

    def guarantees(self) -> Mapping[Guarantee, str | None]:
        """Guarantee nothing: a cell is part of this process, and a thread cannot be killed."""
        return dict.fromkeys(GUARANTEES)

    def open(self) -> LocalTransport:
        """Start a worker.

        Raises:
            SandboxError: The worker could not be started.
        """
        if os.name != "posix":
            msg = "sandbox mode 'none' needs a POSIX system so far."
            raise SandboxError(msg)
        try:
            return LocalTransport(Pipes())
        except (OSError, RuntimeError) as error:
            msg = f"The worker's thread could not be started: {error}"
            raise SandboxError(msg) from error
