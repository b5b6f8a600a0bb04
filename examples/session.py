"""A second question in the same REPL: a checkpointer, and the same `thread_id`.

Replace the scripted model by any LangChain chat model, for example `ChatOpenAI(model="gpt-5.2")`.
"""

from langgraph.checkpoint.memory import InMemorySaver

from langchain_replm import RLM
from langchain_replm.testing import ScriptedChatModel

root = ScriptedChatModel(
    replies=[
        "```repl\nwords = context.split()\nFINAL(len(words))\n```",
        "```repl\nFINAL(max(words, key=len))\n```",  # `words` is still there
    ]
)
rlm = RLM(root, checkpointer=InMemorySaver())  # or SqliteSaver, PostgresSaver
config = {"configurable": {"thread_id": "reader-1"}}
text = "the heron stands motionless " * 10_000
for question in ("How many words?", "Which is the longest?"):
    print(question, rlm.invoke({"query": question, "context": text}, config).answer)
