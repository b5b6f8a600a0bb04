"""An agent whose model is an RLM: it reads a long log, calls a tool, and goes on where it was.

Needs `pip install "langchain-replm[agents]"`.
"""

from langchain.agents import create_agent
from langchain_core.tools import tool

from langchain_replm import RLMChatModel
from langchain_replm.testing import ScriptedChatModel


@tool
def open_ticket(title: str, lines: int) -> str:
    """Open a ticket for the people on call."""
    return f"ticket 17: {title} ({lines} lines)"


look = """```repl
failed = [line for line in context.splitlines() if "ERROR" in line]
TOOL_CALL("open_ticket", title=failed[0], lines=len(failed))
```"""
report = """```repl
FINAL(f"{len(failed)} errors; {tool_results[-1]}")
```"""
model = RLMChatModel(root_model=ScriptedChatModel(replies=[look, report]))
agent = create_agent(model, tools=[open_ticket])

log = "\n".join(f"{n} {'ERROR disk full' if n % 1000 == 7 else 'ok'}" for n in range(30_000))
result = agent.invoke({"messages": [("human", f"Report the errors of this log.\n\n{log}")]})
print(result["messages"][-1].text)
