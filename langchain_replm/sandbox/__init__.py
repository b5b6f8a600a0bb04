"""Places to run cells. The names here are public; everything else in this package is not.

Names are imported when they are first used: a sandbox that is not used costs nothing, and what it
needs does not have to be installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_replm._lazy import lazy

if TYPE_CHECKING:
    from collections.abc import Callable

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

__getattr__: Callable[[str], Any]
__dir__: Callable[[], list[str]]
__getattr__, __dir__ = lazy(__name__, _HOMES)
