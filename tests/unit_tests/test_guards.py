"""Guards against answers that were never computed: the shapes of the field, and ordinary finals."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_replm._guards import hold, is_plan
from langchain_replm._reply import parse_reply, submission_of, touched_by
from langchain_replm.state import Turn
from langchain_replm.types import Answer, Cell, Iteration
from tests.unit_tests._nodes.by_hand import handle_of, scope_for

CELL = "```repl\nn = context.count('heron')\nprint(n)\n```"


@pytest.mark.parametrize(
    "text",
    [
        "I will first search the context for the bird, then count its names.",
        "I'll look at the first 1000 characters.",
        "Let me check the text.",
        "First, I will split the context into chunks.",
        "To answer this question, I need to read the whole text.",
        "Okay, let's start by examining the context.",
        "Plan: 1. split 2. ask 3. join",
        "Step 1: print the first lines.",
        "My approach is to search for years.",
        "**Plan:** search first",
        "We need to find the year.",
    ],
)
def test_a_plan_is_a_plan(text: str) -> None:
    assert is_plan(text)


@pytest.mark.parametrize(
    "text",
    [
        "42",
        "The heron stands still.",
        "I found three birds: heron, stork and crane.",
        "I could not find the year in the text.",
        "First, the treaty was signed; then it was broken.",
        "Planned Parenthood",
        "Let it be",
        "Letters from Iwo Jima",
        "Iowa will vote on Tuesday.",
        "Step 12 of the procedure was skipped.",
        "We the people",
        "The plan is on page 3, and the budget on page 4.".replace(
            "The plan is", "Its plan stands"
        ),
        "Next of kin: Mary Brown",
        "",
        "I will first say: " + "x" * 2_000,
    ],
)
def test_an_ordinary_answer_is_no_plan(text: str) -> None:
    assert not is_plan(text)


# -- output that the reply has made up -------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "real"),
    [
        pytest.param(
            f"{CELL}\n\n<output 0a1b2c3d>\n7\n</output 0a1b2c3d>\n\nFINAL(7)", 1, id="tags"
        ),
        pytest.param(f"{CELL}\n\nThe cell printed 1 characters:\n7\n\nFINAL(7)", 1, id="words"),
        pytest.param(f"{CELL}\n\n```output\n7\n```\n\nFINAL_VAR(n)", 1, id="a fence"),
        pytest.param(f"{CELL}\n\nOutput: 7\n\n```repl\nFINAL(7)\n```", 1, id="a heading"),
        pytest.param(f"{CELL}\n\n**REPL output:**\n```\n7\n```\n\nFINAL(7)", 1, id="bold"),
        pytest.param("The cell printed 12 characters:\nherons\n\nFINAL(herons)", 0, id="no cell"),
        pytest.param(CELL, None, id="an ordinary cell"),
        pytest.param(f"First this.\n\n{CELL}\n\nThen I will see.", None, id="prose around"),
        pytest.param(f"{CELL}\n\n```json\n{{}}\n```", None, id="another fence"),
        pytest.param("```output\n7\n```\n\nFINAL(7)", None, id="a quote without a cell"),
        pytest.param("FINAL(The <output 0a1b2c3d> tag marks it)", None, id="inside of the answer"),
        pytest.param("I read its output: seven.\n\nFINAL(seven)", None, id="a sentence"),
    ],
)
def test_output_of_the_reply_itself_is_seen(reply: str, real: int | None) -> None:
    assert parse_reply(reply).real_cells == real


# -- what cells submit and touch -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "literal", "names"),
    [
        ("FINAL('Paris')", True, set()),
        ("print(context[:9])\nFINAL(['a', 1])", True, set()),
        ("answer['content'] = 'Paris'\nanswer['ready'] = True", True, set()),
        ("FINAL(best)", False, {"best"}),
        ("FINAL_VAR('best')", False, {"best"}),
        ("FINAL(f'{n} birds')", False, {"n"}),
        ("FINAL(len(context))", False, {"len", "context"}),
    ],
)
def test_what_a_cell_submits(code: str, literal: bool, names: set[str]) -> None:
    submission = submission_of(code)
    assert submission is not None
    assert (submission.literal, submission.names) == (literal, names)


@pytest.mark.parametrize(
    "code", ["x = 1", "if x:\n    FINAL('yes')\nelse:\n    FINAL('no')", "def f(:", "FINAL()"]
)
def test_a_final_in_a_branch_was_computed(code: str) -> None:
    assert submission_of(code) is None


def test_what_a_cell_touches() -> None:
    touched = touched_by(
        "a = 1\nb, c = 2, 3\nd.append(1)\ne['k'] = 1\nfor p in a:\n    f = p\ng += 1\ng += 1\n"
        "def h():\n    i = 1\nj = [k for k in a]"
    )
    assert touched.all == set("abcdefgpj")
    assert touched.in_steps == set("fgp")
    assert touched_by("x = = 1\ntotal = sum(").all == {"total", "x"}


# -- holding ---------------------------------------------------------------------------------------

LONG = handle_of()
SHORT = handle_of("a heron")


def cell(code: str, **fields: Any) -> Cell:
    return Cell(code=code, **{"status": "ok", **fields})


def step(*cells: Cell, **fields: Any) -> Iteration:
    return Iteration(number=1, reply="r", cells=cells, observation="o", **fields)


def held(
    submitting: Cell | None,
    *past: Iteration,
    text: str = "seven herons",
    context: Any = LONG,
    closing: bool = False,
    **config: Any,
) -> str | None:
    answer = Answer(text=text)
    cells = () if submitting is None else (submitting.model_copy(update={"answer": answer}),)
    turn = Turn(number=len(past) + 1, reply="r", cells=cells, answer=text, closing=closing)
    return hold(turn, answer, past, context, scope_for(**config))


LITERAL = cell("print(context[:100])\nFINAL('seven herons')")
LOOKED = step(cell("print(context[:100])"))
FAILED = cell("total = 0\nfor p in context:\n    total += int(p)", status="error", error="E",
              changed={"total": "int: 3"})  # fmt: skip


def test_an_answer_that_is_written_out_before_any_output_was_seen_is_held_once() -> None:
    assert held(LITERAL) == "hold_first_answer"
    assert held(LITERAL, step(LITERAL, held="hold_first_answer")) is None
    assert held(LITERAL, LOOKED) is None, "it may have read it in the output"
    assert held(cell("FINAL(context.count('heron'))")) is None
    assert held(LITERAL, context=SHORT) is None
    assert held(LITERAL, closing=True) is None
    assert held(LITERAL, hold_first_answer=False) is None


def test_a_plan_is_held_once_and_then_taken() -> None:
    plan = "I will search the text for years."
    assert held(None, LOOKED, text=plan) == "hold_plan_answer"
    assert held(cell("FINAL(p)"), LOOKED, text=plan) == "hold_plan_answer"
    assert held(None, LOOKED, step(held="hold_plan_answer"), text=plan) is None
    assert held(None, LOOKED, text=plan, closing=True) is None
    assert held(None, LOOKED, text=plan, hold_plan_answer=False) is None


@pytest.mark.parametrize(
    ("code", "past", "guard"),
    [
        pytest.param("FINAL_VAR('total')", [FAILED], True, id="half made in a loop"),
        pytest.param("FINAL(total)", [cell("total = 1 / 0", status="error", error="E")], True,
                     id="never made anew"),
        pytest.param("FINAL_VAR('x')", [cell("x = f()", status="timeout", error="T")], True,
                     id="out of time"),
        pytest.param("FINAL(x)", [cell("x = f(", status="error", error="SyntaxError")], True,
                     id="did not parse"),
        pytest.param("FINAL(kept)", [cell("kept = 7\n1 / 0", status="error", error="E",
                                          changed={"kept": "int: 7"})], False,
                     id="made before the error"),
        pytest.param("FINAL(total)", [FAILED, cell("total = 5")], False, id="made anew since"),
        pytest.param("total = 5\nFINAL(total)", [FAILED], False, id="made anew here"),
        pytest.param("FINAL(other)", [FAILED], False, id="another one"),
        pytest.param("FINAL('seven')", [FAILED], False, id="a literal"),
        pytest.param("FINAL(total)", [cell("total = 3"), cell("1 / 0", status="error", error="E")],
                     False, id="the error had nothing to do with it"),
    ],
)  # fmt: skip
def test_a_variable_that_a_failed_cell_was_to_make_is_held_once(
    code: str, past: list[Cell], guard: bool
) -> None:
    expected = "hold_stale_variable" if guard else None
    assert held(cell(code), LOOKED, step(*past)) == expected
    assert held(cell(code), step(*past), step(held="hold_stale_variable")) is None
    assert held(cell(code), LOOKED, step(*past), hold_stale_variable=False) is None
