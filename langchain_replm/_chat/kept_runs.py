"""Runs that ended with calls of tools, kept until the results of the tools arrive.

A run is kept by an id that its message carries. Where it is not found (another process, too long
ago) the conversation is simply read anew, so losing one costs work and never an answer.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from langgraph.store.memory import InMemoryStore

from langchain_replm._chat.conversation import read_conversation
from langchain_replm._chat_prompts import tool_results_message
from langchain_replm._tool_calls import Pending, went_on
from langchain_replm.state import read_trajectory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langgraph.store.base import BaseStore

    from langchain_replm._chat.calls import RunCall
    from langchain_replm._chat.request import Request
    from langchain_replm.types import Iteration

NAMESPACE = ("langchain_replm", "runs")

MOST_KEPT = 1_000
"""Runs that the store of this process keeps; the oldest go first."""


class KeptRuns:
    """Runs by id, in a LangGraph store; by default in one of this process."""

    def __init__(self, store: BaseStore | None) -> None:
        self._own = store is None
        self._store: BaseStore = InMemoryStore() if store is None else store
        self._order: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, call: RunCall) -> None:
        """Keep a run that ended with calls."""
        if call.calls_made:
            self._store.put(NAMESPACE, call.run_id, _data(call), index=False)
            for old in self._outdated(call.run_id):
                self._store.delete(NAMESPACE, old)

    async def akeep(self, call: RunCall) -> None:
        """`keep`, awaitable."""
        if call.calls_made:
            await self._store.aput(NAMESPACE, call.run_id, _data(call), index=False)
            for old in self._outdated(call.run_id):
                await self._store.adelete(NAMESPACE, old)

    def find(self, pending: Pending | None) -> dict[str, Any] | None:
        """The data of the run that goes on; None if there is none, or if it is lost."""
        if pending is None:
            return None
        item = self._store.get(NAMESPACE, pending.run_id)
        return None if item is None else item.value

    async def afind(self, pending: Pending | None) -> dict[str, Any] | None:
        """`find`, awaitable."""
        if pending is None:
            return None
        item = await self._store.aget(NAMESPACE, pending.run_id)
        return None if item is None else item.value

    def _outdated(self, run_id: str) -> list[str]:
        """Runs that must go now that one more is kept; a store of the user is the user's."""
        if not self._own:
            return []
        with self._lock:
            self._order[run_id] = None
            return [self._order.popitem(last=False)[0] for _ in range(len(self._order) - MOST_KEPT)]


def _data(call: RunCall) -> dict[str, Any]:
    return {
        "query": call.input["query"],
        "before": len(call.before),
        "trajectory": [step.model_dump(mode="json") for step in call.trajectory],
    }


def goes_with(kept: Mapping[str, Any], request: Request, pending: Pending) -> bool:
    """Whether the conversation is still that of the run.

    An agent may have trimmed or summarised its beginning; the cells of the run would then be run
    again over another context.
    """
    before = kept.get("before")
    if not isinstance(before, int) or not 0 < before <= pending.before:
        return False
    asked = read_conversation(request.messages[:before], request.context)
    return bool(kept.get("query") == asked.query)


def past_of(kept: Mapping[str, Any]) -> tuple[Iteration, ...]:
    """The iterations of a kept run; a store is no more trusted than a checkpoint."""
    return tuple(read_trajectory(kept))


def goes_on(
    past: tuple[Iteration, ...], pending: Pending, shown_chars: int
) -> list[dict[str, Any]]:
    """What the run sees first when it goes on."""
    return went_on(past, pending.results, tool_results_message(pending.results, shown_chars))
