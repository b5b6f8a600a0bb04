"""Cells in any sandbox of Deep Agents: E2B, Modal, Daytona, Runloop, LangSmith, your own.

Such a backend can run a command to its end, and take and give files; it has no channel that stays
open. So a small server is started over there (`_remote.py`), and the wire is carried by commands:
one hands over what we say and waits for what the worker says. The backend's package is not
imported here: what counts is the shape of the object.
"""

from __future__ import annotations

import threading
import time
import weakref
from itertools import chain
from typing import TYPE_CHECKING, get_args

from langchain_replm.errors import ConfigurationError, SandboxError
from langchain_replm.sandbox._backend import STEP_SECONDS, Remote
from langchain_replm.sandbox._policy import PolicyName
from langchain_replm.sandbox.base import (
    GUARANTEES,
    RESTRICTED,
    Exchanged,
    Guarantee,
    Sandbox,
    Transport,
    check_required,
    refuse_missing,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from concurrent.futures import Future

    from langchain_replm.sandbox._backend import Backend


class DeepAgentsTransport(Transport):
    """The conversation with a worker in a sandbox of Deep Agents."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._turn = threading.Lock()
        self._bell = threading.Event()
        self._is_rung = self._is_ended = self._has_spoken = False
        self._step: Future[tuple[bytes, bool]] | None = None
        self._sent: Future[None] | None = None
        self._finalizer = weakref.finalize(self, remote.close)

    def exchange(self, data: Iterable[bytes], timeout_seconds: float | None) -> Exchanged:
        """Send and receive; see `Transport.exchange`.

        Raises:
            SandboxError: The backend failed, or the worker could not be started.
        """
        start = time.monotonic()
        deadline = None if timeout_seconds is None else start + timeout_seconds
        with self._turn:
            received, is_eof, is_rung = self._pump(iter(data), deadline)
        return Exchanged(
            data=received,
            elapsed_seconds=time.monotonic() - start,
            eof=is_eof,
            timed_out=not (received or is_eof or is_rung),
        )

    def _pump(self, chunks: Iterator[bytes], deadline: float | None) -> tuple[bytes, bool, bool]:
        first = next(chunks, None)
        chunks = chain([first] if first else [], chunks)
        if self._step is not None and first:
            self._sent = self._remote.send(chunks)
            chunks = iter(())
        while True:
            if self._is_ended:
                return b"", True, False
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if self._step is None:
                self._start_step(chunks, left)
                chunks = iter(())
            is_late = not self._bell.wait(left)
            self._bell.clear()
            is_rung, self._is_rung = self._is_rung, False
            received, is_eof = self._taken()
            if received or is_eof or is_rung or is_late:
                return received, is_eof, is_rung

    def _start_step(self, chunks: Iterator[bytes], left: float | None) -> None:
        seconds = STEP_SECONDS if left is None else left
        self._step = self._remote.submit(self._remote.step, chunks, seconds)
        bell = self._bell
        self._step.add_done_callback(lambda _: bell.set())

    def _taken(self) -> tuple[bytes, bool]:
        """Take what a step has brought, if one is done."""
        if self._sent is not None and self._sent.done():
            sent, self._sent = self._sent, None
            sent.result()
        if self._step is None or not self._step.done() or self._is_ended:
            return b"", False
        step, self._step = self._step, None
        received, is_eof = step.result()
        self._has_spoken = self._has_spoken or bool(received)
        if is_eof and not self._has_spoken:
            msg = f"The sandbox worker could not be started: {self._remote.last_words()}"
            raise SandboxError(msg)
        return received, is_eof

    def wake(self) -> None:
        """End the running or the next exchange early."""
        self._is_rung = True
        self._bell.set()

    def interrupt(self) -> bool:
        """Say no: a command may take longer than a cell is given, so a late cell is killed."""
        return False

    def kill(self) -> None:
        """Have the worker killed, without waiting for it."""
        if not self._is_ended:
            self._is_ended = True
            self._remote.end()
            self._bell.set()

    def close(self) -> None:
        """End the worker and remove what was uploaded."""
        self.kill()
        if self._finalizer.detach() is not None:
            self._remote.close()


class DeepAgentsSandbox(Sandbox):
    """Cells run in a sandbox of Deep Agents, or in any object of that shape.

    A cell costs one command, each batch of sub-calls another two; with a distant backend let cells
    use `llm_query_batch`. A cell over its time is killed and the session rebuilt. The backend is
    used from up to three threads at a time, as an agent with parallel tool calls does. It is yours:
    it is neither started nor stopped here.

    Args:
        backend: Has `execute(command)`, `upload_files(files)`, `download_files(paths)` as in
            `deepagents.backends.protocol.SandboxBackendProtocol`.
        vouched: What the backend guarantees, by what means, as far as *you* know and vouch for it.
            Nothing of it is checked.
        policy: `"full"`: all of Python. `"restricted"`: with an import allow-list on top.
        python: Python 3.11 or newer over there.
        folder: An absolute path over there in which a folder is made for each session.
        idle_seconds: A worker whose host has not asked for so long ends itself.
        require: Guarantees without which `open` fails.

    Raises:
        ConfigurationError: An argument is wrong.
    """

    def __init__(  # noqa: PLR0913 - one argument for each thing that only the caller knows
        self,
        backend: Backend,
        *,
        vouched: Mapping[Guarantee, str] | None = None,
        policy: PolicyName = "full",
        python: str = "python3",
        folder: str = "/tmp",  # noqa: S108 - over there
        idle_seconds: float = 3600.0,
        require: Collection[Guarantee] = (),
    ) -> None:
        missing = [name for name in ("execute", "upload_files", "download_files")
                   if not callable(getattr(backend, name, None))]  # fmt: skip
        if missing:
            msg = f"The backend, a {type(backend).__name__}, has no {', '.join(missing)}."
            raise ConfigurationError(msg)
        if policy not in get_args(PolicyName):
            msg = f"DeepAgentsSandbox runs 'full' or 'restricted', not {policy!r}."
            raise ConfigurationError(msg)
        if not folder.startswith("/") or idle_seconds <= 0:
            msg = f"folder is an absolute path, not {folder!r}; idle_seconds is above 0."
            raise ConfigurationError(msg)
        check_required(vouched or {})
        self.backend: Backend = backend
        self.python: str = python
        self.folder: str = folder
        self.vouched: dict[Guarantee, str] = dict(vouched or {})
        self.idle_seconds: float = idle_seconds
        self.require: tuple[Guarantee, ...] = check_required(require)
        self._policy: PolicyName = policy

    @property
    def policy(self) -> PolicyName:
        """The language policy over there."""
        return self._policy

    def describe(self) -> str:
        """Say what cells may do here."""
        if self._policy == "restricted":
            return f"Cells run in a sandbox {RESTRICTED}"
        return (
            "Cells run in a sandbox with all of Python and the packages that are installed there; "
            "do not rely on files or the network."
        )

    def guarantees(self) -> Mapping[Guarantee, str | None]:
        """What you have vouched for: nothing is known here of what the backend is."""
        return {name: self.vouched.get(name) for name in GUARANTEES}

    def open(self) -> DeepAgentsTransport:
        """Start a worker.

        Raises:
            SandboxError: The backend failed, or a required guarantee is missing.
        """
        refuse_missing(self, self.require)
        remote = Remote(self.backend, folder=self.folder, python=self.python)
        flags = ["-P", "-s", "-X", "utf8", *(["-S"] if self._policy == "restricted" else [])]
        try:
            remote.start(flags, self.idle_seconds)
        except BaseException:
            remote.close()
            raise
        return DeepAgentsTransport(remote)
