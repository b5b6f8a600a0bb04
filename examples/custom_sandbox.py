"""Where cells run is an object: a sandbox of your own settings, checked before any model is called.

Replace the scripted model by any LangChain chat model, for example `ChatOpenAI(model="gpt-5.2")`.
"""

from langchain_replm import RLM
from langchain_replm.sandbox import ProcessSandbox
from langchain_replm.testing import ScriptedChatModel


class SmallSandbox(ProcessSandbox):
    """All of Python in little room, and what the root model should know about it."""

    def __init__(self) -> None:
        super().__init__("subprocess", memory_bytes=512 * 1024**2, require=["network", "exec"])


root = ScriptedChatModel(
    replies=["```repl\nx = 'a' * 2**31\n```", "```repl\nFINAL(len(context))\n```"]
)
response = RLM(root, sandbox=SmallSandbox()).generate("How long is it?", "heron " * 1_000)
print(response.trajectory[0].cells[0].error)
print(response.answer)
