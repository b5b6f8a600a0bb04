"""Cells as calls of a tool named `python`, for root models that prefer tool calls to fences.

Only the wire to the model differs. A call is recorded as the fence that it stands for, so the loop,
the record and every view of it are the same; for the next request fences become calls again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from langchain_replm.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from langchain_replm.config import RLMConfig

NAME = "python"

PYTHON_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": NAME,
        "description": "Runs a cell in the REPL and returns what it printed.",
        "parameters": {
            "type": "object",
            "properties": {"code": {"type": "string", "description": "The Python of the cell."}},
            "required": ["code"],
        },
    },
}

_FENCE = re.compile(r"^(`{3,})repl\n(.*?)\n\1$\n*", re.MULTILINE | re.DOTALL)
_TICKS = re.compile(r"^`{3,}", re.MULTILINE)


def check_action_format(
    config: RLMConfig, root: BaseChatModel, subs: Iterable[BaseChatModel]
) -> None:
    """Refuse a model that writes cells and has no tool calls.

    Raises:
        ConfigurationError: It does not implement `bind_tools`.
    """
    if config.action_format == "tool":
        _check(root, "root model")
        if config.max_recursion_depth > 1:
            for sub in subs:
                _check(sub, "sub-model")


def _check(model: BaseChatModel, role: str) -> None:
    if type(model).bind_tools is BaseChatModel.bind_tools:
        msg = (
            f"action_format='tool' needs tool calls, and the {role} {type(model).__name__} has no "
            "bind_tools. Use action_format='fence', which needs nothing of the model."
        )
        raise ConfigurationError(msg)


def tool_kwargs(model: BaseChatModel) -> dict[str, Any]:
    """What the tool is called in the model's own protocol."""
    bound: Any = model.bind_tools([PYTHON_TOOL])
    return dict(getattr(bound, "kwargs", {}))


def cells_of(message: AIMessage) -> list[str]:
    """The code of every call of the tool, in order."""
    return [
        call["args"]["code"]
        for call in message.tool_calls
        if call["name"] == NAME and isinstance(call["args"].get("code"), str)
    ]


def as_reply(text: str, cells: Iterable[str]) -> str:
    """The reply that says the same with fences."""
    parts = [text.strip()] if text.strip() else []
    for code in cells:
        longest = max((len(ticks[0]) for ticks in _TICKS.finditer(code)), default=2)
        ticks = "`" * max(3, longest + 1)
        parts.append(f"{ticks}repl\n{code.strip()}\n{ticks}")
    return "\n\n".join(parts)


def as_calls(messages: Iterable[BaseMessage]) -> list[BaseMessage]:
    """The conversation of a root model with calls in the place of fences."""
    shown: list[BaseMessage] = []
    ids: list[str] = []
    for message in messages:
        codes = _FENCE.findall(message.text) if isinstance(message, AIMessage) else []
        if isinstance(message, HumanMessage) and ids:
            shown += _results(ids, message)
            ids = []
        elif codes:
            ids = [f"cell_{len(shown)}_{at}" for at in range(len(codes))]
            calls = [
                {"name": NAME, "args": {"code": code}, "id": id_, "type": "tool_call"}
                for id_, (_, code) in zip(ids, codes, strict=True)
            ]
            text = _FENCE.sub("", message.text).strip()
            shown.append(AIMessage(content=text, tool_calls=calls))
        else:
            shown.append(message)
    return shown


def _results(ids: list[str], observation: HumanMessage) -> Iterator[ToolMessage]:
    """One observation tells of all cells of a reply; it is the result of the last one."""
    for id_ in ids[:-1]:
        yield ToolMessage("Its output is told with that of the last cell.", tool_call_id=id_)
    yield ToolMessage(observation.content, tool_call_id=ids[-1])
