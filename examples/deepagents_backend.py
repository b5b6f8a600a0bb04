"""Cells in a backend of Deep Agents: E2B, Modal, Daytona, Runloop, or a shell as here.

Needs `pip install "langchain-replm[deepagents]"`. `LocalShellBackend` runs cells as your user, with
all that your user may do: take one of the others for code that you do not trust. Replace the
scripted model by any LangChain chat model.
"""

import sys
import tempfile

from deepagents.backends import LocalShellBackend

from langchain_replm import RLM
from langchain_replm.sandbox import DeepAgentsSandbox
from langchain_replm.testing import ScriptedChatModel

root = ScriptedChatModel(replies=["```repl\nn = context.count('heron')\n```", "FINAL_VAR(n)"])
with tempfile.TemporaryDirectory() as folder:
    backend = LocalShellBackend(root_dir=folder, virtual_mode=False)
    sandbox = DeepAgentsSandbox(backend, python=sys.executable, folder=folder)
    response = RLM(root, sandbox=sandbox).generate("How many herons?", "heron stork " * 1_000)
print(response.answer, "herons")
print("not guaranteed here:", ", ".join(sorted(response.sandbox_missing)))
