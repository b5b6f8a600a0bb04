"""JSON Schemas: as a model reads them, as they are checked, and which parts of a cell's are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from langchain_replm._json_text import read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_TOLD_CHARS = 6_000
"""Characters of a schema that a model is told. What does not fit comes back as a problem."""

MAX_PROBLEMS = 8
MAX_PROBLEM_CHARS = 300
MAX_FOUND_CHARS = 80

_TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
_OPAQUE = frozenset({"default", "const", "enum", "examples"})


class SchemaError(ValueError):
    """The value does not fit a JSON Schema; the message has one line per problem."""


def told(schema: Any) -> str:
    """A schema as text for a model: bounded, without generated titles, no doubled braces."""
    text = json.dumps(_without_titles(schema), indent=1, ensure_ascii=False, default=str)
    if len(text) <= MAX_TOLD_CHARS:
        return text
    return f"{text[:MAX_TOLD_CHARS]}\n[... {len(text) - MAX_TOLD_CHARS:,} characters more ...]"


def _without_titles(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_titles(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: item if name in _OPAQUE else _without_titles(item)
        for name, item in schema.items()
        if not (name == "title" and isinstance(item, str))
    }


def by_schema(schema: dict[str, Any]) -> Callable[[str], Any]:
    """A function that checks JSON text by the schema of a user."""
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - slow to import

    Draft202012Validator.check_schema(schema)
    for reference in _references(schema):
        if not reference.startswith("#"):
            msg = f"$ref {reference!r} leads out of the schema; put the definition into its $defs"
            raise ValueError(msg)
    return validator(schema)


def validator(schema: Any) -> Callable[[str], Any]:
    """A function that reads JSON text and raises `SchemaError` where it does not fit."""
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - as above
    from referencing import Registry  # noqa: PLC0415

    # With a registry of its own the validator never fetches anything.
    registry: Registry[Any] = Registry()
    found = Draft202012Validator(schema, registry=registry)

    def validate(text: str) -> Any:
        data = read_json(text)
        errors = [
            f"{error.json_path:.200}: {_short(error.message, error.instance)}"
            for error, _ in zip(found.iter_errors(data), range(MAX_PROBLEMS), strict=False)
        ]
        if errors:
            raise SchemaError("\n".join(errors))
        return data

    return validate


def _short(message: str, instance: Any) -> str:
    """A message of jsonschema, which begins with the whole value, with the start of the value."""
    found = repr(instance)
    if len(found) > MAX_FOUND_CHARS and message.startswith(found):
        message = f"{found[:MAX_FOUND_CHARS]}...{message[len(found) :]}"
    return message[:MAX_PROBLEM_CHARS]


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for item in schema:
            yield from _references(item)
    elif isinstance(schema, dict):
        for name, item in schema.items():
            if name in ("$ref", "$dynamicRef") and isinstance(item, str):
                yield item
            elif name not in _OPAQUE:
                yield from _references(item)


def checkable(schema: Any) -> Any:
    """The part of a cell's schema that is checked; annotations and costly keywords are not."""
    if isinstance(schema, bool):
        return schema
    if not isinstance(schema, dict):
        msg = f"a schema is an object, not {json.dumps(schema):.50}"
        raise TypeError(msg)
    kept = {name: _kept(name, item) for name, item in schema.items() if name in _READERS}
    if kept.keys().isdisjoint({"type", "enum", "const", "anyOf", "oneOf", "allOf"}):
        # Left out because it is plain; without it a string would fit as well.
        if kept.keys() & {"properties", "required"}:
            kept["type"] = "object"
        elif kept.keys() & {"items", "prefixItems"}:
            kept["type"] = "array"
    return kept


def _kept(name: str, item: Any) -> Any:
    kept = _READERS[name](item)
    if kept is None:
        msg = f"{name} cannot be {json.dumps(item):.50}"
        raise ValueError(msg)
    return kept


def _schema_list(item: Any) -> Any:
    return [checkable(part) for part in item] if isinstance(item, list) else None


def _schema_map(item: Any) -> Any:
    if not isinstance(item, dict):
        return None
    return {name: checkable(part) for name, part in item.items()}


def _is_type(item: Any) -> bool:
    names = item if isinstance(item, list) else [item]
    return all(isinstance(name, str) and name in _TYPES for name in names)


def _is_names(item: Any) -> bool:
    return isinstance(item, list) and all(isinstance(name, str) for name in item)


def _is_number(item: Any) -> bool:
    return isinstance(item, int | float) and not isinstance(item, bool)


def _is_size(item: Any) -> bool:
    return type(item) is int and item >= 0


def _as_it_is(is_right: Callable[[Any], bool]) -> Callable[[Any], Any]:
    return lambda item: item if is_right(item) else None


_READERS: dict[str, Callable[[Any], Any]] = {
    "type": _as_it_is(_is_type),
    "enum": _as_it_is(lambda item: isinstance(item, list)),
    "const": _as_it_is(lambda item: item is not None),
    "required": _as_it_is(_is_names),
    "properties": _schema_map,
    "$ref": lambda _: None,
    **dict.fromkeys(("anyOf", "oneOf", "allOf", "prefixItems"), _schema_list),
    **dict.fromkeys(("items", "additionalProperties"), checkable),
    **dict.fromkeys(
        ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), _as_it_is(_is_number)
    ),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems"), _as_it_is(_is_size)),
}
"""Keywords of a cell's schema that are checked, and how each is read; None is a wrong value.
Checking a schema against the schema of schemas would take a second for one of full length."""
