"""A worker on a machine that we reach by running commands: the part that runs over there.

Uploaded and started by `deepagents.py` as `python _remote.py VERB FOLDER ...`; standard library
only. `serve` stays in the background: it owns the worker, feeds it from the named pipe `in` and
puts what it says into the file `out`. The other verbs are short commands of the host.

| verb        | arguments               | what it does                                            |
| ----------- | ----------------------- | ------------------------------------------------------- |
| `serve`     |                         | start the worker that `config` describes; end it when   |
|             |                         | no host has asked for `idle_seconds`                    |
| `put`       | data                    | hand data to the worker                                 |
| `step`      | nonce, seen, wait, data | the same, then wait for more than `seen` bytes of its   |
|             |                         | output and tell it in one line                          |
| `end`       |                         | kill the worker                                         |

Data is Base64, or `@` if it is in the file `upload`, or `-` for none.
The line of `step` is `nonce:size:state:data`: how many bytes follow after `seen`, whether more can
come ("open" or "ended"), and the bytes in Base64, or nothing if they are in the file `chunk`.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

CHUNK_BYTES = 1 << 20
"""Most output of one step."""

LINE_BYTES = 24 * 1024
"""Most output that goes into the line itself; backends cut long output of commands."""

UNREAD_BYTES = 32 << 20
"""Output that waits for the host; beyond it the worker has to wait."""

UNREAD_SECONDS = 20.0
"""A worker reads at all times, cell or not; one that does not for so long is hostile."""

ALIVE_SECONDS = 2.0
"""How often the server looks whether a host is still asking."""


def serve(folder: Path) -> None:
    """Start a worker in the background, and own it until it or the host has ended."""
    if sys.version_info < (3, 11):  # noqa: UP036 - over there it may be any
        sys.exit(f"cells need Python 3.11 or newer; this one is {sys.version.split()[0]}")
    config = json.loads((folder / "config").read_text())
    os.mkfifo(folder / "in")
    # Open for both, so that the worker never reads an end of file between two commands.
    reader = os.open(folder / "in", os.O_RDWR)
    (folder / "asked").write_text("0")
    (folder / "out").touch()
    if os.fork():
        os._exit(0)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    output, writer = os.pipe()
    with (folder / "errors").open("wb") as errors:
        worker = subprocess.Popen(  # noqa: S603 - our own program
            [*config["command"], str(reader), str(writer)],
            pass_fds=(reader, writer),
            env=config["environment"],
            stderr=errors,
            start_new_session=True,
        )
    os.close(writer)
    (folder / "worker").write_text(str(worker.pid))
    try:
        _collect(folder, output, config["idle_seconds"])
    finally:
        _signal(worker.pid, signal.SIGKILL)
        worker.wait()
        if folder.exists():
            (folder / "ended").touch()


def _collect(folder: Path, output: int, idle_seconds: float) -> None:
    size = 0
    with (folder / "out").open("ab", buffering=0) as out:
        while True:
            asked = folder / "asked"
            if not asked.exists() or time.time() - asked.stat().st_mtime > idle_seconds:
                return
            if size - int(asked.read_text() or 0) > UNREAD_BYTES:
                time.sleep(0.05)
                continue
            if not select.select([output], [], [], ALIVE_SECONDS)[0]:
                continue
            data = os.read(output, 1 << 16)
            if not data:
                return
            out.write(data)
            size += len(data)


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def step(folder: Path, nonce: str, seen: int, wait_seconds: float) -> None:
    """Wait for output beyond `seen`, and print a line about it."""
    (folder / "asked").write_text(str(seen))
    deadline, pause = time.monotonic() + wait_seconds, 0.002
    while True:
        os.utime(folder / "asked")  # a host that waits is still there
        # In this order: what was said before the end must not be missed.
        ended = (folder / "ended").exists()
        size = (folder / "out").stat().st_size
        if size > seen or ended or time.monotonic() >= deadline:
            break
        time.sleep(pause)
        pause = min(0.05, pause * 1.5)
    with (folder / "out").open("rb") as out:
        out.seek(seen)
        chunk = out.read(CHUNK_BYTES)
    state = "ended" if ended and seen + len(chunk) >= size else "open"
    if len(chunk) > LINE_BYTES:
        (folder / "chunk").write_bytes(chunk)
    line = "" if len(chunk) > LINE_BYTES else base64.b64encode(chunk).decode()
    print(f"{nonce}:{len(chunk)}:{state}:{line}:")  # noqa: T201 - the answer to the host


def put(folder: Path, data: str) -> None:
    """Write to the worker's pipe, for as long as the worker reads."""
    if data == "-":
        return
    given = (folder / "upload").read_bytes() if data == "@" else base64.b64decode(data)
    try:
        writer = os.open(folder / "in", os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return  # nobody reads: all has ended, which `step` tells
        raise
    view, read_at = memoryview(given), time.monotonic()
    while view and not (folder / "ended").exists():
        try:
            view = view[os.write(writer, view) :]
            read_at = time.monotonic()
        except BrokenPipeError:
            break
        except BlockingIOError:
            if time.monotonic() - read_at > UNREAD_SECONDS:
                end(folder)
            select.select([], [writer], [], 0.2)
    os.close(writer)


def end(folder: Path) -> None:
    """Kill the worker; the server notes its end."""
    _signal(int((folder / "worker").read_text()), signal.SIGKILL)


def main() -> None:
    """Run one verb."""
    verb, folder, *rest = sys.argv[1:]
    path = Path(folder)
    if verb == "serve":
        serve(path)
    elif verb == "put":
        put(path, rest[0])
    elif verb == "step":
        put(path, rest[3])
        step(path, rest[0], int(rest[1]), float(rest[2]))
    elif verb == "end":
        end(path)


if __name__ == "__main__":
    main()
