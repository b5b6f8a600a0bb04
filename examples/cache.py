"""Replies to equal sub-calls, kept for all runs, in any LangChain cache.

Replace the scripted models by any LangChain chat models.
"""

from langchain_core.caches import InMemoryCache

from langchain_replm import RLM
from langchain_replm.testing import ScriptedChatModel

cell = "```repl\nFINAL(llm_query_batch(context.split('. '))[0])\n```"
rlm = RLM(
    ScriptedChatModel(replies=[cell]),
    sub_model=ScriptedChatModel(respond=lambda messages: messages[-1].text.upper()),
    cache=InMemoryCache(),  # or SQLiteCache, RedisCache, ...
)
for _ in range(2):
    response = rlm.generate("What is first?", "The heron stands. The stork walks")
    print(response.answer, response.sub_calls, "sub-calls,", response.cache_hits, "from the cache")
