"""What makes two tasks or two runners the same one: the file of results holds it."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from langchain_core.language_models import BaseChatModel

from langchain_replm._models import resolve_by_depth, resolve_chat_model
from langchain_replm._prices import name_of
from langchain_replm.runnable import RLM


def describe_task(task: Any) -> dict[str, Any]:
    """What makes two tasks the same one, as JSON data."""
    told: Any = {}
    if dataclasses.is_dataclass(task) and not isinstance(task, type):
        options = {one.name: getattr(task, one.name) for one in dataclasses.fields(task)}
        told = {
            name: name_of(value) if isinstance(value, BaseChatModel) else value
            for name, value in options.items()
        }
    return _json({"kind": type(task).__qualname__, "options": told})


def describe_runner(runner: Any) -> dict[str, Any]:
    """What makes two runners the same one: what it says itself, or models and config of an RLM."""
    kind = {"kind": type(runner).__qualname__}
    if hasattr(runner, "definition"):
        return _json({**kind, **runner.definition()})
    if not isinstance(runner, RLM):
        return kind
    root = resolve_chat_model(runner.root_model, role="root_model")
    subs = resolve_by_depth(runner.sub_model, default=root)
    config = runner.config.model_dump(mode="json", exclude_defaults=True)
    names = ", ".join(name_of(sub) for sub in subs)
    return _json({**kind, "root_model": name_of(root), "sub_model": names, "config": config})


def _json(value: dict[str, Any]) -> dict[str, Any]:
    """As it will be read back from the file."""
    plain: dict[str, Any] = json.loads(json.dumps(value, default=str))
    return plain
