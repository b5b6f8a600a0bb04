"""Rows for every rule of the reply grammar.

In the texts of this file `§` stands for three backticks. A number in an id is the minimal example of the trajectory study.
"""

import gc
import sys
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from langchain_replm._reply import Final, ParsedReply, _python, parse_reply
from langchain_replm._reply._fences import MAX_FENCES
from langchain_replm._reply._python import MAX_PROBED_CHARS, MAX_PROBES, Probe, quiet


def read(text: str, *, truncated: bool = False) -> ParsedReply:
    return parse_reply(text.replace("§", "```"), truncated=truncated)


def code(*cells: str) -> tuple[str, ...]:
    return tuple(cell.replace("§", "```") for cell in cells)


def text(value: str) -> Final:
    return Final(kind="text", text=value.replace("§", "```"))


def var(name: str) -> Final:
    return Final(kind="var", text=name)


NESTED = 'ask = """Reply so:\n§json\n{"a": 1}\n§\nThanks"""\nprint(llm_query(ask))'
TWO_NESTED = 's = """\n§python\nevil()\n§\nor\n§python\nworse()\n§\n"""\nprint(s)'

OPENING = {
    "repl": ("§repl\nprint(1)\n§", ["print(1)"]),
    "py (1)": ("§py\nn=3\n§", ["n=3"]),
    "capital (2)": ("§Python\nn=3\n§", ["n=3"]),
    "python3": ("§python3\nn=3\n§", ["n=3"]),
    "ipython": ("§ipython\nn=3\n§", ["n=3"]),
    "tool_code": ("§tool_code\nn=3\n§", ["n=3"]),
    "attribute (3)": ('§repl title="x"\nn=3\n§', ["n=3"]),
    "braces": ("§{.python}\nn=3\n§", ["n=3"]),
    "label and braces": ("§python {.numberLines}\nn=3\n§", ["n=3"]),
    "file name": ("§python:main.py\nn=3\n§", ["n=3"]),
    "one line (4)": ("§repl print(1)§", ["print(1)"]),
    "one line after a sentence": ("I look. §repl print(1)§", ["print(1)"]),
    "one line with backticks in it": ("§repl print('§')§", ["print('§')"]),
    "one line mention": ("I would use §repl print(1)§ for that", []),
    "mention of the label": ("Write §repl§ fences, or §python§ ones.", []),
    "mention without an end": ("Use §repl blocks\nprint(1)\n§", []),
    "blank before the label (5)": ("§ repl\nprint(1)\n§", ["print(1)"]),
    "tildes (6)": ("~~~python\nx=1\n~~~", ["x=1"]),
    "four backticks": ("§`python\nx='''\n§\n'''\n§`", ["x='''\n§\n'''"]),
    "glued to a sentence": ("Let me look.§repl\nprint(1)\n§", ["print(1)"]),
    "after a colon": ("Code: §repl\nprint(1)\n§", ["print(1)"]),
    "list item": (
        "1. Look:\n   §repl\n   for x in y:\n       f(x)\n   §",
        ["for x in y:\n    f(x)"],
    ),
    "fence after a bullet": ("- §python\n  x=1\n  y=2\n  §", ["x=1\ny=2"]),
    "indented body": ("§python\n    x=1\n    y=2\n§", ["x=1\ny=2"]),
    "code on the label's line": ("§python print(1)\nprint(2)\n§", ["print(1)\nprint(2)"]),
    "assignment like an attribute": ("§python x=1\n§", ["x=1"]),
    "words on the label's line": ("§python my first look\nprint(2)\n§", ["print(2)"]),
    "CRLF": ("Hi\r\n§repl\r\nx=1\r\ny=2\r\n§\r\n", ["x=1\ny=2"]),
    "doubled fence": ("§\n§python\nx()\n§\n§", ["x()"]),
    "broken cell": ("§repl\nx = = 1\n§", ["x = = 1"]),
    "top-level await": ("§repl\nx = await f()\n§\nbye", ["x = await f()"]),
    "empty": ("§repl\n§", []),
}

CLOSING = {
    "in a string (7)": (
        '§repl\ns.replace("§json", "")\nt = s\n§',
        ['s.replace("§json", "")\nt = s'],
    ),
    "in a comment (8)": (
        "§repl\n# write §repl§ blocks\nx = 1\n§",
        ["# write §repl§ blocks\nx = 1"],
    ),
    "in a sub-prompt (9)": (f"§repl\n{NESTED}\n§\nSo.", [NESTED]),
    "two inner fences (10)": (f"§repl\n{TWO_NESTED}\n§\nSo.", [TWO_NESTED]),
    "inner fences in a broken cell": (f"§repl\n{NESTED}\nx = = 1\n§\n.", [f"{NESTED}\nx = = 1"]),
    "open but complete (11)": ("Now:\n§repl\nprint(1)\n", ["print(1)"]),
    "open, with an inner fence": (f"§repl\n{NESTED}", [NESTED]),
    "glued to the code": ("§repl\nprint(1)§", ["print(1)"]),
    "glued, then more": ("§repl\nprint(1)§\n\nThen:\n§repl\nprint(2)\n§", ["print(1)", "print(2)"]),
    "glued to a comment": ("§repl\nx = 1  # it§\nNow we wait.", ["x = 1  # it"]),
    "glued, broken": ("§repl\nprint(1))§\nNow we wait.", ["print(1))"]),
    "prose after it": ("§repl\nprint(1)\n§ Now we wait.", ["print(1)"]),
    "comment mention, prose after": ("§repl\n# a §repl§ b\nx=1\n§ Now.", ["# a §repl§ b\nx=1"]),
    "token after it": ("§repl\nprint(1)\n§<|im_end|>\nmore", ["print(1)"]),
    "new opening": ("§repl\nx=1\n§repl\ny=2\n§", ["x=1", "y=2"]),
    "new opening, json": ("§repl\nx=1\n§json\n{}\n§", ["x=1"]),
    "longer closer": ("§repl\nx=1\n§§", ["x=1"]),
    "other character": ('§repl\nx="""\n~~~\n"""\n§', ['x="""\n~~~\n"""']),
    "quotes never closed": ("§repl\nx = '''abc\nprint(x)\n§", ["x = '''abc\nprint(x)"]),
}

OTHER_FENCES = {
    "json": ('§json\n{"a": f(1)}\n§', []),
    "text": ("§text\nprint(1)\n§", []),
    "bash": ("§bash\nprint(1)\n§", []),
    "javascript": ("§javascript\nprint(1)\n§", []),
    "python in markdown": ("§`markdown\n§python\nx()\n§\n§`", []),
    "text, then a cell": ("§text\nabc\n§\n§repl\nx()\n§", ["x()"]),
    "text with glued closer": ("§json\n{}§\n§repl\nx()\n§", ["x()"]),
    "text with inline backticks": ("§text\nsee §x§\n§\n§repl\nx()\n§", ["x()"]),
    "text with a line that ends in backticks": ("§text\nsee §x§\n§repl\nevil()\n§\n", []),
    "unclosed text": ("§text\nprint(1)\n\n§python\nx()\n§\n", []),
    "plain call": ("Look:\n§\nprint(1)\n§", ["print(1)"]),
    "plain assignment": ("§\nx = 1\n§", ["x = 1"]),
    "plain, one line": ("§print(1)§", ["print(1)"]),
    "plain, code on the first line": ("§print(1)\nprint(2)\n§", ["print(1)\nprint(2)"]),
    "plain words": ("§\nParis\n§", []),
    "plain JSON": ('§\n{"a": [1, 2]}\n§', []),
    "plain prose": ("§\nThe cat (black) sat.\n§", []),
    "two plain": ("§\nx()\n§\n\n§\ny()\n§", []),
    "plain beside a cell": ("§\nold()\n§\n§repl\nx()\n§", ["x()"]),
    "plain final": ("§\nFINAL(x)\n§", ["FINAL(x)"]),
}

SEVERAL = {
    "two": ("§repl\na()\n§\nand\n§repl\nb()\n§", ["a()", "b()"]),
    "halves": ("§repl\nx = (1 +\n§\n§repl\n2)\n§", ["x = (1 +\n2)"]),
    "halves of a block": ("§repl\ndef f():\n§\n§repl\n    return 1\n§", ["def f():\n    return 1"]),
    "first broken, no halves": ("§repl\nx = = 1\n§\n§repl\ny = 2\n§", ["x = = 1", "y = 2"]),
    "repeat": ("§repl\na()\n§\n§repl\nb()\n§\n§repl\na()\n§", ["a()", "b()"]),
    "both parse: not joined": ("§repl\nif a:\n  b()\n§\n§repl\nc()\n§", ["if a:\n  b()", "c()"]),
}

BARE = {
    "call": ("print(context[:10])", ["print(context[:10])"]),
    "lines": ("x = 1\nfor y in z:\n    print(y)", ["x = 1\nfor y in z:\n    print(y)"]),
    "with a comment": ("# look\nprint(1)<|im_end|>", ["# look\nprint(1)"]),
    "ends with FINAL": ("x = f()\nFINAL(x)", ["x = f()\nFINAL(x)"]),
    "FINAL in a branch": ("if x:\n    FINAL(x)", ["if x:\n    FINAL(x)"]),
    "after thinking": ("<think>hm</think>\nx = f()", ["x = f()"]),
    "indented": ("    x = 1\n    y = f(x)", ["x = 1\ny = f(x)"]),
    "word": ("Paris", []),
    "words": ("Paris, France", []),
    "annotation": ("Answer: 42", []),
    "annotation with a call": ("Answer: f(x)", []),
    "prose call": ("Paris (France)", []),
    "sentence": ("Total = 42.", []),
    "JSON": ('{"a": 1}', []),
    "sentence with code": ("I would call f(x)", []),
}


@pytest.mark.parametrize(
    ("reply", "cells"),
    [
        pytest.param(*row, id=f"{group}: {name}")
        for group, rows in {
            "opening": OPENING,
            "closing": CLOSING,
            "other": OTHER_FENCES,
            "several": SEVERAL,
            "bare": BARE,
        }.items()
        for name, row in rows.items()
    ],
)
def test_cells(reply: str, cells: list[str]) -> None:
    parsed = read(reply)
    assert parsed.cells == code(*cells)
    assert parsed.final is None
    if cells:
        assert parsed.problem is None
        assert parsed.detail == ""


FINALS = {
    "plain": ("FINAL(42)", text("42")),
    "quoted (12)": ('FINAL("heron")', text("heron")),
    "single quotes": ("FINAL('a \"b\"')", text('a "b"')),
    "triple quotes": ('FINAL("""a\nb""")', text("a\nb")),
    "escapes": (r'FINAL("a\nb \"c\" \d \u00e9")', text('a\nb "c" \\d é')),
    "raw": (r'FINAL(r"a\nb")', text(r"a\nb")),
    "quoted with a real newline": ('FINAL("a\nb\\tc")', text("a\nb\tc")),
    "quoted with brackets": ('FINAL("a) b ( c")', text("a) b ( c")),
    "bad escape": (r'FINAL("a\xZZ")', text(r"a\xZZ")),
    "f-string that is broken": ('FINAL(f"{n items")', text('f"{n items"')),
    "bytes stay": ('FINAL(b"n")', text('b"n"')),
    "two literals stay": ('FINAL("a" and "b")', text('"a" and "b"')),
    "half brackets (13)": ("FINAL(Steps: 1) open 2) press)", text("Steps: 1) open 2) press")),
    "half brackets in lines": ("FINAL(1) open\n2) press)\n\nOK :)", text("1) open\n2) press")),
    "smiley (14)": ("FINAL(see :-) in the log)", text("see :-) in the log")),
    "inner brackets": ("FINAL(f(x) = (a + b) c)", text("f(x) = (a + b) c")),
    "full stop (15)": ("FINAL(42).", text("42")),
    "bold (16)": ("**FINAL(42)**", text("42")),
    "backticks": ("`FINAL(42)`", text("42")),
    "italics": ("_FINAL(42)_", text("42")),
    "quote": ("> FINAL(42)", text("42")),
    "bullet": ("- FINAL(42)", text("42")),
    "quote marks": ('"FINAL(42)"', text("42")),
    "one-line fence (17)": ("§FINAL(9)§", text("9")),
    "token (18)": ("FINAL(42)<|im_end|>", text("42")),
    "token before": ("<|message|>FINAL(42)", text("42")),
    "remark (19)": ("FINAL(42)\n\nHope that helps!", text("42")),
    "smiling remark": ("FINAL(42)\n\nHope that helps :)", text("42")),
    "with a fence (20)": (
        "FINAL(Use:\n§python\nf(1)\n§\nas said)",
        text("Use:\n§python\nf(1)\n§\nas said"),
    ),
    "half bracket in its fence": (
        "FINAL(Use\n§python\nf(':)')\n§\n)",
        text("Use\n§python\nf(':)')\n§"),
    ),
    "lines": ("FINAL(a\nb\n\nc)", text("a\nb\n\nc")),
    "identifier (27)": ("FINAL(result)", text("result")),
    "after a sentence": ("I am done. FINAL(42)", text("42")),
    "glued to a sentence": ("I am done now.FINAL(42)", text("42")),
    "after a colon": ("Answer: FINAL(42)", text("42")),
    "after an exclamation": ("Done! FINAL(42)", text("42")),
    "a call in it": ("FINAL(f(x))", text("f(x)")),
    "last wins": ("FINAL(first)\nwait, actually\nFINAL(second)", text("second")),
    "unclosed": ("FINAL(the answer is\n42", text("the answer is\n42")),
    "unclosed, then a closed one": ("FINAL(the answer\nno:\nFINAL(42)", text("42")),
    "after thinking": ("<think>FINAL(3)</think>FINAL(4)", text("4")),
    "after a lone closing tag": ("so FINAL(3)\n</think>\nFINAL(4)", text("4")),
    "quoted name (21)": ('FINAL_VAR("summary")', var("summary")),
    "back-quoted name (22)": ("FINAL_VAR(`summary`)", var("summary")),
    "bare name": ("FINAL_VAR(summary)", var("summary")),
    "markdown escape": ("FINAL\\_VAR(summary)", var("summary")),
    "quoted number": ('FINAL_VAR("14")', text("14")),
    "quoted words": ('FINAL_VAR("the cat")', text("the cat")),
    "several (28)": ("FINAL_VAR(a)\nFINAL_VAR(b)", var("b")),
    "var after text": ("FINAL(3)\nFINAL_VAR(b)", var("b")),
    "mention (24)": ("I could answer FINAL(maybe 3) but ... (not read)", None),
    "plan": ("Plan: gather evidence, then I will call FINAL(the answer)", None),
    "plan step": ("Plan:\n1. search\n2. FINAL(the answer)", None),
    "for example": ("Finish with a call, e.g. FINAL(answer)", None),
    "line goes on": ("FINAL(42) is what I would say", None),
    "two on a line": ("FINAL(42) or FINAL(43)", None),
    "SEMIFINAL": ("see SEMIFINAL(Brazil)", None),
    "empty": ("FINAL()", None),
    "other name": ("MY_FINAL (3)\nSEMIFINAL(Brazil) was long", None),
    "in thinking": ("<think>FINAL(3)</think>\nLooking (see below)", None),
    "in open thinking": ("Hm.\n<think>\nFINAL(3)", None),
    "in json": ('§json\n{"a":\n"FINAL(x)"}\n§\nNot started. (see above)', None),
    "in text": ("§text\nFINAL(x)\n§\nbye", None),
    "unquoted words for a variable": ("FINAL_VAR(the cat)", None),
}


@pytest.mark.parametrize(("reply", "final"), FINALS.values(), ids=FINALS)
def test_finals(reply: str, final: Final | None) -> None:
    parsed = read(reply)
    assert parsed.final == final
    assert parsed.cells == ()
    assert parsed.problem == (None if final else "no_action")


BOTH = {
    "FINAL in a cell (29)": ("§repl\nFINAL(best)\n§", ["FINAL(best)"], None),
    "answer dict (30)": ('§repl\nanswer["ready"] = True\n§', ['answer["ready"] = True'], None),
    "mention and cell (23)": ("I can return FINAL_VAR(o) as it.\n§repl\nf()\n§", ["f()"], None),
    "cell, invented output, final (25)": (
        "§repl\nf()\n§\nOutput: Bo\n\nFINAL(Bo)",
        ["f()"],
        text("Bo"),
    ),
    "cell and variable": ("§repl\nx=1\n§\nFINAL_VAR(x)", ["x=1"], var("x")),
    "after prose on the closing line": ("§repl\nx=1\n§ FINAL(3)", ["x=1"], text("3")),
    "draft in thinking (26)": ("<think>\n§repl\nbad()\n§\n</think>\n§repl\nf()\n§", ["f()"], None),
    "thinking, reasoning": (
        "<thinking>FINAL(1)</thinking><REASONING>§</reasoning>FINAL(2)",
        [],
        text("2"),
    ),
    "only the closing tag": ("§repl\nbad()\n§\n</think>\n§repl\nf()\n§", ["f()"], None),
    "draft never closed": ("§repl\nbad(\n</think>\n§repl\nf()\n§", ["f()"], None),
    "text draft never closed": ("§json\n{\n</think>\nFINAL(2)", [], text("2")),
    "tag in a cell": (
        "§repl\nprint('</think> <think>')\n§\nFINAL(2)",
        ["print('</think> <think>')"],
        text("2"),
    ),
    "inline tag": ("The `<think>` tag.\nFINAL(2)", [], text("2")),
    "f-string": ('FINAL(f"{n} :) of {len(m)}").', ['FINAL(f"{n} :) of {len(m)}")'], None),
    "f-string without a field": ('FINAL(f"items")', ['FINAL(f"items")'], None),
    "raw f-string": ("FINAL(rf'{n}\\d')", ["FINAL(rf'{n}\\d')"], None),
    "expression": ('FINAL_VAR(r["x"])', ['FINAL(r["x"])'], None),
    "attribute after a cell": (
        "§repl\na = f()\n§\nFINAL_VAR(a.text)",
        ["a = f()", "FINAL(a.text)"],
        None,
    ),
    "answer fence is no cell": ("FINAL(x\n§repl\nf()\n§\n)", [], text("x\n§repl\nf()\n§")),
    "final beats bare words": ("Done\nFINAL(42)", [], text("42")),
}


@pytest.mark.parametrize(("reply", "cells", "final"), BOTH.values(), ids=BOTH)
def test_cells_and_finals(reply: str, cells: list[str], final: Final | None) -> None:
    parsed = read(reply)
    assert (parsed.cells, parsed.final) == (code(*cells), final)
    assert parsed.problem is None


PROBLEMS = {
    "nothing": ("", False, "empty", ""),
    "blank": (" \n\t", False, "empty", ""),
    "token": ("<|im_end|>", False, "empty", ""),
    "only thinking": ("<think>x</think>", False, "empty", ""),
    "empty cell": ("§repl\n§", False, "empty", ""),
    "plan": ("I will look first.", False, "no_action", ""),
    "open thinking": ("<think>\n§repl\nf()\n§", False, "no_action", ""),
    "open thinking, cut": ("<think>\n§repl\nf()\n§", True, "cut_off", "thinking"),
    "cut prose": ("I will look fi", True, "cut_off", "before"),
    "nothing, cut": ("", True, "cut_off", "before"),
    "cut cell": ("§repl\nprint(1", False, "cut_off", "label repl"),
    "cut cell that parses": ("§python\nprint(1)\nx", True, "cut_off", "label python"),
    "cut in a string": ("§repl\nx = '''\n§json\n{}\n§\nand", True, "cut_off", "label repl"),
    "nothing after the label": ("Now:\n§repl\n", False, "cut_off", "label repl"),
    "cut answer": ("FINAL(the answer is", True, "cut_off", "FINAL"),
    "cut bare code": ("x = 1\ny = f(x)", True, "cut_off", ""),
    "cut plain fence": ("§\nx = f()\n", True, "cut_off", ""),
    "function": (
        "<function=python>\nprint(1)\n</function>",
        False,
        "foreign_call",
        "<function=...>",
    ),
    "tool_call": (
        '<tool_call>{"name": "python"}</tool_call>',
        False,
        "foreign_call",
        "tool_call XML",
    ),
    "invoke": ('<invoke name="repl">print(1)</invoke>', False, "foreign_call", "<invoke name=...>"),
    "JSON": (
        '{"name": "python", "arguments": {"code": "f()"}}',
        False,
        "foreign_call",
        "JSON tool call",
    ),
    "JSON in a fence": ('§json\n{"name": "py", "arguments": {}}\n§', False, "foreign_call", "JSON"),
    "execute": ("<execute>\nprint(1)\n</execute>", False, "foreign_call", "<execute>"),
    "code": ("Thought: look\n<code>\nprint(1)\n</code>", False, "foreign_call", "<code>"),
    "inline mention": ("The tag `<tool_call>` is not mine.", False, "no_action", ""),
    "just data": ('{"name": "Bo", "age": 3}', False, "no_action", ""),
}


@pytest.mark.parametrize(("reply", "cut", "problem", "detail"), PROBLEMS.values(), ids=PROBLEMS)
def test_problems(reply: str, cut: bool, problem: str, detail: str) -> None:
    parsed = read(reply, truncated=cut)
    assert parsed.cells == ()
    assert parsed.final is None
    assert parsed.problem == problem
    assert detail in parsed.detail
    assert bool(detail) <= bool(parsed.detail)


def test_complete_cells_before_a_cut_one_are_kept() -> None:
    parsed = read("§repl\na()\n§\nand\n§repl\nb(", truncated=True)
    assert parsed.cells == ("a()",)
    assert parsed.problem == "cut_off"
    assert "not closed" in parsed.detail
    assert parsed.prose == "and"


def test_complete_reply_that_is_said_to_be_truncated_runs() -> None:
    assert read("§repl\na()\n§", truncated=True) == ParsedReply(cells=("a()",))


def test_foreign_call_beside_a_cell_is_no_problem() -> None:
    parsed = read("<tool_call>x</tool_call>\n§repl\na()\n§")
    assert parsed.cells == ("a()",)
    assert parsed.problem is None


PROSE = {
    "around a cell": ("Before.\n§repl\na()\n§\nAfter.", "Before.\n\nAfter."),
    "around a final": ("Before.\n**FINAL(1)**\nAfter.", "Before.\n\nAfter."),
    "no thinking": ("<think>x</think>Visible.", "Visible."),
    "no tokens": ("<|start|>Visible <|x|>text.<|im_end|>", "Visible text."),
    "other fences stay": ("See\n§json\n{}\n§", "See\n§json\n{}\n§"),
    "plain fences stay": ("See\n§\nParis\n§", "See\n§\nParis\n§"),
    "plain cell goes": ("See\n§\nf()\n§", "See"),
    "mention stays": ("I will call FINAL(x) later.", "I will call FINAL(x) later."),
}


@pytest.mark.parametrize(("reply", "prose"), PROSE.values(), ids=PROSE)
def test_prose(reply: str, prose: str) -> None:
    assert read(reply).prose == prose.replace("§", "```")


MEGA = 1_000_000
HOSTILE = {
    "backticks": "`" * MEGA,
    "fences on a line": "```a " * (MEGA // 5),
    "opening fences": "```repl\n" * (MEGA // 8),
    "plain fences": "```\n" * (MEGA // 4),
    "closers of a broken cell": "```repl\n(\n" + "x\n```\n" * (MEGA // 6),
    "closers in a string": "```repl\nx='''\n" + "x\n```\n" * (MEGA // 6),
    "glued closers": "```repl\n(\n" + "x```y\n" * (MEGA // 6),
    "broken cells": "```repl\n(\n```\n" * (MEGA // 14),
    "slow to parse": "```repl\n" + "a\n" * (MEGA // 2) + "a b\n```",
    "shrinking fences": "".join("`" * n + "x" for n in range(1400, 2, -1)),
    "brackets in a cell": "```repl\n" + "(" * 100_000 + "\n```",
    "minus in a cell": "```repl\n" + "-" * MEGA + "1\n```",
    "long sum": "```repl\n" + "a+" * 40_000 + "a\n```",
    "long chain": "a" + ".a" * 49_000,
    "half brackets": "FINAL(" + ")" * MEGA,
    "half brackets and words": "FINAL(" + "1) x " * (MEGA // 5),
    "opening brackets": "FINAL(" + "(" * MEGA,
    "finals": "FINAL(\n" * (MEGA // 7),
    "finals that go on": "FINAL(1) x\n" * (MEGA // 11),
    "finals on a line": "FINAL(1). " * (MEGA // 10),
    "quoted finals": 'FINAL("x\n' * (MEGA // 9),
    "triple quoted": 'FINAL("""' + "\\" * MEGA,
    "thinking": "<think>" * (MEGA // 7),
    "closing thinking": "</think>" * (MEGA // 8),
    "tokens": "<|a|>" * (MEGA // 5),
    "open tokens": "<|a" * (MEGA // 3),
    "newlines": "x" + "\n" * MEGA + "x",
    "blanks": "```" + " " * MEGA + "x",
    "blank lines after fences": ("```\n" + " \n" * 50) * (MEGA // 104),
    "digits": "1" * MEGA,
    "info": "```python " + "a:" * (MEGA // 2),
    "attributes": "```python" + " .a#b:c" * 50 + "(\n" + "```python a=b.c:d;" * 50_000,
    "JSON": '[{"a":' * (MEGA // 6),
    "NUL and surrogates": "```repl\n\0\ud800'''\n```\n" * 40_000,
    "marks": "*" * MEGA + "FINAL(1)" + "*" * MEGA + "x",
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("reply", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_ends_in_time_and_without_an_error(reply: str, monkeypatch) -> None:
    made: list[Probe] = []

    class Counted(Probe):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    monkeypatch.setattr("langchain_replm._reply._scan.Probe", Counted)
    for truncated in (False, True):
        parsed = parse_reply(reply, truncated=truncated)
        assert len(parsed.cells) <= MAX_FENCES
    assert len(made) == 2
    assert all(probe.attempts <= MAX_PROBES for probe in made)
    assert all(probe.chars <= MAX_PROBED_CHARS for probe in made)


@pytest.mark.parametrize(
    "source",
    [
        r"'\d'",
        r"b'\N'",
        r"f'\d{x}'",
        r"f'\{x}'",
        r"'\777'",
        r"f'{x:\d}'",
        r"rf'\{x}'",
        r"'\N{EM DASH}'",
        r"f'\N{EM DASH}'",
        "1if x else 2",
        "1_0in x",
        "0o17and 2",
        "1e3or 2",
        "'\\\\'",
        "'\\''",
        "x = 1 + \\\n  2",
        "'a\\\nb'",
        "x1if = 2",
    ],
)
def test_parsing_never_warns_and_still_parses(source: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Probe().parses(source)
        assert parse_reply(f"```repl\n{source}\n```").cells == (source,)


@pytest.mark.parametrize("source", ["\\x", "x = \\ 1", "'\\'", "x1if y"])
def test_silencing_makes_no_python_of_what_is_none(source: str) -> None:
    assert not Probe().parses(source)
    assert quiet("x = 1") == "x = 1"


def test_warning_filters_of_the_process_stay_as_they_are() -> None:
    before = list(warnings.filters)
    threads = [
        threading.Thread(target=parse_reply, args=("```repl\n'\\d'\n```",)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before


def test_a_refused_text_counts_as_broken(monkeypatch) -> None:
    monkeypatch.setattr(_python, "MAX_PROBES", 1)
    probe = Probe()
    assert probe.parses("x = 1")
    assert probe.parses("x = 1")
    assert not probe.spent
    assert not probe.parses("y = 1")
    assert probe.spent


def test_a_cell_too_long_to_be_parsed_still_runs() -> None:
    cell = "x = 1\n" * 20_000 + "y = 2"
    assert len(cell) > _python.MAX_PROBE_CHARS
    assert parse_reply(f"```repl\n{cell}\n```").cells == (cell,)


def test_deep_code_is_safe_with_a_high_recursion_limit() -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000_000)
    try:
        parse_reply("```repl\n" + "a+" * 500_000 + "a\n```")
        parse_reply("```repl\n" + "a+" * 49_000 + "a\n```")
    finally:
        sys.setrecursionlimit(limit)


class Cycle:
    """Garbage that runs Python when it is collected, and so lets other threads go on."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        sum(range(50))


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads change, and garbage is collected, as often as they can."""
    interval, threshold = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(1e-6)
    gc.set_threshold(20, 5, 5)
    yield
    sys.setswitchinterval(interval)
    gc.set_threshold(*threshold)


@pytest.mark.usefixtures("restless")
def test_replies_are_read_right_while_other_threads_read_theirs() -> None:
    """CPython 3.11 miscounts the depth of trees that several threads build at once."""
    cell = "\n".join(f"if a{n}:\n    b = '''\n~~~\n'''" for n in range(5))
    wrong: list[object] = []

    def read_all() -> None:
        for _ in range(100):
            Cycle()
            cells = parse_reply(f"Look:\n~~~python\n{cell}").cells
            final = parse_reply('FINAL("a\\n\\"b\\"")').final
            if cells != (cell,) or final != text('a\n"b"'):
                wrong.append((cells, final))

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(read_all) for _ in range(4)]:
            done.result()
    assert not wrong
