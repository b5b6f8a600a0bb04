"""The code "before" of those who move here runs with the released packages that it is for.

They are in `.venv-peers`, which `make compare` and `make bench` make; without it, skipped.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import nbformat
import pytest

from tests.openai_server import OpenAIServer, Reply, Request

ROOT = Path(__file__).parents[2]
PEERS = ROOT / ".venv-peers"
PAGES = {
    "replm": "from_replm.md",
    "rlms": "moving_from_others.ipynb",
    "dspy": "moving_from_others.ipynb",
}
BEFORE = re.compile(r"^Before:\s+```text\n(.*?)^```$", re.DOTALL | re.MULTILINE)
IMPORTS = {"replm": "from replm import", "rlms": "from rlm import", "dspy": "import dspy"}

NO_DENO = """
import functools
import dspy
from dspy.primitives.local_interpreter import LocalInterpreter
dspy.RLM = functools.partial(dspy.RLM, interpreter_factory=LocalInterpreter)
"""
"""Its default interpreter is Deno, which is seldom there."""

TEXT = 'text = "\\f".join("A heron stood in the reeds. " * n for n in range(8))\n'
PRELUDE = {"rlms": TEXT, "dspy": TEXT + NO_DENO}
ANSWER = {"replm": "1000", "rlms": "28", "dspy": "28"}

DSPY = """[[ ## reasoning ## ]]
Count.

[[ ## code ## ]]
```python
SUBMIT(herons=context.count('heron'))
```

[[ ## completed ## ]]"""
REPLIES = {
    "replm": ["```repl\nn = context.count('heron')\nprint(n)\n```", "FINAL_VAR(n)"],
    "rlms": [
        "```repl\nn = context.count('heron')\nprint(n)\n```",
        "```repl\nanswer['content'] = str(n)\nanswer['ready'] = True\n```",
    ],
    "dspy": [DSPY],
}


def code_of(peer: str) -> str:
    """The one block after "Before:" that uses the package."""
    path = ROOT / "cookbook" / PAGES[peer]
    if path.suffix == ".md":
        text = path.read_text()
    else:
        text = "\n\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
    [code] = [code for code in BEFORE.findall(text) if IMPORTS[peer] in code]
    return str(code)


@pytest.mark.parametrize("peer", PAGES)
def test_the_code_before_runs_where_it_comes_from(peer: str, tmp_path: Path) -> None:
    code = code_of(peer)
    compile(code, peer, "exec")
    python = PEERS / peer / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{peer} is not in {PEERS.name}: run make compare")
    said: list[Request] = []

    def respond(request: Request) -> Reply:
        said.append(request)
        return Reply(REPLIES[peer][min(len(said), len(REPLIES[peer])) - 1])

    with OpenAIServer(respond) as server:
        environment = {
            **os.environ, "OPENAI_API_KEY": "x", "OPENAI_BASE_URL": server.base_url,
            "OPENAI_API_BASE": server.base_url, "DSPY_CACHEDIR": str(tmp_path),
        }  # fmt: skip
        environment.pop("PYTHONPATH", None)
        done = subprocess.run(
            [python, "-c", PRELUDE.get(peer, "") + code], cwd=tmp_path, env=environment,
            capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == ANSWER[peer], done.stdout
    assert {request.model for request in said} == {"gpt-5.2"}, "it is asked as a user asks it"
