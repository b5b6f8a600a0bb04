"""What kind of question is this, and about which name? Both roles ask, and get one answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from langchain_replm.extractive.tallies import Tally, find_tally
from langchain_replm.extractive.words import terms

Kind = Literal["default", "raises", "returns", "where", "tally", "free"]

_NAME = r"[`'\"]?(?P<name>[A-Za-z_][\w.]*\w|[A-Za-z_])[`'\"]?(?:\(\))?"
_PARAMETER = r"[`'\"]?(?P<parameter>[A-Za-z_]\w*)[`'\"]?"
_THING = r"(?:function|method|class|constructor|constant|variable|exception|type)"
_THE_THING = rf"(?:the )?(?P<thing>{_THING} )?(?:named |called )?"
_OPTION = r"(?:keyword argument|keyword|parameter|argument|option|setting)"
_MODULE = r"(?:module|file|document|package|source)s?"

# The first pattern that matches decides; the more particular ones stand first.
_PATTERNS: tuple[tuple[Kind, str], ...] = (
    (
        "default",
        (
            rf"default(?: value)? (?:of|for) (?:the )?(?:{_OPTION} )?{_PARAMETER}(?: {_OPTION})?"
            rf" (?:of|in|for|to) {_THE_THING}{_NAME}"
        ),
    ),
    (
        "default",
        rf"default (?:value )?{_PARAMETER}(?: {_OPTION})? (?:of|in|for|to) {_THE_THING}{_NAME}",
    ),
    (
        "default",
        (
            rf"{_OPTION} {_PARAMETER} (?:of|in|for|to) {_THE_THING}{_NAME}(?= (?:have |has )?"
            r"(?:by |as )?(?:a |its )?default)"
        ),
    ),
    ("raises", rf"(?:does|do|can|will|may|would) {_THE_THING}{_NAME} (?:raise|throw)s?\b"),
    ("raises", rf"(?:raised|thrown) (?:by|in|from) {_THE_THING}{_NAME}"),
    ("returns", rf"(?:does|do|will) {_THE_THING}{_NAME} return\b"),
    ("returns", rf"return value (?:of|from) {_THE_THING}{_NAME}"),
    (
        "where",
        rf"\b{_MODULE} (?:is|are|was) {_THE_THING}{_NAME} (?:defined|declared|implemented|found)",
    ),
    ("where", rf"where (?:is|are|was) {_THE_THING}{_NAME} (?:defined|declared|implemented)"),
    ("where", rf"\b{_MODULE} (?:defines?|declares?) {_THE_THING}{_NAME}"),
)


@dataclass(frozen=True, slots=True)
class Question:
    """A question, read.

    Attributes:
        text: The question as asked.
        kind: What sort of answer it wants.
        name: The function or class it is about, without what stands before the last dot.
        qualifiers: What stood before it: module or class names.
        thing: `"class"`, `"function"`..., when the question says which.
        parameter: The parameter whose default is wanted.
        terms: Stems that say what it is about.
        tally: What to count, when it asks for a count over the whole text.
    """

    text: str
    kind: Kind
    name: str = ""
    qualifiers: tuple[str, ...] = ()
    thing: str = ""
    parameter: str = ""
    terms: tuple[str, ...] = ()
    tally: Tally | None = None


def read_question(text: str) -> Question:
    """Classify a question.

    Example:
        ```python
        q = read_question("What is the default of maxsize of functools.lru_cache?")
        assert (q.kind, q.parameter, q.name) == ("default", "maxsize", "lru_cache")
        ```
    """
    text = " ".join(text.split())
    tally = find_tally(text)
    if tally is not None:
        return Question(text, "tally", terms=terms(text), tally=tally)
    for kind, pattern in _PATTERNS:
        found = re.search(pattern, text, re.IGNORECASE)
        if found is None:
            continue
        parts = found.groupdict()
        *qualifiers, name = parts["name"].split(".")
        about = text[found.end() :] if kind == "raises" else text
        return Question(
            text,
            kind,
            name=name,
            qualifiers=tuple(qualifiers),
            thing=(parts.get("thing") or "").strip().lower(),
            parameter=parts.get("parameter") or "",
            terms=terms(about) or terms(text),
        )
    return Question(text, "free", terms=terms(text))
