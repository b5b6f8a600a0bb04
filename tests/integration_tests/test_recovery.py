"""Cells that run too long or take their worker along: the run goes on, with its variables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from langchain_replm import RLM, RLMConfig, RLMResponse
from langchain_replm.testing import ScriptedChatModel
from tests.scenarios import cell

pytestmark = pytest.mark.usefixtures("nothing_left_behind")

DIE = "import os; os.kill(os.getpid(), 9)"


async def run(colour: str, *replies: Any, sub: Any = None, **config: Any) -> RLMResponse:
    rlm = RLM(
        ScriptedChatModel(replies=list(replies)),
        sub_model=sub or ScriptedChatModel(respond=lambda messages: messages[-1].content.upper()),
        config=RLMConfig(**config),
    )
    if colour == "sync":
        return rlm.generate("q", "some text")
    return await rlm.agenerate("q", "some text")


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_python_loop_is_stopped_and_keeps_its_variables(colour: str) -> None:
    response = await run(
        colour,
        cell("a = 1"),
        cell("b = 2", "while True: pass"),
        cell("FINAL([a, b])"),
        sandbox_timeout=0.4,
    )
    assert response.answer == "[1, 2]"
    slow = response.trajectory[1].cells[0]
    assert slow.status == "timeout"
    assert "0.4 seconds" in (response.trajectory[1].observation or "")
    assert "kept" in (slow.error or "")


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_cell_that_cannot_be_interrupted_is_killed_and_replayed(colour: str) -> None:
    stubborn = cell("b = 2", "sum(range(10**14))")  # a C loop sees no signal
    sub = ScriptedChatModel(respond=lambda messages: messages[-1].content.upper())
    response = await run(
        colour,
        cell("a = llm_query('once')", "def f(x): return x + a"),
        stubborn,
        cell("FINAL([f('got '), 'b' in dir()])"),
        sub=sub,
        sandbox_timeout=0.4,
    )
    assert response.answer == '["got ONCE", false]'
    assert len(sub.calls) == 1, "replay makes no model call"
    assert "restarted" in (response.trajectory[1].observation or "")


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_dead_worker_is_replaced_and_replayed(colour: str) -> None:
    response = await run(
        colour,
        cell("import random", "a = [random.random() for _ in range(3)]", "h = hash('x')"),
        cell("FINAL_later = 1", "1 / 0"),
        cell(DIE),
        cell("FINAL([a, h, FINAL_later])"),
        cell("FINAL([a, h, FINAL_later])"),
        sandbox_mode="subprocess",
    )
    assert response.trajectory[2].cells[0].status == "died"
    assert response.stop_reason == "answered"
    undisturbed = await run(
        colour,
        cell("import random", "a = [random.random() for _ in range(3)]", "h = hash('x')"),
        cell("FINAL([a, h, 1])"),
        sandbox_mode="subprocess",
    )
    assert response.answer == undisturbed.answer, "seeds and hash order are those of the session"


async def test_a_cell_that_catches_everything_is_stopped() -> None:
    stubborn = [
        "while True:",
        "    try:",
        "        while True: pass",
        "    except BaseException: pass",
    ]
    response = await run("sync", cell(*stubborn), cell("FINAL('on')"), sandbox_timeout=0.4)
    assert response.trajectory[0].cells[0].status == "timeout"
    assert response.answer == "on"


async def test_waiting_for_sub_calls_is_not_the_cells_time() -> None:
    import time

    def slow(messages: list[Any]) -> str:
        time.sleep(0.3)
        return "late"

    response = await run(
        "sync",
        cell("r = [llm_query(f'{n}') for n in range(3)]", "FINAL(r[2])"),
        sub=ScriptedChatModel(respond=slow),
        sandbox_timeout=0.5,
    )
    assert response.answer == "late"
    assert response.trajectory[0].cells[0].elapsed_seconds < 0.5


async def test_cells_after_one_that_failed_do_not_run() -> None:
    response = await run(
        "sync",
        cell("x = 1 / 0") + "\n\n" + cell("y = 2"),
        cell("FINAL('y' in dir())"),
    )
    assert [one.status for one in response.trajectory[0].cells] == ["error", "skipped"]
    assert "did not run" in (response.trajectory[0].observation or "")
    assert response.answer == "false"


async def test_calls_of_a_dead_worker_are_still_counted() -> None:
    response = await run(
        "sync",
        cell(
            "import threading, os, time",
            "t = threading.Thread(target=llm_query, args=('paid',)); t.start()",
            "time.sleep(0.05); os.kill(os.getpid(), 9)",
        ),
        cell("FINAL('on')"),
        sub=ScriptedChatModel(respond=lambda messages: __import__("time").sleep(0.2) or "paid"),
        sandbox_mode="subprocess",
    )
    assert (response.answer, response.sub_calls) == ("on", 1)
    assert response.total_output_tokens > 0


async def test_mode_none_runs_in_this_process_and_leaves_it_as_it_was() -> None:
    import os
    import sys

    before = (sys.stdout, Path.cwd())
    response = await run(
        "sync", cell("import os", "print('hi')", "FINAL(os.getpid())"), sandbox_mode="none"
    )
    assert response.answer == str(os.getpid())
    assert response.trajectory[0].cells[0].output == "hi\n"
    assert (sys.stdout, Path.cwd()) == before
