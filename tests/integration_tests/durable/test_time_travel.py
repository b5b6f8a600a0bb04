"""A finished cell is edited in a checkpoint: the REPL of the fork is that of the edited past."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver

from langchain_replm import RLM, RLMConfig
from langchain_replm.testing import ScriptedChatModel
from tests.integration_tests.durable.jobs import CONFIG, script
from tests.scenarios import cell

pytestmark = pytest.mark.usefixtures("nothing_left_behind")

GIVEN: Any = {"query": "q", "context": "the heron stands still"}
ROOT = script(
    cell("n = 1", "a = llm_query('one')"),
    cell("m = n + len(a)"),
    cell("FINAL([n, m, a, llm_query(f'last {m}')])"),
)


@pytest.fixture(params=["memory", "sqlite"])
def saver(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "memory":
        yield InMemorySaver()
        return
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    yield SqliteSaver(connection)
    connection.close()


class Run:
    """A finished run, and what its sub-model was asked."""

    def __init__(self, saver: Any, colour: str, idle_seconds: float | None) -> None:
        self.asked: Counter[str] = Counter()
        self.colour = colour
        self.rlm = RLM(
            ROOT,
            sub_model=ScriptedChatModel(respond=self._respond),
            config=RLMConfig(idle_seconds=idle_seconds),
            checkpointer=saver,
        )
        self.rlm.invoke(GIVEN, CONFIG)

    def _respond(self, messages: list[Any]) -> str:
        prompt = str(messages[-1].content)
        self.asked[prompt] += 1
        return f"re {prompt}"

    def after(self, iterations: int) -> Any:
        """The checkpoint after so many iterations."""
        return next(
            past
            for past in self.rlm.graph.get_state_history(CONFIG)
            if past.next == ("root_generate",)
            and len(past.values.get("trajectory", [])) == iterations
        )

    def edited(self, past: Any, code: str = "", response: str = "") -> Any:
        """A fork of a checkpoint in which the first cell, or the reply that it got, is another."""
        step = deepcopy(past.values["trajectory"][0])
        (made,) = step["cells"]
        made["code"] = code or made["code"]
        made["host_calls"][0]["items"][0]["response"] = response or "re one"
        return self.rlm.graph.update_state(past.config, {"trajectory": [step]})

    async def go_on(self, fork: Any) -> Any:
        if self.colour == "sync":
            return json.loads(self.rlm.invoke(None, fork).answer)  # type: ignore[arg-type]
        return json.loads((await self.rlm.ainvoke(None, fork)).answer)  # type: ignore[arg-type]


@pytest.mark.parametrize("idle_seconds", [None, 1_000])
@pytest.mark.parametrize(
    ("saver", "colour"),
    [("memory", "sync"), ("memory", "async"), ("sqlite", "sync")],  # this SQLite saver is sync
    indirect=["saver"],
)
@pytest.mark.parametrize("iterations", [1, 2])
async def test_the_repl_of_a_fork_is_that_of_its_edited_past(
    saver: Any, colour: str, iterations: int, idle_seconds: float | None
) -> None:
    run = Run(saver, colour, idle_seconds)
    fork = run.edited(run.after(iterations), code="n = 10\na = llm_query('one')")
    assert await run.go_on(fork) == [10, 16, "re one", "re last 16"]
    assert run.asked == {"one": 1, "last 7": 1, "last 16": 1}
    again = await run.go_on(fork)
    assert again == [10, 16, "re one", "re last 16"], "the same fork a second time"
    further = run.edited(run.rlm.graph.get_state(fork), response="a longer reply")
    assert await run.go_on(further) == [10, 24, "a longer reply", "re last 24"]
    assert run.asked == {"one": 1, "last 7": 1, "last 16": 1, "last 24": 1}
    run.rlm.close()


async def test_the_first_branch_is_as_it_was(saver: Any) -> None:
    run = Run(saver, "sync", 1_000)
    past = run.after(1)
    await run.go_on(run.edited(past, code="n = 10\na = llm_query('one')"))
    assert await run.go_on(past.config) == [1, 7, "re one", "re last 7"]
    assert run.asked["one"] == run.asked["last 7"] == 1
    run.rlm.close()


async def test_a_call_that_the_edited_cell_makes_and_the_first_one_did_not_has_no_answer(
    saver: Any,
) -> None:
    run = Run(saver, "sync", None)
    code = "n = 1\ntry: a = llm_query('another')\nexcept Exception as error: a = str(error)"
    n, _, a, _ = await run.go_on(run.edited(run.after(1), code=code))
    assert (n, a) == (
        1,
        "this call was not made when the cell ran first; it is not made in a replay",
    )
    assert "another" not in run.asked
