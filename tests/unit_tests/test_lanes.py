"""Lanes: as many calls at once as allowed, and children that cannot starve their own calls."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from langchain_replm._lanes import Lanes


@pytest.fixture
def lanes() -> Iterator[Lanes]:
    made = Lanes(2)
    yield made
    made.close()


def test_a_lane_is_made_once(lanes: Lanes) -> None:
    assert lanes.pool("model") is lanes.pool("model")
    assert lanes.pool("model") is not lanes.pool("depth-1")
    assert lanes.semaphore("model") is lanes.semaphore("model")
    assert lanes.semaphore("model") is not lanes.semaphore("depth-1")


def test_threads_that_ask_at_once_get_one_pool(lanes: Lanes) -> None:
    barrier = threading.Barrier(8)
    pools = []

    def ask() -> None:
        barrier.wait()
        pools.append(lanes.pool("model"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(pools)) == 1


def test_a_pool_runs_as_many_calls_at_once_as_allowed(lanes: Lanes) -> None:
    # Both must be inside at the same time for the barrier to open.
    barrier = threading.Barrier(2, timeout=10)
    pool = lanes.pool("model")
    names = [pool.submit(lambda: (barrier.wait(), threading.current_thread().name)) for _ in "1234"]
    used = {future.result(timeout=10)[1] for future in names}
    assert len(used) == 2
    assert all(name.startswith("rlm-model") for name in used)


async def test_a_semaphore_has_as_many_places_as_allowed(lanes: Lanes) -> None:
    places = lanes.semaphore("model")
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
    def child() -> str:
        return lanes.pool("model").submit(lambda: "reply").result(timeout=10)

    children = [lanes.pool("depth-1").submit(child) for _ in range(6)]
    assert [future.result(timeout=10) for future in children] == ["reply"] * 6


def test_after_closing_nothing_more_is_started() -> None:
    lanes = Lanes(1)
    running, gate = threading.Event(), threading.Event()
    pool = lanes.pool("model")

    def hold() -> str:
        running.set()
        gate.wait(10)
        return "done"

    first = pool.submit(hold)
    second = pool.submit(lambda: "never")
    assert running.wait(10)
    lanes.close()
    assert second.cancelled()
    gate.set()
    assert first.result(timeout=10) == "done", "what runs ends by itself"
    with pytest.raises(RuntimeError):
        pool.submit(lambda: "never")
    lanes.close()
