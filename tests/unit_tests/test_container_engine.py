"""How the tests come to a container engine on a fresh machine, with made-up programs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests import container_engine

APT = """#!/bin/sh
echo "$@" >> "{log}"
case "$*" in
    *update*) touch "{lists}" ;;
    *install*) test -e "{lists}" || {{ echo "E: Unable to locate package podman" >&2; exit 100; }} ;;
esac
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of root whose only program is an `apt-get` that has no lists yet."""
    (tmp_path / "bin").mkdir()
    apt = tmp_path / "bin" / "apt-get"
    apt.write_text(APT.format(log=tmp_path / "log", lists=tmp_path / "lists"))
    apt.chmod(0o755)
    for tool in ("sh", "touch", "test"):
        found = next(p for p in ("/usr/bin", "/bin") if os.path.exists(f"{p}/{tool}"))
        (tmp_path / "bin" / tool).symlink_to(f"{found}/{tool}")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(os, "getuid", lambda: 0)
    return tmp_path


def test_missing_lists_are_fetched(machine: Path) -> None:
    container_engine._install_podman()
    verbs = [
        line.split("-qq ")[1].split()[0] for line in (machine / "log").read_text().splitlines()
    ]
    assert verbs == ["install", "update", "install"]


def test_lists_that_are_there_are_used(machine: Path) -> None:
    (machine / "lists").touch()
    container_engine._install_podman()
    assert len((machine / "log").read_text().splitlines()) == 1


def test_what_apt_says_is_the_reason(machine: Path) -> None:
    (machine / "lists").mkdir()
    (machine / "bin" / "apt-get").write_text("#!/bin/sh\necho 'E: no space left' >&2\nexit 100\n")
    with pytest.raises(subprocess.CalledProcessError) as caught:
        container_engine._install_podman()
    assert "E: no space left" in container_engine._told(caught.value)


def test_an_ordinary_user_is_told_why_nothing_was_installed(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    with pytest.raises(RuntimeError, match="only root on a Debian machine"):
        container_engine._install_podman()
