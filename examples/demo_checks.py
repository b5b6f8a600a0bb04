"""The demo's own questions, and the truth about them, computed another way than the run does.

The run counts with regular expressions and lets a model read. The checks parse the same text with
`ast` and ask the running interpreter. No answer is written down here.
"""

from __future__ import annotations

import ast
import json
import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Documents = dict[str, str]
"""Source path to text."""

_EVIDENCE = re.compile(
    r"^[\s>*`-]*(?P<source>[^\s:`][^:\n]*):(?P<line>\d+):\s?(?P<quote>.+?)`?\s*$", re.MULTILINE
)


@dataclass(frozen=True)
class Verdict:
    """Is an answer right, and how do we know?"""

    right: bool
    why: str


@dataclass(frozen=True)
class Asked:
    """A question with the check of its answer; `check` is None for a user's own question."""

    question: str
    check: Callable[[str, Documents], Verdict] | None = None
    needs_evidence: bool = True


def judge(asked: Asked, answer: str, documents: Documents) -> Verdict:
    """Compare an answer with the truth, and its quoted lines with the text.

    Every line of the form `path:line: quote` must stand at that place, verbatim.
    """
    quotes = [found for found in _EVIDENCE.finditer(answer) if _is_place(found, documents)]
    wrong = [found[0].strip() for found in quotes if not _stands(found, documents)]
    if wrong:
        return Verdict(right=False, why=f"not in the text at that place: {wrong[0][:120]}")
    quoted = f"{len(quotes)} quoted line(s) stand verbatim where the answer says"
    if asked.check is None:
        return Verdict(right=bool(quotes), why=quoted if quotes else "no line is quoted")
    if asked.needs_evidence and not quotes:
        return Verdict(right=False, why="the answer quotes no line as `path:line: text`")
    truth = asked.check(answer, documents)
    return Verdict(truth.right, f"{truth.why}; {quoted}" if quotes else truth.why)


def _is_place(found: re.Match[str], documents: Documents) -> bool:
    """Tell `json/decoder.py:12: text` from "at 10:30: text"."""
    source = found["source"].strip()
    return source in documents or re.fullmatch(r"\S*[./]\S*", source) is not None


def _stands(found: re.Match[str], documents: Documents) -> bool:
    lines = documents.get(found["source"].strip(), "").split("\n")
    number = int(found["line"])
    return number <= len(lines) and found["quote"].strip() in lines[number - 1]


def _has(answer: str, value: str) -> bool:
    return re.search(rf"(?<![\w.]){re.escape(value)}(?!\w)", answer) is not None


def _first_number(answer: str) -> int | None:
    found = re.search(r"\d[\d,]*", answer)
    return int(found[0].replace(",", "")) if found else None


def _trees(documents: Documents, needle: str) -> Iterator[tuple[str, ast.Module]]:
    """Syntax trees of the Python sources that hold a word."""
    for source, text in documents.items():
        if source.endswith(".py") and needle in text:
            try:
                yield source, ast.parse(text)
            except SyntaxError:
                continue


def _function(documents: Documents, source: str, name: str) -> ast.FunctionDef:
    for node in ast.walk(ast.parse(documents[source])):
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return node
    msg = f"{source} has no function {name}"
    raise LookupError(msg)


def default_of(source: str, function: str, parameter: str) -> Callable[[str, Documents], Verdict]:
    """The default of a parameter, from the syntax tree."""

    def check(answer: str, documents: Documents) -> Verdict:
        arguments = _function(documents, source, function).args
        positional = [*arguments.posonlyargs, *arguments.args]
        given = positional[len(positional) - len(arguments.defaults) :]
        pairs = [*zip(given, arguments.defaults, strict=True)]
        pairs += [(a, d) for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults) if d]  # noqa: B905
        truth = next(ast.unparse(default) for name, default in pairs if name.arg == parameter)
        return Verdict(_has(answer.partition("\n")[0], truth), f"the syntax tree says {truth}")

    return check


def raised_by(
    source: str, function: str, call: Callable[[], object]
) -> Callable[[str, Documents], Verdict]:
    """The exception a call really raises, and a `raise` of it in the function's syntax tree."""

    def check(answer: str, documents: Documents) -> Verdict:
        try:
            call()
            truth = "nothing"
        except Exception as error:  # noqa: BLE001 - which one it is, is the question
            truth = type(error).__name__
        body = _function(documents, source, function)
        lines = {
            node.lineno
            for node in ast.walk(body)
            if isinstance(node, ast.Raise) and node.exc and truth in ast.unparse(node.exc)
        }
        quoted = {int(found["line"]) for found in _EVIDENCE.finditer(answer)}
        right = _has(answer.partition("\n")[0], truth) and bool(quoted & lines)
        return Verdict(right, f"the call raises {truth}, in lines {sorted(lines)} of {source}")

    return check


def class_place(name: str) -> Callable[[str, Documents], Verdict]:
    """Every place where a class is defined, from the syntax trees of the whole text."""

    def check(answer: str, documents: Documents) -> Verdict:
        truth = {
            (source, node.lineno)
            for source, tree in _trees(documents, name)
            for node in ast.walk(tree)
            if isinstance(node, ast.ClassDef) and node.name == name
        }
        said = {(f["source"].strip(), int(f["line"])) for f in _EVIDENCE.finditer(answer)}
        places = ", ".join(f"{source}:{line}" for source, line in sorted(truth))
        return Verdict(bool(truth) and said == truth, f"syntax trees define it in {places}")

    return check


def twister_period(answer: str, _documents: Documents) -> Verdict:
    """The period follows from the size of the generator's state: words times bits, less 31."""
    words = len(random.Random(1).getstate()[1]) - 1  # noqa: S311 - the last item is a position
    truth = f"2**{words * 32 - 31}-1"
    said = re.sub(r"\s", "", answer).replace("^", "**")
    return Verdict(truth in said, f"a state of {words} words of 32 bits gives {truth}")


def functions_named(name: str) -> Callable[[str, Documents], Verdict]:
    """How many modules define a function at module level, from the syntax trees."""

    def check(answer: str, documents: Documents) -> Verdict:
        truth = sum(
            any(
                isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                and (node.name, node.col_offset) == (name, 0)
                for node in ast.walk(tree)
            )
            for _, tree in _trees(documents, name)
        )
        return Verdict(_first_number(answer) == truth, f"syntax trees count {truth}")

    return check


def subclasses_of(base: str) -> Callable[[str, Documents], Verdict]:
    """How many classes name a class as their direct base, from the syntax trees."""

    def check(answer: str, documents: Documents) -> Verdict:
        truth = sum(
            isinstance(node, ast.ClassDef)
            and any(isinstance(b, ast.Name) and b.id == base for b in node.bases)
            for _, tree in _trees(documents, base)
            for node in ast.walk(tree)
        )
        return Verdict(_first_number(answer) == truth, f"syntax trees count {truth}")

    return check


DEFAULT_QUESTIONS = (
    Asked(
        "What is the default of the parameter maxsize of functools.lru_cache?",
        default_of("functools.py", "lru_cache", "maxsize"),
    ),
    Asked(
        "Which exception does json.loads raise when the input is not str, bytes or bytearray?",
        raised_by("json/__init__.py", "loads", lambda: json.loads(0)),  # type: ignore[arg-type]
    ),
    Asked("In which module is the class OrderedDict defined?", class_place("OrderedDict")),
    Asked(
        "What is the period of the Mersenne Twister random number generator?",
        twister_period,
    ),
    Asked(
        "How many modules define a function named main?",
        functions_named("main"),
        needs_evidence=False,
    ),
    Asked(
        "How many classes derive directly from Exception?",
        subclasses_of("Exception"),
        needs_evidence=False,
    ),
)
