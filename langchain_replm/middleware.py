"""Middleware for `langchain.agents`: long results of tools stay out of the conversation.

Needs the `langchain` package: `pip install "langchain-replm[agents]"`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langchain.agents.middleware import AgentMiddleware
from langchain.tools import ToolRuntime  # noqa: TC002 - the tool's signature is read
from langchain_core.documents import Document
from langchain_core.messages import ToolMessage
from langchain_core.tools import StructuredTool
from langgraph.types import Command  # noqa: TC002 - as above

from langchain_replm._chat_prompts import kept_result
from langchain_replm.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from langchain.agents.middleware.types import ToolCallRequest
    from langchain_core.tools import BaseTool

    from langchain_replm.runnable import RLM

TOOL_NAME = "ask_results"

DESCRIPTION = (
    "Answers a question about the long results of earlier tool calls, which the conversation shows "
    "only by their size and ends. The results are read whole. Ask one complete question."
)

_KEPT = "rlm_result"


class LongResultsMiddleware(AgentMiddleware[Any, Any]):
    r"""Keeps long tool results out of an agent's window and lets the agent ask an RLM about them.

    A result over `above_chars` becomes a short note in the conversation; the text goes along as the
    artifact of its message, which no model is sent. The agent gets a tool, `ask_results`, that
    runs the RLM over all results that were kept.

    Args:
        rlm: Reads the results.
        above_chars: A result longer than this is kept.
        shown_chars: Characters of it that the note shows, head and tail.

    Raises:
        ConfigurationError: The note would be longer than the result.

    Example:
        ```python
        from langchain_replm import RLM
        from langchain_replm.middleware import LongResultsMiddleware
        from langchain_replm.testing import ScriptedChatModel

        rlm = RLM(ScriptedChatModel(replies=["```repl\nFINAL(len(context))\n```"]))
        middleware = LongResultsMiddleware(rlm, above_chars=20_000)
        assert [tool.name for tool in middleware.tools] == ["ask_results"]
        ```
    """

    def __init__(self, rlm: RLM, *, above_chars: int = 20_000, shown_chars: int = 1_000) -> None:
        if not 0 <= shown_chars < above_chars:
            msg = f"shown_chars={shown_chars:,} must be less than above_chars={above_chars:,}."
            raise ConfigurationError(msg)
        super().__init__()
        self.rlm = rlm
        self.above_chars = above_chars
        self.shown_chars = shown_chars
        self.tools: list[BaseTool] = [
            StructuredTool.from_function(
                self._ask, coroutine=self._aask, name=TOOL_NAME, description=DESCRIPTION
            )
        ]

    def wrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]],
    ) -> ToolMessage | Command[Any]:
        """Run the tool; keep its result if it is long."""
        return self._kept(handler(request))

    async def awrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]],
    ) -> ToolMessage | Command[Any]:
        """`wrap_tool_call`, awaitable."""
        return self._kept(await handler(request))

    def _ask(self, question: str, runtime: ToolRuntime) -> str:
        given: Any = {"query": question, "context": kept_results(runtime.state["messages"])}
        if not given["context"]:
            return "No result has been kept; what the tools returned is in the conversation."
        return self.rlm.invoke(given, runtime.config).answer

    async def _aask(self, question: str, runtime: ToolRuntime) -> str:
        given: Any = {"query": question, "context": kept_results(runtime.state["messages"])}
        if not given["context"]:
            return "No result has been kept; what the tools returned is in the conversation."
        return (await self.rlm.ainvoke(given, runtime.config)).answer

    def _kept(self, result: ToolMessage | Command[Any]) -> ToolMessage | Command[Any]:
        if isinstance(result, ToolMessage):
            return self._note(result)
        update = result.update
        if isinstance(update, dict) and "messages" in update:
            messages = [
                self._note(item) if isinstance(item, ToolMessage) else item
                for item in update["messages"]
            ]
            return replace(result, update={**update, "messages": messages})
        return result

    def _note(self, message: ToolMessage) -> ToolMessage:
        text = str(message.text)
        if len(text) <= self.above_chars or message.name == TOOL_NAME:
            return message
        note = kept_result(text, shown_chars=self.shown_chars, tool=TOOL_NAME)
        artifact = {_KEPT: text, "artifact": message.artifact}
        return message.model_copy(update={"content": note, "artifact": artifact})


def kept_results(messages: Iterable[Any]) -> list[Document]:
    """The results that were kept, in order, with the tool and the call in their metadata."""
    return [
        Document(
            message.artifact[_KEPT],
            metadata={"tool": message.name, "tool_call_id": message.tool_call_id},
        )
        for message in messages
        if isinstance(message, ToolMessage)
        and isinstance(message.artifact, dict)
        and _KEPT in message.artifact
    ]
