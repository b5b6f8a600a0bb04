"""The tables of the benchmarks are made from data; what failed is never hidden."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import _results
from benchmarks._measure import Plan, Row
from benchmarks._plot import draw
from benchmarks.peers import _cases
from benchmarks.peers._cases import Case, Result, Runner
from benchmarks.peers._script import CASES, DIALECTS, respond
from benchmarks.peers._systems import OURS, systems
from benchmarks.peers._tokens import Counter, measure_tokens
from tests.openai_server import OpenAIServerProcess

PAGE = "before\n<!-- {0}: made by make bench -->\nold\n<!-- {0}: end -->\nafter\n"


def found() -> dict[str, Any]:
    time = Case("a", "25 iterations, time", "s", {"ours": Result([0.2]), "other": Result([0.5])})
    lost = Case(
        "b", "100 runs at once, time", "s", {"ours": Result([0.1]), "other": Result(failed="boom")}
    )
    words = Case("c", "limit of 1 s", "", {"ours": Result(text="goes on"), "other": Result()})
    tokens = Case("d", "x tokens", "tokens", {"ours": Result([1234.0]), "other": Result([9.0])})
    shown = [
        {"name": name, "title": name.title(), "version": "1.2", "setting": "as it comes"}
        for name in ("ours", "other")
    ]
    return {
        "machine": {"cores": 2, "python": "3.11.7", "date": "2026-01-01"},
        "rounds": 3,
        "tokenizer": "characters / 4",
        "systems": shown,
        "not_run": {"third": "needs a tool"},
        "cases": [case.to_dict() for case in (time, lost, words, tokens)],
    }


def test_times_are_multiples_and_failures_are_told() -> None:
    text = _results.full(found())
    assert "| 25 iterations, time | 0.20 s | 2.5 x |" in text
    assert "| 100 runs at once, time | 0.10 s | failed |" in text
    assert "- failed: Other, 100 runs at once, time: `boom`" in text
    assert "| limit of 1 s | goes on | — |" in text
    assert "| x tokens | 1,234 | 9 |" in text
    assert "- third: —, needs a tool" in text
    assert "2 cores, Python 3.11.7, 2026-01-01" in text


def test_no_place_of_this_machine_gets_into_the_results() -> None:
    told = Result(failed="No module in /home/somebody/x.py, see https://example.org/a/b")
    assert told.to_dict()["failed"] == "No module in PATH, see https://example.org/a/b"


def test_parts_are_kept_and_published_between_the_markers(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    row = Row("worker", "start", 2.0, "python -I", 3.0)
    _results.keep({"floors": _results.floors_part([row])}, file)
    results = _results.keep({"peers": found()}, file)
    assert results == json.loads(file.read_text())
    assert set(results) == {"floors", "peers"}
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "README.md").write_text(PAGE.format("speed"))
    inner = tmp_path / "benchmarks" / "README.md"
    inner.write_text(PAGE.format("peers") + PAGE.format("floors"))
    for _ in range(2):  # the second time nothing changes
        _results.publish(results, tmp_path)
        pages = (tmp_path / "README.md").read_text(), inner.read_text()
    assert "2.5 x" in pages[0]
    assert "x tokens" not in pages[0], "the README shows some rows only"
    assert "x tokens" in pages[1]
    assert "| worker    | start | 2.00" in pages[1]
    for page in pages:
        assert "old" not in page
        assert page.startswith("before\n")
        assert page.endswith("after\n")


def test_a_page_without_markers_is_an_error(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("no markers")
    with pytest.raises(ValueError, match="has no markers"):
        _results.put(page, "speed", "text")
    assert page.read_text() == "no markers"


def test_the_picture_is_the_same_for_the_same_data(tmp_path: Path) -> None:
    one, two = tmp_path / "one.svg", tmp_path / "two.svg"
    draw(found(), one)
    draw(found(), two)
    assert one.read_bytes() == two.read_bytes()
    assert b"<svg" in one.read_bytes()


def test_every_system_has_a_dialect_a_driver_and_a_pinned_version() -> None:
    drivers = Path(_results.__file__).parent / "peers" / "drivers"
    for system in systems():
        assert system.name in DIALECTS
        assert (drivers / f"drive_{system.name}.py").exists()
        assert system == OURS or "==" in system.requirements[0]


def test_every_cell_of_the_script_is_python() -> None:
    for name, dialect in DIALECTS.items():
        for case, cells in CASES.items():
            for code in cells(3, dialect, "7"):
                wrapped = (
                    f"async def cell():\n    {code.replace(chr(10), chr(10) + '    ')}\n    pass"
                )
                compile(wrapped, f"{name}/{case}", "exec")
    assert callable(respond)


def test_ours_is_measured_by_the_same_machinery_at_tiny_size() -> None:
    plan = Plan(rounds=1, quick=True)
    with (
        OpenAIServerProcess("benchmarks.peers._script:respond") as server,
        Runner([OURS], server.base_url, plan) as runner,
    ):
        cases = [_cases._timed(runner, "loop_4", "step 3", 1, "time")]
        wrong = _cases._timed(runner, "loop_2", "no such answer", 1, "wrong")
    cases += measure_tokens([OURS], Counter([OURS]))
    assert "wrong answer: 'step 1'" in wrong.results["ours"].failed
    cases = [case.to_dict() for case in cases]
    results = {case["title"]: case["results"]["ours"] for case in cases}
    assert not [title for title, result in results.items() if result["failed"]]
    assert len(results) == 4
    assert all(result["value"] > 0 for result in results.values())
