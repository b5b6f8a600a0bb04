"""Doubles and standard tests, for tests of code that uses or extends this package."""

from langchain_replm.testing.sandboxes import SandboxStandardTests
from langchain_replm.testing.scripted import ScriptedChatModel

__all__ = ["SandboxStandardTests", "ScriptedChatModel"]
