"""The command line where something is odd: a closed pipe, Ctrl-C, paths without text, long records."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from langchain_replm import RLM, RLMConfig, cli
from langchain_replm.cli import _texts, main
from langchain_replm.testing import ScriptedChatModel
from langchain_replm.trajectory_file import RecordedRun
from tests.scenarios import cell


def test_the_module_is_the_command_line_and_a_closed_pipe_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "langchain_replm.cli", "completion", "bash"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (cli.CLOSED_PIPE, b"")


def test_a_command_that_is_interrupted_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def press(_: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("langchain_replm.cli._completion.run", press)
    assert main(["completion", "bash"]) == cli.INTERRUPTED
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a file that cannot be read")
def test_what_cannot_be_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "picture").write_bytes(b"\0\1\2")
    for path, said in (
        ("/proc/self/mem", "/proc/self/mem cannot be read: "),
        (str(tmp_path), "There is no text to read in "),
    ):
        assert main(["ask", "?", path, "--root", "extractive"]) == cli.USAGE
        assert said in capsys.readouterr().err


def record(*replies: str, sub: str = "first line\nsecond", **config: Any) -> RecordedRun:
    rlm = RLM(
        ScriptedChatModel(replies=list(replies)),
        sub_model=ScriptedChatModel(respond=lambda _: sub),
        config=RLMConfig(sandbox_mode="none", **config),
    )
    return RecordedRun(response=rlm.generate("q", "some text"), finished=True, run="r")


def test_a_long_record_is_cut_unless_all_is_asked_for() -> None:
    run = record(cell("r = llm_query_batch(['a' * 2_000, *'bcde'])", "FINAL(len(r))"))
    short, full = ("\n".join(_texts.tell(run, full=full)) for full in (False, True))
    assert "llm_query_batch: 5 of 5 ok" in short
    assert "... 2 more (--full)" in short
    assert f"[... {2_000 - _texts.SHOWN_CHARS:,} more]" in short
    assert "a" * 1_000 not in short
    assert "a" * 1_000 in full
    assert "more (--full)" not in full


def test_candidates_and_children_are_told_with_their_own_steps() -> None:
    candidates = record(cell("FINAL('x')"), cell("FINAL('x')"), n_candidates=2)
    told = "\n".join(_texts.tell(candidates, full=True))
    assert "candidate 1 (answered, chosen): x" in told
    assert "candidate 2 (answered): x" in told
    assert told.count("FINAL('x')") >= 2
    parent = record(
        cell("FINAL(rlm_query('inner?', 'text'))"), sub=cell("FINAL('deep')"), max_recursion_depth=2
    )
    told = "\n".join(_texts.tell(parent, full=True))
    assert "inner?" in told
    assert told.count("submitted: deep") == 2
