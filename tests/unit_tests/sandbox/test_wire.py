"""The wire with bytes only: what we send, what we accept, what we refuse."""

from __future__ import annotations

import json
import struct
import tracemalloc
from typing import Any

import pytest

from langchain_replm.errors import ProtocolError
from langchain_replm.sandbox import _wire, _worker
from langchain_replm.sandbox._policy import policy_data, sub_call_functions
from langchain_replm.sandbox._wire import (
    HEADER_BYTES,
    LEGAL,
    WIRE_VERSION,
    Answer,
    CallRequested,
    CellFinished,
    Function,
    Ready,
    Session,
    Setup,
    State,
    WireLimits,
    encode_frame,
)

FUNCTIONS = (*sub_call_functions(), Function(name="search", kind="tool"))
SETUP = Setup(policy=policy_data("restricted"), functions=FUNCTIONS)


def ready(**changes: Any) -> dict[str, Any]:
    return {"type": "ready", "version": WIRE_VERSION, "python": "3.11", **changes}


def call(**changes: Any) -> dict[str, Any]:
    items = [{"prompt": "p", "model": None}]
    return {
        "type": "call",
        "id": 1,
        "cell": "c1",
        "function": "llm_query",
        "kind": "llm_query",
        "items": items,
        **changes,
    }


def done(**changes: Any) -> dict[str, Any]:
    return {
        "type": "done",
        "id": "c1",
        "status": "ok",
        "output_head": "",
        "output_tail": "",
        "output_chars": sum(
            len(text)
            for name in ("output_head", "output_tail")
            if isinstance(text := changes.get(name, ""), str)
        ),
        "error": None,
        "changed": {},
        "removed": [],
        "answer": None,
        **changes,
    }


def session_in(state: State, limits: WireLimits | None = None) -> Session:
    session = Session(limits)
    if state is State.NEW:
        return session
    list(session.start(SETUP))
    if state is State.STARTING:
        return session
    feed(session, ready())
    if state is State.IDLE:
        return session
    if state is State.CLOSED:
        session.receive(b"", eof=True)
        assert session.next_event() is None
    elif state is State.BROKEN:
        session.receive(b"\0\0\0\1X?")
        with pytest.raises(ProtocolError):
            session.next_event()
    else:
        session.execute("c1", "pass")
    assert session.state is state
    return session


def feed(session: Session, message: Any) -> Any:
    session.receive(encode_frame(message))
    return session.next_event()


def frames(data: bytes) -> list[tuple[str, bytes]]:
    found = []
    while data:
        size = int.from_bytes(data[:4], "big")
        found.append((chr(data[4]), data[5 : 5 + size]))
        assert len(found[-1][1]) == size
        data = data[5 + size :]
    return found


# Sending ------------------------------------------------------------------------------------


def test_setup_is_one_message_and_the_context():
    text = "ä\ud800\U0001f600" * 300_000
    parts = frames(
        b"".join(
            Session().start(
                Setup(policy=policy_data("full"), functions=FUNCTIONS, context=text, seed=3)
            )
        )
    )
    assert [kind for kind, _ in parts] == ["J"] + ["B"] * (len(parts) - 1)
    setup = json.loads(parts[0][1])
    encoded = text.encode("utf-8", "surrogatepass")
    assert setup["context"] == {"kind": "str", "items": 1, "bytes": len(encoded)}
    assert (setup["version"], setup["seed"], setup["policy"]["name"]) == (1, 3, "full")
    assert setup["functions"][0]["name"] == "llm_query"
    assert b"".join(payload for _, payload in parts[1:]) == encoded
    assert max(len(payload) for _, payload in parts) <= 1024 * 1024


def test_a_list_is_lengths_then_texts():
    items = ["", "ä", "b" * 2_000_000, "\ud800"]
    parts = frames(
        b"".join(
            Session().start(Setup(policy={}, context=items, context_metadata=[{"n": object()}] * 4))
        )
    )
    blob = b"".join(payload for _, payload in parts[1:])
    lengths = [int.from_bytes(blob[8 * i : 8 * i + 8], "little") for i in range(4)]
    assert lengths == [0, 2, 2_000_000, 3]
    assert blob[32:] == "".join(items).encode("utf-8", "surrogatepass")
    assert json.loads(parts[0][1])["context"] == {"kind": "list", "items": 4, "bytes": len(blob)}


def test_small_documents_share_a_frame():
    assert len(frames(b"".join(Session().start(Setup(policy={}, context=["ab"] * 20_000))))) == 2


def test_documents_that_are_gathered_are_cut_where_they_were():
    texts = ["a\ud800", "\udc00b", "", "ä" * 300_000, "灰鷺", "x" * 262_145, "end"]
    texts += [""] * 300_000 + ["last"]
    [_, *raw] = frames(b"".join(Session().start(Setup(policy={}, context=texts))))
    blob = b"".join(payload for _, payload in raw)
    assert max(len(payload) for _, payload in raw) <= 2 * 2**20
    lengths = struct.unpack_from(f"<{len(texts)}Q", blob)
    start, found = 8 * len(texts), []
    for length in lengths:
        found.append(blob[start : start + length].decode("utf-8", "surrogatepass"))
        start += length
    assert found == texts
    assert start == len(blob)


@pytest.mark.parametrize(("context", "kind"), [(None, "none"), ("", "str"), ([], "list")])
def test_empty_contexts_have_no_raw_frame(context, kind):
    parts = frames(b"".join(Session().start(Setup(policy={}, context=context))))
    assert len(parts) == 1
    assert json.loads(parts[0][1])["context"]["kind"] == kind


def test_a_large_context_is_never_held_twice():
    text = "x" * 50_000_000
    tracemalloc.start()
    try:
        size = sum(len(chunk) for chunk in Session().start(Setup(policy={}, context=text)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size > 50_000_000
    assert peak < 8_000_000


def test_execute_and_submit():
    session = session_in(State.IDLE)
    [(kind, payload)] = frames(session.execute("7", "x = 'ä\ud800'"))
    assert kind == "J"
    assert json.loads(payload.decode("utf-8", "surrogatepass")) == {
        "type": "execute",
        "id": "7",
        "code": "x = 'ä\ud800'",
    }
    feed(session, done(id="7"))
    [(_, payload)] = frames(session.submit("8", "var", "x"))
    assert json.loads(payload) == {"type": "submit", "id": "8", "kind": "var", "text": "x"}


def test_a_frame_that_was_left_behind_is_not_the_next_cells():
    """The host names its cells alike in every run; what is on the wire cannot be foretold."""
    for left in (call(cell="c2"), done(id="c2"), call(), done()):
        keys = iter(["-first", "-second"])
        session = Session(make_key=lambda keys=keys: next(keys))
        list(session.start(SETUP))
        feed(session, ready())
        session.execute("c1", "")
        ended = feed(session, done(id="c1-first"))
        assert ended.cell_id == "c1"
        session.receive(encode_frame(left))
        [(_, payload)] = frames(session.execute("c2", ""))
        assert json.loads(payload)["id"] == "c2-second"
        with pytest.raises(ProtocolError, match="another"):
            session.next_event()


def test_waiting_calls_are_bounded_together():
    """A tool may take its time, and what it was asked stays with us."""
    size = len(encode_frame(call())) - HEADER_BYTES
    session = session_in(State.RUNNING, WireLimits(outstanding_bytes=3 * size))
    for number in (1, 2, 3):
        feed(session, call(id=number))
    session.reply(2, [{"value": "x"}])
    feed(session, call(id=4))
    with pytest.raises(ProtocolError, match="bytes together waiting"):
        feed(session, call(id=5))


def test_reply():
    session = session_in(State.RUNNING)
    feed(session, call(items=[{"prompt": "a", "model": None}, {"prompt": "b", "model": "m"}]))
    [(_, payload)] = frames(session.reply(1, [{"value": "r"}, {"error": "refused"}]))
    assert json.loads(payload) == {
        "type": "reply",
        "id": 1,
        "results": [{"value": "r"}, {"error": "refused"}],
    }
    with pytest.raises(RuntimeError, match="No call 1"):
        session.reply(1, [{"value": "r"}])


@pytest.mark.parametrize(
    "results", [[], [{"value": 1}] * 2, [{}], [{"value": 1, "error": ""}], [{"text": 1}]]
)
def test_a_wrong_reply_is_our_fault_and_changes_nothing(results):
    session = session_in(State.RUNNING)
    feed(session, call())
    with pytest.raises(RuntimeError, match="needs 1 results"):
        session.reply(1, results)
    assert session.reply(1, [{"value": None}])


def test_too_large_results_become_errors(monkeypatch):
    monkeypatch.setattr(_wire, "MAX_REPLY_BYTES", 1000)
    session = session_in(State.RUNNING)
    feed(session, call())
    [(_, payload)] = frames(session.reply(1, [{"value": "x" * 1000}]))
    assert "too many" in json.loads(payload)["results"][0]["error"]


def test_a_reply_after_the_end_of_its_cell_goes_nowhere():
    session = session_in(State.RUNNING)
    feed(session, call())
    feed(session, done())
    assert session.reply(1, [{"value": "late"}]) == b""
    with pytest.raises(RuntimeError):
        session.reply(1, [{"value": "later"}])


# Order --------------------------------------------------------------------------------------

WORKER_MESSAGES = {"ready": ready, "call": call, "done": done}
HOST_MESSAGES = {
    "setup": lambda s: list(s.start(SETUP)),
    "renew": lambda s: list(s.renew(SETUP)),
    "execute": lambda s: s.execute("c1", ""),
    "submit": lambda s: s.submit("c1", "text", ""),
    "reply": lambda s: s.reply(99, []),
}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("message", [*WORKER_MESSAGES, *HOST_MESSAGES])
def test_every_pair_of_state_and_message(state, message):
    session = session_in(state)
    after = LEGAL.get((state, message))
    if message in HOST_MESSAGES:
        if after is None:
            with pytest.raises(RuntimeError, match="cannot send"):
                HOST_MESSAGES[message](session)
            assert session.state is state
        elif message == "reply":
            with pytest.raises(RuntimeError, match="No call 99"):
                HOST_MESSAGES[message](session)
        else:
            HOST_MESSAGES[message](session)
            assert session.state is after
    elif state is State.CLOSED:
        with pytest.raises(RuntimeError, match="after the end of file"):
            feed(session, WORKER_MESSAGES[message]())
    elif after is None:
        with pytest.raises(ProtocolError):
            feed(session, WORKER_MESSAGES[message]())
        assert session.state is State.BROKEN
    else:
        assert feed(session, WORKER_MESSAGES[message]()) is not None
        assert session.state is after


def test_the_table_names_only_known_messages():
    assert {message for _, message in LEGAL} == {*WORKER_MESSAGES, *HOST_MESSAGES}


def test_versions_agree():
    assert _worker.WIRE_VERSION == WIRE_VERSION
    with pytest.raises(ProtocolError, match="version 2"):
        feed(session_in(State.STARTING), ready(version=2))


# Receiving ----------------------------------------------------------------------------------


def test_events():
    session = session_in(State.STARTING)
    assert feed(session, ready()) == Ready(1, "3.11")
    session.execute("c1", "")
    assert feed(session, call()) == CallRequested(
        1, "llm_query", "llm_query", ({"prompt": "p", "model": None},)
    )
    finished = feed(
        session, done(answer={"text": "a", "json": True}, changed={"x": "int: 1"}, removed=["y"])
    )
    assert finished == CellFinished(
        "c1", "ok", "", "", 0, None, {"x": "int: 1"}, ("y",), Answer("a", is_json=True)
    )


def test_a_batch_function_calls_with_the_kind_of_its_items():
    assert feed(session_in(State.RUNNING), call(function="llm_batch")).function == "llm_batch"
    assert feed(
        session_in(State.RUNNING),
        call(
            function="rlm_query_batch", kind="rlm_query", items=[{"prompt": "", "context": ["a"]}]
        ),
    )
    assert feed(
        session_in(State.RUNNING),
        call(function="search", kind="tool", items=[{"args": {"q": [1]}}]),
    )


def test_many_frames_in_one_chunk_and_one_frame_in_many():
    session = session_in(State.RUNNING)
    session.receive(encode_frame(call()) + encode_frame(call(id=2)) + encode_frame(done()))
    assert [type(session.next_event()).__name__ for _ in range(4)] == [
        "CallRequested",
        "CallRequested",
        "CellFinished",
        "NoneType",
    ]
    session.execute("c1", "")
    for byte in encode_frame(done()):
        assert session.next_event() is None
        session.receive(bytes([byte]))
    assert isinstance(session.next_event(), CellFinished)


def test_end_of_file_comes_after_what_was_sent():
    session = session_in(State.RUNNING)
    session.receive(encode_frame(done()) + b"\0\0", eof=True)
    assert isinstance(session.next_event(), CellFinished)
    assert session.next_event() is None
    assert session.state is State.CLOSED
    assert session.next_event() is None


def test_texts_are_made_encodable():
    raw = "a\ud800b"
    session = session_in(State.RUNNING)
    event = feed(session, call(items=[{"prompt": raw, "model": None}]))
    assert event.items[0]["prompt"] == "a\ufffdb"
    finished = feed(
        session,
        done(
            output_head=raw,
            output_tail=raw,
            error=raw,
            changed={raw: raw},
            answer={"text": raw, "json": False},
        ),
    )
    assert "\ud800" not in repr(finished).encode("ascii", "backslashreplace").decode().replace(
        "\\\\", "\\"
    )
    assert finished.answer.text == "a\ufffdb"


def test_escaped_surrogates_are_cleaned_and_pairs_are_joined():
    session = session_in(State.RUNNING)
    payload = json.dumps(
        done(output_head="\U0001f600|\ud83d|\udc00", output_tail="\ud83d\ude00")
    ).encode()
    session.receive(len(payload).to_bytes(4, "big") + b"J" + payload)
    event = session.next_event()
    assert event.output_head == "\U0001f600|\ufffd|\ufffd"
    assert event.output_tail == "\U0001f600"


@pytest.mark.parametrize("field", [name for name in done() if name != "type"])
@pytest.mark.parametrize(
    "value", [None, 1, -1, 1.5, True, "text", [], {}, [1], {"a": 1}, "missing!"]
)
def test_fields_of_done_have_their_types(field, value):
    message = done(output_chars=100)
    fine = {
        "status": [],
        "output_head": ["text", "missing!"],
        "output_tail": ["text", "missing!"],
        "error": [None, "text", "missing!"],
        "changed": [{}],
        "removed": [[]],
        "answer": [None],
        "output_chars": [1],
    }.get(field, [])
    message[field] = value
    session = session_in(State.RUNNING)
    if any(value == good and type(value) is type(good) for good in fine):
        assert feed(session, message)
    else:
        with pytest.raises(ProtocolError):
            feed(session, message)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": -1},
        {"id": 2**53},
        {"id": True},
        {"id": "1"},
        {"id": 1.0},
        {"function": "unknown"},
        {"function": "search"},
        {"kind": "rlm_query"},
        {"kind": "shell"},
        {"items": []},
        {"items": {}},
        {"items": ["p"]},
        {"items": [{"prompt": "p"}]},
        {"items": [{"prompt": 1, "model": None}]},
        {"items": [{"prompt": "p", "model": 1}]},
        {"items": [{"prompt": "p", "model": None, "extra": 1}]},
        {"function": "search", "kind": "tool", "items": [{"args": []}]},
        {"function": "search", "kind": "tool", "items": [{"args": {}}] * 2},
        {"function": "rlm_query", "kind": "rlm_query", "items": [{"prompt": "p", "context": [1]}]},
        {"extra": 1},
    ],
)
def test_wrong_calls(changes):
    with pytest.raises(ProtocolError):
        feed(session_in(State.RUNNING), call(**changes))


def test_call_ids_are_used_once():
    session = session_in(State.RUNNING)
    feed(session, call())
    with pytest.raises(ProtocolError, match="twice"):
        feed(session, call())


def test_calls_that_wait_are_counted():
    session = session_in(State.RUNNING, WireLimits(outstanding_calls=3))
    for number in range(3):
        feed(session, call(id=number))
    with pytest.raises(ProtocolError, match="more than 3 calls"):
        feed(session, call(id=3))


def test_done_of_another_cell():
    with pytest.raises(ProtocolError, match="another cell"):
        feed(session_in(State.RUNNING), done(id="c2"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("output_head", "x" * 11),
        ("output_tail", "x" * 11),
        ("error", "x" * 11),
        ("answer", {"text": "x" * 11, "json": False}),
    ],
)
def test_texts_over_their_limit(field, value):
    limits = WireLimits(output_head_chars=10, output_tail_chars=10, error_chars=10, answer_chars=10)
    with pytest.raises(ProtocolError, match="11 characters"):
        feed(session_in(State.RUNNING, limits), done(**{field: value}))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b"1",
        b'"ready"',
        b"{",
        b"{}",
        b'{"type": 1}',
        b'{"type": ["done"]}',
        b'{"type": "exec"}',
        b'{"type": "done"}',
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b'{"type": "ready", "version": ' + b"9" * 5000 + b"}",
        b'{"a": ' * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"type": "done", "id": "\\ud800',
    ],
)
def test_payloads_that_are_no_message(payload):
    session = session_in(State.RUNNING)
    session.receive(len(payload).to_bytes(4, "big") + b"J" + payload)
    with pytest.raises(ProtocolError):
        session.next_event()
    assert session.state is State.BROKEN
    with pytest.raises(ProtocolError):
        session.next_event()
    session.receive(encode_frame(done()))
    with pytest.raises(ProtocolError):
        session.next_event()


def test_an_announced_length_is_judged_before_anything_else():
    session = session_in(State.RUNNING, WireLimits(frame_bytes=1000))
    session.receive((1001).to_bytes(4, "big") + b"J")
    with pytest.raises(ProtocolError, match="1,001 bytes; at most 1,000"):
        session.next_event()


@pytest.mark.parametrize("kind", [b"B", b"X", b"\0", b"j"])
def test_workers_send_json_frames_only(kind):
    session = session_in(State.RUNNING)
    session.receive(b"\0\0\0\2" + kind)
    with pytest.raises(ProtocolError, match="unknown kind"):
        session.next_event()


def test_a_message_of_millions_of_values_is_not_parsed():
    payload = b"[" + b"[]," * 5_000_000 + b"[]]"
    session = session_in(State.RUNNING)
    session.receive(len(payload).to_bytes(4, "big") + b"J" + payload)
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError, match="1,000,000 values"):
            session.next_event()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * len(payload)


def test_structure_inside_of_strings_does_not_count():
    prompt = '{"a": [1, 2], "b": "\\"quoted\\""}' * 100_000
    event = feed(session_in(State.RUNNING), call(items=[{"prompt": prompt, "model": None}]))
    assert event.items[0]["prompt"] == prompt


def test_functions_and_policies_are_data():
    assert json.loads(json.dumps(policy_data("restricted")))["modules"]
    assert policy_data("full")["modules"] is None
    assert [function.name for function in sub_call_functions(recursion=False)] == [
        "llm_query",
        "llm_query_batch",
        "llm_query_batched",
        "llm_batch",
        "llm_map",
    ]
