"""Replies to sub-calls that need not be paid twice."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_replm.types import SubCall

CACHE_ENTRIES = 10_000


class SubCallCache:
    """Replies to sub-calls of one run and its children; the least recently used one goes first."""

    def __init__(self, max_entries: int = CACHE_ENTRIES) -> None:
        self._max_entries = max_entries
        self._lock = threading.Lock()
        self._replies: OrderedDict[str, SubCall] = OrderedDict()

    def get(self, key: str) -> SubCall | None:
        """The recorded reply to an identical call."""
        with self._lock:
            if key in self._replies:
                self._replies.move_to_end(key)
            return self._replies.get(key)

    def put(self, key: str, reply: SubCall) -> None:
        """Keep a reply."""
        with self._lock:
            self._replies[key] = reply
            self._replies.move_to_end(key)
            if len(self._replies) > self._max_entries:
                self._replies.popitem(last=False)
