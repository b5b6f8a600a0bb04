"""An RLM as a tool: an agent asks it about a text that is too long for the agent's own window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel, Field

if TYPE_CHECKING:
    from langchain_core.runnables import Runnable, RunnableConfig

NAME = "ask_long_text"

DESCRIPTION = (
    "Answers a question about a text of any length: it is read by code and by other models, not "
    "cut. Ask one complete question; say what form the answer should have."
)


class AskText(BaseModel):
    """A question and the text that answers it."""

    query: str = Field(description="The question, complete in itself.")
    context: str = Field(description="The text to read.")


class Ask(BaseModel):
    """A question; the text is known."""

    query: str = Field(description="The question, complete in itself.")


def make_tool(
    rlm: Runnable[Any, Any], context: Any, *, name: str | None, description: str | None
) -> BaseTool:
    """A tool that runs an RLM; its artifact is the `RLMResponse`.

    Args:
        rlm: The RLM.
        context: What it reads; when it is None the caller of the tool passes the text.
        name: Name of the tool.
        description: What the agent is told about it.
    """

    def given(arguments: dict[str, Any]) -> dict[str, Any]:
        return {"query": arguments["query"], "context": arguments.get("context", context)}

    def run(config: RunnableConfig, **arguments: Any) -> tuple[str, Any]:
        return _told(rlm.invoke(given(arguments), config))

    async def arun(config: RunnableConfig, **arguments: Any) -> tuple[str, Any]:
        return _told(await rlm.ainvoke(given(arguments), config))

    # `from __future__ import annotations` would make these strings, which nobody could resolve.
    run.__annotations__["config"] = arun.__annotations__["config"] = _config_type()
    return StructuredTool.from_function(
        run,
        coroutine=arun,
        name=name or NAME,
        description=description or DESCRIPTION,
        args_schema=AskText if context is None else Ask,
        response_format="content_and_artifact",
    )


def _told(response: Any) -> tuple[str, Any]:
    if response.stop_reason == "answered":
        return response.answer, response
    said = response.answer or "There is no answer."
    return f"{said}\n\n(The work ended early: {response.stop_reason}.)", response


def _config_type() -> Any:
    from langchain_core.runnables import RunnableConfig  # noqa: PLC0415 - see above

    return RunnableConfig
