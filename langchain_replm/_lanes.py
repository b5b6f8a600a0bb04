"""Bounded concurrency for the calls of a whole recursion tree, for threads and for tasks.

One lane for model calls, and one more for the child runs of each depth: a child run waits for
model calls, so it must not hold a place in the lane that they need. Depth is finite, so no cycle
of waiting is possible. The default executor of asyncio is never used: it has cpu + 4 threads.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor


class Lanes:
    """Thread pools and semaphores by lane name, made on first use."""

    def __init__(self, max_concurrency: int) -> None:
        self._max_concurrency = max_concurrency
        self._lock = threading.Lock()
        self._pools: dict[str, ThreadPoolExecutor] = {}
        self._semaphores: dict[str, asyncio.Semaphore] = {}

    def pool(self, lane: str) -> ThreadPoolExecutor:
        """The threads of a lane."""
        with self._lock:
            if lane not in self._pools:
                self._pools[lane] = ThreadPoolExecutor(
                    max_workers=self._max_concurrency, thread_name_prefix=f"rlm-{lane}"
                )
            return self._pools[lane]

    def semaphore(self, lane: str) -> asyncio.Semaphore:
        """The places of a lane in the running event loop."""
        return self._semaphores.setdefault(lane, asyncio.Semaphore(self._max_concurrency))

    def close(self) -> None:
        """Start nothing more. Calls that are running end by themselves."""
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)
