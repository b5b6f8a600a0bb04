"""A PostgreSQL server of the tests' own: real binaries, an ordinary user, a temporary directory."""

from __future__ import annotations

import functools
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

STARTED: list[Path] = []
"""The folders of all servers of this process; nothing may run in them when the tests end."""


@dataclass(frozen=True)
class Server:
    """A running server; `stop` and `start` are for tests that drop the database."""

    folder: Path
    port: int

    @property
    def uri(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = (
            f"-c listen_addresses=127.0.0.1 -p {self.port} -c unix_socket_directories={self.folder} "
            "-c fsync=off -c full_page_writes=off -c max_connections=50"
        )
        log = str(self.folder / "log")
        _run("pg_ctl", "-D", str(self.folder / "db"), "-w", "-l", log, "-o", options, "start")

    def stop(self, how: str = "fast") -> None:
        """`"immediate"` is what a crash of the machine looks like."""
        _run("pg_ctl", "-D", str(self.folder / "db"), "-m", how, "-w", "stop")


@functools.cache
def missing() -> str | None:
    """Why there can be no server here; None when there can. Installs it on Debian, as root."""
    if _binary("initdb"):
        return None
    if os.geteuid() == 0 and shutil.which("apt-get"):
        command = ["apt-get", "install", "-y", "--no-install-recommends", "postgresql"]
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        with suppress(subprocess.SubprocessError):
            subprocess.run(command, env=environment, capture_output=True, timeout=300, check=True)
        if _binary("initdb"):
            return None
    return "no PostgreSQL binaries (initdb, pg_ctl) on this machine"


@contextmanager
def server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="replm-pg-") as name:
        folder = Path(name)
        if os.geteuid() == 0:
            shutil.chown(folder, "nobody")  # PostgreSQL refuses to run as root
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        _run(
            "initdb", "-D", str(folder / "db"), "-U", "postgres", "-A", "trust", "--no-sync",
            "-E", "UTF8", "--locale=C.UTF-8",
        )  # fmt: skip
        made = Server(folder, port)
        STARTED.append(folder)
        made.start()
        try:
            yield made
        finally:
            with suppress(subprocess.CalledProcessError):
                made.stop("immediate")


def _binary(name: str) -> str | None:
    homes = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return shutil.which(name, path=os.pathsep.join([*map(str, homes), os.environ["PATH"]]))


def _run(name: str, *arguments: str) -> None:
    command = [_binary(name) or name, *arguments]
    if os.geteuid() == 0:
        command = ["runuser", "-u", "nobody", "--", *command]
    # Its children keep the output open, so it goes nowhere.
    subprocess.run(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=60,
        check=True,
        cwd="/",
    )
