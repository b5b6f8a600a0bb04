"""What a sandbox claims is what attacks show: a layer that is off is not claimed, and is missed."""

from __future__ import annotations

import sys

import pytest

from langchain_replm.sandbox import LocalSandbox, ProcessSandbox, _probe
from langchain_replm.sandbox.base import GUARANTEES
from tests.security_tests.corpus import all_attacks
from tests.security_tests.outside import Setting, stage

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the jail of Linux")

ATTACKS = {f"{attack.family}/{attack.name}": attack for attack in all_attacks()}

SHOWN_BY = {
    "network": "network",
    "file_reads": "host files: read",
    "file_writes": "host files: change",
    "exec": "programs",
    "environment": "host environment",
    "host_memory": "host memory",
    "host_signals": "signals",
    "memory_cap": "resources: memory",
    "cpu_cap": "resources: time",
    "process_cap": "processes",
    "real_timeout": "resources: time",
}
"""The family of attacks that fails because of a guarantee (`test_corpus`)."""

MISSED = [
    ("network", ("seccomp", "namespaces"), "network/udp"),
    ("process_cap", ("seccomp",), "processes/stays"),
    ("file_writes", ("seccomp", "namespaces", "uid"), "host files: change/mode"),
    ("file_reads", ("landlock", "sealed", "namespaces"), "host files: read/open"),
    ("file_reads", ("landlock", "sealed", "namespaces"), "object graph/subclasses-loader"),
]
"""Guarantee, layers that are switched off, and an attack that then gets through."""


def test_every_guarantee_is_shown_by_attacks_that_succeed_without_it() -> None:
    assert tuple(SHOWN_BY) == GUARANTEES
    for family in SHOWN_BY.values():
        found = [attack for attack in ATTACKS.values() if attack.family == family]
        assert any(attack.control in ("none", "process") for attack in found), family


@pytest.mark.parametrize(("guarantee", "off", "name"), MISSED)
def test_a_layer_that_is_off_is_neither_claimed_nor_unnoticed(
    guarantee: str, off: tuple[str, ...], name: str
) -> None:
    sandbox = ProcessSandbox("subprocess")
    assert sandbox.guarantees()[guarantee] is not None  # type: ignore[index]
    sandbox._jail_layers = [layer for layer in sandbox._jail_layers if layer not in off]
    assert sandbox.guarantees()[guarantee] is None  # type: ignore[index]
    attack = ATTACKS[name]
    [result] = stage(Setting(alone=True, off=off), [attack]).values()
    assert attack.effect in result["effects"], result


def test_who_claims_nothing_is_shown_to_hold_nothing() -> None:
    """Mode "none" is the control of most attacks."""
    assert set(LocalSandbox().guarantees().values()) == {None}
    assert sum(attack.control == "none" for attack in ATTACKS.values()) > 150


def test_a_probe_that_fails_says_why_and_is_made_again() -> None:
    probes, command = _probe.Probes(), (sys.executable, "-c", "import sys; sys.exit('no room')")
    for _ in range(2):
        report = probes.report(command)
        assert report["guarantees"] == {}
        assert report["error"] == report["missing"]["jail"]
        assert "it ended with 1: no room" in report["error"]
    assert not probes._reports, "the machine may only have been busy"
    assert "JSONDecodeError" in probes.report((sys.executable, "-c", ""))["error"]
