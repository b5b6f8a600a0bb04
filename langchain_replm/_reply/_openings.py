"""Where a fence opens: the runs of fence characters of a reply, and what stands around them."""

import re
from bisect import bisect_left
from dataclasses import dataclass
from typing import Literal

from langchain_replm._reply._python import Probe
from langchain_replm._reply._text import Lines

MAX_ONE_LINE_CLOSERS = 8
MAX_INDENT = 64
MAX_INFO_CHARS = 300

PYTHON_LABELS = frozenset({"repl", "python", "py", "python3", "ipython", "tool_code"})

_RUN = re.compile(r"`{3,}|~{3,}")
_INFO = re.compile(
    r"[ \t]*(?:\{[ \t]*\.?(?P<braced>[A-Za-z][\w+#-]*)[^{}\n]*\}|(?P<plain>[A-Za-z][\w+#-]*))?"
    r"(?=[\s{:,;]|\Z)(?P<rest>.*)"
)
_ATTRIBUTES = re.compile(
    # Possessive: without backtracking there is no exponential case.
    r"(?:[ \t]|\{[^{}\n]*+\}|[:,;][^\s(]++|[#.][\w-]++"
    r"|[A-Za-z_][\w.:-]*+=(?:\"[^\"\n]*+\"|'[^'\n]*+'|[^\s\"'()]++))*+"
)

Kind = Literal["python", "plain", "other"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A fence that opens with run number `run`; its body begins at `body`."""

    run: int
    kind: Kind
    label: str
    indent: int
    info: str
    body: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """What follows an opening run on its line: a label in lower case, or "", and the rest."""

    label: str
    python: bool
    rest: str
    rest_start: int


def read_info(text: str, begin: int, end: int) -> Info:
    """Read the label after a run that ends at `begin`; at most `MAX_INFO_CHARS` of the line."""
    end = min(end, begin + MAX_INFO_CHARS)
    match = _INFO.match(text, begin, end)
    label = (match["braced"] or match["plain"] or "").lower() if match else ""
    start = match.start("rest") if match else begin
    return Info(label=label, python=label in PYTHON_LABELS, rest=text[start:end], rest_start=start)


class Runs:
    """All runs of fence characters in one reply."""

    def __init__(self, text: str, lines: Lines) -> None:
        self._text = text
        self._lines = lines
        self.spans = [match.span() for match in _RUN.finditer(text)]

    def index(self, start: int) -> int:
        """Return the number of the first run that begins at `start` or later."""
        return bisect_left(self.spans, (start, start))

    def indent(self, position: int, floor: int) -> int | None:
        """Return the blanks before `position` if nothing else is before it on its line."""
        begin = max(self._lines.start(position), floor)
        if position - begin > MAX_INDENT or self._text[begin:position].strip():
            return None
        return position - begin

    def opening(self, run: int, floor: int, probe: Probe) -> Opening | None:
        """Return the fence that this run opens, or None if it opens nothing."""
        start, end = self.spans[run]
        line_end = self._lines.end(end)
        indent = self.indent(start, floor)
        info = read_info(self._text, end, line_end)
        rest = info.rest.strip()
        attributes = _ATTRIBUTES.fullmatch(rest) is not None and bool(info.label or not rest)
        if indent is None and (not attributes or self._text[start] == "~"):
            return None
        # Code on the line of the label belongs to the cell; words there belong to nobody.
        is_code = not attributes and (not info.label or (info.python and probe.acts(rest)))
        return Opening(
            run=run,
            kind="python" if info.python else ("other" if info.label else "plain"),
            label=info.label,
            indent=indent or 0,
            info=rest,
            body=info.rest_start + len(info.rest) - len(info.rest.lstrip())
            if is_code
            else min(line_end + 1, len(self._text)),
        )

    def closers_on_line(self, run: int) -> list[tuple[int, int]]:
        """Return the next runs on the same line that are long enough to close this one."""
        start, end = self.spans[run]
        line_end = self._lines.end(end)
        following = self.spans[run + 1 : run + 1 + MAX_ONE_LINE_CLOSERS]
        return [
            (other, other_end)
            for other, other_end in following
            if other < line_end
            and self._text[other] == self._text[start]
            and other_end - other >= end - start
        ]

    def labelled(self, begin: int, line_end: int) -> bool:
        """Return whether a label, and nothing but attributes after it, ends the line."""
        info = read_info(self._text, begin, line_end)
        return bool(info.label) and _ATTRIBUTES.fullmatch(info.rest) is not None
