"""Options that come from the config, and text that must not command a terminal."""

from __future__ import annotations

import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from langchain_openai import ChatOpenAI

from langchain_replm import ConfigurationError, RLMConfig
from langchain_replm.cli._models import find_model
from langchain_replm.cli._parser import config_fields, make_parser
from langchain_replm.cli._terminal import plain


def test_every_field_that_a_word_can_set_is_an_option_with_help() -> None:
    fields = config_fields()
    # Prices are a table, and a command has nobody to ask for approval while it runs.
    assert set(RLMConfig.model_fields) - set(fields) <= {"prices", "approve"}
    assert [name for name, argument in fields.items() if len(argument["help"]) < 20] == []
    words = ["ask", "?", "-", "--max-iterations", "7", "--sandbox-timeout", "2.5",
             "--no-hold-first-answer", "--prompt-variant", "small_context"]  # fmt: skip
    options = vars(make_parser().parse_args(words))
    given = {name: options[f"config_{name}"] for name in fields}
    assert {name: value for name, value in given.items() if value is not None} == {
        "max_iterations": 7,
        "sandbox_timeout": 2.5,
        "hold_first_answer": False,
        "prompt_variant": "small_context",
    }


def test_the_help_of_every_command_can_be_shown(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["ask"], ["show"], ["doctor"], ["completion"]):
        with pytest.raises(SystemExit) as left:
            make_parser().parse_args([*words, "--help"])
        assert left.value.code == 0
    assert "Most root replies of a run." in capsys.readouterr().out


@pytest.mark.parametrize(
    "text",
    [
        "\x1b[2J",
        "\x1b]52;c;AAAA\x07",
        "\x9b31m",
        "a\rb",
        "\b\b",
        "\u202eabc",
        "\u2066",
        "\x00",
        "\x7f",
    ],
)
def test_no_text_commands_a_terminal(text: str) -> None:
    told = plain(f"before {text} after\n\ttabs and newlines stay\r\n")
    assert told.isprintable() or set(told) - {"\n", "\t"} == {c for c in told if c.isprintable()}
    assert told.startswith("before ")
    assert told.endswith(" after\n\ttabs and newlines stay\n")


def test_the_script_of_the_package_is_the_command_line() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    module, function = project["project"]["scripts"]["langchain-replm"].split(":")
    assert callable(getattr(import_module(module), function))


def test_a_model_of_openai_needs_no_more_than_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where `langchain` is not installed, whose `init_chat_model` knows all the other names."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=r"--root openai:gpt-5.2: set OPENAI_API_KEY"):
        find_model("openai:gpt-5.2", "--root")
    assert find_model("anthropic:claude", "--root") == "anthropic:claude"
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    model = find_model("openai:gpt-5.2", "--root")
    assert isinstance(model, ChatOpenAI)
    assert model.model_name == "gpt-5.2"
