"""The committed tables are what the data gives, and the probes tell good from bad."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks.compare import probes
from benchmarks.compare.facts import PROBED, READ, load
from benchmarks.compare.tables import between, wanted


def test_the_tables_are_what_the_data_gives() -> None:
    for path, text in wanted(load()).items():
        assert path.read_text() == text, "run: make compare ARGS=--tables"


def test_what_others_have_and_we_lack_is_told() -> None:
    theirs = [row for row in load().features if row.theirs]
    assert len(theirs) >= 5
    for row in theirs:
        assert row.facts["langchain_replm"].word != "yes"
        assert "yes" in {fact.word for fact in row.facts.values()}


def test_a_probed_fact_cannot_be_claimed_and_none_is_missing() -> None:
    import tomllib

    read, seen = tomllib.loads(READ.read_text()), json.loads(PROBED.read_text())
    row = next(row for row in read["features"] if row["key"] == "runs_apart")
    with pytest.raises(ValueError, match="one fact, probed or read"):
        load({**read, "features": [{**row, "rlms": "yes"}]}, seen)
    with pytest.raises(ValueError, match="one fact, probed or read"):
        load({**read, "features": [row]}, {**seen, "rlms": {}})
    noted = load({**read, "features": [{**row, "rlms": ":a note"}]}, seen)
    fact = noted.features[0].facts["rlms"]
    assert (fact.word, fact.note, fact.probed) == ("no", "a note", True)
    older = {**seen["rlms"], "version": "0.0.1"}
    with pytest.raises(ValueError, match=r"has not been probed: 0\.0\.1"):
        load({**read, "features": [row]}, {**seen, "rlms": older})
    with pytest.raises(ValueError, match="markers"):
        between("a page", "comparison", "")


def test_our_own_probed_facts_still_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "COPIES", 3)
    monkeypatch.setattr(probes, "PATIENCE_SECONDS", 100)
    apart = probes.twenty(Path(sys.executable), "langchain_replm")
    assert apart["is"] == "yes", apart


def test_an_answer_of_a_peer_is_judged_by_what_is_right() -> None:
    here = Path(sys.executable)
    parts, right = probes.CASES["plan_is_no_answer"]
    assert probes.one(here, "langchain_replm", *parts).answer == right
    gullible = probes.one(here, "langchain_replm", probes.LOOK, probes.say("FINAL(the plan)"))
    assert gullible.answer == "the plan" != right


def test_a_run_that_hears_another_one_is_not_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def mixed(python: Path, name: str, script: object, *, copies: int = 1) -> probes.Outcome:
        models = probes.Models(probes.Dialect(), lambda _: [])
        models.seen.update({"0": "mark-0- mark-1-", "1": "mark-1-"})
        return probes.Outcome(["heron-0", "heron-1"], 0.0, models)

    monkeypatch.setattr(probes, "run", mixed)
    seen = probes.twenty(Path(sys.executable), "rlms")
    assert seen == {"is": "no", "seen": "1 of 20 runs saw their own output only"}
