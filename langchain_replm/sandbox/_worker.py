"""The worker: reads cells from one descriptor, runs them, writes what came of it to another.

Started as `python ... _worker.py READ_FD WRITE_FD [JAIL]` it is a program of its own that needs
nothing but the standard library and its sibling files, so that any launcher can start it: a plain
child, a container, another machine. JAIL is a JSON object, see `_jail.apply`; without it the
launcher has built the wall itself. With `Local` the program runs inside the host's process (mode
"none").

The wire is described in `_wire.py`. Two threads: one reads frames and hands replies to the threads
that wait for them; the other, the main thread of the program, runs cells. The first one also ends
the program when the host is gone, even while a cell burns.
"""

from __future__ import annotations

import json
import os
import sys
from _queue import SimpleQueue
from _thread import allocate_lock, start_new_thread
from struct import unpack_from

# As in `typing`, whose import would cost a worker a quarter of its start.
TYPE_CHECKING = False


def _load(name: str) -> Any:
    """Load a sibling file; `importlib` would look on `sys.path`, where it is not."""
    from importlib.machinery import SourceFileLoader  # noqa: PLC0415 - only outside the package
    from types import ModuleType  # noqa: PLC0415

    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name + ".py")  # noqa: PTH100, PTH118, PTH120 - pathlib is slow to import
    module = ModuleType(name)
    module.__file__ = path
    # Under its name only while the siblings load: cells shall not find it.
    sys.modules[name] = module
    SourceFileLoader(name, path).exec_module(module)
    return module


if TYPE_CHECKING or __package__:
    from langchain_replm.sandbox import _worker_repl, _worker_text
else:
    _worker_text = _load("_worker_text")
    _load("_worker_schema")
    _worker_repl = _load("_worker_repl")
    del sys.modules["_worker_text"], sys.modules["_worker_schema"], sys.modules["_worker_repl"]

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, BinaryIO, NoReturn

WIRE_VERSION = 1
HEADER_BYTES = 5
READ_BYTES = 1 << 20
WAIT_SECONDS = 0.5
MAX_DEPTH = 90
"""Most that the arguments of a tool may be nested; the host's own limit is a little higher."""


class GoneError(Exception):
    """The host has closed its side."""


class Link:
    """The worker's end of the wire.

    Args:
        read_fd: Where frames of the host come from.
        write_fd: Where our frames go.
        by_thread: Write from a thread of its own. An exception that is injected into a thread, as
            `LocalSandbox` does to interrupt a cell, may come between any two steps; in a process
            the signal handler knows not to raise while a frame is on its way.
    """

    def __init__(self, read_fd: int, write_fd: int, *, by_thread: bool = False) -> None:
        self.frame_bytes = 1 << 24
        self.repl: _worker_repl.Repl | None = None
        self.commands: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        self._stream: BinaryIO = open(read_fd, "rb", buffering=READ_BYTES)  # noqa: SIM115 - see close
        self._write_fd = write_fd
        self._owner = os.getpid()
        self._lock = allocate_lock()
        self._count = 0
        self._waiting: dict[int, tuple[Any, list[Any]]] = {}
        self._cell: str | None = None
        self._outbox: SimpleQueue[bytes | None] | None = SimpleQueue() if by_thread else None
        if by_thread:
            start_new_thread(self._write_outbox, ())

    # Reading.

    def read_frame(self) -> tuple[bytes, bytes]:
        """Read one frame.

        Raises:
            GoneError: The host has closed its side.
        """
        header = self._read_exactly(HEADER_BYTES)
        return header[4:], self._read_exactly(int.from_bytes(header[:4], "big"))

    def read_message(self) -> dict[str, Any]:
        """Read one JSON frame."""
        _, payload = self.read_frame()
        message: dict[str, Any] = json.loads(payload.decode("utf-8", "surrogatepass"))
        return message

    def read_blob(self, size: int) -> bytearray:
        """Read raw frames until `size` bytes are together, without a second copy."""
        blob = bytearray(size)
        view, done = memoryview(blob), 0
        while done < size:
            length = int.from_bytes(self._read_exactly(HEADER_BYTES)[:4], "big")
            end = done + length
            while done < end:
                got = self._stream.readinto(view[done:end])  # type: ignore[attr-defined]
                if not got:
                    raise GoneError
                done += got
        return blob

    def _read_exactly(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) < size:
            raise GoneError
        return data

    def control(self) -> None:
        """Read frames until the host is gone: the work of the control thread."""
        try:
            while True:
                message = self.read_message()
                if message["type"] == "reply":
                    # A reply that nobody waits for belongs to a cell that was interrupted.
                    lock, slot = self._waiting.pop(message["id"], (None, []))
                    if lock is not None:
                        slot.append(message["results"])
                        lock.release()
                else:
                    if message["type"] == "renew":
                        message["given"] = _given(self, message)
                    self.commands.put(message)
        except (GoneError, OSError, ValueError):
            self.commands.put(None)

    def close(self) -> None:
        """Give back both descriptors, at the end of a session in the host's process."""
        self._stream.close()
        if self._outbox is not None:
            self._outbox.put(None)

    # Writing.

    def send(self, message: dict[str, Any]) -> None:
        """Write one message."""
        frame = encode(message)
        with self._lock:
            self.write_frame(frame)

    def finish(self, message: dict[str, Any]) -> None:
        """Write the message that ends a cell; no call of that cell can come after it."""
        frame = encode(message)
        if len(frame) - HEADER_BYTES > self.frame_bytes:
            message["answer"] = None
            message["status"] = "error"
            message["error"] = f"the result of the cell is {len(frame):,} bytes, too many to send"
            frame = encode(message)
        with self._lock:
            self._cell = None
            self.write_frame(frame)
        self.abandon_calls()

    def begin(self, cell_id: str) -> None:
        """Allow calls: a cell starts."""
        self._cell = cell_id

    def write_frame(self, frame: bytes) -> None:
        """Write all bytes; the interrupt handler knows this function by its name."""
        if os.getpid() != self._owner:
            # A cell has forked; two processes on one wire would garble it.
            os._exit(0)
        if self._outbox is not None:
            self._outbox.put(frame)
            return
        view = memoryview(frame)
        while view:
            view = view[os.write(self._write_fd, view) :]

    def _write_outbox(self) -> None:
        outbox = self._outbox
        try:
            while outbox is not None and (frame := outbox.get()) is not None:
                view = memoryview(frame)
                while view:
                    view = view[os.write(self._write_fd, view) :]
        except OSError:
            pass  # the host is gone, and the control thread sees it too
        os.close(self._write_fd)

    # Calls.

    def call(self, function: str, kind: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Ask the host from any thread of the running cell, and wait for its results."""
        frame_of = _sized(function, kind, items, self.frame_bytes)
        repl = self.repl
        done = allocate_lock()
        done.acquire()
        slot: list[Any] = []
        with self._lock:
            if self._cell is None or repl is None or repl.is_late():
                msg = f"{function} was called by a thread of a cell that has ended"
                raise RuntimeError(msg)
            if repl.interrupted and not repl.is_cell_thread():
                # A thread pool would otherwise work off its queue before it lets the cell go.
                msg = f"{function} was called by a thread of a cell that was interrupted"
                raise RuntimeError(msg)
            self._count += 1
            number = self._count
            self._waiting[number] = (done, slot)
            self.write_frame(frame_of(number, self._cell))
        try:
            if repl.take_interrupt():
                raise KeyboardInterrupt
            # A signal that comes just before a wait begins does not end it, so waits are short.
            while not done.acquire(timeout=WAIT_SECONDS):
                pass
        finally:
            self._waiting.pop(number, None)
        if slot:
            results: list[dict[str, Any]] = slot[0]
            return results
        if repl.is_cell_thread():
            raise KeyboardInterrupt
        msg = f"{function} got no reply, because its cell ended or was interrupted"
        raise RuntimeError(msg)

    def abandon_calls(self) -> None:
        """Let every thread that waits for a reply go; it gets an error instead."""
        for lock in self.take_waiting():
            lock.release()

    def take_waiting(self) -> list[Any]:
        """Give the locks in which threads wait for replies; whoever takes them releases them."""
        taken = [self._waiting.pop(number, None) for number in list(self._waiting)]
        return [waiting[0] for waiting in taken if waiting is not None]


def encode(message: dict[str, Any]) -> bytes:
    """Make the frame of one message."""
    text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
    payload = text.encode("utf-8", "surrogatepass")
    return len(payload).to_bytes(4, "big") + b"J" + payload


def _sized(
    function: str, kind: str, items: list[dict[str, Any]], limit: int
) -> Callable[[int, str], bytes]:
    """Encode the items of a call, or say with numbers why they are too many."""
    what = {"tool": "arguments", "llm_query": "prompts"}.get(kind, "queries and contexts")
    advice = "send less" if len(items) == 1 else "split the batch"

    def refuse(count: int, unit: str) -> NoReturn:
        msg = (
            f"the {what} of this call are {count:,} {unit} together; "
            f"at most {limit:,} bytes can be sent in one call; {advice}"
        )
        raise ValueError(msg)

    # Counted before anything is encoded, for the encoding would be as long again.
    chars = sum(len(item.get("prompt", "")) + _chars(item.get("context")) for item in items)
    if chars > limit:
        refuse(chars, "characters")
    if kind == "tool" and _is_too_deep(items, MAX_DEPTH):
        msg = f"the arguments of {function} are nested more than {MAX_DEPTH} levels deep"
        raise ValueError(msg)
    try:
        text = json.dumps(items, ensure_ascii=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        reason = f"{function} takes JSON values only: {error}"
        raise TypeError(reason) from None
    payload = text.encode("utf-8", "surrogatepass")
    # The envelope around the items is short.
    if len(payload) + 1024 > limit:
        refuse(len(payload), "bytes")
    names = json.dumps({"type": "call", "function": function, "kind": kind})[:-1].encode()

    def frame_of(number: int, cell: str) -> bytes:
        own = json.dumps(cell).encode()
        body = b'%s,"id":%d,"cell":%s,"items":%s}' % (names, number, own, payload)
        return len(body).to_bytes(4, "big") + b"J" + body

    return frame_of


def _is_too_deep(value: object, left: int) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list | tuple):
        return False
    return left < 0 or any(_is_too_deep(item, left - 1) for item in value)


def _chars(context: Any) -> int:
    return sum(map(len, context)) if isinstance(context, list) else len(context or "")


def _read_context(link: Link, shape: dict[str, Any]) -> Any:
    blob = link.read_blob(shape["bytes"])
    if shape["kind"] == "str":
        return blob.decode("utf-8", "surrogatepass")
    count = shape["items"]
    lengths, start = unpack_from(f"<{count}Q", blob), 8 * count
    items = []
    for length in lengths:
        end = start + length
        items.append(blob[start:end].decode("utf-8", "surrogatepass"))
        start = end
    return items


def harden(setup: dict[str, Any], jail: dict[str, Any]) -> None:
    """Give up what cells must not have; a worker that cannot do so ends here.

    Called in the program's only thread, after the imports and the loading of the context, before
    the first other thread and before "ready".
    """
    _jail = _load("_jail")
    del sys.modules["_jail"]
    _jail.apply(jail, max(setup["context"]["bytes"], setup["room_bytes"]))
    # From here on nothing reaches the host but frames.
    os.dup2(1, 2)


def _given(link: Link, message: dict[str, Any]) -> dict[str, Any]:
    """The names and values of the datum that a message brings."""
    given: dict[str, Any] = {}
    if message["context"]["kind"] != "none":
        given["context"] = _read_context(link, message["context"])
    for name in ("context_metadata", "history"):
        if message[name] is not None:
            given[name] = message[name]
    return given


def read_setup(link: Link) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the setup and the context; give the setup, and names and values of the datum."""
    setup = link.read_message()
    given = _given(link, setup)
    link.frame_bytes = setup["limits"]["frame_bytes"]
    return setup, given


def _open_session(
    link: Link,
    shared: dict[str, Any],
    *,
    in_process: bool,
    jail: dict[str, Any] | None = None,
) -> _worker_repl.Repl:
    """Read the setup and the context, build the REPL, and go to jail if there is to be one."""
    setup, given = read_setup(link)
    given.update(shared)
    repl = _worker_repl.Repl(setup, given, link.call, in_process=in_process)
    link.repl = repl
    repl.abandon_calls = link.abandon_calls
    if jail is not None:
        try:
            harden(setup, jail)
        except Exception as error:  # noqa: BLE001 - whatever it is, no cell may run
            os.write(2, f"{type(error).__name__}: {error}".encode()[:2000])
            os._exit(1)
    return repl


def _serve_commands(link: Link, repl: _worker_repl.Repl, shared: dict[str, Any]) -> None:
    while (command := link.commands.get()) is not None:
        if command["type"] == "renew":
            repl.renew({**command["given"], **shared})
            link.send({"type": "ready", "version": WIRE_VERSION, "python": sys.version})
            continue
        link.begin(command["id"])
        if command["type"] == "execute":
            message = repl.execute(command["id"], command["code"])
        else:
            message = repl.submit(command["id"], command["kind"], command["text"])
        link.finish(message)


class Local:
    """A worker inside the host's process: the same program in a thread of its own.

    Args:
        read_fd: Where frames of the host come from; closed at the end.
        write_fd: Where our frames go; closed at the end.
        shared: Names and live objects for the REPL, read when the setup arrives.
    """

    def __init__(self, read_fd: int, write_fd: int, shared: dict[str, Any]) -> None:
        self._link = Link(read_fd, write_fd, by_thread=True)
        self._shared = shared
        self._lock = allocate_lock()
        self._thread: int | None = None
        self._sent = False
        self._repl: _worker_repl.Repl | None = None

    def serve(self) -> None:
        """Run cells until the host closes its side."""
        try:
            repl = self._repl = _open_session(self._link, self._shared, in_process=True)
            repl.conductor = self._conduct
            self._link.send({"type": "ready", "version": WIRE_VERSION, "python": sys.version})
            start_new_thread(self._control, ())
            _serve_commands(self._link, repl, self._shared)
        except (GoneError, OSError):
            pass
        finally:
            self._link.close()

    def interrupt(self) -> bool:
        """Raise `KeyboardInterrupt` in the running cell at its next step of Python."""
        import ctypes  # noqa: PLC0415 - only needed here

        with self._lock:
            if self._thread is None or self._repl is None:
                return False
            self._repl.interrupted = self._sent = True
            thread = ctypes.c_ulong(self._thread)
            # A thread that waits for a reply takes no step of Python, so it is let go, and here:
            # on CPython 3.11 a thread with a tracer (a debugger, coverage) enters no function until
            # the exception has been taken.
            waiting = self._link.take_waiting()
            ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(KeyboardInterrupt))
            for lock in waiting:
                lock.release()
        self._link.abandon_calls()  # those that have begun meanwhile
        return True

    def _control(self) -> None:
        self._link.control()
        # The host is gone: a cell that still runs is of use to nobody.
        self.interrupt()

    def _conduct(self, body: Callable[[], None]) -> None:
        """Run a cell so that an injected exception cannot come out of it late."""
        from _thread import get_ident  # noqa: PLC0415
        from contextlib import suppress  # noqa: PLC0415

        try:
            with self._lock:
                self._thread, self._sent = get_ident(), False
            body()
        finally:
            # An exception on its way may come between any two steps, here too.
            while self._thread is not None:
                with suppress(KeyboardInterrupt), self._lock:
                    self._thread = None
            # One that is sent but has not come is taken in by a loop. It is not called back with
            # NULL: on CPython 3.11 that leaves a flag set with which every tracer hangs.
            with suppress(KeyboardInterrupt):
                for _ in range(1_000 if self._sent else 0):
                    pass


def open_process(link: Link, *, jail: dict[str, Any] | None) -> _worker_repl.Repl:
    """Open the session of a process of its own."""
    return _open_session(link, {}, in_process=False, jail=jail)


def main(open_session: Callable[..., Any] = open_process) -> None:
    """Run the program; another kind of REPL needs only another `open_session`."""
    # The module `signal` around it is slower to import.
    import _signal as signal  # type: ignore[import-not-found]  # noqa: PLC0415

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    read_fd, write_fd = int(sys.argv[1]), int(sys.argv[2])
    if (read_fd, write_fd) == (0, 1):
        read_fd, write_fd = _hide_standard_streams()
    jail = json.loads(sys.argv[3]) if len(sys.argv) > 3 else None  # noqa: PLR2004 - see above
    # Programs that a cell may start must not hold the wire open.
    os.set_inheritable(read_fd, False)
    os.set_inheritable(write_fd, False)
    sys.argv[:] = sys.orig_argv[:] = [""]
    if jail is not None and jail["lifeline"] >= 0:
        _hold_lifeline(jail["lifeline"])
    link = Link(read_fd, write_fd)
    try:
        repl = open_session(link, jail=jail)
        signal.signal(signal.SIGINT, repl.on_interrupt)
        start_new_thread(_control_process, (link,))
        link.send({"type": "ready", "version": WIRE_VERSION, "python": sys.version})
        _serve_commands(link, repl, {})
    except (GoneError, OSError):
        pass
    os._exit(0)


def _hide_standard_streams() -> tuple[int, int]:
    """Move the wire to descriptors of its own, so that nothing that is printed reaches it."""
    moved = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1):
        os.dup2(null, fd)
    if os.name == "nt":
        import msvcrt  # noqa: PLC0415 - Windows only

        for fd in moved:
            msvcrt.setmode(fd, os.O_BINARY)  # type: ignore[attr-defined,unused-ignore]
    return moved


def _hold_lifeline(fd: int) -> None:
    """Let the kernel kill us when the host is gone, even inside of C code that never returns.

    Only the host holds the other end of this pipe, and nobody writes to it. Not PR_SET_PDEATHSIG:
    that fires when the *thread* of the host that started us ends. Where signals cannot be chosen
    like this (macOS), the control thread is what ends us.
    """
    import fcntl  # noqa: PLC0415 - only where there is a lifeline

    os.set_inheritable(fd, False)
    if not hasattr(fcntl, "F_SETSIG"):
        return
    # With the programs that the worker has started, if the group is its own.
    is_leader = os.getpgrp() == os.getpid()
    fcntl.fcntl(fd, fcntl.F_SETOWN, -os.getpid() if is_leader else os.getpid())
    fcntl.fcntl(fd, fcntl.F_SETSIG, 9)
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    try:
        # The host may have died before the signal was armed: an end of file, then.
        os.read(fd, 1)
        os._exit(1)
    except BlockingIOError:
        pass


def _control_process(link: Link) -> None:
    try:
        link.control()
    finally:
        os._exit(0)


if __name__ == "__main__":
    main()
