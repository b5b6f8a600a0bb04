"""Questions of your own, from a JSONL file."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, TypeAlias

from langchain_core.documents import Document
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from langchain_replm.errors import ConfigurationError
from langchain_replm.evals.scoring import SCORERS
from langchain_replm.evals.tasks._base import CHARS_PER_TOKEN, check_request, shuffled
from langchain_replm.evals.tasks._judge import Judge
from langchain_replm.evals.types import Example, Score

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.language_models import BaseChatModel

_SHOWN_LINES = 20
_NAMES = (*SCORERS, "judge")


_Text: TypeAlias = Annotated[str, Field(min_length=1)]
_TextOrTexts: TypeAlias = _Text | Annotated[list[_Text], Field(min_length=1)]


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    query: _Text
    expected: Any
    context: _TextOrTexts | None = None
    context_path: _TextOrTexts | None = None
    id: Annotated[str, BeforeValidator(str)] = ""
    metadata: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _has_one_context(self) -> Self:
        if (self.context is None) is (self.context_path is None):
            msg = "it needs either context or context_path"
            raise ValueError(msg)
        return self

    @property
    def paths(self) -> list[str]:
        return _several(self.context_path)


@dataclass(frozen=True)
class Questions:
    """Questions of your own, one JSON object on a line.

    Each has `query`, `expected`, and either `context` (a text, or a list of texts) or
    `context_path` (a UTF-8 text file, or a list of them, which become `Document`s with their
    `path`; relative to the JSONL file). `id` (else the number of the line) and `metadata` (an
    object) may be given.

    What `expected` must be depends on the scorer: a number for `number`; a letter from A to D for
    `choice`; a list of texts for `set_f1`; a text, or a list of texts of which any is right, for
    `exact`, `contains` and `f1`; any JSON for `judge`. See `langchain_replm.evals.scoring`.

    Contexts are taken as they are, whatever `context_tokens` says; an example's own
    `context_tokens` is the size of its context, where four characters are a token.

    Args:
        path: The JSONL file.
        scorer: `exact`, `contains`, `number`, `f1`, `set_f1`, `choice` or `judge`.
        judge: The chat model that the scorer `judge` asks, or its name.

    Raises:
        ConfigurationError: There is no such file or scorer, the judge is missing, or lines are
            wrong; each wrong line is named with its number.

    Example:
        ```python
        import tempfile
        from pathlib import Path

        from langchain_replm.evals.tasks import task

        line = '{"query": "Who fell?", "expected": "the clerk", "context": "The clerk fell."}'
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "mine.jsonl")
            path.write_text(line)
            mine = task("questions", path=path, scorer="contains")
        [example] = mine.examples(context_tokens=0, count=5, seed=0)
        assert mine.score(example, "It was the clerk.").value == 1
        ```
    """

    path: str | Path | None = None
    scorer: str = "contains"
    judge: BaseChatModel | str | None = None

    name: ClassVar[str] = "questions"
    has_sizes: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.scorer not in _NAMES:
            msg = f"scorer is one of {', '.join(_NAMES)}, not {self.scorer!r}."
            raise ConfigurationError(msg)
        if (self.scorer == "judge") is (self.judge is None):
            msg = "The scorer 'judge' needs judge=, a chat model; no other scorer takes one."
            raise ConfigurationError(msg)
        _ = self._lines, self._judge

    @cached_property
    def _judge(self) -> Judge | None:
        return None if self.judge is None else Judge(self.judge)

    @cached_property
    def _lines(self) -> list[_Line]:
        """The questions; texts in files are read later."""
        if self.path is None or not Path(self.path).is_file():
            msg = f"The task 'questions' needs path=, a JSONL file; {self.path!r} is none."
            raise ConfigurationError(msg)
        found: list[_Line] = []
        wrong: list[str] = []
        with Path(self.path).open("rb") as opened:
            for number, text in enumerate(opened, 1):
                if text.strip():
                    try:
                        found.append(self._line(text, number))
                    except ValueError as error:
                        wrong.append(f"line {number}: {error}")
        ids = Counter(line.id for line in found)
        wrong += [
            f"the id {name!r} occurs {times} times" for name, times in ids.items() if times > 1
        ]
        if wrong or not found:
            more = f"\nand {len(wrong) - _SHOWN_LINES} more" if len(wrong) > _SHOWN_LINES else ""
            listed = "\n".join(wrong[:_SHOWN_LINES]) or "it has no lines"
            msg = f"{Path(self.path).name!r} cannot be used:\n{listed}{more}"
            raise ConfigurationError(msg)
        return found

    def _line(self, text: bytes, number: int) -> _Line:
        """The line, with an id; `ValueError` says what is wrong with it."""
        try:
            line = _Line.model_validate_json(text)
        except ValidationError as error:
            problems = (
                ": ".join(filter(None, (".".join(map(str, each["loc"])), each["msg"])))
                for each in error.errors(include_url=False)
            )
            raise ValueError("; ".join(problems)) from error
        if problem := _problem_of_expected(self.scorer, line.expected):
            raise ValueError(problem)
        for name in line.paths:
            if not self._file(name).is_file():
                msg = f"context_path: there is no file {name!r}"
                raise ValueError(msg)
        return line if line.id else line.model_copy(update={"id": str(number)})

    def _file(self, name: str) -> Path:
        return Path(str(self.path)).parent / name

    def examples(self, *, context_tokens: int, count: int, seed: int) -> Iterator[Example]:
        """Up to `count` questions, chosen by the seed, one at a time; the size is not used.

        Raises:
            ConfigurationError: The count is under 1; or, when its example is asked for, a file is
                not UTF-8 text.
        """
        check_request(self.name, context_tokens=context_tokens, least_tokens=0, count=count)
        chosen = shuffled(range(len(self._lines)), self.name, seed)[:count]
        return (self._example(self._lines[at]) for at in chosen)

    def _example(self, line: _Line) -> Example:
        texts = [_read(self._file(name)) for name in line.paths] or _several(line.context)
        context: str | list[str] | list[Document] = texts
        if isinstance(line.context_path, list):
            context = _documents(line.paths, texts)
        elif not isinstance(line.context, list):
            [context] = texts
        return Example(
            id=f"{self.name}-{line.id}",
            task=self.name,
            query=line.query,
            context=context,
            expected=line.expected,
            context_tokens=sum(map(len, texts)) // CHARS_PER_TOKEN,
            metadata={**line.metadata, "scorer": self.scorer},
        )

    def score(self, example: Example, answer: str) -> Score:
        """What the scorer says."""
        if self._judge is not None:
            return self._judge.score(example.query, example.expected, answer)
        return SCORERS[self.scorer](answer, example.expected)


def _several(value: str | list[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else value or []


def _documents(names: list[str], texts: list[str]) -> list[Document]:
    pairs = zip(names, texts, strict=True)
    return [Document(id=name, page_content=text, metadata={"path": name}) for name, text in pairs]


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{file.name!r} cannot be read as UTF-8 text: {error}"
        raise ConfigurationError(msg) from error


def _texts(value: object) -> bool:
    """Whether it is a text that is not empty, or a list of such."""
    several = value if isinstance(value, list) else [value]
    return bool(several) and all(isinstance(text, str) and text for text in several)


def _problem_of_expected(scorer: str, expected: object) -> str:
    """What is wrong with the answer for this scorer."""
    if expected is None or scorer == "judge":
        return "" if expected is not None else "expected: it must not be null"
    if scorer == "number":
        return "" if _is_number(expected) else "expected: it must be a number"
    if scorer == "choice":
        return "" if expected in ("A", "B", "C", "D") else "expected: it must be A, B, C or D"
    if scorer == "set_f1" and not isinstance(expected, list):
        return "expected: it must be a list of texts"
    return "" if _texts(expected) else "expected: it must be a text or a list of texts"


def _is_number(value: object) -> bool:
    try:
        return not isinstance(value, bool) and Decimal(str(value)).is_finite()
    except InvalidOperation:
        return False
