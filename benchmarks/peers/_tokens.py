"""What a run sends to its root model, in tokens: one trajectory, counted by one tokenizer."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from typing import Any

from benchmarks.peers._cases import PATIENCE_SECONDS, Case, Result
from benchmarks.peers._process import NoAnswerError, Process
from benchmarks.peers._script import SAID_TIMES, respond
from benchmarks.peers._systems import System
from tests.openai_server import OpenAIServer, Request

LITTLE, MUCH = 300, 20_000
"""Characters that a cell prints."""
TOKENIZER = "o200k_base"
COUNT = f"""
import json, os, pathlib, sys
import importlib.util
home = pathlib.Path(importlib.util.find_spec("litellm").origin).parent
os.environ["TIKTOKEN_CACHE_DIR"] = str(home / "litellm_core_utils" / "tokenizers")
import tiktoken
encode = tiktoken.get_encoding("{TOKENIZER}").encode
print(json.dumps([len(encode(text, disallowed_special=())) for text in json.load(sys.stdin)]))
"""


class Counter:
    """Counts tokens; the data of the tokenizer are in a package that recursive-llm installs."""

    def __init__(self, systems: Iterable[System]) -> None:
        found = [system for system in systems if system.name == "recursivellm"]
        self._python = found[0].python() if found else None
        self.name = TOKENIZER if self._python and self._ask(["a b"]) else "characters / 4"

    def count(self, texts: list[str]) -> list[int]:
        told = self._ask(texts) if self.name == TOKENIZER else None
        return told or [len(text) // 4 for text in texts]

    def _ask(self, texts: list[str]) -> list[int] | None:
        command = [str(self._python), "-c", COUNT]
        done = subprocess.run(
            command, input=json.dumps(texts), capture_output=True, text=True, check=False
        )
        return json.loads(done.stdout) if done.returncode == 0 else None


def sent(request: Request) -> str:
    """Everything of a request that a provider counts as input."""
    parts = [json.dumps(request.body["tools"])] if request.body.get("tools") else []
    for message in request.messages:
        content = message.get("content") or ""
        parts.append(content if isinstance(content, str) else _joined(content))
        parts += [json.dumps(call) for call in message.get("tool_calls") or ()]
    return "\n".join(parts)


def _joined(content: list[dict[str, Any]]) -> str:
    return "\n".join(str(part.get("text", "")) for part in content)


def measure_tokens(systems: list[System], counter: Counter) -> list[Case]:
    """The first request, and the sum over a run, for cells that print little and much."""
    names = [system.name for system in systems]
    first, little, much = ({name: Result() for name in names} for _ in range(3))
    with OpenAIServer(respond) as server:
        for system in systems:
            for chars, results in ((LITTLE, little), (MUCH, much)):
                server.reset()
                result = results[system.name]
                result.failed = _run(system, server.base_url, chars)
                if result.failed:
                    continue
                counts = counter.count([sent(request) for request in server.requests])
                result.numbers = [float(sum(counts))]
                first[system.name].numbers = [float(counts[0])]
    said = f"{SAID_TIMES} iterations that print"
    return [
        Case("first", "first request, tokens", "tokens", first),
        Case("little", f"{said} {LITTLE} characters each, tokens", "tokens", little),
        Case("much", f"{said} {MUCH:,} characters each, tokens", "tokens", much),
    ]


def _run(system: System, base_url: str, chars: int) -> str:
    try:
        with Process(system.python(), system.name, base_url) as process:
            got = process.ask(PATIENCE_SECONDS, op="run", model=f"say_{chars}")
    except NoAnswerError as error:
        return str(error)
    answer = got.get("answer")
    right = f"step {SAID_TIMES - 1}"
    return got.get("error", "") or ("" if answer == right else f"wrong answer: {answer!r}")
