"""A run as a tree in LangSmith, with a name, tags and metadata by which it can be found.

Set `LANGSMITH_TRACING=true` and `LANGSMITH_API_KEY`; there is nothing to do in code. Replace the
scripted models by any LangChain chat models.
"""

from langchain_core.tracers.langchain import wait_for_all_tracers
from langsmith.utils import tracing_is_enabled

from langchain_replm import RLM
from langchain_replm.testing import ScriptedChatModel

root = ScriptedChatModel(
    replies=["```repl\nparts = context.split('. ')\nFINAL(llm_query_batch(parts)[-1])\n```"]
)
sub = ScriptedChatModel(respond=lambda messages: messages[-1].text.upper())
response = RLM(root, sub_model=sub).invoke(
    {"query": "What is last?", "context": "The heron stands. The teal swims"},
    config={"run_name": "birds", "tags": ["example"], "metadata": {"chapter": 7}},
)
wait_for_all_tracers()  # a program that ends at once would lose what is on its way
print(response.answer)
print("traced" if tracing_is_enabled() else "not traced: LANGSMITH_TRACING is not set")
