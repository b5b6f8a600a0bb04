"""From the word in the config to a sandbox; nothing of the other modes is imported."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from langchain_replm.config import SandboxMode
    from langchain_replm.sandbox.base import Sandbox

_MODES: Final[dict[SandboxMode, tuple[str, str, tuple[Any, ...]]]] = {
    "restricted": ("process", "ProcessSandbox", ("restricted",)),
    "subprocess": ("process", "ProcessSandbox", ("subprocess",)),
    "docker": ("docker", "DockerSandbox", ()),
    "monty": ("monty", "MontySandbox", ()),
    "none": ("local", "LocalSandbox", ()),
}


def sandbox_for(mode: SandboxMode) -> Sandbox:
    """Give the sandbox of a mode, with its defaults.

    Raises:
        ConfigurationError: The mode needs a package that is not installed.
    """
    module, name, arguments = _MODES[mode]
    made: Sandbox = getattr(import_module(f"langchain_replm.sandbox.{module}"), name)(*arguments)
    return made
