"""Tools of a real MCP server, over stdio, as functions of a cell."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from langchain_replm import RLM, RLMConfig
from langchain_replm.testing import ScriptedChatModel
from tests.scenarios import cell

pytestmark = pytest.mark.usefixtures("no_worker_left")

SERVER = '''
from mcp.server.fastmcp import FastMCP

server = FastMCP("birds")


@server.tool(name="count-birds")
def count_birds(text: str, bird: str = "heron") -> int:
    """Count a bird in a text."""
    return text.count(bird)


@server.tool()
def fail() -> str:
    """Always fail."""
    raise ValueError("no birds today")


server.run("stdio")
'''


@pytest.fixture
def connection(tmp_path: Path) -> dict[str, Any]:
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    return {"birds": {"command": sys.executable, "args": [str(script)], "transport": "stdio"}}


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_mcp_tools_are_functions_of_a_cell(connection: dict[str, Any], colour: str) -> None:
    adapters = pytest.importorskip("langchain_mcp_adapters.client")
    tools = await adapters.MultiServerMCPClient(connection).get_tools()
    root = ScriptedChatModel(
        replies=[
            cell(
                "print(count_birds('heron heron'), count_birds(text='stork', bird='stork'))",
                "try:",
                "    fail()",
                "except Exception as e:",
                "    print(e)",
                "try:",
                "    count_birds(7)",
                "except Exception as e:",
                "    print(e)",
            ),
            cell("FINAL('done')"),
        ]
    )
    rlm = RLM(root, tools=tools, config=RLMConfig(max_tool_calls=10))
    if colour == "sync":
        import asyncio

        # As from a thread of an async program: there is no loop in the thread that waits.
        response = await asyncio.to_thread(rlm.generate, "q", "text")
    else:
        response = await rlm.agenerate("q", "text")
    output = response.trajectory[0].cells[0].output
    assert response.answer == "done"
    assert response.tool_calls == 4
    assert "no birds today" in output
    assert "text" in output
