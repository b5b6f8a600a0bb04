"""Lanes: as many calls at once as allowed, and children that cannot starve their own calls."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from langchain_replm._lanes import Lanes

SECONDS = 10


@pytest.fixture
def lanes() -> Iterator[Lanes]:
    made = Lanes(2)
    yield made
    made.close()


def submit(lanes: Lanes, lane: str, function: Callable[[], Any]) -> Future[Any]:
    future: Future[Any] = Future()
    lanes.start(lane, lambda: future.set_result(function()))
    return future


def test_a_lane_runs_as_many_calls_at_once_as_allowed(lanes: Lanes) -> None:
    # Both must be inside at the same time for the barrier to open.
    barrier = threading.Barrier(2, timeout=SECONDS)

    def call() -> str:
        barrier.wait()
        return threading.current_thread().name

    names = {submit(lanes, "model", call) for _ in range(4)}
    assert {name.result(SECONDS) for name in names} == {"rlm-model-1", "rlm-model-2"}


def test_an_idle_thread_is_used_before_a_new_one_is_started(lanes: Lanes) -> None:
    used = {
        submit(lanes, "model", lambda: threading.current_thread().name).result(SECONDS)
        for _ in range(20)
    }
    assert len(used) <= 2


def test_two_at_once_are_not_given_to_one_idle_thread(lanes: Lanes) -> None:
    submit(lanes, "model", lambda: None).result(SECONDS)  # there is one thread, and it is idle
    barrier = threading.Barrier(2, timeout=SECONDS)
    both = [submit(lanes, "model", barrier.wait) for _ in range(2)]
    assert sorted(one.result(SECONDS) for one in both) == [0, 1]


def test_threads_do_not_hold_up_the_interpreter(lanes: Lanes) -> None:
    assert submit(lanes, "model", lambda: threading.current_thread().daemon).result(SECONDS)


async def test_a_semaphore_has_as_many_places_as_allowed(lanes: Lanes) -> None:
    places = lanes.semaphore("model")
    assert places is lanes.semaphore("model")
    await places.acquire()
    assert not places.locked()
    await places.acquire()
    assert places.locked()
    waiting = asyncio.ensure_future(places.acquire())
    assert not lanes.semaphore("depth-1").locked(), "another lane is another lane"
    places.release()
    assert await waiting


def test_a_full_lane_does_not_hold_up_another(lanes: Lanes) -> None:
    # What a child run does: it keeps its place and waits for calls of the lane below.
    def child() -> Any:
        return submit(lanes, "model", lambda: "reply").result(SECONDS)

    children = [submit(lanes, "depth-1", child) for _ in range(6)]
    assert [future.result(SECONDS) for future in children] == ["reply"] * 6


def test_after_a_stop_nothing_more_is_started_and_everybody_is_told() -> None:
    lanes = Lanes(1)
    running, gate = threading.Event(), threading.Event()
    told: list[str] = []

    def hold() -> str:
        running.set()
        gate.wait(SECONDS)
        return "done"

    first = submit(lanes, "model", hold)
    second = submit(lanes, "model", lambda: "never")
    forget = lanes.on_stop(lambda: told.append("forgotten"))
    lanes.on_stop(lambda: told.append("told"))
    forget()
    assert running.wait(SECONDS)
    assert (lanes.stopped, told) == (False, [])
    lanes.close()
    assert (lanes.stopped, told) == (True, ["told"])
    gate.set()
    assert first.result(SECONDS) == "done", "what runs ends by itself"
    third = submit(lanes, "model", lambda: "never")
    other = submit(lanes, "tool", lambda: "never")
    lanes.on_stop(lambda: told.append("late"))
    assert told == ["told", "late"], "who comes late is told at once"
    lanes.close()
    assert told == ["told", "late"], "told once"
    assert not any(future.done() for future in (second, third, other))
