"""The root's role: read the conversation, decide the next step, write its cell.

The planner is a function of the conversation alone. What it did is in the tags of its own cells,
what came of it is in the `plan> key=number` lines of the observations.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from langchain_replm.extractive import cells
from langchain_replm.extractive.questions import read_question

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage

    from langchain_replm.extractive.questions import Question
    from langchain_replm.extractive.tallies import Tally

INTRODUCTION = (
    "I am a small deterministic planner without a neural network: I search by keywords and "
    "patterns, let the sub-model read the best passages, and quote what it finds."
)

_MAX_FRUITLESS = 3
_TAG = re.compile(r"^# step: (?P<step>\w+), try (?P<attempt>\d+)", re.MULTILINE)
_PLAN_LINE = re.compile(r"^plan>((?: \w+=\d+)+)", re.MULTILINE)
_QUERY = re.compile(r"^Query:[ \t]*\n?(?P<query>.+?)(?:\n[ \t]*\n|\Z)", re.MULTILINE | re.DOTALL)

# How a search widens from try to try: the share of terms a passage must hold, letters of a stem.
_NEEDED_SHARE = (0.5, 0.3, 0.0)
_STEM_CHARS = (40, 6, 4)

_LITERAL = (
    r"(\([^()]*\)|\[[^\]]*\]|\{[^}]*\}|'[^']*'|\"[^\"]*\"|[^\s,()=]+(?:\([^()]*\))?)"
)  # fmt: skip


def find_query(messages: Sequence[BaseMessage]) -> str:
    r"""The query in a root model's conversation: what follows `Query:` up to an empty line.

    The only place that knows how the engine writes it. Without such a line, the first human
    message is the query.

    Example:
        ```python
        assert find_query([HumanMessage("Query: who?\n\nThe context is a str.")]) == "who?"
        ```
    """
    said = [message.text for message in messages if isinstance(message, HumanMessage)]
    for text in said:
        found = _QUERY.search(text)
        if found is not None:
            return found["query"].strip()
    return said[0].strip() if said else ""


def is_root(messages: Sequence[BaseMessage]) -> bool:
    """Is this the conversation of a root model: a system message that teaches ```repl fences?"""
    return any(isinstance(m, SystemMessage) and "```repl" in m.text for m in messages)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """One finished step: its tag and the numbers of its observation (none: the cell failed)."""

    step: str
    attempt: int
    numbers: dict[str, int]


def _history(messages: Sequence[BaseMessage]) -> list[_Outcome]:
    """Every step so far with what came of it."""
    outcomes: list[_Outcome] = []
    tag: re.Match[str] | None = None
    observed: list[str] = []

    def close() -> None:
        if tag is not None:
            lines = _PLAN_LINE.findall("\n".join(observed))
            pairs = [pair.split("=") for pair in lines[-1].split()] if lines else []
            numbers = {key: int(number) for key, number in pairs}
            outcomes.append(_Outcome(tag["step"], int(tag["attempt"]), numbers))

    for message in messages:
        if isinstance(message, AIMessage):
            close()
            tag, observed = _TAG.search(message.text), []
        else:
            observed.append(message.text)
    close()
    return outcomes


def plan(messages: Sequence[BaseMessage], *, passages: int, passage_chars: int) -> str:
    """The root's next reply: a sentence about the last observation, and a cell.

    Args:
        messages: The conversation so far.
        passages: How many passages the sub-model may read at a time.
        passage_chars: How long a passage is, about, in characters.

    Returns:
        Text with one ```repl fence.
    """
    planner = _Planner(read_question(find_query(messages)), passages, passage_chars)
    history = _history(messages)
    if not history:
        return f"{INTRODUCTION}\n\n" + planner.write(
            "First I look at the shape of the context.", "peek", 1
        )
    return planner.after(history)


@dataclass(frozen=True, slots=True)
class _Planner:
    """Decides and writes the next cell for one question."""

    question: Question
    passages: int
    passage_chars: int

    def after(self, history: list[_Outcome]) -> str:
        """The reply that follows from what the last step found."""
        last = history[-1]
        fruitless = sum(map(_is_fruitless, history))
        if not last.numbers:
            return self._after_failure(history, fruitless)
        if last.step == "peek":
            return self._first_step(last.numbers.get("documents", 0))
        if last.step == "tally":
            return self._after_tally(last)
        return self._after_finding(last) or self._widen(history, fruitless)

    def _after_finding(self, last: _Outcome) -> str:
        """What to do with passages or quoted lines; empty when there are none."""
        if last.step in {"define", "search"} and last.numbers.get("passages"):
            hits = last.numbers.get("hits", 0)
            if self.question.kind == "where" and last.step == "define":
                return self.write(f"{hits} definition(s) found; that is the answer.", "places", 1)
            used = last.numbers["passages"]
            said = f"{hits} place(s) match. The sub-model reads the best {used}."
            return self.write(said, "read", last.attempt)
        if last.step == "read" and last.numbers.get("extracted"):
            said = f"{last.numbers['extracted']} passage(s) answered. I weigh the quoted lines."
            return self.write(said, "decide", last.attempt)
        return ""

    def _first_step(self, documents: int) -> str:
        if not documents:
            return self.write("There is nothing to search.", "give_up", 1)
        if self.question.kind == "tally":
            said = "This asks about the whole text, so I count over all of it."
            return self.write(said, "tally", 1)
        if self.question.kind == "free":
            return self.write("I search for passages with the question's terms.", "search", 1)
        said = f"The question is about {self.question.name}: I look for its definition."
        return self.write(said, "define", 1)

    def _after_tally(self, last: _Outcome) -> str:
        total = last.numbers.get("total", 0)
        if total == 0 and last.attempt == 1:
            said = "Nothing matches. I count again, whatever the case and also in strings."
            return self.write(said, "tally", 2)
        return self.write(f"The count is {total:,}. I submit it with examples.", "submit_tally", 1)

    def _after_failure(self, history: list[_Outcome], fruitless: int) -> str:
        """The cell raised, ran out of time, or its output is lost: go on, but not for ever."""
        if history[-1].step == "peek" and fruitless < _MAX_FRUITLESS:
            return self.write("That cell failed. I look again.", "peek", fruitless + 1)
        if self.question.kind == "tally" and fruitless < _MAX_FRUITLESS:
            return self.write("That cell failed. I count again.", "tally", fruitless + 1)
        return self._widen(history, fruitless)

    def _widen(self, history: list[_Outcome], fruitless: int) -> str:
        """Nothing came of the last step: search wider, at last by keywords, then stop."""
        searches = sum(1 for done in history if done.step == "search")
        if fruitless >= _MAX_FRUITLESS or searches >= _MAX_FRUITLESS:
            return self.write("Three fruitless tries. I stop here.", "give_up", 1)
        defined = [done for done in history if done.step == "define"]
        if defined and len(defined) == 1 and history[-1].step == "define":
            said = "No definition under that name. I try other spellings and assignments."
            return self.write(said, "define", 2)
        said = "That gave no answer. I search by keywords" + (", wider." if searches else ".")
        return self.write(said, "search", max(searches, fruitless - 1) + 1)

    def write(self, said: str, step: str, attempt: int) -> str:
        """A sentence and the cell of a step."""
        body, settings = self._cell(step, attempt)
        return f"{said}\n\n```repl\n{cells.render(step, attempt, body, settings)}\n```"

    def _cell(self, step: str, attempt: int) -> tuple[str, dict[str, object]]:
        question = self.question
        terms = list(question.terms)
        size = {"width": self.passage_chars, "most": self.passages}
        level = min(attempt, len(_NEEDED_SHARE)) - 1
        short = list(dict.fromkeys(term[: _STEM_CHARS[level]] for term in terms))
        lead, wanted = self._wanted()
        if step in {"tally", "submit_tally"} and question.tally is not None:
            return _tally_cell(question.tally, step, attempt)
        cells_by_step: dict[str, tuple[str, dict[str, object]]] = {
            "peek": (cells.PEEK, {}),
            "define": (
                cells.DEFINE,
                {
                    "pattern": self._definition(attempt),
                    "qualifiers": list(question.qualifiers),
                    "terms": terms,
                    "cue": self._cue(),
                    **size,
                },
            ),
            "search": (cells.SEARCH, {"terms": short, "needed": _NEEDED_SHARE[level], **size}),
            "read": (cells.READ, {"question": question.text, "terms": terms}),
            "decide": (cells.DECIDE, {"lead": lead, "wanted": wanted, "terms": terms}),
            "places": (cells.PLACES, {"name": question.name}),
            "give_up": (cells.GIVE_UP, {"terms": terms}),
        }
        return cells_by_step[step]

    def _definition(self, attempt: int) -> str:
        """Pattern of a definition; its first group is the indentation."""
        name = re.escape(self.question.name)
        if attempt > 1:
            keyword = r"(?:async[ \t]+)?(?:def|class)"
            return rf"(?im)^([ \t]*)(?:{keyword}[ \t]+_*{name}\w*|{name}\b[^=\n]*=)"
        keyword = {
            "class": "class",
            "exception": "class",
            "function": r"(?:async[ \t]+)?def",
            "method": r"(?:async[ \t]+)?def",
        }.get(self.question.thing, r"(?:async[ \t]+)?(?:def|class)")
        return rf"(?m)^([ \t]*){keyword}[ \t]+{name}\b"

    def _cue(self) -> str:
        """What a line looks like that may answer, for ranking passages."""
        return {
            "default": rf"\b{re.escape(self.question.parameter)}\b\s*[:=]",
            "raises": r"^\s*raise\s+\w",
            "returns": r"^\s*return\s+\S|\bReturns?\b",
        }.get(self.question.kind, r"^\s*(?:def|class)\b")

    def _wanted(self) -> tuple[str, str]:
        """How the answer begins, and the pattern of its value in a quoted line."""
        question = self.question
        if question.kind == "default":
            parameter = re.escape(question.parameter)
            # A call such as `f(n=5)` says nothing about the default of `n`; a signature does.
            signature = rf"(?:(?=\s*(?:async\s+)?def\b)|(?!.*\b{re.escape(question.name)}\s*\())"
            pattern = rf"^{signature}.*?(?<![\w.]){parameter}\s*(?::[^=]+)?=\s*{_LITERAL}"
            return f"The default of {question.parameter} of {question.name} is ", pattern
        if question.kind == "raises":
            pattern = r"^\s*raise\s+([\w.]+)|\b(\w+(?:Error|Exception|Warning|Iteration|Exit))\b"
            return f"{question.name} raises ", pattern
        if re.match(r"who\b", question.text, re.IGNORECASE):
            return "", r".*\b[A-Z][\w'.]+ [A-Z].*"
        if re.match(r"when\b|how (?:many|much|long|big|often)\b", question.text, re.IGNORECASE):
            return "", r".*\d.*"
        return "", r".+"


def _is_fruitless(done: _Outcome) -> bool:
    """Did a step fail, or find nothing?"""
    return not done.numbers or any(
        done.numbers.get(key) == 0 for key in ("passages", "extracted", "decided")
    )


def _tally_cell(tally: Tally, step: str, attempt: int) -> tuple[str, dict[str, object]]:
    """The cell that counts, or the one that submits the count."""
    if step == "submit_tally":
        return cells.SUBMIT_TALLY, {"what": tally.what, "per": tally.per}
    wider = attempt > 1
    flags = "(?im)" if wider else "(?m)"
    return cells.TALLY, {
        "pattern": flags + tally.pattern if tally.pattern else "",
        "per": tally.per,
        "without_strings": tally.code_only and not wider,
    }
