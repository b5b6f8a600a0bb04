"""Every checkpointer, both colours, every durability: stop, resume, fork; and what it all weighs."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Literal

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.errors import GraphBubbleUp
from langgraph.graph import END, START, StateGraph

from langchain_replm import RLM, ConfigurationError, RLMConfig
from langchain_replm.testing import ScriptedChatModel
from tests import postgres_server
from tests.integration_tests.durable.jobs import CONFIG, script
from tests.integration_tests.durable.test_resume import Stops
from tests.scenarios import Parent, cell

GIVEN: Any = {"query": "q", "context": "the heron stands still"}
DURABILITY: list[Literal["sync", "async", "exit"]] = ["sync", "async", "exit"]


@pytest.fixture(scope="module")
def postgres() -> Iterator[postgres_server.Server]:
    if why := postgres_server.missing():
        pytest.skip(why)
    with postgres_server.server() as server:
        yield server


@asynccontextmanager
async def saver_of(kind: str, colour: str, request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    folder = request.getfixturevalue("tmp_path")
    async with AsyncExitStack() as stack:
        saver: Any
        if kind == "memory":
            saver = InMemorySaver()
        elif kind == "sqlite" and colour == "sync":
            saver = stack.enter_context(SqliteSaver.from_conn_string(f"{folder}/runs.db"))
        elif kind == "sqlite":
            path = f"{folder}/runs.db"
            saver = await stack.enter_async_context(AsyncSqliteSaver.from_conn_string(path))
        else:
            uri = request.getfixturevalue("postgres").uri
            if colour == "sync":
                saver = stack.enter_context(PostgresSaver.from_conn_string(uri))
                saver.setup()
                saver.delete_thread("t")
            else:
                saver = await stack.enter_async_context(AsyncPostgresSaver.from_conn_string(uri))
                await saver.setup()
                await saver.adelete_thread("t")
        yield saver


def build(saver: Any, sub: Stops) -> RLM:
    root = script(
        cell("a = [llm_query(p) for p in ('one', 'two')]"),
        cell("b = llm_query('three')", "c = llm_query('stop')"),
        cell("FINAL([*a, b, c])"),
    )
    return RLM(root, sub_model=ScriptedChatModel(respond=sub), checkpointer=saver)


async def go(colour: str, rlm: RLM, given: Any, config: Any, **options: Any) -> Any:
    if colour == "sync":
        return await asyncio.to_thread(rlm.invoke, given, config, **options)
    return await rlm.ainvoke(given, config, **options)


@pytest.mark.parametrize("durability", DURABILITY)
@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("kind", ["memory", "sqlite", "postgres"])
async def test_stop_resume_and_fork(
    kind: str, colour: str, durability: Any, request: pytest.FixtureRequest
) -> None:
    sub = Stops("stop", GraphBubbleUp("outage"))
    async with saver_of(kind, colour, request) as saver:
        rlm = build(saver, sub)
        with pytest.raises(GraphBubbleUp):
            await go(colour, rlm, GIVEN, CONFIG, durability=durability)
        # Another object, as after a restart.
        rlm = build(saver, sub)
        response = await go(colour, rlm, None, CONFIG, durability=durability)
        assert response.answer == '["read one", "read two", "read three", "read stop"]'
        assert sub.asked == {"one": 1, "two": 1, "three": 1, "stop": 2}
        if durability == "exit":
            return
        history = [snapshot async for snapshot in history_of(colour, rlm)]
        past = next(
            snapshot
            for snapshot in history
            if snapshot.next == ("root_generate",) and len(snapshot.values["trajectory"]) == 1
        )
        again = await go(colour, rlm, None, past.config)
        assert again.answer == response.answer
        assert sub.asked.total() == 5, "a fork of the same cell makes no call twice"


async def history_of(colour: str, rlm: RLM) -> AsyncIterator[Any]:
    if colour == "sync":
        for snapshot in await asyncio.to_thread(lambda: list(rlm.graph.get_state_history(CONFIG))):
            yield snapshot
    else:
        async for snapshot in rlm.graph.aget_state_history(CONFIG):
            yield snapshot


def stored_bytes(connection: sqlite3.Connection) -> int:
    """Bytes of checkpoints and their writes, without the context and the journal beside them."""
    total = 0
    for table in ("checkpoints", "writes"):
        query = f"select * from {table} where checkpoint_ns = ''"  # noqa: S608 - our own names
        for row in connection.execute(query):
            total += sum(len(value) for value in row if isinstance(value, bytes | str))
    return total


def bytes_for(iterations: int, context: str) -> int:
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    replies = [cell(f"x{n} = context[:50]", "print('y' * 1000)") for n in range(iterations - 1)]
    rlm = RLM(
        script(*replies, cell("FINAL(1)")),
        config=RLMConfig(max_iterations=iterations + 1),
        checkpointer=SqliteSaver(connection),
        context_store=None,
    )
    rlm.invoke({"query": "q", "context": context}, CONFIG)
    total = stored_bytes(connection)
    connection.close()
    return total


def test_checkpoints_are_linear_in_the_trajectory_and_blind_to_the_context() -> None:
    line = "a line of text that zlib finds easy to press together\n"
    small, large = line * 200, line * 200_000
    five, ten, twenty = (bytes_for(n, small) for n in (5, 10, 20))
    first, second = (ten - five) / 5, (twenty - ten) / 10
    assert second < 1.6 * first, f"{first:,.0f} and then {second:,.0f} bytes an iteration"
    assert abs(bytes_for(5, large) - five) < 0.02 * five, "10 MB of context weigh nothing"


def test_to_go_on_with_nothing_is_a_clear_error() -> None:
    with pytest.raises(ConfigurationError, match="no checkpointer"):
        RLM(script(cell("FINAL(1)"))).invoke(None)  # type: ignore[arg-type]
    rlm = RLM(script(cell("FINAL(1)")), checkpointer=InMemorySaver())
    with pytest.raises(ConfigurationError, match="no run to go on with on this thread"):
        rlm.invoke(None, CONFIG)  # type: ignore[arg-type]


async def test_every_form_of_going_on() -> None:
    async def chunks(rlm: RLM) -> Any:
        return [update async for update in rlm.graph.astream(None, CONFIG, stream_mode="values")][
            -1
        ]

    forms: dict[str, Any] = {
        "invoke": lambda rlm: rlm.invoke(None, CONFIG).answer,
        "stream": lambda rlm: list(rlm.stream(None, CONFIG))[-1].answer,
        "graph": lambda rlm: rlm.graph.invoke(None, CONFIG)["answer"],
        "graph stream": lambda rlm: list(rlm.graph.stream(None, CONFIG, stream_mode="values"))[-1][
            "answer"
        ],
    }
    expected = '["read one", "read two", "read three", "read stop"]'
    for name, form in forms.items():
        sub = Stops("stop")
        rlm = build(InMemorySaver(), sub)
        with pytest.raises(KeyboardInterrupt):
            rlm.invoke(GIVEN, CONFIG)
        assert form(rlm) == expected, name
        assert sub.asked.total() == 5
    sub = Stops("stop")
    rlm = build(InMemorySaver(), sub)
    with pytest.raises(KeyboardInterrupt):
        rlm.invoke(GIVEN, CONFIG)
    assert (await chunks(rlm))["answer"] == expected


def test_a_subgraph_goes_on_with_its_parent() -> None:
    sub = Stops("stop")
    builder = StateGraph(Parent)
    builder.add_node("rlm", build(None, sub).graph)
    builder.add_edge(START, "rlm")
    builder.add_edge("rlm", END)
    parent = builder.compile(checkpointer=InMemorySaver())
    with pytest.raises(KeyboardInterrupt):
        parent.invoke(GIVEN, CONFIG)
    result = parent.invoke(None, CONFIG)
    assert result["answer"] == '["read one", "read two", "read three", "read stop"]'
    assert sub.asked == {"one": 1, "two": 1, "three": 1, "stop": 2}
