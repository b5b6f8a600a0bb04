"""A host to be attacked, and what shows from outside of its sandboxes that an attack got through.

Run as a program: reads a plan from its standard input, has a child process stage the attacks
(one child for all of them, or one for each where they may hurt it), and writes the effects that
were seen as JSON. It needs nothing but the standard library and our sandboxes, so that any user
and any Python can be the host.
"""

from __future__ import annotations

import ast
import ctypes
import json
import os
import select
import shutil
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.security_tests import stage

CHILD_SECONDS = 300.0
STUCK_SECONDS = 3.0
SETTLE_SECONDS = {True: 0.3, False: 10.0}
"""What is left of an attack under control is there at once; a container takes its time to end."""


def main() -> None:
    plan = json.load(sys.stdin)
    _adopt_orphans()
    report = os.dup(1)
    results: dict[str, Any] = {}
    left = list(plan["attacks"])
    # Not a TemporaryDirectory: a copy of this process that ends in order would remove it.
    work = tempfile.mkdtemp(dir="/var/tmp", prefix="host-")
    os.chmod(work, 0o755)
    try:
        while left:
            group = left[:1] if plan["alone"] else left
            found = _stage_in_child({**plan, "attacks": group, "work": work}, report)
            results |= found
            left = [attack for attack in left if attack["name"] not in found]
    finally:
        shutil.rmtree(work, ignore_errors=True)
    with os.fdopen(report, "w") as stream:
        json.dump(results, stream)


def _adopt_orphans() -> None:
    if ctypes.CDLL(None).prctl(36, 1, 0, 0, 0):  # PR_SET_CHILD_SUBREAPER
        raise OSError("what attacks leave behind could not be found")


def _stage_in_child(plan: dict[str, Any], report: int) -> dict[str, Any]:
    reader, writer = os.pipe()
    terminal = Path(plan["work"], "terminal")
    terminal.write_bytes(b"")
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            os.close(report)
            fd = os.open(terminal, os.O_WRONLY | os.O_APPEND)
            os.dup2(fd, 1)
            os.dup2(fd, 2)
            os.close(fd)
            stage.run(plan, writer, terminal)
            os._exit(0)
        finally:
            os._exit(3)
    os.close(writer)
    said, how = _watch(child, reader, _patience(plan))
    os.close(reader)
    found: dict[str, Any] = {}
    current = plan["attacks"][0]["name"]
    for line in said.decode().splitlines():
        entry = ast.literal_eval(line)
        current = entry["name"]
        if "effects" in entry:
            found[current] = entry
    if not how and current not in found:
        how = "ended without a word"  # another program may have taken its place
    if how:
        found[current] = {"effects": {"killed": how}, "saw": terminal.read_text("utf-8", "replace")}
    rest = _end_children(SETTLE_SECONDS[plan["alone"]])
    if rest:
        found[current]["effects"]["left"] = f"processes: {rest}"
    shutil.rmtree(Path(plan["work"], "scene"), ignore_errors=True)
    return found


def _patience(plan: dict[str, Any]) -> float:
    """A host that an attack has stuck never ends."""
    if not plan["alone"]:
        return CHILD_SECONDS
    return min(stage.ALONE_SECONDS, plan["attacks"][0]["seconds"]) + STUCK_SECONDS


def _watch(child: int, reader: int, seconds: float) -> tuple[bytes, str]:
    """Everything that the child reported, and how it ended if not by itself."""
    said = b""
    deadline = time.monotonic() + seconds
    while True:
        while select.select([reader], [], [], 0.02)[0] and (data := os.read(reader, 1 << 16)):
            said += data
        pid, status = os.waitpid(child, os.WNOHANG | os.WUNTRACED)
        if pid and os.WIFSTOPPED(status):
            how = "stopped"
        elif pid:
            while select.select([reader], [], [], 0)[0] and (data := os.read(reader, 1 << 16)):
                said += data
            code = os.waitstatus_to_exitcode(status)
            return said, "" if code == 0 else f"ended with {code}"
        elif time.monotonic() > deadline:
            how = "never ended"
        else:
            continue
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return said, how


def _end_children(seconds: float) -> list[str]:
    """What is still there when all should be gone; ended now."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        left = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        if not left:
            return []
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    lines = []
    for pid in left:
        lines.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode())
        os.kill(int(pid), signal.SIGKILL)
        os.waitpid(int(pid), 0)
    return lines


if __name__ == "__main__":
    main()
