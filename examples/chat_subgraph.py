"""A chat model in a LangGraph graph: the parent streams the answer, not the work."""

from langgraph.graph import START, MessagesState, StateGraph

from langchain_replm import RLMChatModel
from langchain_replm.testing import ScriptedChatModel

root = ScriptedChatModel(
    replies=["```repl\nprint(context[:50])\n```", "FINAL(It stands still,\nas herons do.)"]
)
model = RLMChatModel(root_model=root)


def answer(state: MessagesState) -> MessagesState:
    """A node like any other."""
    return {"messages": [model.invoke(state["messages"])]}


builder = StateGraph(MessagesState)
builder.add_node("answer", answer)
builder.add_edge(START, "answer")
graph = builder.compile()

question = "What does the heron do?\n\n" + "The heron stands still. " * 10_000
for chunk, _ in graph.stream({"messages": [("human", question)]}, stream_mode="messages"):
    print(chunk.text, end="")
print()
