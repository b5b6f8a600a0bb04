"""Runs inside of one node of another graph are told apart by what they were asked.

LangGraph numbers the graphs that a node calls by their order, and a node that is entered again goes
on with the states under these numbers, whatever is asked now: a node that makes its calls in
another order would get the answer to another question. So a run keeps a key of its input in its
state. The first run of a node has the namespace that LangGraph gives it, so that tools find it
there; every other one, and one that finds another input there, has a namespace with its key in it.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from langchain_core.runnables.config import ensure_config

from langchain_replm.journal import journal_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import BaseCheckpointSaver

    from langchain_replm.context_store import ContextHandle

_OWN_PLACE: Final = ("thread_id", "checkpoint_ns", "checkpoint_id", "checkpoint_map")
_SCRATCHPAD: Final = "__pregel_scratchpad"
_NAMESPACE: Final = "checkpoint_ns"

MOST_ATTEMPTS: Final = 4_096
"""Nodes of which is remembered what they have asked; far more than run at once."""


def configurable_of(config: RunnableConfig | None) -> dict[str, Any]:
    """The configurable values of a call as LangGraph sees them: its own, over those around it.

    A call that names a thread or a checkpoint of its own has nothing of what is around it.
    """
    own = dict((config or {}).get("configurable") or {})
    if any(own.get(name) for name in _OWN_PLACE):
        return own
    return {**ensure_config().get("configurable", {}), **own}


def input_key(query: str, handle: ContextHandle) -> str:
    """Equal for equal questions about equal contexts."""
    return journal_key("input", query, dict(handle))


def told_apart(
    configurable: Mapping[str, Any], saver: BaseCheckpointSaver[Any], key: str
) -> dict[str, Any] | None:
    """The configurable values with which a run inside of a node finds its own state, and no other.

    Args:
        configurable: Those of the call.
        saver: Where its state is kept.
        key: Of its input.

    Returns:
        None for a run that is not inside of a node.
    """
    scratchpad, namespace = configurable.get(_SCRATCHPAD), configurable.get(_NAMESPACE)
    if scratchpad is None or not namespace:
        return None
    is_first = scratchpad.subgraph_counter() == 0  # the number counts for what comes after us
    asked = _asked_by(scratchpad)
    with asked.lock:
        asked.count[key] += 1
        same = asked.count[key]
        # Digits alone: LangGraph takes other parts for names of nodes.
        named = f"{namespace}|{int(journal_key(key, same).replace('-', ''), 16)}"
        may_be_plain = same == 1 and not asked.has_plain
        fits = (key, None) if is_first else (key,)
        if _holds(saver, configurable, named) is not None or not may_be_plain:
            namespace = named
        elif _holds(saver, configurable, namespace) in fits:
            asked.has_plain = True
        else:
            namespace = named
    unnumbered = replace(scratchpad, subgraph_counter=lambda: 0)
    return {**configurable, _SCRATCHPAD: unnumbered, _NAMESPACE: namespace}


def _holds(
    saver: BaseCheckpointSaver[Any], configurable: Mapping[str, Any], namespace: str
) -> str | None:
    """The key of the input whose run has the namespace; None if nobody has it."""
    place = {"thread_id": configurable.get("thread_id"), _NAMESPACE: namespace}
    found = saver.get_tuple({"configurable": place})
    if found is None:
        return None
    values = found.checkpoint["channel_values"]
    begun = values.get("__start__")
    stored = values.get("input_key") or (isinstance(begun, dict) and begun.get("input_key"))
    return str(stored or "")


class _Asked:
    """What one attempt of one node has asked so far."""

    def __init__(self, attempt: object) -> None:
        self.attempt = attempt
        self.lock = threading.Lock()
        self.count: Counter[str] = Counter()
        self.has_plain = False


_ASKED: OrderedDict[int, _Asked] = OrderedDict()
_LOCK = threading.Lock()


def _asked_by(scratchpad: Any) -> _Asked:
    """LangGraph gives each attempt of a node a new counter of interrupts, and so we know it."""
    attempt = scratchpad.interrupt_counter
    with _LOCK:
        known = _ASKED.setdefault(id(attempt), _Asked(attempt))
        _ASKED.move_to_end(id(attempt))
        if len(_ASKED) > MOST_ATTEMPTS:
            _ASKED.popitem(last=False)
    return known
