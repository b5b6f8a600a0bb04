"""A run that stopped in the middle of a cell goes on: nothing that ended is asked again."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore

from langchain_replm import (
    RLM,
    MemoryContextStore,
    MemoryJournal,
    RLMConfig,
    RLMError,
    SqliteJournal,
)
from langchain_replm.testing import ScriptedChatModel
from tests.integration_tests.durable.jobs import CONFIG, script
from tests.scenarios import cell

pytestmark = pytest.mark.usefixtures("nothing_left_behind")

GIVEN: Any = {"query": "q", "context": "the heron stands still"}


class Stops:
    """A sub-model that ends the run once, at a prompt."""

    def __init__(self, at: str, how: BaseException | None = None) -> None:
        self.asked: Counter[str] = Counter()
        self._at = at
        self._how = how or KeyboardInterrupt()

    def __call__(self, messages: list[Any]) -> Any:
        prompt = messages[-1].content
        self.asked[prompt] += 1
        if prompt == self._at and self.asked[prompt] == 1:
            raise self._how
        return f"read {prompt}"


def journals(tmp_path: Any) -> dict[str, Any]:
    return {
        "beside the checkpoints": None,
        "memory": MemoryJournal(),
        "sqlite": SqliteJournal(tmp_path / "journal.db"),
        "path": str(tmp_path / "path.db"),
        "store": InMemoryStore(),
    }


async def go(colour: str, rlm: RLM, given: Any) -> Any:
    return rlm.invoke(given, CONFIG) if colour == "sync" else await rlm.ainvoke(given, CONFIG)


ONE_BY_ONE = script(
    cell("a = [llm_query(f'p{n % 3}') for n in range(6)]", "b = llm_query('stop')", "print(b)"),
    cell("FINAL([a, b])"),
)


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("kind", ["beside the checkpoints", "memory", "sqlite", "path", "store"])
async def test_calls_that_ended_are_not_made_again(tmp_path: Any, colour: str, kind: str) -> None:
    sub = Stops("stop")
    journal = journals(tmp_path)[kind]
    rlm = RLM(
        ONE_BY_ONE,
        sub_model=ScriptedChatModel(respond=sub),
        config=RLMConfig(max_sub_calls=7),
        checkpointer=InMemorySaver(),
        journal=journal,
    )
    with pytest.raises(KeyboardInterrupt):
        await go("sync", rlm, GIVEN)
    response = await go(colour, rlm, None)
    expected = '[["read p0", "read p1", "read p2", "read p0", "read p1", "read p2"], "read stop"]'
    assert (response.answer, response.stop_reason) == (expected, "answered")
    assert sub.asked == {"p0": 2, "p1": 2, "p2": 2, "stop": 2}
    assert response.sub_calls == 7, "charged once"
    again = await go(colour, rlm, None)
    assert again.answer == expected, "a finished run is given as it ended"
    assert sub.asked.total() == 8
    getattr(rlm.graph.settings.journal, "close", lambda: None)()


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_children_keep_their_replies_and_calls(colour: str) -> None:
    sub = Stops("stop")

    def respond(messages: list[Any]) -> Any:
        if messages[0].type != "system":
            return sub(messages)
        sub.asked["child root"] += 1
        step = sum(message.type == "human" for message in messages)
        codes = ["c = llm_query('in child ' + context)", "FINAL(c + llm_query('then'))"]
        return cell(codes[step - 1])

    root = script(
        cell(
            "a = rlm_query('sum up', 'one')", "b = rlm_query('sum up', 'two')", "llm_query('stop')"
        ),
        cell("FINAL([a, b])"),
    )
    rlm = RLM(
        root,
        sub_model=ScriptedChatModel(respond=respond),
        config=RLMConfig(max_recursion_depth=2),
        checkpointer=InMemorySaver(),
    )
    with pytest.raises(KeyboardInterrupt):
        await go("sync", rlm, GIVEN)
    response = await go(colour, rlm, None)
    assert response.answer == ('["read in child oneread then", "read in child tworead then"]')
    assert sub.asked == {
        "child root": 4, "in child one": 1, "in child two": 1, "then": 2, "stop": 2,
    }  # fmt: skip
    assert response.sub_calls == 7


async def test_a_child_that_was_cut_goes_on_where_it_stood() -> None:
    sub = Stops("stop")

    def respond(messages: list[Any]) -> Any:
        if messages[0].type != "system":
            return sub(messages)
        sub.asked["child root"] += 1
        step = sum(message.type == "human" for message in messages)
        return cell(["c = llm_query('first')", "FINAL(c + llm_query('stop'))"][step - 1])

    rlm = RLM(
        script(cell("FINAL(rlm_query('sum up', 'one'))")),
        sub_model=ScriptedChatModel(respond=respond),
        config=RLMConfig(max_recursion_depth=2),
        checkpointer=InMemorySaver(),
    )
    with pytest.raises(KeyboardInterrupt):
        rlm.invoke(GIVEN, CONFIG)
    assert rlm.invoke(None, CONFIG).answer == "read firstread stop"
    assert sub.asked == {"child root": 2, "first": 1, "stop": 2}


async def test_a_tool_with_effects_runs_once() -> None:
    sub, sent = Stops("stop"), []

    def send(text: str) -> int:
        """Send a letter."""
        sent.append(text)
        return len(sent)

    rlm = RLM(
        script(cell("n = send('hello')", "llm_query('stop')", "FINAL(n)")),
        sub_model=ScriptedChatModel(respond=sub),
        tools=[send],
        checkpointer=InMemorySaver(),
    )
    with pytest.raises(KeyboardInterrupt):
        rlm.invoke(GIVEN, CONFIG)
    assert (rlm.invoke(None, CONFIG).answer, sent) == ("1", ["hello"])


class Full(MemoryJournal):
    def write(self, run_id: str, key: str, entry: str) -> None:
        if len(self.read(run_id)) == 3:
            raise OSError(28, "No space left on device")
        super().write(run_id, key, entry)


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_run_whose_journal_is_full_stops_and_goes_on_when_there_is_room(
    colour: str,
) -> None:
    sub, journal = Stops("never"), Full()
    kept = {"checkpointer": InMemorySaver(), "context_store": MemoryContextStore()}

    def rlm(journal: Any) -> RLM:
        sub_model = ScriptedChatModel(respond=sub)
        return RLM(ONE_BY_ONE, sub_model=sub_model, journal=journal, **kept)

    with pytest.raises(RLMError, match=r"journal could not be written: OSError.*No space left"):
        await go(colour, rlm(journal), GIVEN)
    roomy = MemoryJournal()
    roomy._entries = journal._entries
    assert (await go(colour, rlm(roomy), None)).stop_reason == "answered"
    assert sub.asked.total() == 8, "only the one that could not be kept"


class Gone(MemoryJournal):
    """Takes the root's replies, and no result of a sub-call."""

    def write(self, run_id: str, key: str, entry: str) -> None:
        if "read " in entry and "llm_query" not in entry:
            raise ConnectionError("the database is gone")
        super().write(run_id, key, entry)


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_no_call_is_begun_once_a_result_could_not_be_kept(colour: str) -> None:
    asked: list[str] = []

    def sub(messages: list[Any]) -> str:
        asked.append(messages[-1].text)
        return "read it"

    rlm = RLM(
        script(cell("llm_query_batch([f'page {n}' for n in range(200)])")),
        sub_model=ScriptedChatModel(respond=sub),
        journal=Gone(),
        checkpointer=InMemorySaver(),
        config=RLMConfig(max_concurrency=4),
    )
    with pytest.raises(RLMError, match="the database is gone"):
        await go(colour, rlm, GIVEN)
    assert 1 <= len(asked) <= 4, "those in flight"
