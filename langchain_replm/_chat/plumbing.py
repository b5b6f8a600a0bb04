"""What `RLMChatModel` adds around LangChain's own calls: one tree of runs, and usage told once."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from langchain_core.callbacks import AsyncCallbackManager, CallbackManager
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration
from langchain_core.runnables.config import ensure_config

from langchain_replm._chat.identity import PARENT_KEY, ChatIdentity
from langchain_replm._chat.nesting import Parent, promote_usage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from langchain_core.language_models import LanguageModelInput
    from langchain_core.messages import AIMessageChunk
    from langchain_core.outputs import LLMResult
    from langchain_core.runnables import RunnableConfig

_RUN: ContextVar[Any] = ContextVar("rlm_chat_run", default=None)
"""The run manager between `_should_stream`, which gets it, and `_stream`, which does not."""


class ChatPlumbing(ChatIdentity):
    """The public methods of a chat model that must do a little more than LangChain's."""

    def _should_stream(self, *, async_api: bool, run_manager: Any = None, **kwargs: Any) -> bool:
        streams = super()._should_stream(async_api=async_api, run_manager=run_manager, **kwargs)
        _RUN.set(run_manager if streams else None)
        return streams

    def generate(self, *args: Any, **kwargs: Any) -> LLMResult:
        """As every chat model; the caller gets the whole usage of each run."""
        return _with_usage(super().generate(*args, **kwargs))

    async def agenerate(self, *args: Any, **kwargs: Any) -> LLMResult:
        """`generate`, awaitable."""
        return _with_usage(await super().agenerate(*args, **kwargs))

    def stream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessageChunk]:
        """The answer as it comes, and the work as reasoning."""
        config, parent = self._as_parent(config, is_async=False)
        if self._streaming_disabled(**kwargs):
            yield from super().stream(input, config, stop=stop, **kwargs)
            return
        chunks = super().stream(input, config, stop=stop, **kwargs, **{PARENT_KEY: parent})
        for chunk in chunks:
            yield promote_usage(chunk)

    async def astream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        """`stream`, for `async for`."""
        config, parent = self._as_parent(config, is_async=True)
        if not self._streaming_disabled(**kwargs):
            kwargs[PARENT_KEY] = parent
        async for chunk in super().astream(input, config, stop=stop, **kwargs):
            yield promote_usage(chunk)

    def _as_parent(
        self, config: RunnableConfig | None, *, is_async: bool
    ) -> tuple[RunnableConfig, Parent]:
        """Choose the id of the run beforehand, so that what is inside can hang below it."""
        config = ensure_config(config)
        run_id = config["run_id"] = config.get("run_id") or uuid4()
        manager_class = AsyncCallbackManager if is_async else CallbackManager
        manager = manager_class.configure(
            config.get("callbacks"),
            None,
            inheritable_tags=config.get("tags"),
            inheritable_metadata=config.get("metadata"),
        )
        config["callbacks"] = manager
        parent = Parent(
            run_id,
            manager.inheritable_handlers,
            tags=manager.inheritable_tags,
            metadata=manager.inheritable_metadata,
            is_async=is_async,
        )
        return config, parent


def parent_of_stream(run_manager: Any, kwargs: dict[str, Any]) -> Parent | None:
    """The run that a stream belongs to: told by LangChain, by `stream`, or by `_should_stream`."""
    told = kwargs.pop(PARENT_KEY, None)
    manager = run_manager or _RUN.get()
    _RUN.set(None)
    return told or parent_of(manager)


def parent_of(manager: Any) -> Parent | None:
    return None if manager is None else Parent.of(manager)


def _with_usage(result: LLMResult) -> LLMResult:
    for generations in result.generations:
        for generation in generations:
            if isinstance(generation, ChatGeneration) and isinstance(generation.message, AIMessage):
                generation.message = promote_usage(generation.message)
    return result
