"""Replies to sub-calls that need not be paid twice."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from langchain_core.caches import BaseCache
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration

from langchain_replm.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from langchain_replm.types import Iteration, SubCall

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

    def refill(self, steps: Iterable[Iteration]) -> None:
        """Keep the replies of a run that goes on."""
        for step in steps:
            for call in (call for cell in step.cells for call in cell.host_calls):
                for item in call.items:
                    self.refill(item.child)
                    if item.cache_key is not None and item.status == "ok":
                        self.put(item.cache_key, item)


def check_cache(cache: object) -> None:
    """Refuse what is no LangChain cache.

    Raises:
        ConfigurationError: It is something else.
    """
    if cache is not None and not isinstance(cache, BaseCache):
        msg = f"cache is a {type(cache).__name__}. Pass a LangChain cache (a `BaseCache`), or None."
        raise ConfigurationError(msg)


def cached_text(found: object) -> str | None:
    """The reply in what a LangChain cache has found."""
    if isinstance(found, list | tuple) and found:
        text = getattr(found[0], "text", None)
        return text if isinstance(text, str) else None
    return None


def as_cached(text: str) -> list[ChatGeneration]:
    """A reply in the form in which LangChain caches keep it."""
    return [ChatGeneration(message=AIMessage(text))]
