"""What a caller of the chat model asks for, read from the arguments of the call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.utils.function_calling import convert_to_json_schema

from langchain_replm._tool_calls import BoundTools
from langchain_replm._typed import AnswerFormat

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.messages import BaseMessage

ANSWER_KEY = "rlm_answer"
"""Call keyword by which `with_structured_output` says what the answer must be."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What `with_structured_output` was asked for."""

    schema: Any
    method: str | None = None
    strict: bool | None = None

    def answer_format(self) -> AnswerFormat:
        """The wish as the loop checks it; only pydantic's own models are more than their schema."""
        is_model = isinstance(self.schema, type) and hasattr(self.schema, "model_json_schema")
        return AnswerFormat(self.schema if is_model else self.json_schema())

    def json_schema(self) -> dict[str, Any]:
        """The wish as JSON Schema."""
        return convert_to_json_schema(self.schema, strict=self.strict)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the caller of the model has asked for, read from the arguments of the call."""

    messages: Sequence[BaseMessage]
    context: Any
    stop: Sequence[str]
    tools: BoundTools | None
    wish: Wish | None
    bound: Mapping[str, Any]
    """`tools`, `tool_choice` and the like as they were bound, for the root's own `bind_tools`."""
    kwargs: Mapping[str, Any]
    """All else: sent with the root calls."""

    @classmethod
    def read(
        cls, messages: Sequence[BaseMessage], stop: Sequence[str] | None, kwargs: dict[str, Any]
    ) -> Request:
        """Sort the keyword arguments of a call."""
        bound = {name: kwargs.pop(name) for name in _BOUND if name in kwargs}
        format_ = kwargs.get("response_format")
        wish = kwargs.pop(ANSWER_KEY, None) or _openai_wish(format_)
        kwargs.pop("stream", None)
        return cls(
            messages=messages,
            context=kwargs.pop("context", None),
            stop=tuple(stop or ()),
            tools=BoundTools.read(bound.get("tools"), bound.get("tool_choice")),
            wish=wish,
            bound=bound,
            kwargs=kwargs,
        )


_BOUND = ("tools", "tool_choice", "strict", "parallel_tool_calls")


def _openai_wish(given: Any) -> Wish | None:
    """`response_format` as the OpenAI protocol has it."""
    if not isinstance(given, dict):
        return None
    if given.get("type") == "json_object":
        return Wish(schema={"title": "answer", "type": "object"})
    schema = (given.get("json_schema") or {}).get("schema")
    return None if schema is None else Wish(schema={"title": "answer", **schema})
