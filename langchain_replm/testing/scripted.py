"""A chat model that says what it was told to say."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun  # noqa: TC002 - pydantic's base
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import PrivateAttr, SkipValidation

Reply = str | AIMessage | Exception


class ScriptedChatModel(BaseChatModel):
    """A chat model that says what it was told to say.

    Give `replies`, said one after the other and then the last one for ever, or `respond`, a
    function of the messages. An exception among the replies is raised. Token counts are a function
    of the text alone (four characters a token), so equal runs count equal tokens.

    Example:
        ```python
        from langchain_replm.testing import ScriptedChatModel

        model = ScriptedChatModel(replies=["one", "two"])
        assert [model.invoke("?").content for _ in range(3)] == ["one", "two", "two"]
        assert len(model.calls) == 3
        ```
    """

    replies: Sequence[SkipValidation[Reply]] = ()
    respond: Callable[[list[BaseMessage]], Reply] | None = None
    model_name: str = "scripted"

    _calls: list[list[BaseMessage]] = PrivateAttr(default_factory=list)
    _kwargs: list[dict[str, Any]] = PrivateAttr(default_factory=list)
    _lock: threading.Lock = PrivateAttr(default_factory=threading.Lock)

    @property
    def calls(self) -> list[list[BaseMessage]]:
        """The messages of each call, in order."""
        return self._calls

    @property
    def call_kwargs(self) -> list[dict[str, Any]]:
        """The keyword arguments of each call, in order."""
        return self._kwargs

    @property
    def _llm_type(self) -> str:
        return "scripted"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": self.model_name}

    def _next(self, messages: list[BaseMessage], kwargs: dict[str, Any]) -> AIMessage:
        with self._lock:
            position = len(self._calls)
            self._calls.append(messages)
            self._kwargs.append(kwargs)
        if self.respond is not None:
            reply = self.respond(messages)
        elif self.replies:
            reply = self.replies[min(position, len(self.replies) - 1)]
        else:
            reply = ""
        if isinstance(reply, Exception):
            raise reply
        return self._message(messages, reply)

    def _message(self, messages: list[BaseMessage], reply: str | AIMessage) -> AIMessage:
        message = reply.model_copy(deep=True) if isinstance(reply, AIMessage) else AIMessage(reply)
        message.response_metadata = {
            "model_name": self.model_name,
            "finish_reason": "stop",
            **message.response_metadata,
        }
        if message.usage_metadata is None:
            tokens_in = sum(_tokens(str(item.content)) for item in messages)
            tokens_out = _tokens(message.text)
            message.usage_metadata = UsageMetadata(
                input_tokens=tokens_in,
                output_tokens=tokens_out,
                total_tokens=tokens_in + tokens_out,
            )
        return message

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002 - LangChain's signature
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - LangChain's signature
        **kwargs: Any,
    ) -> ChatResult:
        message = self._next(messages, kwargs)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002 - LangChain's signature
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        message = self._next(messages, kwargs)
        pieces = message.text.splitlines(keepends=True) or [""]
        for position, piece in enumerate(pieces):
            last = position == len(pieces) - 1
            chunk = ChatGenerationChunk(
                message=AIMessageChunk(
                    content=piece,
                    usage_metadata=message.usage_metadata if last else None,
                    response_metadata=message.response_metadata if last else {},
                    tool_call_chunks=[
                        {"name": call["name"], "args": json.dumps(call["args"]), "id": call["id"]}
                        for call in message.tool_calls
                    ]
                    if last
                    else [],
                )
            )
            if run_manager is not None:
                run_manager.on_llm_new_token(piece, chunk=chunk)
            yield chunk


def _tokens(text: str) -> int:
    return -(-len(text) // 4)
