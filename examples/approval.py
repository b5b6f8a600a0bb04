"""A person sees each reply's cells before they run.

Replace the scripted model by any LangChain chat model, for example `ChatOpenAI(model="gpt-5.2")`.
"""

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from langchain_replm import RLM, RLMConfig
from langchain_replm.testing import ScriptedChatModel

root = ScriptedChatModel(replies=["```repl\nFINAL(len(context))\n```"])
rlm = RLM(root, config=RLMConfig(approve=("cells",)), checkpointer=InMemorySaver())
config = {"configurable": {"thread_id": "approved-1"}}

response = rlm.invoke({"query": "How long is it?", "context": "heron " * 1_000}, config)
while response.stop_reason == "interrupted":
    for cell in response.questions[0]["cells"]:
        print("May this run?", cell)
    response = rlm.invoke(Command(resume="approve"), config)  # a program asks a person here
print(response.answer)
