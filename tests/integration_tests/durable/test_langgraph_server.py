"""The graph behind a real LangGraph server: thread, stream, interrupt, resume, session, over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langgraph_sdk import get_client

from tests import langgraph_server

CONTEXT = "".join(f"line {n}: the heron stands still\n" for n in range(500))


@pytest.mark.timeout(400)
async def test_thread_stream_interrupt_resume(tmp_path: Path) -> None:
    if langgraph_server.command() is None:
        pytest.skip("langgraph-cli[inmem] cannot be installed on this machine")
    given: Any = {"query": "How many times does the word heron occur?", "context": CONTEXT}
    with langgraph_server.serving(tmp_path, RLM_APPROVE="cells") as url:
        async with get_client(url=url) as client:
            await talk(client, given)


async def talk(client: Any, given: Any) -> None:
    thread = await client.threads.create()
    name = thread["thread_id"]
    events = [
        part
        async for part in client.runs.stream(
            name, "rlm", input=given, stream_mode=["updates", "custom"]
        )
    ]
    kinds = {part.event for part in events}
    assert "custom" in kinds
    assert not any("error" in kind for kind in kinds), events
    state = await client.threads.get_state(name)
    assert state["next"] == ["sandbox_exec"], state
    (question,) = state["tasks"][0]["interrupts"]
    assert question["value"]["ask"] == "cells"
    for _ in range(10):
        result = await client.runs.wait(name, "rlm", command={"resume": "approve"})
        if not result.get("__interrupt__"):
            break
    assert "500" in result["answer"], result
    assert result["stop_reason"] == "answered"
    history = await client.threads.get_history(name, limit=50)
    assert len(history) > 4
    assert CONTEXT not in str(history)
    drawn = await client.assistants.get_graph("rlm")
    assert {"root_generate", "parse", "sandbox_exec", "truncate"} <= {
        node["id"] for node in drawn["nodes"]
    }
