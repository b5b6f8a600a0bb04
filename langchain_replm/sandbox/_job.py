"""A Windows job object around a worker: it dies with its host, and has limits of memory and time.

Limits are all that a job gives. There is no wall for files or the network that a process could
build for another one here without an AppContainer, so the jailed modes refuse to start.

Not run on Windows so far: layout and numbers are tested, the system's answer is not.
"""

from __future__ import annotations

import ctypes
from struct import calcsize, pack
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Mapping

    from langchain_replm.sandbox.base import Guarantee

EXTENDED_LIMITS: Final = 9
"""`winnt.h`: JobObjectExtendedLimitInformation."""

PROCESS_TIME, ACTIVE_PROCESSES, PROCESS_MEMORY = 0x2, 0x8, 0x100
DIE_ON_EXCEPTION, KILL_ON_CLOSE = 0x400, 0x2000
FLAGS: Final = PROCESS_TIME | ACTIVE_PROCESSES | PROCESS_MEMORY | DIE_ON_EXCEPTION | KILL_ON_CLOSE
"""`winnt.h`: JOB_OBJECT_LIMIT_*."""

TICKS: Final = 10_000_000
"""Of 100 nanoseconds, in a second."""

LAYOUT: Final = "=qqI4xQQI4xQII" + "6Q" + "4Q"
"""JOBOBJECT_EXTENDED_LIMIT_INFORMATION on 64 bits: the basic limits (two times, flags, two sizes
of working sets, active processes, affinity, two classes), IO_COUNTERS, then the memory of a
process and of the job, and their peaks."""

GUARANTEES: Final[Mapping[Guarantee, str]] = {
    "memory_cap": "job object",
    "cpu_cap": "job object",
    "process_cap": "job object",
    "real_timeout": "TerminateProcess",
}
"""What a job object amounts to. What a cell may reach is not among it."""


def limits(*, memory_bytes: int, cpu_seconds: int, processes: int) -> bytes:
    """Give the structure that sets the limits of a job."""
    basic = (cpu_seconds * TICKS, 0, FLAGS, 0, 0, processes, 0, 0, 0)
    return pack(LAYOUT, *basic, *(0,) * 6, memory_bytes, 0, 0, 0)


def confine(
    process: subprocess.Popen[bytes], *, memory_bytes: int, cpu_seconds: int, processes: int = 1
) -> Callable[[], object]:
    """Put a process into a job of its own.

    Returns:
        What closes the job, and ends whatever is in it.

    Raises:
        OSError: Windows refused.
    """
    kernel: Any = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined,unused-ignore]
    kernel.CreateJobObjectW.restype = ctypes.c_void_p
    job = ctypes.c_void_p(kernel.CreateJobObjectW(None, None))
    data = limits(memory_bytes=memory_bytes, cpu_seconds=cpu_seconds, processes=processes)
    handle = ctypes.c_void_p(int(process._handle))  # type: ignore[attr-defined,unused-ignore]  # noqa: SLF001 - there is no other way
    if not (
        job
        and kernel.SetInformationJobObject(job, EXTENDED_LIMITS, data, calcsize(LAYOUT))
        and kernel.AssignProcessToJobObject(job, handle)
    ):
        number = ctypes.get_last_error()  # type: ignore[attr-defined,unused-ignore]
        raise OSError(number, f"the job object was refused (error {number})")
    return lambda: kernel.CloseHandle(job)
