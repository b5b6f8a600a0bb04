"""How runs of our own are started and ended through LangChain's callbacks, in either colour.

LangChain has a class of each colour for every manager. What is to be started and ended is said
once, in generators of calls; `pump` makes the calls by waiting, `apump` by awaiting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from langchain_core.callbacks import BaseCallbackManager

from langchain_replm._tracing import TAG_PREFIX, others

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping
    from uuid import UUID

    from langchain_core.callbacks import BaseCallbackHandler

Calls: TypeAlias = "Generator[Callable[[], Any], Any, None]"
M = TypeVar("M", bound=BaseCallbackManager)


def pump(calls: Calls) -> None:
    """Make the calls that a generator yields, and send back what they return."""
    try:
        call = next(calls)
        while True:
            call = calls.send(call())
    except StopIteration:
        pass


async def apump(calls: Calls) -> None:
    """`pump`, with `await`."""
    try:
        call = next(calls)
        while True:
            call = calls.send(await call())
    except StopIteration:
        pass


def annotate(
    handlers: Iterable[BaseCallbackHandler], run_id: UUID | None, metadata: Mapping[str, Any]
) -> None:
    """Add what is known only now to the metadata of an open run.

    LangChain's callbacks have no word for it; its tracers keep their open runs in `run_map`.
    """
    for handler in handlers:
        record = getattr(handler, "run_map", {}).get(str(run_id))
        if record is not None:
            record.extra["metadata"] = {**record.extra.get("metadata", {}), **metadata}


def as_manager(manager_class: type[M], manager: BaseCallbackManager) -> M:
    """The same manager as another class. What is ours among its labels stays with its own run."""
    return manager_class(
        handlers=list(manager.handlers),
        inheritable_handlers=list(manager.inheritable_handlers),
        parent_run_id=manager.parent_run_id,
        tags=list(manager.tags),
        inheritable_tags=[tag for tag in manager.inheritable_tags if not is_own(tag)],
        metadata=dict(manager.metadata),
        inheritable_metadata=others(manager.inheritable_metadata),
    )


def is_own(tag: str) -> bool:
    return tag.startswith(TAG_PREFIX)
