"""The sub-model's role: read one passage, return the line that answers, or `NOT FOUND`."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from langchain_replm.extractive.questions import read_question
from langchain_replm.extractive.words import matched, pieces, terms

if TYPE_CHECKING:
    from langchain_replm.extractive.questions import Question

NOT_FOUND = "NOT FOUND"

# How much a term counts that stands near a line and not in it, and how near that is.
_NEAR_WEIGHT = 0.4
_NEAR_BEFORE, _NEAR_AFTER = 3, 1
# Of the weight of all terms of a question, how much the best line and its neighbours must hold.
_MIN_SHARE_FREE = 0.4
_MIN_SHARE_CUED = {"default": 0.0, "where": 0.0, "raises": 0.2, "returns": 0.2, "free": 0.3}
_MIN_OWN_SHARE = 0.15
_FOCUS_WEIGHT = 0.25

_PASSAGES = (
    re.compile(r"(?si)<(passage|text|document|context)\b[^>]*>\n?(?P<body>.*?)</\1\b"),
    re.compile(r"^(```+|~~~+)[^\n]*\n(?P<body>.*?)^\1", re.DOTALL | re.MULTILINE),
    re.compile(r"(\"\"\")(?P<body>.*?)\1", re.DOTALL),
)
_AFTER_LABEL = re.compile(
    r"^(?:passage|text|document|context|excerpt)\b[^\n:]{0,120}:[ \t]*\n?(?P<body>.*)\Z",
    re.DOTALL | re.MULTILINE | re.IGNORECASE,
)
_TITLE = re.compile(
    r"<(?:passage|text|document|context)\b[^>]*?\"(?P<title>[^\"]*)\"", re.IGNORECASE
)
_QUESTION = re.compile(r"(?mi)^(?:question|query)[ \t]*:[ \t]*(?P<body>[^\n]+)")


def split_prompt(prompt: str) -> tuple[str, str]:
    r"""The question and the passage of a prompt in any usual form.

    The passage is the longest tagged, fenced or triple-quoted part; else what follows a
    `Passage:` line; else everything but the question.

    Example:
        ```python
        assert split_prompt("Question: who?\nPassage:\nAda did.") == ("who?", "Ada did.")
        ```
    """
    bodies = [found for pattern in _PASSAGES for found in pattern.finditer(prompt)]
    passage = max(bodies, key=lambda found: len(found["body"]), default=None)
    passage = passage or _AFTER_LABEL.search(prompt)
    rest = prompt if passage is None else prompt[: passage.start()] + "\n" + prompt[passage.end() :]
    asked = _QUESTION.search(rest)
    if asked is not None:
        question = asked["body"]
    else:
        asked = next(iter(re.finditer(r"[^.?!\n]+\?", rest)), None)
        question = asked[0] if asked is not None else rest
    if passage is not None:
        return question.strip(), passage["body"].strip("\n")
    return question.strip(), rest.replace(question, "", 1).strip("\n")


def _cue(question: Question) -> re.Pattern[str] | None:
    """What the answering line must look like, for the kinds of question where that is known."""
    name = re.escape(question.name)
    if question.kind == "default":
        parameter = re.escape(question.parameter)
        return re.compile(
            rf"(?<![\w.]){parameter}\s*(?::[^=,()]+)?=(?!=)|{parameter}\b.*\bdefault", re.IGNORECASE
        )
    if question.kind == "raises":
        return re.compile(
            r"^\s*raise\s+\w|\b[Rr]aises?\b.*(?:Error|Exception|Warning)\b|:raises?\b"
        )
    if question.kind == "returns":
        return re.compile(r"^\s*(?:return|yield)\s+\S|\b[Rr]eturns?\b")
    if question.kind == "where":
        return re.compile(rf"^\s*(?:(?:async\s+)?def|class)\s+{name}\b|^\s*{name}\s*(?::[^=]+)?=")
    if re.match(r"(?:when|what year|in (?:what|which) year)\b", question.text, re.IGNORECASE):
        return re.compile(r"\d")
    return None


def _focus(question: Question) -> str:
    """The term of the thing asked for: `period` in "what is the period of ...?"."""
    found = re.match(
        r"(?:what|which)(?: (?:is|are|was|were))?(?: the)? (\w+)", question.text, re.IGNORECASE
    )
    term = "".join(terms(found[1])[:1]) if found is not None else ""
    return term if term in question.terms else ""


def _weights(question: Question, held: list[set[str]]) -> dict[str, float]:
    """A term that stands in few lines of the passage tells more about the one it stands in."""
    return {
        term: 1 / (1 + math.log(max(1, sum(term in found for found in held))))
        for term in question.terms
    }


def _manner(question: Question, line: str, held: set[str]) -> float:
    """How much a line looks like an answer, apart from the terms it holds."""
    manner = 0.0
    if _focus(question) in held:
        manner += _FOCUS_WEIGHT
    if re.match(r"who\b", question.text, re.IGNORECASE) and re.search(
        r"\b[A-Z][\w']+ [A-Z][\w']+", line
    ):
        manner += _FOCUS_WEIGHT
    if line.rstrip().endswith((":", "?")) and question.kind == "free":
        manner -= 0.15  # a heading announces an answer, a question asks for one
    if len(line.split()) > len(held) + 1:
        manner += 0.05  # a line that only repeats the question answers less than one that says more
    return manner


def _best_line(question: Question, passage: str, title: str) -> tuple[float, str]:
    """The share of the question's terms that the best line stands for, and that line."""
    lines = pieces(passage)
    cue = _cue(question)
    held = [matched(question.terms, line) for line in lines]
    weights = _weights(question, held)
    total = sum(weights.values())
    titled = matched(question.terms, title)
    best = (-1.0, 0.0, "")
    for i, line in enumerate(lines):
        own = sum(weights[term] for term in held[i]) / total
        if not line.strip() or (not cue.search(line) if cue else own < _MIN_OWN_SHARE):
            continue
        around = titled.union(*held[max(0, i - _NEAR_BEFORE) : i + _NEAR_AFTER + 1]) - held[i]
        if cue is None and len(held[i] | around) < min(2, len(weights)):
            continue  # one word alone is a coincidence
        share = own + _NEAR_WEIGHT * sum(weights[term] for term in around) / total
        # A statement in the code decides; a sentence about it in a docstring comes second.
        states = 0.1 if cue and re.match(r"\s*(?:raise|return|def|class)\b", line) else 0.0
        best = max(best, (share + states + _manner(question, line, held[i]), share, line.strip()))
    return best[1:]


def read_passage(prompt: str) -> str:
    r"""Answer a prompt that holds a question and a passage: the best line, verbatim.

    Returns:
        One line of the passage without its indentation, or `NOT FOUND`.

    Example:
        ```python
        prompt = "Question: What is the default of n of f?\nPassage:\ndef f(a, n=3):\n    return a"
        assert read_passage(prompt) == "def f(a, n=3):"
        ```
    """
    asked, passage = split_prompt(prompt)
    question = read_question(asked)
    if not question.terms:
        return NOT_FOUND
    titled = _TITLE.search(prompt)
    share, line = _best_line(question, passage, titled["title"] if titled is not None else "")
    # Where the form of the answer is known (a signature, a raise), it is most of the evidence.
    needed = _MIN_SHARE_FREE if _cue(question) is None else _MIN_SHARE_CUED[question.kind]
    return line if line and share >= needed else NOT_FOUND
