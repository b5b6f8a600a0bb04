"""Places to run cells. The names here are public; everything else in this package is not.

Names are imported when they are first used: a sandbox that is not used costs nothing, and what it
needs does not have to be installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_replm.sandbox.base import GUARANTEES, Exchanged, Guarantee, Sandbox, Transport
    from langchain_replm.sandbox.deepagents import DeepAgentsSandbox
    from langchain_replm.sandbox.docker import DockerSandbox
    from langchain_replm.sandbox.local import LocalSandbox
    from langchain_replm.sandbox.monty import MontySandbox
    from langchain_replm.sandbox.process import ProcessSandbox

_HOMES = {
    "DeepAgentsSandbox": "deepagents",
    "DockerSandbox": "docker",
    "Exchanged": "base",
    "GUARANTEES": "base",
    "Guarantee": "base",
    "LocalSandbox": "local",
    "MontySandbox": "monty",
    "ProcessSandbox": "process",
    "Sandbox": "base",
    "Transport": "base",
}

__all__ = [
    "GUARANTEES",
    "DeepAgentsSandbox",
    "DockerSandbox",
    "Exchanged",
    "Guarantee",
    "LocalSandbox",
    "MontySandbox",
    "ProcessSandbox",
    "Sandbox",
    "Transport",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
