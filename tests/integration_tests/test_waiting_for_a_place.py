"""A run that finds no place under `max_workers` keeps to its time, and can be cancelled."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from langchain_replm import RLM, RLMConfig, RLMEvent
from langchain_replm.sandbox._places import Places
from langchain_replm.testing import ScriptedChatModel
from tests.scenarios import cell


def waiting(*replies: str, **settings: float) -> tuple[RLM, ScriptedChatModel]:
    """An RLM whose only place is taken."""
    root = ScriptedChatModel(replies=replies)
    rlm = RLM(root, config=RLMConfig(max_workers=1, **settings))  # type: ignore[arg-type]
    assert rlm.graph.places.take(0)
    return rlm, root


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_run_whose_time_is_over_while_it_waits_is_closed(colour: str) -> None:
    rlm, root = waiting(cell("FINAL(len(context))"), "FINAL(nothing was run)", max_seconds=1)
    if colour == "sync":
        response = rlm.generate("How long?", "text")
    else:
        response = await rlm.agenerate("How long?", "text")
    assert (response.answer, response.stop_reason) == ("nothing was run", "deadline")
    assert [step.cells[0].status for step in response.trajectory if step.cells] == ["skipped"]
    told = "The cell did not run: no worker was free before the time of the run was over."
    assert told in root.calls[-1][-1].text
    assert len(root.calls) == 2


async def test_a_closing_reply_with_cells_ends_the_run_all_the_same() -> None:
    rlm, _ = waiting(cell("FINAL(len(context))"), max_seconds=1)
    response = await rlm.agenerate("How long?", "text")
    assert (response.answer, response.stop_reason) == ("", "deadline")


async def test_a_run_that_is_cancelled_while_it_waits_takes_no_place() -> None:
    rlm, _ = waiting(cell("FINAL(len(context))"))
    has_replied = asyncio.Event()

    def hear(event: RLMEvent) -> None:
        if event.type == "code_generated":
            has_replied.set()

    task = asyncio.create_task(rlm.agenerate("How long?", "text", on_event=hear))
    await has_replied.wait()
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    rlm.graph.places.give_back()
    assert (await rlm.agenerate("How long?", "text")).answer == "4"
    assert rlm.graph.places.take(0), "and that one has given its place back"


def test_a_worker_that_is_replaced_keeps_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who waits must not take it in between: the run could not go on."""
    given_back: list[Places] = []
    give_back = Places.give_back

    def spy(self: Places) -> None:
        given_back.append(self)
        give_back(self)

    def look() -> int:
        """Count what was given back."""
        return len(given_back)

    monkeypatch.setattr(Places, "give_back", spy)
    root = ScriptedChatModel(replies=[cell("n = 5\nwhile True: pass"), cell("FINAL([n, look()])")])
    rlm = RLM(root, tools=[look], config=RLMConfig(max_workers=1, sandbox_timeout=1))
    response = rlm.generate("?", "text")
    assert response.trajectory[0].cells[0].status == "timeout"
    assert response.answer == "[5, 0]"
    assert given_back == [rlm.graph.places]


def test_threads_that_begin_at_once_get_one_graph() -> None:
    """Two graphs would count their workers apart."""
    for _ in range(5):
        rlm, start = RLM(ScriptedChatModel(replies=["FINAL(a b)"])), threading.Barrier(4)

        def graph(rlm: RLM = rlm, start: threading.Barrier = start) -> int:
            start.wait()
            return id(rlm.graph)

        with ThreadPoolExecutor(4) as pool:
            assert len({done.result() for done in [pool.submit(graph) for _ in range(4)]}) == 1
