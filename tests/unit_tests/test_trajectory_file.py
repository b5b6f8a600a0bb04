"""Trajectory files: what is read back, what is refused, what a redaction hook never lets through."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from langchain_replm import ConfigurationError, TrajectoryFile, read_trajectories
from langchain_replm.context_store import check_context, make_handle
from langchain_replm.trajectory_file import TrajectoryFileError, as_recorder
from langchain_replm.types import Answer, Cell, HostCall, Iteration, SubCall

OFFICIAL = Path(__file__).parents[1] / "data" / "rlms_log.jsonl"
USAGE: Any = {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7}
CALL = SubCall(
    kind="llm_query", prompt="secret prompt", prompt_chars=13, status="ok",
    response="secret reply", model="sub", sub_calls=1, usage={"sub": USAGE}, started_seconds=1.0,
)  # fmt: skip
CELL = Cell(
    code="secret = llm_query('secret prompt')", status="ok", output_head="secret out",
    output_chars=10, changed={"secret": "str: secret"}, removed=("secret_old",),
    answer=Answer(text="secret answer"),
    host_calls=(HostCall(function="llm_query", request_sha256="0" * 64, items=(CALL,)),),
)  # fmt: skip
REPLY = "I look for the secret.\n```repl\nsecret = llm_query('secret prompt')\n```"
STEP = Iteration(number=1, reply=REPLY, model="root", usage=USAGE, cells=(CELL,), cost_usd=0.5,
                 observation="secret seen")  # fmt: skip


def entries(run: str = "r1") -> list[dict[str, Any]]:
    """What the engine tells a recorder about a small run."""
    handle = make_handle(check_context("a secret context"), preview_chars=100)
    reply = {"number": 1, "reply": REPLY, "model": "root", "usage": USAGE, "elapsed_seconds": 0.5}
    variables = {"secret": "str: secret"}
    told: list[dict[str, Any]] = [
        {"type": "run", "time": "2026-01-01T00:00:00+00:00", "thread": None, "query": "the secret?",
         "context": handle, "root_model": "root", "sub_model": "sub", "config": {"max_iterations": 9},
         "sandbox_missing": ["network"], "past": []},
        {"type": "reply", **reply},
        {"type": "sub_call", "iteration": 1, "record": CALL.model_dump(mode="json")},
        {"type": "iteration", "record": STEP.model_dump()},
        {"type": "end", "answer": "secret answer", "stop_reason": "answered", "variables": variables,
         "elapsed_seconds": 2.5, "structured_response": {"secret": "secret", "kind": "secret"}},
    ]  # fmt: skip
    return [{**entry, "run": run} for entry in told]


def written(tmp_path: Path, *wanted: dict[str, Any], **options: Any) -> Path:
    file = TrajectoryFile(tmp_path / "runs.jsonl", **options)
    for entry in wanted or entries():
        file.record(entry)
    return file.path


def test_a_run_is_read_back_as_it_was(tmp_path: Path) -> None:
    [run] = read_trajectories(written(tmp_path))
    assert run.response.trajectory == (STEP,)
    assert (run.response.query, run.response.answer) == ("the secret?", "secret answer")
    assert (run.finished, run.ended, run.notes) == (True, "answered", ())
    assert (run.response.cost, run.response.unpriced_models) == (None, ("sub",))
    assert (run.response.elapsed_seconds, run.response.total_input_tokens) == (2.5, 10)
    assert run.response.context is not None
    assert run.response.context.chars == 16
    assert run.response.sandbox_missing == ("network",)
    assert run.config == {"max_iterations": 9}


def test_the_first_line_says_schema_and_version(tmp_path: Path) -> None:
    first = json.loads(written(tmp_path).read_text().splitlines()[0])
    assert (first["schema"], first["version"]) == ("langchain-replm/trajectory", 1)


def test_runs_share_a_file_in_any_order_of_lines(tmp_path: Path) -> None:
    mixed = [entry for pair in zip(entries("a"), entries("b"), strict=True) for entry in pair]
    assert [run.run for run in read_trajectories(written(tmp_path, *mixed))] == ["a", "b"]


def test_only_its_owner_can_read_a_new_file(tmp_path: Path) -> None:
    assert written(tmp_path).stat().st_mode & 0o077 == 0


# -- what a crash leaves ---------------------------------------------------------------------------


@pytest.mark.parametrize("lines", [1, 2, 3, 4])
def test_a_run_that_breaks_off_is_read_as_far_as_it_goes(tmp_path: Path, lines: int) -> None:
    [run] = read_trajectories(written(tmp_path, *entries()[:lines]))
    assert (run.finished, run.ended, run.response.stop_reason) == (False, "unfinished", "cancelled")
    assert len(run.response.trajectory) == (lines > 1)
    if lines in {2, 3}:
        [cell] = run.response.trajectory[0].cells
        assert (cell.code, cell.status) == (CELL.code, "died")
        assert [item for call in cell.host_calls for item in call.items] == [CALL] * (lines - 2)
        assert run.response.total_input_tokens == 5 * (lines - 1)
    page = run.to_html(tmp_path / "run.html").read_text()
    assert '"stop_reason": "unfinished"' in page


def test_half_a_line_at_the_end_is_a_note(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_bytes(path.read_bytes()[:-40])
    [run] = read_trajectories(path)
    assert not run.finished
    assert "half a line" in run.notes[0]


def test_a_new_run_after_half_a_line_begins_a_line_of_its_own(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_bytes(path.read_bytes()[:-40])
    written(tmp_path, *entries("r2"))
    first, second = read_trajectories(path)
    assert (first.finished, second.finished) == (False, True)
    assert "half a line" in first.notes[0]


@pytest.mark.parametrize(
    ("line", "text", "says"),
    [
        (2, "{", "line 2: not a line of a trajectory file"),
        (2, "[" * 100_000, "line 2: not a line of a trajectory file"),
        (2, "7", "line 2: not a line of a trajectory file"),
        (4, '{"type": "iteration", "run": "r1"}', "line 4: 'record' is missing"),
        (4, '{"type": "iteration", "run": "r1", "record": {"number": "x"}}', "line 4: number: "),
        (4, '{"type": "iteration", "run": "r9", "record": {}}', "line 4: a 'iteration' line of a"),
        (4, '{"type": "surprise", "run": "r1"}', "line 4: there is no line type 'surprise'"),
        (4, '{"type": "iteration", "run": [1], "record": {}}', "line 4: "),
        (1, '{"type": "run", "run": "r1", "schema": "other", "version": 1}', "line 1: this version"),
        (1, '{"type": "run", "run": "r1", "schema": "langchain-replm/trajectory", "version": 2}',
         "the line says 'langchain-replm/trajectory' version 2"),
        (5, '{"type": "end", "run": "r1", "stop_reason": "bored"}', "line 5: stop_reason: "),
        (5, '{"type": "end"', "line 5: not a line of a trajectory file"),
    ],
)  # fmt: skip
def test_a_damaged_line_is_named(tmp_path: Path, line: int, text: str, says: str) -> None:
    path = written(tmp_path)
    lines = path.read_text().splitlines()
    lines[line - 1] = text
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(TrajectoryFileError) as caught:
        read_trajectories(path)
    assert str(path) in str(caught.value)
    assert says in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"no json", b"\xff\xfe\x00", b'{"a": 1}'])
def test_a_file_without_runs_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "runs.jsonl"
    path.write_bytes(content)
    with pytest.raises(TrajectoryFileError):
        read_trajectories(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrajectoryFileError, match=r"nothing\.jsonl cannot be read: No such file"):
        read_trajectories(tmp_path / "nothing.jsonl")


# -- redaction -------------------------------------------------------------------------------------


def test_no_text_passes_by_the_hook(tmp_path: Path) -> None:
    path = written(tmp_path, redact=lambda text: text.replace("secret", "[gone]"))
    assert "secret" not in path.read_text()
    [run] = read_trajectories(path)
    assert run.response.answer == "[gone] answer"
    assert run.response.repl_variables == {"[gone]": "str: [gone]"}
    assert run.response.structured_response == {"[gone]": "[gone]", "kind": "[gone]"}
    assert run.response.total_input_tokens == 10


def test_a_hook_that_takes_everything_leaves_a_file_that_can_be_read(tmp_path: Path) -> None:
    [run] = read_trajectories(written(tmp_path, redact=lambda text: ""))
    assert (run.finished, run.response.answer, run.response.sub_calls) == (True, "", 1)


@pytest.mark.parametrize("result", [None, b"bytes", ValueError("it was: secret")])
def test_what_cannot_be_redacted_is_not_written(
    tmp_path: Path, result: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def redact(text: str) -> Any:
        if "seen" not in text:
            return "ok"
        if isinstance(result, Exception):
            raise result
        return result

    path = written(tmp_path, redact=redact)
    assert "secret" not in path.read_text()
    assert "secret" not in caplog.text
    [run] = read_trajectories(path)
    assert run.notes == ("a 'iteration' line is missing: it could not be redacted",)
    assert run.finished


# -- where to ----------------------------------------------------------------------------------------


def test_a_path_that_cannot_be_written_to_is_refused_before_any_run(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "no" / "file.jsonl"):
        with pytest.raises(ConfigurationError, match="cannot be written to"):
            TrajectoryFile(path)


def test_what_takes_records(tmp_path: Path) -> None:
    file = TrajectoryFile(tmp_path / "a")
    assert as_recorder(None) is None
    assert as_recorder(file) is file
    for path in (tmp_path / "b", str(tmp_path / "b")):
        made = as_recorder(path)
        assert isinstance(made, TrajectoryFile)
        assert made.path == tmp_path / "b"
    with pytest.raises(ConfigurationError, match="trajectory_file is a int"):
        as_recorder(7)


def test_nothing_stays_open(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    written(tmp_path)
    assert len(os.listdir("/proc/self/fd")) <= len(before)


# -- the official package's logs -------------------------------------------------------------------


def test_a_log_of_the_official_package_is_read() -> None:
    """The file was written by `RLMLogger` of rlms 0.1.3."""
    first, second = read_trajectories(OFFICIAL)
    one = first.response
    assert (first.format, first.finished, second.ended) == ("rlms", True, "unfinished")
    assert (one.query, one.answer) == ("Which bird stands still?", "a heron")
    assert (one.iterations, one.sub_calls, one.total_input_tokens) == (3, 3, 400)
    assert one.elapsed_seconds == 7.0
    assert one.cost is None, "the log does not know what the root model has cost"
    looked, asked, answered = one.trajectory
    assert looked.cells[0].output == "2000\n"
    assert asked.cells[0].error == "ZeroDivisionError: division by zero"
    assert asked.cells[0].changed == {"r": "str: a heron"}
    good, bad = (call.items[0] for call in asked.cells[0].host_calls)
    assert (good.status, good.cost_usd, bad.status, bad.error) == (
        "ok",
        0.001,
        "failed",
        "overloaded",
    )
    [child] = answered.cells[0].host_calls[0].items[0].child
    assert child.cells[0].answer == Answer(text="a heron, says the child")
    starts = [step.started_seconds for step in one.trajectory]
    assert starts == [0.0, 2.0, 5.0]
    assert first.config["root_model"] == "gpt-root"


def test_a_damaged_log_of_the_official_package_is_named(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    lines = OFFICIAL.read_text().splitlines()
    lines[2] = lines[2].replace('"code": ', '"kode": ', 1)
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(TrajectoryFileError, match=r"line 3: code_blocks.0.code: Field required"):
        read_trajectories(path)


def test_a_log_of_the_official_package_with_odd_lines(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    first, *rest = OFFICIAL.read_text().splitlines()
    path.write_text("\n".join([first, '{"type": "surprise"}', *rest]) + "\n")
    with pytest.raises(TrajectoryFileError, match="no line type 'surprise'"):
        read_trajectories(path)
    step = json.loads(rest[0]) | {"timestamp": "yesterday", "prompt": "no question"}
    path.write_text(f"{first}\n{json.dumps(step)}\n")
    [run] = read_trajectories(path)
    assert (run.response.query, run.response.iterations) == ("", 1)
