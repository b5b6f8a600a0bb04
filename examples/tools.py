"""Functions and LangChain tools that cells call by name; they run on your side.

For tools of an MCP server: `tools = await MultiServerMCPClient({...}).get_tools()` from
`langchain-mcp-adapters`, and pass them in the same way.
"""

from langchain_replm import RLM, RLMConfig
from langchain_replm.testing import ScriptedChatModel

SEEN = {"heron": 12, "stork": 3}


def seen_last_year(bird: str) -> int:
    """How often a bird was seen last year."""
    return SEEN.get(bird, 0)


root = ScriptedChatModel(
    replies=["```repl\nFINAL(context.count('heron') - seen_last_year(bird='heron'))\n```"]
)
rlm = RLM(root, tools=[seen_last_year], config=RLMConfig(max_tool_calls=10))
response = rlm.generate("How many more herons than last year?", "heron " * 20)
print(response.answer, "more;", response.tool_calls, "tool call")
