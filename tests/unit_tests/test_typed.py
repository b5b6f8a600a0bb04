"""Formats: what fits, what does not and how it is said, and what a hostile schema cannot do."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import socket
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field, field_validator
from typing_extensions import TypedDict

from langchain_replm._json_text import json_in
from langchain_replm._schemas import MAX_TOLD_CHARS
from langchain_replm._typed import AnswerFormat, reply_format
from langchain_replm.errors import ConfigurationError


class Bird(BaseModel):
    name: str
    year: int = Field(ge=1900)
    seen: dt.date | None = None


@dataclasses.dataclass
class Place:
    title: str
    tags: set[str]


class Row(TypedDict):
    key: str
    count: int


SCHEMA = {
    "type": "object",
    "properties": {"title": {"type": "string"}, "n": {"type": "integer", "minimum": 0}},
    "required": ["title"],
    "additionalProperties": False,
}
GOOD = {"name": "heron", "year": 1999}


@pytest.mark.parametrize(
    ("given", "text", "value"),
    [
        (Bird, json.dumps(GOOD), Bird(name="heron", year=1999)),
        (Bird, '{"name": "h", "year": "1999", "seen": "2024-05-01"}',
         Bird(name="h", year=1999, seen=dt.date(2024, 5, 1))),
        (list[Bird], json.dumps([GOOD]), [Bird(name="heron", year=1999)]),
        (Place, '{"title": "t", "tags": ["a", "a", "b"]}', Place("t", {"a", "b"})),
        (Row, '{"key": "k", "count": 2}', {"key": "k", "count": 2}),
        (SCHEMA, '{"title": "t", "n": 0}', {"title": "t", "n": 0}),
        (tuple[int, str], '[1, "x"]', (1, "x")),
    ],
)  # fmt: skip
def test_json_that_fits_becomes_what_was_asked_for(given: Any, text: str, value: Any) -> None:
    checked = AnswerFormat(given).check(text, is_json=True)
    assert (checked.fits, checked.value) == (True, value)
    assert type(checked.value) is type(value)
    assert checked.data == json.loads(text)


@pytest.mark.parametrize(
    ("given", "text", "path"),
    [
        (Bird, '{"name": "heron"}', "$.year: Field required"),
        (Bird, '{"name": "heron", "year": 1850}', "$.year: Input should be greater than or equal"),
        (list[Bird], '[{"name": "h", "year": 1999}, {"year": 1999}]', "$[1].name: Field required"),
        (SCHEMA, '{"title": 3}', "$.title: 3 is not of type 'string'"),
        (SCHEMA, "{}", "$: 'title' is a required property"),
        (SCHEMA, '{"title": "t", "titel": 1}', "$: Additional properties are not allowed"),
        (Bird, "[]", "$: Input should be an object"),
    ],
)
def test_what_does_not_fit_is_told_with_its_path(given: Any, text: str, path: str) -> None:
    checked = AnswerFormat(given).check(text, is_json=True)
    assert not checked.fits
    assert checked.problem.startswith(path)
    assert (checked.value, checked.data) == (None, None)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(GOOD),
        f"```json\n{json.dumps(GOOD)}\n```",
        f"Here it is:\n\n```\n{json.dumps(GOOD, indent=1)}\n```\nDone.",
        f"The record is {json.dumps(GOOD)} as asked.",
    ],
)
def test_a_text_may_be_meant_as_json(text: str) -> None:
    assert AnswerFormat(Bird).check(text, is_json=False).value == Bird(name="heron", year=1999)


def test_a_text_is_json_or_else_a_string() -> None:
    assert AnswerFormat(str).check("42", is_json=False).value == "42"
    assert AnswerFormat(int).check("42", is_json=False).value == 42
    assert AnswerFormat(Literal["yes", "no"]).check("yes", is_json=False).value == "yes"
    assert AnswerFormat(dt.date).check("2024-05-01", is_json=False).fits
    assert not AnswerFormat(int).check("forty-two", is_json=False).fits
    untyped = AnswerFormat({"required": ["a"]})
    assert untyped.check('{"a": 1}', is_json=False).value == {"a": 1}
    assert AnswerFormat({}).check("see [1]", is_json=False).value == "see [1]"


def test_half_a_value_is_not_completed() -> None:
    cut = '```json\n{"name": "heron", "year": 1999, "seen": "20'
    assert not AnswerFormat(Bird).check(cut, is_json=False).fits
    assert list(json_in(cut)) == [json.dumps(cut)]


@pytest.mark.parametrize(
    "text", ["NaN", '{"title": "t", "n": Infinity}', str(2**64), "[" * 100_000]
)
def test_what_json_or_a_checkpoint_cannot_hold_is_a_problem(text: str) -> None:
    checked = AnswerFormat({}).check(text, is_json=True)
    assert not checked.fits
    assert len(checked.problem) < 1_000


def test_problems_are_few_and_short() -> None:
    text = json.dumps(["x" * 100_000] * 1_000)
    for given in (list[int], {"items": {"type": "integer"}}):
        problem = AnswerFormat(given).check(text, is_json=True).problem
        assert len(problem.splitlines()) == 8
        assert len(problem) < 8 * 600
        assert "integer" in problem


def test_a_validator_that_breaks_is_a_problem_and_no_crash() -> None:
    class Odd(BaseModel):
        n: int

        @field_validator("n")
        @classmethod
        def _broken(cls, value: int) -> int:
            return 1 // (value - 7)

    assert "ZeroDivisionError" in AnswerFormat(Odd).check('{"n": 7}', is_json=True).problem


def test_the_schema_is_told_compactly_and_bounded() -> None:
    text = AnswerFormat(Bird).told()
    assert '"title"' not in text, "generated titles say nothing"
    assert '"title": {' in AnswerFormat(SCHEMA).told(), "a property of that name stays"
    assert json.loads(text)["properties"]["year"]["minimum"] == 1900
    for given in (Bird, SCHEMA, list[Bird]):
        assert "}}" not in AnswerFormat(given).told()
        assert "{{" not in AnswerFormat(given).told()
    huge = {"type": "object", "properties": {f"field_{n}": {"type": "string"} for n in range(500)}}
    assert len(AnswerFormat(huge).told()) < MAX_TOLD_CHARS + 100
    assert "characters more" in AnswerFormat(huge).told()


@pytest.mark.parametrize(
    "given",
    [
        42,
        "json",
        object(),
        lambda: 1,
        {"type": "heron"},
        {"properties": {"a": {"minimum": "low"}}},
        {"$ref": "https://example.org/schema.json"},
        {"properties": {"a": {"$ref": "other.json#/x"}}},
    ],
)
def test_what_is_no_format_is_refused_before_anything_runs(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="response_format must be"):
        AnswerFormat(given)


# -- schemas that a cell wrote ---------------------------------------------------------------------


def fits(schema: Any, text: str) -> bool:
    return reply_format(json.dumps(schema))(text).fits


def test_a_schema_of_a_cell_checks_replies() -> None:
    assert fits({"type": "array", "items": {"type": "string"}}, '["a", "b"]')
    assert not fits({"type": "array", "items": {"type": "string"}}, '["a", 1]')
    assert fits({"type": "integer"}, "The count:\n```json\n3\n```")
    assert fits({"enum": ["yes", "no"]}, "yes")
    assert not fits({"enum": ["yes", "no"]}, "perhaps")
    assert not fits({"required": ["title"]}, "words"), "plainly an object"
    nested = {"type": "object", "properties": {"a": {"anyOf": [{"type": "null"}, SCHEMA]}}}
    assert fits(nested, '{"a": {"title": "t"}}')
    assert not fits(nested, '{"a": {"title": 1}}')


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[1]", "a schema is an object"),
        ('{"type": "heron"}', "not valid"),
        ('{"properties": 3}', "properties cannot be 3"),
        ('{"anyOf": {}}', "anyOf cannot be"),
        ('{"$ref": "#"}', "ref cannot be"),
        ('{"items": {"$ref": "http://127.0.0.1/secret"}}', "ref cannot be"),
        ("{", "not valid"),
        ('{"description": "' + "x" * 30_000 + '"}', "at most 20,000"),
        ('{"items":' * 2_000 + "true" + "}" * 2_000, "at most 20,000"),
        ('{"items":' * 1_500 + "true" + "}" * 1_500, "not valid"),
        ('{"minimum": "low"}', "minimum cannot be"),
        ('{"required": "title"}', "required cannot be"),
        ('{"maxItems": true}', "maxItems cannot be"),
    ],
)
def test_a_schema_that_cannot_be_checked_is_refused_with_a_reason(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        reply_format(text)


def test_a_pattern_of_a_cell_never_runs_on_the_host() -> None:
    # (a+)+$ against 40 letters would take years; `pattern` is told to the model and not checked.
    schema = {"type": "string", "pattern": "^(a+)+$", "patternProperties": {"(a+)+$": False}}
    assert fits(schema, "a" * 40 + "!")


def test_no_schema_makes_the_host_fetch_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **_: asked.append(args))
    with pytest.raises(ConfigurationError):
        AnswerFormat({"$ref": "http://127.0.0.1:9/schema"})
    assert not fits({"$id": "http://127.0.0.1:9/", "items": {"type": "string"}}, "[1]")
    assert asked == []


def test_a_long_reply_is_refused_before_it_is_read() -> None:
    assert "too many" in reply_format("{}")("[" + "1," * 1_100_000 + "1]").problem
