"""Watch a run: the root model's tokens, its cells' output, and the answer, as they come."""

from langchain_replm import RLM
from langchain_replm.testing import ScriptedChatModel

root = ScriptedChatModel(
    replies=[
        "I count first.\n```repl\nn = context.count('heron')\nprint(n)\n```",
        "That is the answer.\n```repl\nFINAL(n)\n```",
    ]
)

for chunk in RLM(root).stream_generate("How many herons?", "heron " * 1_000):
    if chunk.type == "iteration_start":
        print(f"\n--- {chunk.content}")
    elif chunk.type == "token":
        print(chunk.content, end="", flush=True)
    elif chunk.type == "code_executed":
        print(f"\n{chunk.content}")
    else:
        print(f"\nanswer: {chunk.content}")
