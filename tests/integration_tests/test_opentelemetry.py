"""Spans and metrics, with the SDK's exporters in memory."""

from __future__ import annotations

import asyncio
import builtins
import subprocess
import sys
from functools import cache
from typing import Any

import pytest
from opentelemetry import trace

from langchain_replm import RLM, RLMResponse
from langchain_replm.testing import ScriptedChatModel
from tests.integration_tests.test_langsmith import RUN, SENTENCE
from tests.otel import Telemetry, telemetry
from tests.scenarios import QUERY, Scenario, cell, make, play

TREE = """
rlm.generate
  rlm.iteration
    chat root
    rlm.cell
      rlm.sub_call
      rlm.sub_call
      rlm.sub_call
  rlm.iteration
    chat root
    rlm.cell
      rlm.sub_call
      rlm.sub_call
      execute_tool add
    rlm.cell
      rlm.sub_call
        rlm.iteration
          chat sub
          rlm.cell
            rlm.sub_call
  rlm.iteration
    chat root
    rlm.cell
""".strip().splitlines()


@cache
def exported(entry: str) -> tuple[RLMResponse, Telemetry]:
    with telemetry() as got:
        response = asyncio.run(play(RUN, entry))
    return response, got


@pytest.mark.parametrize("entry", ["invoke", "ainvoke", "astream_generate", "node", "anode"])
def test_the_spans_are_nested_as_the_algorithm_is(entry: str) -> None:
    response, got = exported(entry)
    assert response.stop_reason == "answered"
    assert got.tree() == TREE


@pytest.mark.parametrize("entry", ["invoke", "ainvoke"])
def test_the_attributes_of_replm_are_there(entry: str) -> None:
    response, got = exported(entry)
    [run] = got.named("rlm.generate")
    known = dict(run.attributes or {})
    assert known["rlm.query_len"] == len(QUERY)
    assert known["rlm.model"] == "root"
    assert known["rlm.iterations"] == response.iterations
    assert known["rlm.total_input_tokens"] == response.total_input_tokens
    assert known["rlm.total_output_tokens"] == response.total_output_tokens
    assert known["rlm.elapsed_seconds"] == response.elapsed_seconds
    assert known["rlm.stop_reason"] == "answered"
    assert known["rlm.cost_usd"] == response.cost
    calls = [dict(span.attributes or {}) for span in got.named("rlm.sub_call")]
    [child] = [call for call in calls if call.get("rlm.recursive")]
    assert (child["rlm.inner_iterations"], child["rlm.prompt_len"]) == (1, len("how long?"))
    [hit] = [call for call in calls if call.get("rlm.cached")]
    assert "rlm.input_tokens" not in hit
    plain = [call for call in calls if call is not child and call is not hit]
    assert [call["rlm.depth"] for call in plain] == [0, 0, 0, 0, 1]
    assert all(call["gen_ai.request.model"] == "sub" for call in plain)
    assert sum("error.type" in call for call in plain) == 1
    [failed] = [span for span in got.spans if not span.status.is_ok and span.status.description]
    assert failed.status.description == "RuntimeError"


def test_usage_stands_on_calls_only_and_sums_up() -> None:
    response, got = exported("ainvoke")
    counted: dict[str, int] = {}
    for span in got.spans:
        known = span.attributes or {}
        if "gen_ai.usage.input_tokens" in known:
            model = str(known["gen_ai.response.model"])
            counted[model] = counted.get(model, 0) + int(str(known["gen_ai.usage.input_tokens"]))
    assert counted == {
        model: usage["input_tokens"] for model, usage in response.usage_by_model.items()
    }


def test_the_metrics_count_the_same() -> None:
    response, got = exported("invoke")
    sub_calls = {
        (point.attributes["rlm.kind"], point.attributes["rlm.status"]): point.value
        for point in got.points("rlm.sub_calls")
    }
    assert sub_calls == {
        ("llm_query", "ok"): 4,
        ("llm_query", "error"): 1,
        ("llm_query", "cached"): 1,
        ("rlm_query", "ok"): 1,
    }
    tokens = sum(point.sum for point in got.points("gen_ai.client.token.usage"))
    assert tokens == response.total_input_tokens + response.total_output_tokens
    [cost] = got.points("rlm.cost")
    assert cost.value == pytest.approx(response.cost)
    [runs] = got.points("rlm.runs")
    assert (runs.value, runs.attributes["rlm.stop_reason"]) == (1, "answered")
    assert got.points("rlm.run.duration")[0].count == 1
    assert sum(point.count for point in got.points("gen_ai.client.operation.duration")) == 9


def test_no_text_is_exported() -> None:
    _, got = exported("invoke")
    told = str([(span.attributes, span.events) for span in got.spans])
    assert SENTENCE[:20] not in told
    assert QUERY not in told
    assert "llm_query(" not in told


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_spans_of_the_user_are_in_the_same_tree(colour: str) -> None:
    mine = trace.get_tracer("mine")

    def look() -> str:
        """Look."""
        with mine.start_as_current_span("my lookup"):
            return "seen"

    root = ScriptedChatModel(replies=[cell("from concurrent.futures import ThreadPoolExecutor",
        "with ThreadPoolExecutor(1) as pool:", "    FINAL(pool.submit(look).result())")])  # fmt: skip
    rlm = RLM(root, tools=[look])
    with telemetry() as got:
        mine = trace.get_tracer_provider().get_tracer("mine")
        with mine.start_as_current_span("my request"):
            given: Any = {"query": QUERY, "context": "text"}
            rlm.invoke(given) if colour == "sync" else await rlm.ainvoke(given)
    lines = [line.strip() for line in got.tree()]
    assert lines[:2] == ["my request", "rlm.generate"]
    assert got.tree()[-1] == "          my lookup", got.tree()
    [lookup] = got.named("my lookup")
    [tool] = got.named("execute_tool look")
    assert lookup.parent is not None
    assert lookup.parent.span_id == tool.context.span_id


async def test_runs_at_once_do_not_mix() -> None:
    scenario = Scenario([cell("FINAL(llm_query('p'))")])
    with telemetry() as got:
        given: Any = {"query": QUERY, "context": "text"}
        await asyncio.gather(*(make(scenario).ainvoke(given) for _ in range(4)))
    one = ["rlm.generate", "  rlm.iteration", "    chat root", "    rlm.cell", "      rlm.sub_call"]
    assert got.tree() == one * 4


def test_nothing_is_kept_of_runs_that_have_ended() -> None:
    from langchain_replm._traces.telemetry import configured_tracer

    with telemetry():
        make(RUN).invoke({"query": QUERY, "context": "text"})
        tracer = configured_tracer()
        assert tracer is not None
        assert (tracer._open, tracer.run_map, tracer.order_map) == ({}, {}, {})


def test_nothing_is_imported_by_us_when_nobody_has_configured_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # LangSmith imports the API wherever it finds it, so a look at `sys.modules` would tell nothing.
    original, importers = builtins.__import__, set()

    def listening(name: str, names: Any = None, *rest: Any) -> Any:
        if name.startswith("opentelemetry"):
            importers.add((names or {}).get("__name__", ""))
        return original(name, names, *rest)

    monkeypatch.setattr(builtins, "__import__", listening)
    make(RUN).invoke({"query": QUERY, "context": "text"})
    assert not [name for name in importers if name.startswith("langchain_replm")]


WITHOUT = """
import sys
sys.modules["opentelemetry"] = None
from langchain_replm import RLM
from langchain_replm.testing import ScriptedChatModel
root = ScriptedChatModel(replies=["```repl\\nFINAL(llm_query('a'))\\n```"])
print(RLM(root).generate("How many?", "text").stop_reason)
"""


def test_it_need_not_be_installed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, timeout=110, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "answered"), done.stderr


def test_the_api_alone_costs_no_handler() -> None:
    from langchain_replm._traces.telemetry import configured_tracer, with_telemetry

    assert configured_tracer() is None
    config: Any = {"tags": ["a"]}
    assert with_telemetry(config) is config
