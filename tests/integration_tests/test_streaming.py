"""Events and chunks, in both colours."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_replm import RLM, RLMConfig, RLMEvent, StreamChunk
from langchain_replm.testing import ScriptedChatModel
from tests.scenarios import cell

pytestmark = pytest.mark.usefixtures("nothing_left_behind")

REPLIES = [
    cell("r = llm_query_batch(['a', 'a'])", "print(r)"),
    "Now I know.\n" + cell("FINAL(r[0])"),
]


def make(**config: Any) -> RLM:
    return RLM(
        ScriptedChatModel(replies=REPLIES),
        sub_model=ScriptedChatModel(respond=lambda messages: "reply"),
        config=RLMConfig(**config),
    )


async def events(colour: str, rlm: RLM) -> list[RLMEvent]:
    heard: list[RLMEvent] = []
    if colour == "sync":
        rlm.generate("q", "text", on_event=heard.append)
    else:
        await rlm.agenerate("q", "text", on_event=heard.append)
    return heard


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_events_tell_the_run(colour: str) -> None:
    heard = await events(colour, make())
    assert [event.type for event in heard] == [
        "iteration_start",
        "root_reply",
        "code_generated",
        "cell_start",
        "sub_call_start",
        "sub_call_start",
        "sub_call_end",
        "sub_call_end",
        "cell_end",
        "code_executed",
        "iteration_start",
        "root_reply",
        "code_generated",
        "cell_start",
        "cell_end",
        "code_executed",
        "final_answer",
    ]
    assert [event.iteration for event in heard] == [1] * 10 + [2] * 7
    assert all(event.depth == 0 and len(event.preview) <= 120 for event in heard)
    assert heard[2].detail["cells"] == ["r = llm_query_batch(['a', 'a'])\nprint(r)"]
    ending = {"answer": "reply", "stop_reason": "answered", "iterations": 2, "sub_calls": 2}
    assert heard[-1].detail.items() >= ending.items()


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_cache_hits_are_events(colour: str) -> None:
    rlm = RLM(
        ScriptedChatModel(replies=[cell("a = llm_query('x')", "FINAL(llm_query('x'))")]),
        sub_model=ScriptedChatModel(replies=["reply"]),
        config=RLMConfig(cache_sub_calls=True),
    )
    heard = await events(colour, rlm)
    assert [event.type for event in heard if event.type.startswith("sub")] == [
        "sub_call_start",
        "sub_call_end",
        "sub_call_cache_hit",
    ]


async def chunks(colour: str, rlm: RLM, **options: Any) -> list[StreamChunk]:
    if colour == "sync":
        return list(rlm.stream_generate("q", "text", **options))
    return [chunk async for chunk in rlm.astream_generate("q", "text", **options)]


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_chunks_end_with_the_response(colour: str) -> None:
    got = await chunks(colour, make())
    kinds = [chunk.type for chunk in got if chunk.type != "token"]
    assert kinds == ["iteration_start", "code_executed"] * 2 + ["final_answer"]
    for number, reply in enumerate(REPLIES, start=1):
        tokens = [c.content for c in got if c.type == "token" and c.iteration == number]
        assert len(tokens) > 1, "tokens come one after the other"
        assert "".join(tokens) == reply
    assert got[-1].detail["response"].answer == got[-1].content == "reply"


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_closed_stream_ends_the_run(colour: str) -> None:
    rlm = make()
    if colour == "sync":
        stream = rlm.stream_generate("q", "text")
        assert next(stream).type == "iteration_start"
        stream.close()
    else:
        astream = rlm.astream_generate("q", "text")
        assert (await anext(astream)).type == "iteration_start"
        await astream.aclose()


async def test_tokens_are_not_events_and_events_are_not_lost_when_streaming() -> None:
    heard: list[RLMEvent] = []
    await chunks("sync", make(), on_event=heard.append)
    assert [event.type for event in heard] == [event.type for event in await events("sync", make())]


def test_a_langgraph_stream_gets_json_data() -> None:
    import json

    stream = make().graph.stream({"query": "q", "context": "text"}, stream_mode="custom")
    data = list(stream)
    assert {item["type"] for item in data} >= {"iteration_start", "sub_call_end", "final_answer"}
    json.dumps(data)


async def test_events_of_children_carry_their_depth() -> None:
    rlm = RLM(
        ScriptedChatModel(replies=[cell("FINAL(rlm_query('how long?', context))")]),
        sub_model=ScriptedChatModel(replies=[cell("FINAL(len(context))")]),
        config=RLMConfig(max_recursion_depth=2),
    )
    for colour in ("sync", "async"):
        heard = await events(colour, rlm)
        assert [event.type for event in heard if event.depth == 1] == [
            "iteration_start",
            "root_reply",
            "code_generated",
            "cell_start",
            "cell_end",
            "code_executed",
            "final_answer",
        ]
        got = await chunks(colour, rlm)
        assert [chunk.content for chunk in got if chunk.type == "final_answer"] == ["4"]


async def test_cancel_ends_the_worker_and_the_calls() -> None:
    import asyncio

    started, cancelled = asyncio.Event(), []

    class Slow(ScriptedChatModel):
        async def _agenerate(self, *args: Any, **kwargs: Any) -> Any:
            started.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.append(1)
                raise

    rlm = RLM(ScriptedChatModel(replies=[cell("llm_query('a')")]), sub_model=Slow())
    task = asyncio.create_task(rlm.agenerate("q", "text"))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled == [1]
