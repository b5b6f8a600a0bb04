"""How the runs inside a chat model hang below its own run, and who counts their tokens.

LangChain gives a chat model a run manager in some paths and none in others, and a run manager of
models cannot make children. LangGraph merges callbacks that are passed to it with the ambient ones,
which would post every run twice. So the ambient config is replaced, and nothing is passed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from langchain_core.callbacks import (
    AsyncCallbackManager,
    AsyncCallbackManagerForLLMRun,
    BaseCallbackHandler,
    CallbackManager,
)
from langchain_core.messages import AIMessage
from langchain_core.runnables.config import ensure_config, patch_config, set_config_context
from langchain_core.tracers.base import AsyncBaseTracer, BaseTracer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
    from contextlib import AbstractContextManager
    from contextvars import Context
    from uuid import UUID

    from langchain_core.callbacks.manager import BaseRunManager
M = TypeVar("M", bound=AIMessage)

InnerCallbacks = Literal["inherit", "all", "tracers", "none"]

AGGREGATED_KEY = "ls_aggregated_usage"
"""LangSmith's name for the sum of a run's children, which it must not add to them again."""


class Parent:
    """The run that inner runs hang below.

    Args:
        run_id: Its id.
        handlers: Who listens to it and to what is below it.
        tags: Tags that go down.
        metadata: Metadata that goes down.
        is_async: Its handlers may be coroutines.
    """

    def __init__(
        self,
        run_id: UUID,
        handlers: Sequence[BaseCallbackHandler],
        *,
        tags: Sequence[str] = (),
        metadata: dict[str, Any] | None = None,
        is_async: bool,
    ) -> None:
        self.run_id = run_id
        self._handlers = handlers
        self._tags = list(tags)
        self._metadata = metadata or {}
        self._is_async = is_async

    @classmethod
    def of(cls, manager: BaseRunManager) -> Parent:
        """The run of a run manager."""
        return cls(
            manager.run_id,
            manager.inheritable_handlers,
            tags=manager.inheritable_tags,
            metadata=manager.inheritable_metadata,
            is_async=isinstance(manager, AsyncCallbackManagerForLLMRun),
        )

    def below(self, kept: InnerCallbacks) -> AbstractContextManager[Context]:
        """A context whose ambient config makes runs children of this one."""
        manager_class = AsyncCallbackManager if self._is_async else CallbackManager
        manager = manager_class(handlers=[], parent_run_id=self.run_id)
        manager.set_handlers([item for item in self._handlers if _is_kept(item, kept)])
        manager.add_tags(self._tags)
        manager.add_metadata(self._metadata)
        return set_config_context(patch_config(ensure_config(), callbacks=manager))


def _is_kept(handler: BaseCallbackHandler, kept: InnerCallbacks) -> bool:
    if kept == "all":
        return True
    # Handlers of token streams (`astream_events`, a graph's "messages") are known by this method.
    if kept == "none" or hasattr(handler, "tap_output_iter"):
        return False
    return kept == "inherit" or isinstance(handler, BaseTracer | AsyncBaseTracer)


def iterate(context: Context, make: Callable[[], Iterator[Any]]) -> Iterator[Any]:
    """Run an iterator in a context of its own; what it sets does not leak to the consumer."""
    iterator = context.run(make)
    done = object()
    try:
        while (item := context.run(next, iterator, done)) is not done:
            yield item
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            context.run(close)


async def aiterate(context: Context, make: Callable[[], AsyncIterator[Any]]) -> AsyncIterator[Any]:
    """`iterate`, for `async for`."""
    iterator = context.run(make)
    try:
        while True:
            try:
                yield await await_in(context, iterator.__anext__)
            except StopAsyncIteration:
                return
    finally:
        close = getattr(iterator, "aclose", None)
        if close is not None:
            await await_in(context, close)


async def await_in(context: Context, make: Callable[[], Any]) -> Any:
    """Await something in a context of its own."""

    async def awaited() -> Any:
        return await make()

    coroutine: Coroutine[Any, Any, Any] = awaited()
    return await asyncio.create_task(coroutine, context=context)


def promote_usage(message: M) -> M:
    """The message as the caller gets it: with the usage that callbacks were not to count again."""
    usage = message.response_metadata.get(AGGREGATED_KEY)
    if not isinstance(usage, dict):
        return message
    told = {key: value for key, value in message.response_metadata.items() if key != AGGREGATED_KEY}
    merged = {**usage, **(message.usage_metadata or {})}
    return message.model_copy(update={"usage_metadata": merged, "response_metadata": told})
