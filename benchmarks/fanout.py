"""One `llm_query_batch` of many sub-calls of 50 ms, against `batch` of the same chat model.

Counted from the root's reply to the end of the run: the root thinks for a while first, as a real
one does, so the start of the worker is not in it (`worker` measures that).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks._measure import Plan, Row, compare, interleave, progress, timed
from benchmarks._scripts import CONTEXT, QUERY, cell
from langchain_replm import RLM, RLMConfig
from langchain_replm.testing import ScriptedChatModel
from tests.openai_server import OpenAIServerProcess

LATENCY_SECONDS = 0.05
CONCURRENCY = 32
THINKING_SECONDS = 0.15
AIM = 1.3
LARGE = 10_000
"""Takes most of a minute: one round, warmed by the smaller ones."""


def measure(plan: Plan) -> Iterator[Row]:
    from langchain_openai import ChatOpenAI

    with (
        OpenAIServerProcess(latency_seconds=LATENCY_SECONDS) as server,
        asyncio.Runner() as runner,
    ):
        sub_model = ChatOpenAI(base_url=server.base_url, api_key="x", model="sub")
        sizes = plan.pick((10, 100, 1_000), (10,))
        for size in (*sizes, *([LARGE] if plan.large else [])):
            progress(f"fanout of {size}")
            yield from _measure_size(size, sub_model, server, runner, plan)


def _measure_size(
    size: int, sub_model: Any, server: OpenAIServerProcess, runner: asyncio.Runner, plan: Plan
) -> Iterator[Row]:
    prompts = [f"question {i}" for i in range(size)]
    at_most: Any = {"max_concurrency": CONCURRENCY}
    batch = FanOut(size, sub_model)
    peak = 0

    def abatch() -> Any:
        return runner.run(sub_model.abatch(prompts, config=at_most))

    def watched(run: Callable[[], float]) -> Callable[[], float]:
        def watch() -> float:
            nonlocal peak
            server.reset()
            taken = run()
            peak = max(peak, server.stats()["peak_concurrency"])
            return taken

        return watch

    cases = {
        "ours sync": watched(batch.run),
        "ours async": watched(lambda: batch.arun(runner)),
        "floor sync": timed(lambda: sub_model.batch(prompts, config=at_most)),
        "floor async": timed(abatch),
    }
    rounds = 1 if size == LARGE else plan.rounds
    samples = interleave(cases, rounds, is_warm=size == LARGE)
    ideal = [math.ceil(size / CONCURRENCY) * LATENCY_SECONDS] * rounds
    for colour, floor in (("sync", "batch"), ("async", "abatch")):
        ours = samples[f"ours {colour}"]
        yield compare(
            "fanout",
            f"{size:,} sub-calls, {colour}",
            ours,
            samples[f"floor {colour}"],
            floor=f"model.{floor}, limit {CONCURRENCY}",
            aim=AIM,
        )
        yield compare(
            "fanout", f"{size:,} sub-calls, {colour}", ours, ideal, floor="ideal: no CPU at all"
        )
    asked = min(size, CONCURRENCY)
    yield Row("fanout", f"{size:,} sub-calls, peak at the server", peak / asked, f"{asked}", 1.0)


class FanOut:
    """A run of one cell with one batch, and the clock that starts at the root's reply."""

    def __init__(self, size: int, sub_model: Any) -> None:
        self._replied = 0.0
        self._reply = cell(
            f"r = llm_query_batch([f'question {{i}}' for i in range({size})])",
            "FINAL(sum(x == 'ok' for x in r))",
        )
        self._size = size
        self._given: Any = {"query": QUERY, "context": CONTEXT}
        config = RLMConfig(max_sub_calls=size, max_concurrency=CONCURRENCY)
        self.rlm = RLM(ScriptedChatModel(respond=self._think), sub_model=sub_model, config=config)

    def run(self) -> float:
        return self._taken(self.rlm.invoke(self._given))

    def arun(self, runner: asyncio.Runner) -> float:
        return self._taken(runner.run(self.rlm.ainvoke(self._given)))

    def _think(self, _messages: Any) -> str:
        time.sleep(THINKING_SECONDS)
        self._replied = time.perf_counter()
        return self._reply

    def _taken(self, response: Any) -> float:
        taken = time.perf_counter() - self._replied
        assert response.answer == str(self._size), response.answer
        return taken
