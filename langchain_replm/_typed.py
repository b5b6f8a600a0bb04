"""Typed answers and typed replies: how a format is told to a model, and whether a value fits it.

A value is judged by its JSON text and by nothing else. Two kinds of formats:

- `AnswerFormat`, of the user: a pydantic model, a dataclass, a `TypedDict`, any type that pydantic
  knows, or a JSON Schema. It is trusted.
- `reply_format`, of a cell: a JSON Schema that untrusted code wrote, so only keywords are checked
  whose cost is bounded by the size of schema and value: no patterns (they can run for years), no
  references (they can nest without end, and could name an address).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from inspect import isroutine
from typing import TYPE_CHECKING, Any, NoReturn

from pydantic import TypeAdapter, ValidationError

from langchain_replm._json_text import json_in, read_json
from langchain_replm._schemas import (
    MAX_FOUND_CHARS,
    MAX_PROBLEM_CHARS,
    MAX_PROBLEMS,
    SchemaError,
    by_schema,
    checkable,
    told,
    validator,
)
from langchain_replm.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_CELL_SCHEMA_CHARS = 20_000
"""Security limit: JSON text of a schema that a cell may send."""

MAX_REPLY_CHARS = 2_000_000
"""Security limit: text of a sub-model's reply that is read as JSON."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of a check: the value, or what is wrong with it."""

    problem: str = ""
    """One line per problem, each with its path; empty when the value fits."""
    value: Any = None
    data: Any = None
    """The JSON data that `value` was made of."""

    @property
    def fits(self) -> bool:
        """Nothing is wrong."""
        return not self.problem


class AnswerFormat:
    """What the answer must be.

    Args:
        given: A pydantic model, a dataclass, a `TypedDict`, another type that pydantic knows, or a
            JSON Schema as a dict.

    Raises:
        ConfigurationError: No schema can be made of it.

    Example:
        ```python
        from langchain_replm._typed import AnswerFormat

        years = AnswerFormat(list[int])
        assert years.check("[1999, 2001]", is_json=True).value == [1999, 2001]
        assert "[1]" in years.check('[1999, "soon"]', is_json=True).problem
        ```
    """

    def __init__(self, given: Any) -> None:
        self.schema: dict[str, Any]
        self._validate: Callable[[str], Any]
        try:
            if isroutine(given):
                _refuse_function()
            if isinstance(given, dict):
                self.schema = given
                self._validate = by_schema(given)
            else:
                adapter: TypeAdapter[Any] = TypeAdapter(given)
                self.schema = adapter.json_schema()
                self._validate = adapter.validate_json
        except Exception as error:
            # pydantic and jsonschema have a dozen of classes for it.
            msg = (
                "response_format must be a pydantic model, a dataclass, a TypedDict or a JSON "
                f"Schema (a dict); no schema can be made of {given!r:.200}: {error!s:.500}"
            )
            raise ConfigurationError(msg) from error

    def told(self) -> str:
        """The schema as a model reads it."""
        return told(self.schema)

    def check(self, text: str, *, is_json: bool) -> Checked:
        """Check a submitted answer.

        Args:
            text: The answer.
            is_json: It is JSON text. Otherwise it is a string, which may be meant as JSON.
        """
        return _check(self._validate, text, is_json=is_json)


def _refuse_function() -> NoReturn:
    msg = "it is a function, and not a type"
    raise TypeError(msg)


@lru_cache(maxsize=256)
def reply_format(schema_text: str) -> Callable[[str], Checked]:
    """A check for the replies of sub-calls, from the JSON text of a cell's schema.

    Raises:
        ValueError: The text is no schema that can be checked; the message says why.
    """
    if len(schema_text) > MAX_CELL_SCHEMA_CHARS:
        msg = (
            f"the schema has {len(schema_text):,} characters; at most "
            f"{MAX_CELL_SCHEMA_CHARS:,} are taken"
        )
        raise ValueError(msg)
    try:
        validate = validator(checkable(json.loads(schema_text)))
    except Exception as error:  # noqa: BLE001 - as for `AnswerFormat`
        msg = f"the schema is not valid: {error!s:.300}"
        raise ValueError(msg) from None

    def check(text: str) -> Checked:
        if len(text) > MAX_REPLY_CHARS:
            return Checked(f"$: the reply has {len(text):,} characters, too many to be read")
        return _check(validate, text, is_json=False)

    return check


class ReplyFormat:
    """What a child run must answer: `reply_format`, in the shape of an `AnswerFormat`.

    Args:
        schema_text: JSON text of a cell's schema, which has been found usable.
    """

    def __init__(self, schema_text: str) -> None:
        self._schema: dict[str, Any] = json.loads(schema_text)
        self._check = reply_format(schema_text)

    def told(self) -> str:
        """The schema as a model reads it."""
        return told(self._schema)

    def check(self, text: str, *, is_json: bool) -> Checked:  # noqa: ARG002 - it is all one here
        """Check a submitted answer."""
        return self._check(text)


def schema_problem(schema_text: str) -> str | None:
    """Why a cell's schema cannot be used; None if it can."""
    try:
        reply_format(schema_text)
    except ValueError as error:
        return str(error)
    return None


def _check(validate: Callable[[str], Any], text: str, *, is_json: bool) -> Checked:
    if is_json:
        return _check_json(validate, text)
    first: Checked | None = None
    for candidate in json_in(text):
        checked = _check_json(validate, candidate)
        if checked.fits:
            return checked
        first = first or checked
    assert first is not None  # noqa: S101 - for the type checker: a text is a string at least
    return first


def _check_json(validate: Callable[[str], Any], text: str) -> Checked:
    try:
        data = read_json(text)
        return Checked(value=validate(text), data=data)
    except ValidationError as error:
        return Checked(_told_errors(error))
    except SchemaError as error:
        return Checked(str(error))
    except Exception as error:  # noqa: BLE001 - a validator of the user may raise what it likes
        text = f"{error!s:.{MAX_PROBLEM_CHARS}}" or "no reason given"
        return Checked(f"$: {type(error).__name__}: {text}")


def _told_errors(error: ValidationError) -> str:
    lines = []
    for item in error.errors(include_url=False, include_context=False)[:MAX_PROBLEMS]:
        path = "$" + "".join(
            f"[{part}]" if isinstance(part, int) else f".{part}" for part in item["loc"]
        )
        found = (
            "" if item["type"] == "missing" else f" (found {item['input']!r:.{MAX_FOUND_CHARS}})"
        )
        lines.append(f"{path:.200}: {item['msg']:.{MAX_PROBLEM_CHARS}}{found}")
    return "\n".join(lines)
