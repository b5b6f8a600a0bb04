"""An RLM as one node of a LangGraph graph."""

from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict

from langchain_replm import RLM
from langchain_replm.testing import ScriptedChatModel


class State(TypedDict, total=False):
    """What the parent graph carries; `query`, `context` and `answer` are shared with the RLM."""

    query: str
    context: str
    answer: str
    report: str


def report(state: State) -> State:
    """A node that uses the answer."""
    return {"report": f"{state['query']} -> {state['answer']}"}


root = ScriptedChatModel(replies=["```repl\nFINAL(max(context.split(), key=len))\n```"])
builder = StateGraph(State)
builder.add_node("rlm", RLM(root).graph)
builder.add_node("report", report)
builder.add_edge(START, "rlm")
builder.add_edge("rlm", "report")
builder.add_edge("report", END)

given = {"query": "Which word is longest?", "context": "a heron stands motionless " * 10_000}
print(builder.compile().invoke(given)["report"])
