"""Children at depth 2 and 3: their models, what they are told, what they never see, and the tree."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_replm import RLM, ConfigurationError, RLMConfig, RLMEvent, RLMResponse
from langchain_replm.testing import ScriptedChatModel
from tests.scenarios import cell

WHOLE = "the heron nests at dawn"
GO_DOWN = cell(
    "own = llm_query('at this depth')",
    "below = rlm_query_batch(['go on', 'go on'], [f'part {i} ' + context[:4] for i in range(2)])",
    "FINAL([own, *below])",
)
BOTTOM = cell("FINAL(llm_query('at the bottom') + ' ' + rlm_query('one prompt', 'text'))")


def model(name: str) -> ScriptedChatModel:
    def respond(messages: list[Any]) -> str:
        if len(messages) == 1:
            return name
        return BOTTOM if "at depth 2" in str(messages[0].content) else GO_DOWN

    return ScriptedChatModel(respond=respond, model_name=name)


async def run(rlm: RLM, colour: str, heard: list[RLMEvent]) -> RLMResponse:
    if colour == "sync":
        return rlm.generate("q", WHOLE, on_event=heard.append)
    return await rlm.agenerate("q", WHOLE, on_event=heard.append)


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_each_depth_has_its_model_and_knows_its_depth(colour: str) -> None:
    root, first, second, third = map(model, ("root", "first", "second", "third"))
    heard: list[RLMEvent] = []
    rlm = RLM(
        root,
        sub_model=[first, second, third],
        config=RLMConfig(max_recursion_depth=3, sandbox_mode="none"),
    )
    response = await run(rlm, colour, heard)
    assert len(root.calls) == 1
    assert len(first.calls) == 1 + 2, "it reads for the run and writes for its two children"
    assert len(second.calls) == 2 + 4
    assert len(third.calls) == 2 * 4, "no child below the last depth: rlm_query is one prompt"
    leaf = "third third"
    middle = f'["second", "{leaf}", "{leaf}"]'
    assert response.answer.count("third third") == 4
    assert response.answer.startswith('["first", ')
    assert middle.replace('"', '\\"') in response.answer
    assert {event.depth for event in heard} == {0, 1, 2}
    child = response.trajectory[0].cells[0].host_calls[1].items[0].child
    grandchild = child[0].cells[0].host_calls[1].items[0].child
    assert grandchild[0].model == "second"
    assert response.sub_calls == 1 + 2 * (1 + 1 + 2 * (1 + 1 + 1))


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_child_never_gets_the_context_of_its_parent(colour: str) -> None:
    sub = model("sub")
    rlm = RLM(
        model("root"), sub_model=sub, config=RLMConfig(max_recursion_depth=2, sandbox_mode="none")
    )
    await run(rlm, colour, [])
    for messages in sub.calls:
        assert not any(WHOLE in str(message.content) for message in messages)


def test_an_empty_list_of_models_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="`sub_model` is an empty list"):
        RLM(model("root"), sub_model=[]).generate("q", "text")


def test_a_wrong_model_in_the_list_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"sub_model\[1\]"):
        RLM(model("root"), sub_model=[model("sub"), ""]).generate("q", "text")


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_batch_asks_the_model_that_it_names(colour: str) -> None:
    root = ScriptedChatModel(
        replies=[
            cell("r = llm_query_batch(['a', 'b'], model='cheap')", "FINAL([*r, llm_query('c')])")
        ]
    )
    rlm = RLM(root, sub_model=model("usual"), models={"cheap": model("small")})
    response = await run(rlm, colour, [])
    assert response.answer == '["small", "small", "usual"]'
    assert "cheap" in str(root.calls[0][0].content)
