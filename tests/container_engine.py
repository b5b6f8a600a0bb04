"""Finds a container engine that really runs, and gives it an image to run cells in.

An engine that answers is used as it is. On a Debian machine without one, as root, podman and runc
are installed with apt. No image registry is ever asked: the image is made of the interpreter that
runs the tests, its standard library and the shared libraries that both need.
"""

from __future__ import annotations

import fcntl
import functools
import io
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

PYTHON = "/usr/bin/python3"
LEFT_OUT = re.compile(
    r"/(site-packages|dist-packages|test|tests|idlelib|tkinter|turtledemo|lib2to3|ensurepip|"
    r"config-[^/]*|_tkinter[^/]*|_test[^/]*|pydoc_data)(/|$)"
)
CONTAINERS_CONF = """\
# A root without CAP_SYS_RESOURCE cannot raise limits to podman's defaults; runc runs where a hybrid
# of cgroup v1 and v2 stops crun; cgroupfs and a file need no systemd.
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "cni"
"""


@dataclass(frozen=True)
class Engine:
    """One command line that runs containers, and what it needs to be told by environment."""

    command: str
    image: str
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: str, **options: object) -> subprocess.CompletedProcess[bytes]:
        return _run(self.command, *arguments, environment=self.environment, **options)

    def containers(self, owner: int | None = None) -> list[str]:
        """Names of the sandbox's containers that a process has started, running or not.

        By default this process: other ones may be testing at the same time.
        """
        label = "label=langchain_replm"
        listed = self.run("ps", "--all", "--filter", label, "--format", "{{.Names}}")
        prefix = f"replm-{os.getpid() if owner is None else owner}-"
        return [name for name in listed.stdout.decode().split() if name.startswith(prefix)]


@functools.cache
def find_engine(kind: str | None = None) -> tuple[Engine | None, str]:
    """Give a working engine of that kind ("docker", "podman" or any), or None and the reason."""
    work = Path(tempfile.gettempdir()) / f"langchain-replm-engine-{os.getuid()}"
    work.mkdir(mode=0o700, exist_ok=True)
    if work.stat().st_uid != os.getuid():
        return None, f"{work} belongs to somebody else"
    reasons = []
    with (work / "lock").open("w") as lock:
        # Several test processes of one machine: the first one installs and builds.
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name in ("docker", "podman") if kind is None else (kind,):
            try:
                return _prepared(name, work), ""
            except (OSError, subprocess.SubprocessError, RuntimeError) as error:
                reasons.append(f"{name}: {_told(error)}")
    return None, "; ".join(reasons)


@contextmanager
def docker_socket(podman: Engine) -> Iterator[Engine]:
    """The docker CLI over podman's service, for machines without a docker daemon."""
    if shutil.which("docker") is None:
        msg = "there is no docker CLI"
        raise RuntimeError(msg)
    with tempfile.TemporaryDirectory() as folder:
        address = f"unix://{folder}/podman.sock"
        service = subprocess.Popen(
            [podman.command, "system", "service", "--time=0", address],
            env={**os.environ, **podman.environment},
            cwd=folder,  # for what its monitors leave behind
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        environment = {**podman.environment, "DOCKER_HOST": address}
        try:
            deadline = time.monotonic() + 30
            while _run("docker", "version", environment=environment, check=False).returncode:
                if time.monotonic() > deadline:
                    msg = "podman's service does not answer the docker CLI"
                    raise RuntimeError(msg)
                time.sleep(0.1)
            yield Engine("docker", podman.image, environment)
        finally:
            service.terminate()
            service.wait()


def _prepared(name: str, work: Path) -> Engine:
    environment: dict[str, str] = {}
    if shutil.which(name) is None:
        if name != "podman":
            msg = "not installed"
            raise RuntimeError(msg)
        _install_podman()
    _run(name, "version", environment=environment)
    image = os.environ.get("REPLM_TEST_IMAGE") or _image(name, environment)
    trial = (name, "run", "--rm", "--pull", "never", "--network", "none", image, PYTHON, "-V")
    if _run(*trial, environment=environment, check=False).returncode == 0:
        return Engine(name, image, environment)
    if name == "podman" and "CONTAINERS_CONF" not in os.environ:
        if shutil.which("runc") is None:
            _install_podman()
        # The machine's own settings stay as they are.
        path = work / "containers.conf"
        path.write_text(CONTAINERS_CONF)
        environment = {"CONTAINERS_CONF": str(path)}
    _run(*trial, environment=environment)
    return Engine(name, image, environment)


def _install_podman() -> None:
    if os.getuid() != 0 or shutil.which("apt-get") is None:
        msg = "not installed, and only root on a Debian machine could install it"
        raise RuntimeError(msg)
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    # Somebody else may be installing at this moment.
    apt = ("apt-get", "-o", "DPkg::Lock::Timeout=300", "-qq")
    install = (*apt, "install", "-y", "--no-install-recommends", "podman", "runc")
    if _run(*install, environment=quiet, check=False, timeout=600).returncode:
        # The lists of packages may be missing, or older than the packages.
        _run(*apt, "update", environment=quiet, timeout=600)
        _run(*install, environment=quiet, timeout=600)


def _image(name: str, environment: dict[str, str]) -> str:
    """The image made of this interpreter; made once for each version of it."""
    version = ".".join(map(str, sys.version_info[:3]))
    image = f"localhost/langchain-replm-test:{version}"
    if _run(name, "image", "inspect", image, environment=environment, check=False).returncode:
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            _add_interpreter(tar)
        _run(name, "import", "-", image, environment=environment, input=archive.getvalue())
    return image


def _add_interpreter(tar: tarfile.TarFile) -> None:
    program = os.path.realpath(sys._base_executable)  # type: ignore[attr-defined]
    library = Path(sysconfig.get_path("stdlib"))
    extensions = [str(p) for p in library.glob("lib-dynload/*.so") if not LEFT_OUT.search(str(p))]
    linked = _run("ldd", program, *extensions).stdout.decode()
    found = {program, "/etc/ld.so.cache", *re.findall(r"(/\S+) \(0x", linked)}
    found |= {str(p) for p in library.rglob("*") if not LEFT_OUT.search(f"{p}")}
    files = sorted(path for path in found if Path(path).is_file())
    made: set[str] = set()
    for mode, folder in [(0o1777, "/tmp"), *((0o755, f"/{n}") for n in ("dev", "proc", "sys"))]:  # noqa: S108
        made.add(folder)
        _add_folder(tar, folder, mode)
    for path in files:
        for folder in reversed(Path(path).parents[:-1]):
            if str(folder) not in made:
                made.add(str(folder))
                _add_folder(tar, str(folder), 0o755)
        entry = tar.gettarinfo(path, path[1:])
        if entry.issym() or entry.islnk():
            entry = tar.gettarinfo(os.path.realpath(path), path[1:])
            entry.type = tarfile.REGTYPE
            entry.size = Path(path).stat().st_size
        # Readable for whoever the container's user is.
        entry.mode |= 0o444 | (0o111 if entry.mode & 0o100 else 0)
        with Path(path).open("rb") as stream:
            tar.addfile(entry, stream)
    for folder in ("/usr", "/usr/bin"):
        if folder not in made:
            _add_folder(tar, folder, 0o755)
    link = tarfile.TarInfo(PYTHON[1:])
    link.type, link.linkname = tarfile.SYMTYPE, program
    tar.addfile(link)


def _add_folder(tar: tarfile.TarFile, path: str, mode: int) -> None:
    entry = tarfile.TarInfo(path[1:])
    entry.type, entry.mode = tarfile.DIRTYPE, mode
    tar.addfile(entry)


def _run(
    *command: str,
    environment: dict[str, str] | None = None,
    check: bool = True,
    timeout: float = 120,
    **options: object,
) -> subprocess.CompletedProcess[bytes]:
    if "input" not in options:
        options["stdin"] = subprocess.DEVNULL
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        command,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        check=check,
        timeout=timeout,
        **options,
    )


def _told(error: Exception) -> str:
    said = getattr(error, "stderr", None) or b""
    last = said.decode(errors="replace").strip().splitlines()[-1:]
    return f"{error}" + "".join(f" ({line})" for line in last)


def main() -> None:
    """Prepare this machine and say what was found."""
    for kind in ("docker", "podman"):
        engine, reason = find_engine(kind)
        with suppress(BrokenPipeError):
            print(json.dumps({kind: engine.__dict__ if engine else reason}))  # noqa: T201


if __name__ == "__main__":
    main()
