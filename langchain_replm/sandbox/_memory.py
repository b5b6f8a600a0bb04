"""Watches the resident memory of a worker where the system itself sets no limit to it (macOS)."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import weakref
from pathlib import Path
from struct import unpack_from
from typing import TYPE_CHECKING, Final

from langchain_replm.sandbox._child import ProcessTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from langchain_replm.sandbox._child import Child
    from langchain_replm.sandbox.base import Exchanged

EXTRA_BYTES: Final = 512 * 1024 * 1024
"""Room beside a large context, for which the limit makes way."""

WATCH_SECONDS: Final = 0.1
"""Between two looks; a worker can take about a gigabyte in that time."""

PROC_PIDTASKINFO, TASKINFO_BYTES = 4, 96
"""`sys/proc_info.h`: the number and the size of `struct proc_taskinfo`."""


def _of_linux(pid: int) -> int | None:
    try:
        pages = Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]
    except OSError:
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _of_macos(pid: int) -> int | None:
    library = ctypes.CDLL("/usr/lib/libproc.dylib")
    data = ctypes.create_string_buffer(TASKINFO_BYTES)
    got = library.proc_pidinfo(pid, PROC_PIDTASKINFO, ctypes.c_uint64(0), data, TASKINFO_BYTES)
    return resident_of_taskinfo(data.raw) if got == TASKINFO_BYTES else None


def resident_of_taskinfo(data: bytes) -> int:
    """Read `pti_resident_size`, which stands after `pti_virtual_size`."""
    return int(unpack_from("=QQ", data)[1])


READERS: Final[dict[str, Callable[[int], int | None]]] = {"linux": _of_linux, "darwin": _of_macos}


def resident_bytes(pid: int) -> int | None:
    """Give the resident memory of a process; None if it is gone or cannot be looked at."""
    reader = READERS.get(sys.platform)
    return None if reader is None else reader(pid)


class WatchedTransport(ProcessTransport):
    """The conversation with a child process that is killed when it takes too much memory.

    Args:
        child: The worker.
        memory_bytes: Most resident memory; a large context raises it as it does in the jail.
    """

    def __init__(self, child: Child, memory_bytes: int) -> None:
        super().__init__(child)
        self._sent_bytes = 0
        self._memory_bytes = memory_bytes
        self._is_over = threading.Event()
        # Holds no reference to this transport, so that a forgotten one is still collected.
        watched = weakref.WeakMethod(self._look)
        arguments = (watched, self._is_over)
        threading.Thread(
            target=_watch, args=arguments, name="rlm-session-memory", daemon=True
        ).start()

    def exchange(self, data: Iterable[bytes], timeout_seconds: float | None) -> Exchanged:
        """Send and receive; see `Transport.exchange`."""
        return super().exchange(self._counted(data), timeout_seconds)

    def close(self) -> None:
        """End the watch too."""
        self._is_over.set()
        super().close()

    def _counted(self, data: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in data:
            self._sent_bytes += len(chunk)
            yield chunk

    def _look(self) -> bool:
        """Look once; False when there is nothing more to watch."""
        found = resident_bytes(self.pid)
        if found is None:
            return False
        if found <= max(self._memory_bytes, 4 * self._sent_bytes + EXTRA_BYTES):
            return True
        # The end of file is news; `kill` would say that we wanted it.
        self._child.signal(signal.SIGKILL, group=True)
        return False


def _watch(look: weakref.WeakMethod[Callable[[], bool]], is_over: threading.Event) -> None:
    while not is_over.wait(WATCH_SECONDS):
        method = look()
        if method is None or not method():
            return
