"""JSON in the texts of models: where it is, and how it is read. Nothing is repaired or guessed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_FENCES = 8
"""Security limit: fenced blocks of one text that are tried."""

_DECODER = json.JSONDecoder()


def json_in(text: str) -> Iterator[str]:
    """JSON texts that a text may mean, the likeliest first; itself as a string is among them.

    All of it, then fenced blocks, then the string, then what begins with a bracket inside of it.
    Nothing is repaired: half a value that a token limit has cut off must not pass as a whole one.
    """
    for candidate in (text, *_fenced(text)):
        if _is_json(candidate):
            yield candidate
    yield json.dumps(text)
    for at in sorted(at for at in (text.find("{"), text.find("[")) if at >= 0):
        try:
            _, end = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            continue
        yield text[at:end]


def _fenced(text: str) -> Iterator[str]:
    at = 0
    for _ in range(MAX_FENCES):
        opened = text.find("```", at)
        body = text.find("\n", opened) + 1
        end = text.find("\n```", body - 1) if body else -1
        if opened < 0 or end < 0:
            return
        yield text[body:end]
        at = end + 4


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def read_json(text: str) -> Any:
    """Read JSON text, without what JSON does not have or a checkpoint cannot hold.

    Raises:
        ValueError: It is no JSON, or holds a constant such as NaN, or an integer over 64 bits.
    """
    return json.loads(text, parse_constant=_refuse_constant, parse_int=_read_int)


def _refuse_constant(name: str) -> NoReturn:
    msg = f"{name} is not a JSON value"
    raise ValueError(msg)


def _read_int(digits: str) -> int:
    value = int(digits)
    if not -(2**63) <= value < 2**64:
        # Checkpoints cannot hold it; a string can.
        msg = f"the integer {digits:.30} does not fit 64 bits; submit it as a string"
        raise ValueError(msg)
    return value
