"""What the models of the benchmarks say. Stateless: the reply depends on the request alone.

The name of a model carries its parameters: `loop-25` writes 25 cells that do nothing and then
submits; every other model is a sub-model and answers `ok`.
"""

from __future__ import annotations

from typing import Any

from langchain_replm.testing import ScriptedChatModel

QUERY = "How many herons?"
CONTEXT = "heron, stork, heron. " * 200


def cell(*lines: str) -> str:
    """A reply with one cell."""
    return "```repl\n" + "\n".join(lines) + "\n```"


PASS = cell("pass")
FINAL = cell("FINAL('two')")


def loop_reply(messages_sent: int, iterations: int) -> str:
    """A loop's conversation is system and query, then a reply and an observation each time."""
    return PASS if (messages_sent - 2) // 2 < iterations else FINAL


def loop_responder(request: Any) -> str:
    """For the server."""
    return loop_reply(len(request.messages), int(request.model.rpartition("-")[2]))


def scripted_loop(iterations: int) -> ScriptedChatModel:
    """The same in process, without latency."""
    return ScriptedChatModel(respond=lambda messages: loop_reply(len(messages), iterations))
