"""The loops that ours is held against: a bare four-node LangGraph loop, and a `while` by hand.

Both send the model the very messages that our loop sends (taken from a run of ours), look for the
same fence, and `exec` the cells in this process. They have no sandbox, limits, record or events.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from langchain_replm.testing import ScriptedChatModel

FENCE = re.compile(r"```repl\n(.*?)\n```", re.DOTALL)


class Conversation:
    """What our loop says to its model: the opening, and what follows a cell that does nothing."""

    def __init__(self, opening: list[BaseMessage], observation: str) -> None:
        self.opening = opening
        self.observation = observation

    @classmethod
    def of_ours(cls, query: str, context: Any, cell: str, final: str) -> Conversation:
        from langchain_replm import RLM

        model = ScriptedChatModel(replies=[cell, final])
        RLM(model).invoke({"query": query, "context": context})
        first, second = model.calls
        return cls(first, str(second[-1].content))


class LoopState(TypedDict, total=False):
    messages: Annotated[list[BaseMessage], operator.add]
    code: str
    namespace: dict[str, Any]
    answer: str | None


def bare_graph(model: BaseChatModel, observation: str, *, is_async: bool) -> Any:
    """A compiled LangGraph loop of four nodes."""
    from langgraph.graph import END, START, StateGraph

    def ask(state: LoopState) -> LoopState:
        return {"messages": [model.invoke(state["messages"])]}

    async def aask(state: LoopState) -> LoopState:
        return {"messages": [await model.ainvoke(state["messages"])]}

    def parse(state: LoopState) -> LoopState:
        return {"code": _code(state["messages"][-1])}

    def execute(state: LoopState) -> LoopState:
        exec(state["code"], state["namespace"])
        return {"answer": state["namespace"].get("_answer")}

    def finish(state: LoopState) -> LoopState:
        return {} if state["answer"] is not None else {"messages": [HumanMessage(observation)]}

    def coloured(function: Callable[[LoopState], LoopState]) -> Any:
        async def twin(state: LoopState) -> LoopState:
            return function(state)

        return twin if is_async else function

    builder = StateGraph(LoopState)
    builder.add_node("ask", aask if is_async else ask)
    builder.add_node("parse", coloured(parse))
    builder.add_node("execute", coloured(execute))
    builder.add_node("finish", coloured(finish))
    builder.add_edge(START, "ask")
    builder.add_edge("ask", "parse")
    builder.add_edge("parse", "execute")
    builder.add_edge("execute", "finish")
    builder.add_conditional_edges(
        "finish", lambda state: END if state["answer"] is not None else "ask", ["ask", END]
    )
    return builder.compile().with_config(recursion_limit=10_000)


def fresh_state(conversation: Conversation) -> LoopState:
    """The input of one run of `bare_graph`."""
    return {"messages": list(conversation.opening), "namespace": _namespace(), "answer": None}


def plain_loop(model: BaseChatModel, conversation: Conversation) -> str:
    """The loop by hand."""
    messages, namespace = list(conversation.opening), _namespace()
    while "_answer" not in namespace:
        reply = model.invoke(messages)
        exec(_code(reply), namespace)
        messages += [reply, HumanMessage(conversation.observation)]
    return namespace["_answer"]


async def aplain_loop(model: BaseChatModel, conversation: Conversation) -> str:
    """The loop by hand, with `await`."""
    messages, namespace = list(conversation.opening), _namespace()
    while "_answer" not in namespace:
        reply = await model.ainvoke(messages)
        exec(_code(reply), namespace)
        messages += [reply, HumanMessage(conversation.observation)]
    return namespace["_answer"]


def _namespace() -> dict[str, Any]:
    namespace: dict[str, Any] = {}

    def final(value: Any) -> None:
        namespace["_answer"] = str(value)

    namespace["FINAL"] = final
    return namespace


def _code(message: BaseMessage | AIMessage) -> str:
    found = FENCE.search(str(message.content))
    return found[1] if found else ""
