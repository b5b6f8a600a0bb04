"""The inside of the host: one attack after the other, and a look at everything around it."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import secrets
import shutil
import socket
import threading
import time
from pathlib import Path
from typing import Any

from langchain_replm.errors import ProtocolError, SandboxError
from langchain_replm.sandbox import LocalSandbox, ProcessSandbox, Sandbox, _wire
from langchain_replm.sandbox._wire import CallRequested, CellFinished, Ready, Session, State
from langchain_replm.sandbox.base import Exchanged
from tests.security_tests import integrity
from tests.security_tests.corpus import PATIENCE_SECONDS
from tests.worker_harness import Harness, WorkerDiedError

GROWN_BYTES = 100 * 2**20
GROWN_ADDRESSES = 2**30
KEPT_BYTES = 2**22
GRACE_SECONDS = 0.5
ALONE_SECONDS = 5.0
GULLIBLE_SECONDS = 1.5

MEMORY_SECRET = "MEMORY-" + secrets.token_hex(8)

PROBE = """\
print(6 * 7, len(context), context[:4], llm_query('ping'))
FINAL('the true answer')
"""
PROBED = ("42 12 some reply to ping\n", "ok", None, "the true answer", {}, ())
"""What the probe says in a session that nobody has tampered with."""


def run(plan: dict[str, Any], writer: int, terminal: Path) -> None:
    """Stage the attacks of a plan, and say after each what came of it."""
    held = MEMORY_SECRET  # in a frame, too
    show, write = repr, os.write  # attacks replace what is looked up
    stage = Stage(plan, terminal)
    try:
        for attack in plan["attacks"]:
            write(writer, (show({"name": attack["name"]}) + "\n").encode())
            start = time.monotonic()
            effects, saw = stage.play(attack)
            entry = {
                "name": attack["name"],
                "effects": effects,
                "saw": saw,
                "seconds": time.monotonic() - start,
            }
            write(writer, (show(entry) + "\n").encode())
    finally:
        stage.close()
    assert held


def make_sandbox(plan: dict[str, Any]) -> Sandbox:
    """The sandbox of a plan."""
    if plan["mode"] == "none":
        return LocalSandbox()
    if plan["mode"] == "docker":
        from langchain_replm.sandbox.docker import DockerSandbox

        return DockerSandbox(**plan["options"])
    sandbox = ProcessSandbox(plan["mode"], **plan["options"])
    sandbox._jail_layers = [name for name in sandbox._jail_layers if name not in plan["off"]]
    return sandbox


class Watched(Harness):
    """A harness that remembers what it heard."""

    received = b""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options, answers=_answer)
        self.calls = _Sketches()

    def pump(self, *args: Any, **options: Any) -> Exchanged:
        done = super().pump(*args, **options)
        self.received = (self.received + done.data)[-KEPT_BYTES:]
        return done


class _Sketches(list[CallRequested]):
    """Calls without their weight: a run keeps no prompts either."""

    def append(self, call: CallRequested) -> None:
        items = [
            {name: str(value)[:100] for name, value in item.items()} for item in call.items[:2]
        ]
        super().append(dataclasses.replace(call, items=tuple(items)))


def _answer(call: CallRequested) -> list[dict[str, Any]]:
    return [{"value": f"reply to {str(item.get('prompt'))[:100]}"} for item in call.items]


class GullibleSession(Session):
    """Believes every frame: what the checks of the wire are held against."""

    def next_event(self) -> Any:
        while len(self._buffer) >= 5:
            end = 5 + int.from_bytes(self._buffer[:4], "big")
            if len(self._buffer) < end:
                break
            message = json.loads(bytes(self._buffer[5:end]).decode("utf-8", "surrogatepass"))
            del self._buffer[:end]
            kind = message.pop("type")
            if kind == "ready":
                self.state = State.IDLE
                return Ready(message["version"], message["python"])
            if kind == "call":
                self._outstanding[message["id"]] = len(message["items"])
                return CallRequested(
                    message["id"], message["function"], message["kind"], tuple(message["items"])
                )
            if kind == "done":
                self.state = State.IDLE
                answer = message.pop("answer")
                message["cell_id"] = message.pop("id")
                message["removed"] = tuple(message["removed"])
                return CellFinished(
                    answer=answer and _wire.Answer(answer["text"], False), **message
                )
        if self._eof:
            self.state = State.CLOSED
        return None


class Stage:
    """The host's surroundings, made anew for each attack; the session is kept while it is sound."""

    def __init__(self, plan: dict[str, Any], terminal: Path) -> None:
        self._plan = plan
        self._terminal = terminal
        self._sandbox = make_sandbox(plan)
        self._harness: Watched | None = None
        self._secret = "ENVIRON-" + secrets.token_hex(8)
        self._seconds = ALONE_SECONDS if plan["alone"] else PATIENCE_SECONDS
        if plan["gullible"]:
            self._seconds = GULLIBLE_SECONDS
        os.environ["HOST_SECRET"] = self._secret
        logging.disable()
        self._scene = Path(plan["work"], "scene")
        shutil.rmtree(self._scene, ignore_errors=True)
        self._scene.mkdir()
        self._scene.chmod(0o755)
        self._ears = _listen(str(self._scene / "ear"))
        if plan["mode"] != "none":
            self._sandbox.guarantees()  # the probe's first memory is not an attack's
            self._open().close()
            self._harness = None

    def _open(self) -> Watched:
        if self._harness is None:
            kind = GullibleSession if self._plan["gullible"] else Session
            session = kind(make_key=lambda: secrets.token_hex(8))
            self._harness = Watched(self._plan["mode"], sandbox=self._sandbox, session=session)
        return self._harness

    def close(self) -> None:
        if self._harness is not None:
            self._harness.close()
            self._harness = None

    def play(self, attack: dict[str, Any]) -> tuple[dict[str, str], str]:
        """Stage one attack; give the effects that were seen, and the cell's own words."""
        scene = _Scene(self._scene / secrets.token_hex(4))
        effects: dict[str, str] = {}
        facts = {**self._ears.names, **scene.names, "host": os.getpid()}
        cells = [self._cell(code, attack, facts) for code in attack["cells"]]
        before = integrity.fingerprint()
        with integrity.Leftovers(is_exact=self._plan["alone"]) as leftovers:
            harness = self._open()
            harness.received = b""
            integrity.forget_peaks()
            saw = self._provoke(harness, cells, attack, effects)
            effects |= integrity.growth(GROWN_BYTES, GROWN_ADDRESSES)
            if self._plan["alone"] or self._harness is None:
                self.close()
        effects |= leftovers.found
        changed = integrity.differences(before, integrity.fingerprint())
        if changed:
            effects["host"] = changed
        tokens = (scene.secret, scene.held, self._secret, os.environ["STARTED_WITH"], MEMORY_SECRET)
        told = [token for token in tokens if token.encode() in harness.received]
        if told:
            effects["told"] = str(told)
        effects |= self._ears.heard() | scene.changed()
        printed = self._terminal.read_text("utf-8", "replace")
        if printed:
            effects["printed"] = printed[-500:]
            os.truncate(self._terminal, 0)
        scene.close()
        return effects, saw

    def _cell(self, code: str, attack: dict[str, Any], facts: dict[str, Any]) -> str:
        if not attack["bare"]:
            code = self._plan["prelude"] + code
        elif self._plan["rules_off"]:
            code = self._plan["rules_off"] + code
        for name, value in facts.items():
            code = code.replace(f"<<{name}>>", str(value))
        return code

    def _provoke(
        self,
        harness: Watched,
        cells: list[str],
        attack: dict[str, Any],
        effects: dict[str, str],
    ) -> str:
        """Run the cells, and then the probe; drop a session that is not what it was."""
        saw: list[str] = []
        try:
            for cell in cells:
                done = harness.run(cell, min(attack["seconds"], self._seconds))
                saw.append(_told(done))
                _look(done, effects)
            if attack["wait"]:
                threading.Event().wait(attack["wait"])
            calls = len(harness.calls)
            done = harness.run(PROBE, self._seconds)
            extra = [
                call for call in harness.calls[calls:] if call.items[0].get("prompt") != "ping"
            ]
            if extra:
                effects["called"] = repr(extra)[:300]
            answer = done.answer and done.answer.text
            output = done.output_head + done.output_tail
            found = (output, done.status, done.error, answer, done.changed, done.removed)
            if found != PROBED:
                if not attack["deep"]:
                    effects["falsified"] = repr(found)[:500]
                self._drop(harness)
        except TimeoutError:
            saw.append("timeout")
            if attack["seconds"] >= PATIENCE_SECONDS:
                effects["hung"] = "the time ran out"
            self._drop(harness)
        except (ProtocolError, WorkerDiedError) as error:
            saw.append(repr(error))
            self._drop(harness)
        except SandboxError:
            raise
        except Exception as error:
            effects["crashed"] = repr(error)[:500]
            self._drop(harness)
        for call in harness.calls:
            kinds = {"llm_query": "llm_query", "llm_query_batch": "llm_query"}
            kinds |= {"rlm_query": "rlm_query", "rlm_query_batch": "rlm_query"}
            kinds |= {"llm_query_batched": "llm_query", "llm_batch": "llm_query"}
            kinds |= {"rlm_query_batched": "rlm_query"}
            if kinds.get(call.function) != call.kind:
                effects["called"] = repr(call)[:300]
        harness.calls.clear()
        return "\n".join(saw)[-1500:]

    def _drop(self, harness: Watched) -> None:
        """End a session as a run does: ask, wait for a moment, kill."""
        transport = harness.transport
        if harness.session.state is not State.CLOSED and transport.interrupt():
            transport.exchange((), GRACE_SECONDS)
        harness.close()
        self._harness = None


def _told(done: CellFinished) -> str:
    return (
        f"{done.status}: {(done.output_head + done.output_tail)[-600:]} {(done.error or '')[-600:]}"
    )


def _look(done: CellFinished, effects: dict[str, str]) -> None:
    """What reached us can go to an API and a file."""
    texts = [done.output_head, done.output_tail, done.error or "", *done.changed, *done.removed]
    texts += [*done.changed.values(), done.answer.text if done.answer else ""]
    try:
        "".join(texts).encode()
    except UnicodeEncodeError as error:
        effects["unsendable"] = str(error)[:200]


class _Scene:
    """The files of one attack."""

    def __init__(self, folder: Path) -> None:
        self.secret = "FILE-" + secrets.token_hex(8)
        self.held = "DESCRIPTOR-" + secrets.token_hex(8)
        folder.mkdir()
        folder.chmod(0o777)
        self._folder, self._file = folder, folder / "file"
        self._file.write_text(f"{self.secret}\n")
        self._file.chmod(0o666)
        self._fd, writer = os.pipe()
        os.write(writer, f"{self.held}\n".encode())
        os.close(writer)
        os.set_inheritable(self._fd, True)
        self.names = {
            "file": self._file,
            "folder": folder,
            "descriptor": self._fd,
            "tag": "tag" + secrets.token_hex(6),
        }
        self._before = self._look()

    def _look(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for path in (self._folder, *sorted(self._folder.rglob("*"))):
            status = path.lstat()
            kept = (status.st_mode, status.st_uid, status.st_size, status.st_nlink, status.st_mtime)
            found[path.name] = (*kept, os.listxattr(path) if not path.is_symlink() else ())
        return found

    def changed(self) -> dict[str, str]:
        now = self._look() if self._folder.exists() else None
        if now == self._before and self._file.read_text() == f"{self.secret}\n":
            return {}
        return {"changed": str(now)[:300]}

    def close(self) -> None:
        with open(os.devnull) as null:
            os.dup2(null.fileno(), self._fd)
        os.close(self._fd)
        shutil.rmtree(self._folder, ignore_errors=True)


class _Ears:
    """Sockets of the host, on which nothing should ever be heard."""

    def __init__(self, sockets: dict[str, socket.socket], names: dict[str, Any]) -> None:
        self._sockets = sockets
        self.names = names

    def heard(self) -> dict[str, str]:
        found = []
        for name, ear in self._sockets.items():
            while True:
                try:
                    if ear.type == socket.SOCK_STREAM:
                        ear.accept()[0].close()
                    else:
                        ear.recv(100)
                except OSError:
                    break
                found.append(name)
        return {"contact": str(found)} if found else {}


def _listen(path: str) -> _Ears:
    abstract = "ear-" + secrets.token_hex(6)
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 2)  # NETLINK_USERSOCK
    netlink.bind((0, 0))
    sockets = {
        "port": socket.create_server(("127.0.0.1", 0)),
        "udp": socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        "unix": socket.socket(socket.AF_UNIX),
        "abstract": socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM),
        "netlink": netlink,
    }
    sockets["udp"].bind(("127.0.0.1", 0))
    sockets["unix"].bind(path)
    os.chmod(path, 0o777)
    sockets["unix"].listen()
    sockets["abstract"].bind("\0" + abstract)
    for ear in sockets.values():
        ear.setblocking(False)
    names = {
        "port": sockets["port"].getsockname()[1],
        "udp": sockets["udp"].getsockname()[1],
        "unix": path,
        "abstract": abstract,
        "netlink": netlink.getsockname()[0],
    }
    return _Ears(sockets, names)
