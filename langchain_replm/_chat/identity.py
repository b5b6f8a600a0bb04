"""What an `RLMChatModel` is to LangChain: parameters, name, key in caches, tokens."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from langchain_core.language_models import BaseChatModel
from langchain_core.load.dump import dumpd
from langchain_core.messages.utils import count_tokens_approximately
from pydantic import ConfigDict, Field, ValidationError, field_validator

from langchain_replm._chat.conversation import context_chars
from langchain_replm._chat.nesting import InnerCallbacks
from langchain_replm._chat.request import ANSWER_KEY
from langchain_replm._models import resolve_chat_model
from langchain_replm._prices import name_of
from langchain_replm.config import RLMConfig
from langchain_replm.errors import ConfigurationError
from langchain_replm.runnable import RLMParameters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.language_models.base import LangSmithParams
    from langchain_core.language_models.model_profile import ModelProfile
    from langchain_core.messages import BaseMessage

INPUT_TOKENS = 1_000_000_000
"""`profile["max_input_tokens"]`: an agent must not summarise away what an RLM is there to read."""

PARENT_KEY = "rlm_parent"
"""Call keyword by which a stream tells what is inside which run it belongs to."""


class ChatIdentity(RLMParameters, BaseChatModel):
    """The parameters of `RLMChatModel`, and what does not depend on a call."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    model: str = ""
    """Name in metadata and traces; made of the names of the models when it is empty."""
    context: Any = None
    """A context for every call: `str`, `list[str]` or `Document`s. `bind(context=...)` and
    `invoke(..., context=...)` win over it."""
    temperature: float | None = None
    """Sampling temperature of the root model, in runs and in direct calls."""
    max_tokens: int | None = None
    """Most output tokens of one reply of the root model, in runs and in direct calls."""
    stop: list[str] | None = None
    """Sequences at which the answer ends."""
    streaming: bool = False
    """Stream even when `invoke` was called."""
    show_work: bool = True
    """Cells and their output are the reasoning of a message."""
    inner_callbacks: InnerCallbacks = "inherit"
    """Which callback handlers hear the calls inside: `"inherit"`, all but token streams
    (`astream_events`, a graph's `"messages"`); `"all"`; `"tracers"`; `"none"`."""
    run_store: Any = Field(default=None, exclude=True)
    """A LangGraph `BaseStore` that keeps runs which wait for tool results; in this process by
    default."""

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise ConfigurationError(_explain(error)) from error
        self.model = self.model or self._default_name()

    @field_validator("config", mode="before")
    @classmethod
    def _config_from_data(cls, value: Any) -> Any:
        return RLMConfig(**value) if isinstance(value, dict) else value

    @property
    def root(self) -> BaseChatModel:
        """The root model, also where a name was given."""
        return resolve_chat_model(self.root_model, role="root_model")

    @property
    def _llm_type(self) -> str:
        return "rlm-chat-model"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        # They become metadata of every run inside; the inner runs say their own models.
        return {
            "model": self.model,
            "rlm_root_model": _name(self.root_model),
            "rlm_sub_model": _name(self._first_sub_model),
            "rlm_parameters": self._fingerprint,
        }

    @property
    def _fingerprint(self) -> str:
        """Tells models apart that would answer differently; for caches."""
        parts: list[Any] = [self.config.model_dump(mode="json"), self.temperature, self.max_tokens]
        parts += [_model_key(self.root_model), self.stop]
        by_depth = self.sub_model if isinstance(self.sub_model, list | tuple) else [self.sub_model]
        parts += [_model_key(model) for model in by_depth]
        parts += [(name, _model_key(model)) for name, model in sorted(self.models.items())]
        parts += [repr(self.sandbox), [getattr(tool, "name", repr(tool)) for tool in self.tools]]
        parts += [self.show_work, _hash_of(self.context), repr(self.output_version)]
        return hashlib.sha256(repr(parts).encode("utf-8", "replace")).hexdigest()[:32]

    @property
    def _first_sub_model(self) -> BaseChatModel | str:
        given: Any = self.sub_model
        return (given[0] if isinstance(given, list | tuple) and given else given) or self.root_model

    def _default_name(self) -> str:
        root, sub = _name(self.root_model), _name(self._first_sub_model)
        return f"rlm({root})" if root == sub else f"rlm({root}+{sub})"

    def _resolve_model_profile(self) -> ModelProfile | None:
        known = self.root_model.profile if isinstance(self.root_model, BaseChatModel) else None
        return {
            **(known or {}),
            "max_input_tokens": INPUT_TOKENS,
            "tool_calling": True,
            "structured_output": False,
        }

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = "rlm"
        return params

    def _get_invocation_params(
        self, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        # For traces: a context is told by its size, and what is ours is not told at all.
        told = {name: value for name, value in kwargs.items() if name != PARENT_KEY}
        if told.get("context") is not None:
            told["context"] = {"chars": context_chars(told["context"])}
        return super()._get_invocation_params(stop=stop, **told)

    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        """The key of this model and call in a cache of replies."""
        given = {**self._identifying_params, **kwargs, "stop": stop}
        given["context"] = _hash_of(given.get("context"))
        wish = given.pop(ANSWER_KEY, None)
        if wish is not None:
            given["answer"] = [wish.json_schema(), wish.method, wish.strict]
        return json.dumps(given, sort_keys=True, default=repr)

    # -- serialization ---------------------------------------------------------------------------

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """`dumpd` and `load` work, as far as they do for its models."""
        return True

    @classmethod
    def get_lc_namespace(cls) -> list[str]:
        """Where `load` finds the class."""
        return ["langchain_replm"]

    def to_json(self) -> Any:
        """As LangChain's serialization wants it; the config as plain data."""
        data: Any = super().to_json()
        if "kwargs" in data and "config" in data["kwargs"]:
            data["kwargs"]["config"] = self.config.model_dump(mode="json", exclude_defaults=True)
        return data

    @cached_property
    def _serialized(self) -> dict[str, Any]:
        # For traces: without the context.
        data: dict[str, Any] = dumpd(self)
        data.get("kwargs", {}).pop("context", None)
        return data

    # -- tokens ----------------------------------------------------------------------------------

    def get_num_tokens(self, text: str) -> int:
        """Tokens of a text, by the root model's own count where it has one."""
        if self.custom_get_token_ids is None and not _counts_tokens(self.root_model):
            return count_tokens_approximately([("human", text)])
        return super().get_num_tokens(text)

    def get_token_ids(self, text: str) -> list[int]:
        """The token ids of the root model."""
        if self.custom_get_token_ids is None:
            return self.root.get_token_ids(text)
        return super().get_token_ids(text)

    def get_num_tokens_from_messages(
        self,
        messages: Sequence[BaseMessage],
        tools: Sequence[Any] | None = None,
    ) -> int:
        """Tokens of a conversation, by the root model's own count where it has one."""
        if self.custom_get_token_ids is None and _counts_tokens(self.root_model):
            return self.root.get_num_tokens_from_messages(list(messages), tools=tools)
        return count_tokens_approximately(messages)


def _name(model: BaseChatModel | str) -> str:
    return model.rpartition(":")[2] if isinstance(model, str) else name_of(model)


def _model_key(model: Any) -> str:
    if isinstance(model, BaseChatModel):
        return model._get_llm_string()  # noqa: SLF001 - LangChain's name for the key of a cache
    return repr(model)


def _hash_of(context: Any) -> str | None:
    if context is None:
        return None
    return hashlib.sha256(repr(context).encode("utf-8", "replace")).hexdigest()


def _counts_tokens(model: Any) -> bool:
    """The model has a tokenizer of its own; LangChain's default needs one that must be fetched."""
    kind = type(model)
    names = ("get_num_tokens", "get_token_ids", "get_num_tokens_from_messages")
    own = any(getattr(kind, name) is not getattr(BaseChatModel, name) for name in names)
    return isinstance(model, BaseChatModel) and (own or model.custom_get_token_ids is not None)


def _explain(error: ValidationError) -> str:
    lines = []
    for item in error.errors():
        name = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            known = ", ".join(sorted(ChatIdentity.model_fields))
            lines.append(
                f"RLMChatModel has no parameter {name!r}. It has: {known}. Keys, timeouts and "
                "retries belong to the models that it is made of."
            )
        else:
            lines.append(f"RLMChatModel.{name}: {item['msg']}.")
    return "\n".join(lines)
