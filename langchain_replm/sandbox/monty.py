"""Cells in pydantic-monty, an interpreter of a part of Python that has no way out: mode "monty".

Two processes: a program of ours, which speaks the wire (`_monty_worker.py`), and Monty's own, in
which the cells run. What a cell can do is what Monty can do; that is the wall, on every system.
"""

from __future__ import annotations

import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from langchain_replm.errors import ConfigurationError, SandboxError
from langchain_replm.sandbox import _job
from langchain_replm.sandbox._child import ProcessTransport, start_worker
from langchain_replm.sandbox._monty_source import MODULES
from langchain_replm.sandbox._streams import start_streams
from langchain_replm.sandbox.base import (
    GUARANTEES,
    Guarantee,
    Sandbox,
    check_required,
    refuse_missing,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from langchain_replm.sandbox.base import Transport

WORKER: Final = Path(__file__).with_name("_monty_worker.py")

LEAST_MEMORY_BYTES: Final = 64 * 1024 * 1024
EXTRA_BYTES: Final = 512 * 1024 * 1024
"""Room beside a large context, for which the memory limit makes way."""

INTERPRETER: Final = "pydantic-monty: its Python has no means for it"


class MontyTransport(ProcessTransport):
    """The conversation with a worker that drives Monty."""

    def interrupt(self) -> bool:
        """Say no: Monty knows no interrupt that leaves its memory whole, so it is killed."""
        return False


class MontySandbox(Sandbox):
    """Cells run in pydantic-monty's interpreter.

    Starts in milliseconds and needs no help of the operating system. Its Python is a part of
    Python; `describe` tells the root model what is missing. Slicing a text that is not all ASCII
    takes time in proportion to the position, so very long texts of that kind are slow here.

    Args:
        memory_bytes: Most memory of the cells. A large context raises it to four times its bytes
            and 512 MiB.
        cpu_seconds: Most processor time of one worker, over all its cells.
        require: Guarantees without which `open` fails.

    Raises:
        ConfigurationError: An argument is wrong, or pydantic-monty is not installed.

    Example:
        ```python
        from langchain_replm.sandbox import MontySandbox

        sandbox = MontySandbox(memory_bytes=256 * 1024**2)
        assert sandbox.guarantees()["network"]
        # RLM("openai:gpt-5.2", sandbox=sandbox).invoke({"query": ..., "context": ...})
        ```
    """

    def __init__(
        self,
        *,
        memory_bytes: int = 1024**3,
        cpu_seconds: int = 600,
        require: Collection[Guarantee] = (),
    ) -> None:
        if find_spec("pydantic_monty") is None:
            msg = (
                "sandbox mode 'monty' needs pydantic-monty, which is not installed: "
                'pip install "langchain-replm[monty]"'
            )
            raise ConfigurationError(msg)
        if memory_bytes < LEAST_MEMORY_BYTES or cpu_seconds < 1:
            msg = f"MontySandbox needs {LEAST_MEMORY_BYTES:,} bytes of memory and one second."
            raise ConfigurationError(msg)
        self.memory_bytes: int = memory_bytes
        self.cpu_seconds: int = cpu_seconds
        self.require: tuple[Guarantee, ...] = check_required(require)

    @property
    def policy(self) -> Literal["full"]:
        """Monty's Python has its own borders; there is no policy on top."""
        return "full"

    def describe(self) -> str:
        """Say what cells may do here, and what Monty's Python lacks."""
        return (
            "Cells run in Monty, an interpreter of a part of Python. It has functions, lambdas, "
            "simple classes, dataclasses, comprehensions, f-strings, match, async; it has no "
            "class inheritance, no generators (`yield`, `next` of a generator expression), no "
            "`del`, no `with` of your own classes, no threads, no `callable`, `issubclass`, "
            "`vars`, `super`, and `re.sub` takes no function. Call `llm_query` and "
            "`llm_query_batch` without `await`. Importable are "
            f"{', '.join(MODULES)} and nothing else. There are no files and no network."
        )

    def guarantees(self) -> Mapping[Guarantee, str | None]:
        """What holds here: what Monty's Python cannot express, and the limits of the process."""
        found: dict[Guarantee, str | None] = dict.fromkeys(GUARANTEES, INTERPRETER)
        found["memory_cap"] = f"pydantic-monty: {self.memory_bytes:,} bytes"
        is_posix = os.name == "posix"
        found["cpu_cap"] = "RLIMIT_CPU" if is_posix else _job.GUARANTEES["cpu_cap"]
        found["real_timeout"] = "SIGKILL" if is_posix else _job.GUARANTEES["real_timeout"]
        return found

    def open(self) -> Transport:
        """Start a worker.

        Raises:
            SandboxError: It could not be started, or a required guarantee is missing.
        """
        if not sys.executable:
            msg = "This Python does not know its own executable, so no worker can be started."
            raise SandboxError(msg)
        refuse_missing(self, self.require)
        if os.name == "posix":
            return start_worker(self._command, MontyTransport)
        return start_streams(
            self._command,
            lambda process: _job.confine(
                process,
                memory_bytes=2 * self.memory_bytes + EXTRA_BYTES,
                cpu_seconds=self.cpu_seconds,
                processes=2,  # ours and Monty's
            ),
        )

    def _command(self, read_fd: int, write_fd: int, lifeline: int) -> list[str]:
        config = {
            "memory_bytes": self.memory_bytes,
            "extra_bytes": EXTRA_BYTES,
            "cpu_seconds": self.cpu_seconds,
            "lifeline": lifeline,
        }
        python = [sys.executable, "-P", "-s", "-X", "utf8", str(WORKER)]
        return [*python, str(read_fd), str(write_fd), json.dumps(config)]
