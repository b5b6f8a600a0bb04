"""Several runs of one question within one budget: the answer that most of them give counts.

Replace the scripted model by any LangChain chat model, for example `ChatOpenAI(model="gpt-5.2")`.
"""

from langchain_replm import RLM, RLMConfig
from langchain_replm.testing import ScriptedChatModel

root = ScriptedChatModel(
    replies=[
        "```repl\nFINAL(context.count('heron'))\n```",
        "```repl\nFINAL(context.count('her'))\n```",  # finds "there", too
        "```repl\nFINAL(context.count('heron'))\n```",
    ]
)
rlm = RLM(root, config=RLMConfig(n_candidates=3))
response = rlm.generate("How many herons?", "There is a heron, and there is another heron. " * 500)
print("candidates:", *sorted(str(one.answer) for one in response.trajectory[-1].candidates))
print("answer:", response.answer)
