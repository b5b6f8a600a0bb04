"""Positions and small marks in a reply, in time that does not grow with the square of its size."""

import re
from bisect import bisect_left

TOKEN = re.compile(
    r"<\|[\w ./:-]{1,40}\|>|<\uff5c[^<>\uff5c\n]{1,40}\uff5c>|</s>|<(?:start|end)_of_turn>|<eos>"
)
"""Special tokens that some servers leave in the visible text (alexzhang13/rlm, pull request 7)."""

_LEADING_TOKEN = re.compile(rf"[ \t\n]*(?:{TOKEN.pattern})")
_MAX_TOKEN_CHARS = 48


def without_outer_tokens(text: str) -> str:
    """Return `text` without the special tokens and blanks at its end, and the tokens at its start.

    Tokens in the middle stay: they may be part of a string in a cell.
    """
    start, end = 0, len(text)
    while match := _LEADING_TOKEN.match(text, start):
        start = match.end()
    while end > start:
        if text[end - 1].isspace():
            end -= 1
            continue
        opening = text.rfind("<", max(start, end - _MAX_TOKEN_CHARS), end)
        if opening < 0 or not TOKEN.fullmatch(text, opening, end):
            break
        end = opening
    return text[start:end]


class Lines:
    """Where the line around a position begins and ends.

    `str.find` would do, but on a reply of one endless line it makes every look-up linear.
    """

    def __init__(self, text: str) -> None:
        self._end = len(text)
        self._newlines = [match.start() for match in re.finditer(r"\n", text)]

    def start(self, position: int) -> int:
        """Return the index of the first character of the line that holds `position`."""
        before = bisect_left(self._newlines, position)
        return self._newlines[before - 1] + 1 if before else 0

    def end(self, position: int) -> int:
        """Return the index of the newline that ends the line of `position`, or of the end."""
        at = bisect_left(self._newlines, position)
        return self._newlines[at] if at < len(self._newlines) else self._end


_THINKING_END = re.compile(r"</(?:think|thinking|reasoning)>", re.IGNORECASE)
_THINKING = re.compile(r"\s*<(?:think|thinking|reasoning)>", re.IGNORECASE)


def without_thinking(text: str) -> str:
    """The visible part of a reply that is an answer and nothing else."""
    ends = list(_THINKING_END.finditer(text))
    opened = _THINKING.match(text)
    if opened and not ends:
        return ""  # cut off in its thinking
    if ends and (opened or "<" not in text[: ends[0].start()]):
        text = text[ends[-1].end() if not opened else ends[0].end() :]
    return without_outer_tokens(text).strip()
