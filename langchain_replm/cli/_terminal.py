"""What reaches a terminal. Texts of a run may hold its control codes; they are spelled out."""

from __future__ import annotations

import re
import sys

_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]"
)
"""Everything that moves a cursor, changes a colour or turns writing around; not tab and newline.

A terminal obeys what it is shown: a text could rename its window, hide lines, or write into the
clipboard."""


def plain(text: str) -> str:
    """The text with every control character spelled out."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text.replace("\r\n", "\n"))


def say(*lines: str) -> None:
    """Tell the person, not the program that reads the output."""
    for line in lines:
        sys.stderr.write(plain(line) + "\n")
    sys.stderr.flush()


def put(text: str) -> None:
    """Write to standard output: safe on a terminal, as it is into a pipe or a file."""
    sys.stdout.write((plain(text) if sys.stdout.isatty() else text) + "\n")
