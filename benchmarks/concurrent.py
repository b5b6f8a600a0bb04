"""20 runs at once in one process, each with a cell of 4 sub-calls; the root and they take 200 ms.

Ideal: root, sub-calls, root: 0.6 s, whatever the number of runs. Every run must see its own output.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks._measure import Plan, Row, compare, interleave, seconds, timed
from benchmarks._scripts import cell
from langchain_replm import RLM, RLMConfig
from tests.openai_server import OpenAIServerProcess

LATENCY_SECONDS = 0.2
RUNS, SUB_CALLS = 20, 4
IDEAL_SECONDS = 3 * LATENCY_SECONDS
AIM = 1.5


def responder(request: Any) -> str:
    """For the server: roots are told apart by their query, sub-calls repeat their prompt."""
    if request.model == "sub":
        return f"seen by {request.last_text}"
    if len(request.messages) == 2:
        tag = re.findall(r"run-\d+", request.last_text)[-1]
        return cell(
            f"r = llm_query_batch([f'{tag} part {{i}}' for i in range({SUB_CALLS})])", "print(r)"
        )
    seen = sorted(set(re.findall(r"seen by (run-\d+)", request.last_text)))
    return cell(f"FINAL({' '.join(seen)!r})")


class BareCalls:
    """The model calls of one run with nothing around them: no loop, no worker, no record."""

    def __init__(self, root: Any, sub: Any, text: str) -> None:
        self._root, self._sub, self._text = root, sub, text

    def run(self, number: int) -> None:
        self._root.invoke(self._first(number))
        seen = self._sub.batch(self._prompts(number))
        self._root.invoke(self._second(number, seen[0].text))

    async def arun(self, number: int) -> None:
        await self._root.ainvoke(self._first(number))
        seen = await self._sub.abatch(self._prompts(number))
        await self._root.ainvoke(self._second(number, seen[0].text))

    def _first(self, number: int) -> list[tuple[str, str]]:
        return [("system", self._text), ("user", f"This is run-{number}.")]

    def _prompts(self, number: int) -> list[str]:
        return [f"run-{number} part {i}" for i in range(SUB_CALLS)]

    def _second(self, number: int, seen: str) -> list[tuple[str, str]]:
        return [*self._first(number), ("assistant", "a cell"), ("user", seen)]


def measure(plan: Plan) -> Iterator[Row]:
    from langchain_openai import ChatOpenAI

    runs = plan.pick(RUNS, 4)
    wrong: list[float] = []
    peaks: list[int] = []
    with (
        OpenAIServerProcess(
            "benchmarks.concurrent:responder", latency_seconds=LATENCY_SECONDS
        ) as server,
        asyncio.Runner() as runner,
        ThreadPoolExecutor(runs) as threads,
    ):
        root, sub = (
            ChatOpenAI(base_url=server.base_url, api_key="x", model=name)
            for name in ("root", "sub")
        )
        rlm = RLM(root, sub_model=sub, config=RLMConfig(max_iterations=5))
        given: list[Any] = [
            {"query": f"This is run-{k}.", "context": f"herons of {k}"} for k in range(runs)
        ]

        def checked(run: Callable[[], list[Any]]) -> float:
            server.reset()
            responses: list[Any] = []
            taken = seconds(lambda: responses.extend(run()))
            peaks.append(server.stats()["peak_concurrency"])
            own = sum(response.answer == f"run-{k}" for k, response in enumerate(responses))
            wrong.append(1 - own / runs)
            return taken

        async def gather(run: Callable[[Any], Any], items: list[Any]) -> list[Any]:
            return await asyncio.gather(*map(run, items))

        calls = BareCalls(root, sub, "You are a root model.")
        cases: dict[str, Callable[[], float]] = {
            "threads": lambda: checked(lambda: list(threads.map(rlm.invoke, given))),
            "asyncio": lambda: checked(lambda: runner.run(gather(rlm.ainvoke, given))),
            "floor threads": timed(lambda: list(threads.map(calls.run, range(runs)))),
            "floor asyncio": timed(lambda: runner.run(gather(calls.arun, list(range(runs))))),
        }
        samples = interleave(cases, plan.rounds)
    ideal = [IDEAL_SECONDS] * plan.rounds
    for how in ("threads", "asyncio"):
        case, floor = f"{runs} runs at once, {how}", samples[f"floor {how}"]
        yield compare(
            "concurrent", case, samples[how], ideal, floor="ideal: latency alone", aim=AIM
        )
        yield compare("concurrent", case, samples[how], floor, floor="the same model calls alone")
        yield compare("concurrent", f"{case}, the floor", floor, ideal, floor="ideal")
    yield Row("concurrent", "runs that did not see their own output", max(wrong), "none", 0.0)
    most = runs * SUB_CALLS
    yield Row("concurrent", "peak at the server", max(peaks) / most, f"{most}")
