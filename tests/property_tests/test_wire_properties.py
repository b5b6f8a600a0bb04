"""Whatever bytes come, in whatever pieces: the same events, or `ProtocolError`, and nothing else."""

from __future__ import annotations

import tracemalloc
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langchain_replm.errors import ProtocolError
from langchain_replm.sandbox._policy import sub_call_functions
from langchain_replm.sandbox._wire import (
    WIRE_VERSION,
    Session,
    Setup,
    State,
    WireLimits,
    clean,
    encode_frame,
)
from langchain_replm.sandbox._worker_text import Capture, Sketch, summarize

LIMITS = WireLimits(frame_bytes=64 * 1024)
READY = encode_frame({"type": "ready", "version": WIRE_VERSION, "python": "3"})

texts = st.text(st.characters(codec=None, exclude_categories=()), max_size=60)
calls = st.builds(
    lambda number, prompts: {
        "type": "call",
        "id": number,
        "cell": "c",
        "function": "llm_query_batch",
        "kind": "llm_query",
        "items": [{"prompt": prompt, "model": None} for prompt in prompts],
    },
    st.integers(0, 2**53 - 1),
    st.lists(texts, min_size=1, max_size=4),
)
dones = st.builds(
    lambda head, error, changed: {
        "type": "done",
        "id": "c",
        "status": "ok",
        "output_head": head,
        "output_tail": "",
        "output_chars": len(head),
        "error": error,
        "changed": changed,
        "removed": [],
        "answer": {"text": head, "json": False},
    },
    texts,
    st.none() | texts,
    st.dictionaries(texts, texts, max_size=3),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


def running(limits: WireLimits = LIMITS) -> Session:
    session = Session(limits)
    list(session.start(Setup(policy={}, functions=sub_call_functions())))
    session.receive(READY)
    session.next_event()
    session.execute("c", "")
    return session


def drain(session: Session) -> list[Any]:
    events = []
    while (event := session.next_event()) is not None:
        events.append(event)
    return events


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [*pieces, data]


@given(
    st.lists(calls, max_size=5, unique_by=lambda m: m["id"]),
    dones,
    st.lists(st.integers(0, 200), max_size=30),
)
def test_any_chunking_gives_the_same_events(messages, last, sizes):
    data = b"".join(encode_frame(message) for message in [*messages, last])
    whole = running()
    whole.receive(data)
    expected = drain(whole)
    pieces = running()
    found = []
    for piece in cut(data, sizes):
        pieces.receive(piece)
        found += drain(pieces)
    assert found == expected
    assert len(found) == len(messages) + 1
    assert pieces.state is whole.state is State.IDLE
    # Everything can go to an API, a log or a terminal.
    repr(found).encode()


def never_more_than_protocol_errors(session: Session, pieces: list[bytes]) -> None:
    try:
        for piece in pieces:
            session.receive(piece)
            drain(session)
        session.receive(b"", eof=True)
        drain(session)
    except ProtocolError:
        assert session.state is State.BROKEN
    else:
        assert session.state is State.CLOSED


@given(st.binary(max_size=400), st.lists(st.integers(0, 50), max_size=10))
def test_any_bytes_are_at_most_a_protocol_error(data, sizes):
    never_more_than_protocol_errors(running(), cut(data, sizes))


@given(st.binary(max_size=400))
def test_any_payload_is_at_most_a_protocol_error(payload):
    never_more_than_protocol_errors(running(), [len(payload).to_bytes(4, "big") + b"J" + payload])


@given(json_values, st.sampled_from(["ready", "call", "done", None]))
def test_any_json_is_at_most_a_protocol_error(value, kind):
    message = {"type": kind, **value} if isinstance(value, dict) else value
    never_more_than_protocol_errors(running(), [encode_frame(message)])


@given(
    dones,
    st.sampled_from(
        ["id", "status", "output_head", "output_chars", "error", "changed", "removed", "answer"]
    ),
    json_values,
)
def test_any_value_in_any_field_is_at_most_a_protocol_error(message, field, value):
    never_more_than_protocol_errors(running(), [encode_frame({**message, field: value})])


@given(st.data())
def test_damaged_frames_are_at_most_a_protocol_error(data):
    frame = bytearray(encode_frame(data.draw(calls)) + encode_frame(data.draw(dones)))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(frame) - 1))
        frame[position] = data.draw(st.integers(0, 255))
    never_more_than_protocol_errors(running(), [bytes(frame)])


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.binary(min_size=1, max_size=6), st.integers(1, 4000))
def test_memory_stays_in_proportion_to_the_frame(pattern, times):
    payload = (pattern * times)[: LIMITS.frame_bytes]
    session = running()
    tracemalloc.start()
    try:
        never_more_than_protocol_errors(session, [len(payload).to_bytes(4, "big") + b"J" + payload])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 40 * LIMITS.frame_bytes


@given(texts)
def test_clean_text_is_encodable_and_only_surrogates_change(text):
    cleaned = clean(text)
    cleaned.encode()
    assert clean(cleaned) == cleaned
    if not any("\ud800" <= letter <= "\udfff" for letter in text):
        assert cleaned == text


@given(st.lists(st.text(max_size=30), max_size=60), st.integers(0, 40), st.integers(0, 40))
def test_a_capture_keeps_the_ends_and_the_true_length(pieces, head, tail):
    capture = Capture(head, tail, 10**6)
    capture._flush_chars = 16
    for piece in pieces:
        capture.write(piece)
    text = "".join(pieces)
    kept_head, kept_tail, chars = capture.result()
    assert chars == len(text)
    assert kept_head == text[:head]
    rest = text[head:]
    assert kept_tail == (rest[-tail:] if tail else "")


@given(json_values, st.integers(0, 200))
def test_a_sketch_is_bounded_and_else_a_repr(value, limit):
    text = Sketch(limit, foreign=False).of(value)
    assert len(text) <= limit + 3
    assert len(summarize(value)) <= 120
    if len(repr(value)) <= limit:
        assert text == repr(value)
