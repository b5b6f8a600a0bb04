"""The wire between host and worker: bytes in, events out, no I/O and no clock.

A frame is a 4-byte big-endian payload length, one kind byte, and the payload. Kind `J` is one JSON
object in UTF-8 (`surrogatepass`, so that a lone surrogate of the context survives); kind `B` is a
raw piece of the context and travels only from host to worker. `WIRE_VERSION` numbers this table:

| direction      | message   | fields                                                              |
| -------------- | --------- | --------------------------------------------------------------------|
| host to worker | `setup`   | version, policy, limits, functions, seed, context {kind, items,     |
|                |           | bytes}, context_metadata, history, room_bytes; then the context in  |
|                |           | `B` frames                                                          |
| host to worker | `renew`   | context, context_metadata, history: another datum for the REPL;     |
|                |           | then the context in `B` frames, answered by `ready`                 |
| host to worker | `execute` | id, code                                                            |
| host to worker | `submit`  | id, kind "text" or "var", text: an answer given outside of a cell   |
| host to worker | `reply`   | id, results: one {"value"}, {"error"} or {"refused"} (an error that |
|                |           | would come again) per item of the call                              |
| worker to host | `ready`   | version, python                                                     |
| worker to host | `call`    | id, cell: the id of the running cell, function, kind, items         |
| worker to host | `done`    | id, status, output_head, output_tail, output_chars, error, changed, |
|                |           | removed, answer (null or {text, json})                              |

Items of a call are {prompt, model} for kind "llm_query", and {schema} with it where the reply is to
fit a JSON Schema (its text); {prompt, context} for "rlm_query"; and exactly one {args} for "tool".
The raw context of kind "str" is its text; of kind "list" it is one 8-byte little-endian length in
bytes per item, then the texts back to back.

Rules:

1. A cell shares the worker's process, so any worker message may be a lie. It is never code, never
   unbounded memory, never an illegal state.
2. A length is judged before its payload is buffered; a payload is judged before it is parsed.
3. Whatever the worker does wrong is a `ProtocolError`; whatever we do wrong is a `RuntimeError`.
4. Calls and results name the running cell by an id that nobody could know before it ran. A frame
   that a cell has left behind, in our buffer or in the pipe, is therefore never taken for the next
   cell's.
"""

from __future__ import annotations

import json
import re
import struct
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, runtime_checkable

from langchain_replm.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

WIRE_VERSION: Final = 1

HEADER_BYTES: Final = 5
CHUNK_CHARS: Final = 256 * 1024
"""Slice of the context that is encoded at once: at most 1 MiB of UTF-8."""

MAX_REPLY_BYTES: Final = 256 * 1024 * 1024
"""Largest frame that we send: the results of one call."""

MAX_STRUCTURE: Final = 1_000_000
"""Security limit: brackets, commas and colons of one message, outside of strings. 16 MiB of
`[[],[],` would become half a gigabyte of Python objects; a million values stay below 100 MB."""

MAX_DEPTH: Final = 100
"""Security limit: lists and objects inside of each other. What parses may still be too deep for
those who work with it after us, who walk it from further up the stack."""

MAX_NAMES: Final = 300
"""Security limit: variables that one cell may be said to have changed or removed."""

MAX_SUMMARY_CHARS: Final = 300
"""Security limit: length of a variable's name or summary."""

_UNCOUNTED_BYTES: Final = 256 * 1024
"""Below this size a message cannot hold enough structure to hurt, and is not counted."""

_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class State(Enum):
    """Where a session stands."""

    NEW = "new"
    STARTING = "starting"
    IDLE = "idle"
    RUNNING = "running"
    CLOSED = "closed"
    BROKEN = "broken"


LEGAL: Final[Mapping[tuple[State, str], State]] = {
    (State.NEW, "setup"): State.STARTING,
    (State.STARTING, "ready"): State.IDLE,
    (State.IDLE, "renew"): State.STARTING,
    (State.IDLE, "execute"): State.RUNNING,
    (State.IDLE, "submit"): State.RUNNING,
    # A cell may end before its threads' calls are answered; what comes too late is not sent.
    (State.IDLE, "reply"): State.IDLE,
    (State.RUNNING, "call"): State.RUNNING,
    (State.RUNNING, "reply"): State.RUNNING,
    (State.RUNNING, "done"): State.IDLE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WireLimits:
    """Ceilings that the worker keeps and the host checks."""

    output_head_chars: int = 20_000
    """First characters of a cell's output that are kept."""
    output_tail_chars: int = 20_000
    """Last characters of a cell's output that are kept."""
    output_total_chars: int = 50_000_000
    """Security limit: a cell that prints more is stopped by an error."""
    frame_bytes: int = 16 * 1024 * 1024
    """Security limit: largest message from the worker, so also the prompts of one batch."""
    answer_chars: int = 8_000_000
    """Security limit: longest answer."""
    error_chars: int = 4_000
    """Longest error text of a cell; its end is kept."""
    outstanding_calls: int = 10_000
    """Security limit: calls of one cell that wait for their reply at the same time."""
    outstanding_bytes: int = 256 * 1024 * 1024
    """Security limit: size of all these calls together, which our side holds while they wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of a tool, as the cell sees it."""

    name: str
    required: bool = True
    default: Any = None
    annotation: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One function that cells may call. Aliases are functions of the same kind."""

    name: str
    kind: Literal[
        "llm_query",
        "llm_query_batch",
        "llm_map",
        "rlm_query",
        "rlm_query_batch",
        "tool",
        "tool_call",
        "tool_calls",
    ]
    """Functions of the kinds "tool_call" and "tool_calls" end the cell; the host is not asked."""
    doc: str = ""
    parameters: tuple[Parameter, ...] = ()


@runtime_checkable
class RawText(Protocol):
    """A text that comes in pieces of UTF-8, so that it is never held whole on our side."""

    utf8_bytes: int

    def pieces(self) -> Iterator[bytes]:
        """The whole text, in pieces of about a megabyte."""

    def read(self) -> str:
        """The whole text at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """Everything a worker must know before its first cell.

    Attributes:
        policy: The language policy as data, from `_policy.policy_data`.
        functions: The host functions that exist in the REPL.
        context: The datum; `None` leaves the name `context` out (or to `Transport.share`).
        context_metadata: One mapping per item of a list context.
        history: The earlier questions of the session; None where there can be none.
        room_bytes: Size of the largest context that the session will have.
        seed: Seed of `random` in the worker, so that a replay takes the same turns.
    """

    policy: Mapping[str, Any]
    functions: Sequence[Function] = ()
    context: str | Sequence[str] | RawText | None = None
    context_metadata: Sequence[Mapping[str, Any]] | None = None
    history: Sequence[Mapping[str, str]] | None = None
    room_bytes: int = 0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker has loaded the context and waits for its first cell."""

    version: int
    python: str


@dataclass(frozen=True, slots=True)
class CallRequested:
    """A cell asks the host for something; answer with `Session.reply`.

    Attributes:
        call_id: Names the call in the reply; unique among the calls of a session.
        function: The name that the cell called, one of the functions of the setup.
        kind: "llm_query", "rlm_query" or "tool"; a batch is a call with many items.
        items: {prompt, model}, {prompt, context}, or one {args}.
    """

    call_id: int
    function: str
    kind: str
    items: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that a cell submitted; `is_json` when it was no `str` but a JSON value."""

    text: str
    is_json: bool


@dataclass(frozen=True, slots=True)
class CellFinished:
    """A cell, or the resolution of a text final, came to its end.

    Attributes:
        cell_id: The id given to `Session.execute` or `Session.submit`.
        status: "ok", "error" or "interrupted".
        output_head: First characters of the output.
        output_tail: Last characters of the output that are not in the head.
        output_chars: True length of the output.
        error: What went wrong, without paths of the host.
        changed: Summary by name of each variable that is new or changed.
        removed: Names of variables that are gone.
        answer: What the cell submitted.
    """

    cell_id: str
    status: str
    output_head: str
    output_tail: str
    output_chars: int
    error: str | None
    changed: dict[str, str] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    answer: Answer | None = None


Event = Ready | CallRequested | CellFinished


def encode_frame(message: Mapping[str, Any]) -> bytes:
    """Make the frame of one JSON message."""
    text = json.dumps(message, ensure_ascii=False, separators=(",", ":"), default=str)
    payload = text.encode("utf-8", "surrogatepass")
    return len(payload).to_bytes(4, "big") + b"J" + payload


def clean(text: str) -> str:
    """Replace lone surrogates, so that the text can go to an HTTP API, a file or a terminal."""
    if text.isascii() or not _SURROGATE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _clean_value(value: Any, depth: int = 0) -> Any:
    if isinstance(value, str):
        return clean(value)
    if depth > MAX_DEPTH:
        raise RecursionError
    if isinstance(value, list):
        return [_clean_value(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {clean(key): _clean_value(item, depth + 1) for key, item in value.items()}
    return value


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    # Up to 2**53 an integer means the same to every JSON reader.
    return type(value) is int and 0 <= value < 2**53


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_optional_text(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_summaries(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())


def _is_answer(value: Any) -> bool:
    return value is None or (
        isinstance(value, dict)
        and value.keys() == {"text", "json"}
        and isinstance(value["text"], str)
        and isinstance(value["json"], bool)
    )


def _is_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _is_context(value: Any) -> bool:
    return _is_optional_text(value) or _is_texts(value)


_FIELDS: Final[Mapping[str, Mapping[str, Callable[[Any], bool]]]] = {
    "ready": {"version": _is_count, "python": _is_text},
    "call": {
        "id": _is_count,
        "cell": _is_text,
        "function": _is_text,
        "kind": _is_text,
        "items": _is_objects,
    },
    "done": {
        "id": _is_text,
        "status": lambda value: value in ("ok", "error", "interrupted"),
        "output_head": _is_text,
        "output_tail": _is_text,
        "output_chars": _is_count,
        "error": _is_optional_text,
        "changed": _is_summaries,
        "removed": _is_texts,
        "answer": _is_answer,
    },
}

_ITEM_FIELDS: Final[Mapping[str, Mapping[str, Callable[[Any], bool]]]] = {
    "llm_query": {"prompt": _is_text, "model": _is_optional_text},
    "rlm_query": {"prompt": _is_text, "context": _is_context},
    "tool": {"args": lambda value: isinstance(value, dict)},
}


_OPTIONAL_FIELDS: Final[Mapping[str, Callable[[Any], bool]]] = {"schema": _is_text}
"""Of a prompt or a query; left out when there is none, so that equal calls stay equal."""

_RESULTS: Final = ({"value"}, {"error"}, {"refused"})

_ITEM_KINDS: Final = {
    "llm_query_batch": "llm_query",
    "llm_map": "llm_query",
    "rlm_query_batch": "rlm_query",
}
"""Kinds of functions that ask for many items of another kind."""


def _check_fields(
    what: str, found: Mapping[str, Any], table: Mapping[str, Callable[[Any], bool]]
) -> None:
    if found.keys() != table.keys():
        msg = f"The worker sent {what} with other fields than {', '.join(table)}."
        raise ProtocolError(msg)
    for name, is_right in table.items():
        if not is_right(found[name]):
            msg = f"The worker sent {what} whose field {name!r} has a wrong type or value."
            raise ProtocolError(msg)


def _parse(payload: bytes) -> dict[str, Any]:
    """Read one JSON object; every way in which this can fail is a `ProtocolError`."""
    if len(payload) > _UNCOUNTED_BYTES:
        bones = _STRING.sub(b"", payload)
        if sum(bones.count(mark) for mark in (b"[", b"{", b",", b":")) > MAX_STRUCTURE:
            msg = f"The worker sent a message of more than {MAX_STRUCTURE:,} values."
            raise ProtocolError(msg)
    try:
        message = json.loads(payload.decode("utf-8", "surrogatepass"))
        # An escape may spell a surrogate too, so cleaning comes after parsing.
        message = _clean_value(message)
    except (ValueError, RecursionError) as error:
        # ValueError: no UTF-8, no JSON, or an integer of more digits than Python converts.
        # RecursionError: nested too deeply.
        msg = f"The worker sent a message that is no JSON ({type(error).__name__})."
        raise ProtocolError(msg) from None
    if not isinstance(message, dict):
        msg = "The worker sent a message that is no JSON object."
        raise ProtocolError(msg)
    return message


class Session:
    """The host's side of one conversation: it says what to send and what was received.

    Args:
        limits: Ceilings for the worker's messages; sent along in the setup.
        make_key: Gives for each cell what makes its id on the wire one that a cell cannot foretell.
    """

    def __init__(
        self, limits: WireLimits | None = None, *, make_key: Callable[[], str] = lambda: ""
    ) -> None:
        self.limits: WireLimits = limits or WireLimits()
        self._make_key = make_key
        self.state: State = State.NEW
        self._buffer = bytearray()
        self._eof = False
        self._cell_id = self._wire_id = ""
        self._kinds: dict[str, str] = {}
        self._outstanding: dict[int, int] = {}
        self._sizes: dict[int, int] = {}
        self._frame_bytes = self._waiting_bytes = 0
        self._abandoned: set[int] = set()
        self._fault = ""

    def start(self, setup: Setup) -> Iterator[bytes]:
        """Give the setup frame, then the context in frames of about 1 MiB, encoded as asked for."""
        self._advance("setup")
        self._kinds = {
            function.name: _ITEM_KINDS.get(function.kind, function.kind)
            for function in setup.functions
            if function.kind not in {"tool_call", "tool_calls"}
        }
        return self._setup_frames(setup)

    def renew(self, setup: Setup) -> Iterator[bytes]:
        """Give the frames that put another context into the REPL; its variables stay."""
        self._advance("renew")
        return self._context_frames(setup, {"type": "renew"})

    def execute(self, cell_id: str, code: str) -> bytes:
        """Give the bytes that run a cell."""
        return self._begin(cell_id, {"type": "execute", "code": code})

    def submit(self, cell_id: str, kind: Literal["text", "var"], text: str) -> bytes:
        """Give the bytes that resolve an answer written outside of a cell.

        With kind "var" the answer is the value of the variable `text`. With kind "text" it is the
        value of the variable of that name, if the model made one, and else the text itself.
        """
        return self._begin(cell_id, {"type": "submit", "kind": kind, "text": text})

    def reply(self, call_id: int, results: Sequence[Mapping[str, Any]]) -> bytes:
        """Give the bytes that answer a call: one result per item.

        A result is `{"value": ...}`, `{"error": str}` or `{"refused": str}`.
        The result is empty when the cell of that call has ended meanwhile.

        Raises:
            RuntimeError: No such call waits, or the number of results is wrong.
        """
        self._advance("reply")
        if call_id in self._abandoned:
            self._abandoned.discard(call_id)
            return b""
        if call_id not in self._outstanding:
            msg = f"No call {call_id} waits for a reply."
            raise RuntimeError(msg)
        count = self._outstanding[call_id]
        if len(results) != count or any(r.keys() not in _RESULTS for r in results):
            msg = f"Call {call_id} needs {count} results, each 'value', 'error' or 'refused'."
            raise RuntimeError(msg)
        frame = encode_frame({"type": "reply", "id": call_id, "results": list(results)})
        if len(frame) > MAX_REPLY_BYTES:
            text = f"the results of this call are {len(frame):,} bytes, too many; ask for less"
            frame = encode_frame(
                {"type": "reply", "id": call_id, "results": [{"error": text}] * count}
            )
        del self._outstanding[call_id]
        self._waiting_bytes -= self._sizes.pop(call_id)
        return frame

    def receive(self, data: bytes, *, eof: bool = False) -> None:
        """Take bytes from the worker; `eof` when no more will come."""
        if self._eof and data:
            msg = "Bytes were received after the end of file."
            raise RuntimeError(msg)
        self._eof = self._eof or eof
        if self.state is not State.BROKEN:
            self._buffer += data

    def next_event(self) -> Event | None:
        """Give the next event, or `None` when more bytes are needed.

        After the end of file the state is `CLOSED`: a worker that died in the middle of a frame is
        dead, not lying.

        Raises:
            ProtocolError: The worker broke the protocol, now or earlier; the state is `BROKEN`.
        """
        if self.state is State.BROKEN:
            raise ProtocolError(self._fault)
        try:
            message = self._next_message()
            return None if message is None else self._accept(message)
        except ProtocolError as error:
            self.state = State.BROKEN
            self._fault = str(error)
            self._buffer.clear()
            raise

    def _advance(self, message: str) -> None:
        after = LEGAL.get((self.state, message))
        if after is None:
            msg = f"A session in state {self.state.value!r} cannot send {message!r}."
            raise RuntimeError(msg)
        self.state = after

    def _begin(self, cell_id: str, message: dict[str, Any]) -> bytes:
        wire_id = cell_id + self._make_key()
        frame = encode_frame({**message, "id": wire_id})
        self._advance(message["type"])
        self._cell_id, self._wire_id = cell_id, wire_id
        return frame

    def _setup_frames(self, setup: Setup) -> Iterator[bytes]:
        return self._context_frames(
            setup,
            {
                "type": "setup",
                "version": WIRE_VERSION,
                "policy": dict(setup.policy),
                "limits": asdict(self.limits),
                "functions": [asdict(function) for function in setup.functions],
                "seed": setup.seed,
                "room_bytes": setup.room_bytes,
            },
        )

    def _context_frames(self, setup: Setup, message: dict[str, Any]) -> Iterator[bytes]:
        """One message with the shape of the context, and the context after it."""
        context = setup.context
        lengths: list[int] = []
        if context is None:
            shape: dict[str, Any] = {"kind": "none", "items": 0, "bytes": 0}
        elif isinstance(context, str):
            shape = {"kind": "str", "items": 1, "bytes": _utf8_bytes(context)}
        elif isinstance(context, RawText):
            shape = {"kind": "str", "items": 1, "bytes": context.utf8_bytes}
        else:
            lengths = [_utf8_bytes(item) for item in context]
            size = 8 * len(lengths) + sum(lengths)
            shape = {"kind": "list", "items": len(lengths), "bytes": size}
        metadata, history = setup.context_metadata, setup.history
        yield encode_frame(
            {
                **message,
                "context": shape,
                "context_metadata": None if metadata is None else [dict(item) for item in metadata],
                "history": None if history is None else [dict(item) for item in history],
            }
        )
        if context is not None:
            is_one = isinstance(context, str | RawText)
            yield from _chunk_frames(lengths, [context] if is_one else context)

    def _next_message(self) -> dict[str, Any] | None:
        buffer = self._buffer
        if len(buffer) >= HEADER_BYTES:
            length = int.from_bytes(buffer[:4], "big")
            if length > self.limits.frame_bytes:
                msg = (
                    f"The worker announced a message of {length:,} bytes; at most "
                    f"{self.limits.frame_bytes:,} are allowed."
                )
                raise ProtocolError(msg)
            if buffer[4] != ord("J"):
                msg = f"The worker sent a frame of unknown kind {buffer[4]:#x}."
                raise ProtocolError(msg)
            if len(buffer) >= HEADER_BYTES + length:
                payload = bytes(buffer[HEADER_BYTES : HEADER_BYTES + length])
                del buffer[: HEADER_BYTES + length]
                self._frame_bytes = length
                return _parse(payload)
        if self._eof:
            buffer.clear()
            self.state = State.CLOSED
        return None

    def _accept(self, message: dict[str, Any]) -> Event:
        kind = message.pop("type", None)
        if not isinstance(kind, str) or kind not in _FIELDS:
            msg = "The worker sent a message of unknown type."
            raise ProtocolError(msg)
        after = LEGAL.get((self.state, kind))
        if after is None:
            msg = f"The worker sent {kind!r} in state {self.state.value!r}."
            raise ProtocolError(msg)
        _check_fields(repr(kind), message, _FIELDS[kind])
        event: Event
        if kind == "ready":
            event = self._accept_ready(message)
        elif kind == "call":
            event = self._accept_call(message)
        else:
            event = self._accept_done(message)
        self.state = after
        return event

    def _accept_ready(self, message: dict[str, Any]) -> Ready:
        if message["version"] != WIRE_VERSION:
            msg = f"The worker speaks version {message['version']} of the wire, not {WIRE_VERSION}."
            raise ProtocolError(msg)
        return Ready(version=message["version"], python=message["python"][:100])

    def _accept_call(self, message: dict[str, Any]) -> CallRequested:
        call_id, kind, items = message["id"], message["kind"], message["items"]
        if message["cell"] != self._wire_id:
            msg = "The worker sent a call of another cell than the one that runs."
            raise ProtocolError(msg)
        if self._kinds.get(message["function"]) != kind:
            msg = "The worker called a function that this session does not have."
            raise ProtocolError(msg)
        if call_id in self._outstanding or call_id in self._abandoned:
            msg = f"The worker used the call id {call_id} twice."
            raise ProtocolError(msg)
        if not items or (kind == "tool" and len(items) > 1):
            msg = f"The worker sent a call of kind {kind!r} with {len(items)} items."
            raise ProtocolError(msg)
        if len(self._outstanding) >= self.limits.outstanding_calls:
            msg = f"The worker has more than {self.limits.outstanding_calls:,} calls waiting."
            raise ProtocolError(msg)
        if self._waiting_bytes + self._frame_bytes > self.limits.outstanding_bytes:
            most = self.limits.outstanding_bytes
            msg = f"The worker has calls of more than {most:,} bytes together waiting."
            raise ProtocolError(msg)
        for item in items:
            fields = _ITEM_FIELDS[kind]
            if kind != "tool" and "schema" in item:
                fields = {**fields, **_OPTIONAL_FIELDS}
            _check_fields(f"an item of kind {kind!r}", item, fields)
        self._outstanding[call_id] = len(items)
        self._sizes[call_id] = self._frame_bytes
        self._waiting_bytes += self._frame_bytes
        return CallRequested(call_id, message["function"], kind, tuple(items))

    def _accept_done(self, message: dict[str, Any]) -> CellFinished:
        if message["id"] != self._wire_id:
            msg = "The worker ended another cell than the one that runs."
            raise ProtocolError(msg)
        answer = message["answer"]
        limits = self.limits
        for name, text, most in (
            ("output_head", message["output_head"], limits.output_head_chars),
            ("output_tail", message["output_tail"], limits.output_tail_chars),
            ("error", message["error"] or "", limits.error_chars),
            ("answer", answer["text"] if answer else "", limits.answer_chars),
        ):
            if len(text) > most:
                msg = (
                    f"The worker's {name} has {len(text):,} characters; at most {most:,} may come."
                )
                raise ProtocolError(msg)
        if message["output_chars"] < len(message["output_head"]) + len(message["output_tail"]):
            msg = "The worker's output is longer than it says."
            raise ProtocolError(msg)
        _check_names(message["changed"], message["removed"])
        # Late replies are few; a hostile worker must not make us remember them without end.
        if len(self._abandoned) > limits.outstanding_calls:
            self._abandoned.clear()
        self._abandoned.update(self._outstanding)
        self._outstanding.clear()
        self._sizes.clear()
        self._waiting_bytes = 0
        return CellFinished(
            cell_id=self._cell_id,
            status=message["status"],
            output_head=message["output_head"],
            output_tail=message["output_tail"],
            output_chars=message["output_chars"],
            error=message["error"],
            changed=message["changed"],
            removed=tuple(message["removed"]),
            answer=Answer(text=answer["text"], is_json=answer["json"]) if answer else None,
        )


def _check_names(changed: Mapping[str, str], removed: Sequence[str]) -> None:
    """Security limit: what the root model is shown about variables is short."""
    if len(changed) + len(removed) > MAX_NAMES or any(
        len(text) > MAX_SUMMARY_CHARS for item in changed.items() for text in item
    ):
        msg = "The worker's list of variables is too long."
        raise ProtocolError(msg)
    if any(len(name) > MAX_SUMMARY_CHARS for name in removed):
        msg = "The worker's list of removed variables is too long."
        raise ProtocolError(msg)


def _utf8_bytes(text: str) -> int:
    """Count bytes of UTF-8 without ever holding the whole encoding."""
    if text.isascii():
        return len(text)
    return sum(len(piece) for piece in _encoded(text))


def _encoded(text: str) -> Iterator[bytes]:
    for start in range(0, len(text), CHUNK_CHARS):
        yield text[start : start + CHUNK_CHARS].encode("utf-8", "surrogatepass")


def _chunk_frames(lengths: Sequence[int], texts: Any) -> Iterator[bytes]:
    """Give raw frames of about 1 MiB: the lengths, then the texts, small ones gathered."""
    batch = bytearray()
    for piece in _pieces(lengths, texts):
        if batch and len(batch) + len(piece) > 4 * CHUNK_CHARS:
            yield len(batch).to_bytes(4, "big") + b"B" + batch
            batch = bytearray()
        batch += piece
    if batch:
        yield len(batch).to_bytes(4, "big") + b"B" + batch


def _pieces(lengths: Sequence[int], texts: Any) -> Iterator[bytes]:
    for start in range(0, len(lengths), CHUNK_CHARS // 8):
        part = lengths[start : start + CHUNK_CHARS // 8]
        yield struct.pack(f"<{len(part)}Q", *part)
    held: list[str] = []  # millions of short texts are encoded in groups, not one by one
    chars = 0
    for text in texts:
        if not isinstance(text, str):
            yield from text.pieces()
        elif len(text) > CHUNK_CHARS:
            yield from _encoded("".join(held))
            yield from _encoded(text)
            held, chars = [], 0
        else:
            held.append(text)
            chars += len(text)
            if chars > CHUNK_CHARS or len(held) > CHUNK_CHARS:
                yield from _encoded("".join(held))
                held, chars = [], 0
    yield from _encoded("".join(held))
