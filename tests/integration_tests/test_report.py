"""What a person looks at: the record's times, the report, against real runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from langchain_replm import RLM, RLMConfig
from langchain_replm.testing import ScriptedChatModel
from langchain_replm.types import RLMResponse, ended_seconds
from tests.scenarios import cell


def a_run(path: Path | None = None, *, colour: str = "sync") -> RLMResponse:
    import asyncio

    root = ScriptedChatModel(
        replies=[
            "I look at the start.\n\n" + cell("print(context[:9])", "x = llm_query('what?')"),
            cell("r = rlm_query_batch(['child?', 'other child?'], [context, context])"),
            cell("FINAL(r)"),
        ]
    )
    # The sub-model is the root of child runs, so it must write cells too.
    sub = ScriptedChatModel(respond=lambda messages: cell("FINAL(len(context))"))
    config = RLMConfig(
        max_recursion_depth=2, cost_per_input_token=0.001, cost_per_output_token=0.01
    )
    rlm = RLM(root, sub_model=sub, config=config, trajectory_file=path)
    if colour == "async":
        return asyncio.run(rlm.agenerate("How long?", "heron " * 100))
    return rlm.generate("How long?", "heron " * 100)


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_the_times_of_a_record_lie_in_each_other(colour: str) -> None:
    response = a_run(colour=colour)
    assert response.query == "How long?"
    assert response.context is not None
    assert (response.context.kind, response.context.chars) == ("str", 600)
    assert RLMResponse.model_validate(response.to_dict()) == response
    clock = 0.0
    children = 0
    for step in response.trajectory:
        assert step.started_seconds >= clock
        clock = step.started_seconds + step.elapsed_seconds
        for done in step.cells:
            assert done.started_seconds >= clock - 1e-6
            assert done.elapsed_seconds <= done.total_seconds + 1e-6
            clock = done.started_seconds + done.total_seconds
            for item in (item for call in done.host_calls for item in call.items):
                assert item.started_seconds >= done.started_seconds
                assert item.started_seconds + item.elapsed_seconds <= clock + 1e-6
                for inner in item.child:
                    children += 1
                    assert inner.started_seconds >= item.started_seconds
                if item.child:
                    ended = item.started_seconds + item.elapsed_seconds
                    assert ended_seconds(item.child) <= ended + 1e-6
    assert children == 2
    assert clock <= response.elapsed_seconds
