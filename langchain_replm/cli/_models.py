"""The models and the settings that a command was told."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING

from langchain_replm.cli._parser import config_fields
from langchain_replm.config import RLMConfig
from langchain_replm.errors import ConfigurationError

if TYPE_CHECKING:
    import argparse

    from langchain_core.language_models import BaseChatModel

DEFAULT_MODEL = "gpt-5-mini"


def config_of(options: argparse.Namespace) -> RLMConfig:
    """The settings of a run."""
    given = {name: getattr(options, f"config_{name}") for name in config_fields()}
    return RLMConfig(**{name: value for name, value in given.items() if value is not None})


def models_of(
    options: argparse.Namespace,
) -> tuple[BaseChatModel | str, BaseChatModel | str | None]:
    """The root model, and the sub-model if one was named."""
    root = find_model(options.root or _default_model(), "--root")
    return root, None if options.sub is None else find_model(options.sub, "--sub")


def find_model(name: str, option: str) -> BaseChatModel | str:
    """The chat model of a name."""
    if name == "extractive":
        from langchain_replm.extractive import ExtractiveChatModel  # noqa: PLC0415 - rarely used

        return ExtractiveChatModel()
    provider, _, plain = name.rpartition(":")
    if provider not in {"", "openai"} or importlib.util.find_spec("langchain") is not None:
        return name
    if not os.environ.get("OPENAI_API_KEY"):
        msg = f'{option} {name}: set OPENAI_API_KEY, or pip install "langchain-replm[models]".'
        raise ConfigurationError(msg)
    from langchain_openai import ChatOpenAI  # noqa: PLC0415 - takes a second to import

    return ChatOpenAI(model=plain)


def _default_model() -> str:
    if os.environ.get("OPENAI_API_KEY"):
        return f"openai:{os.environ.get('OPENAI_MODEL') or DEFAULT_MODEL}"
    msg = (
        "There is no model to ask. Name one: --root openai:gpt-5.2 (or any other name that "
        "init_chat_model knows), or set OPENAI_API_KEY. Without a key, --root extractive looks "
        "things up by rules; it is no language model."
    )
    raise ConfigurationError(msg)
