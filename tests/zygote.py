"""Runs functions in processes that can be killed, without paying for imports each time.

A helper process imports everything once and forks a child for each job. The test kills the child as
it likes; the helper tells how it ended.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self


@dataclass
class Ended:
    """How a job came to its end: a result, an error, or neither when it was killed."""

    code: int
    result: Any = None
    error: str | None = None


class Zygote:
    """The helper process. Use it as a context manager.

    Args:
        modules: Imported before the first fork.
    """

    def __init__(self, *modules: str) -> None:
        self._modules = modules
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.zygote", *self._modules],
            cwd=Path(__file__).resolve().parent.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n", "the helper process did not start"
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._process is not None:
            self._process.communicate()

    def start(self, target: str, *args: Any) -> int:
        """Fork a child that calls `module:function` with JSON data; its process id."""
        return int(self._ask({"target": target, "args": args}))

    def wait(self) -> Ended:
        """Wait until the child has ended."""
        return Ended(**json.loads(self._ask({"wait": True})))

    def kill(self, pid: int) -> Ended:
        """Kill the child, if it still runs."""
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return self.wait()

    def run(self, target: str, *args: Any) -> Ended:
        """Start and wait."""
        self.start(target, *args)
        return self.wait()

    def _ask(self, message: Any) -> str:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the helper process died"
        return line


def main() -> None:
    for name in sys.argv[1:]:
        module = importlib.import_module(name)
        getattr(module, "warm_up", lambda: None)()
    _say("ready")
    pid = reader = 0
    for line in sys.stdin:
        message = json.loads(line)
        if "wait" in message:
            # First read: a child with much to say waits until somebody listens.
            with os.fdopen(reader, "rb") as pipe:
                told = pipe.read()
            _, status = os.waitpid(pid, 0)
            ended = {"code": os.waitstatus_to_exitcode(status)}
            with suppress(ValueError):
                ended |= json.loads(told)
            _say(json.dumps(ended))
            continue
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            _job(writer, message)
        os.close(writer)
        _say(pid)


def _say(line: object) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _job(writer: int, message: dict[str, Any]) -> None:
    """The child: does its work, tells the result, and ends without the helper's clean-up."""
    module, _, function = message["target"].partition(":")
    try:
        told = {"result": getattr(importlib.import_module(module), function)(*message["args"])}
    except BaseException as error:
        told = {"error": f"{type(error).__name__}: {error}"}
    os.write(writer, json.dumps(told).encode())
    os._exit(0 if "result" in told else 1)


if __name__ == "__main__":
    main()
