"""Sentences from shapes with slots: fast enough for a million tokens, and the same everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping, Sequence


def words(text: str) -> list[str]:
    """The words of a text."""
    return text.split()


def phrases(text: str) -> list[str]:
    """The phrases of a text: each ends at a bar or at the end of its line."""
    return [phrase.strip() for line in text.strip().splitlines() for phrase in line.split("|")]


class Grammar:
    """Makes sentences of shapes; `the [adj] [noun] fell` is one with two slots.

    A slot whose name begins with a capital letter begins with one, too.

    Args:
        shapes: One of them is chosen for each sentence.
        choices: What may stand in a slot, by its name.
    """

    def __init__(self, shapes: Sequence[str], choices: Mapping[str, Sequence[str]]) -> None:
        self._shapes = [_slots(shape, choices) for shape in shapes]

    def say(self, rng: random.Random) -> str:
        """One sentence."""
        slots = self._shapes[int(rng.random() * len(self._shapes))]
        return "".join(
            choices[0] if len(choices) == 1 else choices[int(rng.random() * len(choices))]
            for choices in slots
        )


def _slots(shape: str, choices: Mapping[str, Sequence[str]]) -> list[Sequence[str]]:
    """The choices for each piece of the shape; a single one where the text is fixed."""
    first, *pieces = shape.split("[")
    slots: list[Sequence[str]] = [[first]]
    for piece in pieces:
        name, _, rest = piece.partition("]")
        found = choices[name.lower()]
        capital = name[0].isupper()
        slots += [[text[0].upper() + text[1:] for text in found] if capital else found, [rest]]
    return slots
