"""How OOLONG and OOLONG-Pairs read an answer and score it."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING

from langchain_replm.evals.types import Score

if TYPE_CHECKING:
    from collections.abc import Iterable

_COMPARISONS = ("more common", "less common", "same frequency")
_SHORT_CHARS = 20
_NOTHING_LEFT = 10_000
"""An error whose score is zero as a float, long before."""


def oolong_parse(answer: str) -> str:
    """The part of an answer that OOLONG's harness takes for the answer.

    The rule is that of `src/eval/eval_helpers.py` in `abertsch72/oolong`, for its synthetic data:
    what follows the last colon, without asterisks and square brackets, and of a long comparison
    only its verdict; without a colon the whole of a short answer, or the last word of a long one.

    Example:
        ```python
        from langchain_replm.evals.scoring_oolong import oolong_parse

        assert oolong_parse("I counted them. Answer: **12**") == "12"
        ```
    """
    if ":" not in answer:
        words = answer.split()
        return answer if len(answer) < _SHORT_CHARS or not words else words[-1]
    said = re.sub(r"[*\[\]]", "", answer.rpartition(":")[2].strip())
    if len(said) < _SHORT_CHARS:
        return said
    return next((verdict for verdict in _COMPARISONS if verdict in said), said)


def oolong(answer: str, expected: str | int | date, kind: str) -> Score:
    """OOLONG's score (arXiv 2511.02817) of an answer, read by `oolong_parse`.

    1 if it is what is expected, letter by letter; a comparison needs only its verdict, a date may
    be written in any common way, and a number that is off by n is worth 0.75 to the power of n.

    Args:
        answer: What was answered.
        expected: What is right: a label, a user, a comparison, a number or a date (ISO, as text).
        kind: OOLONG's answer type: `NUMERIC` and `DATE` are scored in their own ways.

    Example:
        ```python
        from langchain_replm.evals.scoring_oolong import oolong

        assert oolong("Answer: 12", 14, "NUMERIC").value == 0.75**2
        ```
    """
    said = oolong_parse(answer)
    if said == str(expected):
        return Score(1)
    if said in _COMPARISONS:
        right = said in str(expected)
        return Score(float(right), "" if right else f"{said!r} is not {expected!r}")
    if kind == "NUMERIC":
        return _near(said, int(str(expected)))
    if kind == "DATE" and (day := read_date(said)):
        return Score(float(str(day) == str(expected)), f"read as {day}")
    return Score(0, f"{said!r} is not {str(expected)!r}")


def _near(said: str, expected: int) -> Score:
    try:
        off = abs(int(said) - expected)
    except ValueError:
        return Score(0, f"{said!r} is not a number")
    return Score(0.75**off if off < _NOTHING_LEFT else 0.0, f"off by {off}")


_MONTHS = (
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
)  # fmt: skip
_DATES = (
    re.compile(r"(?P<year>\d{4})[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})"),
    re.compile(r"(?P<month>\d{1,2})/(?P<day>\d{1,2})/(?P<year>\d{4})"),
    re.compile(r"(?P<month>[a-z]{3})[a-z]*\.? (?P<day>\d{1,2})(?:st|nd|rd|th)?,? (?P<year>\d{4})"),
    re.compile(
        r"(?P<day>\d{1,2})(?:st|nd|rd|th)?(?: of)? (?P<month>[a-z]{3})[a-z]*\.?,? (?P<year>\d{4})"
    ),
)


def read_date(text: str) -> date | None:
    """The date that the text is, in one of the common ways to write one; None if it is none.

    Example:
        ```python
        from langchain_replm.evals.scoring_oolong import read_date

        assert read_date("March 5, 2024") == read_date("2024-03-05")
        ```
    """
    lowered = text.strip().rstrip(".").lower()
    for pattern in _DATES:
        if found := pattern.fullmatch(lowered):
            year, month, day = (found[name] for name in ("year", "month", "day"))
            if not month.isdigit():
                month = str(_MONTHS.index(month) + 1) if month in _MONTHS else "0"
            try:
                return date(int(year), int(month), int(day))
            except ValueError:
                return None
    return None


# -- pairs -----------------------------------------------------------------------------------------

_PAIR = re.compile(r"""[(\[{]\s*["']?(\d+)["']?\s*[,;]\s*["']?(\d+)["']?\s*[)\]}]""")
_BARE_PAIR = re.compile(r"^[\s*-]*(\d+)\s*[,;]\s*(\d+)[\s,;.]*$", re.MULTILINE)


def read_pairs(answer: str) -> set[tuple[int, int]]:
    """The pairs of numbers in an answer, the lower number first.

    Pairs stand in brackets of any kind, as in `(1, 2)`, or two numbers alone on their line.

    Example:
        ```python
        from langchain_replm.evals.scoring_oolong import read_pairs

        assert read_pairs("(7, 3) and [4, 9]") == {(3, 7), (4, 9)}
        ```
    """
    found = [*_PAIR.findall(answer), *_BARE_PAIR.findall(answer)]
    return {(min(pair), max(pair)) for pair in ((int(a), int(b)) for a, b in found)}


def pairs_f1(answer: str, expected: Iterable[tuple[int, int]]) -> Score:
    """F1 over unordered pairs, as in OOLONG-Pairs (arXiv 2512.24601).

    Example:
        ```python
        from langchain_replm.evals.scoring_oolong import pairs_f1

        assert pairs_f1("(1, 2)", [(1, 2), (1, 3)]).value == 2 / 3
        ```
    """
    said, right = read_pairs(answer), {(min(pair), max(pair)) for pair in expected}
    hits = len(said & right)
    reason = f"{hits} of {len(right)} pairs found, {len(said) - hits} wrong ones"
    return Score(2 * hits / (len(said) + len(right)) if hits else 0.0, reason)
