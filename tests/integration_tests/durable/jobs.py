"""What the killed processes do: begin a run, or go on with it when somebody has begun it."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Any

import httpx
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from langchain_replm import RLM, RLMConfig
from langchain_replm.testing import ScriptedChatModel
from tests.scenarios import cell

TEXT = "the heron stands still\n" * 200
CONFIG: Any = {"configurable": {"thread_id": "t"}}


def script(*replies: str) -> ScriptedChatModel:
    """A root whose reply depends on nothing but the conversation, in every process."""

    def respond(messages: list[Any]) -> str:
        return replies[sum(isinstance(message, HumanMessage) for message in messages) - 1]

    return ScriptedChatModel(respond=respond)


def fan_out(calls: int) -> ScriptedChatModel:
    """Equal prompts, threads and a batch: what makes calls come in another order."""
    half = calls // 2
    return script(
        cell(
            "from concurrent.futures import ThreadPoolExecutor",
            "with ThreadPoolExecutor(8) as pool:",
            f"    r = list(pool.map(lambda n: llm_query(f'q{{n // 2}}'), range({half})))",
            f"r += llm_query_batch([f'b{{n}}' for n in range({calls - half})])",
        ),
        cell("FINAL([len(r), sum(isinstance(x, str) for x in r), r[7], r[-1]])"),
    )


def model(base_url: str) -> ChatOpenAI:
    # Without certificates: reading them takes longer than all the rest.
    clients = {
        "http_client": httpx.Client(verify=False),  # noqa: S501 - loopback, no TLS
        "http_async_client": httpx.AsyncClient(verify=False),  # noqa: S501
    }
    return ChatOpenAI(base_url=base_url, api_key="x", model="sub", max_retries=0, **clients)


def warm_up() -> None:
    """What every job would do again: late imports, the probe of the jail."""
    RLM(script(cell("FINAL(llm_query('a'))")), sub_model=script("b")).generate("q", TEXT)
    model("http://127.0.0.1:9/v1")


def rlm(base_url: str, saver: Any, journal: str | None, calls: int) -> RLM:
    return RLM(
        fan_out(calls),
        sub_model=model(base_url),
        config=RLMConfig(max_concurrency=8, max_sub_calls=calls),
        checkpointer=saver,
        journal=journal,
    )


def fan_out_sync(base_url: str, folder: str, calls: int) -> Any:
    """Sync, with the default journal: beside the checkpoints."""
    connection = sqlite3.connect(f"{folder}/runs.db", check_same_thread=False)
    run = rlm(base_url, SqliteSaver(connection), None, calls)
    given: Any = {"query": "q", "context": TEXT}
    started = bool(run.graph.get_state(CONFIG).values)
    response = run.invoke(None if started else given, CONFIG)
    return [response.answer, response.sub_calls]


def fan_out_async(base_url: str, folder: str, calls: int) -> Any:
    """Async, with a journal file of its own."""

    async def go() -> Any:
        async with AsyncSqliteSaver.from_conn_string(f"{folder}/runs.db") as saver:
            run = rlm(base_url, saver, f"{folder}/journal.db", calls)
            given: Any = {"query": "q", "context": TEXT}
            started = bool((await run.graph.aget_state(CONFIG)).values)
            response = await run.ainvoke(None if started else given, CONFIG)
            return [response.answer, response.sub_calls]

    return asyncio.run(go())
