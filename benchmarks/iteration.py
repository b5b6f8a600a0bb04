"""Overhead of one iteration: 25 cells that do nothing, then the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks._floors import Conversation, aplain_loop, bare_graph, fresh_state, plain_loop
from benchmarks._measure import Plan, Row, compare, interleave, slopes, timed
from benchmarks._scripts import CONTEXT, FINAL, PASS, QUERY, scripted_loop
from langchain_replm import RLM, RLMConfig
from tests.openai_server import OpenAIServerProcess

SHORT, LONG = 5, 25
AIM = 1.5
FLOORS = {"graph": "bare LangGraph loop", "plain": "loop by hand"}


def measure(plan: Plan) -> Iterator[Row]:
    from langchain_openai import ChatOpenAI

    lengths = (SHORT, plan.pick(LONG, 10))
    conversation = Conversation.of_ours(QUERY, CONTEXT, PASS, FINAL)
    with (
        OpenAIServerProcess("benchmarks._scripts:loop_responder") as server,
        asyncio.Runner() as runner,
    ):
        models: dict[str, Callable[[int], Any]] = {
            "scripted": scripted_loop,
            "ChatOpenAI": lambda n: ChatOpenAI(
                base_url=server.base_url, api_key="x", model=f"loop-{n}"
            ),
        }
        for kind, make in models.items():
            cases: dict[str, Callable[[], float]] = {}
            for n in lengths:
                cases |= _cases(make(n), n, conversation, runner)
            samples = interleave(cases, plan.pick(2 * plan.rounds, plan.rounds))
            for colour in ("sync", "async"):
                yield from _rows(f"{kind} {colour}", colour, lengths, samples)


def _cases(
    model: Any, n: int, conversation: Conversation, runner: asyncio.Runner
) -> dict[str, Callable[[], float]]:
    rlm = RLM(model, config=RLMConfig(max_iterations=n + 1))
    given: Any = {"query": QUERY, "context": CONTEXT}
    graph = bare_graph(model, conversation.observation, is_async=False)
    agraph = bare_graph(model, conversation.observation, is_async=True)
    runs = {
        "ours sync": lambda: rlm.invoke(given),
        "ours async": lambda: runner.run(rlm.ainvoke(given)),
        "graph sync": lambda: graph.invoke(fresh_state(conversation)),
        "graph async": lambda: runner.run(agraph.ainvoke(fresh_state(conversation))),
        "plain sync": lambda: plain_loop(model, conversation),
        "plain async": lambda: runner.run(aplain_loop(model, conversation)),
    }
    return {f"{name} {n}": timed(run) for name, run in runs.items()}


def _rows(case: str, colour: str, lengths: tuple[int, int], samples: Any) -> Iterator[Row]:
    short, long = lengths
    for system, floor in FLOORS.items():
        is_goal = system == "graph" and case.startswith("ChatOpenAI")
        ours, base = f"ours {colour}", f"{system} {colour}"
        yield compare(
            "iteration",
            f"{case}, run of {long}",
            samples[f"{ours} {long}"],
            samples[f"{base} {long}"],
            floor=floor,
            aim=AIM if is_goal else None,
        )
        yield compare(
            "iteration",
            f"{case}, one more iteration",
            slopes(samples[f"{ours} {short}"], samples[f"{ours} {long}"], long - short),
            slopes(samples[f"{base} {short}"], samples[f"{base} {long}"], long - short),
            floor=floor,
            aim=AIM if is_goal else None,
        )
