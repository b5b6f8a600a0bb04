"""What a model call can take at most, and what it has cost. Unknown is None, never zero."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_replm.budget import Spend
from langchain_replm.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from langchain_core.messages.ai import UsageMetadata

    from langchain_replm.config import ModelPrice, RLMConfig

BYTES_PER_TOKEN = 2
"""For estimates that must not be too low: prose has about 4 bytes a token, code 3, digits 2."""

TOKENS_PER_MESSAGE = 8
"""Roles and separators around a message; providers tell 3 to 5."""

UNKNOWN_OUTPUT_TOKENS = 8_192
"""Longest reply of a model about which nothing is known."""

PER_MILLION = 1_000_000

_LIMIT_NAMES = ("max_tokens", "max_completion_tokens", "max_output_tokens", "num_predict")


def name_of(model: Any) -> str:
    """The name of a chat model, as its maker calls it."""
    for attribute in ("model_name", "model"):
        name = getattr(model, attribute, None)
        if isinstance(name, str) and name:
            return name
    return type(model).__name__


def price_of(config: RLMConfig, *names: str | None) -> ModelPrice | None:
    """The price of the first of these names that has one, or the price for all models."""
    for name in names:
        if name in config.prices:
            return config.prices[name]
    return config.price_of_every_model


def check_prices(config: RLMConfig, models: Iterable[Any]) -> None:
    """Refuse a limit of money that could not be held.

    Raises:
        ConfigurationError: `max_cost_usd` is set and a model has no price.
    """
    if config.max_cost_usd is None:
        return
    unknown = sorted({name for name in map(name_of, models) if price_of(config, name) is None})
    if unknown:
        msg = (
            f"max_cost_usd = {config.max_cost_usd:g} needs the price of every model; unknown: "
            f"{', '.join(unknown)}. Give RLMConfig(prices={{{unknown[0]!r}: ModelPrice(...)}}), or "
            "cost_per_input_token and cost_per_output_token for all models."
        )
        raise ConfigurationError(msg)


def cost_usd(usage: UsageMetadata | None, price: ModelPrice | None) -> float | None:
    """What a call has cost; None if the price or the tokens are unknown."""
    if usage is None or price is None:
        return None
    details = usage.get("input_token_details", {})
    read, written = details.get("cache_read") or 0, details.get("cache_creation") or 0
    plain = price.input_usd_per_million
    dollars = (usage["input_tokens"] - read - written) * plain
    dollars += read * _or(price.cached_input_usd_per_million, plain)
    dollars += written * _or(price.cache_write_usd_per_million, plain)
    return (dollars + usage["output_tokens"] * price.output_usd_per_million) / PER_MILLION


def most_spent(
    texts: Sequence[str], model: Any, price: ModelPrice | None, *, output_tokens: int | None
) -> Spend:
    """The most that a call with these messages can take.

    Args:
        texts: The text of each message.
        model: The chat model; its own limit of output tokens is looked for if none was asked for.
        price: Its price, if known.
        output_tokens: The limit that is sent with the call.
    """
    tokens_in = sum(map(input_tokens, texts))
    tokens_out = output_tokens or most_output_tokens(model)
    cost = 0.0
    if price is not None:
        dear = max(price.input_usd_per_million, price.cache_write_usd_per_million or 0.0)
        cost = (tokens_in * dear + tokens_out * price.output_usd_per_million) / PER_MILLION
    return Spend(tokens_in + tokens_out, cost)


def input_tokens(text: str) -> int:
    """Tokens of one message, rather too many than too few."""
    size = len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
    return -(-size // BYTES_PER_TOKEN) + TOKENS_PER_MESSAGE


def most_output_tokens(model: Any) -> int:
    """Longest reply of a model: its own setting, else its LangChain profile, else a constant."""
    profile = getattr(model, "profile", None) or {}
    told = [getattr(model, name, None) for name in _LIMIT_NAMES]
    for limit in (*told, profile.get("max_output_tokens")):
        if isinstance(limit, int) and limit > 0:
            return limit
    return UNKNOWN_OUTPUT_TOKENS


def _or(price: float | None, otherwise: float) -> float:
    return otherwise if price is None else price
