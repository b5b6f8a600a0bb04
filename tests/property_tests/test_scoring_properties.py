"""Scores stay between 0 and 1, right answers get 1, and noise does not help."""

from __future__ import annotations

import json
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_replm.evals import scoring, scoring_oolong

few = settings(max_examples=40)

word = st.from_regex(r"[b-z]{2,8}", fullmatch=True)
some_words = st.lists(word, min_size=1, max_size=6)
pair = st.tuples(st.integers(1, 60), st.integers(61, 99))
letter = st.sampled_from("ABCD")


@few
@given(st.text(max_size=200), st.lists(st.text(max_size=20), min_size=1, max_size=3), letter)
def test_every_text_has_a_score_from_0_to_1(answer: str, expected: list[str], right: str) -> None:
    scores = [
        scoring.exact(answer, expected),
        scoring.contains(answer, expected),
        scoring.f1(answer, expected),
        scoring.set_f1(answer, expected),
        scoring.number(answer, 3),
        scoring.choice(answer, right),
        scoring_oolong.pairs_f1(answer, [(1, 2)]),
        *(scoring_oolong.oolong(answer, 3, kind) for kind in ("NUMERIC", "LABEL", "DATE")),
    ]
    assert all(0 <= score.value <= 1 for score in scores)
    assert all(score.reason or score.value for score in scores if score is not scores[2])


@few
@given(some_words, some_words)
def test_what_is_right_is_right_however_it_is_dressed(
    expected: list[str], before: list[str]
) -> None:
    text = " ".join(expected)
    said = f" {text.upper()}. "
    assert scoring.exact(said, text).value == 1
    assert scoring.f1(said, text).value == 1
    assert scoring.contains(f"{' '.join(before)}: {said} of course", text).value == 1
    assert scoring.contains(f"x{text}x", text).value == 0
    assert scoring.exact(said, [*before, text]).value == 1


@few
@given(st.sets(word, min_size=1, max_size=6), st.sets(word, max_size=6))
def test_sets_are_read_from_lists_lines_and_commas(right: set[str], said: set[str]) -> None:
    hits = len(right & said)
    f1 = 2 * hits / (len(right) + len(said))
    for answer in (json.dumps(sorted(said)), ", ".join(said), "\n".join(f"- {s}" for s in said)):
        assert scoring.set_f1(answer, sorted(right)).value == pytest.approx(f1)


@few
@given(st.integers(-(10**9), 10**9), st.integers(0, 99))
def test_the_last_number_counts_with_or_without_commas(value: int, other: int) -> None:
    assert scoring.number(f"Of {other}, it is {value:,}.", value).value == 1
    assert scoring.number(f"{other} of which {value}", value).value == 1
    assert scoring.number(f"It is {value}.50", value + (0.5 if value >= 0 else -0.5)).value == 1
    assert scoring.number(f"{value} and {value + 1}", value).value == 0


@few
@given(letter, letter)
def test_a_letter_is_read_in_every_usual_form(said: str, right: str) -> None:
    for form in ("The correct answer is ({})", "The correct answer is **{}**.", "({})", "{}", "{}. so",
                 "{}) that", "Answer: {}", "I think the answer is {}."):  # fmt: skip
        assert scoring.choice(form.format(said), right).value == float(said == right), form
    for form in ("The correct answer is ({})", "The correct answer is **{}**."):
        assert scoring.published_letter(form.format(said)) == said
    for form in ("{} good point", "I answer {} questions", "CAB", ""):
        assert scoring.choice(form.format(said), right).value == 0
    for form in ("{}", "Answer: {}", "the correct answer is {}"):
        assert scoring.published_letter(form.format(said)) is None


@few
@given(st.sets(pair, min_size=1, max_size=20), st.sets(pair, max_size=20))
def test_pairs_are_unordered_and_counted_once(right: set, said: set) -> None:
    hits = len(right & said)
    f1 = 2 * hits / (len(right) + len(said))
    for answer in (
        str(sorted(said)),
        "\n".join(f"({b}, {a})" for a, b in said),
        json.dumps([*said] * 2),
    ):
        assert scoring_oolong.pairs_f1(answer, right).value == pytest.approx(f1)


@few
@given(st.integers(0, 10_000), st.integers(-5_000, 5_000))
def test_a_number_that_is_off_loses_a_quarter_for_each_step(right: int, off: int) -> None:
    answer = f"I counted. Answer: **{right + off}**"
    expected = 0.75 ** abs(off)
    assert scoring_oolong.oolong(answer, right, "NUMERIC").value == expected


@few
@given(st.dates(date(1950, 1, 1), date(2050, 12, 31)))
def test_dates_are_read_in_every_usual_form(day: date) -> None:
    full, short = format(day, "%B"), format(day, "%b")
    for text in (str(day), f"{day:%m/%d/%Y}", f"{full} {day.day}, {day.year}", f"{short} {day:%d, %Y}",
                 f"{day.day} {full} {day.year}", f"the {day.day}th of {full} {day.year}"[4:]):  # fmt: skip
        assert scoring_oolong.read_date(text) == day
        assert scoring_oolong.oolong(f"Date: {text}", str(day), "DATE").value == 1
    assert scoring_oolong.oolong("Date: 1900-01-01", str(day), "DATE").value == 0
    assert scoring_oolong.read_date(f"{day.year}-13-01") is None
