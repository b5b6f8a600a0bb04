"""One scenario, every entry point, one response."""

from __future__ import annotations

import pytest

from tests.scenarios import ENTRIES, SCENARIOS, comparable, play


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
