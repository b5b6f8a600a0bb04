"""The wall around a worker on macOS: Seatbelt, which a process can put around itself.

`sandbox_init` is deprecated and undocumented, and yet what browsers use. Memory is watched by the
host (`_memory.py`), because macOS does not keep RLIMIT_AS. As in `_jail.py`, of which this is the
sibling, every claim is tried out from inside before the first cell.

Not run on a Mac so far: the profile and the decisions are tested, the system's answer is not.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys

# As in `typing`, whose import would cost a worker a part of its start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

LIBRARY_PATHS = (
    "/usr/lib",
    "/usr/share/zoneinfo",
    "/private/var/db/timezone",
    "/System/Library",
    "/System/Cryptexes",
    "/System/Volumes/Preboot/Cryptexes",
    "/Library/Frameworks/Python.framework",
)
"""What may be read beside Python's own directories. Never a home, /etc or a temporary file."""

DEVICES = ("/dev/null", "/dev/urandom", "/dev/random", "/dev/zero")

RULES = """\
(version 1)
(deny default)
(allow sysctl-read)
(allow signal (target self))
(allow process-info* (target self))
(allow file-read-metadata)
(allow file-read-data file-test-existence (literal "/"))
"""
"""What a Python needs whatever it runs. No fork, exec, network, mach service, or write is here."""

GUARANTEES = {
    "network": "Seatbelt",
    "file_reads": "Seatbelt",
    "file_writes": "Seatbelt",
    "exec": "Seatbelt",
    "environment": "clean environment",
    "host_memory": "Seatbelt",
    "host_signals": "Seatbelt",
    "memory_cap": "resident memory, watched by the host",
    "cpu_cap": "RLIMIT_CPU",
    "process_cap": "Seatbelt",
}


def profile(paths: Iterable[str]) -> str:
    """Give the profile that lets `paths` be read and loaded, and refuses all else.

    Raises:
        ValueError: A path has a character that no rule can hold.
    """
    lines = [f"(allow file-read* (literal {_quoted(path)}))" for path in DEVICES]
    lines += [
        f"(allow file-read* file-map-executable (subpath {_quoted(path)}))"
        for path in dict.fromkeys([*paths, *LIBRARY_PATHS])
    ]
    return RULES + "\n".join(lines) + "\n"


def _quoted(path: str) -> str:
    if not path.isprintable():
        msg = f"the path {path!r} cannot be named in a Seatbelt profile"
        raise ValueError(msg)
    escaped = path.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def seatbelt(text: str) -> None:
    """Put the calling process behind a profile, for good.

    Raises:
        OSError: macOS refused.
    """
    library = ctypes.CDLL("/usr/lib/libSystem.B.dylib", use_errno=True)
    error = ctypes.c_char_p()
    # Flags 0: the first argument is a profile, not the name of one.
    if library.sandbox_init(text.encode(), ctypes.c_uint64(0), ctypes.byref(error)):
        raise OSError(1, f"sandbox_init: {(error.value or b'').decode(errors='replace')}")


def _connect() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.connect(("192.0.2.1", 9))
        one.send(b"x")


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def trials() -> dict[str, Callable[[], object]]:
    """Give for each claim an attempt that must fail; all are harmless if they do not."""
    return {
        "network": _connect,
        "file_reads": lambda: os.listdir("/private/etc"),  # noqa: PTH208 - as all here
        "file_writes": lambda: os.close(os.open("/dev/null", os.O_WRONLY)),
        "exec": lambda: os.execv("/usr/bin/true", ["true"]),  # noqa: S606
        "host_signals": lambda: os.kill(os.getppid(), 0),
        "process_cap": _fork,
    }


def broken_claims(attempts: dict[str, Callable[[], object]]) -> list[str]:
    """Name the claims whose attempt was not refused."""
    broken = []
    for name, attempt in attempts.items():
        try:
            attempt()
        except OSError:
            continue
        broken.append(name)
    return broken


def apply(paths: Iterable[str]) -> dict[str, Any]:
    """Put the calling process behind the wall.

    Args:
        paths: What may be read, beside the system's own libraries.

    Raises:
        OSError: The wall cannot be had, or does not hold.
        ValueError: A path cannot be named.
    """
    sys.dont_write_bytecode = True
    # Rules are about real paths; /tmp, /var and /etc are links there.
    seatbelt(profile(os.path.realpath(path) for path in paths))
    if broken := broken_claims(trials()):
        raise OSError(1, f"not refused: {', '.join(broken)}")
    return {"guarantees": dict(GUARANTEES), "missing": {}, "layers": {"seatbelt": "Seatbelt"}}
