"""Questions about a repository of code, in the shape of CodeQA."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from langchain_core.documents import Document

from langchain_replm.errors import ConfigurationError
from langchain_replm.evals.scoring import choice, number, set_f1
from langchain_replm.evals.tasks._base import CHARS_PER_TOKEN, GeneratedTask
from langchain_replm.evals.tasks._code_questions import FAMILIES, Question
from langchain_replm.evals.tasks._repository import Repository, standard_library
from langchain_replm.evals.types import Example, Score

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path

Form = Literal["choice", "free", "both"]

_LETTERS = "ABCD"
_ABOUT = (
    "The data is a set of Python files; each begins with a comment that gives its path. What is "
    "inside of an `if`, a `try` or another block does not stand at the top level of a file. "
)
_ASK_CHOICE = 'Answer in the form "The correct answer is (X)", where X is A, B, C or D.'
_ASK_FREE = {
    str: "Answer with the name or path alone.",
    int: "Answer with the number alone.",
    list: "Answer with the names alone, separated by commas.",
}


@dataclass(frozen=True)
class Code(GeneratedTask):
    """Where is it defined, who calls it, how many import it? Over real code.

    In the shape of the code repository questions of LongBench-v2 (arXiv 2412.15204), which the RLM
    paper calls CodeQA: whole files of the standard library of the Python that runs, as `Document`s
    with their `path` in the metadata, or of a directory of yours. What is right is computed from
    their syntax trees. Ten families of questions take turns; some need one place, some two files,
    some all of them. Equal for equal Python versions (or equal directories).

    Half of the questions give four choices; these are scored by the letter (see `scoring.choice`).
    The others are free: a name or path has to be in the answer, and none of those that would have
    been the other choices; numbers have to be equal; several names are scored by F1.

    Args:
        directory: Code of yours; only its Python files are read.
        form: `"choice"`, `"free"` or `"both"`, in turns.

    Raises:
        ConfigurationError: There is no such directory, it has no Python files, or an example asks
            for more than they have.

    Example:
        ```python
        from langchain_replm.evals.tasks import task

        code = task("code", form="free")
        [example] = code.examples(context_tokens=2**14, count=1, seed=0)
        print(example.query, example.expected, len(example.context))
        ```
    """

    directory: str | Path | None = None
    form: Form = "both"

    name: ClassVar[str] = "code"
    least_tokens: ClassVar[int] = 2000

    def __post_init__(self) -> None:
        if self.form not in get_args(Form):
            msg = f"form is one of {', '.join(get_args(Form))}, not {self.form!r}."
            raise ConfigurationError(msg)
        _ = self._repository

    @cached_property
    def _repository(self) -> Repository:
        return standard_library() if self.directory is None else Repository(self.directory)

    def examples(self, *, context_tokens: int, count: int, seed: int) -> Iterator[Example]:
        """Make `count` examples of `context_tokens` each (four characters are a token), lazily.

        Raises:
            ConfigurationError: The size is under `least_tokens` or over what all files have, or
                the count is under 1.
        """
        if context_tokens > self._repository.tokens:
            msg = (
                f"All Python files have {self._repository.tokens:,} tokens together; "
                f"context_tokens={context_tokens:,} is more. Give a larger directory."
            )
            raise ConfigurationError(msg)
        return super().examples(context_tokens=context_tokens, count=count, seed=seed)

    def make(self, context_tokens: int, seed: int, index: int) -> Example:
        """The example at this position, which decides family and form of its question."""
        rng = self._rng(context_tokens, seed, index)
        files = self._repository.choose(rng, context_tokens * CHARS_PER_TOKEN)
        turn = (index + index // len(FAMILIES)) % 2 == 0
        wants_choice = self.form == "choice" or (self.form == "both" and turn)
        names = list(FAMILIES)
        for at in range(len(names)):
            family = names[(index + at) % len(names)]
            question = FAMILIES[family](rng, files)
            options = _options(rng, question) if question and wants_choice else []
            if question and (options or not wants_choice):
                break
        else:
            msg = f"These {len(files)} files answer no question of ours; ask for a larger context."
            raise ConfigurationError(msg)
        truth = question.truth
        metadata = {
            "family": family,
            "form": "choice" if options else "free",
            "files": len(files),
            "python": platform.python_version(),
            "answer": truth,
            "rivals": [] if options else question.rivals[:3],
        }
        return Example(
            id=self._id(context_tokens, seed, index),
            task=self.name,
            query=f"{_ABOUT}{question.text} {_asked(question, options)}",
            context=[self._document(file.path) for file in files],
            expected=_LETTERS[options.index(str(truth))] if options else truth,
            context_tokens=context_tokens,
            metadata=metadata,
        )

    def _document(self, path: str) -> Document:
        return Document(id=path, page_content=self._repository.text(path), metadata={"path": path})

    def score(self, example: Example, answer: str) -> Score:
        """1 or 0 for letters, names and numbers; F1 for several names."""
        truth = example.expected
        if example.metadata["form"] == "choice":
            return choice(answer, truth)
        if isinstance(truth, int):
            return number(answer, truth)
        if isinstance(truth, list):
            return set_f1(answer.replace("`", ""), truth)
        return _named(answer, truth, example.metadata["rivals"])


def _options(rng: random.Random, question: Question) -> list[str]:
    """Four choices in random order; none if there are not three wrong ones."""
    truth = question.truth
    if isinstance(truth, int):
        near = {truth + step for step in (-3, -2, -1, 1, 2, 3)} | {2 * truth}
        rivals = [str(wrong) for wrong in sorted(near - {truth}) if wrong >= 0]
        rivals = rng.sample(rivals, 3)
    else:
        rivals = question.rivals[:3]
    if isinstance(truth, list) or len(rivals) < len(_LETTERS) - 1:
        return []
    options = [str(truth), *rivals]
    rng.shuffle(options)
    return options


def _asked(question: Question, options: list[str]) -> str:
    if not options:
        return _ASK_FREE[type(question.truth)]
    listed = "\n".join(f"({at}) {text}" for at, text in zip(_LETTERS, options, strict=True))
    return f"\n{listed}\n{_ASK_CHOICE}"


def _named(answer: str, truth: str, rivals: list[str]) -> Score:
    said = {word.rstrip(".").removeprefix("./") for word in re.findall(r"[\w./-]+", answer)}
    if truth not in said:
        return Score(0, f"{truth!r} is not in the answer")
    wrong = [rival for rival in rivals if rival in said]
    return Score(0, f"the answer also names {wrong[0]!r}") if wrong else Score(1)
