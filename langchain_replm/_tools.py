"""The functions that cells can call: sub-calls under all their names, and LangChain tools."""

from __future__ import annotations

from keyword import iskeyword
from typing import TYPE_CHECKING, Any

from langchain_core.tools import BaseTool, tool

from langchain_replm.errors import ConfigurationError
from langchain_replm.sandbox._policy import sub_call_functions
from langchain_replm.sandbox._wire import Function, Parameter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

RESERVED_NAMES = frozenset(
    {
        "FINAL",
        "FINAL_VAR",
        "SHOW_VARS",
        "SubCallError",
        "answer",
        "context",
        "context_metadata",
        "history",
        "llm_batch",
        "llm_map",
        "llm_query",
        "llm_query_batch",
        "llm_query_batched",
        "rlm_query",
        "rlm_query_batch",
        "rlm_query_batched",
    }
)


def functions(tools: Sequence[BaseTool], *, sub_calls: bool) -> Iterator[Function]:
    """What a worker is told to offer: sub-calls, unless they are switched off, and tools."""
    if sub_calls:
        yield from sub_call_functions()
    for item in tools:
        yield Function(
            name=item.name,
            kind="tool",
            doc=item.description,
            parameters=tuple(_parameters(item)),
        )


def _is_free_name(name: str) -> bool:
    return name.isidentifier() and not iskeyword(name) and name not in RESERVED_NAMES


def check_tools(tools: Sequence[BaseTool | Callable[..., Any]]) -> list[BaseTool]:
    """Make tools of functions, and refuse names that no cell could call.

    Raises:
        ConfigurationError: A name is no Python identifier, or is taken by the REPL.
    """
    checked = [item if isinstance(item, BaseTool) else tool(item) for item in tools]
    for item in checked:
        if not _is_free_name(item.name):
            msg = (
                f"The tool name {item.name!r} cannot be a function in a cell: it must be a Python "
                f"identifier and none of {', '.join(sorted(RESERVED_NAMES))}."
            )
            raise ConfigurationError(msg)
    return checked


def _parameters(tool: BaseTool) -> Iterator[Parameter]:
    schema = tool_schema(tool)
    required = set(schema.get("required", ()))
    # A parameter without a default must not follow one with a default.
    for name in sorted(schema["properties"], key=lambda name: name not in required):
        spec = schema["properties"][name]
        yield Parameter(
            name=name,
            required=name in required,
            default=spec.get("default"),
            annotation=str(spec.get("type", "")),
        )


def tool_schema(tool: BaseTool) -> dict[str, Any]:
    """The JSON Schema of a tool's arguments, always with `properties`."""
    schema: Any = tool.tool_call_schema
    data: dict[str, Any] = schema if isinstance(schema, dict) else schema.model_json_schema()
    return {"properties": {}, **data}


def tool_signature(tool: BaseTool) -> str:
    """How a cell calls a tool: its name and its parameters."""
    names = [item.name if item.required else f"{item.name}=..." for item in _parameters(tool)]
    return f"{tool.name}({', '.join(names)})"
