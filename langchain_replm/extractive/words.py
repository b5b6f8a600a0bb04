"""Words, stems and pieces of text: what both roles of the extractive model measure with."""

from __future__ import annotations

import re

# Words that say how a question is asked, not what it is about.
STOP_WORDS = frozenset(
    """
    a about after all also an and any are as at be been before being between both but by can could
    did do does doing done each either else ever exactly find for from give given had has have he
    her his how i if in into is it its itself list many may me might more most much must my no nor
    not of off often on once one only or other our out over own please quote say says shall she
    should show so some such tell than that the their them then there these they this those through
    times to too under until up upon us use used uses using very was we were what when where which
    while who whom whose why will with within would you your line lines exact exactly reply answer
    question text passage value
    """.split()  # noqa: SIM905 - a list of words reads better as words
)

_SUFFIXES = ("ations", "ation", "ators", "ator", "ings", "ing", "ies", "ied", "ors", "or", "ers",
             "er", "ed", "es", "ly", "s", "e", "y")  # fmt: skip
_STEM_MIN_CHARS = 4
_LONG_LINE_CHARS = 300


def words(text: str) -> list[str]:
    """Lower-case words and identifiers of a text, in order."""
    return re.findall(r"\w+", text.lower())


def stem(word: str) -> str:
    """Cut one common English ending off, so that a prefix match finds the word's other forms.

    Identifiers (with digits or underscores) stay whole: `lru_cache` has no other forms.

    Example:
        ```python
        assert stem("raises") == stem("raised") == "rais"
        ```
    """
    if not word.isalpha():
        return word
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= _STEM_MIN_CHARS:
            return word[: -len(suffix)]
    return word


def terms(text: str) -> tuple[str, ...]:
    """Stems of the words that say what a question is about, each once, in order."""
    kept = (stem(word) for word in words(text) if word not in STOP_WORDS and len(word) > 1)
    return tuple(dict.fromkeys(kept))


def matched(wanted: tuple[str, ...], text: str) -> set[str]:
    """Which stems begin some word of the text."""
    found = words(text)
    return {term for term in wanted if any(word.startswith(term) for word in found)}


def pieces(text: str) -> list[str]:
    """Lines of a text; a very long line (prose without breaks) becomes its sentences."""
    result: list[str] = []
    for line in text.splitlines():
        if len(line) > _LONG_LINE_CHARS:
            result.extend(re.split(r"(?<=[.!?])\s+", line))
        else:
            result.append(line)
    return result
