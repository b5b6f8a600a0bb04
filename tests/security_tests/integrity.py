"""What a host looks like from inside: its interpreter, its process, its memory, what it owns."""

from __future__ import annotations

import builtins
import gc
import json
import os
import random
import re
import resource
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from langchain_replm.sandbox import _wire

HOST = {"state": "as it was"}
"""Something that only the host changes."""

SIGNALS = [n for n in signal.valid_signals() if n not in (signal.SIGKILL, signal.SIGSTOP)]
SETTLE_SECONDS = 0.1


def fingerprint() -> dict[str, Any]:
    """Everything global that an attack might change."""
    return {
        "state": dict(HOST),
        "builtins": {name: id(value) for name, value in vars(builtins).items() if name != "_"},
        "modules": {name: id(sys.modules.get(name)) for name in ("os", "sys", "json", "__main__")},
        "functions": [id(json.dumps.__code__), id(json.loads), id(os.listdir), id(_wire.clean)],
        "session": {name: id(value) for name, value in vars(_wire.Session).items()},
        "streams": [id(sys.stdout), id(sys.stderr), id(sys.stdin)],
        "hooks": [id(sys.excepthook), id(sys.displayhook), id(sys.unraisablehook)],
        "thread hooks": [id(threading.excepthook), threading.gettrace(), threading.getprofile()],
        "path": list(sys.path),
        "meta path": [id(finder) for finder in sys.meta_path],
        "environ": dict(os.environ),
        "folder": os.getcwd(),
        "umask": _umask(),
        "signals": {number: signal.getsignal(number) for number in SIGNALS},
        "limits": {name: resource.getrlimit(getattr(resource, name)) for name in _LIMITS},
        "ids": (*os.getresuid(), *os.getresgid()),
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
        "recursion": sys.getrecursionlimit(),
        "switching": sys.getswitchinterval(),
        "collector": (gc.isenabled(), gc.get_threshold(), len(gc.callbacks)),
        "random": hash(random.getstate()),
        "standard": [os.readlink(f"/proc/self/fd/{fd}") for fd in (1, 2)],
    }


_LIMITS = ("RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_NOFILE", "RLIMIT_FSIZE", "RLIMIT_STACK")


def _umask() -> int:
    old = os.umask(0o22)
    os.umask(old)
    return old


def differences(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Name what is not as it was."""
    return ", ".join(name for name, value in before.items() if after[name] != value)


class Leftovers:
    """Counts threads, children and descriptors around an attack that opens and closes a session.

    Args:
        is_exact: Whether the session is opened and closed inside; else only threads of the host's
            own making count.
    """

    def __init__(self, *, is_exact: bool) -> None:
        self._is_exact = is_exact
        self.found: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._before = _owned()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._is_exact:
            return
        deadline = time.monotonic() + SETTLE_SECONDS
        while (now := _owned()) != self._before and time.monotonic() < deadline:
            time.sleep(0.01)
        more = {name: now[name] - count for name, count in self._before.items()}
        more = {name: count for name, count in more.items() if count > 0}
        if more:
            self.found["left"] = str(more)


def _owned() -> dict[str, int]:
    children = 0
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # the thread has ended meanwhile
            children += len((task / "children").read_text().split())
    threads = len(list(Path("/proc/self/task").iterdir()))
    return {
        "children": children,
        "threads": threads,
        "descriptors": len(os.listdir("/proc/self/fd")),
    }


_peaks: dict[str, int] = {}


def forget_peaks() -> None:
    """Measure growth from here on."""
    Path("/proc/self/clear_refs").write_text("5")
    now = _memory()
    _peaks.update(VmHWM=now["VmRSS"], VmPeak=now["VmPeak"])


def growth(resident: int, addresses: int) -> dict[str, str]:
    """Say by how much this process has grown at most, if it is too much."""
    now = _memory()
    grown = {name: now[name] - _peaks[name] for name in ("VmHWM", "VmPeak")}
    if grown["VmHWM"] > resident or grown["VmPeak"] > addresses:
        return {"grew": f"{grown['VmHWM'] >> 20} MB, {grown['VmPeak'] >> 20} MB of addresses"}
    return {}


def _memory() -> dict[str, int]:
    text = Path("/proc/self/status").read_text()
    return {name: int(kb) << 10 for name, kb in re.findall(r"(Vm\w+):\s+(\d+) kB", text)}
