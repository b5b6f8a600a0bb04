"""BrowseComp-Plus: hard questions over many web pages, from a file on disk."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from langchain_core.documents import Document

from langchain_replm.errors import ConfigurationError
from langchain_replm.evals.scoring import contains
from langchain_replm.evals.tasks._base import CHARS_PER_TOKEN, check_request, rng_for, shuffled
from langchain_replm.evals.tasks._files import Row, Rows
from langchain_replm.evals.tasks._judge import Judge
from langchain_replm.evals.types import Example, Score

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path

    from langchain_core.language_models import BaseChatModel

_ORIGIN = (
    "The data is the Hugging Face data set Tevatron/browsecomp-plus, decrypted by the script in "
    "the repository texttron/BrowseComp-Plus to browsecomp_plus_decrypted.jsonl."
)
_NEEDED = ("gold_docs", "evidence_docs")
_FIELDS = ("query_id", "query", "answer", *_NEEDED, "negative_docs")
_CIPHER = re.compile(r"[A-Za-z0-9+/]{24,}={0,2}")
_FULL = 0.98
"""Where no more documents are looked for."""
_MOST_OTHER_ROWS = 50
"""Each has some 80 documents; a rest that only a tiny one would fill is left open."""


@dataclass(frozen=True)
class BrowseCompPlus:
    """The questions of BrowseComp-Plus (arXiv 2508.06600), from a copy of the data that you have.

    The context is a list of `Document`s in random order: all that hold the answer or evidence, then
    the question's own hard negatives, then documents of other questions, until there are
    `context_tokens` (four characters are a token) or no more documents. The RLM paper takes 1,000
    documents, some eight million tokens. A question whose needed documents do not fit is left out,
    so there may be fewer examples than `count`.

    With `judge`, a chat model compares the answer with the reference, as the authors do it (by a
    prompt of ours); without one the reference must stand in the answer, as whole words. Which of
    the two it was is in the metadata, as `scorer`.

    Args:
        path: The decrypted JSONL file, or the same rows as JSON or Parquet.
        judge: A chat model, or its name.

    Raises:
        ConfigurationError: There is no such file, its rows have other fields or are still
            encrypted, or the judge is no chat model.
    """

    path: str | Path | None = None
    judge: BaseChatModel | str | None = None

    name: ClassVar[str] = "browsecomp-plus"

    def __post_init__(self) -> None:
        if _CIPHER.fullmatch(self._rows[0]["query"]):
            self._rows.refuse(0, "the query is still encrypted")
        _ = self._judge

    @cached_property
    def _rows(self) -> Rows:
        return Rows(self.path, fields=_FIELDS, task=self.name, origin=_ORIGIN)

    @cached_property
    def _judge(self) -> Judge | None:
        return None if self.judge is None else Judge(self.judge)

    def examples(self, *, context_tokens: int, count: int, seed: int) -> Iterator[Example]:
        """Up to `count` questions whose needed documents fit, chosen by the seed, one at a time.

        Raises:
            ConfigurationError: The count is under 1; or, when the first example is asked for, no
                question fits.
        """
        check_request(self.name, context_tokens=context_tokens, least_tokens=1, count=count)
        return self._fitting(context_tokens, count, seed)

    def _fitting(self, context_tokens: int, count: int, seed: int) -> Iterator[Example]:
        made = 0
        for at in shuffled(range(len(self._rows)), self.name, seed):
            row = self._rows[at]
            needed = _documents(row, *_NEEDED)
            size = sum(len(each.page_content) for each in needed.values())
            if not needed:
                self._rows.refuse(at, "it has neither gold nor evidence documents")
            if size > context_tokens * CHARS_PER_TOKEN:
                continue
            yield self._example(row, needed, context_tokens, seed)
            made += 1
            if made == count:
                return
        if not made:
            msg = (
                f"The documents that a question needs have more than {context_tokens:,} tokens for "
                "each question of the file. Ask for a larger context."
            )
            raise ConfigurationError(msg)

    def _example(
        self, row: Row, needed: dict[str, Document], context_tokens: int, seed: int
    ) -> Example:
        rng = rng_for(self.name, seed, row["query_id"])
        chosen = dict(needed)
        left = context_tokens * CHARS_PER_TOKEN
        left -= sum(len(document.page_content) for document in needed.values())
        for key, document in self._others(row, rng):
            if left < (1 - _FULL) * context_tokens * CHARS_PER_TOKEN:
                break
            if key not in chosen and len(document.page_content) <= left:
                chosen[key] = document
                left -= len(document.page_content)
        documents = list(chosen.values())
        rng.shuffle(documents)
        return Example(
            id=f"{self.name}-{context_tokens}-{seed}-{row['query_id']}",
            task=self.name,
            query=row["query"],
            context=documents,
            expected=row["answer"],
            context_tokens=context_tokens,
            metadata={
                "query_id": row["query_id"],
                "documents": len(documents),
                "evidence": list(needed),
                "scorer": "judge" if self._judge else "contains",
            },
        )

    def _others(self, row: Row, rng: random.Random) -> Iterator[tuple[str, Document]]:
        """Documents that the question does not need: its own hard negatives first."""
        negatives = list(_documents(row, "negative_docs").items())
        yield from rng.sample(negatives, len(negatives))
        others = range(len(self._rows))
        for at in rng.sample(others, min(len(others), _MOST_OTHER_ROWS)):
            yield from _documents(self._rows[at], *_NEEDED, "negative_docs").items()

    def score(self, example: Example, answer: str) -> Score:
        """What the judge says; without one, 1 if the reference stands in the answer."""
        if self._judge is not None:
            return self._judge.score(example.query, example.expected, answer)
        return contains(answer, example.expected)


def _documents(row: Row, *fields: str) -> dict[str, Document]:
    """Documents of the row by their ids."""
    found: dict[str, Document] = {}
    for each in (each for name in fields for each in row[name] or ()):
        metadata: dict[str, Any] = {k: v for k, v in each.items() if k != "text" and v is not None}
        key = str(each["docid"])
        found[key] = Document(id=key, page_content=each["text"], metadata=metadata)
    return found
