"""LangSmith's own `evaluate` and `aevaluate` over our tasks, with what it sends to a server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda
from langsmith import aevaluate, evaluate

from langchain_replm import ConfigurationError
from langchain_replm.evals import runner
from langchain_replm.evals.langsmith import LangSmithTask
from tests.eval_doors import Doors, Player
from tests.langsmith_server import Ingest, langsmith

pytestmark = pytest.mark.filterwarnings("ignore:'upload_runs' parameter is in beta")


@pytest.fixture
def ingest() -> Iterator[Ingest]:
    with langsmith() as taken:
        yield taken


@pytest.fixture
def doors() -> LangSmithTask:
    return LangSmithTask(Doors(), context_tokens=2_000, count=3)


def rlm() -> Any:
    return runner("rlm", root_model=Player(model_name="root"), sub_model=Player(model_name="sub"))


def rows(results: Any) -> list[tuple[Any, Any]]:
    return sorted(
        (row["evaluation_results"]["results"][0].score, row["run"].outputs["answer"][-7:-1])
        for row in results
    )


async def test_evaluate_scores_by_the_rule_of_the_task(
    doors: LangSmithTask, ingest: Ingest
) -> None:
    wanted = sorted((1.0, example.outputs["expected"]) for example in doors.examples)
    options: Any = {
        "data": doors.examples, "evaluators": [doors.evaluator], "upload_results": False,
    }  # fmt: skip
    assert rows(evaluate(doors.target(rlm()), **options)) == wanted
    found = await aevaluate(doors.target(rlm()), **options)
    assert rows([row async for row in found]) == wanted


def test_the_trace_of_an_example_has_the_whole_run_and_no_context(doors: LangSmithTask) -> None:
    [example] = doors.examples[:1]
    with langsmith() as taken:
        doors.target(rlm()).invoke(example.inputs or {})
    [top] = taken.children(None)
    assert top["name"] == "rlm_eval"
    assert any("root_generate" in line for line in taken.tree())
    assert doors._made[example.inputs["example"]].context not in str(taken.runs)


def test_an_uploaded_example_holds_no_context(doors: LangSmithTask) -> None:
    for example in doors.examples:
        assert len(example.model_dump_json()) < 1_000
        assert set(example.inputs or {}) == {"task", "context_tokens", "seed", "example", "query"}
    again = LangSmithTask(Doors(), context_tokens=2_000, count=3)
    assert [one.id for one in again.examples] == [one.id for one in doors.examples]


def test_a_dataset_of_another_recipe_is_refused(doors: LangSmithTask) -> None:
    other = LangSmithTask(Doors(), context_tokens=2_000, count=1, seed=1)
    with pytest.raises(ConfigurationError, match="task, size and seed"):
        doors.target(rlm()).invoke(other.examples[0].inputs)
    with pytest.raises(ConfigurationError, match="no examples"):
        LangSmithTask(Doors(), context_tokens=2_000, count=0)


def test_a_run_that_failed_scores_nothing(doors: LangSmithTask, ingest: Ingest) -> None:
    def fail(*_: Any) -> Any:
        message = "no such host"
        raise OSError(message)

    results = evaluate(
        doors.target(RunnableLambda(fail)), data=doors.examples, evaluators=[doors.evaluator],
        upload_results=False,
    )  # fmt: skip
    assert [row["evaluation_results"]["results"][0].score for row in results] == [0.0] * 3
