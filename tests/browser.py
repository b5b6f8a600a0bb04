"""Finds a real browser for tests of pages: an installed Chromium, or Debian's, installed with apt."""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox",  # root in a container has none to give
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@functools.cache
def find_browser() -> tuple[str | None, str]:
    """The program of a Chromium, or None and the reason."""
    found = _installed()
    if found is not None:
        return found, ""
    if os.getuid() != 0 or shutil.which("apt-get") is None:
        return None, "no Chromium here, and only root on a Debian machine could install it"
    lock = Path(tempfile.gettempdir()) / f"langchain-replm-browser-{os.getuid()}.lock"
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # several test processes of one machine
        try:
            if _installed() is None:
                _install()
        except subprocess.SubprocessError as error:
            return None, f"apt-get could not install Chromium: {error}"
    found = _installed()
    return found, "" if found else "apt-get has installed no Chromium"


def _installed() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def _install() -> None:
    install = ("apt-get", "install", "-qq", "-y", "--no-install-recommends", "chromium")
    if _run(*install, check=False).returncode:
        _run("apt-get", "update", "-qq")
        _run(*install)


def _run(*command: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(
        command, env=environment, check=check, timeout=600, capture_output=True,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
