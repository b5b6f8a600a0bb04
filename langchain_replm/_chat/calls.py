"""What one call of the chat model does: one call of the root model, or one run of the loop.

Both are the same to the model's four methods: something to invoke or stream, its input, and how
a message or chunks come of its result. All decisions are made here, before anything is called.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.runnables import RunnableBinding
from langchain_core.runnables.config import ensure_config

from langchain_replm._chat.conversation import direct_messages, read_conversation
from langchain_replm._chat.stream import (
    RunChunks,
    make_message,
    step_text,
    usage_of,
)
from langchain_replm._chat_prompts import instructions_section, tools_section
from langchain_replm._requests import stream_kwargs
from langchain_replm._tool_calls import TurnFormat, as_tool_calls, read_calls
from langchain_replm._tracing import call_config
from langchain_replm.scope import OPTIONS_KEY, RunOptions
from langchain_replm.state import read_trajectory
from langchain_replm.types import total

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import Runnable, RunnableConfig

    from langchain_replm._chat.request import Request
    from langchain_replm.types import Iteration


class DirectCall:
    """One call of the root model with the conversation as it is."""

    def __init__(self, request: Request, root: BaseChatModel, target: Runnable[Any, Any]) -> None:
        self.input: Any = direct_messages(request.messages, request.context)
        self.config: RunnableConfig = call_config("root_generate", iteration=1, depth=0)
        self.kwargs = dict(request.kwargs)
        if request.stop:
            self.kwargs["stop"] = list(request.stop)
        self.target = target
        self._is_typed = request.wish is not None and "response_format" not in request.kwargs
        self.stream_kwargs = stream_kwargs(root, self.kwargs)
        self._merged: AIMessageChunk | None = None

    def stream_config(self) -> RunnableConfig:
        """The config of a streamed call."""
        return self.config

    def message(self, result: Any) -> AIMessage:
        """The message, from what the root returned."""
        message = AIMessage(**_message_fields(result))
        if self._is_typed:
            update: dict[str, Any] = {"content": _typed_text(message), **_NO_CALLS}
            message = message.model_copy(update=update)
        message.additional_kwargs = _without_parsed(message)
        message.response_metadata = {**message.response_metadata, "rlm": {"direct": True}}
        return message

    def chunks(self, chunk: AIMessageChunk) -> Iterator[AIMessageChunk]:
        """The chunk of a chunk of the root; what must come once is kept for the last one."""
        self._merged = chunk if self._merged is None else self._merged + chunk
        update = {
            "id": None,
            "usage_metadata": None,
            "response_metadata": _provider_of(chunk),
            "additional_kwargs": _without_parsed(chunk),
            "chunk_position": None,
        }
        if self._is_typed and chunk.tool_call_chunks:
            return  # the arguments are the answer; they are told as text when they are complete
        yield chunk.model_copy(update=update)

    def ending(self) -> Iterator[AIMessageChunk]:
        """The last chunk, and the message that all chunks add up to."""
        merged = self._merged or AIMessageChunk(content="")
        if self._is_typed and merged.tool_calls:
            yield AIMessageChunk(content=_typed_text(merged))
        told = {**merged.response_metadata, "rlm": {"direct": True}}
        provider = _provider_of(merged)
        yield AIMessageChunk(
            content="",
            usage_metadata=merged.usage_metadata,
            response_metadata={k: v for k, v in told.items() if k not in provider},
            chunk_position="last",
        )


@dataclass(kw_only=True)
class RunCall:
    """One run of the loop over the conversation."""

    request: Request
    before: Sequence[BaseMessage]
    """The messages that the run was first asked with: all, unless it goes on with tool results."""
    target: Runnable[Any, Any]
    name: str
    show_work: bool
    shows_tokens: bool
    finish: Callable[[dict[str, Any]], Any]
    """Checks the final state as `RLM` does: a limit may be an error."""
    past: tuple[Iteration, ...] = ()
    begun: tuple[dict[str, Any], ...] = ()
    """`past` as the run goes on with it."""
    run_id: str = field(default_factory=lambda: uuid4().hex)
    calls_made: bool = False
    trajectory: tuple[Iteration, ...] = ()

    def __post_init__(self) -> None:
        request = self.request
        asked = read_conversation(self.before, request.context)
        sections = [instructions_section(asked.instructions)] if asked.instructions else []
        if request.tools is not None:
            sections.append(tools_section(request.tools.specs, request.tools.choice))
        self.input = {"query": asked.query, "context": asked.context}
        typed = request.wish.answer_format() if request.wish is not None else None
        has_format = typed is not None or request.tools is not None
        self._options: dict[str, Any] = {
            "in_conversation": True,
            "shows_tokens": self.shows_tokens,
            "answer_format": TurnFormat(request.tools, typed) if has_format else None,
            "instructions": "\n\n".join(sections),
            "attachments": asked.attachments,
            "past": self.begun,
            "root_kwargs": {k: v for k, v in request.kwargs.items() if k != "response_format"},
            "ends_with_tool_calls": request.tools is not None,
        }
        self.config = self._config(stream_tokens=False)
        self.kwargs: dict[str, Any] = {}
        self.stream_kwargs = {"stream_mode": ["custom", "values"]}
        self._chunks = RunChunks(
            len(self.past),
            show_work=self.show_work,
            text_may_stream=not (has_format or request.stop),
            looked=any(step.cells for step in self.past),
        )

    def stream_config(self) -> RunnableConfig:
        """The config of a streamed run."""
        return self._config(stream_tokens=True)

    def _config(self, *, stream_tokens: bool) -> RunnableConfig:
        options = RunOptions(stream_tokens=stream_tokens, **self._options)
        # A config that is passed hides the ambient one: thread and checkpointer of a parent graph.
        ambient = ensure_config().get("configurable", {})
        return {"run_name": "RLM", "configurable": {**ambient, OPTIONS_KEY: options}}

    def message(self, state: dict[str, Any]) -> AIMessage:
        """The message, from the graph's final state."""
        self.finish(state)
        self.trajectory = tuple(read_trajectory(state))
        steps = self.trajectory[len(self.past) :]
        answer = state.get("answer") or ""
        calls = read_calls(answer) if self.request.tools is not None else None
        self.calls_made = calls is not None
        if calls is not None:
            answer = ""
        elif self.request.wish is not None and state.get("structured_response") is not None:
            answer = json.dumps(state["structured_response"], ensure_ascii=False)
        message = make_message(
            _until(answer, self.request.stop),
            "".join(step_text(step) for step in steps) if self.show_work else "",
            as_tool_calls(calls or []),
            self._told(state, steps, calls_made=calls is not None),
        )
        message.usage_metadata = usage_of(steps)
        return message

    def chunks(self, item: tuple[str, Any]) -> Iterator[AIMessageChunk]:
        """The chunks of one item of the graph's stream."""
        return self._chunks.feed(*item)

    def ending(self) -> Iterator[AIMessageChunk]:
        """The rest of the answer and the last chunk."""
        return self._chunks.finish(self.message(self._chunks.state))

    def _told(
        self, state: dict[str, Any], steps: Sequence[Iteration], *, calls_made: bool
    ) -> dict[str, Any]:
        told = {
            "stop_reason": state["stop_reason"],
            "iterations": total(steps).iterations,
        }
        if calls_made:
            told["run_id"] = self.run_id
        model = self.request.kwargs.get("model")
        return {
            "model_name": model if isinstance(model, str) else self.name,
            "model_provider": "rlm",
            "finish_reason": "tool_calls" if calls_made else "stop",
            "rlm": told,
        }


def direct_target(request: Request, root: BaseChatModel) -> Runnable[Any, Any] | None:
    """The root model with what was bound to us bound to it; None if it cannot do that."""
    try:
        if request.wish is not None and "response_format" not in request.kwargs:
            told = {"method": request.wish.method, "strict": request.wish.strict}
            options: Any = {name: value for name, value in told.items() if value is not None}
            chain = root.with_structured_output(request.wish.schema, **options)
            # The model with its settings; what follows it parses, and that is our caller's part.
            first = getattr(chain, "first", None)
            return first if isinstance(first, RunnableBinding) else None
        if request.tools is not None:
            return root.bind_tools(**request.bound)
    except NotImplementedError:
        return None
    return root


def _message_fields(message: Any) -> dict[str, Any]:
    names = ("content", "additional_kwargs", "response_metadata", "tool_calls",
             "invalid_tool_calls", "usage_metadata", "name")  # fmt: skip
    return {name: getattr(message, name) for name in names}


def _provider_of(message: BaseMessage) -> dict[str, Any]:
    """What each chunk must carry so that its content is read rightly."""
    told = message.response_metadata
    return {name: told[name] for name in ("model_provider", "output_version") if name in told}


_NO_CALLS: dict[str, Any] = {"tool_calls": [], "invalid_tool_calls": []}


def _typed_text(message: AIMessage) -> str:
    """The answer as JSON text: the arguments of a function call, or what was written."""
    if message.tool_calls:
        return json.dumps(message.tool_calls[0]["args"], ensure_ascii=False)
    return str(message.text)


def _without_parsed(message: AIMessage) -> dict[str, Any]:
    """Without what `ChatOpenAI` has made of a typed answer: an object, which no cache can keep."""
    dropped = {"parsed", "tool_calls"} if "parsed" in message.additional_kwargs else set()
    return {k: v for k, v in message.additional_kwargs.items() if k not in dropped}


def _until(text: str, stop: Sequence[str]) -> str:
    """The text before the first of the stop sequences."""
    found = [at for word in stop if word and (at := text.find(word)) >= 0]
    return text[: min(found)] if found else text
