"""Whatever a cell prints: what is shown is its start and its end, and what is missing is counted."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_replm import prompts
from langchain_replm._nodes.truncate import truncate
from langchain_replm.events import PREVIEW_CHARS, preview
from langchain_replm.state import Turn
from langchain_replm.types import Cell, Iteration
from tests.unit_tests._nodes.by_hand import scope_for, state_for

MARK = re.compile(r"\n\[\.\.\. ([\d,]+) characters left out \.\.\.\]\n")

# Bracket and digits are likely, so that an output may look like our own mark.
texts = st.text(
    st.sampled_from("a\n[.] 1,🪿\ud83d") | st.characters(exclude_categories=()), max_size=700
)
sizes = st.integers(0, 300)
shown = st.integers(1, 500)


def cell_of(text: str, head: int, tail: int, **fields: Any) -> Cell:
    """What a worker that keeps its word makes of an output."""
    kept = text[:head]
    rest = text[head:]
    return Cell(
        code="",
        status="ok",
        output_head=kept,
        output_tail=rest[len(rest) - min(tail, len(rest)) :],
        output_chars=len(text),
        **fields,
    )


@given(texts, sizes, sizes)
def test_the_output_of_a_cell_is_whole_or_marked(text: str, head: int, tail: int) -> None:
    cell = cell_of(text, head, tail)
    left_out = len(text) - len(cell.output_head) - len(cell.output_tail)
    assert left_out == max(0, len(text) - head - tail)
    if left_out == 0:
        assert cell.output == text
        return
    mark = f"\n[... {left_out:,} characters left out ...]\n"
    assert cell.output == text[:head] + mark + (text[-tail:] if tail else "")


@given(texts, sizes, sizes, shown)
def test_head_tail_and_count_are_the_whole_output(
    text: str, head: int, tail: int, shown_chars: int
) -> None:
    cell = cell_of(text, head, tail)
    output, left_out = prompts.cut_middle(cell, shown_chars)
    if left_out == 0:
        assert output == text
        assert len(output) <= shown_chars
        return
    mark = f"\n[... {left_out:,} characters left out ...]\n"
    kept = len(output) - len(mark)
    assert kept + left_out == len(text)
    assert 0 <= kept <= shown_chars
    # The text may hold the same mark, so the cut is looked for where it can be.
    assert any(
        output == text[:start] + mark + text[len(text) - (kept - start) :]
        for start in range(kept + 1)
    )


@given(texts, shown)
def test_what_was_kept_whole_is_cut_to_exactly_the_size(text: str, shown_chars: int) -> None:
    output, left_out = prompts.cut_middle(cell_of(text, 400, 400), shown_chars)
    if len(text) <= shown_chars:
        assert (output, left_out) == (text, 0)
    else:
        assert left_out == len(text) - shown_chars, "not one character less than allowed"


ERROR_CHARS = 300
FRAME_CHARS = 700
"""Fences, sizes and sentences around the output of one cell."""

cells = st.builds(
    lambda text, head, tail, error, changed: cell_of(
        text, head, tail, error=error, changed=changed
    ),
    texts,
    sizes,
    sizes,
    st.none() | st.text(max_size=ERROR_CHARS),
    st.dictionaries(st.text("abc", min_size=1, max_size=3), st.text(max_size=10), max_size=3),
)


@given(st.lists(cells, min_size=1, max_size=6), st.integers(200, 1_000))
@settings(max_examples=200)
def test_an_observation_is_bounded_by_the_configuration(ran: list[Cell], shown_chars: int) -> None:
    turn = Turn(number=1, reply="r", code=("c",) * len(ran), cells=tuple(ran))
    flow = truncate(state_for(turn), scope_for(metadata_prefix_chars=shown_chars))
    next(flow)
    try:
        flow.send(None)
    except StopIteration as returned:
        update = returned.value
    step = Iteration.model_validate(update["trajectory"][0])
    assert step.observation is not None
    # Every cell shows at least 200 characters, however many there are.
    output = max(shown_chars, 200 * len(ran))
    assert len(step.observation) <= output + len(ran) * (FRAME_CHARS + ERROR_CHARS)
    for cell in ran:
        if cell.error is not None:
            assert cell.error in step.observation, "an error is never cut"
    assert step.cells == tuple(ran), "the record keeps what the observation cuts"


@given(st.text(st.characters(exclude_categories=()), max_size=2_000))
def test_a_preview_is_one_short_line(text: str) -> None:
    line = preview(text)
    assert len(line) <= PREVIEW_CHARS
    assert "\n" not in line


@given(texts, texts)
def test_a_fence_cannot_be_closed_from_inside(text: str, other: str) -> None:
    inner = prompts.fence("output", text)
    outer = prompts.fence("output", f"{other}\n{inner}\n{other}")
    opening = outer.split("\n", 1)[0]
    closing = outer.rsplit("\n", 1)[1]
    assert closing == opening.replace("<", "</", 1)
    assert outer.count(closing) == 1
    assert outer.count(opening) == 1
