"""What a search for the words of the question finds, without any model."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from langchain_replm.evals.runners._base import Baseline
from langchain_replm.evals.runners._meter import Said
from langchain_replm.evals.runners._steps import step
from langchain_replm.extractive.words import STOP_WORDS, stem, words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.runnables import Runnable

    from langchain_replm.evals.runners._base import Question

K1, B = 1.5, 0.75
"""The usual constants of BM25 (Robertson and Zaragoza, "The Probabilistic Relevance Framework")."""

LEAST_STEM_CHARS = 3
LONG_LINE_CHARS = 300
MOST_PASSAGE_CHARS = 1_000

_NUMBER = r"[-+]?\d[\d,]*(?:\.\d+)?%?"
_PATTERNS: tuple[tuple[str, str], ...] = (
    (r"\bhow (?:many|much|often)\b|\bnumber|\bcode\b|\bcount\b|\bamount\b", _NUMBER),
    (r"\bwhen\b|\bdate\b|\bwhich (?:day|year|month)\b", r"\d{4}-\d\d-\d\d|\b[12]\d{3}\b"),
    (r"\bwho\b|\bwhose\b|\bname\b|\bwhere\b", r"[A-Z]\w+(?: [A-Z]\w+)*"),
)
"""What an answer looks like, by words of the question; the first that fits decides."""

_COUNT = re.compile(r"\bhow (?:many|often)\b", re.IGNORECASE)
_THINGS = re.compile(r"\b(?:line|row|entrie|record|item|time)s\b", re.IGNORECASE)


class Search(Baseline):
    """BM25 over sentences and lines, then a pattern for what kind of thing is asked.

    It is what a person does with a search box: the passages that share the rarest words with the
    question come first. From the best one it takes the first number, date or name that is not
    in the question, if the question asks for one; else the whole passage is the answer. For "how
    many lines/entries/times ..." it counts the passages that have every word of the question that
    occurs in the text. It knows nothing of any task, calls no model, and costs nothing; a task
    that it solves does not need a language model.
    """

    def chain(self, question: Question) -> Runnable[Any, Said]:
        """One look."""
        return step(lambda _: Said(find(question.query, question.text())))


def find(query: str, text: str) -> str:
    r"""The answer that a search gives; empty if no word of the question occurs.

    Example:
        ```python
        from langchain_replm.evals.runners.search import find

        text = "The code for the red door is 7741.\nThe code for the blue door is 1234."
        assert find("What is the code for the red door?", text) == "7741"
        ```
    """
    wanted = [stem(word) for word in dict.fromkeys(words(query)) if word not in STOP_WORDS]
    passages = list(split(text))
    found = [_counts(wanted, passage) for passage in passages]
    seen = Counter(term for counts in found for term in counts)
    if not seen:
        return ""
    if _COUNT.search(query) and _THINGS.search(query):
        every = set(seen)
        return str(sum(set(counts) == every for counts in found))
    lengths = [len(passage) for passage in passages]
    usual = sum(lengths) / len(lengths)
    rarity = {
        term: math.log(1 + (len(passages) - count + 0.5) / (count + 0.5))
        for term, count in seen.items()
    }
    scores = [
        sum(
            rarity[term] * count * (K1 + 1) / (count + K1 * (1 - B + B * length / usual))
            for term, count in counts.items()
        )
        for counts, length in zip(found, lengths, strict=True)
    ]
    best = max(range(len(passages)), key=scores.__getitem__)
    return extract(query, passages[best])


def split(text: str) -> Iterator[str]:
    """Lines of a text; the sentences of very long ones."""
    for line in text.splitlines():
        if not line.strip():
            continue
        if len(line) <= LONG_LINE_CHARS:
            yield line.strip()
        else:
            yield from filter(None, re.split(r"(?<=[.!?])\s+", line.strip()))


def extract(query: str, passage: str) -> str:
    """What in a passage looks like an answer to the question; else the passage."""
    asked = query.lower()
    for about, pattern in _PATTERNS:
        if re.search(about, asked):
            for candidate in re.findall(pattern, passage):
                if candidate.lower() not in asked:
                    return str(candidate).rstrip(",")
    return passage[:MOST_PASSAGE_CHARS]


def _counts(wanted: list[str], passage: str) -> Counter[str]:
    """How often each stem begins a word; a short one must be the word."""
    lower = passage.lower()
    here = [term for term in wanted if term in lower]
    if not here:
        return Counter()
    found: Counter[str] = Counter()
    for word in words(lower):
        for term in here:
            if word == term or (len(term) >= LEAST_STEM_CHARS and word.startswith(term)):
                found[term] += 1
    return found
