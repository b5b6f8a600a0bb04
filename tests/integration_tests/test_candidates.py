"""Several candidates within one budget: agreement, the judge, and what is counted."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from langchain_core.documents import Document
from langgraph.checkpoint.memory import InMemorySaver

from langchain_replm import RLM, ConfigurationError, RLMConfig, RLMError, create_rlm_graph
from langchain_replm._agreement import judge_number, leading_groups, normalised
from langchain_replm.testing import ScriptedChatModel
from langchain_replm.types import Candidate
from tests.scenarios import TEXT, cell
from tests.watched import Watched

pytestmark = pytest.mark.usefixtures("nothing_left_behind")


class Voices:
    """A root model that gives each candidate an answer of its own, and judges when asked."""

    def __init__(self, *answers: str, verdict: str = "2") -> None:
        self._answers = list(answers)
        self._lock = threading.Lock()
        self._verdict = verdict
        self.judged: list[str] = []

    def __call__(self, messages: list[Any]) -> str:
        text = str(messages[-1].content)
        if text.startswith("Several independent attempts"):
            self.judged.append(text)
            return self._verdict
        with self._lock:
            return cell("llm_query('look')", f"found = {self._answers.pop(0)}", "FINAL(found)")


def run(*answers: str, verdict: str = "2", **fields: Any) -> tuple[Any, Voices, Any]:
    voices = Voices(*answers, verdict=verdict)
    root = ScriptedChatModel(respond=voices, model_name="root")
    config = RLMConfig(n_candidates=len(answers), **fields.pop("config", {}))
    sub = ScriptedChatModel(replies=["seen"], model_name="sub")
    rlm = RLM(root, sub_model=sub, config=config, **fields)
    return rlm, voices, (root, sub)


def test_the_answer_that_most_candidates_give_counts_without_a_judge() -> None:
    rlm, voices, (root, sub) = run("'A Heron.'", "'stork'", "'a heron'")
    response = rlm.generate("Which bird?", TEXT)
    assert normalised(response.answer) == "a heron"
    assert (response.stop_reason, voices.judged) == ("answered", [])
    assert len(response.candidates) == 3
    assert sum(item.chosen for item in response.candidates) == 1
    assert (response.iterations, response.sub_calls) == (3, 3)
    assert (len(root.calls), len(sub.calls)) == (3, 3)
    assert response.usage_by_model["root"]["input_tokens"] == sum(
        -(-len(str(m.content)) // 4) for call in root.calls for m in call
    )
    assert response.history[0].role == "root"


def test_of_equals_the_root_model_picks_and_is_counted() -> None:
    rlm, voices, (root, _) = run("'heron'", "'stork'", verdict="Answer 2 is right: 2")
    response = rlm.generate("Which bird?", TEXT)
    second = response.candidates[1].answer
    assert response.answer == second
    (asked,) = voices.judged
    assert asked.count("<answer ") == 2
    assert len(root.calls) == 3
    assert response.trajectory[0].usage is not None
    assert response.total_input_tokens > sum(
        step.usage["input_tokens"] for item in response.candidates for step in item.trajectory
    )


async def test_async_streams_and_graphs_give_the_same() -> None:
    answers = ("'heron'", "'heron'", "'stork'")
    assert (await run(*answers)[0].agenerate("q", TEXT)).answer == "heron"
    chunks = list(run(*answers)[0].stream_generate("q", TEXT))
    assert chunks[-1].detail["response"].answer == "heron"
    assert not [chunk for chunk in chunks if chunk.type == "token"]
    graph = run(*answers)[0].graph
    assert (await graph.ainvoke({"query": "q", "context": TEXT}))["answer"] == "heron"


def test_all_candidates_share_one_budget() -> None:
    rlm, _, (_, sub) = run("'a'", "'b'", "'c'", config={"max_sub_calls": 2})
    response = rlm.generate("q", TEXT)
    assert len(sub.calls) == 2
    assert response.sub_calls == 2


def test_a_typed_answer_and_documents_reach_every_candidate() -> None:
    rlm, _, _ = run("[context_metadata[0]['n']]", "[7]", "['x']", "[7]", response_format=list[int])
    response = rlm.generate("q", [Document(TEXT, metadata={"n": 7})])
    assert response.structured_response == [7]


def test_a_child_has_no_candidates() -> None:
    root = ScriptedChatModel(replies=[cell("FINAL(rlm_query('n?', context[:50]))")])
    sub = ScriptedChatModel(replies=[cell("FINAL(len(context))")])
    config = RLMConfig(n_candidates=2, max_recursion_depth=2)
    response = RLM(root, sub_model=sub, config=config).generate("q", TEXT)
    assert (response.answer, len(sub.calls), response.sub_calls) == ("50", 2, 2)


def test_nobody_can_be_asked_inside_of_a_candidate() -> None:
    with pytest.raises(ConfigurationError, match="n_candidates=1 or approve"):
        RLMConfig(n_candidates=2, approve=("budget",))


def test_a_run_without_any_reply_is_an_error() -> None:
    root = ScriptedChatModel(replies=[RuntimeError("no key")])
    with pytest.raises(RLMError, match="no key"):
        RLM(root, config=RLMConfig(n_candidates=2)).generate("q", TEXT)


def test_candidates_survive_a_checkpoint() -> None:
    voices = Voices("'heron'", "'heron'")
    root = ScriptedChatModel(respond=voices)
    config = RLMConfig(n_candidates=2, enable_sub_calls=True)
    graph = create_rlm_graph(
        root,
        sub_model=ScriptedChatModel(replies=["s"]),
        config=config,
        checkpointer=InMemorySaver(),
    )
    thread: Any = {"configurable": {"thread_id": "1"}}
    graph.invoke({"query": "q", "context": TEXT}, thread)
    state = graph.get_state(thread).values
    assert state["answer"] == "heron"
    assert len(state["trajectory"][0]["candidates"]) == 2


# -- agreement -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The heron.", "the  HERON"),
        ('"heron"', "heron"),
        ('{"a": 1, "b": 2}', '{"b": 2, "a": 1}'),
    ],
)
def test_what_makes_no_other_answer(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(
    ("one", "other"), [("1.5", "15"), ("-7", "7"), ("yes", "no"), ("a b", "ab")]
)
def test_what_makes_another_answer(one: str, other: str) -> None:
    assert normalised(one) != normalised(other)


def test_answers_at_a_limit_count_less_and_empty_ones_least() -> None:
    met = [Candidate(answer="x", stop_reason="max_iterations")] * 2
    good = Candidate(answer="y", stop_reason="answered")
    none = Candidate(answer="", stop_reason="errors")
    assert leading_groups([*met, none, good]) == [3]
    assert leading_groups([none, *met]) == [1]
    assert leading_groups([none, none]) == [0]
    assert leading_groups([good, good.model_copy(update={"answer": "z"}), good]) == [0]


def test_the_number_of_the_judge() -> None:
    assert judge_number("2", 3) == 2
    assert judge_number("Of the 3 answers, number 1.", 3) == 1
    assert judge_number("9", 3) is None
    assert judge_number("none", 3) is None


def test_a_judge_that_names_nothing_leaves_the_first() -> None:
    response = run("'heron'", "'stork'", verdict="I cannot say")[0].generate("q", TEXT)
    assert response.answer == response.candidates[0].answer


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("most", [1, 2])
async def test_candidates_are_counted_as_workers_and_wait_for_nobody_but_each_other(
    colour: str, most: int
) -> None:
    watched = Watched()
    root = ScriptedChatModel(
        respond=lambda messages: (
            cell("FINAL(rlm_query('child', 'text'))")
            if TEXT[:20] in str(messages)
            else cell("FINAL('from a child')")
        )
    )
    config = RLMConfig(n_candidates=5, max_workers=most, max_recursion_depth=2, max_concurrency=2)
    rlm = RLM(root, config=config, sandbox=watched.sandbox)
    given: list[Any] = [{"query": "q", "context": TEXT}] * 2
    responses = rlm.batch(given) if colour == "sync" else await rlm.abatch(given)
    assert [response.answer for response in responses] == ["from a child"] * 2
    assert len(watched.started) == 2 * 5 * 2
    assert watched.peak <= 2 * most, "each has one child at a time"
