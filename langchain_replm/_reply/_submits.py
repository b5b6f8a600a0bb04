"""What a cell submits and which names it touches, read from its source; nothing is run."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from langchain_replm._reply._python import MAX_PROBE_CHARS, quiet, syntax_tree

if TYPE_CHECKING:
    from collections.abc import Iterator

_FINISHES = re.compile(r"\bFINAL(?:_VAR)?\s*\(|\banswer\s*\[\s*[\"']ready")
_ASSIGNS = re.compile(r"^\s*(\w+)\s*(?:[-+*/|&]|//|\*\*)?=(?!=)", re.MULTILINE)
_MUTATORS = frozenset(
    "append extend insert add update setdefault pop remove discard clear sort".split()  # noqa: SIM905 - a list of names
)
_COMPOUND = (ast.For, ast.AsyncFor, ast.While, ast.If, ast.With, ast.AsyncWith, ast.Try)
_OWN_SCOPE = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef,
    ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """The argument of the `FINAL` or `FINAL_VAR` that stands at a cell's top level.

    Attributes:
        literal: It is written out, so nothing has computed it.
        names: The variables in it.
    """

    literal: bool
    names: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Touched:
    """Names that a cell assigns or changes.

    Attributes:
        all: Every one of them.
        in_steps: Those that it changes more than once or inside of a compound statement: an error
            may have left them half made.
    """

    all: frozenset[str]
    in_steps: frozenset[str]


def may_submit(code: str) -> bool:
    """Say whether a cell calls `FINAL`, or sets the answer to be ready, somewhere."""
    return _FINISHES.search(code) is not None


def submission_of(code: str) -> Submission | None:
    """Read what a cell submits at its top level, if it does."""
    tree = _parsed(code)
    for statement in tree.body if tree is not None else ():
        value = _submitted(statement)
        if value is None:
            continue
        node, is_var = value
        if is_var and isinstance(node, ast.Constant) and isinstance(node.value, str):
            return Submission(literal=False, names=frozenset({node.value.strip()}))
        names = {item.id for item in ast.walk(node) if isinstance(item, ast.Name)}
        return Submission(literal=_is_written_out(node), names=frozenset(names))
    return None


def touched_by(code: str) -> Touched:
    """Read which names a cell assigns or changes at its top level."""
    tree = _parsed(code)
    if tree is None:
        # It did not even begin: whatever it was to make is as it was before.
        names = frozenset(_ASSIGNS.findall(code[:MAX_PROBE_CHARS]))
        return Touched(all=names, in_steps=names)
    seen: set[str] = set()
    in_steps: set[str] = set()
    for statement in tree.body:
        found = list(_names_changed(statement))
        repeated = {name for name in found if name in seen}
        in_steps |= set(found) if isinstance(statement, _COMPOUND) else repeated
        seen |= set(found)
    return Touched(all=frozenset(seen), in_steps=frozenset(in_steps))


def _parsed(code: str) -> ast.Module | None:
    if len(code) > MAX_PROBE_CHARS:
        return None
    try:
        tree = syntax_tree(quiet(code), "exec")
    except (SyntaxError, ValueError, MemoryError, RecursionError, OverflowError, SystemError):
        return None
    return tree if isinstance(tree, ast.Module) else None


def _submitted(statement: ast.stmt) -> tuple[ast.expr, bool] | None:
    """The submitted expression, and whether `FINAL_VAR` may read it as a name."""
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Subscript):
        target = statement.targets[0]
        is_answer = isinstance(target.value, ast.Name) and target.value.id == "answer"
        key = target.slice
        if is_answer and isinstance(key, ast.Constant) and key.value == "content":
            return statement.value, False
    if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Call):
        return None
    call = statement.value
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    if name not in ("FINAL", "FINAL_VAR") or len(call.args) != 1:
        return None
    return call.args[0], name == "FINAL_VAR"


def _is_written_out(node: ast.expr) -> bool:
    return not any(
        isinstance(item, ast.Name | ast.Call | ast.Attribute | ast.Await) for item in ast.walk(node)
    )


def _names_changed(node: ast.AST) -> Iterator[str]:
    if isinstance(node, _OWN_SCOPE):
        return
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    elif isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store):
        if isinstance(node.value, ast.Name):
            yield node.value.id
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        owner = node.func.value
        if isinstance(owner, ast.Name) and node.func.attr in _MUTATORS:
            yield owner.id
    for child in ast.iter_child_nodes(node):
        yield from _names_changed(child)
