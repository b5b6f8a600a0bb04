"""Long prompts, as LangSmith gets them: head, tail, length and hash.

A prompt of `llm_query` is a slice of the context, and may be all of it. LangChain gives the
messages of a model call to every handler as they are, so what LangSmith's tracer makes of them is
changed in the tracer: it is looked at as a class that shortens them first; all else stays its own.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from langchain_core.tracers.langchain import LangChainTracer

if TYPE_CHECKING:
    from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
    from langchain_core.messages import BaseMessage


def shorten_prompts(manager: BaseCallbackManager, most_chars: int | None) -> None:
    """Let LangSmith get no message longer than that from the runs below; None: all as they are."""
    if most_chars is None:
        return
    for handlers in (manager.handlers, manager.inheritable_handlers):
        handlers[:] = [_shortening(handler, most_chars) for handler in handlers]


def _shortening(handler: BaseCallbackHandler, most_chars: int) -> BaseCallbackHandler:
    if not isinstance(handler, LangChainTracer) or isinstance(handler, _Shortening):
        return handler
    kind = type("ShorteningTracer", (_Shortening, type(handler)), {"most_chars": most_chars})
    shortening: BaseCallbackHandler = object.__new__(kind)
    # The same tracer: its runs, its client, its tags.
    shortening.__dict__ = handler.__dict__
    return shortening


class _Shortening(LangChainTracer):
    most_chars: int

    def on_chat_model_start(
        self, serialized: dict[str, Any], messages: list[list[BaseMessage]], **kwargs: Any
    ) -> Any:
        shown = [[_short(message, self.most_chars) for message in batch] for batch in messages]
        return super().on_chat_model_start(serialized, shown, **kwargs)


def _short(message: BaseMessage, most_chars: int) -> BaseMessage:
    content = message.content
    if not isinstance(content, str) or len(content) <= most_chars:
        return message
    end = most_chars // 2
    sha256 = hashlib.sha256(content.encode("utf-8", "replace")).hexdigest()
    mark = (
        f"\n[... {len(content) - 2 * end:,} of {len(content):,} characters are not in the trace; "
        f"sha256 {sha256} ...]\n"
    )
    return message.model_copy(
        update={"content": content[:end] + mark + content[len(content) - end :]}
    )
