"""The modes of the config and the public names of the package."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args

import pytest

from langchain_replm import sandbox
from langchain_replm.config import SandboxMode
from langchain_replm.sandbox._modes import _MODES, sandbox_for
from langchain_replm.sandbox.base import GUARANTEES, Guarantee


def test_every_mode_of_the_config_has_a_sandbox() -> None:
    assert set(_MODES) == set(get_args(SandboxMode))
    for mode in get_args(SandboxMode):
        made = sandbox_for(mode)
        assert isinstance(made, sandbox.Sandbox)
        assert 20 < len(made.describe()) < 1_000


def test_every_public_name_is_there_and_no_other() -> None:
    assert sorted(sandbox._HOMES) == sorted(sandbox.__all__)
    assert set(sandbox.__all__) <= set(dir(sandbox))
    for name in sandbox.__all__:
        assert getattr(sandbox, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Vm'"):
        sandbox.Vm  # noqa: B018 - looking is what is tested


def test_the_guarantees_are_named_once() -> None:
    assert get_args(Guarantee) == GUARANTEES
    assert len(set(GUARANTEES)) == len(GUARANTEES)


def test_a_mode_imports_nothing_of_the_others() -> None:
    code = (
        "import sys\n"
        "from langchain_replm.sandbox._modes import sandbox_for\n"
        "sandbox_for('restricted')\n"
        "other = ('docker', 'local', 'monty')\n"
        "print([name for name in other if f'langchain_replm.sandbox.{name}' in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
