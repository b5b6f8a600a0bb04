"""What a resumed run takes from the journal and from the record instead of asking again."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.tracers.base import BaseTracer
from langgraph.checkpoint.memory import InMemorySaver

from langchain_replm import RLM, RLMConfig
from langchain_replm._schemas import MAX_TOLD_CHARS
from langchain_replm.testing import ScriptedChatModel
from tests.integration_tests.durable.jobs import CONFIG, script
from tests.integration_tests.durable.test_resume import GIVEN, Stops
from tests.scenarios import cell

pytestmark = pytest.mark.usefixtures("nothing_left_behind")


class Typed(Stops):
    """The first reply to a question about a year fits no schema of numbers."""

    def __call__(self, messages: list[Any]) -> Any:
        prompt = str(messages[-1].content)
        if "Which year?" not in prompt:
            return super().__call__(messages)
        self.asked[prompt.split("\n", maxsplit=1)[0]] += 1
        return '{"year": 1999}' if "Problems by path" in prompt else '{"year": "soon"}'


def stopped(root: ScriptedChatModel, sub: Stops, **fields: Any) -> RLM:
    """A run that has ended in its sub-call "stop"."""
    sub_model = ScriptedChatModel(respond=sub, model_name="sub")
    rlm = RLM(root, sub_model=sub_model, checkpointer=InMemorySaver(), **fields)
    with pytest.raises(KeyboardInterrupt):
        rlm.invoke(GIVEN, CONFIG)
    return rlm


def test_a_mended_call_is_made_once_and_charged_once() -> None:
    code = [
        "year = llm_query('Which year?', schema={'year': int})['year']",
        "FINAL([year, llm_query('stop')])",
    ]
    sub, config = Typed("stop"), RLMConfig(max_sub_calls=3)
    response = stopped(script(cell(*code)), sub, config=config).invoke(None, CONFIG)  # type: ignore[arg-type]
    assert (response.answer, response.stop_reason) == ('[1999, "read stop"]', "answered")
    assert sub.asked == {"Which year?": 2, "stop": 2}
    sub_model = ScriptedChatModel(respond=Typed("never"), model_name="sub")
    plain = RLM(script(cell(*code)), sub_model=sub_model, config=config).invoke(GIVEN)
    assert response.sub_calls == plain.sub_calls == 3
    assert response.usage_by_model == plain.usage_by_model


def test_a_changed_schema_is_not_answered_by_an_old_result() -> None:
    """The prompts are equal here: the model is shown only the beginning of such a schema."""
    faults = [OSError("not yet")]

    def kind() -> str:
        """What a year is."""
        if faults:
            raise faults.pop()
        return "integer"

    code = cell(
        "try: kind = kind()",
        "except Exception: kind = 'string'",
        f"s = {{'type': 'object', 'description': 'd' * {MAX_TOLD_CHARS}}}",
        "s['properties'] = {'year': {'type': kind}}",
        "FINAL([llm_query('Which year?', schema=s)['year'], llm_query('stop')])",
    )
    sub = Typed("stop")
    rlm = stopped(script(code), sub, tools=[kind])
    assert sub.asked == {"Which year?": 1, "stop": 1}
    assert rlm.invoke(None, CONFIG).answer == '[1999, "read stop"]'  # type: ignore[arg-type]
    assert sub.asked == {"Which year?": 3, "stop": 2}


class Cells(BaseTracer):
    """Keeps the runs below cells."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Any] = []

    def _persist_run(self, run: Any) -> None:
        self._walk(run)

    def _walk(self, run: Any) -> None:
        for below in run.child_runs:
            if run.name.startswith("cell"):
                self.calls.append(below)
            self._walk(below)


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_what_the_journal_answers_is_in_the_trace_of_the_resumed_run(colour: str) -> None:
    def twice(n: int) -> int:
        """Two times."""
        return 2 * n

    code = ["llm_query_batch(['a', 'b'])", "twice(n=2)", "rlm_query('child', 'text')"]
    root = script(cell(*code, "FINAL(llm_query('stop'))"))
    config = RLMConfig(max_recursion_depth=2)
    rlm = stopped(root, WithChild("stop"), config=config, tools=[twice])
    tracer = Cells()
    config_of_call: Any = {**CONFIG, "callbacks": [tracer]}
    how: Any = {"stream_mode": "custom"}
    if colour == "sync":
        events = list(rlm.graph.stream(None, config_of_call, **how))
    else:
        events = [event async for event in rlm.graph.astream(None, config_of_call, **how)]
    told = {run.name: run for run in tracer.calls}
    assert sorted(run.name for run in tracer.calls) == [
        "llm_query", "llm_query", "llm_query", "rlm_query", "twice",
    ]  # fmt: skip
    recorded = [run for run in tracer.calls if "rlm:recorded" in run.tags]
    assert len(recorded) == 4
    assert told["rlm_query"].extra["metadata"]["rlm_recorded"] is True
    assert not any("usage_metadata" in str(run.outputs) for run in recorded)
    ended = [event["detail"]["recorded"] for event in events if event["type"] == "sub_call_end"]
    assert sorted(ended) == [False, True, True, True, True]


LONG = "p" * 5_000
CACHED = script(
    cell(f"a = llm_query('a'), llm_query('{LONG}')", "c = rlm_query('child', 'text')"),
    cell("b = llm_query_batch(['b', 'a', 'b'])", "b += [llm_query('b'), llm_query('stop')]"),
    cell(f"FINAL([*a, c, *b, *llm_query_batch(['a', 'b', '{LONG}', 'in child'])])"),
)


class WithChild(Stops):
    def __call__(self, messages: list[Any]) -> Any:
        if messages[0].type != "system":
            return super().__call__(messages)
        self.asked["child root"] += 1
        return cell("FINAL(llm_query('in child'))")


@pytest.mark.parametrize("kind", ["of the run", "over runs"])
def test_a_resumed_run_has_its_cache_again_and_is_charged_as_if_it_had_not_stopped(
    kind: str,
) -> None:
    of_run = kind == "of the run"
    config = RLMConfig(max_recursion_depth=2, cache_sub_calls=of_run)
    sub = WithChild("stop")
    rlm = stopped(CACHED, sub, config=config, cache=None if of_run else InMemoryCache())
    response = rlm.invoke(None, CONFIG)  # type: ignore[arg-type]
    assert {**sub.asked, LONG: 0} == {
        "a": 1, "b": 1, LONG: 0, "child root": 1, "in child": 1, "stop": 2,
    }  # fmt: skip
    assert sub.asked[LONG] == 1
    sub_model = ScriptedChatModel(respond=WithChild("never"), model_name="sub")
    plain = RLM(
        CACHED, sub_model=sub_model, config=config, cache=None if of_run else InMemoryCache()
    ).invoke(GIVEN)
    assert response.answer == plain.answer
    assert (response.sub_calls, response.cache_hits) == (plain.sub_calls, plain.cache_hits)
    assert response.usage_by_model == plain.usage_by_model
