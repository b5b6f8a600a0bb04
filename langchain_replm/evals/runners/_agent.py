"""The limits of a run, as middleware of a LangChain agent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import AIMessage, HumanMessage

from langchain_replm.evals.runners._meter import LimitMetError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from langchain.agents.middleware.types import ModelRequest, ModelResponse

    from langchain_replm.evals.runners._meter import Meter

CLOSING = "You may not call tools any more. Answer now from what you have seen."


class Metered(AgentMiddleware[Any, Any]):
    """Admits and charges each model call; the one after the last step is the closing one."""

    def __init__(self, meter: Meter, max_iterations: int) -> None:
        super().__init__()
        self._meter = meter
        self._max_iterations = max_iterations

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any] | AIMessage:
        """One call, if there is room for it."""
        asked = self._admitted(request)
        return AIMessage("") if asked is None else self._charged(handler(asked))

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any] | AIMessage:
        """`wrap_model_call`, awaitable."""
        asked = self._admitted(request)
        return AIMessage("") if asked is None else self._charged(await handler(asked))

    def _admitted(self, request: ModelRequest[Any]) -> ModelRequest[Any] | None:
        """The request as it is sent; None if a limit leaves no room, which ends the loop."""
        messages = [*filter(None, [request.system_message]), *request.messages]
        settings = {**request.model_settings, **self._meter.kwargs("root")}
        if self._closing():
            more = [*request.messages, HumanMessage(CLOSING)]
            request = request.override(messages=more, tools=[])
            messages.append(more[-1])
        try:
            self._meter.admit("root", messages)
        except LimitMetError:
            return None
        return request.override(model_settings=settings)

    def _charged(self, response: ModelResponse[Any]) -> ModelResponse[Any]:
        closing = self._meter.calls["root"] > self._max_iterations
        for message in response.result:
            if isinstance(message, AIMessage):
                self._meter.take("root", message)
                if closing:  # whatever it says, it is the end
                    message.tool_calls = []
                    message.response_metadata["rlm_closing"] = True
        return response

    def _closing(self) -> bool:
        return self._meter.calls["root"] >= self._max_iterations
