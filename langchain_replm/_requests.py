"""What is asked of models, tools and workers, and what their replies mean. Nothing here waits."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage
from langchain_core.tools import BaseTool
from langgraph.errors import GraphBubbleUp
from pydantic import ValidationError

from langchain_replm._effects import RootReply
from langchain_replm._prices import cost_usd, most_spent, name_of, price_of
from langchain_replm._root_tool import tool_kwargs
from langchain_replm._subcalls import CallOutcome, CallRequest, no_room
from langchain_replm._tool_calls import CALL_FUNCTIONS
from langchain_replm._tools import flat_text, function_name, functions, wrong_arguments
from langchain_replm._tracing import call_config
from langchain_replm._typed import ReplyFormat
from langchain_replm.budget import NOTHING, Spend
from langchain_replm.sandbox._policy import policy_data
from langchain_replm.sandbox._wire import Setup, WireLimits
from langchain_replm.scope import OPTIONS_KEY, RunOptions, RunScope
from langchain_replm.state import read_trajectory
from langchain_replm.types import encodable, total

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages.ai import UsageMetadata
    from langchain_core.runnables import Runnable, RunnableConfig

    from langchain_replm._effects import CallRootModel, Datum
    from langchain_replm.config import RLMConfig
    from langchain_replm.types import StopReason

ERROR_CHARS = 500
"""A provider's error page does not belong into a cell."""

OBSERVATION_CHARS = 4_000
"""What an observation may hold besides the output of cells: errors, variables, hints."""


def root_kwargs(config: RLMConfig) -> dict[str, Any]:
    """Sampling parameters of the root model; what is None is not sent."""
    return _given(
        temperature=config.temperature,
        max_tokens=config.root_max_tokens,
        reasoning_effort=config.reasoning_effort,
    )


def root_call_kwargs(scope: RunScope) -> dict[str, Any]:
    """What is sent with the root calls of a run: its sampling, and what this call asks for."""
    return root_kwargs(scope.settings.config) | dict(scope.options.root_kwargs)


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
    if scope.level == 0:
        return scope.settings.root_model
    models = scope.settings.sub_models
    return models[min(scope.level, len(models)) - 1]


def lane_of(request: CallRequest, scope: RunScope) -> str:
    """Which lane bounds a call; see `Lanes`."""
    if runs_child(request, scope):
        return f"depth-{scope.depth + 1}"
    return "tool" if request.kind == "tool" else "model"


def runs_child(request: CallRequest, scope: RunScope) -> bool:
    """An `rlm_query` runs a child only while the depth allows."""
    depth = scope.settings.config.max_recursion_depth
    if request.kind == "candidate":
        return True
    return request.kind == "rlm_query" and scope.level + 1 < depth


def cache_key(request: CallRequest, scope: RunScope) -> tuple[str, str] | None:
    """What a LangChain cache knows a completion by: the prompt, and the model with its parameters.

    Returns:
        None for what is no completion, or if there is no cache.
    """
    settings = scope.settings
    is_completion = request.kind != "tool" and not runs_child(request, scope)
    if settings.cache is None or not is_completion or request.first is not None:
        return None
    if request.model is not None and request.model not in settings.models:
        return None
    model = scope.sub_model if request.model is None else settings.models[request.model]
    described = model._get_llm_string(**sub_kwargs(settings.config))  # noqa: SLF001 - LangChain's own key
    return request.prompt, f"langchain_replm sub-call: {described}"


class RootCall:
    """One call of the root model: what it can take, and what its reply has taken."""

    def __init__(self, scope: RunScope, effect: CallRootModel) -> None:
        self._scope = scope
        self._effect = effect
        config = scope.settings.config
        self.model = root_model(scope)
        self.kwargs = root_call_kwargs(scope)
        direct = scope.handle is not None and scope.is_direct(scope.handle)
        if config.action_format == "tool" and effect.purpose == "root_generate" and not direct:
            self.kwargs = tool_kwargs(self.model) | self.kwargs
        self.config = call_config(effect.purpose, iteration=effect.iteration, depth=scope.depth)
        if scope.options.shows_tokens:
            self.config["tags"] = [tag for tag in self.config["tags"] if tag != "nostream"]
        self._price = price_of(config, name_of(self.model))
        self.most = self._most()
        if scope.depth == 0 and not effect.closing:
            self._keep(self.most)

    def _most(self, *more: str) -> Spend:
        budget, config = self._scope.budget, self._scope.settings.config
        if not budget.counts_spending:
            return NOTHING
        texts = [*(message.text for message in self._effect.messages), *more]
        return most_spent(texts, self.model, self._price, output_tokens=config.root_max_tokens)

    def _keep(self, reply: Spend) -> None:
        """Keep what the closing request can take if it is the next one, after this reply."""
        shown = "x" * (self._scope.settings.config.metadata_prefix_chars + OBSERVATION_CHARS)
        self._scope.budget.keep_for_closing(self._most(shown) + reply)

    def settle(self, reply: RootReply | None) -> None:
        """Charge what the call has taken; all that it could, if nobody waited for the reply."""
        used = NOTHING if reply is not None else self.most
        if reply is not None and reply.message is not None:
            usage = reply.message.usage_metadata
            used = spent(usage and {"": usage}, self._cost(reply.message), self.most)
        if self._scope.depth == 0 and not self._effect.closing:
            self._keep(used)
            if reply is not None and reply.message is not None:
                self._scope.budget.root_replied(reply.elapsed_seconds)
        self._scope.budget.settle(self.most, used)

    def cut(self) -> RootReply:
        """What is said of a call that was given up because the time was over."""
        return RootReply(None, None, 0.0, refused="deadline")

    def priced(self, reply: RootReply) -> RootReply:
        """The reply, with what it has cost."""
        return replace(reply, cost_usd=None if reply.message is None else self._cost(reply.message))

    def _cost(self, message: AIMessage) -> float | None:
        config = self._scope.settings.config
        price = price_of(config, name_of(self.model), _reported_name(message))
        return cost_usd(message.usage_metadata, price)


def spent(usage: Mapping[str, UsageMetadata] | None, cost: float | None, most: Spend) -> Spend:
    """What a call has taken: what the provider told, and the most it can be for the rest."""
    tokens = sum(item["total_tokens"] for item in usage.values()) if usage else most.tokens
    return Spend(tokens, most.cost_usd if cost is None else cost)


class Call:
    """One call: the Runnable that makes it, its input, and how its result becomes an outcome."""

    def __init__(
        self, scope: RunScope, request: CallRequest, iteration: int, *, cell: int | None = None
    ) -> None:
        self._scope = scope
        self._request = request
        self._started_seconds = scope.run_seconds()
        self._is_child = runs_child(request, scope)
        self.target: Runnable[Any, Any]
        self.input: Any
        self.kwargs: dict[str, Any] = {}
        self.most = NOTHING
        name = request.kind if self._is_child or request.kind == "tool" else "llm_query"
        self.config: RunnableConfig = call_config(
            name,
            iteration=iteration,
            depth=scope.depth,
            cell=cell,
            prompt_chars=len(request.prompt),
        )
        if request.kind == "tool":
            self._ask_tool()
        elif self._is_child:
            self._ask_child()
        else:
            self._ask_model()

    def _ask_model(self) -> None:
        settings = self._scope.settings
        name = self._request.model
        self.target = self._scope.sub_model if name is None else settings.models[name]
        self.input = self._request.prompt
        self.kwargs = sub_kwargs(settings.config)
        if self._scope.budget.counts_spending:
            self.most = most_spent(
                [self._request.prompt],
                self.target,
                price_of(settings.config, name_of(self.target)),
                output_tokens=settings.config.sub_max_tokens,
            )

    def _ask_tool(self) -> None:
        tools = {function_name(tool): tool for tool in self._scope.settings.tools}
        self.target = tools[self._request.prompt]
        self.input = dict(self._request.arguments)
        del self.config["run_name"]  # a tool is known by its own name

    def _ask_child(self) -> None:
        settings, request = self._scope.settings, self._request
        asked_by = (request.call_id, request.index)
        options = RunOptions(
            parent=self._scope,
            request=asked_by,
            path=request.journal_key,
            answer_format=None if request.schema is None else ReplyFormat(request.schema),
        )
        if request.kind == "candidate":
            # It is asked the same: what a conversation has set stays, but for the listeners.
            options = replace(
                self._scope.options,
                parent=self._scope,
                request=asked_by,
                path=request.journal_key,
                is_candidate=True,
                on_event=None,
                stream_tokens=False,
                shows_tokens=False,
            )
        self.config["configurable"] = {OPTIONS_KEY: options}
        if settings.make_candidate is not None and request.kind == "candidate":
            self.target, self.input = settings.make_candidate(), dict(request.arguments)
            return
        self.target = settings.make_child()
        context = self._request.context
        query = self._request.prompt
        self.input = {"query": query, "context": query if context is None else context}

    def done(self, result: Any, started: float) -> CallOutcome:
        """The outcome of a call that returned."""
        elapsed = time.monotonic() - started
        try:
            if self._request.kind == "tool":
                text = json.dumps(_plain(flat_text(result)), ensure_ascii=False)
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
        text = error_text(error)
        if isinstance(error, ValidationError) and isinstance(self.target, BaseTool):
            text = wrong_arguments(self.target, error)
        return self._outcome(
            error=text,
            sub_calls=0 if self._request.kind == "tool" else 1,
            elapsed_seconds=time.monotonic() - started,
        )

    def _outcome(self, **fields: Any) -> CallOutcome:
        return CallOutcome(request=self._request, started_seconds=self._started_seconds, **fields)

    def refused(self, limit: StopReason) -> CallOutcome:
        """The outcome of a call for which there was no room when its turn came."""
        error = no_room(limit, self._scope.budget, self.most)
        return self._outcome(error=error, sub_calls=0, refused=True)

    def settle(self, outcome: CallOutcome | None) -> None:
        """Charge what the call has taken; all that it could, if nobody waited for its end."""
        used = self.most
        if outcome is not None and outcome.error is not None:
            used = NOTHING
        elif outcome is not None and not self._is_child:  # a child's calls are charged one by one
            used = spent(outcome.usage, outcome.cost_usd, self.most)
        self._scope.budget.settle(self.most, used)

    def _model_done(self, message: Any, elapsed: float) -> CallOutcome:
        if not isinstance(message, AIMessage):
            kind = type(message).__name__
            error = f"the model returned a {kind}, not an AIMessage"
            return self._outcome(error=error, elapsed_seconds=elapsed)
        asked, reported = name_of(self.target), _reported_name(message)
        name = reported or asked
        price = price_of(self._scope.settings.config, asked, reported)
        usage: dict[str, UsageMetadata] = {}
        if message.usage_metadata is not None:
            usage[name] = message.usage_metadata
        return self._outcome(
            text=message.text,
            model=name,
            usage=usage,
            cost_usd=cost_usd(message.usage_metadata, price),
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
            cost_usd=None if totals.unpriced_models else totals.cost_usd,
            sub_calls=(self._request.kind == "rlm_query") + totals.sub_calls,
            elapsed_seconds=elapsed,
            child=child,
        )


def setup_maker(scope: RunScope, datum: Datum) -> Callable[[], tuple[Setup, WireLimits]]:
    """What a worker of this run is told. The context is fetched when a worker wants it."""
    settings = scope.settings
    shown = settings.config.metadata_prefix_chars
    limits = WireLimits(output_head_chars=shown, output_tail_chars=shown)

    def make() -> tuple[Setup, WireLimits]:
        context = scope.find_context(datum.context)
        setup = Setup(
            policy=policy_data(settings.sandbox.policy),
            functions=(
                *functions(settings.tools, sub_calls=settings.config.enable_sub_calls),
                *(CALL_FUNCTIONS if scope.options.ends_with_tool_calls else ()),
            ),
            context=context.value,
            context_metadata=context.metadata,
            history=datum.history,
            room_bytes=datum.room_chars,
        )
        return setup, limits

    return make


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _reported_name(message: AIMessage) -> str | None:
    """The name that the provider says; often more exact than the one that was asked for."""
    return message.response_metadata.get("model_name")


def _plain(result: Any) -> Any:
    """A tool's result as JSON data; objects that JSON does not know become their text."""
    return json.loads(json.dumps(result, default=_as_data))


def _as_data(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    return dump(mode="json") if callable(dump) else str(value)
