"""Cells in a container of docker or podman: a second wall, and the packages of an image of yours.

Needs an engine that runs, and the image: `docker pull python:3.12-slim`. Name another image as the
first argument. Replace the scripted model by any LangChain chat model.
"""

import sys

from langchain_replm import RLM
from langchain_replm.sandbox import DockerSandbox
from langchain_replm.testing import ScriptedChatModel

image = sys.argv[1] if len(sys.argv) > 1 else "python:3.12-slim"
sandbox = DockerSandbox(image, memory_bytes=512 * 1024**2, require=["network", "file_writes"])

cell = """```repl
import os, socket
try:
    socket.create_connection(("192.0.2.1", 80), timeout=1)
except OSError as error:
    reached = type(error).__name__
FINAL(f"{context.count('heron')} herons, user {os.getuid()}, network: {reached}")
```"""
rlm = RLM(ScriptedChatModel(replies=[cell]), sandbox=sandbox)
print(rlm.generate("How many herons?", "heron stork " * 1_000).answer)
