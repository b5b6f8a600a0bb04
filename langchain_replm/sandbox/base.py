"""What a place to run cells must offer: open a worker, exchange bytes with it, end it for good."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, get_args

from langchain_replm.errors import ConfigurationError, SandboxError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from langchain_replm.sandbox._policy import PolicyName


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchanged:
    """What came of one exchange with a worker.

    Attributes:
        data: Bytes that the worker sent, possibly none.
        elapsed_seconds: How long the exchange took, in seconds of wall time.
        eof: The worker has closed its side or is dead; no further byte will come.
        timed_out: The time ran out before a byte, an end of file or a `wake` came.
    """

    data: bytes
    elapsed_seconds: float
    eof: bool = False
    timed_out: bool = False


class Transport(ABC):
    """A conversation in bytes with one worker.

    `exchange` is for one thread at a time; `wake`, `interrupt`, `kill` may come from any thread.
    """

    @abstractmethod
    def exchange(self, data: Iterable[bytes], timeout_seconds: float | None) -> Exchanged:
        """Send all of `data`, then wait for whatever comes first.

        Blocks until the worker sent bytes, closed, `wake` was called, or the time is up. A wake
        that came before the call counts: the call returns at once after sending.

        Args:
            data: Chunks to send; consumed lazily, so that a large context is never held twice.
            timeout_seconds: Longest wait; `None` waits without end, 0 only polls.
        """

    @abstractmethod
    def wake(self) -> None:
        """Make the running or the next `exchange` return early. Never blocks."""

    @abstractmethod
    def interrupt(self) -> bool:
        """Ask the running cell to stop with `KeyboardInterrupt`; False where that is impossible."""

    @abstractmethod
    def kill(self) -> None:
        """End the worker at once, whatever it is doing. Never blocks; harmless when repeated."""

    @abstractmethod
    def close(self) -> None:
        """End the worker, reap it and give back every descriptor. Harmless when repeated."""

    def share(self, name: str, value: object) -> bool:  # noqa: ARG002 - the default shares nothing
        """Hand over an object by reference instead of over the wire; False where that cannot be."""
        return False


Guarantee = Literal[
    "network",
    "file_reads",
    "file_writes",
    "exec",
    "environment",
    "host_memory",
    "host_signals",
    "memory_cap",
    "cpu_cap",
    "process_cap",
    "real_timeout",
]
"""What a sandbox may keep a cell from: reaching the network, reading or writing the host's files,
running other programs, seeing the host's environment or memory, signalling other processes, and
taking memory, processor time or processes without end; and whether a cell over its time is ended
for certain."""

RESTRICTED: Final = (
    "with the standard library's modules for text, data and time; there are no files, no network "
    "and no other packages."
)
"""What the root model is told of the policy "restricted", after where cells run."""

GUARANTEES: tuple[Guarantee, ...] = get_args(Guarantee)


class Sandbox(ABC):
    """A place to run cells; a cheap description that starts nothing until `open`."""

    def guarantees(self) -> Mapping[Guarantee, str | None]:
        """What this sandbox guarantees on this machine: the means, or None where it does not.

        Every guarantee is a key. What is claimed here is shown by an attack that fails.
        """
        return dict.fromkeys(GUARANTEES)

    @abstractmethod
    def open(self) -> Transport:
        """Start a worker.

        Raises:
            SandboxError: The worker could not be started.
        """

    @abstractmethod
    def describe(self) -> str:
        """Say in one or two sentences, for the root model, what cells may and may not do here."""

    @property
    @abstractmethod
    def policy(self) -> PolicyName:
        """Which language policy the worker applies: `"restricted"` or `"full"`."""


def check_required(require: Collection[Guarantee]) -> tuple[Guarantee, ...]:
    """Give what a sandbox is asked to guarantee.

    Raises:
        ConfigurationError: There is no guarantee of that name.
    """
    if unknown := sorted(set(require) - set(GUARANTEES)):
        msg = f"require: {unknown} is no guarantee; there are {', '.join(GUARANTEES)}."
        raise ConfigurationError(msg)
    return tuple(require)


def refuse_missing(sandbox: Sandbox, require: Collection[Guarantee]) -> None:
    """Refuse to start what does not guarantee all that was asked for.

    Raises:
        SandboxError: Something required is missing on this machine.
    """
    # Not asked without need: an answer may take the start of a container.
    given = sandbox.guarantees() if require else {}
    if missing := [name for name in require if given[name] is None]:
        msg = f"{type(sandbox).__name__} does not guarantee {', '.join(missing)} here."
        raise SandboxError(msg)
