"""Loaders of public data sets, over small files that were written in their shape."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from langchain_replm.errors import ConfigurationError
from langchain_replm.evals.tasks import task
from langchain_replm.evals.types import Example, Task
from langchain_replm.testing import ScriptedChatModel

Row = dict[str, Any]


def write(path: Path, rows: list[Any]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=3)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    else:
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        path.write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    return path


def oolong_rows() -> list[Row]:
    answers = [
        ("NUMERIC", "[7]"),
        ("LABEL", "['human being']"),
        ("COMPARISON", "['less common than']"),
        ("USER", "[44106]"),
        ("DATE", "[datetime.date(2023, 2, 5)]"),
        ("MONTH_YEAR", "['October 2022']"),
        ("LABEL", '["it\'s odd"]'),
    ]
    return [
        {
            "id": number,
            "context_len": length,
            "dataset": "trec_coarse" if number % 2 else "spam",
            "context_window_text": f"Date: Feb 02, 2023 || User: 44106 || Instance: Who? {number}",
            "context_window_text_with_labels": "never shown",
            "question": f"Question {number}?",
            "task": "TASK_TYPE.MOST_FREQ",
            "task_group": "counting",
            "answer": answer,
            "answer_type": f"ANSWER_TYPE.{kind}",
            "context_window_id": 3,
        }
        for length in (1024, 131072)
        for number, (kind, answer) in enumerate(answers)
    ]


def longbench_rows() -> list[Row]:
    return [
        {
            "_id": f"id{number}",
            "domain": "Code Repository Understanding" if number % 2 else "Single-Document QA",
            "sub_domain": "Code repo QA" if number % 2 else "Legal",
            "difficulty": "easy" if number < 4 else "hard",
            "length": "short",
            "question": f"What is {number}?",
            **{f"choice_{letter}": f"{letter.lower()}{number}" for letter in "ABCD"},
            "answer": "ABCD"[number % 4],
            "context": f"{number} " * 500 * (number + 1),
        }
        for number in range(8)
    ]


def browsecomp_rows(count: int = 12) -> list[Row]:
    def pages(kind: str, row: int, number: int) -> list[Row]:
        text = f"A {kind} page of question {row}. "
        return [
            {"docid": f"{kind}{row}-{at}", "text": text * (10 + at), "url": f"https://x.test/{at}"}
            for at in range(number)
        ]

    return [
        {
            "query_id": str(700 + row),
            "query": f"Which fort, built before {1800 + row}, was sold twice?",
            "answer": f"Fort Number {row}",
            "gold_docs": pages("gold", row, 1),
            "evidence_docs": pages("gold", row, 1) + pages("evidence", row, 2),
            "negative_docs": pages("negative", row, 8),
        }
        for row in range(count)
    ]


SETS = {
    "oolong-file": oolong_rows(),
    "longbench-v2": longbench_rows(),
    "browsecomp-plus": browsecomp_rows(),
}
SIZES = {"oolong-file": 1024, "longbench-v2": 10_000, "browsecomp-plus": 2000}
ORIGINS = {
    "oolong-file": "oolongbench/oolong-synth",
    "longbench-v2": "THUDM/LongBench-v2",
    "browsecomp-plus": "Tevatron/browsecomp-plus",
}
each_set = pytest.mark.parametrize("name", SETS)
each_kind = pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet"])


def loaded(name: str, place: Path, **options: Any) -> tuple[Task, list[Example]]:
    made = task(name, path=place, **options)
    return made, list(made.examples(context_tokens=SIZES[name], count=7, seed=0))


@each_set
@each_kind
def test_every_kind_of_file_gives_the_same_examples(name: str, suffix: str, tmp_path: Path) -> None:
    made, examples = loaded(name, write(tmp_path / f"rows{suffix}", SETS[name]))
    _, expected = loaded(name, write(tmp_path / "plain.jsonl", SETS[name]))
    assert examples == expected
    assert len({example.id for example in examples}) == 7
    assert {example.task for example in examples} == {name} == {made.name}
    assert isinstance(made, Task)


@each_set
def test_a_directory_of_shards_is_read_as_one(name: str, tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    write(tmp_path / "shards" / "a.parquet", SETS[name][:5])
    write(tmp_path / "shards" / "b.jsonl", SETS[name][5:])
    (tmp_path / "shards" / "README.md").write_text("no rows")
    _, expected = loaded(name, write(tmp_path / "rows.json", SETS[name]))
    assert loaded(name, tmp_path / "shards")[1] == expected


@each_set
def test_the_seed_chooses_and_the_count_only_cuts(name: str, tmp_path: Path) -> None:
    made, seven = loaded(name, write(tmp_path / "rows.json", SETS[name]))
    few = list(made.examples(context_tokens=SIZES[name], count=3, seed=0))
    other = list(made.examples(context_tokens=SIZES[name], count=7, seed=1))
    assert few == seven[:3]
    assert [e.query for e in other] != [e.query for e in seven]


@each_set
def test_what_cannot_be_read_is_refused_with_where_to_get_it(name: str, tmp_path: Path) -> None:
    row = SETS[name][0]
    shorter = {key: value for key, value in row.items() if key != "answer"}
    (tmp_path / "empty").mkdir()
    places = {
        "it needs path=": None,
        "there is no such file": tmp_path / "gone.jsonl",
        "there is no such file: .*empty": tmp_path / "empty",
        "'rows.csv' is none of .jsonl, .json, .parquet": write(tmp_path / "rows.csv", [row]),
        "has no rows": write(tmp_path / "none.jsonl", []),
        "line 1 of 'old.jsonl' has no field 'answer'": write(tmp_path / "old.jsonl", [shorter]),
        "row 1 of 'old.parquet' has no field 'answer'": write(tmp_path / "old.parquet", [shorter]),
        "item 1 of 'list.json' is not an object": write(tmp_path / "list.json", [3]),
        "line 1 of 'bad.jsonl' is not JSON": write(tmp_path / "bad.jsonl", ["{nothing"]),
        "'bad.json' cannot be read": write(tmp_path / "bad.json", [1]),
        "'bad.parquet' cannot be read": write(tmp_path / "bad.parquet", [row]),
        "'dict.json' cannot be read: it is not a list": tmp_path / "dict.json",
    }
    (tmp_path / "bad.json").write_text("[1")
    (tmp_path / "bad.parquet").write_bytes(b"PAR0")
    (tmp_path / "dict.json").write_text('{"a": 1}')
    for says, place in places.items():
        with pytest.raises(ConfigurationError, match=f"'{name}'.*{says}.*{ORIGINS[name]}"):
            task(name, path=place)


@each_set
def test_a_wrong_row_in_the_middle_is_named(name: str, tmp_path: Path) -> None:
    rows = [dict(row) for row in SETS[name]]
    del rows[4]["answer"]
    path = write(tmp_path / "rows.jsonl", rows)
    with pytest.raises(ConfigurationError, match=r"line 9 of 'rows.jsonl' has no field 'answer'"):
        list(task(name, path=path).examples(context_tokens=SIZES[name], count=99, seed=0))


def test_parquet_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "rows.parquet", SETS["oolong-file"])
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ConfigurationError, match=r"only with pyarrow \(pip install pyarrow\)"):
        task("oolong-file", path=path)


# -- OOLONG ----------------------------------------------------------------------------------------


def test_oolong_answers_are_read_and_scored_as_published(tmp_path: Path) -> None:
    oolong, examples = loaded("oolong-file", write(tmp_path / "rows.jsonl", SETS["oolong-file"]))
    right = {
        7: "Answer: **7**",
        "human being": "Label: human being",
        "less common than": "Answer: A is less common than the other one",
        44106: "User: [44106]",
        "2023-02-05": "Date: 02/05/2023",
        "October 2022": "Answer: October 2022",
        "it's odd": "Label: it's odd",
    }
    assert {example.expected for example in examples} == set(right)
    for example in examples:
        assert oolong.score(example, right[example.expected]).value == 1
        assert oolong.score(example, "Answer: no idea").value == 0
        assert example.context_tokens == 1024
        assert "never shown" not in str(example.context)
        assert example.metadata["task"] == "TASK_TYPE.MOST_FREQ"
        if example.expected == 7:
            assert oolong.score(example, "Answer: 9").value == 0.75**2


def test_oolong_rows_are_chosen_by_length_and_source(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", SETS["oolong-file"])
    trec = task("oolong-file", path=path, dataset="trec_coarse")
    examples = list(trec.examples(context_tokens=131072, count=50, seed=0))
    assert {example.metadata["dataset"] for example in examples} == {"trec_coarse"}
    assert len(examples) == 3
    with pytest.raises(ConfigurationError, match=r"context_len=2,048, but with: 1,024, 131,072"):
        trec.examples(context_tokens=2048, count=1, seed=0)


def test_an_oolong_answer_of_another_form_is_named(tmp_path: Path) -> None:
    for answer in ("seven", "[]", "7", "[datetime.date(2023)]"):
        path = write(tmp_path / "rows.jsonl", [{**SETS["oolong-file"][0], "answer": answer}])
        with pytest.raises(ConfigurationError, match=r"line 1 of .* is not a list with an item"):
            list(task("oolong-file", path=path).examples(context_tokens=1024, count=1, seed=0))


# -- LongBench-v2 ----------------------------------------------------------------------------------


def test_longbench_is_scored_by_the_published_letter_only(tmp_path: Path) -> None:
    bench, examples = loaded("longbench-v2", write(tmp_path / "d.json", SETS["longbench-v2"]))
    for example in examples:
        letter = example.expected
        assert f"\n({letter}) {letter.lower()}" in example.query
        assert bench.score(example, f"So:\nThe correct answer is ({letter})").value == 1
        assert bench.score(example, f"The correct answer is **{letter}**.").value == 1
        for other in set("ABCD") - {letter}:
            assert bench.score(example, f"The correct answer is ({other})").value == 0
        assert bench.score(example, letter).value == 0
        assert "does not say" in bench.score(example, letter).reason


def test_longbench_rows_are_chosen_by_size_domain_and_difficulty(tmp_path: Path) -> None:
    path = write(tmp_path / "data.json", SETS["longbench-v2"])
    code = task("longbench-v2", path=path, domain="Code Repository Understanding")
    found = list(code.examples(context_tokens=10_000, count=9, seed=0))
    assert {example.metadata["domain"] for example in found} == {"Code Repository Understanding"}
    assert len(found) == 4
    assert all(example.context_tokens == len(str(example.context)) // 4 for example in found)
    small = list(code.examples(context_tokens=1000, count=9, seed=0))
    assert 0 < len(small) < 4
    assert all(example.context_tokens <= 1000 for example in small)
    hard = task("longbench-v2", path=path, difficulty="hard", domain="Legal")
    assert len(list(hard.examples(context_tokens=10_000, count=9, seed=0))) == 2
    with pytest.raises(ConfigurationError, match=r"up to 10 tokens; the least is 1,250"):
        hard.examples(context_tokens=10, count=1, seed=0)
    with pytest.raises(ConfigurationError, match="there are none at all"):
        task("longbench-v2", path=path, domain="x").examples(context_tokens=10, count=1, seed=0)


def test_a_longbench_answer_that_is_no_letter_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", [{**SETS["longbench-v2"][0], "answer": "E"}])
    with pytest.raises(
        ConfigurationError, match=r"line 1 of 'd.jsonl': the answer 'E' is no letter"
    ):
        list(task("longbench-v2", path=path).examples(context_tokens=10_000, count=1, seed=0))


# -- BrowseComp-Plus -------------------------------------------------------------------------------


def test_browsecomp_contexts_have_what_is_needed_and_fill_the_size(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", SETS["browsecomp-plus"])
    browse = task("browsecomp-plus", path=path)
    for tokens in (1000, 4000):
        for example in browse.examples(context_tokens=tokens, count=4, seed=0):
            ids = [document.id for document in example.context]
            assert len(ids) == len(set(ids)) == example.metadata["documents"]
            assert set(example.metadata["evidence"]) <= set(ids)
            assert len(example.metadata["evidence"]) == 3
            size = sum(len(document.page_content) for document in example.context) / 4
            assert 0.85 * tokens < size <= tokens
            row = int(example.metadata["query_id"]) - 700
            own = [f"negative{row}-{at}" in ids for at in range(8)]
            assert all(own) is (tokens == 4000)
            assert example.context[0].metadata["url"].startswith("https://x.test/")
            assert ids[0] in {document.metadata["docid"] for document in example.context}


def test_browsecomp_is_scored_by_a_judge_or_by_name_and_says_which(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", SETS["browsecomp-plus"])
    plain, [example, *_] = loaded("browsecomp-plus", path)
    assert example.metadata["scorer"] == "contains"
    assert plain.score(example, f"It must be {example.expected}.").value == 1
    assert plain.score(example, "Fort 99").value == 0
    model = ScriptedChatModel(replies=["The same fort.\nVERDICT: correct"])
    judged, [example, *_] = loaded("browsecomp-plus", path, judge=model)
    assert example.metadata["scorer"] == "judge"
    assert judged.score(example, "the other name of it").value == 1
    assert len(model.calls) == 1


def test_browsecomp_questions_that_do_not_fit_are_left_out(tmp_path: Path) -> None:
    rows = browsecomp_rows(3)
    rows[1]["gold_docs"][0]["text"] *= 100
    rows[1]["evidence_docs"] = []
    path = write(tmp_path / "rows.jsonl", rows)
    browse = task("browsecomp-plus", path=path)
    found = list(browse.examples(context_tokens=1000, count=9, seed=0))
    assert {example.metadata["query_id"] for example in found} == {"700", "702"}
    with pytest.raises(ConfigurationError, match="more than 10 tokens for each question"):
        list(browse.examples(context_tokens=10, count=1, seed=0))


def test_browsecomp_rows_that_are_encrypted_or_empty_are_refused(tmp_path: Path) -> None:
    row = SETS["browsecomp-plus"][0]
    path = write(tmp_path / "rows.jsonl", [{**row, "query": "VGhpcyBpcyBlbmNyeXB0ZWQgdGV4dA=="}])
    with pytest.raises(
        ConfigurationError, match=r"line 1 of 'rows.jsonl': the query is still encr"
    ):
        task("browsecomp-plus", path=path)
    write(path, [{**row, "gold_docs": [], "evidence_docs": None}])
    with pytest.raises(ConfigurationError, match="neither gold nor evidence"):
        list(task("browsecomp-plus", path=path).examples(context_tokens=9, count=1, seed=0))
