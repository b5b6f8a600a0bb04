"""Resident memory, as Linux tells it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path


def resident(pid: int | str = "self") -> int:
    """Bytes of memory that a process holds now."""
    return _status("VmRSS", pid)


def peak() -> int:
    """Most bytes that this process has held since `forget_peak`."""
    return _status("VmHWM", "self")


def forget_peak() -> None:
    """Let `peak` start anew from what is held now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_growth(run: Callable[[], object]) -> int:
    """By how many bytes this process grows at most while something runs."""
    forget_peak()
    before = resident()
    run()
    return max(0, peak() - before)


def children() -> list[int]:
    """Process ids of our children, whichever thread has started them."""
    tasks = Path("/proc/self/task").iterdir()
    return [int(pid) for task in tasks for pid in (task / "children").read_text("ascii").split()]


def _status(name: str, pid: int | str) -> int:
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(rf"{name}:\s+(\d+) kB", text)
    return int(found[1]) * 1024 if found else 0
