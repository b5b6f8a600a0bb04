"""Tools that the caller of a chat model runs: what a run may end with, and what goes on after it.

A cell ends its turn with `TOOL_CALL(name, **arguments)`. The worker submits that as an answer of
one special shape; here it is checked against the tools that were bound, as any typed answer is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from langchain_core.messages import AIMessage, ToolCall, ToolMessage
from langchain_core.utils.function_calling import convert_to_openai_tool

from langchain_replm._typed import AnswerFormat, Checked
from langchain_replm.errors import ConfigurationError
from langchain_replm.sandbox._wire import Function
from langchain_replm.types import Cell, Iteration

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.messages import BaseMessage

CALLS_KEY = "TOOL_CALLS"
"""The one key of an answer that is a list of calls: `{"TOOL_CALLS": [[name, arguments], ...]}`."""

CALL_FUNCTIONS = (
    Function(name="TOOL_CALL", kind="tool_call"),
    Function(name="TOOL_CALLS", kind="tool_calls"),
)
"""What a worker offers when tools are bound."""


@dataclass(frozen=True)
class BoundTools:
    """The tools of one call of the model, by name, and which of them must be called.

    Attributes:
        specs: OpenAI function specs: name, description, parameters.
        choice: None (free), `"none"`, `"any"`, or the name of a tool.
    """

    specs: Mapping[str, Mapping[str, Any]]
    choice: str | None = None

    @classmethod
    def read(cls, tools: Sequence[Any] | None, choice: Any) -> BoundTools | None:
        """Read what `bind_tools` has bound; None if there are no tools.

        Raises:
            ConfigurationError: `tool_choice` names no tool.
        """
        if not tools:
            return None
        specs = {}
        for tool in tools:
            spec = convert_to_openai_tool(tool)["function"]
            specs[spec["name"]] = spec
        return cls(specs, _choice(choice, specs))

    @property
    def is_forced(self) -> bool:
        """The next message must call a tool."""
        return self.choice not in {None, "none"}


class TurnFormat:
    """What a run inside a conversation may end with: calls of tools, or an answer.

    Args:
        tools: The bound tools, if any.
        answer: What an answer must be, if that was asked for.
    """

    def __init__(self, tools: BoundTools | None, answer: AnswerFormat | None) -> None:
        self._tools = tools
        self._answer = answer

    def told(self) -> str | None:
        """The schema of the answer as the root model is told it; tools are told elsewhere."""
        return None if self._answer is None else self._answer.told()

    def check(self, text: str, *, is_json: bool) -> Checked:
        """Judge what was submitted."""
        calls = read_calls(text) if is_json else None
        if self._tools is not None and calls is not None:
            return self._check_calls(calls)
        if self._tools is not None and self._tools.is_forced:
            wanted = "a tool" if self._tools.choice == "any" else f"`{self._tools.choice}`"
            return Checked(problem=f"the turn must end with TOOL_CALL, a call of {wanted}")
        if self._answer is None:
            return Checked(value=text)
        return self._answer.check(text, is_json=is_json)

    def _check_calls(self, calls: list[tuple[str, Any]]) -> Checked:
        assert self._tools is not None  # noqa: S101 - for the type checker
        problems = [problem for name, args in calls if (problem := self._problem(name, args))]
        if not calls:
            problems = ["the list of calls is empty"]
        return Checked(problem="\n".join(problems), value=calls)

    def _problem(self, name: str, args: Any) -> str:
        assert self._tools is not None  # noqa: S101 - for the type checker
        choice = self._tools.choice
        if choice == "none":
            return "no tool may be called now; end with FINAL"
        if name not in self._tools.specs:
            return f"there is no tool {name!r}; names: {', '.join(sorted(self._tools.specs))}"
        if choice not in {None, "any", name}:
            return f"the tool to call now is {choice!r}, not {name!r}"
        schema = {"type": "object", **(self._tools.specs[name].get("parameters") or {})}
        checked = AnswerFormat(schema).check(json.dumps(args), is_json=True)
        return checked.problem and f"{name}: {checked.problem}"


def read_calls(text: str) -> list[tuple[str, Any]] | None:
    """The calls that an answer consists of; None for any other answer."""
    if CALLS_KEY not in text:
        return None
    try:
        data = json.loads(text)
    except ValueError:
        return None
    calls = data.get(CALLS_KEY) if isinstance(data, dict) and len(data) == 1 else None
    if not isinstance(calls, list):
        return None
    pairs = [item for item in calls if isinstance(item, list) and len(item) == 2]  # noqa: PLR2004
    if len(pairs) != len(calls) or not all(isinstance(name, str) for name, _ in pairs):
        return None
    return [(name, args) for name, args in pairs]


def as_tool_calls(calls: Sequence[tuple[str, Any]]) -> list[ToolCall]:
    """The calls as LangChain has them, each with a new id."""
    return [
        ToolCall(name=name, args=args, id=f"call_{uuid4().hex[:24]}", type="tool_call")
        for name, args in calls
    ]


@dataclass(frozen=True)
class Pending:
    """The place in a conversation where a run of ours ended with calls that now have results.

    Attributes:
        run_id: The run.
        before: Number of messages that the run was asked with.
        results: Name of the tool and text of its result, in the order of the messages.
    """

    run_id: str
    before: int
    results: tuple[tuple[str, str], ...]


def find_pending(messages: Sequence[BaseMessage]) -> Pending | None:
    """Find the run that the tool messages at the end of a conversation answer."""
    at = len(messages)
    while at > 0 and isinstance(messages[at - 1], ToolMessage):
        at -= 1
    called = messages[at - 1] if 0 < at < len(messages) else None
    if not isinstance(called, AIMessage):
        return None
    told = called.response_metadata.get("rlm")
    run_id = told.get("run_id") if isinstance(told, dict) else None
    if not isinstance(run_id, str):
        return None
    names = {call["id"]: call["name"] for call in called.tool_calls}
    results = tuple(
        (names.get(message.tool_call_id) or message.name or "tool", str(message.text))
        for message in messages[at:]
        if isinstance(message, ToolMessage)
    )
    return Pending(run_id, at - 1, results)


def went_on(
    past: Sequence[Iteration], results: Sequence[tuple[str, str]], observation: str
) -> list[dict[str, Any]]:
    """The trajectory of a run that goes on: its last reply is followed by the tools' results.

    The results become a variable by a cell of ours, so that a session that is rebuilt has them.
    """
    texts = [text for _, text in results]
    cell = Cell(code=f"tool_results = {texts!r}", status="ok")
    last = past[-1].model_copy(
        update={"cells": (*past[-1].cells, cell), "observation": observation}
    )
    return [step.model_dump() for step in [*past[:-1], last]]


def _choice(choice: Any, specs: Mapping[str, Any]) -> str | None:
    """`tool_choice` of any provider as one word."""
    if isinstance(choice, dict):
        function = choice.get("function")
        choice = function.get("name") if isinstance(function, dict) else choice.get("name")
    if choice in {None, False, "auto"}:
        return None
    if choice in {True, "any", "required"}:
        return "any"
    if choice == "none" or choice in specs:
        return str(choice)
    msg = (
        f"tool_choice={choice!r} is no bound tool. Use one of {', '.join(sorted(specs))}, or "
        "'any', 'auto', 'none'."
    )
    raise ConfigurationError(msg)
