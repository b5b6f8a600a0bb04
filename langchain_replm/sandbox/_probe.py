"""What the jail gives on this machine: a process goes there and says how that went."""

from __future__ import annotations

import json
import logging
import subprocess
from typing import Any, Final

from langchain_replm.sandbox._child import ENVIRONMENT, STDERR_BYTES

logger: Final = logging.getLogger("langchain_replm")

PROBE_SECONDS: Final = 30.0
"""A probe takes as long as the start of a worker, some 30 ms; sealed, with pandas, 300 ms."""


class Probes:
    """What the jail gives on this machine, learned once per process and configuration.

    No locks: two threads may probe at once and learn the same, and a forked host cannot inherit a
    lock that nobody will ever release.
    """

    def __init__(self) -> None:
        self._reports: dict[tuple[str, ...], dict[str, Any]] = {}
        self._said: dict[str, object] = {}

    def report(self, command: tuple[str, ...]) -> dict[str, Any]:
        """Give the report of a probe: `guarantees`, `missing`, and `error` if there is no jail."""
        if command not in self._reports:
            try:
                self._reports[command] = _probe(command)
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                # Not kept: the machine may only have been busy.
                text = f"the probe of the jail failed ({type(error).__name__}: {error})"
                return {"guarantees": {}, "missing": {"jail": text}, "error": text}
        return self._reports[command]

    def say_once(self, level: int, message: str) -> None:
        """Log a message, unless it was logged before."""
        token = object()
        if self._said.setdefault(message, token) is token:
            logger.log(level, "%s", message)


PROBES: Final = Probes()


def _probe(command: tuple[str, ...]) -> dict[str, Any]:
    done = subprocess.run(  # noqa: S603 - our own program, nothing of the user's
        command,
        env=ENVIRONMENT,
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PROBE_SECONDS,
        check=False,
        start_new_session=True,
    )
    if done.returncode:
        words = done.stderr[-STDERR_BYTES:].decode("utf-8", "replace").strip()
        msg = f"it ended with {done.returncode}: {words}"
        raise subprocess.SubprocessError(msg)
    report: dict[str, Any] = json.loads(done.stdout)
    return report
