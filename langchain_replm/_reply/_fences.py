"""Fenced code in a root reply: where a fence opens, where it really closes, what is inside.

CommonMark closes a fence at the first line of backticks. Cells are full of such lines (prompts
with a json example, 19 % of the turns in one study), so a Python fence closes at the first place
where its body parses; dspy and rlms had reports of cells cut at inner fences (dspy PR 9801).
"""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from langchain_replm._reply._finals import DIRECTIVE, SENTENCE_END
from langchain_replm._reply._openings import (
    MAX_INDENT,
    MAX_INFO_CHARS,
    PYTHON_LABELS,
    Kind,
    Opening,
    Runs,
    read_info,
)
from langchain_replm._reply._python import (
    BROKEN,
    MAX_PROBE_CHARS,
    OPEN_STRING,
    PARSES,
    Probe,
    Verdict,
)
from langchain_replm._reply._text import TOKEN, Lines

MAX_FENCES = 200
"""Fences read in one reply; what follows is prose. Security limit: keeps the time linear."""

MAX_CLOSERS = 500
"""Fence runs looked at as the possible end of one fence. Security limit, as above."""

_NEXT_LINE_OPENS = re.compile(
    rf"\s*\n[ \t]*(?:`{{3,}}|~{{3,}})[ \t]*(?:{'|'.join(sorted(PYTHON_LABELS))})[ \t]*(?:\n|\Z)",
    re.IGNORECASE,
)
_TRIPLE_QUOTE = re.compile(r"\"\"\"|'''")
_THINKING_ENDS = re.compile(r"^[ \t]*</(?:think|thinking|reasoning)>", re.IGNORECASE | re.MULTILINE)
_REST_IS_BLANK = re.compile(rf"(?:[ \t]|{TOKEN.pattern})*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """One fence: `code` is its body, dedented; `raw` the body as written."""

    kind: Kind
    label: str
    code: str
    raw: str
    end: int
    closed: bool = True
    parses: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mark:
    """A place where a body may end, and where reading goes on from there."""

    body_end: int
    resume: int
    strong: bool
    opens: bool = False
    ends_line: bool = False


class FenceReader:
    """Reads the fences of one reply, from left to right."""

    def __init__(self, text: str, lines: Lines, probe: Probe, *, truncated: bool) -> None:
        self._text = text
        self._lines = lines
        self._probe = probe
        self._truncated = truncated
        self._runs = Runs(text, lines)
        self._read = 0

    @property
    def exhausted(self) -> bool:
        """Whether `MAX_FENCES` were read."""
        return self._read >= MAX_FENCES

    def read(self, start: int, floor: int) -> tuple[int, Fence | None]:
        """Read the fence whose run of fence characters begins at `start`.

        `floor` is where the last thing that was read ended. Returns where reading goes on, and the
        fence, or None when the characters open nothing (a mention, a stray closer).
        """
        run = self._runs.index(start)
        _, run_end = self._runs.spans[run]
        if DIRECTIVE.match(self._text, run_end) or _NEXT_LINE_OPENS.match(self._text, run_end):
            return run_end, None
        if found := self._one_line(run, floor):
            return found
        opening = self._runs.opening(run, floor, self._probe)
        if opening is None:
            return run_end, None
        self._read += 1
        fence = self._python(opening) if opening.kind == "python" else self._other(opening)
        sound = fence.closed and (fence.parses or opening.kind != "python")
        if not sound and (tag := _THINKING_ENDS.search(self._text, opening.body, fence.end)):
            return tag.start(), None  # a draft in a thinking block whose opening tag was cut away
        return fence.end, fence

    def _one_line(self, run: int, floor: int) -> tuple[int, Fence | None] | None:
        """Read a fence that opens and closes on one line; None if this one does not."""
        start, end = self._runs.spans[run]
        ends = self._runs.closers_on_line(run)
        if not ends:
            return None
        begin = max(self._lines.start(start), floor)
        before = self._text[max(begin, start - MAX_INDENT) : start].rstrip()
        info = read_info(self._text, end, ends[0][0])
        body = info.rest_start if info.python else end
        placed = before.strip("-*+> \t") == "" or before[-1] in SENTENCE_END
        chosen = ends[0]
        if placed and info.python:
            fits = (e for e in ends if self._probe.parses(self._text[body : e[0]].strip()))
            chosen = next(fits, chosen)
        raw = self._text[body : chosen[0]].strip()
        line_end = min(self._lines.end(chosen[1]), chosen[1] + MAX_INFO_CHARS)
        rest_of_line = self._text[chosen[1] : line_end].strip(" \t.,;:!?*")
        if not placed or not raw or rest_of_line:
            return chosen[1], None
        self._read += 1
        kind: Kind = "python" if info.python else "plain"
        parses = info.python and self._probe.parses(raw)
        fence = Fence(kind=kind, label=info.label, code=raw, raw=raw, end=chosen[1], parses=parses)
        return chosen[1], fence

    def _marks(self, opening: Opening) -> Iterator[_Mark]:
        start, end = self._runs.spans[opening.run]
        for at, at_end in self._runs.spans[opening.run + 1 : opening.run + 1 + MAX_CLOSERS]:
            if self._text[at] != self._text[start] or at < opening.body:
                continue
            line_start, line_end = self._lines.start(at), self._lines.end(at)
            anchored = self._runs.indent(at, opening.body) is not None
            blank = _REST_IS_BLANK.match(self._text, at_end)
            ends_line = blank is not None and blank.end() == line_end
            body_end = max(opening.body, line_start - 1) if anchored else at
            if anchored and not ends_line and self._runs.labelled(at_end, line_end):
                yield _Mark(body_end=body_end, resume=line_start, strong=True, opens=True)
            elif at_end - at >= end - start:
                strong = ends_line and (anchored or line_end == len(self._text))
                resume = line_end if ends_line else at_end
                yield _Mark(body_end=body_end, resume=resume, strong=strong, ends_line=ends_line)

    def _python(self, opening: Opening) -> Fence:
        """Close at the first line-anchored mark where the body parses, else as well as we can."""
        marks = list(self._marks(opening))
        fallback: list[_Mark] = []
        still_open: _Mark | None = None
        for mark in (m for m in marks if m.strong):
            since = still_open.body_end if still_open else None
            if since is not None and not _TRIPLE_QUOTE.search(self._text, since, mark.body_end):
                verdict = OPEN_STRING  # the same string as at the last mark: no need to ask again
            else:
                verdict = self._verdict(opening, mark.body_end)
            if verdict is PARSES:
                return self._fence(opening, mark)
            still_open = mark if verdict is OPEN_STRING else None
            if verdict is BROKEN and not mark.opens:
                fallback.append(mark)
        if self._verdict(opening, len(self._text)) is PARSES:
            return self._fence(opening, None)
        weak = [mark for mark in marks if not mark.strong]
        if weakest := next((m for m in weak if self._closes_weakly(opening, m)), None):
            return self._fence(opening, weakest)
        fallback += [mark for mark in weak if mark.ends_line]
        if not self._truncated:  # quotes that never close: the SyntaxError says so best
            fallback += [mark for mark in marks if mark.strong and not mark.opens]
        return self._fence(opening, fallback[0] if fallback else None)

    def _closes_weakly(self, opening: Opening, mark: _Mark) -> bool:
        """Return whether a run inside a line ends the body: not in a comment that goes on."""
        if self._verdict(opening, mark.body_end) is not PARSES:
            return False
        # A lone bracket is an error anywhere but in a comment.
        code, _ = self._judge(opening, mark.body_end)
        return mark.ends_line or not self._probe.parses(code + " )")

    def _fence(self, opening: Opening, mark: _Mark | None) -> Fence:
        """Build the fence that `mark` closes. Without a mark, it is open to the end of the text."""
        end = mark.body_end if mark else len(self._text)
        code, verdict = self._judge(opening, end)
        if not code.strip() and opening.info and self._probe.acts(opening.info):
            code, verdict = opening.info, PARSES
        parses = verdict is PARSES
        # An open fence is complete if its body is, unless the provider says that it is not.
        complete = parses and not self._truncated and bool(code.strip())
        return Fence(
            kind="python",
            label=opening.label,
            code=code,
            raw=self._text[opening.body : end],
            end=mark.resume if mark else end,
            closed=mark is not None or complete,
            parses=parses,
        )

    def _verdict(self, opening: Opening, end: int) -> Verdict:
        """Return whether the body up to `end` parses; cheap when nothing more may be parsed."""
        if self._probe.spent or end - opening.body > 2 * MAX_PROBE_CHARS:
            return BROKEN
        return self._judge(opening, end)[1]

    def _judge(self, opening: Opening, end: int) -> tuple[str, Verdict]:
        """Return the body up to `end` without its indentation, and whether it parses."""
        code = _undent(self._text[opening.body : end], opening.indent)
        verdict = self._probe.look(code)
        if verdict is not PARSES and code.lstrip("\n")[:1] in {" ", "\t"}:
            # "- ```python" in a list: the fence is not indented, its body is.
            dedented = textwrap.dedent(code)
            if self._probe.parses(dedented):
                return dedented, PARSES
        return code, verdict

    def _other(self, opening: Opening) -> Fence:
        """Close as CommonMark does, or at a fence glued to the last line."""
        marks = self._marks(opening)
        mark = next((m for m in marks if not m.opens and self._closes_other(opening, m)), None)
        end = mark.body_end if mark else len(self._text)
        raw = self._text[opening.body : end]
        return Fence(
            kind=opening.kind,
            label=opening.label,
            code=_undent(raw, opening.indent),
            raw=raw,
            end=mark.resume if mark else len(self._text),
            closed=mark is not None,
        )

    def _closes_other(self, opening: Opening, mark: _Mark) -> bool:
        if mark.strong or not mark.ends_line:
            return mark.strong
        # "see ```x```" ends a line with a run too, but with the second of a pair.
        first = self._runs.index(self._lines.start(mark.body_end))
        last = self._runs.index(mark.body_end)
        return (last - first) % 2 == 0 and self._runs.spans[last][0] > opening.body


def _undent(body: str, indent: int) -> str:
    """Take up to `indent` blanks from the start of every line, as CommonMark does."""
    return re.sub(rf"^[ \t]{{1,{indent}}}", "", body, flags=re.MULTILINE) if indent else body
