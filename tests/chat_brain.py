"""A loopback model that behaves like a small, obedient one: alone, and as the root of a run.

One set of rules decides what to do; asked directly it answers in the OpenAI protocol (text, tool
calls, JSON), and as a root model it writes cells that do the same. So the same tests can run over
both modes of `RLMChatModel`.
"""

from __future__ import annotations

import json
import re
from typing import Any

from tests.openai_server import Reply, Request

REPL_MARK = "`context` in a Python REPL"
TOOL_LINE = re.compile(r"^- (\w+): .*?\n  (\{.*?\})$", re.MULTILINE | re.DOTALL)


def respond(request: Request) -> Reply:
    if REPL_MARK in request.system_text:
        return Reply(as_root(request))
    return as_model(request)


def as_model(request: Request) -> Reply:
    """What a model answers that is called directly."""
    tools = {
        tool["function"]["name"]: tool["function"].get("parameters") or {}
        for tool in request.body.get("tools") or []
    }
    choice = request.body.get("tool_choice")
    if isinstance(choice, dict):
        choice = choice["function"]["name"]
    text = request.last_text
    last_role = request.messages[-1]["role"]
    name = choose(text, tools, choice, has_results=last_role == "tool")
    if name is not None:
        return Reply(None, tool_calls=[{"name": name, "args": fill(tools[name], text)}])
    wanted = request.body.get("response_format")
    if wanted is not None:
        schema = (wanted.get("json_schema") or {}).get("schema") or JOKE
        return Reply(json.dumps(fill(schema, text)))
    return Reply(f"An answer to: {text[:40]}")


def as_root(request: Request) -> str:
    """What a root model writes: a look first, then the end."""
    system, last = request.system_text, request.last_text
    first = next(m for m in request.messages if m["role"] == "user")
    query = first["content"] if isinstance(first["content"], str) else first["content"][0]["text"]
    query = query.split("`context` is ")[0]
    if len(request.messages) == 2:
        return "I look first.\n\n```repl\nsize = len(context)\nprint(size)\n```"
    tools = {name: json.loads(schema) for name, schema in TOOL_LINE.findall(system)}
    forced = re.search(r"wants a call of `(\w+)` now", system)
    choice = forced[1] if forced else "any" if "wants a tool call now" in system else None
    has_results = "The whole results are in `tool_results`" in last or "returned:" in query
    name = choose(query, tools, choice, has_results=has_results)
    if name is not None:
        arguments = "".join(f", {k}={v!r}" for k, v in fill(tools[name], query).items())
        return f"```repl\nTOOL_CALL({name!r}{arguments})\n```"
    if "must fit this JSON Schema" in system:
        schema = json.loads(system.split("submit again:\n")[1].split("\n\nOutput comes")[0])
        if not schema.get("properties"):
            schema = JOKE
        return f"```repl\nFINAL({fill(schema, query)!r})\n```"
    return "FINAL(An answer that the root writes itself, over " + " and ".join("ab") + ")"


JOKE = {"properties": {"setup": {"type": "string"}, "punchline": {"type": "string"}}}


def choose(
    text: str, tools: dict[str, Any], choice: str | None, *, has_results: bool
) -> str | None:
    """The tool to call; None for an answer."""
    if choice == "none" or not tools:
        return None
    if choice in tools:
        return choice
    named = [name for name in tools if name in text or name.split("_")[-1] in text.lower()]
    if choice in {"any", "required"}:
        return (named or list(tools))[0]
    return named[0] if named and not has_results else None


def fill(schema: dict[str, Any], text: str) -> dict[str, Any]:
    """Arguments that fit a schema, taken from the text where it has them."""
    numbers = [int(number) for number in re.findall(r"\d+", text)] or [3]
    quoted = re.findall(r"'([^']+)'", text) or ["some text"]
    values: dict[str, Any] = {}
    for position, (name, spec) in enumerate((schema.get("properties") or {}).items()):
        kind = spec.get("type", "string")
        if kind in {"integer", "number"}:
            values[name] = numbers[min(position, len(numbers) - 1)]
        elif kind == "array":
            values[name] = []
        elif kind == "boolean":
            values[name] = True
        else:
            values[name] = quoted[min(position, len(quoted) - 1)]
    return values
