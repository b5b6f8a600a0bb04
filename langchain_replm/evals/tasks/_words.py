"""Lists of words, written as text so that a person can read them."""

from __future__ import annotations


def words(text: str) -> list[str]:
    """The words of a text."""
    return text.split()


def phrases(text: str) -> list[str]:
    """The phrases of a text: each ends at a bar or at the end of its line."""
    return [phrase.strip() for line in text.strip().splitlines() for phrase in line.split("|")]
