"""`ExtractiveChatModel`: LangChain's face of the planner and the reader."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from langchain_replm.extractive.planner import is_root, plan
from langchain_replm.extractive.reader import read_passage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_core.callbacks import CallbackManagerForLLMRun
    from langchain_core.messages import BaseMessage

_CHARS_PER_TOKEN = 4
_NAME = "extractive"


class ExtractiveChatModel(BaseChatModel):
    r"""A deterministic chat model without a neural network, for both roles of an RLM.

    As root it reads the query, plans a search or a count, writes real cells and goes on from what
    they printed. As sub-model it returns the line of a passage that answers, or `NOT FOUND`.
    Equal conversations get equal replies. Sampling parameters are accepted and mean nothing.

    Args:
        role: `"root"`, `"sub"`, or `"auto"`: root when the conversation has a system message that
            shows ```repl fences.
        passages: As root, how many passages the sub-model may read at a time.
        passage_chars: As root, how long such a passage is, about, in characters.

    Example:
        ```python
        reader = ExtractiveChatModel(role="sub")
        reader.invoke("Question: Who sailed?\nPassage:\nAhab sailed.").text  # "Ahab sailed."
        ```
    """

    role: Literal["auto", "root", "sub"] = "auto"
    passages: int = 6
    passage_chars: int = 1200

    @property
    def _llm_type(self) -> str:
        return _NAME

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {
            "model_name": _NAME,
            "role": self.role,
            "passages": self.passages,
            "passage_chars": self.passage_chars,
        }

    def _reply(self, messages: Sequence[BaseMessage], stop: list[str] | None) -> str:
        if self.role == "root" or (self.role == "auto" and is_root(messages)):
            text = plan(messages, passages=self.passages, passage_chars=self.passage_chars)
        else:
            text = read_passage("\n".join(message.text for message in messages[-1:]))
        ends = [text.find(word) for word in stop or () if word and word in text]
        return text[: min(ends)] if ends else text

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - LangChain's signature
        **_kwargs: Any,
    ) -> ChatResult:
        text = self._reply(messages, stop)
        message = AIMessage(
            text,
            usage_metadata=_usage(messages, text),
            response_metadata={"model_name": _NAME, "finish_reason": "stop"},
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **_kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        text = self._reply(messages, stop)
        for word in re.findall(r"\s*\S+\s*\Z|\s*\S+|\s+", text):
            chunk = ChatGenerationChunk(message=AIMessageChunk(content=word))
            if run_manager is not None:
                run_manager.on_llm_new_token(word, chunk=chunk)
            yield chunk
        yield ChatGenerationChunk(
            message=AIMessageChunk(
                content="",
                usage_metadata=_usage(messages, text),
                response_metadata={"model_name": _NAME, "finish_reason": "stop"},
                chunk_position="last",
            )
        )


def _usage(messages: Sequence[BaseMessage], text: str) -> UsageMetadata:
    """Deterministic counts: a token is about four characters."""
    read = sum(_tokens(message.text) for message in messages)
    written = _tokens(text)
    return UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written)


def _tokens(text: str) -> int:
    return -(-len(text) // _CHARS_PER_TOKEN)
