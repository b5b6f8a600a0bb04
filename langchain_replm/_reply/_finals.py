"""Answers that a root model writes as text: ``FINAL(...)`` and ``FINAL_VAR(...)`` outside cells.

The two calls come from the RLM paper (Zhang, Kraska, Khattab, arXiv 2512.24601), which also says
how brittle they are: plans mention them, answers contain brackets. So the place decides whether a
call counts, and the brackets are matched as a reader would match them, not as a parser would.
"""

import ast
import re
from dataclasses import dataclass
from typing import Literal

from langchain_replm._reply._python import Probe, is_name, syntax_tree
from langchain_replm._reply._text import TOKEN, Lines

MAX_SCANNED_CHARS = 3_000_000
"""Characters read for closing brackets in one reply. Security limit: every ``FINAL(`` at the start
of a line could make us read the rest of the reply; 3 million take about half a second."""

DIRECTIVE = re.compile(r"FINAL(?P<var>\\?_VAR)?\(")
MARKS = " \t>*_`\"'-\u201c\u201d\u2018\u2019"
SENTENCE_END = ".!?:\u2026\u3002\uff01\uff1f\uff1a"

_LOOK_BACK_CHARS = 64
_LIST_NUMBER = re.compile(r"(?:step\s*)?\d{1,3}[.):]*", re.IGNORECASE)
_ABBREVIATIONS = ("e.g.", "i.e.", "cf.", "vs.", "etc.")
_TAIL = re.compile(
    rf"(?:[ \t.,;:!?*_`\"'\u201d\u2019\u3002]|{TOKEN.pattern})*+(?=\n|\Z)",
)
_LITERAL = re.compile(
    r"\s*(?P<literal>(?P<prefix>[rRuU]?)(?:"
    r"\"\"\"(?P<t2>(?:[^\\]|\\.)*?)\"\"\"|'''(?P<t1>(?:[^\\]|\\.)*?)'''"
    r"|\"(?P<d>[^\"\\]*+(?:\\.[^\"\\]*+)*+)\"|'(?P<s>[^'\\]*+(?:\\.[^'\\]*+)*+)'))\s*",
    re.DOTALL,
)
_FORMATTED = re.compile(r"(?:[fF][rR]?|[rR][fF])([\"']).*\1", re.DOTALL)
_BRACKET = re.compile(r"[()]")
_BLANK_LINE = re.compile(r"\n[ \t]*\n|\Z")
_FENCE_LINE = re.compile(r"^[ \t]*(?:`{3,}|~{3,})", re.MULTILINE)
_LATER_DIRECTIVE = re.compile(rf"\n[{re.escape(MARKS)}]*+FINAL(?:\\?_VAR)?\(")
# Doubtful escapes, about which Python warns. Doubled, they have the value that it gives them.
_DOUBTFUL_ESCAPE = re.compile(
    r"\\(?:([\\'\"abfnrtvxNuU\n]|[0-3]?[0-7]{1,2}(?![0-7]))|(.))", re.DOTALL
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Final:
    """An answer written as text.

    Attributes:
        kind: "text" for ``FINAL(...)``, "var" for ``FINAL_VAR(name)``. ``FINAL_VAR("the cat")``
            names no variable and has kind "text".
        text: The answer, or the name of the variable.
    """

    kind: Literal["text", "var"]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Directive:
    """A final that counts, from `start` to `end` of the text.

    `cell` replaces `final` where the argument is an expression that only the REPL can evaluate.
    """

    start: int
    end: int
    final: Final | None = None
    cell: str | None = None
    closed: bool = True


class FinalReader:
    """Reads the finals of one reply, from left to right."""

    def __init__(self, text: str, lines: Lines, probe: Probe) -> None:
        self._text = text
        self._lines = lines
        self._probe = probe
        self._left = MAX_SCANNED_CHARS

    def read(self, start: int, floor: int, *, truncated: bool) -> Directive | None:
        """Read the final whose name begins at `start`; None if it is a mention.

        `floor` is where the last fence, thinking block or final ended: the line begins there.
        """
        match = DIRECTIVE.match(self._text, start)
        if match is None or not self._placed(start, floor) or self._left <= 0:
            return None
        opened = match.end()
        close = self._literal_close(opened)
        if close is None:
            balanced = self._balanced_close(opened)
            if balanced is None:
                return self._unclosed(start, opened, is_var=bool(match["var"]), cut=truncated)
            close = self._real_close(opened, balanced)
        if close is None:
            return None
        end = self._tail(close + 1) or close + 1
        return self._directive(start, end, self._text[opened:close], is_var=bool(match["var"]))

    # -- where it stands -------------------------------------------------------------------------

    def _placed(self, start: int, floor: int) -> bool:
        """Return whether a call here is meant: at a line's start or after a sentence."""
        begin = max(self._lines.start(start), floor)
        window = max(begin, start - _LOOK_BACK_CHARS)
        before = TOKEN.sub("", self._text[window:start]).rstrip(MARKS)
        if not before:
            return window == begin
        if before.lower().endswith(_ABBREVIATIONS):
            return False
        # "3. FINAL(the answer)" is a step of a plan.
        return before[-1] in SENTENCE_END and not _LIST_NUMBER.fullmatch(before.strip())

    def _tail(self, position: int) -> int | None:
        """Return where the line ends, if only marks and punctuation follow `position` on it."""
        match = _TAIL.match(self._text, position)
        return match.end() if match else None

    # -- where it closes -------------------------------------------------------------------------

    def _literal_close(self, opened: int) -> int | None:
        """Return the closing bracket after a lone string literal: its brackets do not count."""
        match = _LITERAL.match(self._text, opened)
        if match is None:
            if self._text[opened : opened + 2].strip("rRuU")[:1] in {'"', "'"}:
                self._left -= len(self._text) - opened
            return None
        self._left -= match.end() - opened
        close = match.end()
        closes = self._text[close : close + 1] == ")" and self._tail(close + 1) is not None
        return close if closes else None

    def _balanced_close(self, opened: int) -> int | None:
        depth = 1
        for match in _BRACKET.finditer(self._text, opened):
            depth += 1 if match[0] == "(" else -1
            if depth == 0:
                self._left -= match.start() - opened
                return match.start()
        self._left -= len(self._text) - opened
        return None

    def _real_close(self, opened: int, balanced: int) -> int | None:
        """Return the bracket that closes the line, from the balanced one on.

        Numbered half brackets ("1) open 2) press") and smileys close too early. Where the rest
        closes more than it opens, the last such bracket that ends a line is meant: in the first
        paragraph that has one, so that a smiley in a closing remark is not taken for it.
        """
        fences = len(_FENCE_LINE.findall(self._text, opened, balanced))
        if self._tail(balanced + 1) is not None and fences % 2 == 0:
            return balanced
        depth, best, limit, at = 0, None, len(self._text), balanced
        for match in _BRACKET.finditer(self._text, balanced + 1):
            at = match.start()
            if at > limit:
                break
            depth += 1 if match[0] == "(" else -1
            if depth >= 0:
                continue
            depth = 0
            if self._tail(at + 1) is not None:
                if best is None and (blank := _BLANK_LINE.search(self._text, at)):
                    limit = blank.start()
                best = at
        self._left -= (len(self._text) if best is None else at) - balanced
        return best

    def _unclosed(self, start: int, opened: int, *, is_var: bool, cut: bool) -> Directive | None:
        """Take the rest of the text, unless a later final is the one that is meant."""
        self._left -= len(self._text) - opened
        if _LATER_DIRECTIVE.search(self._text, opened):
            return None
        end = len(self._text)
        if cut:
            return Directive(start=start, end=end, closed=False)
        return self._directive(start, end, self._text[opened:], is_var=is_var)

    # -- what it says ----------------------------------------------------------------------------

    def _directive(self, start: int, end: int, content: str, *, is_var: bool) -> Directive | None:
        content = content.strip()
        value = unquote(content)
        bare = content.strip("`").strip() if value is None else value.strip()
        is_code = value is None and (is_var or _FORMATTED.fullmatch(content) is not None)
        final = None
        if is_var and is_name(bare):
            final = Final(kind="var", text=bare)
        elif is_code and bare and self._probe.is_expression(bare):
            return Directive(start=start, end=end, cell=f"FINAL({bare})")
        elif value is not None or (content and not is_var):
            final = Final(kind="text", text=content if value is None else value)
        return Directive(start=start, end=end, final=final) if final else None


def unquote(text: str) -> str | None:
    """Return the value of a lone string literal, None for any other text. Never evaluates.

    A one-line literal with real newlines in it is no Python; models write it, and mean the text.
    """
    match = _LITERAL.fullmatch(text)
    if match is None:
        return None
    inner = next(group for group in match.group("t2", "t1", "d", "s") if group is not None)
    if match["prefix"] in {"r", "R"} or "\\" not in inner:
        return inner
    # json-like quotes around it: every real quote and newline of the text becomes an escape.
    body = _DOUBTFUL_ESCAPE.sub(lambda m: m[0] if m[1] else "\\\\" + m[2], inner)
    body = re.sub(r"(\\.)|([\"\n\r])", _escaped, body, flags=re.DOTALL)
    try:
        value = ast.literal_eval(syntax_tree(f'"{body}"', "eval"))
    except (SyntaxError, ValueError, MemoryError):
        return inner
    return value if isinstance(value, str) else inner


def _escaped(match: re.Match[str]) -> str:
    return match[1] or {'"': '\\"', "\n": "\\n", "\r": "\\r"}[match[2]]
