"""The source of cells and of our functions, as Monty is given it.

A cell is read here as data, never compiled to code. Monty cannot list its variables, so the names
that a cell assigns are found in its source; and it would hand over the value of a last expression
as an object, so that expression is given to a function that prints it.
"""

from __future__ import annotations

import ast
import re
import symtable
import sys

# As in `typing`, whose import would cost a worker a part of its start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final

MODULES: Final = (  # noqa: SIM905 - thirty lines would say no more
    "asyncio base64 binascii bisect collections copy csv dataclasses datetime decimal functools "
    "hashlib itertools json math os pathlib random re sys time tomllib typing unicodedata"
).split()
"""What Monty 1.4 can import; a test compares it with the installed version."""

SIGNATURES: Final = {
    "llm_query": ("prompt, *rest, model=None, schema=None", "prompt, rest, model, schema"),
    "llm_query_batch": ("prompts, *, model=None, schema=None", "prompts, model, schema"),
    "llm_map": (
        "items, template, *, schema=None, model=None, retries=1",
        "items, template, schema, model, retries",
    ),
    "rlm_query": ("query, context=None, *, schema=None", "query, context, schema"),
    "rlm_query_batch": ("queries, contexts=None, *, schema=None", "queries, contexts, schema"),
}
"""Parameters of each function that asks the host, and what it hands on."""

SURROGATE: Final = re.compile("[\ud800-\udfff]")


def clean(value: Any) -> Any:
    """Replace lone surrogates, which Monty's text cannot hold."""
    if isinstance(value, str):
        if value.isascii() or not SURROGATE.search(value):
            return value
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, list):
        return [clean(item) for item in value]
    return {clean(k): clean(v) for k, v in value.items()} if isinstance(value, dict) else value


class Source:
    """One cell: what Monty is given of it, and the names that it assigns.

    Raises:
        SyntaxError: It is no Python.
    """

    def __init__(self, filename: str, code: str, reserved: frozenset[str], echo: str) -> None:
        flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        # As Python reads a source; its lines are counted so.
        code = code.replace("\r\n", "\n").replace("\r", "\n")
        tree: Any = compile(code, filename, "exec", flags, dont_inherit=True)
        self._lines = code.encode().split(b"\n")
        self._edits: list[tuple[int, int, bytes]] = []
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line) + 1)
        for node in ast.walk(tree):
            self._adapt(node, reserved)
        end = None
        last = tree.body[-1] if tree.body else None
        if isinstance(last, ast.Expr):
            if isinstance(last.value, ast.Starred):
                # Python's own words; its parser alone lets this pass.
                msg = "can't use starred expression here"
                raise SyntaxError(msg)  # noqa: TRY004 - as Python does
            start, end = self._span(last)
            rest = self._lines[(last.end_lineno or 0) - 1][last.end_col_offset or 0 :]
            if not rest.lstrip().startswith(b";"):
                self._edits.append((start, start, f"{echo}((".encode()))
                self._edits.append((end, end, b"))"))
        self.text = self._edited(code.encode(), end)
        table = symtable.symtable(self._without_await(code, tree), filename, "exec")
        self.names = list(dict.fromkeys(_assigned(table)))

    def _without_await(self, code: str, tree: Any) -> str:
        """The cell for `symtable`, which from Python 3.14 on takes no `await` at the top."""
        text = bytearray(code.encode())
        if sys.version_info >= (3, 14):  # in older ones places in f-strings are not exact
            for node in ast.walk(tree):
                if isinstance(node, ast.Await):
                    start = self._span(node)[0]
                    text[start : start + 5] = b"-    "  # an operator, as long as the word
        return text.decode()

    def _span(self, node: Any) -> tuple[int, int]:
        start = self._starts[node.lineno - 1] + node.col_offset
        return start, self._starts[node.end_lineno - 1] + node.end_col_offset

    def _adapt(self, node: Any, reserved: frozenset[str]) -> None:
        """Drop what is needless here: `await` of a reply, and the import of an injected name."""
        if isinstance(node, ast.Await):
            called = node.value
            if (
                isinstance(called, ast.Call)
                and isinstance(called.func, ast.Name)
                and called.func.id in reserved
                and called.lineno == node.lineno
            ):
                self._edits.append((self._span(node)[0], self._span(called)[0], b""))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names if not alias.asname}
            module = getattr(node, "module", None) or ""
            is_ours = module.partition(".")[0] not in MODULES
            if is_ours and len(names) == len(node.names) and names <= reserved:
                self._edits.append((*self._span(node), b"pass"))

    def _edited(self, code: bytes, end: int | None) -> str:
        parts, done = [], 0
        for start, stop, text in sorted(self._edits):
            parts += [code[done:start], text]
            done = stop
        parts.append(code[done : len(code) if end is None else max(done, end)])
        return b"".join(parts).decode()


def _assigned(table: symtable.SymbolTable, *, is_top: bool = True) -> Iterator[str]:
    """Give the global names that a cell binds, other than by importing."""
    for symbol in table.get_symbols():
        is_global = is_top or symbol.is_declared_global()
        if is_global and symbol.is_assigned() and not symbol.is_imported():
            yield symbol.get_name()
    for child in table.get_children():
        yield from _assigned(child, is_top=False)


def definition(spec: dict[str, Any], p: str) -> str:
    """Give the source of a function that asks the host; `p` is the prefix of our names."""
    name, kind = spec["name"], spec["kind"]
    if kind != "tool":
        parameters, given = SIGNATURES[kind]
        return f"def {name}({parameters}): return {p}{kind}({name!r}, {given})"
    heads = []
    for parameter in sorted(spec["parameters"], key=lambda one: not one["required"]):
        key = parameter["name"]
        if not (name.isidentifier() and key.isidentifier()):
            msg = f"the tool {name!r} has names that are not Python's"
            raise ValueError(msg)
        default = "..." if parameter["default"] is None else f"{p}defaults[{name!r}][{key!r}]"
        heads.append(key if parameter["required"] else f"{key}={default}")
    pairs = ", ".join(f"{one['name']!r}: {one['name']}" for one in spec["parameters"])
    return f"def {name}({', '.join(heads)}): return {p}tool({name!r}, {{{pairs}}})"
