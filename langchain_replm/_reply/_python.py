"""Is this text Python? Asked of text that a model wrote, so the question itself must be safe.

The text is parsed, never compiled to bytecode and never run. Python's parser reports hostile
nesting as an exception from 3.11 on, and it warns about doubtful escapes through the process-wide
warning filters. Those cannot be silenced for one thread, so the doubtful spots are rewritten first.
"""

import ast
import keyword
import re
from enum import Enum
from typing import Final, cast

MAX_PROBES = 200
"""Parse attempts for one reply. Security limit: a reply can offer a closing fence per line."""

MAX_PROBED_CHARS = 300_000
"""Characters parsed for one reply, all attempts together. Security limit: CPython needs up to
6 microseconds for one (measured on 3.11 to 3.13), and half a microsecond in ordinary code."""

MAX_PROBE_CHARS = 100_000
"""Characters of one attempt; the longest cell seen in the wild has 51 thousand. Security limit:
where the host raised its recursion limit, 3.11 overflows the C stack at one million `a+a+...`."""

MAX_MISCOUNTS = 50
"""In the worst case that could be made, one of twenty attempts was miscounted."""

_FLAGS = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
_ESCAPE = re.compile(r"\\(?:N\{[^{}\n]*\}|([^\\'\"\n\r]))")
_NUMBER_THEN_WORD = re.compile(r"(?<![\w.])(\d[\w.]*?)(?=(?:and|else|for|if|in|is|not|or)\b)")
_GLUED_CALL = re.compile(r"[\w\])]\(")
_FINISHERS = frozenset({"FINAL", "FINAL_VAR"})
_FAILURES = (SyntaxError, ValueError, MemoryError, RecursionError, OverflowError, SystemError)


class Verdict(Enum):
    """What the parser says about a text."""

    PARSES = "parses"
    OPEN_STRING = "a triple-quoted string is still open at its end"
    BROKEN = "no Python, or not asked because a limit was reached"


PARSES: Final = Verdict.PARSES
OPEN_STRING: Final = Verdict.OPEN_STRING
BROKEN: Final = Verdict.BROKEN


class Probe:
    """Answers for the texts of one reply, within bounds that hold for the whole reply."""

    def __init__(self) -> None:
        self.attempts = 0
        self.chars = 0
        self.spent = False
        self._verdicts: dict[str, Verdict] = {}

    def look(self, source: str) -> Verdict:
        """Return whether `source` parses as a cell. Top-level ``await`` is allowed."""
        if source not in self._verdicts and len(source) <= MAX_PROBE_CHARS:
            tree = self._parse(source, "exec")
            self._verdicts[source] = tree if isinstance(tree, Verdict) else PARSES
        return self._verdicts.get(source, BROKEN)

    def parses(self, source: str) -> bool:
        """Return whether `source` parses as a cell."""
        return self.look(source) is PARSES

    def is_expression(self, source: str) -> bool:
        """Return whether `source` is one Python expression."""
        return not isinstance(self._parse(source, "eval"), Verdict)

    def acts(self, source: str, *, finishing: bool = False) -> bool:
        """Return whether `source` is Python that calls or assigns something.

        A line that calls ``FINAL`` is rather a text final, and counts only if `finishing`.

        Words, numbers and JSON parse too: "Done", "Answer: 42" (an annotation), "Paris (France)"
        (a call, to the parser). They do nothing, or are no code that anyone would write.
        """
        tree = self._parse(source, "exec")
        if not isinstance(tree, ast.Module):
            return False
        glued = _GLUED_CALL.search(source) is not None
        statements = [s for s in tree.body if finishing or not _finishes(s)]
        return any(_acts(statement, glued=glued) for statement in statements)

    def _parse(self, source: str, mode: str) -> ast.AST | Verdict:
        if len(source) > MAX_PROBE_CHARS:
            return BROKEN
        if self.chars + len(source) > MAX_PROBED_CHARS or self.attempts >= MAX_PROBES:
            self.spent = True  # for good: a reply that gets here is not one that a model wrote
        if self.spent:
            return BROKEN
        self.attempts += 1
        self.chars += len(source)
        try:
            return syntax_tree(quiet(source), mode)
        except _FAILURES as error:
            # CPython looks for broken tokens in the whole text before it blames the grammar,
            # so this message is reliable even when an earlier line is wrong as well.
            is_open = "unterminated triple-quoted" in str(error)
            return OPEN_STRING if is_open else BROKEN


def syntax_tree(source: str, mode: str) -> ast.AST:
    """The tree of a source, whatever other threads are doing.

    CPython 3.11 counts the depth of the tree that it builds in one place for all threads. Where two
    build one at the same time, some get a `SystemError` that says nothing about their source.

    Raises:
        SyntaxError, ValueError, MemoryError, RecursionError, OverflowError: It is no Python.
    """
    for left in reversed(range(MAX_MISCOUNTS)):
        try:
            tree = compile(source, "<cell>", mode, flags=_FLAGS, dont_inherit=True)
        except SystemError:
            if not left:
                raise
        else:
            return cast("ast.AST", tree)
    raise AssertionError  # for the type checker: the last round returns or raises


def quiet(source: str) -> str:
    r"""Return a text that parses where `source` does and about which the parser has no warning.

    Every escape becomes a literal backslash ("\d" and "\n" alike: nobody reads the values), and a
    number glued to a keyword ("1if x") gets its blank.
    """
    if "\\" in source:
        source = _ESCAPE.sub(_literal_backslash, source)
    return _NUMBER_THEN_WORD.sub(r"\1 ", source)


def is_name(text: str) -> bool:
    """Return whether `text` can be the name of a variable."""
    return text.isidentifier() and not keyword.iskeyword(text)


def _literal_backslash(match: re.Match[str]) -> str:
    # In an f-string a named character must not turn into a replacement field: it loses its braces.
    return "\\\\" + (match[1] or "N")


def _finishes(statement: ast.stmt) -> bool:
    """Return whether a line calls ``FINAL``; "Done.FINAL(3)" is a sentence and a final."""
    if not isinstance(statement, ast.Expr):
        return False
    functions = [node.func for node in ast.walk(statement) if isinstance(node, ast.Call)]
    names = {getattr(function, "id", getattr(function, "attr", "")) for function in functions}
    return not names.isdisjoint(_FINISHERS)


def _acts(statement: ast.stmt, *, glued: bool) -> bool:
    if isinstance(statement, ast.AnnAssign) and statement.value is None:
        return False
    assigns = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.NamedExpr)
    kinds = (*assigns, ast.Call) if glued else assigns
    return any(isinstance(node, kinds) for node in ast.walk(statement))
