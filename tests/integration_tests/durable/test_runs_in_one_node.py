"""Several runs inside one node of a graph: each goes on with its own state, in whatever order."""

from __future__ import annotations

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy
from typing_extensions import TypedDict

from langchain_replm import RLM, MemoryJournal, RLMError
from langchain_replm.testing import ScriptedChatModel
from tests.integration_tests.durable.jobs import CONFIG
from tests.scenarios import cell

pytestmark = pytest.mark.usefixtures("nothing_left_behind")


class Parent(TypedDict, total=False):
    query: str
    context: str
    wanted: str
    answers: dict[str, str]


class Crash(BaseException):
    """No failure of a model: it ends the run."""


class Stumbles(MemoryJournal):
    """Cannot keep one result, once. LangChain takes a `BaseException` in a task for a result."""

    def __init__(self, at: str) -> None:
        super().__init__()
        self._at: str | None = f"read then {at}"

    def write(self, run_id: str, key: str, entry: str) -> None:
        if self._at is not None and self._at in entry:
            self._at = None
            raise OSError(28, "No space left on device")
        super().write(run_id, key, entry)


class Models:
    """A root that asks a model about its context, twice; the second call about one ends the run."""

    def __init__(self, stop: str) -> None:
        self.asked: Counter[str] = Counter()
        self._stop = stop
        self.root = ScriptedChatModel(
            respond=lambda messages: [
                cell("one = llm_query(f'first {context}')"),
                cell("FINAL([one, llm_query(f'then {context}')])"),
            ][sum(message.type == "human" for message in messages) - 1]
        )
        self.sub = ScriptedChatModel(respond=self._respond)

    def _respond(self, messages: list[Any]) -> str:
        prompt = str(messages[-1].content)
        self.asked[prompt] += 1
        if prompt == f"then {self._stop}" and self.asked[prompt] == 1:
            raise Crash
        return f"read {prompt}"

    def rlm(self, **fields: Any) -> RLM:
        return RLM(self.root, sub_model=self.sub, **fields)


def graph(node: Any, saver: Any, **options: Any) -> Any:
    builder = StateGraph(Parent)
    builder.add_node("work", node, **options)
    builder.add_edge(START, "work")
    builder.add_edge("work", END)
    return builder.compile(checkpointer=saver)


def answer(name: str) -> str:
    return f'["read first {name}", "read then {name}"]'


def given(name: str) -> Any:
    return {"query": "q", "context": name}


@pytest.mark.parametrize("form", ["invoke", "generate", "graph", "ainvoke", "own checkpointer"])
@pytest.mark.parametrize("then", ["ab", "ba", "b", "cab", "bab"])
async def test_a_node_that_is_entered_again_finds_its_runs_in_any_order(
    form: str, then: str
) -> None:
    models = Models(stop="b")
    fields: dict[str, Any] = {"own checkpointer": {"checkpointer": InMemorySaver()}}
    if form == "ainvoke":
        models = Models(stop="nothing")
        fields = {"ainvoke": {"journal": Stumbles("b")}}
    rlm = models.rlm(**fields.get(form, {}))
    orders = ["ab", then]

    def ask(name: str) -> str:
        if form == "generate":
            return rlm.generate("q", name).answer
        if form == "graph":
            return str(rlm.graph.invoke(given(name))["answer"])
        return rlm.invoke(given(name)).answer

    def work(state: Parent) -> Parent:
        return {"answers": {f"{n} {name}": ask(name) for n, name in enumerate(orders.pop(0))}}

    async def awork(state: Parent) -> Parent:
        names = list(enumerate(orders.pop(0)))
        return {"answers": {f"{n} {name}": (await rlm.ainvoke(given(name))).answer
                            for n, name in names}}  # fmt: skip

    parent = graph(awork if form == "ainvoke" else work, InMemorySaver())
    with pytest.raises((Crash, RLMError)):
        await parent.ainvoke({}, CONFIG) if form == "ainvoke" else parent.invoke({}, CONFIG)
    again = await parent.ainvoke(None, CONFIG) if form == "ainvoke" else parent.invoke(None, CONFIG)
    assert again["answers"] == {f"{n} {name}": answer(name) for n, name in enumerate(then)}
    times = Counter({"first a": 1, "then a": 1, "first b": 1, "then b": 2})
    if "c" in then:
        times |= {"first c": 1, "then c": 1}
    if then == "bab":  # asked twice now, so it is another run
        times += Counter({"first b": 1, "then b": 1})
    assert models.asked == times


def test_equal_questions_are_runs_of_their_own_and_each_goes_on() -> None:
    models = Models(stop="a")
    rlm = models.rlm()

    def work(state: Parent) -> Parent:
        return {"answers": {str(n): rlm.invoke(given("a")).answer for n in range(3)}}

    parent = graph(work, InMemorySaver())
    with pytest.raises(Crash):
        parent.invoke({}, CONFIG)
    assert set(parent.invoke(None, CONFIG)["answers"].values()) == {answer("a")}
    assert models.asked == {"first a": 3, "then a": 4}


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_runs_at_the_same_time_are_not_mixed_up(colour: str) -> None:
    models = Models(stop="3" if colour == "sync" else "nothing")
    rlm = models.rlm(journal=None if colour == "sync" else Stumbles("3"))
    names = [str(n) for n in range(6)]

    def work(state: Parent) -> Parent:
        with ThreadPoolExecutor(6) as pool:
            going = [pool.submit(copy_context().run, rlm.invoke, given(name)) for name in names]
            return {"answers": dict(zip(names, [one.result().answer for one in going],
                                        strict=True))}  # fmt: skip

    async def awork(state: Parent) -> Parent:
        done = await asyncio.gather(*(rlm.ainvoke(given(name)) for name in names))
        return {"answers": dict(zip(names, [one.answer for one in done], strict=True))}

    parent = graph(work if colour == "sync" else awork, InMemorySaver())
    with pytest.raises((Crash, RLMError)):
        await parent.ainvoke({}, CONFIG) if colour == "async" else parent.invoke({}, CONFIG)
    names.reverse()
    again = await parent.ainvoke(None, CONFIG) if colour == "async" else parent.invoke(None, CONFIG)
    assert again["answers"] == {name: answer(name) for name in names}
    if colour == "sync":  # a cancelled call of an async run is made again
        assert models.asked.pop("then 3") == 2
        assert set(models.asked.values()) == {1}


def test_a_node_that_is_tried_again_by_its_policy_pays_nothing_twice() -> None:
    models = Models(stop="nothing")
    rlm, faults = models.rlm(), [ConnectionError("the network")]

    def work(state: Parent) -> Parent:
        answers = {"a": rlm.invoke(given("a")).answer, "b": rlm.invoke(given("b")).answer}
        if faults:
            raise faults.pop()
        return {"answers": answers}

    policy = RetryPolicy(initial_interval=0.0, jitter=False)
    parent = graph(work, InMemorySaver(), retry_policy=policy)
    assert parent.invoke({}, CONFIG)["answers"] == {"a": answer("a"), "b": answer("b")}
    assert set(models.asked.values()) == {1}


def test_another_graph_of_the_node_keeps_its_state() -> None:
    models = Models(stop="b")
    rlm = models.rlm()
    other = graph(lambda state: {"answers": {"other": state["wanted"]}}, True)
    order = ["first", "last"]

    def work(state: Parent) -> Parent:
        is_first = order.pop(0) == "first"
        found = other.invoke({"wanted": "x"})["answers"] if is_first else {}
        found = {**found, "a": rlm.invoke(given("a")).answer, "b": rlm.invoke(given("b")).answer}
        return {"answers": found}

    parent = graph(work, InMemorySaver())
    with pytest.raises(Crash):
        parent.invoke({}, CONFIG)
    assert parent.invoke(None, CONFIG)["answers"] == {"a": answer("a"), "b": answer("b")}
    assert models.asked["first a"] == models.asked["then a"] == models.asked["first b"] == 1


def test_the_only_run_of_a_node_is_where_tools_look_for_it() -> None:
    models = Models(stop="a")
    parent = graph(models.rlm().graph, InMemorySaver())
    with pytest.raises(Crash):
        parent.invoke(given("a"), CONFIG)
    (task,) = parent.get_state(CONFIG, subgraphs=True).tasks
    assert task.state.values["query"] == "q"
