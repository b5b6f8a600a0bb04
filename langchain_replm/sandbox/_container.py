"""One container: how an engine is found, how the worker gets in, how both end.

Rules:

1. Standard input and output of the container are the only channel. The worker's program goes in
   through it too, so that any image with Python 3.11 will do, and an engine on another machine.
2. Nothing that a cell prints reaches the channel: the bootstrap moves it to private descriptors.
3. No container outlives its host: the end of its input ends its first process, which is not the
   worker, and so all others; `--rm` removes it.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import tempfile
import threading
import weakref
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from langchain_replm.errors import SandboxError
from langchain_replm.sandbox._child import REAP_SECONDS
from langchain_replm.sandbox._pipes import Pipes, PipeTransport
from langchain_replm.sandbox._wire import encode_frame

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import IO

    from langchain_replm.sandbox.base import Exchanged

ASK_SECONDS: Final = 60.0
"""An engine answers a question within a second, unless it is stuck."""

STDERR_BYTES: Final = 2048
"""End of what an engine says that is shown in an error."""

INTERRUPT: Final = encode_frame({"type": "interrupt"})
"""A signal through the engine takes 50 ms on a quiet machine, and more than a cell is given on a
busy or distant one. Through the channel it takes one."""

FOLDER: Final = "/langchain_replm"
"""Where the worker's files seem to be, inside."""

BOOTSTRAP: Final = """\
import os, sys
if sys.version_info < (3, 11):
    sys.exit("cells need Python 3.11 or newer; the image has " + sys.version.split()[0])
reader, writer, null = os.dup(0), os.dup(1), os.open(os.devnull, os.O_RDWR)
os.dup2(null, 0), os.dup2(null, 1)
def take(count):
    # No byte more: what follows belongs to the worker.
    parts = []
    while count:
        part = os.read(reader, min(count, 1 << 16)) or sys.exit("the host has gone")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
import _thread, json, select
files = json.loads(take(int.from_bytes(take(4), "big")))
worker = os.fork()
if worker:
    # Process 1 ends the container with its worker or its host, whatever the cell is doing.
    os.dup2(null, 2), os.close(writer)
    def watch():
        poll = select.poll()
        poll.register(reader, 0)
        poll.poll()
        os.kill(worker, 9)
    _thread.start_new_thread(watch, ())
    while True:
        pid, status = os.wait()
        if pid == worker:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)
from importlib.machinery import SourceFileLoader as Loader
read = Loader.get_data
def get_data(self, path):
    return files[path].encode() if path in files else read(self, path)
Loader.get_data = get_data
path = "/langchain_replm/_worker.py"
names = {"__name__": "_worker", "__file__": path, "__package__": None}
exec(compile(files[path], path, "exec"), names)
# An interrupt comes over the channel; everything else is the worker's own.
read_message = names["Link"].read_message
def read_command(link):
    while (message := read_message(link))["type"] == "interrupt":
        os.kill(os.getpid(), 2)
    return message
names["Link"].read_message = read_command
sys.argv[1:] = str(reader), str(writer)
os.dup2(null, 2)
os.close(null)
names["main"]()
"""
"""What `python -c` runs inside: it takes the files from the channel, and the channel out of reach
of `print`; then it is the worker."""

ADVICE: Final = (
    # What an engine says in lower case, and what to do about it.
    (
        ("no such image", "image not known", "unable to find image", "manifest unknown"),
        (
            "The image {image!r} is not on this machine: run `{engine} pull {image}`, or let "
            "DockerSandbox(pull=True) do it."
        ),
    ),
    (
        ("permission denied while trying to connect",),
        (
            "Your user may not talk to the engine: run `sudo usermod -aG docker $USER` and log in "
            "again, or take podman, which needs no rights: DockerSandbox(engine='podman')."
        ),
    ),
    (
        ("cannot connect to", "connection refused"),
        (
            "The engine does not answer: run `sudo systemctl start docker`, look at DOCKER_HOST, "
            "or take podman: DockerSandbox(engine='podman')."
        ),
    ),
    (
        ("not found in $path", "executable file not found"),
        (
            "The image {image!r} has no program {python!r}: name its Python 3.11 or newer with "
            "DockerSandbox(python=...)."
        ),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What it takes to start one container, and to speak of it.

    Attributes:
        engine: Path of the engine's command line.
        command: The whole command.
        name: The container's name, for the engine's own commands.
        image: The image, for messages.
        python: The program in the image, for messages.
        memory_bytes: Its memory, for messages.
    """

    engine: str
    command: tuple[str, ...]
    name: str
    image: str
    python: str
    memory_bytes: int

    def explain(self, code: int | None, said: bytes) -> str:
        """Say why the container was not started, and what to run."""
        text = said[-STDERR_BYTES:].decode(errors="replace").strip()
        engine = Path(self.engine).name
        known = (advice for marks, advice in ADVICE if any(m in text.lower() for m in marks))
        advice = next(known, "Try `{engine} run --rm --entrypoint {python} {image} -V`.")
        todo = advice.format(engine=engine, python=self.python, image=self.image)
        return (
            f"The container could not be started (exit code {code}). {todo} "
            f"{engine} said: {text or 'nothing'}"
        )


def settings() -> tuple[str | None, ...]:
    """What of the environment decides which engine answers."""
    names = ("PATH", "DOCKER_HOST", "DOCKER_CONTEXT", "CONTAINER_HOST", "CONTAINERS_CONF")
    return tuple(os.environ.get(name) for name in names)


@functools.lru_cache
def find_engine(engine: str | None, _settings: tuple[str | None, ...]) -> tuple[str, bool]:
    """Find the command line of a container engine.

    Args:
        engine: Its name or path; None takes docker if its daemon answers, else podman.
        _settings: From `settings`; an answer is kept for as long as they are the same.

    Returns:
        Its path, and whether it is podman.

    Raises:
        SandboxError: There is none.
    """
    path = shutil.which(engine or "docker")
    if engine is None and (path is None or _reply(path, "version") is None):
        path = shutil.which("podman")
    path = path and str(Path(path).absolute())
    if path is None:
        what = "No container engine was found" if engine is None else f"There is no {engine!r} here"
        msg = f"{what}: install podman, or install docker and start its daemon."
        raise SandboxError(msg)
    # Asked, not guessed from the name: `docker` may be podman's stand-in for it.
    return path, b"podman" in (_reply(path, "--version") or b"")


def _reply(*command: str) -> bytes | None:
    try:
        done = ask(*command)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None


def ask(*command: str, seconds: float = ASK_SECONDS) -> subprocess.CompletedProcess[bytes]:
    """Run a command of the engine to its end."""
    return subprocess.run(  # noqa: S603 - the engine that the user has installed
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False
    )


def remove(engine: str, name: str) -> None:
    """Kill and remove a container, if it is there."""
    with suppress(OSError, subprocess.SubprocessError):
        # `rm --force` alone first waits ten seconds for a process that ignores SIGTERM, in podman.
        ask(engine, "kill", name, seconds=REAP_SECONDS)
        ask(engine, "rm", "--force", name, seconds=REAP_SECONDS)


@functools.cache
def _archive() -> bytes:
    """The worker's files, as the bootstrap reads them."""
    here = Path(__file__).parent
    paths = [*here.glob("_worker*.py"), *here.glob("_jail*.py")]
    data = json.dumps({f"{FOLDER}/{path.name}": path.read_text("utf-8") for path in paths}).encode()
    return len(data).to_bytes(4, "big") + data


class Container:
    """A container and the command that is attached to it, and the one way in which both end.

    Raises:
        OSError: The command could not be started.
    """

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self.pipes: Pipes = Pipes()
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._killer: subprocess.Popen[bytes] | None = None
        # A file, not a pipe: nobody would read it while the container runs.
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - see end
        try:
            self.process: subprocess.Popen[bytes] = _start(
                launch.command, self.pipes.worker_read, self.pipes.worker_write, self._errors
            )
        except OSError:
            self.pipes.close()
            self._errors.close()
            raise
        finally:
            self.pipes.hand_over()

    def kill(self) -> None:
        """Have the engine kill the container, without waiting for it."""
        with self._lock:
            if self._killer is not None or os.getpid() != self._owner:
                return
            code = self.process.poll()
            # A command that was killed itself says nothing about its container.
            if code is None or code < 0:
                with suppress(OSError):
                    null = subprocess.DEVNULL
                    command = (self.launch.engine, "kill", self.launch.name)
                    self._killer = _start(command, null, null, null)

    def end(self) -> None:
        """Do all of it: for `close`, the garbage collector and the end of the interpreter."""
        is_ours = os.getpid() == self._owner
        if not is_ours:
            # A forked copy; Popen's destructor would wait for what is not our child.
            self.process.returncode = 0
        self.kill()
        # A container that was not yet there to be killed starts, finds no input, and ends.
        self.pipes.close()
        if is_ours:
            self._reap()
        self._errors.close()

    def _reap(self) -> None:
        for process in filter(None, (self.process, self._killer)):
            try:
                process.wait(REAP_SECONDS)
            except subprocess.TimeoutExpired:
                remove(self.launch.engine, self.launch.name)
                process.kill()
                process.wait()

    def exit_code(self, seconds: float) -> int | None:
        """How the attached command ended; None if it has not after that time."""
        with suppress(subprocess.TimeoutExpired):
            return self.process.wait(seconds)
        return None

    def why_not_started(self) -> str:
        """Say why no byte ever came, and what to run."""
        code = self.exit_code(REAP_SECONDS)
        start = max(0, os.fstat(self._errors.fileno()).st_size - STDERR_BYTES)
        return self.launch.explain(code, os.pread(self._errors.fileno(), STDERR_BYTES, start))


def _start(
    command: tuple[str, ...], stdin: int, stdout: int, stderr: int | IO[bytes]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - the engine that the user has installed
        command,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        # podman's monitor leaves a file `oom` in its directory; here it cannot.
        cwd="/proc" if Path("/proc").is_dir() else "/",
        # A Ctrl-C in the host's terminal is the host's, not the container's.
        start_new_session=True,
    )


class DockerTransport(PipeTransport):
    """The conversation with a worker in a container."""

    def __init__(self, container: Container) -> None:
        super().__init__(container.pipes)
        self._container = container
        self._has_spoken = False
        self._outbox.append(iter((_archive(),)))
        # Runs when the transport is forgotten, and at exit at the latest.
        self._finalizer = weakref.finalize(self, container.end)

    @property
    def name(self) -> str:
        """The container's name, for the engine's own commands."""
        return self._container.launch.name

    @property
    def pid(self) -> int:
        """Process id of the command that is attached to the container."""
        return self._container.process.pid

    def exchange(self, data: Iterable[bytes], timeout_seconds: float | None) -> Exchanged:
        """Send and receive; see `Transport.exchange`.

        Raises:
            SandboxError: The container could not be started.
        """
        got = super().exchange(data, timeout_seconds)
        self._has_spoken = self._has_spoken or bool(got.data)
        if got.eof and not (self._has_spoken or self._is_ended):
            raise SandboxError(self._container.why_not_started())
        return got

    def interrupt(self) -> bool:
        """Ask over the channel; a running exchange of another thread returns for that."""
        self._outbox.append(iter((INTERRUPT,)))
        if not self._turn.acquire(blocking=False):
            self._pipes.ring()
            return True
        try:
            if not self._is_closed:
                self._write()
            return not self._is_closed
        finally:
            self._turn.release()

    def why_ended(self) -> str | None:
        """Say how the container ended, after an exchange has met its end; None if unknown.

        podman's service for docker's command line tells 0 for a container with `--rm`.
        """
        code = self._container.exit_code(2.0)
        if not code:
            return None
        limit = f"{self._container.launch.memory_bytes / 2**20:,.0f} MiB"
        causes = {
            137: f"it was killed, most likely because it needed more than {limit} of memory",
            139: "it met a segmentation fault",
        }
        return f"{causes.get(code, 'it ended by itself')} (exit code {code})"

    def kill(self) -> None:
        """Have the engine kill the container."""
        self._container.kill()
        self._end()

    def close(self) -> None:
        """Kill, reap, close; afterwards the engine has no such container."""
        self.kill()
        self._close_pipes()
        self._container.end()
        self._finalizer.detach()
