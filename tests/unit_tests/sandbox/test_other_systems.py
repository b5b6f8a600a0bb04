"""What is decided for systems that the tests do not run on."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from struct import pack, unpack_from
from typing import Any

import pytest

from langchain_replm.errors import SandboxError
from langchain_replm.sandbox import (
    DockerSandbox,
    LocalSandbox,
    ProcessSandbox,
    _jail,
    _jail_macos,
    _job,
    _memory,
)
from langchain_replm.sandbox.base import GUARANTEES

TABLE = Path(__file__).with_name("syscalls.txt")


# macOS.


def test_the_profile_refuses_all_but_reading_what_is_named() -> None:
    lines = _jail_macos.profile(["/opt/python/lib", "/usr/lib"]).splitlines()
    assert lines[:2] == ["(version 1)", "(deny default)"]
    allowed = {
        word for line in lines[2:] for word in line.split() if re.match(r"[a-z-]+[*a-z]", word)
    }
    assert not any(
        word.startswith(("network", "file-write", "process-exec", "process-fork", "mach", "ipc"))
        for word in allowed
    )
    assert '(allow file-read* file-map-executable (subpath "/opt/python/lib"))' in lines
    assert len(lines) == len(set(lines)), "a path that is named twice stands there once"
    assert lines.count("(allow signal (target self))") == 1
    for line in lines:
        assert line.count("(") == line.count(")")


def test_a_path_cannot_write_rules() -> None:
    text = _jail_macos.profile(['/a"))(allow default)("', "/b\\c"])
    assert '(subpath "/a\\"))(allow default)(\\"")' in text
    assert '(subpath "/b\\\\c")' in text
    with pytest.raises(ValueError, match="cannot be named"):
        _jail_macos.profile(["/a\n(allow default)"])


def test_all_that_is_claimed_on_macos_has_a_name_and_what_can_be_tried_is() -> None:
    # `real_timeout` is the host's own.
    assert set(_jail_macos.GUARANTEES) == set(GUARANTEES) - {"real_timeout"}
    assert set(_jail_macos.trials()) <= set(GUARANTEES)


def test_an_attempt_that_succeeds_breaks_its_claim() -> None:
    def refused() -> None:
        raise PermissionError

    assert _jail_macos.broken_claims({"network": refused, "exec": lambda: None}) == ["exec"]


def test_without_seatbelt_there_is_no_jail_and_the_reason_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_jail, "limit_resources", lambda *_, **__: "")
    monkeypatch.setattr(sys, "platform", "darwin")
    config = {
        "isolation": "jail",
        "memory_bytes": 1,
        "cpu_seconds": 1,
        "read_only_paths": [],
    }
    with pytest.raises(_jail.JailError, match="Seatbelt is not to be had"):
        _jail.apply(config, 0)


def test_the_resident_size_of_macos_is_the_second_number() -> None:
    assert _memory.resident_of_taskinfo(pack("=QQQ", 1, 2**33, 3).ljust(96)) == 2**33


def test_the_memory_of_a_process_that_is_gone_is_unknown() -> None:
    assert _memory.resident_bytes(2**22 + 1) is None


# aarch64.


def committed() -> dict[str, tuple[str, str]]:
    rows = (line.split() for line in TABLE.read_text().splitlines() if not line.startswith("#"))
    return {name: (x86, arm) for name, x86, arm in rows}


def test_the_numbers_of_system_calls_are_those_of_the_kernel() -> None:
    known = committed()
    rows = [row.split() for row in _jail.SYSCALLS.replace("\n", ";").split(";") if row.strip()]
    assert len(rows) > 90
    for name, x86, arm in rows:
        assert known[name] == (x86, arm), name
    for name, (number_x86, number_arm) in _jail.OWN_SYSCALLS.items():
        assert known[name] == (str(number_x86), str(number_arm)), name


# Windows.


def test_the_limits_of_a_job_lie_where_windows_reads_them() -> None:
    data = _job.limits(memory_bytes=2**33, cpu_seconds=600, processes=1)
    # 64 bits: 64 bytes of basic limits, 48 of counters, 32 of memory.
    assert len(data) == 144
    assert unpack_from("=q", data, 0) == (600 * 10_000_000,)
    assert unpack_from("=I", data, 16) == (0x2 | 0x8 | 0x100 | 0x400 | 0x2000,)
    assert unpack_from("=I", data, 40) == (1,)
    assert unpack_from("=Q", data, 112) == (2**33,)
    assert sum(data[120:]) == 0


def test_what_a_job_gives_is_no_wall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "name", "nt")
    sandbox = ProcessSandbox("subprocess", isolation="process")
    claimed = {name for name, means in sandbox.guarantees().items() if means}
    assert claimed == {"memory_cap", "cpu_cap", "process_cap", "real_timeout"}


@pytest.mark.parametrize("mode", ["restricted", "subprocess"])
def test_the_jailed_modes_refuse_windows_and_say_what_to_use(
    mode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "name", "nt")
    with pytest.raises(SandboxError, match=r"Windows.*'monty'.*WSL 2.*isolation='process'"):
        ProcessSandbox(mode).open()
    with pytest.raises(SandboxError, match="does not guarantee network"):
        ProcessSandbox(mode, isolation="process", require=["network"]).open()
    with pytest.raises(SandboxError, match="so far"):
        DockerSandbox().open()
    with pytest.raises(SandboxError, match="so far"):
        LocalSandbox().open()
