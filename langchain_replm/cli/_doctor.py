"""`langchain-replm doctor`: what this machine can do, without a word of any secret."""

from __future__ import annotations

import json
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, get_args

from langchain_replm.cli import FAILED, OK
from langchain_replm.cli._terminal import put
from langchain_replm.config import RLMConfig, SandboxMode
from langchain_replm.errors import ConfigurationError, RLMError
from langchain_replm.sandbox._modes import sandbox_for

if TYPE_CHECKING:
    import argparse

CORE = ("langchain-replm", "langchain-core", "langchain-openai", "langgraph", "openai", "pydantic")
EXTRAS = {
    "langchain": "models by name (init_chat_model): langchain-replm[models]",
    "langgraph-checkpoint-sqlite": "--resume",
    "opentelemetry-api": "OpenTelemetry traces: langchain-replm[tracing]",
    "pydantic-monty": "sandbox mode monty: langchain-replm[monty]",
    "rich": "the terminal view",
}
KEYS = (
    "OPENAI_API_KEY",
    "ANTHROPIC_API_KEY",
    "GOOGLE_API_KEY",
    "MISTRAL_API_KEY",
    "AZURE_OPENAI_API_KEY",
    "LANGSMITH_API_KEY",
)
CELL = "```repl\nFINAL(sum(range(4)))\n```"


def run(options: argparse.Namespace) -> int:
    """Look, run one cell in the default sandbox, and tell."""
    found = examine()
    if options.json:
        put(json.dumps(found, indent=2))
    else:
        for line in _lines(found):
            put(line)
    return OK if found["default_sandbox"]["works"] else FAILED


def examine() -> dict[str, Any]:
    """What is there, as JSON data."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in CORE},
        "extras": {name: _version(name) for name in EXTRAS},
        "keys": {name: bool(os.environ.get(name)) for name in KEYS},
        "sandboxes": {mode: _guarantees(mode) for mode in get_args(SandboxMode)},
        "default_sandbox": _try_default(),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _guarantees(mode: SandboxMode) -> dict[str, Any]:
    try:
        return {"guarantees": dict(sandbox_for(mode).guarantees())}
    except RLMError as error:
        return {"problem": str(error)}


def _try_default() -> dict[str, Any]:
    """A real cell in a real worker; no model is asked."""
    from langchain_replm import RLM  # noqa: PLC0415 - takes a moment to import
    from langchain_replm.testing import ScriptedChatModel  # noqa: PLC0415 - as above

    mode = RLMConfig().sandbox_mode
    try:
        response = RLM(ScriptedChatModel(replies=[CELL])).generate("?", "x")
    except (RLMError, ConfigurationError, OSError) as error:
        return {"mode": mode, "works": False, "problem": f"{type(error).__name__}: {error}"}
    cell = response.trajectory[0].cells[0]
    works = response.answer == "6"
    return {"mode": mode, "works": works, "problem": None if works else cell.error}


def _lines(found: dict[str, Any]) -> list[str]:
    lines = [f"python {found['python']} on {found['platform']}", f"  {sys.executable}", ""]
    lines += [f"{name:<28} {number or 'MISSING'}" for name, number in found["packages"].items()]
    lines += ["", "extras"]
    for name, number in found["extras"].items():
        lines.append(f"  {name:<28} {number or 'not installed':<14} {EXTRAS[name]}")
    lines += ["", "keys (only whether they are set)"]
    lines += [f"  {name:<28} {'set' if there else '-'}" for name, there in found["keys"].items()]
    for mode, told in found["sandboxes"].items():
        lines += ["", f"sandbox mode {mode}"]
        if "problem" in told:
            lines.append(f"  {told['problem']}")
        for name, means in told.get("guarantees", {}).items():
            lines.append(f"  {name:<28} {means or 'NOT GUARANTEED'}")
    default = found["default_sandbox"]
    lines += ["", f"a cell in mode {default['mode']}: {'runs' if default['works'] else 'FAILS'}"]
    if default["problem"]:
        lines.append(f"  {default['problem']}")
    return lines
