"""Children with a REPL of their own, and a model for each depth.

Replace the scripted models by any LangChain chat models.
"""

from langchain_replm import RLM, RLMConfig
from langchain_replm.testing import ScriptedChatModel

root = ScriptedChatModel(
    replies=[
        """```repl
books = context.split("\\f")
counts = rlm_query_batch(["How many herons?"] * len(books), books)
FINAL(sum(int(count) for count in counts))
```"""
    ],
    model_name="large",
)
# The first of the list writes the cells of the children; the second would do so one level deeper.
child = ScriptedChatModel(
    replies=["```repl\nFINAL(context.count('heron'))\n```"], model_name="small"
)
reader = ScriptedChatModel(replies=["not asked here"], model_name="smallest")

rlm = RLM(root, sub_model=[child, reader], config=RLMConfig(max_recursion_depth=2))
response = rlm.generate("How many herons in all?", "heron " * 1_000 + "\f" + "heron " * 500)
print(
    response.answer,
    {name: usage["total_tokens"] for name, usage in response.usage_by_model.items()},
)
