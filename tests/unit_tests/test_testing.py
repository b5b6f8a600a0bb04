"""The double that users test with must itself be dependable."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage

from langchain_replm.testing import ScriptedChatModel
from tests.unit_tests._nodes.by_hand import usage


def test_replies_come_in_order_and_the_last_one_for_ever() -> None:
    model = ScriptedChatModel(replies=["one", AIMessage("two")])
    assert [model.invoke("?").content for _ in range(4)] == ["one", "two", "two", "two"]


def test_without_replies_it_says_nothing() -> None:
    assert ScriptedChatModel().invoke("?").content == ""


def test_an_exception_among_the_replies_is_raised_in_its_turn() -> None:
    model = ScriptedChatModel(replies=["one", RuntimeError("busy"), "three"])
    assert model.invoke("?").content == "one"
    with pytest.raises(RuntimeError, match="busy"):
        model.invoke("?")
    assert model.invoke("?").content == "three"
    assert len(model.calls) == 3, "a call that failed was a call"


def test_a_function_answers_instead() -> None:
    model = ScriptedChatModel(replies=["never"], respond=lambda got: got[-1].content.upper())
    assert model.invoke("heron").content == "HERON"
    failing = ScriptedChatModel(respond=lambda got: ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        failing.invoke("?")


def test_it_remembers_what_it_was_asked() -> None:
    model = ScriptedChatModel(replies=["one"])
    model.invoke([HumanMessage("a")], temperature=0.5)
    model.invoke("b")
    assert [[message.content for message in call] for call in model.calls] == [["a"], ["b"]]
    assert model.call_kwargs == [{"temperature": 0.5}, {}]


def test_tokens_are_a_function_of_the_text() -> None:
    model = ScriptedChatModel(replies=["12345"])
    assert model.invoke("1234").usage_metadata == usage(1, 2)
    assert model.invoke("").usage_metadata == usage(0, 2)
    told = ScriptedChatModel(replies=[AIMessage("x", usage_metadata=usage(70, 30))])
    assert told.invoke("?").usage_metadata == usage(70, 30), "what the reply says itself stays"


def test_a_reply_says_which_model_and_why_it_ended() -> None:
    model = ScriptedChatModel(
        replies=["a", AIMessage("b", response_metadata={"finish_reason": "length"})],
        model_name="mine",
    )
    metadata = [model.invoke("?").response_metadata for _ in range(2)]
    assert [item["finish_reason"] for item in metadata] == ["stop", "length"]
    assert [item["model_name"] for item in metadata] == ["mine", "mine"]


def test_a_reply_that_is_given_twice_is_two_messages() -> None:
    given = AIMessage("a")
    model = ScriptedChatModel(replies=[given])
    first, second = model.invoke("?"), model.invoke("?")
    assert first is not second
    first.response_metadata["mine"] = True
    assert "mine" not in second.response_metadata
    assert given.response_metadata == {}, "the test's own message is not changed"


@pytest.mark.parametrize("text", ["one line", "two\nlines\n", "", "a\r\nb\u2028c"])
def test_a_stream_adds_up_to_the_reply(text: str) -> None:
    whole = ScriptedChatModel(replies=[text]).invoke("question")
    chunks = list(ScriptedChatModel(replies=[text]).stream("question"))
    joined = chunks[0]
    for chunk in chunks[1:]:
        joined += chunk
    assert isinstance(joined, AIMessageChunk)
    assert joined.content == whole.content == text
    assert joined.usage_metadata == whole.usage_metadata, "counted once, not once per chunk"
    assert joined.response_metadata["finish_reason"] == "stop"


async def test_every_way_to_ask_is_one_call_with_one_reply() -> None:
    model = ScriptedChatModel(replies=["a", "b", "c", "d", "e"])
    replies: list[Any] = [
        model.invoke("?").content,
        (await model.ainvoke("?")).content,
        "".join(str(chunk.content) for chunk in model.stream("?")),
        "".join([str(chunk.content) async for chunk in model.astream("?")]),
    ]
    assert replies == ["a", "b", "c", "d"]
    assert len(model.calls) == 4


def test_threads_get_each_reply_once() -> None:
    model = ScriptedChatModel(replies=[str(number) for number in range(200)])
    got: list[Any] = []

    def ask() -> None:
        got.extend(model.invoke("?").content for _ in range(25))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got, key=int) == [str(number) for number in range(200)]
