"""Places for the workers of one graph, and the idle sessions that wait in them for a question.

An idle session keeps the place that it ran in. Whoever needs one and finds none ends the session
that has been idle longest, so that no run ever waits for a session that does nothing.

One thread watches the clock for all idle sessions of a graph, and only while there are any.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from langchain_replm.sandbox._live import IdleSession
from langchain_replm.sandbox._pipes import PipeTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable


MOST_IDLE: Final = 32
"""Idle sessions of one graph where `max_workers` says nothing: each one is a process."""


class Places:
    """Who may hold a worker.

    Args:
        most: Workers at once, running and idle; None for any number, of which `MOST_IDLE` idle.
        idle_seconds: How long a session is kept after its call; 0: not at all.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        most: int | None = None,
        idle_seconds: float = 0.0,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.most = most
        self.idle_seconds = idle_seconds
        self._clock = clock
        self._begin()
        _ALL.add(self)
        weakref.finalize(self, lambda bell: bell.set(), self._bell)

    def _begin(self) -> None:
        self._room = threading.Condition()
        self._taken = 0
        self._idle: OrderedDict[Hashable, IdleSession] = OrderedDict()
        self._bell = threading.Event()
        self._watch: threading.Thread | None = None

    def take(self, timeout_seconds: float) -> bool:
        """Take a place; an idle session is ended for it when no other is free.

        Args:
            timeout_seconds: How long to wait while all places are those of runs.

        Returns:
            Whether there was one.
        """
        with self._room:
            if not self._room.wait_for(lambda: self._has_free() or self._idle, timeout_seconds):
                return False
            if self._has_free():
                self._taken += 1
                return True
            _, oldest = self._idle.popitem(last=False)
        oldest.transport.close()
        return True

    def _has_free(self) -> bool:
        return self.most is None or self._taken < self.most

    def give_back(self) -> None:
        """A worker has ended."""
        with self._room:
            self._taken = max(0, self._taken - 1)
            self._room.notify()

    def keep(self, key: Hashable, session: IdleSession) -> None:
        """Keep a session, in the place that it has, for the next call that asks for its key."""
        kept = IdleSession(session.transport, session.opened, self._clock() + self.idle_seconds)
        with self._room:
            gone = [self._idle.pop(key)] if key in self._idle else []
            self._idle[key] = kept
            if len(self._idle) > (self.most or MOST_IDLE):
                gone.append(self._idle.popitem(last=False)[1])
            if self._watch is None:
                watched = (weakref.ref(self), self._bell)
                name = "rlm-idle"
                self._watch = threading.Thread(target=_watch, args=watched, name=name, daemon=True)
                self._watch.start()
            self._room.notify()
        self._end(gone)

    def take_up(self, key: Hashable) -> IdleSession | None:
        """The idle session of a key, which is the caller's from now on, with its place."""
        with self._room:
            return self._idle.pop(key, None)

    def sweep(self) -> float | None:
        """End the sessions whose time is over.

        Returns:
            Seconds until the next one is to end; None if there is none.
        """
        with self._room:
            now = self._clock()
            late = [key for key, idle in self._idle.items() if idle.until <= now]
            gone = [self._idle.pop(key) for key in late]
            following = next(iter(self._idle.values()), None)
            if following is None:
                self._watch = None
        self._end(gone)
        return None if following is None else following.until - now

    def close(self) -> None:
        """End all idle sessions. Harmless when repeated; what runs is not touched."""
        with self._room:
            gone = list(self._idle.values())
            self._idle.clear()
        for idle in gone:
            idle.transport.kill()
        self._end(gone)
        self._bell.set()

    def _end(self, gone: list[IdleSession]) -> None:
        for idle in gone:
            idle.transport.close()
            self.give_back()

    def forget_parent(self) -> None:
        """In a forked copy of the process: workers and threads are those of the other one."""
        inherited = self._idle
        self._begin()
        for idle in inherited.values():
            if isinstance(idle.transport, PipeTransport):
                idle.transport.close()  # closes descriptors here and touches no worker
            else:
                _PARENTS.append(idle)


def _watch(found: weakref.ref[Places], bell: threading.Event) -> None:
    while (places := found()) is not None:
        left = places.sweep()
        del places  # a graph that nobody has any more must not live on for its clock
        if left is None:
            return
        bell.wait(left)
        bell.clear()


def _after_fork() -> None:
    for places in list(_ALL):
        places.forget_parent()


_ALL: weakref.WeakSet[Places] = weakref.WeakSet()
_PARENTS: list[IdleSession] = []
"""Kept, because to forget one would end the worker of another process."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
