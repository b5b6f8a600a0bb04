"""Rules that say how right an answer is: pure functions over text."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from langchain_replm.evals.types import Score

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_GROUPED = re.compile(r"(?<=\d)[,_\u00a0\u202f' ](?=\d{3}(?!\d))")
_DIGITS = re.compile(r"\d+")
_SHOWN_CHARS = 80


def digits_in(answer: str) -> set[str]:
    """Every run of digits of the answer; `1,234,567` is read as one, too.

    Example:
        ```python
        from langchain_replm.evals.scoring import digits_in

        assert digits_in("It is 1,234,567, not 89.") == {"1", "234", "567", "1234567", "89"}
        ```
    """
    return {*_DIGITS.findall(answer), *_DIGITS.findall(_GROUPED.sub("", answer))}


_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_NOT_WORDS = re.compile(r"[^\w\s]|_")


def normalized(text: str) -> str:
    """The text in lower case, without punctuation, articles and doubled spaces.

    As SQuAD's harness does it, but punctuation is a space, so that `Blue-Door` is two words.

    Example:
        ```python
        from langchain_replm.evals.scoring import normalized

        assert normalized(" The  Blue-Door! ") == "blue door"
        ```
    """
    plain = _NOT_WORDS.sub(" ", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(_ARTICLES.sub(" ", plain).split())


def exact(answer: str, expected: str | Sequence[str]) -> Score:
    """1 if the answer is, when both are `normalized`, what is expected, or one of it.

    Example:
        ```python
        from langchain_replm.evals.scoring import exact

        assert exact("The Thames.", ["Thames", "River Thames"]).value == 1
        ```
    """
    said = normalized(answer)
    right = any(said == normalized(one) != "" for one in _several(expected))
    return Score(1) if right else Score(0, f"{_short(answer)} is not {_short(expected)}")


def contains(answer: str, expected: str | Sequence[str]) -> Score:
    """1 if what is expected, or one of it, stands in the answer as whole words (`normalized`).

    Example:
        ```python
        from langchain_replm.evals.scoring import contains

        assert contains("It was Ada Lovelace, in 1843.", "ada lovelace").value == 1
        assert contains("It was Adam.", "Ada").value == 0
        ```
    """
    said = f" {normalized(answer)} "
    right = any(f" {one} " in said for one in map(normalized, _several(expected)) if one)
    return Score(1) if right else Score(0, f"{_short(expected)} is not in {_short(answer)}")


def f1(answer: str, expected: str | Sequence[str]) -> Score:
    """F1 over the words of the answer and of what is expected (SQuAD's rule); the best of several.

    Example:
        ```python
        from langchain_replm.evals.scoring import f1

        assert f1("a red door", "the red wooden door").value == 0.8
        ```
    """
    said = Counter(normalized(answer).split())
    return Score(max(_overlap(said, normalized(one).split()) for one in _several(expected)))


def _overlap(said: Counter[str], expected: list[str]) -> float:
    hits = (said & Counter(expected)).total()
    return 2 * hits / (said.total() + len(expected)) if hits else 0.0


def set_f1(answer: str, expected: Sequence[str]) -> Score:
    r"""F1 over two sets of names: a JSON list, or names between commas, semicolons or line ends.

    Example:
        ```python
        from langchain_replm.evals.scoring import set_f1

        assert set_f1("- Oslo\n- Rome", ["Oslo", "Paris"]).value == 0.5
        ```
    """
    said = {name for name in map(normalized, _names(answer)) if name}
    right = {normalized(one) for one in _several(expected)}
    hits = len(said & right)
    reason = f"{hits} of {len(right)} found, {len(said) - hits} wrong ones"
    return Score(2 * hits / (len(said) + len(right)) if hits else 0.0, reason)


_BULLET = re.compile(r"^[\s*\-\u2022]*(?:\d+[.)]\s)?", re.MULTILINE)


def _names(answer: str) -> list[str]:
    try:
        found = json.loads(answer)
    except ValueError:
        found = None
    if isinstance(found, list):
        return [str(name) for name in found]
    return re.split(r"[,;\n]", _BULLET.sub("", answer))


_NUMBER = re.compile(r"(?<![\w.])-?(?:\d+(?:\.\d+)?|\.\d+)(?:e[+-]?\d+)?(?![\d])", re.IGNORECASE)


def number(answer: str, expected: float | str) -> Score:
    """1 if the last number of the answer is the one that is expected; `1,234.50` is 1234.5.

    Example:
        ```python
        from langchain_replm.evals.scoring import number

        assert number("Of 20 houses, 1,204 were red.", 1204).value == 1
        ```
    """
    found = _NUMBER.findall(_GROUPED.sub("", answer))
    if not found:
        return Score(0, "there is no number in the answer")
    right = Decimal(found[-1]) == Decimal(_GROUPED.sub("", str(expected)))
    return Score(1) if right else Score(0, f"{found[-1]} is not {expected}")


def _several(expected: str | Sequence[str]) -> Sequence[str]:
    return [expected] if isinstance(expected, str) else expected


def _short(text: str | Sequence[str]) -> str:
    whole = repr(text)
    return whole if len(whole) <= _SHOWN_CHARS else f"{whole[:_SHOWN_CHARS]}…"


# -- letters ---------------------------------------------------------------------------------------

_PUBLISHED = (
    re.compile(r"The correct answer is \(([A-D])\)"),
    re.compile(r"The correct answer is ([A-D])"),
)
_LETTER = re.compile(r"(?:\(([A-D])\).*|([A-D])(?:[.:,)\n].*)?)", re.DOTALL)
_SAID_LETTER = re.compile(r"\b(?i:answer)(?: is:?|:) *\(?([A-D])\b")


def published_letter(answer: str) -> str | None:
    """The letter that LongBench-v2's harness takes from an answer (`pred.py` in `THUDM/LongBench`).

    It is the one in `The correct answer is (B)`, or without brackets; asterisks do not count.

    Example:
        ```python
        from langchain_replm.evals.scoring import published_letter

        assert published_letter("The correct answer is **(B)**.") == "B"
        assert published_letter("B") is None
        ```
    """
    plain = answer.replace("*", "")
    return next((found[1] for rule in _PUBLISHED if (found := rule.search(plain))), None)


def choice(answer: str, expected: str) -> Score:
    """1 if the answer chooses this letter, from A to D.

    The letter is read as LongBench-v2 does it; where it finds none, an answer that begins with a
    letter (`B`, `(B)`, `B. The second`) or says `answer is B` or `Answer: B` is read, too.

    Example:
        ```python
        from langchain_replm.evals.scoring import choice

        assert choice("B. The second one", "B").value == 1
        ```
    """
    said = published_letter(answer) or _usual_letter(answer.replace("*", "").strip())
    if said is None:
        return Score(0, "there is no letter from A to D in the answer")
    return Score(1) if said == expected else Score(0, f"{said} is not {expected}")


def _usual_letter(answer: str) -> str | None:
    if found := _LETTER.fullmatch(answer):
        return found[1] or found[2]
    said = _SAID_LETTER.findall(answer)
    return said[-1] if said else None


SCORERS: dict[str, Callable[[str, Any], Score]] = {
    "exact": exact,
    "contains": contains,
    "number": number,
    "f1": f1,
    "set_f1": set_f1,
    "choice": choice,
}
"""The rules for questions of one's own, by name."""
