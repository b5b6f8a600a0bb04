"""Every sandbox of ours passes the standard tests."""

from __future__ import annotations

import sys

import pytest

from langchain_replm.sandbox.deepagents import DeepAgentsSandbox
from langchain_replm.sandbox.docker import DockerSandbox
from langchain_replm.sandbox.local import LocalSandbox
from langchain_replm.sandbox.monty import MontySandbox
from langchain_replm.sandbox.process import ProcessSandbox
from langchain_replm.testing import SandboxStandardTests
from tests.backends import ShellBackend
from tests.container_engine import PYTHON, find_engine

pytestmark = pytest.mark.usefixtures("nothing_left_behind")


EXIT = "_exit(1)"


class TestRestricted(SandboxStandardTests):
    deadly_cell = f"len.__self__.__import__('os').{EXIT}"

    def make_sandbox(self) -> ProcessSandbox:
        return ProcessSandbox(policy="restricted")


class TestSubprocess(SandboxStandardTests):
    deadly_cell = f"import os\nos.{EXIT}"

    def make_sandbox(self) -> ProcessSandbox:
        return ProcessSandbox(policy="subprocess")


class TestLocal(SandboxStandardTests):
    def make_sandbox(self) -> LocalSandbox:
        return LocalSandbox()


class TestMonty(SandboxStandardTests):
    """Monty has no threads and few modules; it knows no interrupt that leaves its memory whole."""

    supports_threads = False
    supports_interrupt = False
    supports_imports = False

    def make_sandbox(self) -> MontySandbox:
        return MontySandbox()


class TestDeepAgents(SandboxStandardTests):
    """An interrupt by command may come later than a cell is given, so there is none."""

    supports_interrupt = False
    deadly_cell = f"import os\nos.{EXIT}"

    def make_sandbox(self) -> DeepAgentsSandbox:
        return DeepAgentsSandbox(ShellBackend(), python=sys.executable)


@pytest.mark.timeout(600)  # the first test may install an engine
class TestDocker(SandboxStandardTests):
    deadly_cell = f"import os\nos.{EXIT}"
    timeout_seconds = 2.0

    def make_sandbox(self) -> DockerSandbox:
        engine, _ = find_engine()
        assert engine is not None
        return DockerSandbox(engine.image, engine=engine.command, python=PYTHON)

    @pytest.fixture(autouse=True)
    def _engine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        engine, reason = find_engine()
        if engine is None:
            pytest.skip(f"no container engine can run here: {reason}")
        for name, value in engine.environment.items():
            monkeypatch.setenv(name, value)
