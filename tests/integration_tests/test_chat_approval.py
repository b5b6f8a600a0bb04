"""A person decides inside of an agent whose model is an `RLMChatModel`; nothing is done twice."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from langchain_replm import RLMChatModel, RLMConfig
from langchain_replm.testing import ScriptedChatModel
from tests.scenarios import cell

LONG = "the heron stands. a stork flies. " * 5_000
CONFIG: Any = {"configurable": {"thread_id": "1"}}
GIVEN: Any = {"messages": [HumanMessage(LONG)]}
pytestmark = pytest.mark.usefixtures("no_worker_left")
both = pytest.mark.parametrize("colour", ["sync", "async"])


@tool
def weather(place: str) -> str:
    """The weather of a place."""
    return f"sun over {place}"


class Agent:
    """An agent with a checkpointer, and what its models have been asked."""

    def __init__(self, colour: str, *replies: str, tools: Any = (), **config: Any) -> None:
        self.colour = colour
        self.root = ScriptedChatModel(replies=list(replies), model_name="big")
        self.sub = ScriptedChatModel(respond=lambda messages: f"read {messages[-1].content}")
        model = RLMChatModel(
            root_model=self.root, sub_model=self.sub, tools=tools, config=RLMConfig(**config)
        )
        self.graph = create_agent(model, tools=[weather], checkpointer=InMemorySaver())

    async def go(self, given: Any) -> Any:
        """The question that a person is asked, or the text of the last message."""
        if self.colour == "sync":
            state = self.graph.invoke(given, CONFIG)
        else:
            state = await self.graph.ainvoke(given, CONFIG)
        if "__interrupt__" in state:
            (waiting,) = state["__interrupt__"]
            return waiting.value
        return state["messages"][-1].text

    async def answer(self, value: Any) -> Any:
        return await self.go(Command(resume=value))

    def calls(self) -> tuple[int, int]:
        return len(self.root.calls), len(self.sub.calls)


@both
async def test_tool_calls_of_cells_are_approved_edited_and_rejected(colour: str) -> None:
    sent: list[str] = []

    def send(text: str) -> int:
        """Send a letter."""
        sent.append(text)
        return len(sent)

    first = cell(
        "p = llm_query('paid')",
        "n = [send(text='one'), send(text='two')]",
        "try: send(text='three')",
        "except Exception as error: n.append(str(error))",
        "TOOL_CALL('weather', place=p)",
    )
    agent = Agent(colour, first, cell("FINAL([p, n])"), tools=[send], approve="tools")
    question = await agent.go(GIVEN)
    assert (question["ask"], question["args"]) == ("tools", {"text": "one"})
    assert sent == []
    assert (await agent.answer("approve"))["args"] == {"text": "two"}
    edited = await agent.answer({"type": "edit", "args": {"text": "zwei"}})
    assert edited["args"] == {"text": "three"}
    answer = await agent.answer({"type": "reject", "message": "enough"})
    assert answer == '["read paid", [1, 2, "a person has rejected this call: enough"]]'
    assert sent == ["one", "zwei"]
    assert agent.calls() == (2, 1)


@both
async def test_more_is_granted_when_a_limit_is_met(colour: str) -> None:
    agent = Agent(
        colour,
        cell("r = llm_query_batch(list('abcd'))"),
        cell("r = [x for x in r if isinstance(x, str)] + llm_query_batch(list('cd'))"),
        cell("FINAL(r)"),
        approve="budget",
        max_sub_calls=2,
    )
    question = await agent.go(GIVEN)
    assert (question["ask"], question["limit"]) == ("budget", "max_sub_calls")
    assert "problem" in await agent.answer({"type": "grant"}), "how much?"
    assert await agent.answer({"type": "grant", "amount": 2}) == (
        '["read a", "read b", "read c", "read d"]'
    )
    assert agent.calls() == (3, 4)


@both
async def test_the_run_is_closed_when_nothing_is_granted(colour: str) -> None:
    agent = Agent(colour, cell("a = llm_query('a')"), cell("b = 2"), "FINAL(closed)",
                  approve="budget", max_iterations=1)  # fmt: skip
    assert (await agent.go(GIVEN))["limit"] == "max_iterations"
    assert (await agent.answer({"type": "grant", "amount": 1}))["limit"] == "max_iterations"
    assert await agent.answer("finish") == "closed"
    assert agent.calls() == (3, 1)


@both
async def test_a_person_decides_about_cells_tools_and_limits_of_one_run(colour: str) -> None:
    sent: list[str] = []

    def send(text: str) -> int:
        """Send a letter."""
        sent.append(text)
        return len(sent)

    replies = [cell("a = llm_query('a')", "send(text=a)"), cell("FINAL([a, llm_query('b')])")]
    agent = Agent(colour, *replies, tools=[send], approve=("cells", "tools", "budget"),
                  max_iterations=1)  # fmt: skip
    asked = [(await agent.go(GIVEN))["ask"]]
    for answer in ("approve", "approve", {"type": "grant", "amount": 1}):
        asked.append((await agent.answer(answer))["ask"])
    assert asked == ["cells", "tools", "budget", "cells"]
    assert await agent.answer("approve") == '["read a", "read b"]'
    assert sent == ["read a"]
    assert agent.calls() == (2, 2)
