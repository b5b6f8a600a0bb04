"""What is made of results: means with their spread, tables, and a file that may be damaged."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from langchain_replm.errors import ConfigurationError
from langchain_replm.evals import Results, ResultsFileError, RunResult, read_results
from langchain_replm.evals._record import ResultsFile
from langchain_replm.evals._spread import deviation, score_interval, t_interval

DEFINITION: dict[str, Any] = {
    "seed": 0,
    "count": 2,
    "tasks": {"doors": {"kind": "Doors", "options": {}}},
    "runners": {"rlm": {"kind": "RLM"}, "base": {"kind": "WholeContext"}},
}


def result(runner: str, example: str, score: float, **more: Any) -> RunResult:
    usage = {"m": {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110}}
    given = {
        "task": "doors", "context_tokens": 1024, "example": example, "example_sha256": "0",
        "runner": runner, "repeat": 0, "seed": 0, "answer": "a", "answer_chars": 1, "expected": "b",
        "score": score, "stop_reason": "answered", "usage_by_model": usage, "cost": 0.5,
        "iterations": 2, "sub_calls": 3, "elapsed_seconds": 1.5,
    }  # fmt: skip
    return RunResult(**{**given, **more})


RUNS = (
    result("rlm", "1", 1.0),
    result("rlm", "1", 0.0, repeat=1),
    result("rlm", "2", 1.0, iterations=4),
    result("rlm", "2", 1.0, repeat=1, iterations=4),
    result("base", "1", 0.0, stop_reason="window", usage_by_model={}, cost=None),
)


def test_repeats_are_averaged_before_examples_are() -> None:
    rlm, base = Results(RUNS).summaries()
    assert (rlm.runner, rlm.examples, rlm.runs) == ("rlm", 2, 4)
    assert rlm.score.mean == 0.75
    assert (rlm.score.low, rlm.score.high) == score_interval([0.5, 1.0])
    assert rlm.repeat_deviation == pytest.approx(deviation([1.0, 0.0]) / 2)
    assert (rlm.iterations.mean, rlm.iterations.low) == (3.0, t_interval([2.0, 4.0])[0])
    assert rlm.cost is not None
    assert rlm.cost.mean == 0.5
    assert (base.windows, base.cost) == (1, None), "a cost that is unknown is not 0"


def test_intervals_are_those_of_the_textbook() -> None:
    # Student's t for four degrees of freedom, and for forty by the first term of its series.
    assert t_interval([1, 2, 3, 4, 5]) == pytest.approx((1.0368, 4.9632), abs=1e-3)
    low, high = t_interval([0.0] * 20 + [1.0] * 21)
    assert (high - low) / 2 == pytest.approx(
        2.021 * deviation([0.0] * 20 + [1.0] * 21) / 41**0.5, rel=2e-3
    )
    assert t_interval([7.0]) == (7.0, 7.0)
    # Wilson, "Probable inference ...": 8 of 10.
    assert score_interval([1.0] * 8 + [0.0] * 2) == pytest.approx((0.490, 0.943), abs=1e-3)
    assert score_interval([0.0] * 3)[0] == 0.0


def test_tables_say_the_same_in_three_forms() -> None:
    results = Results(RUNS)
    text, markdown = results.table().splitlines(), results.table("markdown").splitlines()
    assert text[1].split()[:5] == ["doors", "1,024", "rlm", "2", "0.75"]
    assert "1 of 1 over the window" in text[2]
    assert "unknown" in text[2]
    assert markdown[3].startswith("| doors | 1,024 | base | 1 | 0.00\\* |")
    [rlm, base] = csv.DictReader(results.table("csv").splitlines())
    assert (float(rlm["score"]), rlm["runs"], base["cost"]) == (0.75, "4", "")


def test_what_was_left_undone_is_said() -> None:
    assert Results(RUNS).note == ""
    told = Results(RUNS, undone=3, stopped="max_cost_usd=1: $1.0000 are spent").note
    assert "max_cost_usd=1" in told
    assert "3 of 8 runs were not made" in told


def kept(path: Path) -> Path:
    file = ResultsFile(path)
    file.define(DEFINITION)
    for run in RUNS:
        file.keep(run)
    return path


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = kept(tmp_path / "runs.jsonl")
    assert sorted(read_results(path).runs, key=repr) == sorted(RUNS, key=repr)
    torn = path.read_bytes()[:-20]
    path.write_bytes(torn)
    assert len(read_results(path).runs) == 4
    assert path.read_bytes() == torn, "reading mends nothing"
    ResultsFile(path).define(DEFINITION)
    assert len(read_results(path).runs) == 4
    assert path.read_bytes().endswith(b"\n"), "writing does"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "line 7"),
        ('{"type": "run", "task": "doors"}', "line 7"),
        ('{"type": "story"}', "a line of type 'story'"),
        ('{"type": "experiment", "schema": "x", "version": 1}', "schema"),
        ("[1]", "line 7"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str, told: str) -> None:
    path = kept(tmp_path / "runs.jsonl")
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ResultsFileError, match=told):
        read_results(path)


def test_another_experiment_is_refused_and_a_larger_one_is_not(tmp_path: Path) -> None:
    path = kept(tmp_path / "runs.jsonl")
    more = {**DEFINITION, "runners": {"search": {"kind": "Search"}}}
    ResultsFile(path).define(more)
    assert set(ResultsFile(path).definition["runners"]) == {"rlm", "base", "search"}
    for change in ({"seed": 1}, {"count": 3}, {"runners": {"rlm": {"kind": "Other"}}}):
        with pytest.raises(ResultsFileError, match="another experiment"):
            ResultsFile(path).define({**DEFINITION, **change})
    assert json.loads(path.read_text().splitlines()[0])["version"] == 1


def test_a_file_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="There is no file"):
        read_results(tmp_path / "runs.jsonl")


@pytest.mark.parametrize(("name", "begins"), [("p.png", b"\x89PNG"), ("p.svg", b"<?xml")])
def test_a_plot_is_written_without_a_display(tmp_path: Path, name: str, begins: bytes) -> None:
    sizes = [
        run.model_copy(update={"context_tokens": size}) for run in RUNS for size in (1024, 4096)
    ]
    path = Results(tuple(sizes)).plot(tmp_path / name)
    data = path.read_bytes()
    assert data.startswith(begins)
    if name.endswith("svg"):
        assert Results(tuple(sizes)).plot(path).read_bytes() == data, "nothing of it is a date"


def test_a_plot_of_nothing_or_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no results"):
        Results(()).plot(tmp_path / "p.png")
    with pytest.raises(ConfigurationError, match=r"\.png, \.svg"):
        Results(RUNS).plot(tmp_path / "p.gif")
