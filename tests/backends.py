"""A backend of Deep Agents' protocol over this machine's own shell, with a fault or two to order."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Executed:
    output: str
    exit_code: int | None = None
    truncated: bool = False


@dataclass
class Uploaded:
    path: str
    error: str | None = None


@dataclass
class Downloaded:
    path: str
    content: bytes | None = None
    error: str | None = None


class ShellBackend:
    """Runs commands and keeps files as the partner packages do, merged output included."""

    def __init__(self, *, banner: str = "") -> None:
        self.banner = banner
        self.commands: list[str] = []
        self.spoil: Callable[[str], Executed | None] = lambda _: None
        self._lock = threading.Lock()

    @property
    def id(self) -> str:
        return "shell"

    def execute(self, command: str, *, timeout: int | None = None) -> Executed:
        with self._lock:
            self.commands.append(command)
        if (spoilt := self.spoil(command)) is not None:
            return spoilt
        done = subprocess.run(
            ["sh", "-c", command],
            capture_output=True,
            text=True,
            timeout=timeout or 120,
            check=False,
        )
        return Executed(self.banner + done.stdout + done.stderr, done.returncode)

    def upload_files(self, files: list[tuple[str, bytes]]) -> list[Uploaded]:
        for path, content in files:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_bytes(content)
        return [Uploaded(path) for path, _ in files]

    def download_files(self, paths: list[str]) -> list[Downloaded]:
        return [
            Downloaded(path, Path(path).read_bytes())
            if Path(path).exists()
            else Downloaded(path, error="file_not_found")
            for path in paths
        ]
