"""LongBench-v2: questions with four choices over long texts, from a file on disk."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from langchain_replm.errors import ConfigurationError
from langchain_replm.evals.scoring import published_letter
from langchain_replm.evals.tasks._base import CHARS_PER_TOKEN, check_request, shuffled
from langchain_replm.evals.tasks._files import Rows
from langchain_replm.evals.types import Example, Score

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ORIGIN = "The data is the Hugging Face data set THUDM/LongBench-v2 (data.json)."
_CHOICES = ("choice_A", "choice_B", "choice_C", "choice_D")
_KEPT = ("domain", "sub_domain", "difficulty", "length")
_FIELDS = ("_id", *_KEPT, "question", *_CHOICES, "answer", "context")


@dataclass(frozen=True)
class LongBenchV2:
    """The questions of LongBench-v2 (arXiv 2412.15204), from a copy of the data that you have.

    The CodeQA of the RLM paper is `domain="Code Repository Understanding"`. Each question has its
    own context; `context_tokens` is the most that one may have (four characters are a token), and
    there may be fewer rows than `count`.

    The score is the accuracy of the letter, as published: it is read from `The correct answer is
    (B)` only, a form for which the question asks (see `scoring.published_letter`).

    Args:
        path: The file `data.json`, or the same rows as JSONL or Parquet.
        domain: Only questions of this domain or sub-domain.
        difficulty: Only `"easy"` or `"hard"` ones.

    Raises:
        ConfigurationError: There is no such file, or its rows have other fields.
    """

    path: str | Path | None = None
    domain: str | None = None
    difficulty: str | None = None

    name: ClassVar[str] = "longbench-v2"

    def __post_init__(self) -> None:
        _ = self._rows

    @cached_property
    def _rows(self) -> Rows:
        return Rows(self.path, fields=_FIELDS, task=self.name, origin=_ORIGIN)

    @cached_property
    def _sizes(self) -> list[tuple[int, int]]:
        """Rows that are asked for, with the tokens of their contexts."""
        return [
            (at, len(row["context"]) // CHARS_PER_TOKEN)
            for at, row in enumerate(self._rows)
            if self.domain in {None, row["domain"], row["sub_domain"]}
            and self.difficulty in {None, row["difficulty"]}
        ]

    def examples(self, *, context_tokens: int, count: int, seed: int) -> Iterator[Example]:
        """Up to `count` rows of at most this size, chosen by the seed, one at a time.

        Raises:
            ConfigurationError: No row is that short, or the count is under 1.
        """
        check_request(self.name, context_tokens=context_tokens, least_tokens=1, count=count)
        fitting = [at for at, tokens in self._sizes if tokens <= context_tokens]
        if not fitting:
            shortest = min((tokens for _, tokens in self._sizes), default=None)
            known = "there are none at all" if shortest is None else f"the least is {shortest:,}"
            msg = f"No such question has a context of up to {context_tokens:,} tokens; {known}."
            raise ConfigurationError(msg)
        return map(self._example, shuffled(fitting, self.name, seed)[:count])

    def _example(self, at: int) -> Example:
        row = self._rows[at]
        if row["answer"] not in {"A", "B", "C", "D"}:
            self._rows.refuse(at, f"the answer {row['answer']!r} is no letter from A to D")
        options = "\n".join(f"({name[-1]}) {row[name]}" for name in _CHOICES)
        return Example(
            id=f"{self.name}-{row['_id']}",
            task=self.name,
            query=(
                f"{row['question']}\n{options}\n"
                'Answer in the form "The correct answer is (X)", where X is A, B, C or D.'
            ),
            context=row["context"],
            expected=row["answer"],
            context_tokens=len(row["context"]) // CHARS_PER_TOKEN,
            metadata={key: row[key] for key in _KEPT},
        )

    def score(self, example: Example, answer: str) -> Score:
        """1 if the letter is right, else 0."""
        letter = published_letter(answer)
        if letter is None:
            return Score(0, 'the answer does not say "The correct answer is (X)"')
        right = letter == example.expected
        return Score(1) if right else Score(0, f"{letter} is not {example.expected}")
