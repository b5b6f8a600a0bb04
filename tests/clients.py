"""Chat models of the OpenAI protocol, whose clients somebody has to close.

A test that makes them uses the fixture `clients_closed`: a socket that nobody closes is a warning, and
a warning is an error here.
"""

from __future__ import annotations

from typing import Any

from langchain_openai import ChatOpenAI

from tests.openai_server import OpenAIServer

_MADE: list[Any] = []


def chat_openai(name: str, server: OpenAIServer, **options: Any) -> ChatOpenAI:
    """A model behind a server; it does not retry unless it is told to."""
    given: dict[str, Any] = {"api_key": "test", "max_retries": 0, "timeout": 60, **options}
    return to_be_closed(ChatOpenAI(model=name, base_url=server.base_url, **given))


def to_be_closed(model: Any) -> Any:
    """Have the clients of a model closed after the test; gives the model."""
    _MADE.append(model)
    return model


async def close_all() -> None:
    while _MADE:
        model = _MADE.pop()
        model.root_client.close()
        await model.root_async_client.close()
