"""The functions that cells can call: sub-calls under all their names, and LangChain tools."""

from __future__ import annotations

import re
from keyword import iskeyword
from typing import TYPE_CHECKING, Any

from langchain_core.tools import BaseTool, StructuredTool, Tool, tool

from langchain_replm.errors import ConfigurationError
from langchain_replm.sandbox._policy import sub_call_functions
from langchain_replm.sandbox._wire import Function, Parameter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pydantic import ValidationError

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
            name=function_name(item),
            kind="tool",
            doc=item.description,
            parameters=tuple(_parameters(item)),
        )


def function_name(tool: BaseTool) -> str:
    """The name of a tool as a function: `read-file` is called `read_file`."""
    name = re.sub(r"\W", "_", tool.name)
    return f"_{name}" if name[:1].isdigit() else name


def is_only_async(tool: object) -> bool:
    """Whether a tool, such as one of an MCP server, cannot be called by waiting."""
    return isinstance(tool, StructuredTool) and tool.func is None and tool.coroutine is not None


def is_only_sync(tool: object) -> bool:
    """Whether LangChain would run a tool in the default threads of the event loop.

    These are few, and a loop that ends waits for them.
    """
    if isinstance(tool, StructuredTool | Tool):
        return tool.coroutine is None
    return isinstance(tool, BaseTool) and type(tool)._arun is BaseTool._arun  # noqa: SLF001


def flat_text(result: Any) -> Any:
    """The text of a result that is a list of text blocks, as MCP tools give it."""
    if not isinstance(result, list) or not result:
        return result
    texts = [
        str(block.get("text", ""))
        for block in result
        if isinstance(block, dict) and block.get("type") == "text"
    ]
    return "\n".join(texts) if len(texts) == len(result) else result


def wrong_arguments(tool: BaseTool, error: ValidationError) -> str:
    """What a cell reads when the arguments of a tool are wrong, one problem after the other."""
    problems = "; ".join(
        f"{'.'.join(map(str, item['loc'])) or 'arguments'}: {item['msg']}"
        for item in error.errors()[:5]
    )
    return f"wrong arguments for {tool_signature(tool)}: {problems}"


def _is_free_name(name: str) -> bool:
    return name.isidentifier() and not iskeyword(name) and name not in RESERVED_NAMES


def check_tools(tools: Sequence[BaseTool | Callable[..., Any]]) -> list[BaseTool]:
    """Make tools of functions, and refuse names that no cell could call.

    Raises:
        ConfigurationError: A name is no Python identifier, or is taken by the REPL.
    """
    checked = [_raising(item if isinstance(item, BaseTool) else tool(item)) for item in tools]
    for item in checked:
        if not _is_free_name(function_name(item)):
            msg = (
                f"The tool name {item.name!r} cannot be a function in a cell: it must be a Python "
                f"identifier and none of {', '.join(sorted(RESERVED_NAMES))}."
            )
            raise ConfigurationError(msg)
    names = [function_name(item) for item in checked]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        msg = f"Two tools have the same name in cells: {', '.join(twice)}. Rename one."
        raise ConfigurationError(msg)
    return checked


def _raising(tool: BaseTool) -> BaseTool:
    """The tool, with errors that are errors: a cell must not take them for results."""
    if not (tool.handle_tool_error or tool.handle_validation_error):
        return tool
    return tool.model_copy(update={"handle_tool_error": False, "handle_validation_error": False})


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
    return f"{function_name(tool)}({', '.join(map(_as_python, _parameters(tool)))})"


def _as_python(item: Parameter) -> str:
    kind = _TYPES.get(item.annotation, "")
    head = f"{item.name}: {kind}" if kind else item.name
    if item.required:
        return head
    return f"{head} = {item.default!r}" if kind else f"{head}={item.default!r}"


_TYPES = {
    "integer": "int",
    "number": "float",
    "string": "str",
    "boolean": "bool",
    "array": "list",
    "object": "dict",
}
"""Names of JSON Schema and what a cell passes."""
