"""People in the loop: asked before the work, never inside it; nothing is done twice."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command

from langchain_replm import RLM, ConfigurationError, RLMConfig
from langchain_replm.testing import ScriptedChatModel
from tests.integration_tests.durable.jobs import CONFIG
from tests.scenarios import Parent, cell

pytestmark = pytest.mark.usefixtures("nothing_left_behind")

GIVEN: Any = {"query": "q", "context": "the heron stands still"}
COLOURS = ["sync", "async"]


def sub_model() -> ScriptedChatModel:
    return ScriptedChatModel(respond=lambda messages: f"read {messages[-1].content}")


def build(*replies: str, approve: Any, tools: Any = (), sub: Any = None, **config: Any) -> RLM:
    return RLM(
        ScriptedChatModel(replies=list(replies)),
        sub_model=sub or sub_model(),
        tools=tools,
        config=RLMConfig(approve=approve, **config),
        checkpointer=InMemorySaver(),
    )


async def go(colour: str, rlm: Any, given: Any) -> Any:
    if colour == "sync":
        return rlm.invoke(given, CONFIG)
    return await rlm.ainvoke(given, CONFIG)


def answer(value: Any) -> Command[Any]:
    return Command(resume=value)


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("yes", ["approve", True, {"type": "approve"}])
async def test_each_reply_of_cells_is_approved(colour: str, yes: Any) -> None:
    rlm = build(cell("a = llm_query('once')"), cell("FINAL(a)"), approve="cells")
    waiting = await go(colour, rlm, GIVEN)
    assert waiting.stop_reason == "interrupted"
    (question,) = waiting.questions
    assert (question["ask"], question["cells"]) == ("cells", ["a = llm_query('once')"])
    assert (await go(colour, rlm, answer(yes))).questions[0]["cells"] == ["FINAL(a)"]
    response = await go(colour, rlm, answer(yes))
    assert (response.answer, response.stop_reason) == ("read once", "answered")
    assert len(rlm.root_model.calls) == 2  # type: ignore[union-attr]
    assert len(rlm.sub_model.calls) == 1  # type: ignore[union-attr]


async def test_cells_are_edited_or_rejected_and_the_root_is_told() -> None:
    rlm = build(cell("a = 1"), cell("import os"), cell("FINAL(a)"), approve=["cells"])
    rlm.invoke(GIVEN, CONFIG)
    rlm.invoke(answer({"type": "edit", "cells": ["a = 2"], "message": "two is right"}), CONFIG)
    rlm.invoke(answer({"type": "reject", "message": "no os"}), CONFIG)
    response = rlm.invoke(answer("approve"), CONFIG)
    assert response.answer == "2"
    edited, rejected = response.trajectory[0], response.trajectory[1]
    assert edited.cells[0].code == "a = 2"
    assert "two is right" in (edited.observation or "")
    assert rejected.cells[0].status == "skipped"
    assert "rejected your cells; they did not run (no os)" in (rejected.observation or "")


async def test_an_answer_that_makes_no_sense_is_asked_again() -> None:
    rlm = build(cell("FINAL(1)"), approve="cells")
    rlm.invoke(GIVEN, CONFIG)
    for nonsense in ("perhaps", 3, {"type": "edit"}, {"type": "grant", "amount": 3}):
        waiting = rlm.invoke(answer(nonsense), CONFIG)
        assert waiting.stop_reason == "interrupted", nonsense
        assert "problem" in waiting.questions[0]
    assert rlm.invoke(answer("approve"), CONFIG).answer == "1"


@pytest.mark.parametrize("colour", COLOURS)
async def test_each_tool_call_is_approved_edited_or_rejected(colour: str) -> None:
    sent: list[str] = []

    def send(text: str) -> int:
        """Send a letter."""
        sent.append(text)
        return len(sent)

    code = [
        "p = llm_query('paid')",
        "n = [send(text='one'), send(text='two')]",
        "try:",
        "    send(text='three')",
        "except Exception as error:",
        "    n.append(str(error))",
        "FINAL([p, n])",
    ]
    rlm = build(cell(*code), approve="tools", tools=[send])
    waiting = await go(colour, rlm, GIVEN)
    assert (waiting.questions[0]["tool"], waiting.questions[0]["args"]) == ("send", {"text": "one"})
    assert sent == []
    await go(colour, rlm, answer("approve"))
    assert sent == ["one"]
    await go(colour, rlm, answer({"type": "edit", "args": {"text": "zwei"}}))
    assert sent == ["one", "zwei"]
    response = await go(colour, rlm, answer({"type": "reject", "message": "enough"}))
    assert response.answer == ('["read paid", [1, 2, "a person has rejected this call: enough"]]')
    assert sent == ["one", "zwei"], "no letter was sent twice"
    assert len(rlm.sub_model.calls) == 1  # type: ignore[union-attr]
    assert len(rlm.root_model.calls) == 1  # type: ignore[union-attr]


@pytest.mark.parametrize("colour", COLOURS)
async def test_more_is_granted_when_a_limit_is_met(colour: str) -> None:
    rlm = build(
        cell("r = llm_query_batch(list('abcd'))"),
        cell("r = [x for x in r if isinstance(x, str)] + llm_query_batch(list('cd'))"),
        cell("FINAL(len(r))"),
        approve="budget",
        max_sub_calls=2,
    )
    waiting = await go(colour, rlm, GIVEN)
    assert (waiting.questions[0]["ask"], waiting.questions[0]["limit"]) == (
        "budget",
        "max_sub_calls",
    )
    response = await go(colour, rlm, answer({"type": "grant", "amount": 2}))
    assert (response.answer, response.stop_reason, response.sub_calls) == ("4", "answered", 4)
    assert "granted more" in (response.trajectory[0].observation or "")


async def test_more_iterations_are_granted_or_the_run_is_closed() -> None:
    rlm = build(cell("a = 1"), cell("b = 2"), cell("c = 3"), "FINAL(closed)",
                approve="budget", max_iterations=1)  # fmt: skip
    assert rlm.invoke(GIVEN, CONFIG).questions[0]["limit"] == "max_iterations"
    assert rlm.invoke(answer({"type": "grant", "amount": 2}), CONFIG).stop_reason == "interrupted"
    response = rlm.invoke(answer("finish"), CONFIG)
    assert (response.answer, response.stop_reason) == ("closed", "max_iterations")
    assert [step.closing for step in response.trajectory] == [False, False, False, True]


async def test_a_question_surfaces_in_the_parent() -> None:
    rlm = build(cell("a = llm_query('once')", "FINAL(a)"), approve="cells")
    graph = RLM(rlm.root_model, sub_model=rlm.sub_model, config=rlm.config).graph
    builder = StateGraph(Parent)
    builder.add_node("rlm", graph)
    builder.add_edge(START, "rlm")
    builder.add_edge("rlm", END)
    parent = builder.compile(checkpointer=InMemorySaver())
    result = parent.invoke(GIVEN, CONFIG)
    assert result["__interrupt__"][0].value["ask"] == "cells"
    assert parent.invoke(answer("approve"), CONFIG)["answer"] == "read once"
    assert len(rlm.sub_model.calls) == 1  # type: ignore[union-attr]
    assert len(rlm.root_model.calls) == 1  # type: ignore[union-attr]


def test_what_cannot_be_asked_is_refused_before_anything_runs() -> None:
    rlm = RLM(ScriptedChatModel(replies=[]), config=RLMConfig(approve="cells"))
    with pytest.raises(ConfigurationError, match="approve needs a checkpointer"):
        rlm.invoke(GIVEN)
    with pytest.raises(ConfigurationError, match="do not go together"):
        RLMConfig(approve="tools", max_recursion_depth=2)
    with pytest.raises(ConfigurationError, match="approve"):
        RLMConfig(approve="everything")
