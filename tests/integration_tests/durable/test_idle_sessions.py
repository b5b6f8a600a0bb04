"""The session of a thread stays open for a while: reused if it is what the record says, or rebuilt.

`clock()` tells whether a cell was run again: its value is another one then.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from langchain_replm import RLM, RLMConfig
from langchain_replm._nodes._service import CellService
from langchain_replm.sandbox._lifecycle import SessionKeeper
from langchain_replm.testing import ScriptedChatModel
from tests.scenarios import cell
from tests.watched import Watched

pytestmark = pytest.mark.usefixtures("nothing_left_behind")

GIVEN: Any = {"query": "q", "context": "the heron stands still"}
STAMP = cell("import time", "stamp = [time.time_ns()]", "FINAL(stamp)")
SHOW = cell("FINAL(stamp)")
KEPT = RLMConfig(idle_seconds=1_000)


def thread(name: object = "t") -> Any:
    return {"configurable": {"thread_id": str(name)}}


def asking(*replies: str, watched: Watched, config: RLMConfig = KEPT, **fields: Any) -> RLM:
    fields = {"checkpointer": InMemorySaver()} | fields
    root = ScriptedChatModel(replies=list(replies))
    return RLM(root, config=config, sandbox=watched.sandbox, **fields)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_the_next_query_finds_the_session_and_no_cell_runs_again() -> None:
    watched = Watched()
    show_more = cell("FINAL([stamp, context, len(history)])")
    with asking(STAMP, SHOW, "FINAL(no cell)", show_more, watched=watched) as rlm:
        stamp = rlm.invoke(GIVEN, thread()).answer
        assert rlm.invoke(GIVEN, thread()).answer == stamp
        rlm.invoke(GIVEN, thread())
        other = rlm.invoke({"query": "q", "context": ["another"]}, thread()).answer
        assert json.loads(other) == [json.loads(stamp), ["another"], 3]
        assert len(watched.started) == 1
        assert len(watched.open_now) == 1
    assert not watched.open_now
    assert rlm.graph.get_state(thread()).values["session"]


def test_colours_and_event_loops_share_a_session() -> None:
    watched = Watched()

    async def go() -> str:
        return (await rlm.ainvoke(GIVEN, thread())).answer

    async def close() -> None:
        async with rlm:
            pass

    rlm = asking(STAMP, SHOW, SHOW, SHOW, watched=watched)
    answers = [asyncio.run(go()), asyncio.run(go()), rlm.invoke(GIVEN, thread()).answer]
    *_, (_, last) = rlm.graph.stream(GIVEN, thread(), stream_mode=["custom", "values"])
    assert {*answers, last["answer"]} == {answers[0]}
    assert len(watched.started) == 1
    asyncio.run(close())
    assert not watched.open_now


def test_a_person_who_thinks_for_a_while_finds_the_session() -> None:
    watched = Watched()
    config = RLMConfig(idle_seconds=1_000, approve="cells")
    with asking(STAMP.replace("FINAL", "print"), SHOW, watched=watched, config=config) as rlm:
        assert rlm.invoke(GIVEN, thread()).questions
        assert rlm.invoke(Command(resume="approve"), thread()).questions
        started = len(watched.started)
        before = rlm.graph.get_state(thread()).values["trajectory"][0]["cells"][0]["output_head"]
        assert rlm.invoke(Command(resume="approve"), thread()).answer == before.strip()
        assert len(watched.started) == started


def test_a_session_in_which_nothing_has_run_gets_the_context_of_the_next_query(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    leave = SessionKeeper.leave

    def leave_when_ready(self: Any) -> Any:
        self._current.result()
        return leave(self)

    monkeypatch.setattr(SessionKeeper, "leave", leave_when_ready)
    watched = Watched()
    with asking("FINAL(no cell)", cell("FINAL(context)"), watched=watched) as rlm:
        assert rlm.invoke({"query": "q", "context": "one"}, thread()).answer == "no cell"
        assert rlm.invoke({"query": "q", "context": "second"}, thread()).answer == "second"
        assert len(watched.started) == 1


def test_a_session_ends_after_its_time() -> None:
    watched = Watched()
    config = RLMConfig(idle_seconds=0.05)
    rlm = asking(STAMP, SHOW, watched=watched, config=config)
    stamp = rlm.invoke(GIVEN, thread()).answer
    until(lambda: not watched.open_now)
    assert rlm.invoke(GIVEN, thread()).answer != stamp, "it was rebuilt"
    assert len(watched.started) == 2
    until(lambda: not watched.open_now)


def test_many_threads_share_few_places_and_the_longest_idle_goes_first() -> None:
    watched, threads = Watched(), 200
    config = RLMConfig(idle_seconds=1_000, max_workers=4)
    root = ScriptedChatModel(respond=_first_or_next)
    saver = InMemorySaver()
    with RLM(root, config=config, sandbox=watched.sandbox, checkpointer=saver) as rlm:
        configs = [thread(number) for number in range(threads)]
        first = [response.answer for response in rlm.batch([GIVEN] * threads, configs)]
        assert len(watched.started) == threads
        assert watched.peak == 4
        assert len(watched.open_now) == 4
        kept = [int(key) for key in rlm.graph.places._idle]
        again = [rlm.invoke(GIVEN, thread(number)).answer for number in kept]
        assert again == [first[number] for number in kept]
        assert len(watched.started) == threads, "the last four are there"
        gone = next(number for number in range(threads) if number not in kept)
        assert rlm.invoke(GIVEN, thread(gone)).answer != first[gone], "rebuilt"
        assert (watched.peak, len(watched.open_now)) == (4, 4)
    assert not watched.open_now


def _first_or_next(messages: list[Any]) -> str:
    return SHOW if "`stamp`" in str(messages[-1].content) else STAMP


def test_a_run_takes_the_place_of_an_idle_session() -> None:
    watched = Watched()
    config = RLMConfig(idle_seconds=1_000, max_workers=1)
    with asking(STAMP, STAMP, watched=watched, config=config) as rlm:
        rlm.invoke(GIVEN, thread("a"))
        rlm.invoke(GIVEN, thread("b"))
        assert (watched.peak, len(watched.started)) == (1, 2)


def changed(rlm: RLM, **fields: str) -> None:
    """Change the one cell of the finished run."""
    (run,) = rlm.graph.get_state(thread()).values["session"]
    (step,) = run["trajectory"]
    cells = [{**step["cells"][0], **fields}]
    for session in (None, [{**run, "trajectory": [{**step, "cells": cells}]}]):
        rlm.graph.update_state(thread(), {"session": session}, as_node="truncate")


def other_replica(rlm: RLM, watched: Watched) -> None:
    replica = asking(cell("stamp = ['replica']", "FINAL(1)"), watched=watched,
                     config=RLMConfig(), checkpointer=rlm.checkpointer)  # fmt: skip
    replica.invoke(GIVEN, thread())


@pytest.mark.parametrize("how", ["edit", "other result", "fork", "replica", "killed", "new graph"])
def test_what_is_not_the_session_of_the_record_is_rebuilt(how: str) -> None:
    watched, config = Watched(), thread()
    rlm = asking(STAMP, SHOW, SHOW, watched=watched)
    stamp = rlm.invoke(GIVEN, config).answer
    wanted: str | None = None
    match how:
        case "edit":
            wanted = '["edited"]'
            changed(rlm, code="stamp = ['edited']\nFINAL(stamp)")
        case "other result":
            changed(rlm, output_head="another")
        case "fork":
            rlm.root_model.replies[1] = cell("stamp.append(2)", "FINAL(stamp)")  # type: ignore[union-attr]
            config = rlm.graph.get_state(config).config
            assert len(json.loads(rlm.invoke(GIVEN, thread()).answer)) == 2
        case "replica":
            wanted = '["replica"]'
            other_replica(rlm, watched)
        case "killed":
            os.kill(watched.started[0].pid, signal.SIGKILL)
            os.waitid(os.P_PID, watched.started[0].pid, os.WEXITED | os.WNOWAIT)
        case "new graph":
            rlm.close()
            rlm = asking(SHOW, watched=watched, checkpointer=rlm.checkpointer)
    before = len(watched.started)
    answer = rlm.invoke(GIVEN, config).answer
    assert answer == (wanted or answer)
    assert answer != stamp
    assert len(json.loads(answer)) == 1
    assert len(watched.started) == before + 1
    rlm.close()
    assert not watched.open_now


@pytest.mark.parametrize("code", ["late call", "stopped", "unasked"])
def test_a_session_that_a_rebuilt_one_would_not_equal_is_not_kept(
    code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that wait for a call when their cell ends; a cell that was stopped and left traces;
    a cell that was given up because a person must be asked."""
    watched = Watched()
    codes = {
        "late call": ["import threading", "threading.Thread(target=llm_query, args=('p',)).start()",
                      "import time", "time.sleep(0.3)", "FINAL(1)"],
        "stopped": ["n = 1", "while True: n += 1"],
        "unasked": ["n = look()"],
    }  # fmt: skip

    def look() -> int:
        """Look."""
        return 1

    approve = ("tools",) if code == "unasked" else ()
    config = RLMConfig(idle_seconds=1_000, sandbox_timeout=0.5, approve=approve)
    cell_has_ended, settle = threading.Event(), CellService._settle_rest

    def settle_rest(self: Any) -> Any:
        cell_has_ended.set()
        return settle(self)

    def respond(messages: list[Any]) -> str:
        cell_has_ended.wait(60)
        return "read"

    monkeypatch.setattr(CellService, "_settle_rest", settle_rest)

    rlm = asking(
        cell(*codes[code]), "FINAL(done)", watched=watched, config=config, tools=[look],
        sub_model=ScriptedChatModel(respond=respond),
    )  # fmt: skip
    rlm.invoke(GIVEN, thread())
    assert len(watched.started) == 1
    assert not watched.open_now
    rlm.close()


def test_responses_are_equal_with_and_without() -> None:
    replies = (
        cell("import random", "r = random.random()", "a = llm_query('a')", "print(r)"),
        cell("FINAL([r, a])"),
        cell("FINAL([r, random.random(), a, context, history, sorted(set('heron'))])"),
    )

    def run(config: RLMConfig) -> list[Any]:
        watched = Watched()
        sub = ScriptedChatModel(respond=lambda messages: f"read {messages[-1].content}")
        with asking(*replies, watched=watched, config=config, sub_model=sub) as rlm:
            responses = [rlm.invoke(GIVEN, thread()), rlm.invoke(GIVEN, thread())]
        kept = config.idle_seconds is not None
        assert len(watched.started) == 2 - kept
        return [timeless(response.to_dict()) for response in responses]

    assert run(KEPT) == run(RLMConfig())


def timeless(data: Any) -> Any:
    if isinstance(data, dict):
        return {name: timeless(value) for name, value in data.items() if "seconds" not in name}
    return [timeless(item) for item in data] if isinstance(data, list) else data


LEAVES = """
import os, sys
from langgraph.checkpoint.memory import InMemorySaver
from langchain_replm import RLM, RLMConfig
from langchain_replm.testing import ScriptedChatModel

root = ScriptedChatModel(replies=["```repl\\nimport time\\nn = time.time_ns()\\nFINAL(n)\\n```",
                                  "```repl\\nFINAL(n)\\n```"])
rlm = RLM(root, config=RLMConfig(idle_seconds=1000), checkpointer=InMemorySaver())
ask = lambda: rlm.generate("q", "c", config={"configurable": {"thread_id": "t"}}).answer
first = ask()
(worker,) = [idle.transport.pid for idle in rlm.graph.places._idle.values()]
if os.fork() == 0:  # rebuilds, and touches nothing of the other one
    os._exit(0 if ask() != first and not rlm.close() else 1)
status = os.wait()[1]
os.kill(worker, 0)
print(worker, status, ask() == first)
"""


def test_at_the_end_of_the_interpreter_and_in_a_fork() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", LEAVES],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    worker, status, is_kept = done.stdout.split()
    assert (status, is_kept) == ("0", "True"), done.stderr
    with pytest.raises(ProcessLookupError):
        os.kill(int(worker), 0)
