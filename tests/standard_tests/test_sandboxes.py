"""Every sandbox of ours passes the standard tests."""

from __future__ import annotations

import pytest

from langchain_replm.sandbox.local import LocalSandbox
from langchain_replm.sandbox.monty import MontySandbox
from langchain_replm.sandbox.process import ProcessSandbox
from langchain_replm.testing import SandboxStandardTests

pytestmark = pytest.mark.usefixtures("nothing_left_behind")


class TestRestricted(SandboxStandardTests):
    def make_sandbox(self) -> ProcessSandbox:
        return ProcessSandbox(policy="restricted")


class TestSubprocess(SandboxStandardTests):
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
