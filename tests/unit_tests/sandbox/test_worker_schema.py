"""What cells may say about the shape of a reply, and what becomes of replies that fit."""

from __future__ import annotations

import dataclasses
import enum
import json
import typing
from typing import Any, Literal, NamedTuple, NotRequired, Optional

import pytest
from typing_extensions import TypedDict

from langchain_replm._typed import reply_format
from langchain_replm.sandbox._worker_schema import built, is_json_schema, schema_text
from langchain_replm.sandbox._worker_text import filled, in_frames


@dataclasses.dataclass
class Bird:
    name: str
    year: int = 0
    tags: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Nest:
    birds: list[Bird]
    parent: Bird | None = None


@dataclasses.dataclass
class Endless:
    inner: Endless | None = None


Row = TypedDict("Row", {"key": str, "note": NotRequired[str]})  # noqa: UP013 - real types, no text


class Spot(NamedTuple):
    x: int
    y: int = 0


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


STRING = {"type": "string"}
INTEGER = {"type": "integer"}
NAMES = {**globals()}


def of(given: Any) -> Any:
    return json.loads(schema_text(given, NAMES) or "null")


@pytest.mark.parametrize(
    ("given", "schema"),
    [
        (None, None),
        (str, STRING),
        (bool, {"type": "boolean"}),
        (float, {"type": "number"}),
        (list[str], {"type": "array", "items": STRING}),
        (typing.List[int], {"type": "array", "items": INTEGER}),  # noqa: UP006 - models write it
        ([str], {"type": "array", "items": STRING}),
        (list, {"type": "array"}),
        (dict[str, int], {"type": "object", "additionalProperties": INTEGER}),
        (int | None, {"anyOf": [INTEGER, {"type": "null"}]}),
        (Optional[int], {"anyOf": [INTEGER, {"type": "null"}]}),  # noqa: UP045
        (Literal["a", "b"], {"enum": ["a", "b"]}),
        (Colour, {"enum": ["red", "blue"]}),
        (Any, {}),
        (tuple[int, ...], {"type": "array", "items": INTEGER}),
        (
            {"name": str, "year": int},
            {"type": "object", "properties": {"name": STRING, "year": INTEGER},
             "required": ["name", "year"]},
        ),
        (
            {"name": "string", "why": "one sentence"},
            {"type": "object", "required": ["name", "why"], "properties": {
                "name": STRING, "why": {"type": "string", "description": "one sentence"}}},
        ),
        (
            [{"name": str}],
            {"type": "array", "items": {
                "type": "object", "properties": {"name": STRING}, "required": ["name"]}},
        ),
        (
            Bird,
            {"type": "object", "required": ["name"], "properties": {
                "name": STRING, "year": INTEGER, "tags": {"type": "array", "items": STRING}}},
        ),
        (Row, {"type": "object", "required": ["key"],
               "properties": {"key": STRING, "note": STRING}}),
        (Spot, {"type": "object", "required": ["x"], "properties": {"x": INTEGER, "y": INTEGER}}),
        ({"type": "object", "properties": {"a": STRING}},
         {"type": "object", "properties": {"a": STRING}}),
        ({"type": str}, {"type": "object", "properties": {"type": STRING}, "required": ["type"]}),
        ({"items": list[str]}, {"type": "object", "required": ["items"],
                                "properties": {"items": {"type": "array", "items": STRING}}}),
        ({"$ref": "#/$defs/a", "$defs": {"a": STRING}}, STRING),
    ],
)  # fmt: skip
def test_types_become_schemas(given: Any, schema: Any) -> None:
    assert of(given) == schema
    if schema is not None:
        reply_format(schema_text(given, NAMES) or "")  # the host takes it


@pytest.mark.parametrize(
    "given", [Endless, {"a": object()}, 42, bytes, {"$ref": "http://x/y"}, {1, 2}]
)
def test_what_is_no_schema_says_so(given: Any) -> None:
    with pytest.raises(TypeError, match=r"schema|cannot be said"):
        schema_text(given, NAMES)


def test_references_that_multiply_end() -> None:
    level: dict[str, Any] = {
        f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 4} for n in range(30)
    }
    given = {"$ref": "#/$defs/d0", "$defs": {**level, "d30": STRING}}
    with pytest.raises(TypeError, match="too large"):
        schema_text(given, {})
    with pytest.raises(TypeError, match="contains itself"):
        schema_text({"properties": {"a": {"$ref": "#"}}}, {})


def test_a_dict_of_fields_is_no_json_schema() -> None:
    assert is_json_schema({"type": "string"})
    assert not is_json_schema({"type": "heron"})
    assert not is_json_schema({"items": {"name": str}})


def test_replies_become_what_was_asked_for() -> None:
    nest = {"birds": [{"name": "heron", "year": 1.0, "unknown": 1}], "parent": None}
    assert built(Nest, nest, NAMES) == Nest([Bird("heron", 1)])
    assert built(list[Bird], [{"name": "a"}], NAMES) == [Bird("a")]
    assert built([Bird], [{"name": "a"}], NAMES) == [Bird("a")]
    assert built({"b": Bird | None}, {"b": {"name": "a"}, "c": 1}, NAMES) == {
        "b": Bird("a"),
        "c": 1,
    }
    assert built(set[str], ["a", "a"], NAMES) == {"a"}
    assert built(tuple[int, str], [1, "a"], NAMES) == (1, "a")
    assert built(Colour, "red", NAMES) is Colour.RED
    assert built(Spot, {"x": 1}, NAMES) == Spot(1, 0)
    assert built(int, 3.0, NAMES) == 3
    assert built({"type": "integer"}, 3, NAMES) == 3


# -- many items ------------------------------------------------------------------------------------


def test_a_template_has_one_clear_placeholder_and_keeps_other_braces() -> None:
    template = 'Reply like {"a": {}}.\n\n{item}'
    assert filled("llm_map", ["x {item}", {"k": 1}, 3, None], template) == [
        'Reply like {"a": {}}.\n\nx {item}',
        'Reply like {"a": {}}.\n\n{"k": 1}',
        'Reply like {"a": {}}.\n\n3',
        'Reply like {"a": {}}.\n\nnull',
    ]
    with pytest.raises(ValueError, match=r"with \{item\} where the item goes"):
        filled("llm_map", ["x"], "no placeholder")
    with pytest.raises(TypeError, match="a list of items"):
        filled("llm_map", "one text", "{item}")
    with pytest.raises(TypeError, match="item 1 is object"):
        filled("llm_map", [1, object()], "{item}")


def test_a_batch_is_cut_into_messages_that_fit() -> None:
    items = [{"prompt": "é\x00" * (200 * (n % 7))} for n in range(500)]
    parts = list(in_frames(items, 100_000))
    assert [item for part in parts for item in part] == items
    assert len(parts) > 3
    for part in parts:
        assert len(json.dumps(part, ensure_ascii=False).encode()) < 100_000
    assert [len(part) for part in in_frames([{"prompt": "p"}] * 25_000, 1 << 24)] == [
        10_000, 10_000, 5_000,
    ]  # fmt: skip
    assert list(in_frames([], 1_000)) == []
