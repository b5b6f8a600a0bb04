"""Replies that are kept over runs, in the caches of LangChain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain_core.caches import BaseCache, InMemoryCache

from langchain_replm import RLM, ConfigurationError, RLMConfig, RLMEvent, RLMResponse
from langchain_replm.testing import ScriptedChatModel
from tests.scenarios import cell

CELL = cell(
    "r = llm_query_batch(['a', 'b', 'bad', 'a'])",
    "FINAL([x if isinstance(x, str) else 'error' for x in r])",
)
COLOURS = ["sync", "async"]
both = pytest.mark.parametrize("colour", COLOURS)


def answer(messages: list[Any]) -> Any:
    text = messages[-1].content
    return RuntimeError("busy") if text == "bad" else f"re: {text}"


def make(cache: Any, sub: ScriptedChatModel, **config: Any) -> RLM:
    root = ScriptedChatModel(replies=[CELL], model_name="root")
    settings = RLMConfig(sandbox_mode="none", **config)
    return RLM(root, sub_model=sub, cache=cache, config=settings)


async def run(rlm: RLM, colour: str, heard: list[RLMEvent] | None = None) -> RLMResponse:
    on_event = None if heard is None else heard.append
    if colour == "sync":
        return rlm.generate("q", "text", on_event=on_event)
    return await rlm.agenerate("q", "text", on_event=on_event)


def sub_model(**fields: Any) -> ScriptedChatModel:
    return ScriptedChatModel(respond=answer, model_name="sub", **fields)


@both
async def test_a_second_run_pays_only_for_what_failed(colour: str) -> None:
    cache, sub = InMemoryCache(), sub_model()
    first = await run(make(cache, sub), colour)
    assert first.answer == '["re: a", "re: b", "error", "re: a"]'
    assert (first.sub_calls, first.cache_hits, len(sub.calls)) == (3, 1, 3)
    heard: list[RLMEvent] = []
    second = await run(make(cache, sub), colour, heard)
    assert second.answer == first.answer
    assert (second.sub_calls, second.cache_hits, len(sub.calls)) == (1, 3, 4)
    assert second.usage_by_model.keys() == {"root"}
    hits = [event for event in heard if event.type == "sub_call_cache_hit"]
    assert [event.detail["cached"] for event in hits] == [True] * 3


@both
async def test_hits_are_free_of_the_budget(colour: str) -> None:
    cache, sub = InMemoryCache(), sub_model()
    await run(make(cache, sub), colour)
    response = await run(make(cache, sub, max_sub_calls=1), colour)
    assert (response.stop_reason, response.sub_calls) == ("answered", 1)


@both
async def test_another_model_or_another_temperature_is_another_call(colour: str) -> None:
    cache, sub = InMemoryCache(), sub_model()
    await run(make(cache, sub), colour)
    other = ScriptedChatModel(respond=answer, model_name="other")
    assert (await run(make(cache, other), colour)).sub_calls == 3
    assert (await run(make(cache, sub, sub_temperature=0.7), colour)).sub_calls == 3
    assert (await run(make(cache, sub, sub_temperature=0.7), colour)).sub_calls == 1


@both
async def test_a_cache_in_a_file(colour: str, tmp_path: Path) -> None:
    caches = pytest.importorskip("langchain_community.cache")
    path = str(tmp_path / "cache.db")
    await run(make(caches.SQLiteCache(path), sub_model()), colour)
    assert (await run(make(caches.SQLiteCache(path), sub_model()), colour)).sub_calls == 1


class Broken(BaseCache):
    def lookup(self, prompt: str, llm_string: str) -> Any:
        msg = "the cache is down"
        raise OSError(msg)

    def update(self, prompt: str, llm_string: str, return_val: Any) -> None:
        msg = "the cache is down"
        raise OSError(msg)

    def clear(self, **kwargs: Any) -> None:
        """Nothing to clear."""


@both
async def test_a_run_goes_on_without_a_cache_that_fails(
    colour: str, caplog: pytest.LogCaptureFixture
) -> None:
    response = await run(make(Broken(), sub_model()), colour)
    assert (response.stop_reason, response.sub_calls) == ("answered", 3)
    assert "the cache failed: OSError" in caplog.text


def test_what_is_no_cache_is_refused_before_anything_runs() -> None:
    with pytest.raises(ConfigurationError, match="cache is a dict"):
        make({}, sub_model()).generate("q", "text")
