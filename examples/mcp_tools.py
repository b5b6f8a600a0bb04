"""Tools of an MCP server, as functions that cells call.

Needs `pip install langchain-mcp-adapters`. The server here is this file, started a second time;
name yours in its place.
"""

import asyncio
import sys

from langchain_mcp_adapters.client import MultiServerMCPClient
from mcp.server.fastmcp import FastMCP

from langchain_replm import RLM
from langchain_replm.testing import ScriptedChatModel

server = FastMCP("birds", log_level="ERROR")


@server.tool()
def latin_name(bird: str) -> str:
    """The scientific name of a bird."""
    return {"heron": "Ardea cinerea", "stork": "Ciconia ciconia"}.get(bird, "unknown")


async def main() -> None:
    """Connect, and run."""
    connection = {"transport": "stdio", "command": sys.executable, "args": [__file__, "--serve"]}
    tools = await MultiServerMCPClient({"birds": connection}).get_tools()
    cell = (
        "```repl\nbird = max(context.split(), key=context.count)\nFINAL(latin_name(bird=bird))\n```"
    )
    rlm = RLM(ScriptedChatModel(replies=[cell]), tools=tools)
    response = await rlm.agenerate("Which bird came most often?", "heron stork heron " * 100)
    print(response.answer, "after", response.tool_calls, "tool call")


if __name__ == "__main__":
    if "--serve" in sys.argv:
        server.run()
    else:
        asyncio.run(main())
