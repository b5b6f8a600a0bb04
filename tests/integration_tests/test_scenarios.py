"""One scenario, every entry point, one response."""

from __future__ import annotations

import pytest
from langchain_core.messages import AIMessage

from langchain_replm import AnswerValidationError, LimitExceededError, RLMChatModel
from tests.scenarios import ENTRIES, QUERY, SCENARIOS, comparable, make, play


@pytest.mark.parametrize("name", SCENARIOS)
async def test_scenario_ends_as_written(name: str) -> None:
    scenario = SCENARIOS[name]
    response = await play(scenario, "invoke")
    assert (response.answer, response.stop_reason, response.sub_calls) == (
        scenario.answer,
        scenario.stop_reason,
        scenario.sub_calls,
    )


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if entry != "invoke"])
@pytest.mark.parametrize("name", SCENARIOS)
async def test_every_entry_point_gives_the_same_response(name: str, entry: str) -> None:
    scenario = SCENARIOS[name]
    assert comparable(await play(scenario, entry)) == comparable(await play(scenario, "invoke"))


async def _ask(model: RLMChatModel, entry: str, context: object) -> AIMessage:
    match entry:
        case "invoke":
            return model.invoke(QUERY, context=context)
        case "ainvoke":
            return await model.ainvoke(QUERY, context=context)
        case "stream":
            chunks = list(model.stream(QUERY, context=context))
        case _:
            chunks = [chunk async for chunk in model.astream(QUERY, context=context)]
    message = chunks[0]
    for chunk in chunks[1:]:
        message += chunk
    return message


# A short conversation is a plain call of the root model there, and no run.
RUNS = [name for name in SCENARIOS if not (SCENARIOS[name].config or {}).get("direct_below_chars")]


@pytest.mark.parametrize("entry", ["invoke", "ainvoke", "stream", "astream"])
@pytest.mark.parametrize("name", RUNS)
async def test_the_chat_model_gives_the_same_answer(name: str, entry: str) -> None:
    """Its prompts differ, as it shows the conversation; what is run, and what comes of it, does not."""
    scenario = SCENARIOS[name]
    expected = await play(scenario, "invoke")
    rlm = make(scenario)
    config = rlm.config.model_copy(update={"direct_below_chars": 0})
    rlm = rlm.model_copy(update={"config": config})
    model = RLMChatModel.from_rlm(rlm)
    if (scenario.config or {}).get("exit_behavior") == "error":
        with pytest.raises((LimitExceededError, AnswerValidationError)) as caught:
            await _ask(model, entry, scenario.context)
        assert caught.value.partial.answer == expected.answer
        assert caught.value.partial.stop_reason == expected.stop_reason
        return
    message = await _ask(model, entry, scenario.context)
    told = message.response_metadata["rlm"]
    assert message.text == expected.answer
    assert told["stop_reason"] == expected.stop_reason
    assert told["iterations"] == expected.iterations
