"""Runs that are written down as they go on: the file tells what the response tells, whatever happens."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from langchain_replm import RLM, RLMConfig, TrajectoryFile, create_rlm_graph, read_trajectories
from langchain_replm.testing import ScriptedChatModel
from tests.scenarios import ENTRIES, SCENARIOS, cell, comparable, play

TOLD = ["batch_with_failures", "recursion", "nudged", "iteration_limit_closes_with_prose"]


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("name", TOLD)
async def test_the_file_tells_what_the_response_tells(
    name: str, entry: str, tmp_path: Path
) -> None:
    path = tmp_path / "run.jsonl"
    response = await play(SCENARIOS[name], entry, trajectory_file=path)
    [run] = read_trajectories(path)
    # A parent graph keeps what its own state names; times are not among it.
    assert comparable(run.response) == comparable(response)
    assert run.response == response or entry in {"node", "anode"}
    assert run.finished


def test_runs_of_a_batch_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    root = ScriptedChatModel(respond=lambda messages: cell("FINAL(llm_query(context))"))
    sub = ScriptedChatModel(respond=lambda messages: messages[-1].content.upper())
    rlm = RLM(root, sub_model=sub, trajectory_file=path)
    inputs: Any = [{"query": f"q{n}", "context": f"c{n}"} for n in range(12)]
    responses = [*rlm.batch(inputs), *asyncio.run(rlm.abatch(inputs))]
    runs = read_trajectories(path)
    assert len(runs) == 24
    assert sorted(run.response.answer for run in runs) == sorted(r.answer for r in responses)


def test_a_recorder_of_ones_own_and_a_broken_one(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[str] = []

    class Keep:
        def record(self, entry: dict[str, Any]) -> None:
            heard.append(entry["type"])
            if entry["type"] == "sub_call":
                raise OSError("No space left on device")

    root = ScriptedChatModel(replies=[cell("FINAL(llm_query('?'))")])
    graph = create_rlm_graph(
        root, sub_model=ScriptedChatModel(replies=["yes"]), trajectory_file=Keep()
    )
    assert graph.invoke({"query": "?", "context": "c"})["answer"] == "yes"
    assert heard == ["run", "reply", "sub_call", "iteration", "end"]
    assert "the recorder failed for 'sub_call': " in caplog.text


def test_a_resumed_run_stands_alone_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    failing = iter([cell("x = 41"), KeyboardInterrupt(), cell("FINAL(x + 1)")])

    def respond(messages: Any) -> Any:
        reply = next(failing)
        if isinstance(reply, BaseException):
            raise reply
        return reply

    rlm = RLM(
        ScriptedChatModel(respond=respond), checkpointer=InMemorySaver(), trajectory_file=path
    )
    config: Any = {"configurable": {"thread_id": "t1"}}
    with pytest.raises(KeyboardInterrupt):
        rlm.invoke({"query": "?", "context": "c"}, config)
    response = rlm.invoke(None, config)  # type: ignore[arg-type]
    first, second = read_trajectories(path)
    assert (first.ended, len(first.response.trajectory), first.thread) == ("unfinished", 1, "t1")
    assert (second.response, second.thread) == (response, "t1")
    assert response.answer == "42"


SCRIPT = """
import sys, threading
from langchain_replm import RLM
from langchain_replm.testing import ScriptedChatModel

def sub(messages):
    if messages[-1].content == "p5":
        print("hanging", flush=True)
        threading.Event().wait()
    return "re " + messages[-1].content

root = ScriptedChatModel(replies=[
    "```repl\\nx = 1\\n```",
    "I ask.\\n```repl\\nfor n in range(9):\\n    llm_query(f'p{n}')\\n```",
])
RLM(root, sub_model=ScriptedChatModel(respond=sub), trajectory_file=sys.argv[1]).generate("?", "c")
"""


def test_a_killed_process_leaves_everything_until_then(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "hanging\n"
        os.kill(process.pid, signal.SIGKILL)
    [run] = read_trajectories(path)
    assert run.ended == "unfinished"
    first, second = run.response.trajectory
    assert first.cells[0].code == "x = 1"
    assert second.reply.startswith("I ask.")
    replies = [item.response for call in second.host_calls() for item in call.items]
    assert replies == [f"re p{n}" for n in range(5)]
    assert run.response.sub_calls == 5


def test_redaction_reaches_a_real_run(tmp_path: Path) -> None:
    keep = TrajectoryFile(tmp_path / "run.jsonl", redact=lambda text: text.replace("Ahab", "#"))
    root = ScriptedChatModel(
        replies=["Ahab?\n" + cell("ahab = llm_query(context)", "FINAL({'Ahab': ahab})")]
    )
    sub = ScriptedChatModel(respond=lambda messages: messages[-1].content)
    response = RLM(root, sub_model=sub, trajectory_file=keep, config=RLMConfig()).generate(
        "Is Ahab here?", "Ahab, Captain"
    )
    assert json.loads(response.answer) == {"Ahab": "Ahab, Captain"}
    assert "Ahab" not in keep.path.read_text()
