"""Fresh processes: the import, and the time until the root model is first asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks._measure import Plan, Row, compare, interleave, timed

ROOT = Path(__file__).resolve().parent.parent
IMPORT_AIM, FIRST_REQUEST_AIM = 1.1, 1.05
HEAVY = ("openai", "langchain_openai", "langgraph", "langchain_core", "pydantic")
FORBIDDEN = ("openai", "langchain_openai", "langgraph")

IMPORTS = {
    "import langchain_replm": "import langchain_core",
    "from langchain_replm import RLM": "import langgraph.graph, langchain_core.language_models",
}

# The model ends the process when it is first asked.
ASKED = """
import os
from langchain_replm.testing import ScriptedChatModel
model = ScriptedChatModel(respond=lambda messages: os._exit(0))
"""
OURS = (
    ASKED
    + """
from langchain_replm import RLM
RLM(model).invoke({"query": "q", "context": "c"})
"""
)
FLOOR = (
    ASKED
    + """
from benchmarks._floors import Conversation, bare_graph, fresh_state
from langchain_core.messages import HumanMessage
conversation = Conversation([HumanMessage("q")], "")
bare_graph(model, "", is_async=False).invoke(fresh_state(conversation))
"""
)


def measure(plan: Plan) -> Iterator[Row]:
    rounds = plan.pick(3 * plan.rounds, plan.rounds)
    programs = [*IMPORTS, *IMPORTS.values(), OURS, FLOOR]
    with tempfile.TemporaryDirectory() as compiled:
        # Everybody's bytecode is compiled in the warm-up, as an installation would have it.
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        cases = {program: _starting(program, environment) for program in programs}
        samples = interleave(cases, rounds)
    for ours, floor in IMPORTS.items():
        note = f"min {min(samples[ours]) / min(samples[floor]):.2f}"
        yield compare(
            "coldstart", ours, samples[ours], samples[floor], floor=floor, aim=IMPORT_AIM, note=note
        )
    for name in IMPORTS:
        loaded = _heavy_modules(name)
        wrong = [module for module in loaded if module in FORBIDDEN]
        aim = 0.0 if name == "import langchain_replm" else None
        floor = f"forbidden modules loaded: {', '.join(wrong) or 'none'}"
        note = f"loads {', '.join(loaded) or 'nothing heavy'}"
        yield Row("coldstart", name, float(len(wrong)), floor, aim, note=note)
    yield compare(
        "coldstart",
        "start of the process to the first root request",
        samples[OURS],
        samples[FLOOR],
        floor="bare LangGraph loop",
        aim=FIRST_REQUEST_AIM,
        note=f"min {min(samples[OURS]) / min(samples[FLOOR]):.2f}",
    )


def _starting(program: str, environment: dict[str, str]) -> Callable[[], float]:
    command = [sys.executable, "-c", program]
    return timed(lambda: subprocess.run(command, cwd=ROOT, env=environment, check=True))


def _heavy_modules(program: str) -> list[str]:
    look = f"import sys, json; print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    code = f"{program}\n{look}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    found: list[str] = json.loads(done.stdout)
    return found
