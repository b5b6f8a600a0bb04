"""`RLMChatModel`: the loop as a chat model, to be put wherever there is one."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass
from pydantic import PrivateAttr

from langchain_replm._chat.calls import DirectCall, RunCall, direct_target
from langchain_replm._chat.conversation import context_chars, conversation_chars
from langchain_replm._chat.kept_runs import KeptRuns, goes_on, goes_with, past_of
from langchain_replm._chat.nesting import (
    Parent,
    aiterate,
    await_in,
    iterate,
)
from langchain_replm._chat.plumbing import ChatPlumbing, parent_of, parent_of_stream
from langchain_replm._chat.request import ANSWER_KEY, Request, Wish
from langchain_replm._chat.stream import hide_usage
from langchain_replm._tool_calls import find_pending
from langchain_replm.errors import ConfigurationError
from langchain_replm.runnable import RLM, RLMParameters

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from langchain_core.callbacks import (
        AsyncCallbackManagerForLLMRun,
        CallbackManagerForLLMRun,
    )
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
    from langchain_core.tools import BaseTool

    from langchain_replm._tool_calls import Pending

DIRECT_BELOW_CHARS = 100_000
"""Conversations shorter than this go straight to the root model: below it a plain call is better
and cheaper than a run (`RLMConfig.direct_below_chars` sets it)."""


class RLMChatModel(ChatPlumbing):
    r"""A chat model that reads conversations and contexts of any length.

    A short conversation goes straight to the root model. In a long one, long messages become the
    context of a run of the loop, and its answer is the next message. The parameters are those of
    `RLM`; `docs/guides/chat_model.md` says what becomes of which message.

    Raises:
        ConfigurationError: A parameter is wrong or unknown.

    Example:
        ```python
        from langchain_replm import RLMChatModel
        from langchain_replm.testing import ScriptedChatModel

        root = ScriptedChatModel(replies=["```repl\nFINAL(context.count('heron'))\n```"])
        model = RLMChatModel(root_model=root)
        question = "How many of them?\n\n" + "a heron, a stork, " * 20_000
        assert model.invoke(question).text == "20000"
        ```
    """

    _engine: tuple[RLM | None, dict[str, Any]] = PrivateAttr(default=(None, {}))
    _kept: KeptRuns | None = PrivateAttr(default=None)

    @classmethod
    def from_rlm(cls, rlm: RLM, **fields: Any) -> RLMChatModel:
        """A chat model over an `RLM`: the same models, limits, sandbox, and the same graph.

        Example:
            ```python
            from langchain_replm import RLM, RLMChatModel
            from langchain_replm.testing import ScriptedChatModel

            rlm = RLM(ScriptedChatModel(replies=["hello"]))
            assert RLMChatModel.from_rlm(rlm).invoke("hi").text == "hello"
            ```
        """
        taken = {name: getattr(rlm, name) for name in RLMParameters.model_fields}
        model = cls(**{**taken, **fields})
        if not set(fields) & set(taken):
            model._engine = rlm, model._parameters()
        return model

    # -- what it is ------------------------------------------------------------------------------

    @property
    def rlm(self) -> RLM:
        """The `RLM` whose loop this model runs."""
        rlm, parameters = self._engine
        given = self._parameters()
        # A copy with other parameters (`model_copy`) gets an engine of its own.
        if rlm is None or any(parameters[name] is not value for name, value in given.items()):
            rlm = RLM(**given)
            self._engine = rlm, given
        return rlm

    def _parameters(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in RLMParameters.model_fields}

    @property
    def _runs(self) -> KeptRuns:
        if self._kept is None:
            self._kept = KeptRuns(self.run_store)
        return self._kept

    # -- tools and typed answers -----------------------------------------------------------------

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: Any = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools that the caller runs; the model answers with `tool_calls`.

        Tools that cells call themselves are the parameter `tools` of the model.

        Args:
            tools: LangChain tools, functions, pydantic models or schemas.
            tool_choice: `"auto"`, `"any"`, `"none"`, or the name of a tool.
            **kwargs: Sent with every call, such as `strict` and `parallel_tool_calls`.
        """
        strict = kwargs.get("strict")
        bound = [convert_to_openai_tool(tool, strict=strict) for tool in tools]
        if tool_choice is not None:
            kwargs["tool_choice"] = tool_choice
        return self.bind(tools=bound, **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        *,
        include_raw: bool = False,
        method: str | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Answers that fit a schema, as LangChain's chat models give them.

        Args:
            schema: A pydantic model, a `TypedDict`, a JSON Schema or a function schema.
            include_raw: Give `{"raw", "parsed", "parsing_error"}`.
            method: How the root model is asked in a direct call: `"function_calling"`,
                `"json_schema"` or `"json_mode"`; its own default when None.
            strict: As for the root model.
            **kwargs: Nothing else is known.

        Raises:
            ConfigurationError: An argument is unknown.
        """
        if kwargs:
            msg = f"with_structured_output has no parameter {', '.join(map(repr, kwargs))}."
            raise ConfigurationError(msg)
        wish = Wish(schema=schema, method=method, strict=strict)
        model = self.bind(
            **{ANSWER_KEY: wish},
            ls_structured_output_format={
                "kwargs": {"method": method or "function_calling"},
                "schema": convert_to_json_schema(schema),
            },
        )
        parser: Any = JsonOutputParser()
        if isinstance(schema, type) and is_basemodel_subclass(schema):
            parser = PydanticOutputParser(pydantic_object=schema)
        if not include_raw:
            typed: Runnable[LanguageModelInput, Any] = model | parser
            return typed
        parse = RunnablePassthrough.assign(
            parsed=(lambda item: item["raw"]) | parser, parsing_error=lambda _: None
        )
        failed = RunnablePassthrough.assign(parsed=lambda _: None)
        return RunnableMap(raw=model) | parse.with_fallbacks(
            [failed], exception_key="parsing_error"
        )

    # -- calls -----------------------------------------------------------------------------------

    def _read(
        self, messages: Sequence[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> Request:
        given = {"context": self.context, **kwargs}
        if self.response_format is not None:
            given.setdefault(ANSWER_KEY, Wish(schema=self.response_format))
        for name in ("temperature", "max_tokens"):
            if getattr(self, name) is not None:
                given.setdefault(name, getattr(self, name))
        return Request.read(messages, stop or self.stop, given)

    def _call(
        self, request: Request, pending: Pending | None, kept: dict[str, Any] | None
    ) -> DirectCall | RunCall:
        """What to do for a request. A run that waits for tool results goes on, if it is known."""
        if pending is not None and kept is not None and not goes_with(kept, request, pending):
            kept = None
        if (pending is None or kept is None) and self._is_short(request):
            target = direct_target(request, self.rlm.graph.settings.root_model)
            if target is not None:
                return DirectCall(request, self.rlm.graph.settings.root_model, target)
        options: dict[str, Any] = {"before": request.messages}
        if pending is not None and kept is not None:
            past = past_of(kept)
            begun = goes_on(past, pending, self.config.metadata_prefix_chars)
            before = request.messages[: kept["before"]]
            options = {"before": before, "past": past, "begun": tuple(begun)}
        return RunCall(
            request=request,
            target=self.rlm.graph,
            name=self.model,
            show_work=self.show_work,
            shows_tokens=self.inner_callbacks == "all",
            finish=self.rlm._finish,  # noqa: SLF001 - a room of the same house
            **options,
        )

    def _is_short(self, request: Request) -> bool:
        said = "direct_below_chars" in self.config.model_fields_set
        most = self.config.direct_below_chars if said else DIRECT_BELOW_CHARS
        return conversation_chars(request.messages) + context_chars(request.context) < most

    def _below(self, parent: Parent | None) -> AbstractContextManager[Context]:
        return nullcontext(copy_context()) if parent is None else parent.below(self.inner_callbacks)

    def _finished(self, message: AIMessage) -> AIMessage:
        """The message as callbacks get it; see `promote_usage`."""
        return message if self.inner_callbacks == "none" else hide_usage(message)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        request = self._read(messages, stop, kwargs)
        pending = find_pending(messages)
        call = self._call(request, pending, self._runs.find(pending))
        with self._below(parent_of(run_manager)) as context:
            result = context.run(call.target.invoke, call.input, call.config, **call.kwargs)
        message = call.message(result)
        if isinstance(call, RunCall):
            self._runs.keep(call)
        return ChatResult(generations=[ChatGeneration(message=self._finished(message))])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        request = self._read(messages, stop, kwargs)
        pending = find_pending(messages)
        call = self._call(request, pending, await self._runs.afind(pending))
        with self._below(parent_of(run_manager)) as context:
            result = await await_in(
                context, lambda: call.target.ainvoke(call.input, call.config, **call.kwargs)
            )
        message = call.message(result)
        if isinstance(call, RunCall):
            await self._runs.akeep(call)
        return ChatResult(generations=[ChatGeneration(message=self._finished(message))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        parent = parent_of_stream(run_manager, kwargs)
        request = self._read(messages, stop, kwargs)
        pending = find_pending(messages)
        call = self._call(request, pending, self._runs.find(pending))
        with self._below(parent) as context:
            items = iterate(
                context,
                lambda: call.target.stream(call.input, call.stream_config(), **call.stream_kwargs),
            )
            for item in items:
                yield from map(_chunk, call.chunks(item))
        yield from (_chunk(self._last(piece, run_manager)) for piece in call.ending())
        if isinstance(call, RunCall):
            self._runs.keep(call)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        parent = parent_of_stream(run_manager, kwargs)
        request = self._read(messages, stop, kwargs)
        pending = find_pending(messages)
        call = self._call(request, pending, await self._runs.afind(pending))
        with self._below(parent) as context:
            items = aiterate(
                context,
                lambda: call.target.astream(call.input, call.stream_config(), **call.stream_kwargs),
            )
            async for item in items:
                for piece in call.chunks(item):
                    yield _chunk(piece)
        for piece in call.ending():
            yield _chunk(self._last(piece, run_manager))
        if isinstance(call, RunCall):
            await self._runs.akeep(call)

    def _last(self, piece: AIMessageChunk, run_manager: Any) -> AIMessageChunk:
        # Protocol streams give a run manager; the caller gets what they assemble, as it is.
        finished: Any = piece if run_manager is not None else self._finished(piece)
        return finished  # type: ignore[no-any-return]


def _chunk(message: AIMessageChunk) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=message)
