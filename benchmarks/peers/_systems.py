"""Which RLMs are measured, how each is set up here, and which ones are not, with the reason."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks._environments import environment
from benchmarks.compare.facts import known_peers


@dataclass(frozen=True)
class System:
    """One RLM; `name` is that of its driver and its dialect."""

    name: str
    title: str
    requirements: tuple[str, ...] = ()
    version: str = ""
    setting: str = ""
    """How it is run where its defaults allow more than one way."""

    def python(self) -> Path:
        """The interpreter that has it; installs it first where that is needed."""
        if not self.requirements:
            return Path(sys.executable)
        return environment(self.title, self.requirements)


SETTINGS = {
    "replm": "async, its default sandbox in this process",
    "rlms": "its default environment in this process",
    "dspy": "`LocalInterpreter`, a plain child; the default one needs Deno",
    "predict-rlm": "`DirectPythonBackend`, a plain child; the default one needs Deno",
    "minrlm": "without Docker, in this process",
    "rlmness": "`subprocess` runtime; the default one downloads Pyodide. Sub-calls are agents",
    "recursive-llm": "its default worker",
}
"""By key of docs/comparison.toml, where the pinned versions are."""

NOT_RUN = {
    "fast-rlm": "needs Deno and packages that it downloads when it runs",
    "deepagents": "its cells are JavaScript and it has no context variable: the same cells cannot "
    "run there",
}

EXTRA = System(
    "recursiveflow",
    "recursive-flow",
    ("recursive-flow[openai]==0.4.2",),
    "0.4.2",
    "its `LocalRuntime` in this process",
)
"""Not in the comparison; pinned here on 2026-11-26."""

OURS = System("ours", "langchain-replm", setting="`invoke`, default sandbox: a jailed process")


def systems() -> list[System]:
    """Ours first."""
    found = [OURS]
    for peer in known_peers():
        if peer.key in SETTINGS:
            more = ("openai>=2,<4",) if peer.key == "replm" else ()
            requirements = (*peer.install, *more)
            name = peer.key.replace("-", "")
            setting = SETTINGS[peer.key]
            found.append(System(name, peer.key, requirements, peer.pin, setting))
    return [*found, EXTRA]
