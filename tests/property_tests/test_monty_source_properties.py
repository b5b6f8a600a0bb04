"""Whatever a cell holds, what Monty is given of it is Python that does the same."""

from __future__ import annotations

import ast
from types import ModuleType
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from langchain_replm.sandbox._monty_source import Source, clean

RESERVED = frozenset(["context", "llm_query", "FINAL"])

STATEMENTS = st.sampled_from(
    [
        "a = 1",
        "b: int = 2",
        "(c := 'ä\U0001f989')",
        "for d in [1]: e = d",
        "def f():\n    global g\n    g = 1\n    h = 2",
        "f2 = lambda: 0; f3 = f2",
        "class I:\n    j = 1",
        "try:\n    1 / 0\nexcept ZeroDivisionError as k:\n    l = str(k)",
        "[m for m in [1]]; n = [o for o in 'ab']",
        "p, *q = 1, 2, 3",
        "import json, os.path as r",
        "from json import dumps as s",
        "from rlm import llm_query, FINAL",
        "import context",
        "t = llm_query('ä')",
        "if a_is_there:\n    u = 1\nelse:\n    v = 1",
        "match 1:\n    case int() as w: pass",
        "'''a\n  # ä\n''' + 'x'",
        "(1,\n 2)  # )) ''",
        "x = 5;",
        "# ä only",
        "",
        "y = '''\nawait llm_query(1)\n'''",
        "1, 'ä'",
        "{'a': 1}",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(STATEMENTS, max_size=6), st.sampled_from(["\n", "\n\n", "\n\t\n"]))
def test_the_names_and_values_are_those_of_the_cell(statements: list[str], joint: str) -> None:
    code = joint.join(statements)
    shown: list[Any] = []

    def space() -> dict[str, Any]:
        return {"llm_query": str.upper, "context": "x", "a_is_there": True, "echo": shown.append}

    source = Source("<cell 1>", code, RESERVED, "echo")
    made = space()
    exec(source.text, made)  # noqa: S102 - statements from the list above
    plain = space()
    tree = ast.parse(code)
    last = tree.body[-1] if tree.body else None
    is_echoed = isinstance(last, ast.Expr) and not code.rstrip().endswith(";")
    kept = [
        node
        for node in tree.body
        if not isinstance(node, ast.Import | ast.ImportFrom) or "json" in ast.unparse(node)
    ]
    body = kept[:-1] if is_echoed else kept
    exec(compile(ast.Module(body, []), "<cell>", "exec"), plain)  # noqa: S102 - as above
    value = eval(ast.unparse(last), plain) if is_echoed else None  # type: ignore[arg-type]  # noqa: S307
    assert shown == ([value] if is_echoed else [])
    assert made.keys() == plain.keys()
    variables = {
        name
        for name in made.keys() - space().keys() - {"__builtins__", "__annotations__"}
        if not isinstance(made[name], ModuleType) and name != "s"
    }
    assert variables <= set(source.names)
    assert not set(source.names) & {"h", "j", "m", "o", "json", "r", "s"}


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
@example("\r0")
@example("a = 1\r\na")
@example("*0")
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        source = Source("<cell 1>", clean(text), RESERVED, "echo")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    compile(source.text, "<cell>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@given(st.text(alphabet=st.characters(codec=None), max_size=50))
def test_what_is_clean_can_be_encoded(text: str) -> None:
    assert clean(text).encode().decode() == clean(text)
    assert clean({text: [text]}) == {clean(text): [clean(text)]}


def test_await_of_a_reply_is_dropped_wherever_it_stands() -> None:
    for code in (
        "await llm_query('ä')",
        "x = 'ä' + await llm_query('a')",
        "if 1:\n    await  llm_query('a')",
        "x = [await llm_query(p) for p in 'ab']",
    ):
        assert "await" not in Source("<cell>", code, RESERVED, "echo").text
    assert "await" in Source("<cell>", "await other()", RESERVED, "echo").text
