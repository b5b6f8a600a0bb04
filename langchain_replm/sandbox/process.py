"""Cells in a jailed child process: start it, talk to it over private pipes, end it for certain.

The jail itself is `_jail.py`, which the worker applies to itself; what it gives on this machine is
learned from a probe, a process that goes to the same jail and says how that went.

Rules:

1. What a worker does or leaves undone never blocks us longer than the caller's time allows.
2. Every descriptor has one owner and is closed once. A process id is signalled only while the
   process is not yet reaped, so that never another process is hit.
3. A forked copy of the host may hold our objects; it closes its descriptors and touches no worker.
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
import weakref
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from langchain_replm.errors import ConfigurationError, SandboxError
from langchain_replm.sandbox._policy import ALLOWED_MODULES
from langchain_replm.sandbox.base import GUARANTEES, Exchanged, Guarantee, Sandbox, Transport

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

logger: Final = logging.getLogger("langchain_replm")

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

PRELOADED: Final = (
    *ALLOWED_MODULES,
    *(f"encodings.{name}" for name in ("cp1252", "latin_1", "utf_16", "utf_32", "utf_8_sig")),
    *(f"concurrent.futures.{name}" for name in ("thread", "process")),
    "_strptime",
    "_pydecimal",
    "numpy.linalg",
    "numpy.random",
    "numpy.fft",
    "pandas",
)
"""What a worker imports before it is sealed, where files can only be refused as a whole."""

PROBE_SECONDS: Final = 30.0
"""A probe takes as long as the start of a worker, some 30 ms; sealed, with pandas, 300 ms."""

STDERR_BYTES: Final = 4096
"""Most that a worker which failed to start may say."""

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

READ_BYTES: Final = 256 * 1024
MAX_READ_BYTES: Final = 1024 * 1024
"""Security limit: bytes taken in one exchange, so that a flood is judged before it is collected."""

PIPE_BYTES: Final = 1024 * 1024
"""Wished size of a pipe; a context crosses a larger pipe in fewer turns. The default is 64 KiB."""

REAP_SECONDS: Final = 10.0
"""A killed process is gone within milliseconds, unless the kernel itself is stuck."""

ENVIRONMENT: Final = {
    "LC_ALL": "C.UTF-8",
    # One thread for linear algebra: many would each reserve memory that the worker may not have.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
    # Sets and dicts of strings have the same order in a replay as in the first run.
    "PYTHONHASHSEED": "0",
}
"""The whole environment of a worker; nothing of the host's own, where the secrets are."""


class Pipes:
    """Both ends of the wire on the host's side, and the bell that ends a wait."""

    def __init__(self) -> None:
        self.worker_read, self.write_fd = os.pipe()
        self.read_fd, self.worker_write = os.pipe()
        self.bell_read, self.bell_write = os.pipe()
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._is_closed = False
        for fd in (self.write_fd, self.read_fd, self.bell_read, self.bell_write):
            os.set_blocking(fd, False)
        _widen(self.write_fd)
        _widen(self.read_fd)

    def ring(self) -> None:
        """End the running or the next wait; from any thread."""
        with self._lock:
            if not self._is_closed and os.getpid() == self._owner:
                # A full pipe already says what this would say.
                with suppress(BlockingIOError):
                    os.write(self.bell_write, b"\0")

    def hand_over(self) -> None:
        """Close the worker's ends, once the worker has them."""
        os.close(self.worker_read)
        os.close(self.worker_write)

    def close(self) -> None:
        """Close our ends, once."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            for fd in (self.write_fd, self.read_fd, self.bell_read, self.bell_write):
                os.close(fd)


class PipeTransport(Transport):
    """Bytes over two pipes: what every worker on this machine has in common.

    Args:
        pipes: The host's ends; closed by `close`.
    """

    def __init__(self, pipes: Pipes) -> None:
        self._pipes = pipes
        self._outbox: list[Iterator[bytes]] = []
        self._rest = memoryview(b"")
        self._turn = threading.RLock()
        self._is_ended = False
        self._is_closed = False

    def exchange(self, data: Iterable[bytes], timeout_seconds: float | None) -> Exchanged:
        """Send and receive; see `Transport.exchange`.

        When the time runs out, a wake comes, or a megabyte was received before everything is sent,
        the rest is kept and sent first by the next exchange.
        """
        start = time.monotonic()
        deadline = None if timeout_seconds is None else start + timeout_seconds
        with self._turn:
            if self._is_closed:
                return Exchanged(data=b"", elapsed_seconds=0.0, eof=True)
            self._outbox.append(iter(data))
            received, is_eof, is_rung = self._pump(deadline)
        return Exchanged(
            data=received,
            elapsed_seconds=time.monotonic() - start,
            eof=is_eof,
            timed_out=not (received or is_eof or is_rung),
        )

    def wake(self) -> None:
        """End the running or the next exchange early."""
        self._pipes.ring()

    def _end(self) -> None:
        """Let no exchange wait any longer: the worker is killed or abandoned."""
        self._is_ended = True
        self._pipes.ring()

    def _close_pipes(self) -> None:
        """Close the descriptors when no thread is inside an exchange."""
        self._end()
        with self._turn:
            self._is_closed = True
            self._pipes.close()
            self._outbox.clear()
            self._rest = memoryview(b"")

    def _pump(self, deadline: float | None) -> tuple[bytes, bool, bool]:
        """Write and read until there is something to tell.

        Returns:
            Bytes received, whether the worker is gone, whether the bell rang.
        """
        received = bytearray()
        pipes = self._pipes
        is_eof = is_rung = False
        with selectors.DefaultSelector() as selector:
            selector.register(pipes.read_fd, selectors.EVENT_READ)
            selector.register(pipes.bell_read, selectors.EVENT_READ)
            is_sending = self._has_more()
            if is_sending:
                selector.register(pipes.write_fd, selectors.EVENT_WRITE)
            while True:
                if self._is_ended:
                    # A grandchild may hold the pipe open: the end of file would never come.
                    self._read_into(received)
                    return bytes(received), True, is_rung
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                ready = {key.fd for key, _ in selector.select(left)}
                if pipes.write_fd in ready and not self._write():
                    selector.unregister(pipes.write_fd)
                    is_sending = False
                if pipes.read_fd in ready:
                    is_eof = self._read_into(received)
                if pipes.bell_read in ready:
                    is_rung = True
                    _drain(pipes.bell_read)
                is_full = len(received) >= MAX_READ_BYTES
                is_told = is_eof or is_rung or is_full or (bool(received) and not is_sending)
                # Judged by the clock too: a worker that reads byte by byte is always ready.
                is_late = left is not None and (left <= 0 or not ready)
                if (is_told and not self._is_ended) or is_late:
                    return bytes(received), is_eof, is_rung

    def _has_more(self) -> bool:
        """Fetch the next chunk that is to be sent, when the last one is gone."""
        while not self._rest:
            if not self._outbox:
                return False
            chunk = next(self._outbox[0], None)
            if chunk is None:
                self._outbox.pop(0)
            else:
                self._rest = memoryview(chunk)
        return True

    def _write(self) -> bool:
        """Write what the pipe takes; False when there is nothing more to write."""
        try:
            while self._has_more():
                self._rest = self._rest[os.write(self._pipes.write_fd, self._rest) :]
        except BlockingIOError:
            return True
        except BrokenPipeError:
            # The worker is ending; what it still says, and its end of file, come by reading.
            self._outbox.clear()
            self._rest = memoryview(b"")
        return False

    def _read_into(self, received: bytearray) -> bool:
        """Read what is there, up to the limit; True at the end of file."""
        while len(received) < MAX_READ_BYTES:
            try:
                data = os.read(self._pipes.read_fd, READ_BYTES)
            except BlockingIOError:
                return False
            if not data:
                return True
            received += data
        return False


class _SidePipes:
    """The lifeline, which the worker dies of when it closes, and the worker's last words."""

    def __init__(self) -> None:
        self.lifeline, self._hold = os.pipe()
        try:
            self._words, self.stderr = os.pipe()
        except OSError:
            self.hand_over()
            os.close(self._hold)
            raise
        self._lock = threading.Lock()
        self._is_closed = False
        os.set_blocking(self._words, False)

    def hand_over(self) -> None:
        """Close the worker's ends, once the worker has them."""
        os.close(self.lifeline)
        if hasattr(self, "stderr"):
            os.close(self.stderr)

    def last_words(self) -> str:
        """Give what the worker wrote to its standard error before its first cell."""
        with self._lock, suppress(OSError):
            if not self._is_closed:
                return os.read(self._words, STDERR_BYTES).decode("utf-8", "replace").strip()
        return ""

    def close(self) -> None:
        """Close our ends, once."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                os.close(self._hold)
                os.close(self._words)


class _Child:
    """A worker process and its pipes, and the one way in which both end."""

    def __init__(
        self, process: subprocess.Popen[bytes], pipes: Pipes, side_pipes: _SidePipes
    ) -> None:
        self.process = process
        self.pipes = pipes
        self.side_pipes = side_pipes
        self._owner = os.getpid()
        self._lock = threading.Lock()

    def signal(self, number: int, *, group: bool) -> bool:
        """Signal the worker unless it is reaped or belongs to the process we were forked from."""
        if os.getpid() != self._owner:
            return False
        with self._lock:
            if self.process.returncode is not None:
                return False
            with suppress(ProcessLookupError, PermissionError):
                (os.killpg if group else os.kill)(self.process.pid, number)
                return True
        return False

    def reap(self) -> None:
        """Kill and wait, then nothing of the worker is left."""
        if os.getpid() != self._owner:
            # Popen's destructor would wait for a process that is not our child.
            self.process.returncode = 0
            self.side_pipes.close()
            return
        self.signal(signal.SIGKILL, group=True)
        self.side_pipes.close()
        with suppress(subprocess.TimeoutExpired), self._lock:
            self.process.wait(timeout=REAP_SECONDS)

    def end(self) -> None:
        """Do all of it: for the garbage collector and the end of the interpreter."""
        self.reap()
        self.pipes.close()


class ProcessTransport(PipeTransport):
    """The conversation with one child process."""

    def __init__(self, child: _Child) -> None:
        super().__init__(child.pipes)
        self._child = child
        self._has_spoken = False
        # Runs when the transport is forgotten, and at exit at the latest.
        self._finalizer = weakref.finalize(self, child.end)

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._child.process.pid

    def exchange(self, data: Iterable[bytes], timeout_seconds: float | None) -> Exchanged:
        """Send and receive; see `Transport.exchange`.

        Raises:
            SandboxError: The worker ended before its first message and has said why.
        """
        done = super().exchange(data, timeout_seconds)
        self._has_spoken = self._has_spoken or bool(done.data)
        if done.eof and not self._has_spoken and not self._is_ended:
            words = self._child.side_pipes.last_words()
            if words:
                msg = f"The sandbox worker could not be started: {words}"
                raise SandboxError(msg)
        return done

    def interrupt(self) -> bool:
        """Send `SIGINT`; a worker without a running cell ignores it."""
        return self._child.signal(signal.SIGINT, group=False)

    def kill(self) -> None:
        """Kill the worker's process group."""
        self._child.signal(signal.SIGKILL, group=True)
        self._end()

    def close(self) -> None:
        """Kill, reap, close."""
        self.kill()
        self._child.reap()
        self._close_pipes()
        self._finalizer.detach()


class _Probes:
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


_PROBES: Final = _Probes()


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
        for name in require:
            _check("require", name, GUARANTEES)
        if memory_bytes < MIN_MEMORY_BYTES or cpu_seconds < 1:
            msg = f"A worker needs at least {MIN_MEMORY_BYTES:,} bytes of memory and one second."
            raise ConfigurationError(msg)
        self.mode = policy
        self.isolation = isolation
        self.require = tuple(require)
        self.memory_bytes = memory_bytes
        self.cpu_seconds = cpu_seconds
        self.read_only_paths = tuple(str(Path(path).absolute()) for path in read_only_paths)
        # Tests switch single layers off, to see that each one holds by itself.
        self._jail_layers: Collection[str] = JAIL_LAYERS

    @property
    def policy(self) -> Literal["restricted", "full"]:
        """The language policy that belongs to the mode."""
        return "restricted" if self.mode == "restricted" else "full"

    def describe(self) -> str:
        """Say what cells may do here."""
        if self.mode == "restricted":
            return (
                "Cells run in a process of their own with the standard library's modules for text, "
                "data and time; there are no files, no network and no other packages."
            )
        return (
            "Cells run in a process of their own with all of Python and the installed packages; "
            "do not rely on files or the network."
        )

    def guarantees(self) -> Mapping[Guarantee, str | None]:
        """What is guaranteed on this machine, and by which layer; the first call takes 50 ms."""
        found: dict[Guarantee, str | None] = dict.fromkeys(GUARANTEES)
        if os.name == "posix":
            found.update(self._report()["guarantees"])
            found["real_timeout"] = REAL_TIMEOUT
        return found

    def open(self) -> ProcessTransport:
        """Start a worker.

        Raises:
            SandboxError: The worker could not be started, or a required guarantee is missing.
        """
        if os.name != "posix":
            msg = f"sandbox mode {self.mode!r} needs a POSIX system; use 'docker' or 'monty' here."
            raise SandboxError(msg)
        if not sys.executable:
            msg = "This Python does not know its own executable, so no worker can be started."
            raise SandboxError(msg)
        self._check_guarantees()
        try:
            pipes = Pipes()
        except OSError as error:
            msg = f"The pipes to a worker could not be made: {error}"
            raise SandboxError(msg) from error
        try:
            return ProcessTransport(self._start(pipes))
        except (OSError, ValueError) as error:
            pipes.close()
            msg = f"The worker could not be started: {error}"
            raise SandboxError(msg) from error
        finally:
            pipes.hand_over()

    def _start(self, pipes: Pipes) -> _Child:
        side_pipes = _SidePipes()
        wire = (pipes.worker_read, pipes.worker_write)
        try:
            process = subprocess.Popen(  # noqa: S603 - our own program, nothing of the user's
                [*self._python(), str(WORKER), *map(str, wire), self._config(side_pipes.lifeline)],
                pass_fds=(*wire, side_pipes.lifeline),
                env=ENVIRONMENT,
                cwd="/",
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=side_pipes.stderr,
            )
        except BaseException:
            side_pipes.close()
            raise
        finally:
            side_pipes.hand_over()
        return _Child(process, pipes, side_pipes)

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
        return _PROBES.report((*self._python(), str(JAIL), self._config(NO_LIFELINE)))

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
            _PROBES.say_once(
                # A layer that another one stands in for costs no guarantee.
                logging.WARNING if missing else logging.INFO,
                f"Sandbox mode {self.mode!r} on this machine: not guaranteed: "
                f"{', '.join(missing) or 'nothing'}; layers that are off: {reasons}.",
            )


def _check(parameter: str, value: object, allowed: Collection[str]) -> None:
    if value not in allowed:
        msg = f"ProcessSandbox: {parameter} is one of {', '.join(allowed)}, not {value!r}."
        raise ConfigurationError(msg)


def _widen(fd: int) -> None:
    """Ask for a larger pipe, where the system has that."""
    with suppress(ImportError, AttributeError, OSError):
        import fcntl  # noqa: PLC0415 - POSIX only

        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _drain(fd: int) -> None:
    with suppress(BlockingIOError):
        while os.read(fd, 4096):
            pass
