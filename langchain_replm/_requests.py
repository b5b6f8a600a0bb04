"""What is asked of models, tools and workers, and what their replies mean. Nothing here waits."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage
from langgraph.errors import GraphBubbleUp

from langchain_replm._subcalls import CallOutcome, CallRequest
from langchain_replm._tools import functions
from langchain_replm._tracing import call_config
from langchain_replm.sandbox._policy import policy_data
from langchain_replm.sandbox._wire import Setup, WireLimits
from langchain_replm.state import OPTIONS_KEY, RunOptions, RunScope, read_trajectory
from langchain_replm.types import encodable, total

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages.ai import UsageMetadata
    from langchain_core.runnables import Runnable, RunnableConfig

    from langchain_replm.config import RLMConfig
    from langchain_replm.context_store import ContextHandle

ERROR_CHARS = 500
"""A provider's error page does not belong into a cell."""


def root_kwargs(config: RLMConfig) -> dict[str, Any]:
    """Sampling parameters of the root model; what is None is not sent."""
    return _given(
        temperature=config.temperature,
        max_tokens=config.root_max_tokens,
        reasoning_effort=config.reasoning_effort,
    )


def sub_kwargs(config: RLMConfig) -> dict[str, Any]:
    """Sampling parameters of sub-calls; what is None is not sent."""
    return _given(
        temperature=config.sub_temperature,
        max_tokens=config.sub_max_tokens,
        reasoning_effort=config.sub_reasoning_effort,
    )


def stream_kwargs(model: BaseChatModel, kwargs: dict[str, Any]) -> dict[str, Any]:
    """As `kwargs`, asking for token counts too.

    `ChatOpenAI` leaves them out of a stream when the base URL is not OpenAI's, and then a streamed
    run would count fewer tokens than a plain one. A `stream_usage` set by the user stays.
    """
    has_switch = "stream_usage" in type(model).model_fields
    if has_switch and "stream_usage" not in model.model_fields_set:
        return {**kwargs, "stream_usage": True}
    return kwargs


def error_text(error: BaseException | None) -> str:
    """What a model may read of a failure: short, and fit to be sent."""
    text = encodable(f"{type(error).__name__}: {error}")
    return text if len(text) <= ERROR_CHARS else text[: ERROR_CHARS - 1] + "…"


def root_model(scope: RunScope) -> BaseChatModel:
    """The model that writes cells: in a child run it is the parent's sub-model."""
    return scope.settings.root_model if scope.depth == 0 else scope.settings.sub_model


def lane_of(request: CallRequest, scope: RunScope) -> str:
    """Which lane bounds a call; see `Lanes`."""
    if runs_child(request, scope):
        return f"depth-{scope.depth + 1}"
    return "tool" if request.kind == "tool" else "model"


def runs_child(request: CallRequest, scope: RunScope) -> bool:
    """An `rlm_query` runs a child only while the depth allows."""
    depth = scope.settings.config.max_recursion_depth
    return request.kind == "rlm_query" and scope.depth + 1 < depth


class Call:
    """One call: the Runnable that makes it, its input, and how its result becomes an outcome."""

    def __init__(self, scope: RunScope, request: CallRequest, iteration: int) -> None:
        self._scope = scope
        self._request = request
        self._started_seconds = scope.run_seconds()
        self._is_child = runs_child(request, scope)
        self.target: Runnable[Any, Any]
        self.input: Any
        self.kwargs: dict[str, Any] = {}
        name = request.kind if self._is_child or request.kind == "tool" else "llm_query"
        self.config: RunnableConfig = call_config(name, iteration=iteration, depth=scope.depth)
        if request.kind == "tool":
            self._ask_tool()
        elif self._is_child:
            self._ask_child()
        else:
            self._ask_model()

    def _ask_model(self) -> None:
        settings = self._scope.settings
        name = self._request.model
        self.target = settings.sub_model if name is None else settings.models[name]
        self.input = self._request.prompt
        self.kwargs = sub_kwargs(settings.config)

    def _ask_tool(self) -> None:
        tools = {tool.name: tool for tool in self._scope.settings.tools}
        self.target = tools[self._request.prompt]
        self.input = dict(self._request.arguments)
        del self.config["run_name"]  # a tool is known by its own name

    def _ask_child(self) -> None:
        self.target = self._scope.settings.make_child()
        context = self._request.context
        query = self._request.prompt
        self.input = {"query": query, "context": query if context is None else context}
        options = RunOptions(parent=self._scope)
        self.config["configurable"] = {OPTIONS_KEY: options}

    def done(self, result: Any, started: float) -> CallOutcome:
        """The outcome of a call that returned."""
        elapsed = time.monotonic() - started
        try:
            if self._request.kind == "tool":
                text = json.dumps(_plain(result), ensure_ascii=False)
                return self._outcome(text=text, sub_calls=0, elapsed_seconds=elapsed)
            if self._is_child:
                return self._child_done(result, elapsed)
        except (TypeError, ValueError) as error:
            return self.failed(error, started)
        return self._model_done(result, elapsed)

    def failed(self, error: Exception, started: float) -> CallOutcome:
        """The outcome of a call that raised.

        Raises:
            GraphBubbleUp: An interrupt is no failure; it goes on to whoever can answer it.
        """
        if isinstance(error, GraphBubbleUp):
            raise error
        return self._outcome(
            error=error_text(error),
            sub_calls=0 if self._request.kind == "tool" else 1,
            elapsed_seconds=time.monotonic() - started,
        )

    def _outcome(self, **fields: Any) -> CallOutcome:
        return CallOutcome(request=self._request, started_seconds=self._started_seconds, **fields)

    def _model_done(self, message: Any, elapsed: float) -> CallOutcome:
        if not isinstance(message, AIMessage):
            kind = type(message).__name__
            error = f"the model returned a {kind}, not an AIMessage"
            return self._outcome(error=error, elapsed_seconds=elapsed)
        name = message.response_metadata.get("model_name") or name_of(self.target)
        usage: dict[str, UsageMetadata] = {}
        if message.usage_metadata is not None:
            usage[name] = message.usage_metadata
        return self._outcome(
            text=message.text,
            model=name,
            usage=usage,
            elapsed_seconds=elapsed,
        )

    def _child_done(self, state: dict[str, Any], elapsed: float) -> CallOutcome:
        child = tuple(read_trajectory(state))
        totals = total(child)
        answer = state.get("answer") or ""
        failed = not answer and state["stop_reason"] != "answered"
        return self._outcome(
            text=answer,
            error=f"the child run ended without an answer: {state['stop_reason']}"
            if failed
            else None,
            usage=totals.usage_by_model,
            sub_calls=1 + totals.sub_calls,
            elapsed_seconds=elapsed,
            child=child,
        )


def setup_maker(scope: RunScope, handle: ContextHandle) -> Callable[[], tuple[Setup, WireLimits]]:
    """What a worker of this run is told. The context is fetched when a worker wants it."""
    settings = scope.settings
    shown = settings.config.metadata_prefix_chars
    limits = WireLimits(output_head_chars=shown, output_tail_chars=shown)

    def make() -> tuple[Setup, WireLimits]:
        context = settings.context_store.get(handle)
        setup = Setup(
            policy=policy_data(settings.sandbox.policy),
            functions=tuple(functions(settings.tools, sub_calls=settings.config.enable_sub_calls)),
            context=context.value,
            context_metadata=context.metadata,
        )
        return setup, limits

    return make


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def name_of(model: Any) -> str:
    for attribute in ("model_name", "model"):
        name = getattr(model, attribute, None)
        if isinstance(name, str) and name:
            return name
    return type(model).__name__


def _plain(result: Any) -> Any:
    """A tool's result as JSON data; objects that JSON does not know become their text."""
    return json.loads(json.dumps(result, default=_as_data))


def _as_data(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    return dump(mode="json") if callable(dump) else str(value)
