"""An agent of any model that asks an RLM: as a tool, and about long results of its other tools.

Needs `pip install "langchain-replm[agents]"`.
"""

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import Runnable
from langchain_core.tools import tool

from langchain_replm import RLM
from langchain_replm.middleware import LongResultsMiddleware
from langchain_replm.testing import ScriptedChatModel


@tool
def read_log() -> str:
    """The whole log."""
    return "\n".join(f"{n} {'ERROR' if n % 1000 == 7 else 'ok'}" for n in range(30_000))


def calls(name: str, **args: str) -> AIMessage:
    """What the agent's model replies."""
    return AIMessage("", tool_calls=[{"name": name, "args": args, "id": name, "type": "tool_call"}])


class AgentModel(ScriptedChatModel):
    """The model of the agent; `ChatOpenAI(model="gpt-5-mini")` takes its place."""

    def bind_tools(self, *_: object, **__: object) -> Runnable[list[BaseMessage], AIMessage]:
        """A scripted model needs no schemas."""
        return self


def main() -> None:
    """Run the agent."""
    rlm = RLM(ScriptedChatModel(replies=["```repl\nFINAL(context[0].count('ERROR'))\n```"]))
    model = AgentModel(
        replies=[
            calls("read_log"),
            calls("ask_results", question="How many errors are in the log?"),
            "There are 30 errors.",
        ]
    )
    agent = create_agent(model, tools=[read_log], middleware=[LongResultsMiddleware(rlm)])
    for message in agent.invoke({"messages": [("human", "Any errors?")]})["messages"]:
        print(f"{message.type}: {message.text[:100] or '(calls a tool)'}")


main()
