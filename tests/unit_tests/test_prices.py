"""What a call can take at most, and what it has cost; what is not known is never zero."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from langchain_replm import RLM, ConfigurationError, ModelPrice, RLMConfig
from langchain_replm._prices import (
    UNKNOWN_OUTPUT_TOKENS,
    cost_usd,
    input_tokens,
    most_output_tokens,
    most_spent,
    price_of,
)
from langchain_replm.testing import ScriptedChatModel
from tests.unit_tests._nodes.by_hand import usage

CHEAP = ModelPrice(input_usd_per_million=1.0, output_usd_per_million=4.0)
CACHING = ModelPrice(
    input_usd_per_million=1.0,
    output_usd_per_million=4.0,
    cached_input_usd_per_million=0.1,
    cache_write_usd_per_million=1.25,
)


def test_a_call_costs_what_its_tokens_cost() -> None:
    assert cost_usd(usage(1_000_000, 500_000), CHEAP) == pytest.approx(1.0 + 2.0)


@pytest.mark.parametrize(("price", "expected"), [(CHEAP, 1.0), (CACHING, 0.5 + 0.03 + 0.25)])
def test_cached_input_has_its_own_price_or_that_of_input(price: Any, expected: float) -> None:
    told = usage(
        1_000_000, 0, input_token_details={"cache_read": 300_000, "cache_creation": 200_000}
    )
    assert cost_usd(told, price) == pytest.approx(expected)


def test_unknown_is_none_and_not_zero() -> None:
    assert cost_usd(usage(1, 1), None) is None
    assert cost_usd(None, CHEAP) is None
    assert cost_usd(usage(0, 0), CHEAP) == 0.0


def test_the_name_that_was_asked_for_comes_before_the_one_that_was_reported() -> None:
    dear = ModelPrice(input_usd_per_million=9.0, output_usd_per_million=9.0)
    config = RLMConfig(prices={"mini": CHEAP, "mini-2025": dear})
    assert price_of(config, "mini", "mini-2025") == CHEAP
    assert price_of(config, "other", "mini-2025") == dear
    assert price_of(config, "other", None) is None


def test_the_price_of_all_models_is_for_those_without_their_own() -> None:
    config = RLMConfig(
        prices={"mini": CHEAP}, cost_per_input_token=2e-6, cost_per_output_token=3e-6
    )
    assert price_of(config, "mini") == CHEAP
    flat = price_of(config, "big")
    assert flat is not None
    assert cost_usd(usage(1_000, 1_000), flat) == pytest.approx(0.005)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({"max_tokens": 300, "profile": {"max_output_tokens": 9}}, 300),
        ({"max_tokens": None, "profile": {"max_output_tokens": 900}}, 900),
        ({"max_output_tokens": 70}, 70),
        ({"num_predict": -1}, UNKNOWN_OUTPUT_TOKENS),
        ({"profile": None}, UNKNOWN_OUTPUT_TOKENS),
        ({}, UNKNOWN_OUTPUT_TOKENS),
    ],
)
def test_the_longest_reply_is_what_the_model_was_told_or_what_is_known_of_it(
    model: dict[str, Any], expected: int
) -> None:
    assert most_output_tokens(SimpleNamespace(**model)) == expected


def test_real_chat_models_say_how_much_they_write() -> None:
    from langchain_openai import ChatOpenAI

    told = ChatOpenAI(model="gpt-5-mini", api_key="x", max_tokens=50)  # type: ignore[arg-type]
    assert most_output_tokens(told) == 50
    known = ChatOpenAI(model="gpt-5-mini", api_key="x")  # type: ignore[arg-type]
    assert most_output_tokens(known) == 128_000


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("the heron stands still " * 100, 520), ("鷺が立っている" * 100, 700), ("0" * 900, 300)],
)
def test_the_estimate_of_a_prompt_is_not_below_what_tokenizers_count(
    text: str, tokens: int
) -> None:
    # The counts are those of o200k_base, rounded up.
    assert input_tokens(text) >= tokens


def test_the_most_of_a_call_is_its_prompt_and_its_longest_reply() -> None:
    most = most_spent(["x" * 2_000, "y" * 200], object(), CHEAP, output_tokens=100)
    assert most.tokens == 1_000 + 100 + 2 * 8 + 100
    assert most.cost_usd == pytest.approx((1_116 * 1.0 + 100 * 4.0) / 1e6)


def test_input_may_have_to_be_written_into_the_cache() -> None:
    plain = most_spent(["x" * 2_000], object(), CHEAP, output_tokens=1)
    caching = most_spent(["x" * 2_000], object(), CACHING, output_tokens=1)
    assert caching.cost_usd > plain.cost_usd


def test_a_limit_of_money_needs_the_price_of_every_model() -> None:
    root, sub = ScriptedChatModel(model_name="big"), ScriptedChatModel(model_name="mini")
    config = RLMConfig(max_cost_usd=1.0, prices={"big": CHEAP})
    with pytest.raises(ConfigurationError, match=r"unknown: mini\. Give .*'mini': ModelPrice"):
        RLM(root, sub_model=sub, config=config).generate("q", "c")
    assert root.calls == []
    named = RLM(root, models={"eyes": sub}, config=config)
    with pytest.raises(ConfigurationError, match="unknown: mini"):
        named.generate("q", "c")
