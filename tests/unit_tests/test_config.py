from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from langchain_replm import ConfigurationError, RLMConfig

REPLM_NAMES = [
    "max_iterations",
    "max_sub_calls",
    "max_recursion_depth",
    "cache_sub_calls",
    "enable_sub_calls",
    "metadata_prefix_chars",
    "sub_call_max_input_chars",
    "temperature",
    "sub_temperature",
    "reasoning_effort",
    "root_max_tokens",
    "sub_max_tokens",
    "sandbox_timeout",
    "sandbox_mode",
    "prompt_variant",
    "cost_per_input_token",
    "cost_per_output_token",
    "verbose",
]


def test_every_parameter_of_replm_is_here() -> None:
    assert set(REPLM_NAMES) <= set(RLMConfig.model_fields)


def test_the_readme_has_every_parameter_with_its_default() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    table = readme.split("| `RLMConfig` |")[1].split("\n\n")[0]
    told = {}
    for names, default in re.findall(r"^\| (`[^|]+`) \| ([^|]+) \|", table, re.MULTILINE):
        number = re.sub(r"(?<=\d),(?=\d)", "", default)
        told |= dict.fromkeys(re.findall(r"`(\w+)`", names), ast.literal_eval(number.strip("` ")))
    fields = RLMConfig.model_fields.items()
    assert told == {name: field.get_default(call_default_factory=True) for name, field in fields}


def test_defaults_are_those_of_replm_except_where_the_readme_says_so() -> None:
    config = RLMConfig()
    same = {
        "max_iterations": 25,
        "max_sub_calls": 500,
        "max_recursion_depth": 1,
        "cache_sub_calls": False,
        "enable_sub_calls": True,
        "sub_call_max_input_chars": 500_000,
        "reasoning_effort": None,
        "sandbox_timeout": 120,
        "sandbox_mode": "restricted",
        "prompt_variant": "default",
        "verbose": False,
    }
    assert {name: getattr(config, name) for name in same} == same
    other = {
        "metadata_prefix_chars": 10_000,
        "temperature": None,
        "sub_temperature": None,
        "root_max_tokens": None,
        "sub_max_tokens": None,
        "cost_per_input_token": None,
        "cost_per_output_token": None,
    }
    assert {name: getattr(config, name) for name in other} == other


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"max_iterations": 0}, ["max_iterations", "0", "greater than or equal to 1"]),
        ({"max_iterations": "25"}, ["max_iterations", "'25'", "integer"]),
        ({"max_iterations": True}, ["max_iterations", "True"]),
        ({"sandbox_mode": "vm"}, ["sandbox_mode", "'vm'", "'restricted'", "'subprocess'"]),
        ({"prompt_variant": "short"}, ["prompt_variant", "'short'", "'cost_warning'"]),
        ({"reasoning_effort": "much"}, ["reasoning_effort", "'much'", "'low'"]),
        ({"temperature": 3.0}, ["temperature", "3.0", "less than or equal to 2"]),
        ({"sandbox_timeout": 0}, ["sandbox_timeout", "0", "greater than 0"]),
        ({"max_iteration": 5}, ["'max_iteration'", "max_iterations"]),
        ({"max_cost_usd": 0}, ["max_cost_usd", "0", "greater than 0"]),
        ({"max_total_tokens": 0}, ["max_total_tokens", "greater than or equal to 1"]),
        ({"max_tool_calls": -1}, ["max_tool_calls", "-1"]),
        ({"prices": {"m": {"input_usd_per_million": 1}}}, ["prices.m.output_usd_per_million"]),
        ({"prices": {"m": {"input": 1}}}, ["prices.m.input"]),
        ({"cost_per_input_token": 0.1}, ["cost_per_input_token", "cost_per_output_token", "both"]),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(values: dict, said: list[str]) -> None:
    with pytest.raises(ConfigurationError) as raised:
        RLMConfig(**values)
    for part in said:
        assert part in str(raised.value)


def test_all_wrong_values_are_said_at_once() -> None:
    with pytest.raises(ConfigurationError) as raised:
        RLMConfig(max_iterations=0, max_sub_calls=-1)
    assert "max_iterations" in str(raised.value)
    assert "max_sub_calls" in str(raised.value)


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        RLMConfig().max_iterations = 3  # type: ignore[misc]
