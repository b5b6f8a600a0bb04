"""Cells in a jailed child process.

The jail itself is `_jail.py`, which the worker applies to itself; what it gives on this machine is
learned from a probe, a process that goes to the same jail and says how that went.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from langchain_replm.errors import ConfigurationError, SandboxError
from langchain_replm.sandbox import _job
from langchain_replm.sandbox._child import ProcessTransport, start_worker
from langchain_replm.sandbox._memory import WatchedTransport
from langchain_replm.sandbox._policy import ALLOWED_MODULES
from langchain_replm.sandbox._probe import PROBES
from langchain_replm.sandbox._streams import start_streams
from langchain_replm.sandbox.base import (
    GUARANTEES,
    RESTRICTED,
    Guarantee,
    Sandbox,
    Transport,
    check_required,
    refuse_missing,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from langchain_replm.sandbox._child import Child

WORKER: Final = Path(__file__).with_name("_worker.py")
JAIL: Final = Path(__file__).with_name("_jail.py")

JAIL_LAYERS: Final = (
    "rlimits",
    "namespaces",
    "capabilities",
    "uid",
    "landlock",
    "sealed",
    "seccomp",
)

NO_WALL_ON_WINDOWS: Final = (
    "a process cannot keep files and the network from its cells on Windows. Use mode 'monty', "
    "DeepAgentsSandbox, or WSL 2, where all modes work; or, for model code that you trust with all "
    "that your user may do, ProcessSandbox(isolation='process')."
)

ENCODINGS: Final = (  # noqa: SIM905 - as the other lists of names
    "ascii cp1252 cp437 idna latin_1 punycode utf_16 utf_16_be utf_16_le utf_32 utf_32_be "
    "utf_32_le utf_8_sig"
).split()

PRELOADED: Final = (
    *ALLOWED_MODULES,
    *(f"encodings.{name}" for name in ENCODINGS),
    "html.entities",
    "html.parser",
    *(f"concurrent.futures.{name}" for name in ("thread", "process")),
    "_strptime",
    "_pydecimal",
    "numpy.linalg",
    "numpy.random",
    "numpy.fft",
    "pandas",
)
"""What a worker imports before it is sealed, where files can only be refused as a whole."""

REAL_TIMEOUT: Final = "SIGKILL"
"""A cell over its time is interrupted, and then its process group is killed."""

MIN_MEMORY_BYTES: Final = 512 * 1024 * 1024
"""The room that every worker has beside its context; numpy and a thread pool need most of it."""

NO_LIFELINE: Final = -1
"""A probe ends by itself."""

ADVICE: Final = (
    "Use sandbox mode 'docker' or 'monty', or, for model code that you trust with all that your "
    "user may do, ProcessSandbox(isolation='process')."
)


class ProcessSandbox(Sandbox):
    """Cells run in a child process of their own, in a jail that the operating system keeps.

    Args:
        policy: `"restricted"`: Python with an import allow-list, without site-packages.
            `"subprocess"`: all of Python, with the packages of this environment.
        isolation: `"jail"`: no network, no files but the libraries', no other programs or
            processes; a worker that cannot be jailed does not start. `"process"`: no jail; cells
            can do what your user can do, beyond what limits of memory and time prevent.
        require: Guarantees without which `open` fails; see `guarantees`.
        memory_bytes: Security limit: address space of the worker. A large context raises it to
            four times its bytes and 512 MiB.
        cpu_seconds: Security limit: processor time of one worker, over all its cells.
        read_only_paths: Files and directories that cells may read, beside the libraries.

    Raises:
        ConfigurationError: A parameter is wrong.
    """

    def __init__(  # noqa: PLR0913 - one argument per limit of a jail
        self,
        policy: Literal["restricted", "subprocess"] = "restricted",
        *,
        isolation: Literal["jail", "process"] = "jail",
        require: Collection[Guarantee] = (),
        memory_bytes: int = 1024**3,
        cpu_seconds: int = 600,
        read_only_paths: Iterable[str | os.PathLike[str]] = (),
    ) -> None:
        _check("policy", policy, ("restricted", "subprocess"))
        _check("isolation", isolation, ("jail", "process"))
        if memory_bytes < MIN_MEMORY_BYTES or cpu_seconds < 1:
            msg = f"A worker needs at least {MIN_MEMORY_BYTES:,} bytes of memory and one second."
            raise ConfigurationError(msg)
        self.mode = policy
        self.isolation = isolation
        self.require: tuple[Guarantee, ...] = check_required(require)
        self.memory_bytes = memory_bytes
        self.cpu_seconds = cpu_seconds
        self.read_only_paths: tuple[str, ...] = tuple(
            str(Path(path).absolute()) for path in read_only_paths
        )
        # Tests switch single layers off, to see that each one holds by itself.
        self._jail_layers: Collection[str] = JAIL_LAYERS

    @property
    def policy(self) -> Literal["restricted", "full"]:
        """The language policy that belongs to the mode."""
        return "restricted" if self.mode == "restricted" else "full"

    def describe(self) -> str:
        """Say what cells may do here."""
        if self.mode == "restricted":
            return f"Cells run in a process of their own {RESTRICTED}"
        return (
            "Cells run in a process of their own with all of Python and the installed packages; "
            "do not rely on files or the network."
        )

    def guarantees(self) -> Mapping[Guarantee, str | None]:
        """What is guaranteed on this machine, and by which layer; the first call takes 50 ms."""
        found: dict[Guarantee, str | None] = dict.fromkeys(GUARANTEES)
        if os.name != "posix":
            found.update(_job.GUARANTEES)
            return found
        found.update(self._report()["guarantees"])
        found["real_timeout"] = REAL_TIMEOUT
        return found

    def open(self) -> Transport:
        """Start a worker.

        Raises:
            SandboxError: The worker could not be started, or a required guarantee is missing.
        """
        if not sys.executable:
            msg = "This Python does not know its own executable, so no worker can be started."
            raise SandboxError(msg)
        if os.name != "posix":
            return self._open_on_windows()
        self._check_guarantees()
        return start_worker(self._command, self._transport)

    def _open_on_windows(self) -> Transport:
        if self.isolation == "jail":
            msg = f"sandbox mode {self.mode!r}: {NO_WALL_ON_WINDOWS}"
            raise SandboxError(msg)
        refuse_missing(self, self.require)
        limits = {"memory_bytes": self.memory_bytes, "cpu_seconds": self.cpu_seconds}
        return start_streams(
            lambda *_: [*self._python(), str(WORKER), "0", "1"],
            lambda process: _job.confine(process, **limits),
        )

    def _transport(self, child: Child) -> ProcessTransport:
        # macOS keeps no limit of address space.
        is_watched = sys.platform == "darwin"
        return WatchedTransport(child, self.memory_bytes) if is_watched else ProcessTransport(child)

    def _command(self, read_fd: int, write_fd: int, lifeline: int) -> list[str]:
        wire = (str(read_fd), str(write_fd))
        return [*self._python(), str(WORKER), *wire, self._config(lifeline)]

    def _python(self) -> list[str]:
        # As -I, but -E would also ignore PYTHONHASHSEED; the environment is all ours anyway.
        flags = ["-P", "-s", "-X", "utf8"]
        if self.mode == "restricted":
            flags.append("-S")
        return [sys.executable, *flags]

    def _config(self, lifeline: int) -> str:
        return json.dumps(
            {
                "isolation": self.isolation,
                "layers": list(self._jail_layers),
                "memory_bytes": self.memory_bytes,
                "cpu_seconds": self.cpu_seconds,
                "read_only_paths": self.read_only_paths,
                "preload": PRELOADED,
                "lifeline": lifeline,
            }
        )

    def _report(self) -> dict[str, Any]:
        return PROBES.report((*self._python(), str(JAIL), self._config(NO_LIFELINE)))

    def _check_guarantees(self) -> None:
        """Refuse what was required and is missing, and say once what else is missing.

        Raises:
            SandboxError: Something that was asked for cannot be had.
        """
        report = self._report()
        reasons = "; ".join(f"{name}: {why}" for name, why in report["missing"].items())
        if "error" in report:
            msg = f"Cells cannot be jailed on this machine: {report['error']}. {ADVICE}"
            raise SandboxError(msg)
        missing = [name for name, means in self.guarantees().items() if means is None]
        refused = [name for name in self.require if name in missing]
        if refused:
            msg = (
                f"The sandbox does not guarantee {', '.join(refused)} here, which was required "
                f"({reasons}). {ADVICE}"
            )
            raise SandboxError(msg)
        if reasons:
            PROBES.say_once(
                # A layer that another one stands in for costs no guarantee.
                logging.WARNING if missing else logging.INFO,
                f"Sandbox mode {self.mode!r} on this machine: not guaranteed: "
                f"{', '.join(missing) or 'nothing'}; layers that are off: {reasons}.",
            )


def _check(parameter: str, value: object, allowed: Collection[str]) -> None:
    if value not in allowed:
        msg = f"ProcessSandbox: {parameter} is one of {', '.join(allowed)}, not {value!r}."
        raise ConfigurationError(msg)
