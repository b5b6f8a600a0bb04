"""What LangSmith gets: the real client sends to a server of ours, which puts the runs together."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import StructuredTool

from langchain_replm import RLM, RLMChatModel, RLMConfig, RLMResponse
from langchain_replm.testing import ScriptedChatModel
from tests.langsmith_server import Ingest, langsmith, metadata
from tests.scenarios import QUERY, Scenario, add, cell, flaky, make, play

THREADS = [
    "from concurrent.futures import ThreadPoolExecutor",
    "with ThreadPoolExecutor(2) as pool:",
    "    r = list(pool.map(llm_query, ['t1', 't2']))",
]
SENTENCE = "the heron hides behind the reeds. "


def sub(messages: list[Any]) -> Any:
    """A child run writes one cell; a plain sub-call reads, and fails on bad texts."""
    if messages[0].type == "system":
        return cell("FINAL(llm_query('inner'))")
    return flaky(messages)


EXAMPLE = Path(__file__).parents[2] / "examples" / "langsmith_tracing.py"
EXAMPLE_TREE = """
birds
  iteration 1
    root_generate
      root_generate
    parse
    sandbox_exec
      cell 1
        llm_query
        llm_query
    truncate
"""


def test_the_example_is_found_in_langsmith() -> None:
    with langsmith() as ingest:
        done = subprocess.run(
            [sys.executable, str(EXAMPLE)],
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        assert done.stdout == "THE TEAL SWIMS\ntraced\n"
    assert "\n".join(ingest.tree()) == EXAMPLE_TREE.strip()
    [run] = ingest.named("birds")
    assert "example" in run["tags"]
    assert metadata(run)["chapter"] == 7


RUN = Scenario(
    [
        cell("r = llm_query_batch(['a', 'a', 'bad'])"),
        cell(*THREADS, "add(1)") + "\n\n" + cell("x = rlm_query('how long?', context[:99])"),
        cell("FINAL(x)"),
    ],
    sub=sub,
    context=SENTENCE * 3_000,
    config={
        "max_recursion_depth": 2,
        "cache_sub_calls": True,
        "cost_per_input_token": 1e-6,
        "cost_per_output_token": 3e-6,
    },
    tools=(add,),
)
TREE = """
RLM
  iteration 1
    root_generate
      root_generate
    parse
    sandbox_exec
      cell 1
        llm_query
        llm_query
        llm_query
    truncate
  iteration 2
    root_generate
      root_generate
    parse
    sandbox_exec
      cell 1
        llm_query
        llm_query
        add
      cell 2
        rlm_query
          iteration 1
            root_generate
              root_generate
            parse
            sandbox_exec
              cell 1
                llm_query
            truncate
    truncate
  iteration 3
    root_generate
      root_generate
    parse
    sandbox_exec
      cell 1
    truncate
""".strip().splitlines()

ABOVE = {"node": ["LangGraph", "rlm"], "anode": ["LangGraph", "rlm"], "chain": ["RunnableSequence"]}


@cache
def traced(entry: str) -> tuple[RLMResponse, Ingest]:
    """The run above, once for each way in; no test changes what came of it."""
    with langsmith() as ingest:
        response = asyncio.run(play(RUN, entry))
    return response, ingest


@pytest.mark.parametrize(
    "entry", ["invoke", "ainvoke", "batch", "astream_generate", "node", "anode", "chain"]
)
def test_the_tree_reads_like_the_algorithm(entry: str) -> None:
    response, ingest = traced(entry)
    assert response.stop_reason == "answered"
    top = ABOVE.get(entry, [])
    lines = [line for line in ingest.tree() if line.strip() != "RunnableLambda"]
    assert [line.strip() for line in lines[: len(top)]] == top
    indent = "  " * len(top)
    assert lines[len(top) :] == [indent + line for line in TREE]
    assert len(ingest.posts) == len(set(ingest.posts)) == len(ingest.runs), "each is posted once"
    assert all("end_time" in run for run in ingest.runs.values())


@pytest.mark.parametrize("entry", ["invoke", "ainvoke"])
def test_what_a_run_is_can_be_filtered(entry: str) -> None:
    response, ingest = traced(entry)
    [run] = ingest.of_role("run")
    known = metadata(run)
    assert known["rlm_stop_reason"] == "answered"
    assert known["rlm_sandbox_mode"] == "restricted"
    assert (known["rlm_root_model"], known["rlm_sub_model"]) == ("root", "sub")
    assert known["rlm_context_chars"] == len(RUN.context)
    assert (known["rlm_iterations"], known["rlm_sub_calls"]) == (3, response.sub_calls)
    assert known["rlm_cost_usd"] == response.cost
    labels = sorted(
        (metadata(run)["rlm_iteration"], metadata(run)["rlm_cell"], metadata(run)["rlm_depth"])
        for run in ingest.of_role("sub")
    )
    assert labels == [(1, 1, 0)] * 3 + [(1, 1, 1)] + [(2, 1, 0)] * 2
    [hit] = [run for run in ingest.of_role("sub") if metadata(run).get("rlm_cached")]
    assert "rlm:cached" in hit["tags"]
    [child] = ingest.of_role("child")
    assert metadata(child)["rlm_stop_reason"] == "answered"
    assert metadata(child)["rlm_cell"] == 2
    assert [metadata(run)["rlm_status"] for run in ingest.of_role("cell")] == ["ok"] * 5
    steps = [metadata(run) for run in ingest.of_role("iteration")]
    outer = [step for step in steps if step["rlm_depth"] == 0]
    assert sum(step["rlm_input_tokens"] for step in outer) == response.total_input_tokens
    assert sum(step["rlm_sub_calls"] for step in outer) == response.sub_calls
    [failed] = [run for run in ingest.of_role("sub") if run.get("error")]
    assert "overloaded" in failed["error"]


def test_labels_of_a_run_are_not_those_of_the_runs_below_it() -> None:
    _, ingest = traced("invoke")
    for name in ("parse", "sandbox_exec", "truncate"):
        for run in ingest.named(name):
            assert not any(label.startswith("rlm_") for label in metadata(run))
            assert not any(tag.startswith("rlm:") for tag in run["tags"])


@pytest.mark.parametrize("entry", ["invoke", "anode"])
def test_usage_is_counted_once(entry: str) -> None:
    response, ingest = traced(entry)
    counted: dict[str, int] = {}
    for run in ingest.runs.values():
        usage = metadata(run).get("usage_metadata")
        if usage is not None:
            assert run["run_type"] == "llm"
            model = metadata(run)["ls_model_name"]
            counted[model] = counted.get(model, 0) + usage["total_tokens"]
    told = {model: usage["total_tokens"] for model, usage in response.usage_by_model.items()}
    assert counted == told


def test_the_context_is_not_uploaded() -> None:
    _, ingest = traced("ainvoke")
    sent = json.dumps(list(ingest.runs.values()))
    assert SENTENCE in sent, "the preview is there"
    assert SENTENCE * 40 not in sent
    assert len(sent) < 200_000
    assert ingest.received_bytes < 50_000


@pytest.mark.parametrize(("most", "whole"), [(10_000, False), (None, True)])
def test_a_prompt_that_is_the_context_is_not_uploaded_unless_asked_for(
    most: int | None, *, whole: bool
) -> None:
    scenario = Scenario([cell("FINAL(llm_query(context))")], config={"trace_prompt_chars": most})
    context = "".join(f"{number} herons. " for number in range(3_000))
    with langsmith() as ingest:
        response = make(scenario).invoke({"query": QUERY, "context": context})
    assert response.answer.startswith(f"read {len(context)}"), "the model got all of it"
    [run] = ingest.of_role("sub")
    prompt = run["inputs"]["messages"][0][0]["kwargs"]["content"]
    assert (prompt == context) is whole
    if not whole:
        assert len(prompt) < 10_300
        assert hashlib.sha256(context.encode()).hexdigest() in prompt
        assert f"of {len(context):,} characters are not in the trace" in prompt
    assert len(ingest.posts) == len(ingest.runs), "one tracer, not two"


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_chat_model_is_above_the_same_tree(colour: str) -> None:
    chat = RLMChatModel(
        root_model=ScriptedChatModel(replies=RUN.replies, model_name="root"),
        sub_model=ScriptedChatModel(respond=RUN.sub, model_name="sub"),
        config=RLMConfig(**RUN.config or {}),
        tools=[add],
    )
    with langsmith() as ingest:
        if colour == "sync":
            message = chat.invoke(QUERY, context=RUN.context)
        else:
            message = asyncio.run(chat.ainvoke(QUERY, context=RUN.context))
    assert ingest.tree() == ["RLMChatModel", *(f"  {line}" for line in TREE)]
    assert len(ingest.posts) == len(ingest.runs)
    used = [metadata(run).get("usage_metadata") for run in ingest.runs.values()]
    counted = sum(usage["total_tokens"] for usage in used if usage)
    assert message.usage_metadata is not None
    assert counted == message.usage_metadata["total_tokens"], "the caller's total, not twice"


def test_the_upload_grows_with_the_iterations_not_with_their_square() -> None:
    def bytes_of_nodes(iterations: int) -> int:
        replies = [cell(f"print('{'x' * 500}', {n})") for n in range(iterations - 1)]
        scenario = Scenario([*replies, cell("FINAL(1)")])
        with langsmith() as ingest:
            make(scenario).invoke({"query": QUERY, "context": "text"})
        nodes = [
            run
            for run in ingest.runs.values()
            if run["name"] in {"parse", "sandbox_exec", "truncate"}
        ]
        return sum(len(json.dumps([run["inputs"], run["outputs"]])) for run in nodes)

    assert bytes_of_nodes(12) < 2.2 * bytes_of_nodes(6)


async def test_labels_of_the_caller_reach_every_run() -> None:
    rlm = make(RUN)
    with langsmith() as ingest:
        await rlm.ainvoke(
            {"query": QUERY, "context": RUN.context},
            {"tags": ["mine"], "metadata": {"tenant": "heron"}, "run_name": "My question"},
        )
    assert ingest.tree()[0] == "My question"
    for run in ingest.runs.values():
        assert "mine" in run["tags"], run["name"]
        assert metadata(run)["tenant"] == "heron"


def test_a_limit_and_its_reason() -> None:
    scenario = Scenario(
        [cell("n = 1"), cell("n = 2"), cell("FINAL(n)")], config={"max_iterations": 2}
    )
    with langsmith() as ingest:
        make(scenario).invoke({"query": QUERY, "context": "text"})
    [run] = ingest.of_role("run")
    assert metadata(run)["rlm_stop_reason"] == "max_iterations"


class Stop(BaseException):
    """What no node may swallow."""


def test_a_run_that_is_torn_down_leaves_no_open_run() -> None:
    def stop(messages: list[Any]) -> Any:
        raise Stop

    root = ScriptedChatModel(replies=[cell("llm_query('a')")])
    rlm = RLM(root, sub_model=ScriptedChatModel(respond=stop))
    with langsmith() as ingest, pytest.raises(Stop):
        rlm.invoke({"query": QUERY, "context": "text"})
    all_have_ended(ingest, "Stop")


async def test_a_run_that_is_cancelled_leaves_no_open_run() -> None:
    waiting = asyncio.Event()

    async def wait() -> str:
        """Wait for ever."""
        waiting.set()
        await asyncio.Event().wait()
        return ""

    rlm = RLM(
        ScriptedChatModel(replies=[cell("wait()")]),
        tools=[StructuredTool.from_function(coroutine=wait)],
    )
    with langsmith() as ingest:
        running = asyncio.create_task(rlm.ainvoke({"query": QUERY, "context": "text"}))
        await waiting.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    all_have_ended(ingest, "Cancelled")


def all_have_ended(ingest: Ingest, why: str) -> None:
    # Before 1.8 LangChain's own tools do not end their run when they are cancelled.
    is_older = version("langchain-core").split(".")[:2] in (["1", str(n)] for n in range(8))
    runs = [run for run in ingest.runs.values() if not (is_older and run["run_type"] == "tool")]
    assert all("end_time" in run for run in runs)
    for name in ("RLM", "iteration 1", "sandbox_exec", "cell 1"):
        [run] = ingest.named(name)
        assert why in run["error"], name
