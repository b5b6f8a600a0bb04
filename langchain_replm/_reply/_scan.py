"""Reading a whole reply: one pass from left to right over fences, thinking and finals.

Whatever begins first owns the text up to its end: a fence in an answer belongs to the answer, a
final in a cell to the cell, a thinking tag in a string to the string.
"""

import re
import textwrap
from dataclasses import dataclass
from typing import Literal

from langchain_replm._reply._fences import Fence, FenceReader
from langchain_replm._reply._finals import DIRECTIVE, MARKS, Directive, Final, FinalReader
from langchain_replm._reply._python import Probe
from langchain_replm._reply._text import TOKEN, Lines, without_outer_tokens

Problem = Literal["no_action", "empty", "cut_off", "foreign_call"]

_THINKING = "think|thinking|reasoning"
_EVENT = re.compile(
    rf"(?P<run>`{{3,}}|~{{3,}})|(?<!`)(?i:<(?P<close>/?)(?P<tag>{_THINKING})>)"
    rf"|(?P<final>{DIRECTIVE.pattern})"
)
_FOREIGN = (
    ("<function=...>", re.compile(r"(?<!`)<function\s{0,9}=")),
    ("tool_call XML", re.compile(r"(?<!`)<(?:tool_calls?|tool_use|function_calls?)\b")),
    ("<invoke name=...>", re.compile(r"(?<!`)<(?:\w{1,20}:)?invoke\s{1,9}name\s{0,9}=")),
    ("<execute> tag", re.compile(r"^[ \t]*<execute(?:_\w{1,20})?>", re.MULTILINE)),
    ("<code> tag", re.compile(r"^[ \t]*<code>", re.MULTILINE)),
    ("[TOOL_CALLS] token", re.compile(r"^[ \t]*\[TOOL_CALLS?\]", re.MULTILINE)),
)
_IMITATION = re.compile(
    r"</?(?:output|variables|error) [0-9a-f]{6,}>"
    r"|^(?:The cell|Cell \d+ of \d+) (?:printed [\d,]+ characters|ran and printed nothing)",
    re.MULTILINE,
)
"""How our own observations look."""

_OUTPUT_HEADING = re.compile(
    r"^[ \t>*_#\[(]*(?:(?:repl|cell|code|execution|console|program|expected)[ _]"
    r"(?:output|results?)|output|stdout|observation)[\])*_]*[ \t]*:",
    re.IGNORECASE | re.MULTILINE,
)
_OUTPUT_LABELS = frozenset(
    {"output", "outputs", "stdout", "console", "result", "results", "repl-output"}
)
_JSON_START = re.compile(r"(?:```\w*+\s*+)?\[?\s*+\{\s*+\"")
_JSON_NAME = re.compile(r"\"(?:name|function|tool|tool_name|action)\"\s{0,9}:")
_JSON_ARGUMENTS = re.compile(r"\"(?:arguments|args|parameters|input|action_input)\"\s{0,9}:")
_BARE_CODE_ENDS_NOT = (".", "!", "?", "\u2026")


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedReply:
    """What one root reply asks for.

    Attributes:
        cells: Python sources in order, dedented, without their fences.
        final: The text final, if one counts. Cells and a final may come together.
        problem: Why there is nothing, or not everything, to run.
        detail: Which shape of foreign call it was, or what was cut off.
        prose: The reply without thinking, cells and final.
        real_cells: How many cells stand before output that the reply has made up itself; None if
            it has made up none.
    """

    cells: tuple[str, ...] = ()
    final: Final | None = None
    problem: Problem | None = None
    detail: str = ""
    prose: str = ""
    real_cells: int | None = None


def parse_reply(text: str, *, truncated: bool = False) -> ParsedReply:
    """Read one reply of a root model. Never raises, whatever the text.

    Args:
        text: The visible text of the reply.
        truncated: The model stopped at its token limit (finish reason "length"), so what is open
            at the end is incomplete even where it happens to parse.

    Returns:
        The cells, the final, and what is wrong with the reply, if anything.
    """
    text = without_outer_tokens(text.replace("\r\n", "\n"))
    reading = _Reading(text, truncated=truncated)
    reading.read()
    return reading.result()


class _Reading:
    """One pass over one reply."""

    def __init__(self, text: str, *, truncated: bool) -> None:
        lines, self._probe = Lines(text), Probe()
        self._text = text
        self._truncated = truncated
        self._fence_reader = FenceReader(text, lines, self._probe, truncated=truncated)
        self._final_reader = FinalReader(text, lines, self._probe)
        self._thinking_is_open = False
        self._forget()

    def _forget(self) -> None:
        """Drop everything so far: it was thinking whose opening tag the server had cut away."""
        self._fences: list[Fence] = []
        self._directive: Directive | None = None
        self._prose: list[str] = []  # without cells and finals
        self._outside: list[str] = []  # without any fence and finals
        self._visible: list[str] = []  # without any fence
        self._cut = ""
        self._before_invention: int | None = None

    # -- reading ---------------------------------------------------------------------------------

    def read(self) -> None:
        """Go from event to event; `floor` is the end of the last one that was one."""
        at = floor = 0
        while event := _EVENT.search(self._text, at):
            if self._fence_reader.exhausted:
                break
            at = event.end()
            if event["tag"]:
                self._show(self._text[floor : event.start()])
                floor = at = self._think(event)
            elif event["run"]:
                at, fence = self._fence_reader.read(event.start(), floor)
                if fence:
                    self._show(self._text[floor : event.start()])
                    self._add(fence, self._text[event.start() : fence.end])
                    floor = at
            elif directive := self._final_reader.read(
                event.start(), floor, truncated=self._truncated
            ):
                before = self._text[floor : directive.start]
                self._show(before.rstrip(MARKS), visible=self._text[floor : directive.end])
                self._finish(directive)
                floor = at = directive.end
        self._show(self._text[floor:])

    def _show(self, prose: str, *, visible: str | None = None) -> None:
        after_cell = any(fence.kind == "python" for fence in self._fences)
        if _IMITATION.search(prose) or (after_cell and _OUTPUT_HEADING.search(prose)):
            self._invented()
        self._prose.append(prose)
        self._outside.append(prose)
        self._visible.append(prose if visible is None else visible)

    def _think(self, event: re.Match[str]) -> int:
        """Return where the thinking that `event` opens or closes has ended."""
        if event["close"]:
            self._forget()
            return event.end()
        closing = re.compile(rf"</{event['tag']}>", re.IGNORECASE).search(self._text, event.end())
        if closing is None:
            self._thinking_is_open = True
            return len(self._text)
        return closing.end()

    def _add(self, fence: Fence, source: str) -> None:
        after_cell = any(other.kind == "python" for other in self._fences)
        if after_cell and fence.label.lower() in _OUTPUT_LABELS:
            self._invented()
        self._fences.append(fence)
        if fence.kind != "python":
            self._prose.append(source)
        elif not fence.closed:
            self._cut = f"the last fence (label {fence.label}) was not closed"

    def _invented(self) -> None:
        if self._before_invention is None:
            self._before_invention = len(self._fences)

    def _finish(self, directive: Directive) -> None:
        if directive.closed:
            self._directive = directive
        else:
            self._cut = "the last FINAL(...) was not closed"

    # -- result ----------------------------------------------------------------------------------

    def result(self) -> ParsedReply:
        """Put together what was found."""
        if bare := self._bare_code():
            return ParsedReply(cells=(bare,))
        prose = "".join(self._prose)
        final = self._directive.final if self._directive else None
        cells = self._cells()
        if plain := self._sole_plain_fence():
            cells, prose = [plain.code], "".join(self._outside)
        if self._directive and self._directive.cell:
            cells.append(self._directive.cell)
        prose = TOKEN.sub("", prose).strip()
        problem, detail = self._problem(prose, acts=bool(cells or final))
        return ParsedReply(
            cells=tuple(cells),
            final=final,
            problem=problem,
            detail=detail,
            prose=prose,
            real_cells=self._real_cells(),
        )

    def _real_cells(self) -> int | None:
        """Return how many cells stand before the first output that is made up."""
        if self._before_invention is None:
            return None
        return len(self._cells(self._fences[: self._before_invention]))

    def _cells(self, among: list[Fence] | None = None) -> list[str]:
        """Return the cells: halves joined, repeats dropped."""
        given = self._fences if among is None else among
        fences = [f for f in given if f.kind == "python" and f.closed and f.code.strip()]
        joined: list[str] = []
        broken = False
        for fence in fences:
            whole = self._joined(joined[-1], fence) if broken else None
            if whole is None:
                joined.append(fence.code)
                broken = not fence.parses
            else:
                joined[-1] = whole
                broken = False
        first: dict[str, str] = {}
        for code in joined:
            first.setdefault(code.strip(), code)
        return list(first.values())

    def _joined(self, first: str, second: Fence) -> str | None:
        """Return both halves as one cell if only together they are Python."""
        wholes = (f"{first}\n{half}" for half in (second.raw, second.code))
        return next((whole for whole in wholes if self._probe.parses(whole)), None)

    def _bare_code(self) -> str | None:
        """Return the whole reply if it is Python without any fence, and does something."""
        if self._fences or self._cut or self._truncated:
            return None
        code = textwrap.dedent(TOKEN.sub("", "".join(self._visible))).strip()
        if "\n" not in code and code.endswith(_BARE_CODE_ENDS_NOT):
            return None
        return code if self._probe.acts(code) else None

    def _sole_plain_fence(self) -> Fence | None:
        """Return the reply's only fence if it has no label but Python that does something."""
        if len(self._fences) != 1 or self._fences[0].kind != "plain":
            return None
        fence = self._fences[0]
        complete = fence.closed or not self._truncated
        return fence if complete and self._probe.acts(fence.code, finishing=True) else None

    def _problem(self, prose: str, *, acts: bool) -> tuple[Problem | None, str]:
        if self._cut:
            return "cut_off", self._cut
        if acts:
            return None, ""
        if shape := _foreign_call(prose):
            return "foreign_call", shape
        if self._truncated:
            where = "in its thinking" if self._thinking_is_open else "before it did anything"
            return "cut_off", f"the reply ended {where}"
        if not prose and not self._thinking_is_open:
            return "empty", ""
        return "no_action", ""


def _foreign_call(prose: str) -> str:
    """Return which tool-call syntax `prose` has that is not ours, or ""."""
    for shape, pattern in _FOREIGN:
        if pattern.search(prose):
            return shape
    is_json = _JSON_START.match(prose) and _JSON_NAME.search(prose)
    return "JSON tool call" if is_json and _JSON_ARGUMENTS.search(prose) else ""
