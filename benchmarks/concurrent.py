"""20 runs at once in one process, each with a cell of 4 sub-calls; the root and they take 200 ms.

Ideal: root, sub-calls, root: 0.6 s, whatever the number of runs. Every run must see its own output.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks._measure import Plan, Row, compare, interleave, timed
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


def measure(plan: Plan) -> Iterator[Row]:
    from langchain_openai import ChatOpenAI

    runs = plan.pick(RUNS, 4)
    right: list[float] = []
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

        def check(responses: list[Any]) -> None:
            own = sum(response.answer == f"run-{k}" for k, response in enumerate(responses))
            right.append(own / runs)

        async def gather() -> list[Any]:
            return await asyncio.gather(*map(rlm.ainvoke, given))

        cases: dict[str, Callable[[], float]] = {
            "threads": timed(lambda: check(list(threads.map(rlm.invoke, given)))),
            "asyncio": timed(lambda: check(runner.run(gather()))),
        }
        samples = interleave(cases, plan.rounds)
        peak = server.stats()["peak_concurrency"]
    for how, taken in samples.items():
        yield compare(
            "concurrent",
            f"{runs} runs at once, {how}",
            taken,
            [IDEAL_SECONDS] * plan.rounds,
            floor="ideal: latency alone",
            aim=AIM,
        )
    wrong = 1 - min(right)
    yield Row("concurrent", "runs that did not see their own output", wrong, "none", 0.0)
    yield Row("concurrent", "peak at the server", peak / (runs * SUB_CALLS), f"{runs * SUB_CALLS}")
