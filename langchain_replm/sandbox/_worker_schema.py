"""Types of cells as JSON Schemas, inside the worker, and values made of checked JSON again.

The standard library only. A cell may say what a reply must be with plain types (`list[str]`,
`{"name": str, "year": int}`, a dataclass, an enum, a `Literal`) or with a JSON Schema. The host
checks replies by the schema; `built` then makes what the cell has asked for. Rules:

1. References are written out, because the host takes none: a schema without them costs no more to
   check than it is long.
2. What cannot be said in JSON Schema is a `TypeError` that names it.
"""

from __future__ import annotations

import json

# As in `typing`, whose import would cost a worker a quarter of its start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_NODES = 2_000
"""Schemas inside a schema; references that multiply end here."""

_PLAIN = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    list: "array",
    tuple: "array",
    set: "array",
    frozenset: "array",
    dict: "object",
    type(None): "null",
}
_NAMES = {
    **{kind.__name__: name for kind, name in _PLAIN.items()},
    **{name: name for name in _PLAIN.values()},
    "None": "null",
}
_TYPE_NAMES = frozenset(_PLAIN.values())
_KEYWORDS = frozenset({"$ref", "anyOf", "oneOf", "allOf", "enum", "const", "properties", "items"})


def schema_text(given: Any, names: dict[str, Any]) -> str | None:
    """Give the JSON Schema of what a cell has passed as `schema`, as JSON text.

    Args:
        given: Types, a JSON Schema, or None for no schema.
        names: Where the names in string annotations are looked up.

    Raises:
        TypeError: It cannot be said in JSON Schema.
    """
    if given is None:
        return None
    try:
        schema = _Maker(names).of(given)
        return json.dumps(schema, ensure_ascii=False, sort_keys=True)
    except (ValueError, RecursionError) as error:
        msg = f"the schema cannot be written as JSON: {error}"
        raise TypeError(msg) from None


def is_json_schema(given: Any) -> bool:
    """Tell a JSON Schema from a dict of fields such as `{"name": str}`."""
    if not isinstance(given, dict):
        return False
    kind = given.get("type")
    kinds = kind if isinstance(kind, list) else [kind]
    if kind is not None and all(isinstance(k, str) and k in _TYPE_NAMES for k in kinds):
        return True
    return bool(_KEYWORDS & given.keys()) and _is_data(given)


def _is_data(value: Any) -> bool:
    """Say whether a value is JSON data: {"items": {"name": str}} has a type in it."""
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


class _Maker:
    def __init__(self, names: dict[str, Any]) -> None:
        self._names = names
        self._left = MAX_NODES
        self._open: list[Any] = []

    def _enter(self, what: Any, shown: str) -> None:
        self._count(shown)
        if any(what is other for other in self._open):
            msg = f"the schema contains itself (at {shown})"
            raise TypeError(msg)
        self._open.append(what)

    def _count(self, shown: str) -> None:
        self._left -= 1
        if self._left < 0:
            msg = f"the schema is too large (at {shown})"
            raise TypeError(msg)

    def of(self, given: Any) -> Any:
        """Give the schema of a type."""
        self._enter(given, repr(given)[:80])
        try:
            return self._of(given)
        finally:
            self._open.pop()

    def _of(self, given: Any) -> Any:  # noqa: PLR0911 - a table of what models write
        if given is None:
            return {"type": "null"}
        if isinstance(given, str):
            # {"year": "integer"}, or {"year": "when it was built"}: a field and its description.
            name = _NAMES.get(given.strip())
            return {"type": name} if name else {"type": "string", "description": given}
        if isinstance(given, dict):
            if is_json_schema(given):
                return self.written_out(given, given)
            return self._object({str(name): kind for name, kind in given.items()}, given)
        if isinstance(given, list) and len(given) == 1:
            return {"type": "array", "items": self.of(given[0])}
        origin = getattr(given, "__origin__", None)
        if origin is not None or type(given).__name__ in ("UnionType", "Union"):
            return self._generic(given, origin, list(given.__args__))
        if repr(given) == "typing.Any":
            return {}
        if isinstance(given, type):
            return self._class(given)
        msg = (
            f"{repr(given)[:80]} is no type that a schema can hold; use str, int, float, bool, "
            'list[...], a dict of fields such as {"name": str}, a dataclass, or a JSON Schema'
        )
        raise TypeError(msg)

    def _generic(self, given: Any, origin: Any, arguments: list[Any]) -> Any:  # noqa: PLR0911 - as above
        if repr(origin) == "typing.Literal":
            return {"enum": arguments}
        if origin in (list, set, frozenset):
            return {"type": "array", "items": self.of(arguments[0])}
        if origin is tuple:
            if len(arguments) == 2 and arguments[1] is ...:  # noqa: PLR2004 - tuple[int, ...]
                return {"type": "array", "items": self.of(arguments[0])}
            parts = [self.of(argument) for argument in arguments]
            return {
                "type": "array", "prefixItems": parts, "items": False,
                "minItems": len(parts), "maxItems": len(parts),
            }  # fmt: skip
        if origin is dict:
            return {"type": "object", "additionalProperties": self.of(arguments[1])}
        if type(given).__name__ in ("UnionType", "Union") or repr(origin) == "typing.Union":
            return {"anyOf": [self.of(argument) for argument in arguments]}
        return self.of(origin)  # Annotated, and generic classes of the cell

    def _class(self, given: type) -> Any:
        if given in _PLAIN:
            return {"type": _PLAIN[given]}
        if given is object:
            return {}
        if hasattr(given, "__members__"):
            return {"enum": [member.value for member in given]}  # type: ignore[attr-defined]
        if hasattr(given, "model_json_schema"):
            made = given.model_json_schema()
            return self.written_out(made, made)
        fields = fields_of(given, self._names)
        if fields is None:
            msg = f"a {given.__name__} cannot be said in JSON; use str and convert the reply"
            raise TypeError(msg)
        optional = [name for name, (_, is_required) in fields.items() if not is_required]
        return self._object({name: kind for name, (kind, _) in fields.items()}, given, optional)

    def _object(
        self, fields: dict[str, Any], _of: Any, optional: list[str] | None = None
    ) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": {name: self.of(kind) for name, kind in fields.items()},
            "required": [name for name in fields if name not in (optional or ())],
        }

    def written_out(self, schema: Any, root: Any) -> Any:
        """Give a JSON Schema with each local reference replaced by what it names."""
        if isinstance(schema, list):
            return [self.written_out(item, root) for item in schema]
        if not isinstance(schema, dict):
            return schema
        reference = schema.get("$ref")
        if isinstance(reference, str):
            target = _found(reference, root)
            self._enter(target, reference[:80])
            try:
                rest = {name: item for name, item in schema.items() if name != "$ref"}
                return {**self.written_out(target, root), **self.written_out(rest, root)}
            finally:
                self._open.pop()
        self._count(repr(list(schema))[:80])
        return {
            name: self.written_out(item, root)
            for name, item in schema.items()
            if name not in ("$defs", "definitions")
        }


def _found(reference: str, root: Any) -> Any:
    start, *parts = reference.split("/")
    target: Any = root if start == "#" else None
    try:
        for part in parts:
            target = target[part.replace("~1", "/").replace("~0", "~")]
    except (KeyError, TypeError, IndexError):
        target = None
    if target is None:
        msg = f"the schema has no {reference[:80]}; only references into itself work"
        raise TypeError(msg)
    return target


def fields_of(kind: Any, names: dict[str, Any]) -> dict[str, tuple[Any, bool]] | None:
    """Give the fields of a dataclass, `TypedDict` or `NamedTuple`: type, and whether required."""
    if hasattr(kind, "__dataclass_fields__"):
        required = {
            name: all(
                type(default).__name__ == "_MISSING_TYPE"
                for default in (field.default, field.default_factory)
            )
            for name, field in kind.__dataclass_fields__.items()
            if field.init and repr(field._field_type) == "_FIELD"  # noqa: SLF001 - no ClassVar
        }
    elif hasattr(kind, "__required_keys__"):
        keys = kind.__required_keys__ | kind.__optional_keys__
        required = {name: name in kind.__required_keys__ for name in kind.__annotations__}
        required |= dict.fromkeys(keys - required.keys(), True)
    elif hasattr(kind, "_field_defaults"):
        required = {name: name not in kind._field_defaults for name in kind._fields}
    else:
        return None
    import typing  # noqa: PLC0415 - see above

    hints = typing.get_type_hints(kind, globalns=names)
    return {name: (hints.get(name, object), is_required) for name, is_required in required.items()}


def built(given: Any, value: Any, names: dict[str, Any]) -> Any:  # noqa: PLR0911 - as above
    """Make of checked JSON what the schema of the cell has asked for: dataclasses, sets, enums."""
    if value is None or isinstance(given, str) or is_json_schema(given):
        return value
    if isinstance(given, list) and isinstance(value, list):
        return [built(given[0], item, names) for item in value]
    if isinstance(given, dict) and isinstance(value, dict):
        return {name: built(given.get(name), item, names) for name, item in value.items()}
    origin = getattr(given, "__origin__", None)
    if origin in (list, set, frozenset, tuple) and isinstance(value, list):
        kinds = [kind for kind in given.__args__ if kind is not ...]
        kinds += kinds[-1:] * (len(value) - len(kinds))
        return origin(built(kind, item, names) for kind, item in zip(kinds, value, strict=False))
    if origin is dict and isinstance(value, dict):
        return {name: built(given.__args__[1], item, names) for name, item in value.items()}
    if type(given).__name__ in ("UnionType", "Union") or repr(origin) == "typing.Union":
        # `X | None` is the usual one; of several classes nobody can tell.
        kinds = [kind for kind in given.__args__ if kind is not type(None)]
        return built(kinds[0], value, names) if len(kinds) == 1 else value
    return _of_class(given, value, names) if isinstance(given, type) else value


def _of_class(kind: Any, value: Any, names: dict[str, Any]) -> Any:
    if kind is int and isinstance(value, float):
        return int(value)
    if kind in (set, frozenset, tuple, float):
        return kind(value)
    if hasattr(kind, "__members__"):
        return kind(value)
    if hasattr(kind, "model_validate"):
        return kind.model_validate(value)
    fields = fields_of(kind, names) if isinstance(value, dict) else None
    if fields is None:
        return value
    made = {
        name: built(fields[name][0], item, names) for name, item in value.items() if name in fields
    }
    return kind(**made)
