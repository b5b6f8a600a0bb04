"""What a Deep Agents backend is asked for: files and commands that carry the wire.

Rules:

1. All that comes back was made over there: it is judged by size and form, and is never code.
2. A backend may hang; whatever is asked of it is asked in a thread, and waited for elsewhere.
"""

from __future__ import annotations

import base64
import json
import re
import shlex
import uuid
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from langchain_replm.errors import SandboxError
from langchain_replm.sandbox._child import ENVIRONMENT, REAP_SECONDS
from langchain_replm.sandbox._remote import CHUNK_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

INLINE_BYTES: Final = 48 * 1024
"""Most data that goes along in a command; Linux takes 128 KiB for one argument."""

UPLOAD_BYTES: Final = 8 * 1024 * 1024
"""Data that is uploaded at once."""

STEP_SECONDS: Final = 20.0
"""Longest wait of one command; backends end commands that run for long."""


class Backend(Protocol):
    """What is used of Deep Agents' `SandboxBackendProtocol`."""

    def execute(self, command: str, /) -> Any:
        """Run a command to its end; the result has `output` and `exit_code`."""

    def upload_files(self, files: list[tuple[str, bytes]], /) -> Any:
        """Write files; each result has `error`."""

    def download_files(self, paths: list[str], /) -> Any:
        """Read files; each result has `content` and `error`."""


class Remote:
    """The folder and the worker of one session over there.

    Raises:
        SandboxError: The backend did not do what it was asked for.
    """

    def __init__(self, backend: Backend, *, folder: str, python: str) -> None:
        self._backend = backend
        self._folder = f"{folder.rstrip('/')}/langchain_replm-{uuid.uuid4().hex}"
        self._python = python
        self._nonce = uuid.uuid4().hex
        self._line = re.compile(rf"{self._nonce}:(\d{{1,9}}):(open|ended):([A-Za-z0-9+/=]*):")
        self._seen = 0
        self._pool = ThreadPoolExecutor(max_workers=3, thread_name_prefix="rlm-session-remote")
        self._sending: Future[None] | None = None
        self._last: list[Future[Any]] = []

    def start(self, flags: list[str], idle_seconds: float) -> None:
        """Upload the programs and start the worker."""
        here = Path(__file__).parent
        files = {path.name: path.read_bytes() for path in here.glob("_worker*.py")}
        files["_remote.py"] = (here / "_remote.py").read_bytes()
        config = {
            "command": [self._python, *flags, f"{self._folder}/_worker.py"],
            "environment": ENVIRONMENT,
            "idle_seconds": idle_seconds,
        }
        files["config"] = json.dumps(config).encode()
        self._upload(files)
        self._run("serve")

    def submit(self, call: Any, *arguments: Any) -> Future[Any]:
        """Do something in a thread, so that a backend that hangs holds up nobody."""
        future = self._pool.submit(call, *arguments)
        self._last = [*(one for one in self._last if not one.done()), future]
        return future

    def send(self, chunks: Iterator[bytes]) -> Future[None]:
        """Hand data over while a step is waiting; in the order of the calls."""
        before = self._sending
        self._sending = self.submit(self._send, chunks, before)
        return self._sending

    def step(self, chunks: Iterator[bytes], wait_seconds: float) -> tuple[bytes, bool]:
        """Hand data over, wait for output; give it, and whether it was the last."""
        if self._sending is not None:
            self._sending.result()
        rest = b""
        for piece in _pieces(chunks):
            if rest:
                self._put(rest)
            rest = piece
        if len(rest) > INLINE_BYTES:
            self._put(rest)
            rest = b""
        wait_text = f"{min(wait_seconds, STEP_SECONDS):.3f}"
        output = self._run("step", self._nonce, str(self._seen), wait_text, _inline(rest))
        found = self._line.search(output)
        if found is None:
            msg = f"The sandbox gave no answer that can be read: {output[-500:]!r}"
            raise SandboxError(msg)
        size, state, text = int(found[1]), found[2], found[3]
        data = _decoded(text) if text or not size else self._download("chunk")
        if len(data) != size or size > CHUNK_BYTES:
            msg = f"The sandbox gave {len(data):,} bytes of output where it said {size:,}."
            raise SandboxError(msg)
        self._seen += size
        return data, state == "ended"

    def end(self) -> None:
        """Let the worker be killed, without waiting."""
        with suppress(RuntimeError):  # closed already
            self.submit(self._end)

    def last_words(self) -> str:
        """Give what the worker wrote to its standard error, as far as it is known."""
        with suppress(SandboxError):
            return self._download("errors")[-2000:].decode("utf-8", "replace").strip()
        return ""

    def close(self) -> None:
        """End the worker and remove the folder."""
        with suppress(RuntimeError):
            self.submit(self._end)
            wait(self._last, REAP_SECONDS)
            removed = self.submit(self._backend.execute, f"rm -rf {shlex.quote(self._folder)}")
            wait([removed], REAP_SECONDS)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _end(self) -> None:
        # A worker that has ended is no trouble.
        with suppress(SandboxError):
            self._run("end")

    def _send(self, chunks: Iterator[bytes], before: Future[None] | None) -> None:
        if before is not None:
            before.result()
        for piece in _pieces(chunks):
            self._put(piece)

    def _put(self, piece: bytes) -> None:
        if len(piece) <= INLINE_BYTES:
            self._run("put", _inline(piece))
        else:
            self._upload({"upload": piece})
            self._run("put", "@")

    def _run(self, verb: str, *arguments: str) -> str:
        program = f"{self._folder}/_remote.py"
        done = self._ask(
            "execute", shlex.join([self._python, program, verb, self._folder, *arguments])
        )
        output = str(done.output)
        if done.exit_code not in (0, None):
            msg = (
                f"The sandbox could not run {verb!r} (exit code {done.exit_code}): {output[-1000:]}"
            )
            raise SandboxError(msg)
        return output

    def _upload(self, files: dict[str, bytes]) -> None:
        named = [(f"{self._folder}/{name}", data) for name, data in files.items()]
        for done in self._ask("upload_files", named):
            if done.error is not None:
                msg = f"The sandbox took no file: {done.error}"
                raise SandboxError(msg)

    def _download(self, name: str) -> bytes:
        (done,) = self._ask("download_files", [f"{self._folder}/{name}"])
        if done.error is not None or not isinstance(done.content, bytes):
            msg = f"The sandbox gave no file: {done.error}"
            raise SandboxError(msg)
        return done.content

    def _ask(self, verb: str, argument: Any) -> Any:
        try:
            return getattr(self._backend, verb)(argument)
        except Exception as error:
            msg = f"The sandbox failed to {verb}: {type(error).__name__}: {error}"
            raise SandboxError(msg) from error


def _inline(data: bytes) -> str:
    return base64.b64encode(data).decode() if data else "-"


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except ValueError as error:
        msg = f"The sandbox gave output that is no Base64: {error}"
        raise SandboxError(msg) from None


def _pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Gather small chunks, for each piece costs at least one command."""
    batch = bytearray()
    for chunk in chunks:
        if batch and len(batch) + len(chunk) > UPLOAD_BYTES:
            yield bytes(batch)
            batch.clear()
        batch += chunk
    if batch:
        yield bytes(batch)
