"""What holds for every reply, whatever a model writes."""

import ast
import warnings

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from langchain_replm._reply import Final, parse_reply
from langchain_replm._reply._fences import MAX_FENCES
from langchain_replm._reply._python import MAX_PROBED_CHARS, MAX_PROBES, Probe, quiet
from langchain_replm._reply._scan import _Reading

UNTIMED = settings(deadline=None)

PIECES = st.sampled_from(
    [
        "```",
        "````",
        "~~~",
        "```repl\n",
        "```python\n",
        "```json\n",
        "``` ",
        "\n",
        "\n\n",
        " ",
        "    ",
        "FINAL(",
        "FINAL_VAR(",
        "FINAL(x)",
        "FINAL_VAR(x)",
        'FINAL("',
        ")",
        "(",
        '"',
        "'",
        '"""',
        "'''",
        "x = 1",
        "print(x)",
        "f(",
        "# c",
        "\\",
        "def f():",
        "Some words.",
        "e.g. ",
        "1) ",
        "- ",
        "> ",
        "`",
        "<think>",
        "</think>",
        "<thinking>",
        "</reasoning>",
        "<|im_end|>",
        "</s>",
        "<tool_call>",
        '{"name": "python", "arguments": {}}',
        "\x00",
        "\ud800",
        "\r\n",
        "\t",
        "\u2028",
        "\x0c",
        "\xe9",
    ]
)
REPLIES = st.lists(PIECES | st.text(max_size=8), max_size=40).map("".join)

STATEMENTS = st.sampled_from(
    [
        "x = 1",
        "print('```')",
        "# write ```repl``` blocks",
        's = """\n```json\n{}\n```\n"""',
        "t = '''\n```python\nevil()\n```\n\n~~~\n'''",
        "for i in y:\n    f(i)",
        "if a:\n\n    b = (\n        2,\n)",
        "await g()",
        "u = '</think> <think>'",
        'v = "FINAL(3)"',
        "FINAL(x)",
        "w = r'\\d' + '\\d'",
        "z = -~~~5",
        'FINAL("""\nFINAL(1)\n""")',
        "pass  # ```",
    ]
)
CELLS = st.lists(STATEMENTS, min_size=1, max_size=6).map("\n".join)
LABELS = st.sampled_from(["repl", "python", "Python", "py", " repl", 'repl title="x"', "{.python}"])
BALANCED = st.recursive(
    st.text(st.characters(exclude_characters="()\r", exclude_categories=["Cs"]), max_size=12),
    lambda inner: st.tuples(inner, inner, inner).map(lambda p: f"{p[0]}({p[1]}){p[2]}"),
    max_leaves=8,
)
WORDS = st.text("abc xyz.,\n", max_size=30)


@given(REPLIES, st.booleans())
@settings(max_examples=500, deadline=None)
def test_any_text_is_read_without_error_or_warning(reply: str, truncated: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parsed = parse_reply(reply, truncated=truncated)
    assert all(cell.strip() for cell in parsed.cells)
    assert len(set(parsed.cells)) == len(parsed.cells)
    assert bool(parsed.cells or parsed.final or parsed.problem)
    if parsed.problem not in (None, "cut_off"):
        assert (parsed.cells, parsed.final) == ((), None)
    assert parsed.prose == parsed.prose.strip()


@given(REPLIES)
@settings(max_examples=30, deadline=None)
def test_work_is_bounded(reply: str) -> None:
    reading = _Reading(reply * 100, truncated=False)
    reading.read()
    result = reading.result()
    assert reading._probe.attempts <= MAX_PROBES
    assert reading._probe.chars <= MAX_PROBED_CHARS
    assert len(result.cells) <= MAX_FENCES


@given(CELLS, LABELS, st.sampled_from(["```", "````", "~~~"]), st.booleans(), WORDS)
@UNTIMED
@example("x = 1\n", "repl", "```", True, "")
def test_a_rendered_fence_gives_its_code(
    cell: str, label: str, fence: str, closed: bool, after: str
) -> None:
    # Backticks that end the reply close an open fence, even at the end of a comment.
    assume(closed or not cell.endswith(fence))
    reply = f"Look:\n{fence}{label}\n{cell}\n" + (f"{fence}\n{after}" if closed else "")
    # A reply that ends there has no blanks at its end: that much may be lost from an open fence.
    assert [c.rstrip() for c in parse_reply(reply).cells] == [cell.rstrip()]
    if closed:
        assert parse_reply(reply).cells == (cell,)


@given(CELLS, st.integers(1, 8))
@UNTIMED
def test_an_indented_fence_gives_its_code(cell: str, indent: int) -> None:
    blanks = " " * indent
    lines = "\n".join(blanks + line for line in f"```repl\n{cell}\n```".split("\n"))
    assert parse_reply(f"1. Look\n{lines}\n2. Done").cells == (cell,)


@given(st.lists(CELLS, min_size=1, max_size=4, unique=True))
@UNTIMED
def test_cells_come_in_order(cells: list[str]) -> None:
    reply = "\nthen\n".join(f"```repl\n{cell}\n```" for cell in cells)
    assert parse_reply(reply).cells == tuple(cells)


@given(BALANCED, st.sampled_from(["", ".", "**", "`", "<|im_end|>", "\n\nHope that helps! :)"]))
@UNTIMED
def test_a_balanced_final_gives_its_text(answer: str, tail: str) -> None:
    answer = answer.strip()
    assume(answer and not answer.startswith(("'", '"', "r", "R", "u", "U")))
    assume("```" not in answer and "~~~" not in answer)
    assert parse_reply(f"FINAL({answer}){tail}").final == Final(kind="text", text=answer)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=40))
@UNTIMED
@example("a) b (")
def test_a_quoted_final_gives_its_value(answer: str) -> None:
    assert parse_reply(f"FINAL({answer!r})").final == Final(kind="text", text=answer)


@given(CELLS, st.sampled_from(["think", "thinking", "reasoning", "THINK"]), WORDS)
@UNTIMED
def test_nothing_comes_out_of_thinking(cell: str, tag: str, words: str) -> None:
    assume("</think>" not in cell)
    draft = f"{words}\n```repl\n{cell}\n```\nFINAL(draft)\n"
    for reply in (f"<{tag}>{draft}</{tag}>", f"{draft}</{tag}>", f"<{tag}>{draft}"):
        parsed = parse_reply(f"{reply}\nI look on.") if "</" in reply else parse_reply(reply)
        assert (parsed.cells, parsed.final) == ((), None)


@given(
    st.text("abc(=)1 \n'\"#", max_size=40),
    st.sampled_from(["json", "text", "bash", "markdown", "js title='x'", "output"]),
    WORDS,
)
@UNTIMED
def test_nothing_comes_out_of_other_fences(body: str, label: str, words: str) -> None:
    inner = f"{body}\n```python\nevil()\n```\nFINAL(evil)"
    assume("</" not in words)
    parsed = parse_reply(f"a\n````{label}\n{inner}\n````\n{words}")
    assert parsed.final is None
    assert all("evil" not in cell for cell in parsed.cells)
    assert parsed.cells == ()


@given(CELLS)
@UNTIMED
def test_quiet_text_parses_as_the_loud_one_does(cell: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ast.parse(cell)
    assert ast.parse(quiet(cell))
    assert Probe().parses(cell)
