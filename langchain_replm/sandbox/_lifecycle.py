"""The worker of one run: started early, found ready, restarted when lost, closed for certain.

All blocking work of a session happens in one thread that the run owns, so that an async run never
blocks its event loop and never waits for a shared thread pool.
"""

from __future__ import annotations

import secrets
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from langchain_replm.errors import SandboxError
from langchain_replm.sandbox._live import IdleSession, LiveSession
from langchain_replm.sandbox._wire import Ready, Session, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from langchain_replm.sandbox._places import Places
    from langchain_replm.sandbox._wire import Setup, WireLimits
    from langchain_replm.sandbox.base import Exchanged, Sandbox, Transport

    MakeSetup = Callable[[], tuple[Setup, WireLimits]]

P = ParamSpec("P")
T = TypeVar("T")

KEY_BYTES = 8
"""Randomness in the id of a cell: what no other cell can foretell."""

PLACE_SECONDS = 0.05
"""How often a session that waits for a place looks whether its run has ended."""

START_TIMEOUT_SECONDS = 120.0
"""A worker is ready within 50 ms; loading a context of 1 GB takes seconds on a slow machine."""


class NoPlaceError(SandboxError):
    """The time of the run was over before one of `max_workers` places became free."""

    def __init__(self) -> None:
        super().__init__("no worker was free before the time of the run was over")


class SessionKeeper:
    """Owns the one worker that a run has at a time."""

    def __init__(
        self,
        sandbox: Sandbox,
        places: Places | None = None,
        out_of_time: Callable[[], bool] = lambda: False,
    ) -> None:
        self._sandbox = sandbox
        self._places = places
        self._out_of_time = out_of_time
        self._has_place = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rlm-session")
        self._lock = threading.Lock()
        self._current: Future[LiveSession] | None = None
        self._transport: Transport | None = None
        self._opened: LiveSession | None = None
        self._closed = False

    def take_up(self, idle: IdleSession) -> None:
        """Begin with a session that an earlier call has left, and with its place."""
        self._transport, self._opened = idle.transport, idle.opened
        self._opened.is_left = self._has_place = True

    def leave(self) -> IdleSession | None:
        """Give away the session, if it stands still and is what its record says; call it last."""
        with self._lock:
            opened, transport = self._opened, self._transport
            is_starting = self._current is not None and not self._current.done()
            if opened is None or transport is None or self._closed or is_starting:
                return None
            if opened.session.state is not State.IDLE or not opened.is_exact:
                return None
            self._transport = self._opened = None
            self._has_place = False
        return IdleSession(transport, opened)

    def submit(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run something in the session's own thread."""
        return self._thread.submit(call, *args, **kwargs)

    def opening(self, make_setup: MakeSetup) -> Future[LiveSession]:
        """The session of the run, now or soon: the first call starts its worker.

        The future fails with `SandboxError` if the worker could not be started: with
        `NoPlaceError` if there was no place for it in time.
        """
        if self._current is None or self._found_no_place(self._current):
            self._current = self.submit(self._start, make_setup)
        return self._current

    @staticmethod
    def _found_no_place(opening: Future[LiveSession]) -> bool:
        done = opening.done() and not opening.cancelled()
        return done and isinstance(opening.exception(), NoPlaceError)

    def restarting(self, make_setup: MakeSetup) -> Future[LiveSession]:
        """End the worker and start another one, which knows nothing of the first."""
        self._current = self.submit(self._restart, make_setup)
        return self._current

    def renewing(self, make_setup: MakeSetup) -> Future[LiveSession]:
        """Put another context and history into the session; its variables stay."""
        self._current = self.submit(self._renew, make_setup)
        return self._current

    def exchange(self, data: Iterable[bytes], timeout_seconds: float | None) -> Exchanged:
        """Talk with the worker; see `Transport.exchange`."""
        return self._live().exchange(data, timeout_seconds)

    def interrupt(self) -> bool:
        """Ask the running cell to stop."""
        return self._live().interrupt()

    def wake(self) -> None:
        """Make a running exchange return early. From any thread."""
        transport = self._transport
        if transport is not None:
            transport.wake()

    def kill(self) -> None:
        """End the worker at once and start no other one. Never blocks; from any thread."""
        with self._lock:
            self._closed = True
            transport = self._transport
        if transport is not None:
            transport.kill()

    def close(self) -> None:
        """End the worker and the session's thread. Harmless when repeated."""
        self.kill()
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._end_transport()

    def begin_close(self) -> Future[None]:
        """As `close`, without blocking: the future is done when everything has ended."""
        self.kill()
        ended = self.submit(self._end_transport)
        self._thread.shutdown(wait=False)
        return ended

    def _live(self) -> Transport:
        if self._transport is None:
            msg = "there is no worker to talk to"
            raise SandboxError(msg)
        return self._transport

    def _start(self, make_setup: MakeSetup) -> LiveSession:
        if self._opened is not None and self._opened.is_left:
            if self._stands():
                return self._opened
            self._end_transport(keeps_place=True)
        self._take_place()
        transport = self._sandbox.open()
        with self._lock:
            self._transport = transport
            closed = self._closed
        if closed:
            self._end_transport()
            msg = "the run ended before its worker was ready"
            raise SandboxError(msg)
        setup, limits = make_setup()
        session = Session(limits, make_key=lambda: secrets.token_hex(KEY_BYTES))
        _greet(transport, session.start, setup, session)
        self._opened = LiveSession(session, room_chars=setup.room_bytes)
        return self._opened

    def _stands(self) -> bool:
        """Whether the session that was left is still there, and silent."""
        assert self._opened is not None  # noqa: S101 - for the type checker; it was taken up
        got = self._live().exchange((), 0)
        return not got.data and not got.eof

    def _restart(self, make_setup: MakeSetup) -> LiveSession:
        self._end_transport(keeps_place=True)
        return self._start(make_setup)

    def _renew(self, make_setup: MakeSetup) -> LiveSession:
        assert self._opened is not None  # noqa: S101 - for the type checker; it is open
        setup, _ = make_setup()
        session = self._opened.session
        _greet(self._live(), session.renew, setup, session)
        return self._opened

    def _take_place(self) -> None:
        """Wait until a worker may be started; in the session's own thread, so nobody is held up."""
        while self._places is not None and not self._has_place:
            if self._closed:
                msg = "the run ended before there was a place for its worker"
                raise SandboxError(msg)
            self._has_place = self._places.take(PLACE_SECONDS)
            if not self._has_place and self._out_of_time():
                raise NoPlaceError

    def _end_transport(self, *, keeps_place: bool = False) -> None:
        with self._lock:
            transport, self._transport = self._transport, None
            had_place, self._has_place = self._has_place, self._has_place and keeps_place
            self._opened = None
        if transport is not None:
            transport.close()
        if had_place and not keeps_place and self._places is not None:
            self._places.give_back()


def _greet(
    transport: Transport,
    frames: Callable[[Setup], Iterable[bytes]],
    setup: Setup,
    session: Session,
) -> None:
    """Send setup and context, and wait until the worker says that it is ready."""
    if transport.share("context", setup.context):
        setup = replace(setup, context=None)
    data = frames(setup)
    left = START_TIMEOUT_SECONDS
    while True:
        got = transport.exchange(data, left)
        data, left = (), left - got.elapsed_seconds
        session.receive(got.data, eof=got.eof)
        if isinstance(session.next_event(), Ready):
            return
        if got.eof or left <= 0:
            why = "it died" if got.eof else f"it was not ready in {START_TIMEOUT_SECONDS:g} seconds"
            msg = f"The sandbox worker could not be started: {why}."
            raise SandboxError(msg)
