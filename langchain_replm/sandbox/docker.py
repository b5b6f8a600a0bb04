"""Cells in a container of docker or podman: no network, read-only, without rights, capped.

The engine's command line is used, not its SDK: it needs no further package, is the same for docker
and podman, and finds a distant or rootless engine by the user's own settings.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import uuid
from typing import TYPE_CHECKING, Any, Final, get_args

from langchain_replm.errors import ConfigurationError, SandboxError
from langchain_replm.sandbox._child import ENVIRONMENT
from langchain_replm.sandbox._container import (
    BOOTSTRAP,
    Container,
    DockerTransport,
    Launch,
    ask,
    find_engine,
    remove,
    settings,
)
from langchain_replm.sandbox._policy import PolicyName
from langchain_replm.sandbox.base import (
    RESTRICTED,
    Guarantee,
    Sandbox,
    check_required,
    refuse_missing,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["DockerSandbox", "DockerTransport"]

MIB: Final = 1024 * 1024
LEAST_MEMORY_BYTES: Final = 64 * MIB
LEAST_PIDS: Final = 8

LABEL: Final = "langchain_replm"
"""Label of our containers: its value is the name of the host, their names hold the process id."""

OPEN_FILES: Final = 256
PROCESSES: Final = 4096
"""Processes of the container's user, over all containers; `pids` is the narrow limit. Named because
podman's default is more than a root without CAP_SYS_RESOURCE may set."""

PROXIES: Final = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")
"""Both engines hand the host's proxies on, with their passwords, unless they are told not to."""

PROBE: Final = """\
import json, os
def read(*paths):
    for path in paths:
        try:
            with open(path) as file:
                return file.read()
        except OSError:
            pass
    return ""
status = dict(line.split(":\\t", 1) for line in read("/proc/self/status").splitlines())
group = "/sys/fs/cgroup/"
print(json.dumps({
    "own_processes": os.getpid() == 1,
    "no_rights": status["CapEff"].strip("0\\n") == "" and status.get("NoNewPrivs") == "1"
        and os.getuid() != 0,
    "interfaces": [line.split(":")[0].strip() for line in read("/proc/net/dev").splitlines()[2:]],
    "read_only": bool(os.statvfs("/").f_flag & os.ST_RDONLY),
    "memory": read(group + "memory.max", group + "memory/memory.limit_in_bytes").strip(),
    "pids": read(group + "pids.max", group + "pids/pids.max").strip(),
    "cpu": "".join(read(group + "cpu.max", group + "cpu/cpu.cfs_quota_us").split()[:1]),
}))
"""
"""What a container is asked about itself."""

_PROBED: Final[dict[tuple[object, ...], dict[str, Any]]] = {}


class DockerSandbox(Sandbox):
    """Cells run in a container of their own.

    The worker's program goes in over standard input, so the image is any that has Python; nothing
    of this machine is mounted, and the engine may be on another one.

    Args:
        image: An image with Python 3.11 or newer; its packages are those of the cells.
        engine: Name or path of docker's or podman's command line; None takes docker if its daemon
            answers, else podman.
        policy: `"full"`: all of Python. `"restricted"`: with an import allow-list on top.
        memory_bytes: Most memory of the container, `/tmp` included; there is no swap.
        pids: Most processes and threads at a time.
        cpus: Most processors, as in 1.5; None sets no limit.
        tmpfs_bytes: Size of `/tmp`, the only place that can be written; 0 for none.
        user: Numeric user and group of the cells.
        runtime: Runtime of the engine, for instance gVisor's `runsc`.
        python: Program in the image that runs the worker.
        pull: Fetch the image if it is not on the machine. A run waits two minutes at most, so
            fetch a large one by hand.
        require: Guarantees without which `open` fails.

    Raises:
        ConfigurationError: An argument is wrong.

    Example:
        ```python
        from langchain_replm.sandbox.docker import DockerSandbox

        sandbox = DockerSandbox("python:3.12-slim", memory_bytes=2 * 1024**3, cpus=1.5)
        print(sandbox.describe())  # the root model is told
        # RLM("openai:gpt-5.2", sandbox=sandbox).invoke({"query": ..., "context": ...})
        ```
    """

    def __init__(  # noqa: PLR0913 - one argument per limit of a container
        self,
        image: str = "python:3.12-slim",
        *,
        engine: str | None = None,
        policy: PolicyName = "full",
        memory_bytes: int = 1024 * MIB,
        pids: int = 64,
        cpus: float | None = None,
        tmpfs_bytes: int = 64 * MIB,
        user: str = "65534:65534",
        runtime: str | None = None,
        python: str = "python3",
        pull: bool = False,
        require: Collection[Guarantee] = (),
    ) -> None:
        if policy not in get_args(PolicyName):
            msg = f"DockerSandbox runs 'full' or 'restricted', not {policy!r}."
            raise ConfigurationError(msg)
        if not image or image.startswith("-"):
            msg = f"{image!r} is no name of an image."
            raise ConfigurationError(msg)
        if memory_bytes < LEAST_MEMORY_BYTES or pids < LEAST_PIDS or tmpfs_bytes < 0:
            msg = f"A worker needs {LEAST_MEMORY_BYTES:,} bytes of memory and {LEAST_PIDS} pids."
            raise ConfigurationError(msg)
        self.image: str = image
        self.engine: str | None = engine
        self.runtime: str | None = runtime
        self.python: str = python
        self.memory_bytes: int = memory_bytes
        self.pids: int = pids
        self.cpus: float | None = cpus
        self.tmpfs_bytes: int = tmpfs_bytes
        self.user: str = user
        self.pull: bool = pull
        self.require: tuple[Guarantee, ...] = check_required(require)
        self._policy: PolicyName = policy

    @property
    def policy(self) -> PolicyName:
        """The language policy inside the container."""
        return self._policy

    def describe(self) -> str:
        """Say what cells may do here."""
        if self._policy == "restricted":
            return f"Cells run in a container {RESTRICTED}"
        room = f"{self.tmpfs_bytes // MIB:,} MiB under /tmp" if self.tmpfs_bytes else "no file"
        return (
            "Cells run in a container with all of Python and the packages of its image. There is "
            f"no network; {room} can be written; memory ends at {self.memory_bytes // MIB:,} MiB."
        )

    def open(self) -> DockerTransport:
        """Start a container. Whether the engine could do so, the first exchange tells.

        Raises:
            SandboxError: There is no engine, or a guarantee of `require` is not given.
        """
        if os.name != "posix":
            msg = "sandbox mode 'docker' needs a POSIX system so far; use 'monty' here."
            raise SandboxError(msg)
        refuse_missing(self, self.require)
        launch = self._launch(BOOTSTRAP)
        try:
            return DockerTransport(Container(launch))
        except OSError as error:
            msg = f"The container engine {launch.engine!r} could not be started: {error}"
            raise SandboxError(msg) from error

    def guarantees(self) -> Mapping[Guarantee, str | None]:
        """What holds on this machine, as a container found that was really started, once.

        Raises:
            SandboxError: No container could be started.
        """
        found = _probe(self._launch(PROBE))
        sealed = found["own_processes"] and found["no_rights"]
        memory, pids = _count(found["memory"]), _count(found["pids"])

        def means(text: str, *conditions: object) -> str | None:
            return text if all(conditions) else None

        return {
            "network": means("no network but loopback", set(found["interfaces"]) <= {"lo"}),
            "file_reads": means("a file system of its own", sealed),
            "file_writes": means("read-only root, /tmp in memory", sealed, found["read_only"]),
            # The programs of the image can be run; they meet the same walls.
            "exec": None,
            "environment": "an environment of its own",
            "host_memory": means("processes of its own, no capabilities", sealed),
            "host_signals": means("processes of its own, no capabilities", sealed),
            "memory_cap": means(f"cgroup: {memory} bytes", memory and memory <= self.memory_bytes),
            "cpu_cap": means(f"cgroup: {self.cpus} processors", self.cpus, _count(found["cpu"])),
            "process_cap": means(f"cgroup: {pids}", pids and pids <= self.pids),
            "real_timeout": "the engine kills the container",
        }

    def remove_leftovers(self) -> list[str]:
        """Remove containers that ended processes of this machine have left; give their names.

        A container ends with its host. One stays behind if a cell has stopped its first process, or
        if the engine itself was stopped.

        Raises:
            SandboxError: There is no engine.
        """
        engine, _ = find_engine(self.engine, settings())
        chosen = f"label={LABEL}={platform.node()}"
        listed = ask(engine, "ps", "--all", "--filter", chosen, "--format", "{{.Names}}")
        names = listed.stdout.decode().split()
        left = [name for name in names if not _is_alive(int(name.split("-")[1]))]
        for name in left:
            remove(engine, name)
        return left

    def _launch(self, program: str) -> Launch:
        engine, is_podman = find_engine(self.engine, settings())
        name = f"replm-{os.getpid()}-{uuid.uuid4().hex[:12]}"
        # As in a child process; -I would ignore PYTHONHASHSEED.
        python = ["-P", "-s", "-X", "utf8", *(["-S"] if self._policy == "restricted" else [])]
        flags = [f"--name={name}", *_flags(self), *_own_flags(self, is_podman=is_podman)]
        return Launch(
            engine=engine,
            command=(engine, "run", *flags, self.image, *python, "-c", program),
            name=name,
            image=self.image,
            python=self.python,
            memory_bytes=self.memory_bytes,
        )


def _flags(sandbox: DockerSandbox) -> list[str]:
    """What both engines understand."""
    processes = _most_processes()
    flags = [
        "--rm",
        "--interactive",
        "--sig-proxy=false",
        f"--pull={'missing' if sandbox.pull else 'never'}",
        "--network=none",
        "--read-only",
        "--cap-drop=all",
        "--security-opt=no-new-privileges",
        "--ipc=none",
        f"--user={sandbox.user}",
        f"--pids-limit={sandbox.pids}",
        f"--memory={sandbox.memory_bytes}",
        # Memory and swap together: no swap.
        f"--memory-swap={sandbox.memory_bytes}",
        f"--ulimit=nofile={OPEN_FILES}:{OPEN_FILES}",
        f"--ulimit=nproc={processes}:{processes}",
        "--ulimit=core=0:0",
        # When the whole machine runs out of memory, the cell goes first.
        "--oom-score-adj=1000",
        "--log-driver=none",
        "--no-healthcheck",
        "--hostname=cell",
        f"--label={LABEL}={platform.node()}",
        *(f"--env={name}={value}" for name, value in ENVIRONMENT.items()),
        "--env=HOME=/tmp",
        f"--entrypoint={sandbox.python}",
    ]
    if sandbox.cpus is not None:
        flags.append(f"--cpus={sandbox.cpus:g}")
    if sandbox.runtime is not None:
        flags.append(f"--runtime={sandbox.runtime}")
    return flags


def _own_flags(sandbox: DockerSandbox, *, is_podman: bool) -> list[str]:
    """What each engine has to be told in its own words."""
    tmpfs = f"/tmp:rw,noexec,nosuid,nodev,mode=1777,size={sandbox.tmpfs_bytes}"  # noqa: S108 - the container's
    if is_podman:
        flags = [
            "--read-only-tmpfs=false",
            "--http-proxy=false",
            "--env-host=false",
            # It would hand on the host's table of names.
            "--no-hosts",
            # Control-P, control-Q in a context must not detach.
            "--detach-keys=",
        ]
        # It would copy the image's folder and its rights into the new one.
        tmpfs += ",notmpcopyup"
    else:
        flags = [f"--env={name}=" for one in PROXIES for name in (one, one.upper())]
    if sandbox.tmpfs_bytes:
        flags += [f"--tmpfs={tmpfs}", "--workdir=/tmp"]
    return flags


def _most_processes() -> int:
    """A limit that an engine without privileges on this machine may set too."""
    try:
        import resource  # noqa: PLC0415 - POSIX only
    except ImportError:
        return PROCESSES
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    return PROCESSES if hard == resource.RLIM_INFINITY else min(PROCESSES, hard)


def _count(text: str) -> int | None:
    """A limit of a cgroup; None for "max", -1 and what could not be read."""
    return int(text) if text.isdigit() else None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _probe(launch: Launch) -> dict[str, Any]:
    """Start a container like those of the cells and ask it what it finds."""
    command = [part for part in launch.command if not part.startswith("--name=")]
    key = (*command, *settings())
    if key not in _PROBED:
        try:
            done = ask(*command)
            _PROBED[key] = json.loads(done.stdout)
        except ValueError as error:
            raise SandboxError(launch.explain(done.returncode, done.stderr)) from error
        except (OSError, subprocess.SubprocessError) as error:
            msg = f"The container engine {launch.engine!r} gave no answer: {error}"
            raise SandboxError(msg) from error
    return _PROBED[key]
