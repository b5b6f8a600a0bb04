"""Bounded concurrency for the calls of a whole recursion tree, for threads and for tasks.

One lane for model calls, and one more for the child runs of each depth: a child run waits for
model calls, so it must not hold a place in the lane that they need. Depth is finite, so no cycle
of waiting is possible. The default executor of asyncio is never used: it has cpu + 4 threads.

The threads are daemons that nobody waits for. A call that waits for its provider cannot be killed;
a run that was stopped leaves it alone, starts nothing more, and does not hold up the interpreter.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable


P = ParamSpec("P")
T = TypeVar("T")


class Lanes:
    """Threads and semaphores by lane name, made on first use; and the news that the run stops."""

    def __init__(self, max_concurrency: int) -> None:
        self.max_concurrency = max_concurrency
        self.stopped: bool = False
        self._lock = threading.Lock()
        self._crews: dict[str, _Crew] = {}
        self._semaphores: dict[str, asyncio.Semaphore] = {}
        self._listeners: dict[object, Callable[[], object]] = {}

    def start(self, lane: str, work: Callable[[], None]) -> None:
        """Have something done in a thread of the lane, when one is free; never after a stop.

        Args:
            lane: Which lane.
            work: Must not raise; whoever waits for its result is told by it.
        """
        with self._lock:
            if self.stopped:
                return
            if lane not in self._crews:
                self._crews[lane] = _Crew(f"rlm-{lane}", self.max_concurrency)
            crew = self._crews[lane]
        crew.start(work)

    def submit(
        self, lane: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]:
        """As an executor would; the future is cancelled if the run has stopped."""
        future: Future[T] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(call(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - raised where the result is waited for
                future.set_exception(error)

        if self.stopped:
            future.cancel()
        self.start(lane, work)
        return future

    def semaphore(self, lane: str) -> asyncio.Semaphore:
        """The places of a lane in the running event loop."""
        return self._semaphores.setdefault(lane, asyncio.Semaphore(self.max_concurrency))

    def on_stop(self, tell: Callable[[], object]) -> Callable[[], None]:
        """Have somebody told when the run stops, at once if it has; from whatever thread.

        Returns:
            Takes the listener off again.
        """
        key = object()
        with self._lock:
            stopped = self.stopped
            if not stopped:
                self._listeners[key] = tell
        if stopped:
            tell()
        return lambda: self._listeners.pop(key, None) and None

    def close(self) -> None:
        """Start nothing more and tell everybody. Calls that are running end by themselves."""
        with self._lock:
            self.stopped = True
            crews = list(self._crews.values())
            listeners, self._listeners = list(self._listeners.values()), {}
        for crew in crews:
            crew.close()
        for tell in listeners:
            tell()


class _Crew:
    """At most so many threads, started when there is work for one more."""

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self._work: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._threads = self._idle = 0
        self._closed = False

    def start(self, work: Callable[[], None]) -> None:
        with self._changed:
            if self._closed:
                return
            self._work.append(work)
            if self._idle >= len(self._work):
                self._changed.notify()
                return
            if self._threads >= self._most:
                return
            self._threads += 1
            number = self._threads
        threading.Thread(target=self._serve, name=f"{self._name}-{number}", daemon=True).start()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._work.clear()
            self._changed.notify_all()

    def _serve(self) -> None:
        while (work := self._next()) is not None:
            work()
            del work  # an idle thread must not keep a prompt alive

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            while not self._work and not self._closed:
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
            return None if self._closed else self._work.popleft()
