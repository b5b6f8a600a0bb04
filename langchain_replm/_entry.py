"""What a call of the graph begins with, and what LangGraph does not say about it by itself."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from langgraph.errors import EmptyInputError
from langgraph.types import Command

from langchain_replm._nested import input_key
from langchain_replm.errors import ConfigurationError
from langchain_replm.types import encodable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langgraph.types import StateSnapshot

    from langchain_replm.context_store import ContextHandle


def recounted(values: Any) -> Any:
    """An edit that takes iterations or runs away, with the counts that say how many there are."""
    if not isinstance(values, dict):
        return values
    counts = {"trajectory": "finished", "session": "runs"}
    gone = {
        count: 0
        for name, count in counts.items()
        if name in values and (values[name] is None or values[name][:1] == [None])
    }
    return {**values, **gone} if gone else values


def going_on(values: dict[str, Any], snapshot: StateSnapshot) -> Any:
    """An edit that leaves the run where it stands.

    LangGraph asks the edges of the last node where to go after an edit; our nodes say it by
    `Command`, so that an edit would end the run.
    """
    waiting = [name for name in snapshot.next if not name.startswith("__")]
    return Command(update=values, goto=waiting) if waiting else values


@contextmanager
def explained(given: object) -> Iterator[None]:
    try:
        yield
    except EmptyInputError as error:
        if given is not None and not isinstance(given, Command):
            raise
        msg = (
            "There is no run to go on with on this thread. Check the thread_id and the "
            'checkpointer, or pass {"query": ..., "context": ...}.'
        )
        raise ConfigurationError(msg) from error


def check_query(query: object) -> str:
    """The query, or `ConfigurationError` if there is nothing asked."""
    if not isinstance(query, str):
        msg = f"query is a {type(query).__name__}. Pass a str."
        raise ConfigurationError(msg)
    if not query.strip():
        msg = "query is empty. Say what to find out about the context."
        raise ConfigurationError(msg)
    return encodable(query)


def fresh_state(query: str, handle: ContextHandle) -> dict[str, Any]:
    """The input of a new run; it also clears what an earlier run left on the same thread."""
    return {
        "query": query,
        "context_handle": handle,
        "asked": {"query": query, "context": handle},
        "input_key": input_key(query, handle),
        "trajectory": None,
        "finished": 0,
        "turn": None,
        "variables": {},
        "limit": None,
        "answer": None,
        "stop_reason": None,
        "structured_response": None,
        "rejected": None,
        "granted": {},
    }
