"""Questions of the user's own: what is in the file is what is asked, and bad lines are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document

from langchain_replm.errors import ConfigurationError
from langchain_replm.evals.scoring import SCORERS
from langchain_replm.evals.tasks import task
from langchain_replm.evals.types import Example
from langchain_replm.testing import ScriptedChatModel

GOOD = {"query": "Who fell?", "expected": "the clerk", "context": "The clerk fell. " * 10}


def write(place: Path, *lines: Any) -> Path:
    path = place / "mine.jsonl"
    path.write_text("\n".join(x if isinstance(x, str) else json.dumps(x) for x in lines))
    return path


def examples(path: Path, **options: Any) -> dict[str, Example]:
    made = task("questions", path=path, **options)
    return {example.id: example for example in made.examples(context_tokens=9, count=99, seed=0)}


def test_contexts_come_from_the_line_or_from_files_beside_it(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("Über a" * 8, encoding="utf-8")
    (tmp_path / "b.md").write_text("b")
    path = write(
        tmp_path,
        GOOD,
        "",
        {**GOOD, "context": ["one", "two"], "id": "two texts", "metadata": {"year": 1}},
        {"query": "q", "expected": ["x", "y"], "context_path": "texts/a.txt", "id": 7},
        {"query": "q", "expected": "x", "context_path": ["b.md", "texts/a.txt"]},
        {"query": "q", "expected": "x", "context_path": str(tmp_path / "b.md")},
    )
    found = examples(path)
    assert set(found) == {f"questions-{name}" for name in ("1", "two texts", "7", "5", "6")}
    plain, two, one_file = (found[f"questions-{name}"] for name in ("1", "two texts", "7"))
    assert (plain.context, plain.context_tokens) == (GOOD["context"], 40)
    assert (two.context, two.metadata) == (["one", "two"], {"year": 1, "scorer": "contains"})
    assert (one_file.context, one_file.context_tokens) == ("Über a" * 8, 12)
    assert found["questions-5"].context == [
        Document(id="b.md", page_content="b", metadata={"path": "b.md"}),
        Document(id="texts/a.txt", page_content="Über a" * 8, metadata={"path": "texts/a.txt"}),
    ]
    assert found["questions-6"].context == "b"


def test_the_count_cuts_and_the_seed_chooses(tmp_path: Path) -> None:
    path = write(tmp_path, *({**GOOD, "id": f"n{number}"} for number in range(20)))
    made = task("questions", path=path)
    first = [e.id for e in made.examples(context_tokens=9, count=20, seed=0)]
    assert [e.id for e in made.examples(context_tokens=5, count=3, seed=0)] == first[:3]
    assert [e.id for e in made.examples(context_tokens=9, count=20, seed=1)] != first
    assert len(set(first)) == 20


RIGHT_AND_WRONG = {
    "exact": ("the clerk", "Clerk.", "The clerk fell"),
    "contains": ("the clerk", "It was the clerk.", "The clerks"),
    "number": (12.5, "About 12.50 EUR", "12"),
    "f1": ("old clerk", "an old clerk", "nobody"),
    "set_f1": (["Oslo", "Rome"], "Rome, Oslo", "Paris"),
    "choice": ("B", "The correct answer is (B)", "C"),
}


@pytest.mark.parametrize("scorer", SCORERS)
def test_every_scorer_can_be_asked_for_by_name(scorer: str, tmp_path: Path) -> None:
    expected, right, wrong = RIGHT_AND_WRONG[scorer]
    path = write(tmp_path, {**GOOD, "expected": expected})
    made = task("questions", path=path, scorer=scorer)
    [example] = made.examples(context_tokens=9, count=9, seed=0)
    assert example.metadata["scorer"] == scorer
    assert made.score(example, right).value == 1
    assert made.score(example, wrong).value == 0


def test_a_judge_may_score(tmp_path: Path) -> None:
    model = ScriptedChatModel(replies=["VERDICT: correct", "VERDICT: wrong"])
    path = write(tmp_path, {**GOOD, "expected": {"who": "the clerk"}})
    made = task("questions", path=path, scorer="judge", judge=model)
    [example] = made.examples(context_tokens=9, count=9, seed=0)
    assert [made.score(example, "the clerk").value for _ in range(2)] == [1, 0]
    assert '"who": "the clerk"' in model.calls[0][0].text


def test_every_bad_line_is_named_with_its_number(tmp_path: Path) -> None:
    bad: dict[str, Any] = {
        "Invalid JSON": "{",
        "should be an object": [1],
        "query: Field required": {"expected": "x", "context": "y"},
        "query: String should have at least 1 character": {**GOOD, "query": ""},
        "expected: Field required": {"query": "x", "context": "y"},
        "expected: it must not be null": {**GOOD, "expected": None},
        "expected: it must be a text or a list of texts": {**GOOD, "expected": [1]},
        "needs either context or context_path": {"query": "x", "expected": "y"},
        "either context or context_path": {**GOOD, "context_path": "x"},
        "context": {**GOOD, "context": []},
        "there is no file 'gone.txt'": {"query": "x", "expected": "y", "context_path": "gone.txt"},
        "qury: Extra inputs": {**GOOD, "qury": 1},
        "metadata: Input should be": {**GOOD, "metadata": 3},
    }
    path = write(tmp_path, GOOD, *bad.values())
    with pytest.raises(ConfigurationError, match=r"'mine.jsonl' cannot be used") as caught:
        task("questions", path=path)
    named = str(caught.value).splitlines()[1:]
    assert len(named) == len(bad)
    for number, (says, line) in enumerate(zip(bad, named, strict=True), 2):
        assert line.startswith(f"line {number}: "), line
        assert says in line


@pytest.mark.parametrize(
    ("scorer", "expected", "says"),
    [
        ("number", "many", "a number"),
        ("number", True, "a number"),
        ("number", "NaN", "a number"),
        ("choice", "E", "A, B, C or D"),
        ("set_f1", "Oslo", "a list of texts"),
        ("exact", 3, "a text or a list of texts"),
    ],
)
def test_what_is_expected_must_fit_the_scorer(
    scorer: str, expected: Any, says: str, tmp_path: Path
) -> None:
    path = write(tmp_path, {**GOOD, "expected": expected})
    with pytest.raises(ConfigurationError, match=f"line 1: expected: it must be {says}"):
        task("questions", path=path, scorer=scorer)


def test_many_bad_lines_are_cut_and_equal_ids_are_bad(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"line 20: .*\nand 10 more"):
        task("questions", path=write(tmp_path, *["{"] * 30))
    with pytest.raises(ConfigurationError, match="the id 'a' occurs 2 times"):
        task("questions", path=write(tmp_path, {**GOOD, "id": "a"}, {**GOOD, "id": "a"}))
    with pytest.raises(ConfigurationError, match="it has no lines"):
        task("questions", path=write(tmp_path))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"path": None}, "needs path="),
        ({"path": "gone.jsonl"}, "'gone.jsonl' is none"),
        ({"scorer": "luck"}, "scorer is one of exact, contains, number, f1, set_f1, choice, judge"),
        ({"scorer": "judge"}, "needs judge="),
        ({"judge": ScriptedChatModel()}, "no other scorer takes one"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    options: dict[str, Any], says: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        task("questions", **{"path": write(tmp_path, GOOD), **options})


def test_a_file_that_is_no_text_is_named_when_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(b"\xff\xfe\x00")
    path = write(tmp_path, {"query": "x", "expected": "y", "context_path": "x.bin"})
    with pytest.raises(ConfigurationError, match=r"'x.bin' cannot be read as UTF-8 text"):
        examples(path)
