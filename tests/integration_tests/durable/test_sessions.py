"""A thread is a session: the next question continues in the same REPL, also after a restart."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.documents import Document
from langgraph.checkpoint.memory import InMemorySaver

from langchain_replm import RLM, RLMConfig
from langchain_replm.sandbox.process import ProcessSandbox
from langchain_replm.testing import ScriptedChatModel
from tests.integration_tests.durable.jobs import CONFIG
from tests.scenarios import cell

pytestmark = pytest.mark.usefixtures("nothing_left_behind")


def asking(saver: Any, *codes: str, **fields: Any) -> RLM:
    root = ScriptedChatModel(replies=[cell(*code.split("\n")) for code in codes])
    return RLM(root, checkpointer=saver, **fields)


def ask(rlm: RLM, query: str, context: Any) -> Any:
    return rlm.invoke({"query": query, "context": context}, CONFIG)


@pytest.mark.parametrize("mode", ["restricted", "none"])
def test_variables_context_and_history(mode: Any) -> None:
    saver, config = InMemorySaver(), RLMConfig(sandbox_mode=mode)
    sub = ScriptedChatModel(respond=lambda messages: f"read {messages[-1].content}")
    one = asking(saver, "words = context.split()\nr = llm_query('a')", "FINAL(len(words))",
                 sub_model=sub, config=config)  # fmt: skip
    assert ask(one, "How many?", "the heron stands").answer == "3"
    # Another object and another context, as after a restart.
    two = asking(saver, "print(history)\nFINAL([words[0], r, context, history[0]['answer']])",
                 sub_model=sub, config=config)  # fmt: skip
    response = ask(two, "And first?", ["two", "texts"])
    assert response.answer == '["the", "read a", ["two", "texts"], "3"]'
    assert len(sub.calls) == 1, "the session is rebuilt with recorded results"
    assert (response.iterations, response.sub_calls) == (1, 0)
    assert set(response.repl_variables) >= {"words", "r"}
    first = two.root_model.calls[0][-1].content  # type: ignore[union-attr]
    assert "`history`" in first
    assert "`words`" in first
    documents = [Document("doc", metadata={"n": 1})]
    three = asking(saver, "FINAL([len(history), context, context_metadata, words])", config=config)
    assert ask(three, "Third?", documents).answer == (
        '[2, ["doc"], [{"n": 1}], ["the", "heron", "stands"]]'
    )
    four = asking(saver, "FINAL(['context_metadata' in globals(), context])", config=config)
    assert ask(four, "Fourth?", "plain").answer == '[false, "plain"]'


def test_a_cell_of_an_earlier_question_sees_its_own_context_when_it_is_run_again() -> None:
    saver = InMemorySaver()
    ask(asking(saver, "n = len(context)\nFINAL(n)"), "q", "four")
    ask(asking(saver, "m = len(context) + n\nFINAL(m)"), "q", "a longer text")
    response = ask(asking(saver, "FINAL([n, m, len(context)])"), "q", "x")
    assert response.answer == "[4, 17, 1]"


def test_a_run_that_never_ended_leaves_nothing_to_the_session() -> None:
    saver = InMemorySaver()

    def respond(messages: list[Any]) -> str:
        if len(messages) > 2:
            raise KeyboardInterrupt
        return cell("a = 1")

    broken = RLM(ScriptedChatModel(respond=respond), checkpointer=saver)
    with pytest.raises(KeyboardInterrupt):
        ask(broken, "q", "text")
    response = ask(asking(saver, "FINAL(['a' in globals(), history])"), "q", "text")
    assert response.answer == "[false, []]"


def test_without_a_thread_there_is_no_history() -> None:
    rlm = RLM(ScriptedChatModel(replies=[cell("FINAL('history' in globals())")]))
    assert rlm.generate("q", "text").answer == "false"


def test_a_large_context_of_the_past_finds_room_again() -> None:
    saver = InMemorySaver()
    big = "a line of text\n" * 8_000_000
    ask(asking(saver, "n = len(context.splitlines())\nFINAL(n)"), "q", big)
    response = ask(asking(saver, "FINAL([n, context])"), "q", "small")
    assert response.answer == '[8000000, "small"]'


class Counted(ProcessSandbox):
    """Counts the workers that are there at once."""

    def open(self) -> Any:
        transport = super().open()
        SEEN.append(1)
        PEAK.append(sum(SEEN))
        close = transport.close

        def closing() -> None:
            if close not in CLOSED:
                CLOSED.append(close)
                SEEN.append(-1)
            close()

        transport.close = closing  # type: ignore[method-assign]
        return transport


SEEN: list[int] = []
PEAK: list[int] = []
CLOSED: list[Any] = []


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_server_holds_no_more_workers_than_it_may(colour: str) -> None:
    SEEN.clear(), PEAK.clear(), CLOSED.clear()
    rlm = RLM(
        ScriptedChatModel(respond=lambda messages: cell("FINAL(context)")),
        config=RLMConfig(max_workers=2),
        sandbox=Counted(),
        checkpointer=InMemorySaver(),
    )
    given: list[Any] = [{"query": "q", "context": f"<{n}>"} for n in range(8)]
    configs: list[Any] = [{"configurable": {"thread_id": str(n)}} for n in range(8)]
    if colour == "sync":
        responses = rlm.batch(given, configs)
    else:
        responses = await rlm.abatch(given, configs)
    assert [response.answer for response in responses] == [f"<{n}>" for n in range(8)]
    assert len(PEAK) == 8
    assert max(PEAK) == 2
