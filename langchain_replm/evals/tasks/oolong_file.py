"""OOLONG itself: the synthetic half of the published data set, from a file on disk."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from langchain_replm._reply._python import syntax_tree
from langchain_replm.errors import ConfigurationError
from langchain_replm.evals.scoring_oolong import oolong
from langchain_replm.evals.tasks._base import check_request, shuffled
from langchain_replm.evals.tasks._files import Row, Rows
from langchain_replm.evals.types import Example, Score

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ORIGIN = (
    "The data is the Hugging Face data set oolongbench/oolong-synth; the RLM paper uses the rows "
    "of its validation split whose dataset is trec_coarse."
)
_FIELDS = (
    "id", "context_len", "dataset", "context_window_text", "question", "answer", "answer_type",
)  # fmt: skip
_DATE = re.compile(r"\[datetime\.date\((\d+), (\d+), (\d+)\)\]")


@dataclass(frozen=True)
class OolongFile:
    """The questions of OOLONG (arXiv 2511.02817), from a copy of the data set that you have.

    `context_tokens` chooses rows by their `context_len` (1,024 to 4,194,304, by the tokenizer of
    its authors). The context never has the labels. There may be fewer rows than `count`.

    Scoring is that of `oolong`.

    Args:
        path: Parquet or JSONL file of `oolongbench/oolong-synth`, or a directory of such files.
        dataset: Only rows of this source, such as `trec_coarse`.

    Raises:
        ConfigurationError: There is no such file, or its rows have other fields.
    """

    path: str | Path | None = None
    dataset: str | None = None

    name: ClassVar[str] = "oolong-file"

    def __post_init__(self) -> None:
        _ = self._rows

    @cached_property
    def _rows(self) -> Rows:
        return Rows(self.path, fields=_FIELDS, task=self.name, origin=_ORIGIN)

    @cached_property
    def _by_length(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for at, row in enumerate(self._rows):
            if self.dataset in {None, row["dataset"]}:
                found.setdefault(int(row["context_len"]), []).append(at)
        return found

    def examples(self, *, context_tokens: int, count: int, seed: int) -> Iterator[Example]:
        """Up to `count` rows with this `context_len`, chosen by the seed, one at a time.

        Raises:
            ConfigurationError: There is no row of this length, or the count is under 1.
        """
        check_request(self.name, context_tokens=context_tokens, least_tokens=1, count=count)
        if context_tokens not in self._by_length:
            lengths = ", ".join(f"{length:,}" for length in sorted(self._by_length))
            msg = f"There are no rows with context_len={context_tokens:,}, but with: {lengths}."
            raise ConfigurationError(msg)
        chosen = shuffled(self._by_length[context_tokens], self.name, seed)[:count]
        return map(self._example, chosen)

    def _example(self, at: int) -> Example:
        row = self._rows[at]
        kind = str(row["answer_type"]).removeprefix("ANSWER_TYPE.")
        kept = ("id", "dataset", "task", "task_group", "context_window_id")
        return Example(
            id=f"{self.name}-{row['context_len']}-{row['id']}",
            task=self.name,
            query=row["question"],
            context=row["context_window_text"],
            expected=self._truth(at, row),
            context_tokens=int(row["context_len"]),
            metadata={"answer_type": kind, **{key: row[key] for key in kept if key in row}},
        )

    def _truth(self, at: int, row: Row) -> str | int:
        """The first item of the list that the field holds as text."""
        text = str(row["answer"])
        if found := _DATE.fullmatch(text):
            return str(date(*map(int, found.groups())))
        try:
            truth = ast.literal_eval(syntax_tree(text, "eval"))[0]
        except (ValueError, SyntaxError, IndexError, TypeError, KeyError):
            why = f"the answer {text!r} is not a list with an item"
            self._rows.refuse(at, why)
        return truth if isinstance(truth, int) else str(truth)

    def score(self, example: Example, answer: str) -> Score:
        """0.75 to the power of the error for numbers; 1 or 0 for everything else."""
        return oolong(answer, example.expected, example.metadata["answer_type"])
