"""Every place that tells numbers of a run tells the same ones: exactly, with nothing left out.

The run has recursion, cache hits, a failed and a refused call, a tool, threads and two models.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import sync_playwright

from langchain_replm import RLMEvent, RLMResponse, read_trajectories
from langchain_replm.cli import main
from langchain_replm.types import add_usage_by_model, total
from tests.browser import FLAGS, find_browser
from tests.integration_tests.test_langsmith import THREADS, sub
from tests.langsmith_server import Ingest, langsmith, metadata
from tests.otel import Telemetry, telemetry
from tests.scenarios import QUERY, TEXT, Scenario, add, cell, make

RUN = Scenario(
    [
        RuntimeError("the root model is overloaded"),
        cell("r = llm_query_batch(['a', 'a', 'bad', ''])"),
        "I must think about this.",
        cell(*THREADS, "add(1)", "llm_query('a')")
        + "\n\n"
        + cell("x = [rlm_query('how long?', part) for part in ('u', 'v')]"),
        cell("1 / 0"),
        cell("r = llm_query_batch([f'n{i}' for i in range(9)])"),
        cell("FINAL(x[1])"),
    ],
    sub=sub,
    config={
        "max_recursion_depth": 2,
        "cache_sub_calls": True,
        "max_sub_calls": 12,
        "cost_per_input_token": 1e-6,
        "cost_per_output_token": 3e-6,
    },
    tools=(add,),
)


@dataclass
class Numbers:
    """What is compared."""

    iterations: int
    sub_calls: int
    cache_hits: int
    tokens: dict[str, tuple[int, int]]
    cost: float | None
    stop_reason: str


def tokens_of(usages: Iterable[dict[str, Any]]) -> dict[str, tuple[int, int]]:
    ledger: dict[str, Any] = {}
    for usage in usages:
        add_usage_by_model(ledger, usage)
    return {name: (used["input_tokens"], used["output_tokens"]) for name, used in ledger.items()}


def from_response(response: RLMResponse) -> Numbers:
    return Numbers(
        response.iterations, response.sub_calls, response.cache_hits,
        tokens_of([response.usage_by_model]), response.cost, response.stop_reason,
    )  # fmt: skip


def from_record(response: RLMResponse) -> Numbers:
    """Summed over the trajectory, by way of JSON."""
    again = RLMResponse.model_validate_json(response.to_json())
    totals = total(again.trajectory)
    return Numbers(
        totals.iterations, totals.sub_calls, totals.cache_hits,
        tokens_of([totals.usage_by_model]), totals.cost_usd, again.stop_reason,
    )  # fmt: skip


def from_events(events: list[RLMEvent]) -> Numbers:
    """Counted one by one; what a child has done comes with the end of its `rlm_query`."""
    own = [event for event in events if event.depth == 0]
    details = {kind: [e.detail for e in own if e.type == kind] for kind in {e.type for e in own}}
    replies, calls = details["root_reply"], details["sub_call_end"]
    usages = [{reply["model"]: reply["usage"]} for reply in replies if reply["usage"]]
    usages += [call["usage_by_model"] for call in calls]
    [final] = details["final_answer"]
    hits = sum(event.type == "sub_call_cache_hit" for event in events)
    return Numbers(
        sum(not start["closing"] for start in details["iteration_start"]),
        sum(call["sub_calls"] for call in calls),
        hits, tokens_of(usages), final["cost_usd"], final["stop_reason"],
    )  # fmt: skip


def from_last_event(events: list[RLMEvent], tokens: dict[str, tuple[int, int]]) -> Numbers:
    """As the last event tells them; it has the tokens of all models together."""
    last = events[-1].detail
    together = tuple(sum(pair[place] for pair in tokens.values()) for place in (0, 1))
    assert (last["input_tokens"], last["output_tokens"]) == together
    return Numbers(
        last["iterations"], last["sub_calls"], last["cache_hits"], tokens, last["cost_usd"],
        last["stop_reason"],
    )  # fmt: skip


def from_langsmith(ingest: Ingest) -> Numbers:
    """Counted from the runs that arrived, the totals of the top run held against them."""
    [top] = ingest.of_role("run")
    known = metadata(top)
    made = [
        run for role in ("sub", "child") for run in ingest.of_role(role)
        if not metadata(run).get("rlm_cached")
    ]  # fmt: skip
    hits = [run for run in ingest.of_role("sub") if metadata(run).get("rlm_cached")]
    steps = [run for run in ingest.of_role("iteration") if metadata(run)["rlm_depth"] == 0]
    closing = [run for run in steps if metadata(run).get("rlm_closing")]
    usages = [
        {metadata(run)["ls_model_name"]: metadata(run)["usage_metadata"]}
        for run in ingest.runs.values()
        if metadata(run).get("usage_metadata")
    ]
    tokens = tokens_of(usages)
    assert known["rlm_iterations"] == len(steps) - len(closing)
    assert known["rlm_input_tokens"] == sum(pair[0] for pair in tokens.values())
    assert known["rlm_output_tokens"] == sum(pair[1] for pair in tokens.values())
    assert known["rlm_sub_calls"] == len(made) == sum(metadata(s)["rlm_sub_calls"] for s in steps)
    assert known["rlm_cache_hits"] == len(hits)
    return Numbers(
        len(steps) - len(closing), len(made), len(hits), tokens, known["rlm_cost_usd"],
        known["rlm_stop_reason"],
    )  # fmt: skip


def from_opentelemetry(got: Telemetry) -> Numbers:
    """Counted from the spans; the attributes of the top span and the metrics held against them."""
    attributes = [(span.name, dict(span.attributes or {})) for span in got.spans]
    [top] = [known for name, known in attributes if name == "rlm.generate"]
    calls = [known for name, known in attributes if name == "rlm.sub_call"]
    hits = [call for call in calls if call.get("rlm.cached")]
    steps = [k for name, k in attributes if name == "rlm.iteration" and k["rlm.depth"] == 0]
    iterations = sum(not step.get("rlm.closing") for step in steps)
    usages = [
        {
            known["gen_ai.response.model"]: {
                "input_tokens": known["gen_ai.usage.input_tokens"],
                "output_tokens": known["gen_ai.usage.output_tokens"],
                "total_tokens": 0,
            }
        }
        for _, known in attributes
        if "gen_ai.usage.input_tokens" in known
    ]
    tokens = tokens_of(usages)
    assert top["rlm.iterations"] == iterations
    assert top["rlm.sub_calls"] == len(calls) - len(hits)
    assert top["rlm.total_input_tokens"] == sum(pair[0] for pair in tokens.values())
    assert top["rlm.total_output_tokens"] == sum(pair[1] for pair in tokens.values())
    measured = {"cached": 0, "ok": 0, "error": 0}
    for point in got.points("rlm.sub_calls"):
        measured[point.attributes["rlm.status"]] += point.value
    assert measured["cached"] == len(hits)
    assert measured["ok"] + measured["error"] == len(calls) - len(hits)
    used = sum(point.sum for point in got.points("gen_ai.client.token.usage"))
    assert used == sum(sum(pair) for pair in tokens.values())
    [cost] = got.points("rlm.cost")
    assert cost.value == top["rlm.cost_usd"]
    return Numbers(
        iterations, len(calls) - len(hits), len(hits), tokens, top["rlm.cost_usd"],
        top["rlm.stop_reason"],
    )  # fmt: skip


def from_page(program: str, path: Path, cost: float) -> Numbers:
    """As a person reads them in the report, in a browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        page = browser.new_page()
        page.goto(path.as_uri())
        page.locator("html[data-ready=yes]").wait_for(state="attached")
        figures = {
            label: number.replace(",", "")
            for number, label in (
                figure.inner_text().split("\n") for figure in page.locator(".figure").all()
            )
        }
        rows = page.locator(".tables table").first.locator("tbody").inner_text().splitlines()
        stop_reason = page.locator("#verdict .why .badge").inner_text()
        browser.close()
    cells = [row.split("\t") for row in rows]
    tokens = {
        name: (int(read.replace(",", "")), int(written.replace(",", "")))
        for name, read, _, written, _ in cells
    }
    assert int(figures["tokens"]) == sum(sum(pair) for pair in tokens.values())
    assert float(figures["cost"][1:]) == pytest.approx(cost, rel=1e-3), "rounded for people"
    return Numbers(
        int(figures["iterations"]), int(figures["sub-calls"]), int(figures["cache hits"]), tokens,
        cost, stop_reason,
    )  # fmt: skip


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_all_numbers_agree(colour: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events: list[RLMEvent] = []
    path = tmp_path / "run.jsonl"
    rlm = make(RUN).model_copy(update={"trajectory_file": path})
    with langsmith() as ingest, telemetry() as got:
        if colour == "sync":
            response = rlm.generate(QUERY, TEXT, on_event=events.append)
        else:
            response = asyncio.run(rlm.agenerate(QUERY, TEXT, on_event=events.append))
    truth = from_response(response)
    # The run holds what it is meant to hold.
    assert (truth.sub_calls, truth.stop_reason) == (12, "max_sub_calls")
    assert truth.cache_hits >= 2
    assert set(truth.tokens) == {"root", "sub"}
    assert truth.cost
    assert from_record(response) == truth
    assert from_events(events) == truth
    assert from_last_event(events, truth.tokens) == truth
    assert from_langsmith(ingest) == truth
    assert from_opentelemetry(got) == truth
    [recorded] = read_trajectories(path)
    assert from_response(recorded.response) == truth
    assert main(["show", str(path), "--json"]) == 0
    assert from_response(RLMResponse.model_validate_json(capsys.readouterr().out)) == truth
    program, _ = find_browser()
    if program is not None:  # without one, the tests of the report are skipped and say why
        assert from_page(program, response.to_html(tmp_path / "run.html"), truth.cost) == truth
