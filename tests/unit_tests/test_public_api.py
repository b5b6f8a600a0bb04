"""The public names, their signatures and fields: a change shows as a diff of the snapshot.

`make api` writes it anew.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import BaseModel

SNAPSHOT = Path(__file__).parent / "snapshots" / "public_api.txt"
MODULES = (
    "langchain_replm",
    "langchain_replm.sandbox",
    "langchain_replm.testing",
    "langchain_replm.evals",
)


def described(name: str, value: Any) -> Iterator[str]:
    if inspect.isclass(value) and issubclass(value, BaseModel):
        yield f"class {name}:"
        for field, about in value.model_fields.items():
            if not is_ours(value, field):
                continue
            if about.is_required():
                default = ""
            elif about.default_factory is not None:
                default = " = (made)"
            else:
                default = f" = {about.default!r}"
            yield f"    {field}: {spelled(about.annotation)}{default}"
    elif inspect.isclass(value):
        made = vars(value).get("__init__")
        own = inspect.isfunction(made) and made.__module__.startswith("langchain_replm")
        yield f"class {name}{signature(made) if own else ''}:"
        for field, kind in sorted(inspect.get_annotations(value).items()):
            if not field.startswith("_"):
                yield f"    {field}: {spelled(kind)}"
    elif callable(value):
        yield f"def {name}{signature(value)}"
        return
    else:
        yield f"{name} = {value!r}"
        return
    for member, function in sorted(vars(value).items()):
        if member.startswith(("_", "test_")) or member == "model_config":
            continue
        plain = getattr(function, "__func__", function)
        if isinstance(function, property):
            yield f"    {member} (property)"
        elif inspect.isfunction(plain):
            yield f"    def {member}{signature(plain)}"


def signature(function: Any) -> str:
    # Annotations are text in all of our modules, which inspect puts into quotes.
    return re.sub(r" at 0x[0-9a-f]+|'", "", str(inspect.signature(function)))


def is_ours(value: type, field: str) -> bool:
    """What LangChain's classes bring along is LangChain's, and changes with it."""
    ours = [base for base in value.__mro__ if base.__module__.startswith("langchain_replm")]
    return any(field in inspect.get_annotations(base) for base in ours)


def spelled(kind: Any) -> str:
    text = kind if isinstance(kind, str) else inspect.formatannotation(kind)
    # Python 3.14 spells unions in another way.
    return re.sub(
        r"Optional\[((?:[^\[\]]|\[[^\[\]]*\])+)\]", r"\1 | None", text.replace("typing.", "")
    )


def rendered() -> str:
    lines = []
    for module in MODULES:
        lines.append(f"# {module}")
        for name in sorted(import_module(module).__all__):
            lines += described(name, getattr(import_module(module), name))
        lines.append("")
    return "\n".join(lines)


def test_the_public_api_is_the_one_in_the_snapshot() -> None:
    text = rendered()
    if os.environ.get("UPDATE_SNAPSHOTS"):
        SNAPSHOT.write_text(text, encoding="utf-8")
    assert text.splitlines() == SNAPSHOT.read_text(encoding="utf-8").splitlines()
