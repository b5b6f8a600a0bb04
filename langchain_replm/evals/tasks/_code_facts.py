"""What is true of Python files, read from their syntax trees."""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias, TypeGuard

from langchain_replm._reply._python import syntax_tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_NAME = re.compile(r"\w+(?:\.\w+)?")
_Def: TypeAlias = "ast.FunctionDef | ast.AsyncFunctionDef"


@dataclass(frozen=True)
class ClassFacts:
    """A class at the top level of a file."""

    name: str
    methods: int
    """How many `def`s stand directly in its body; a name that is defined twice counts once."""
    bases: tuple[str, ...]
    """Bases as they are written, if they are names such as `Base` or `module.Base`."""


@dataclass(frozen=True)
class FunctionFacts:
    """A function at the top level of a file."""

    name: str
    parameters: int
    """All kinds of parameters, `*args` and `**kwargs` included."""
    calls: frozenset[str]
    """Plain names that are called anywhere in its body."""
    raises: frozenset[str]
    """Plain names of the classes that its `raise` statements name; `?` for anything else."""


@dataclass(frozen=True)
class FileFacts:
    """A file of Python code."""

    path: str
    classes: tuple[ClassFacts, ...]
    functions: tuple[FunctionFacts, ...]
    imports: frozenset[str]
    """Top-level names of what is imported anywhere in it; relative imports do not count."""
    sources: Mapping[str, str] = field(repr=False)
    """Where names come from that it imports at its top level, and what modules these are: paths of
    modules, without suffix. A name that is imported from a package may be either."""
    defined: tuple[str, ...] = field(repr=False)
    """Every name of a class or function in it, at any depth, with repeats."""


def facts_of(path: str, text: str) -> FileFacts | None:
    """The facts of a file; None if it is not valid Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old escapes in other people's code
            tree = syntax_tree(text, "exec")
    except (SyntaxError, ValueError, RecursionError):
        return None
    assert isinstance(tree, ast.Module)  # noqa: S101 - for the type checker
    defs = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return FileFacts(
        path=path,
        classes=tuple(_class(node) for node in tree.body if isinstance(node, ast.ClassDef)),
        functions=tuple(_function(node) for node in tree.body if _is_function(node)),
        imports=frozenset(_imports(tree)),
        sources=dict(_sources(path, tree)),
        defined=tuple(node.name for node in ast.walk(tree) if isinstance(node, defs)),
    )


def _is_function(node: ast.AST) -> TypeGuard[_Def]:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def _class(node: ast.ClassDef) -> ClassFacts:
    methods = {each.name for each in node.body if _is_function(each)}
    names = (ast.unparse(base) for base in node.bases)
    bases = tuple(name for name in names if _NAME.fullmatch(name))
    return ClassFacts(node.name, len(methods), bases)


def _function(node: _Def) -> FunctionFacts:
    given = node.args
    parameters = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    inside = [each for statement in node.body for each in ast.walk(statement)]
    raised = (each.exc for each in inside if isinstance(each, ast.Raise))
    exceptions = (each.func if isinstance(each, ast.Call) else each for each in raised)
    return FunctionFacts(
        name=node.name,
        parameters=sum(each is not None for each in parameters),
        calls=frozenset(
            each.func.id
            for each in inside
            if isinstance(each, ast.Call) and isinstance(each.func, ast.Name)
        ),
        raises=frozenset(
            each.id if isinstance(each, ast.Name) and each.id[0].isupper() else "?"
            for each in exceptions
            if each
        ),
    )


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _sources(path: str, tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from ((a.name, a.name) for a in node.names if not a.asname and "." not in a.name)
        elif isinstance(node, ast.ImportFrom) and node.level <= 1:
            package = path.rpartition("/")[0] if node.level else ""
            module = "/".join(filter(None, (package, *(node.module or "").split("."))))
            yield from ((alias.name, module) for alias in node.names if not alias.asname)
