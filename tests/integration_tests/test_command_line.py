"""The command `langchain-replm` as a person runs it: a process, its streams, its exit status."""

from __future__ import annotations

import csv
import json
import os
import pty
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from langchain_replm import RLM, RLMResponse, read_trajectories
from langchain_replm.cli import main
from langchain_replm.testing import ScriptedChatModel
from tests.openai_server import Fault, OpenAIServer, Reply, Request
from tests.scenarios import cell

SCRIPT = Path(sys.executable).with_name("langchain-replm")
# The script of the installed package does nothing but this.
COMMAND = [str(SCRIPT)] if SCRIPT.exists() else [sys.executable, "-m", "langchain_replm.cli"]
OFFICIAL = Path(__file__).parents[1] / "data" / "rlms_log.jsonl"
SECONDS = 60


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    return {**kept, "NO_PROXY": "127.0.0.1", "COLUMNS": "100", **more}


def run(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    given = {"env": environment(), "input": "", **options}
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=SECONDS,
        check=False, **given,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Texts of a project: two that can be read, a hidden one, and one that is no text."""
    texts = tmp_path / "texts"
    (texts / "deep").mkdir(parents=True)
    (texts / "birds.py").write_text("class Heron:\n    stands = 'still'\n")
    (texts / "deep" / "ships.txt").write_text("The Pequod leaves at noon.\n")
    (texts / ".hidden").write_text("hidden")
    (texts / "picture.png").write_bytes(b"\x89PNG\0\0")
    return texts


def respond(request: Request) -> Any:
    if request.system_text:
        turns = sum(message["role"] == "assistant" for message in request.messages)
        if turns == 0:
            return Reply(
                "I look first.\n" + cell("n = len(context)", "print(type(context).__name__, n)")
            )
        return Reply(cell("FINAL(llm_query('what is it?'))"))
    return Reply("a heron, \x1b[31mred\x1b[0m")


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(respond) as running:
        yield running


def asked(server: OpenAIServer) -> dict[str, str]:
    return environment(OPENAI_API_KEY="sk-secret-of-the-test", OPENAI_BASE_URL=server.base_url)


# -- ask -------------------------------------------------------------------------------------------


def test_the_answer_is_all_that_standard_output_gets(folder: Path) -> None:
    done = run("ask", "Where is class Heron defined?", folder, "--root", "extractive")
    assert done.returncode == 0, done.stderr
    assert "birds.py:1: class Heron:" in done.stdout
    assert "iteration" not in done.stdout.lower()
    assert "--- iteration 1 of at most 25" in done.stderr
    assert "1 files that are no text were left out" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("=== answered: ")


def test_a_run_with_named_models_is_told_as_json_report_and_trajectory(
    server: OpenAIServer, tmp_path: Path
) -> None:
    done = run(
        "ask", "Which bird?", "-", "--root", "openai:big", "--sub", "openai:small", "--json",
        "--html", tmp_path / "run.html", "--trajectory", tmp_path / "run.jsonl", "--quiet",
        "--max-iterations", "5", "--cost-per-input-token", "0.001",
        "--cost-per-output-token", "0.01", "--no-hold-first-answer",
        input="a heron stands still", env=asked(server),
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    response = RLMResponse.model_validate_json(done.stdout)
    assert response.answer == "a heron, \x1b[31mred\x1b[0m"
    assert set(response.usage_by_model) == {"big", "small"}
    assert response.cost is not None
    [recorded] = read_trajectories(tmp_path / "run.jsonl")
    assert recorded.response == response
    assert recorded.config["max_iterations"] == 5
    assert recorded.config["hold_first_answer"] is False
    assert '"query": "Which bird?"' in (tmp_path / "run.html").read_text()
    assert [request.model for request in server.requests] == ["big", "big", "small"]
    assert response.trajectory[0].cells[0].output == "str 20\n"


def test_files_globs_and_directories_become_documents(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = map(str, (folder / "**" / "*.txt", folder / "birds.py", folder))
    assert main(["ask", "Where is Pequod?", *paths, "--root", "extractive", "--json"]) == 0
    response = RLMResponse.model_validate_json(capsys.readouterr().out)
    assert response.context is not None
    assert (response.context.kind, response.context.items) == ("list", 2)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ask", "?", "https://example.com/a", "--root", "extractive"], "nothing is fetched here"),
        (["ask", "?", "/no/such/file", "--root", "extractive"], "no file or directory /no/such/file"),
        (["ask", "?", "/no/such/*.txt", "--root", "extractive"], "No file matches /no/such/*.txt"),
        (["ask", "?", "{folder}/picture.png", "--root", "extractive"], "picture.png is no text"),
        (["ask", "", "{folder}", "--root", "extractive"], "query is empty"),
        (["ask", "?", "{folder}"], "There is no model to ask"),
        (["ask", "?", "{folder}", "--root", "nobody:knows"], "init_chat_model"),
        (["ask", "?", "{folder}", "--root", "extractive", "--max-iterations", "0"],
         "RLMConfig.max_iterations = 0"),
        (["ask", "?", "{folder}", "--root", "extractive", "--trajectory", "/no/file"],
         "/no/file cannot be written to"),
        (["ask", "?", "{folder}", "--root", "extractive", "--resume", "/no/dir/file"], "--resume"),
        (["ask", "?", "{folder}", "--root", "extractive", "--html", "/no/dir/file"], "--html /no/"),
        (["ask", "?", "{folder}", "--root", "extractive", "--html", "{folder}"], "--html "),
        (["show", "{folder}/birds.py", "--run", "x"], "invalid int value"),
        (["ask", "?", "{folder}", "--max-it", "3"], "unrecognized arguments: --max-it"),
        (["ask", "?"], "PATH"),
        ([], "COMMAND"),
        (["fly"], "invalid choice: 'fly'"),
    ],
)  # fmt: skip
def test_a_wrong_call_says_what_to_do_and_asks_nobody(
    arguments: list[str], says: str, folder: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    given = [argument.replace("{folder}", str(folder)) for argument in arguments]
    try:
        status = main(given)
    except SystemExit as left:  # argparse
        status = left.code  # type: ignore[assignment]
    told = capsys.readouterr()
    assert (status, told.out) == (2, "")
    assert says in told.err


def test_a_limit_has_a_status_of_its_own(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["ask", "?", str(folder / "birds.py"), "--root", "extractive", "--max-iterations", "1"]
    assert main(words) == 3
    assert "max_iterations: " in capsys.readouterr().err
    assert main([*words, "--exit-behavior", "error", "-q"]) == 3


def test_a_failure_is_told_without_a_traceback_and_without_the_key(folder: Path) -> None:
    with OpenAIServer([Fault("status", status=401)] * 9) as server:
        done = run("ask", "?", folder / "birds.py", "--root", "openai:m", env=asked(server))
        assert done.returncode == 1
        assert done.stdout == ""
        assert "AuthenticationError: Error code: 401" in done.stderr
        assert "Traceback" not in done.stderr
        assert "sk-secret" not in done.stderr


def hanging(server: OpenAIServer) -> None:
    """The second reply of the root model never comes."""
    server.reset(lambda request: Fault("hang") if len(server.requests) > 1 else respond(request))


def test_an_interrupt_ends_cleanly_with_what_there_is(
    server: OpenAIServer, folder: Path, tmp_path: Path
) -> None:
    hanging(server)
    arguments = ["ask", "?", folder / "birds.py", "--root", "openai:m", "--html",
                 tmp_path / "run.html", "--trajectory", tmp_path / "run.jsonl"]  # fmt: skip
    with subprocess.Popen(
        [*COMMAND, *map(str, arguments)], env=asked(server), text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        while " -> str" not in process.stderr.readline():
            assert process.poll() is None
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 130, err
    assert "I look first." in out
    assert "interrupted: this is what the root model said last, not an answer" in err
    assert "Traceback" not in err
    [recorded] = read_trajectories(tmp_path / "run.jsonl")
    assert (recorded.ended, len(recorded.response.trajectory)) == ("unfinished", 1)
    assert '"stop_reason": "unfinished"' in (tmp_path / "run.html").read_text()
    assert not [child for child in children if Path(f"/proc/{child}").exists()]


def test_a_killed_run_goes_on_when_it_is_asked_again(
    server: OpenAIServer, folder: Path, tmp_path: Path
) -> None:
    hanging(server)
    arguments = ["ask", "?", folder / "birds.py", "--root", "openai:m", "--json", "--resume",
                 tmp_path / "runs.sqlite"]  # fmt: skip
    with subprocess.Popen(
        [*COMMAND, *map(str, arguments)], env=asked(server), text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        while " -> str" not in process.stderr.readline():
            assert process.poll() is None
        while len(server.requests) < 2:  # the checkpoint is there when the next request is
            assert process.poll() is None
        process.kill()
    server.reset(respond)
    done = run(*arguments, env=asked(server))
    assert done.returncode == 0, done.stderr
    assert "going on after 1 iterations" in done.stderr
    response = RLMResponse.model_validate_json(done.stdout)
    assert (response.iterations, response.answer[:7]) == (2, "a heron")
    assert len(server.requests) == 2, "the first reply was not asked for again"


# -- show ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run as trajectory and as JSON; a text of it holds an escape sequence."""
    home = tmp_path_factory.mktemp("kept")
    looks = "I look first.\n" + cell("n = len(context)", "print(type(context).__name__, n)")
    root = ScriptedChatModel(
        replies=[looks, cell("FINAL(llm_query('what is it?'))")], model_name="m"
    )
    sub = ScriptedChatModel(replies=["a heron"])
    rlm = RLM(root, sub_model=sub, trajectory_file=home / "run.jsonl")
    response = rlm.generate("Which\x1b]0;pwned\x07 bird?", "a heron")
    (home / "run.json").write_text(response.to_json())
    return home


@pytest.mark.parametrize("name", ["run.jsonl", "run.json"])
def test_a_run_is_shown_as_text(
    name: str, kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", str(kept / name), "--full"]) == 0
    told = capsys.readouterr().out
    for text in ("answer:   a heron", "ended:    answered: 2 iterations, 1 sub-calls",
                 "== iteration 1 (m, ", "-- cell 1: ok", "| n = len(context)", "output: str 7",
                 "llm_query: 1 of 1 ok", "what is it?", "variables at the end:", "n = int: 7"):  # fmt: skip
        assert text in told
    assert main(["show", str(kept / name), "--html", str(tmp_path / "run.html")]) == 0
    assert "a heron" in (tmp_path / "run.html").read_text()
    capsys.readouterr()
    assert main(["show", str(kept / name), "--json"]) == 0
    assert RLMResponse.model_validate_json(capsys.readouterr().out).sub_calls == 1


def test_a_file_of_several_runs_is_listed_and_one_is_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["show", str(OFFICIAL)]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) == 2
    assert "answered" in listed[0]
    assert "Which bird stands still?" in listed[0]
    assert main(["show", str(OFFICIAL), "--run", "1"]) == 0
    assert "submitted: a heron" in capsys.readouterr().out
    assert main(["show", str(OFFICIAL), "--run", "3"]) == 2
    assert main(["show", str(OFFICIAL), "--json"]) == 2
    assert "Say which one: --run N" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "{", "[]", '{"stop_reason": "answered"}', '{"type": "run"}'])
def test_a_file_that_holds_no_run_is_refused(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    assert main(["show", str(path)]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"error: {path}")


def test_a_reader_that_leaves_is_no_error(kept: Path) -> None:
    command = (
        f"{shlex.join([*COMMAND, 'show', str(kept / 'run.jsonl')])} | true; echo ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=SECONDS, check=False,
        env=environment(),
    )  # fmt: skip
    assert done.stdout.strip() in {"0", "141"}  # 0: it was quicker than its reader
    assert done.stderr == ""


# -- a terminal ------------------------------------------------------------------------------------


def in_a_terminal(
    *arguments: str | Path,
    env: dict[str, str],
    on_output: Callable[[str], object] = lambda _: None,
) -> tuple[int, str]:
    """Exit status and everything that reached the terminal, which is also told as it comes."""
    master, slave = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, *map(str, arguments)], stdin=slave, stdout=slave, stderr=slave, env=env
    ) as process:
        os.close(slave)
        seen = b""
        while True:
            try:
                data = os.read(master, 65536)
            except OSError:  # Linux says so when the other end is closed
                break
            if not data:
                break
            seen += data
            on_output(seen.decode(errors="replace"))
    os.close(master)
    return process.returncode, seen.decode()


def test_a_terminal_shows_progress_and_obeys_no_text(folder: Path) -> None:
    shown = threading.Event()

    def respond_when_shown(request: Request) -> Any:
        assert shown.wait(60), "the terminal never showed that the model is asked"
        return respond(request)

    def look(seen: str) -> None:
        if "RLM, iteration 1 of at most 25" in seen:
            shown.set()

    with OpenAIServer(respond_when_shown) as server:
        status, seen = in_a_terminal(
            "ask", "?", folder / "birds.py", "--root", "openai:m", env=asked(server), on_output=look
        )
    assert status == 0
    assert "a heron, \\u001b[31mred\\u001b[0m" in seen
    assert "\x1b[31m" not in seen


def test_show_obeys_no_text_of_a_run(kept: Path) -> None:
    status, seen = in_a_terminal("show", kept / "run.jsonl", env=environment())
    assert status == 0
    assert "\x1b" not in seen
    assert "\\u001b]0;pwned\\u0007" in seen


# -- doctor, completion, version -------------------------------------------------------------------


def test_the_doctor_looks_and_keeps_secrets(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-the-test")
    monkeypatch.setenv("PATH", "/nowhere")  # no container engine is started
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out
    assert "OPENAI_API_KEY               set" in told
    assert "sk-secret" not in told
    assert "a cell in mode restricted: runs" in told
    assert "sandbox mode docker" in told
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["keys"]["OPENAI_API_KEY"] is True
    assert found["default_sandbox"] == {"mode": "restricted", "works": True, "problem": None}
    assert "network" in found["sandboxes"]["none"]["guarantees"]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("a", {"ask"}),
        ("ask --max-it", {"--max-iterations"}),
        ("ask --sandbox-mode re", {"restricted"}),
        ("show --f", {"--full"}),
        ("completion z", {"zsh"}),
    ],
)
def test_bash_completes(words: str, found: set[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    line = ["langchain-replm", *words.split()]
    script += f"\nCOMP_WORDS=({shlex.join(line)}); COMP_CWORD={len(line) - 1}\n"
    script += '_langchain_replm; printf "%s\\n" "${COMPREPLY[@]}"\n'
    done = subprocess.run(
        ["bash", "--norc"], input=script, capture_output=True, text=True, timeout=SECONDS,
        check=False,
    )  # fmt: skip
    assert done.stderr == ""
    assert found == set(done.stdout.split())


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "langchain-replm" in script
    assert "max-iterations" in script


def test_the_version() -> None:
    import langchain_replm

    done = run("--version")
    assert (done.returncode, done.stdout.strip()) == (0, langchain_replm.__version__)


# -- eval ------------------------------------------------------------------------------------------


def evaluate(folder: Path, *more: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return run(
        "eval", "s-niah", "--size", "1k,2k", "--count", "2", "--runner", "search", "rlm",
        "--root", "extractive", "--out", folder, *more, **options,
    )  # fmt: skip


def test_eval_prints_a_table_and_does_only_what_is_missing(tmp_path: Path) -> None:
    first = evaluate(tmp_path / "new", "--plot")
    assert first.returncode == 0, first.stderr
    rows = [line.split()[:5] for line in first.stdout.splitlines()[1:]]
    assert rows == [
        ["s-niah", size, name, "2", "1.00"]
        for size in ("1,024", "2,048")
        for name in ("search", "rlm")
    ]
    assert "[8/8] s-niah" in first.stderr
    assert (tmp_path / "new" / "results.png").read_bytes().startswith(b"\x89PNG")
    again = evaluate(tmp_path / "new", "--json", "--quiet")
    assert (again.returncode, again.stderr) == (0, "")
    runs = [json.loads(line) for line in again.stdout.splitlines()]
    assert len(runs) == 8
    assert all(run["expected"] in run["answer"] and run["score"] == 1.0 for run in runs)
    assert len((tmp_path / "new" / "results.jsonl").read_text().splitlines()) == 9


def test_eval_asks_models_over_http_and_counts_what_they_say(tmp_path: Path) -> None:
    lines = [{"query": "what is it?", "expected": "a heron", "context": "a heron"}]
    questions = tmp_path / "mine.jsonl"
    questions.write_text("\n".join(map(json.dumps, lines)))
    with OpenAIServer(
        lambda asked: respond(asked) if "```repl" in asked.system_text else Reply("a heron")
    ) as server:
        done = run(
            "eval", f"questions:{questions}", "--count", "1", "--runner", "base", "rlm", "--root",
            "openai:root", "--sub", "openai:sub", "--window", "9000", "--out", tmp_path, "--format",
            "csv", "--cost-per-input-token", "0.001", "--cost-per-output-token", "0",
            env=environment(OPENAI_API_KEY="k", OPENAI_BASE_URL=server.base_url),
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    [base, rlm] = csv.DictReader(done.stdout.splitlines())
    assert (base["runner"], float(base["score"]), float(base["iterations"])) == ("base", 1.0, 1.0)
    assert (rlm["runner"], float(rlm["score"]), float(rlm["sub_calls"])) == ("rlm", 1.0, 1.0)
    assert float(rlm["cost"]) == pytest.approx(float(rlm["input_tokens"]) / 1000)


def test_eval_stops_at_a_limit_with_a_status_of_its_own(tmp_path: Path) -> None:
    done = evaluate(tmp_path, "--total-tokens", "1", "--concurrency", "1", "--quiet")
    assert done.returncode == 3
    assert "max_total_tokens=1" in done.stderr
    assert "were not made" in done.stderr
    assert evaluate(tmp_path, "--quiet").returncode == 0, "and goes on without it"


def test_eval_of_runs_that_all_fail_has_failed(tmp_path: Path) -> None:
    with OpenAIServer(lambda _: Fault(400)) as broken:
        done = run(
            "eval", "s-niah", "--count", "1", "--size", "1k", "--runner", "rlm", "--root",
            "openai:root", "--out", tmp_path,
            env=environment(OPENAI_API_KEY="k", OPENAI_BASE_URL=broken.base_url),
        )  # fmt: skip
    assert done.returncode == 1
    assert "1 of 1 failed" in done.stdout


MINE = Path(__file__).parents[1] / "data" / "questions.jsonl"


def test_eval_of_questions_of_your_own_takes_all_there_are(tmp_path: Path) -> None:
    done = run(
        "eval", f"questions:{MINE}", "--runner", "search", "--json", "--quiet", "--out", tmp_path
    )
    assert done.returncode == 0, done.stderr
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted(one["example"] for one in runs) == ["questions-1", "questions-2"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["s-nia"], "Did you mean 's-niah'?"),
        (["s-niah", "--runner", "rml"], "Did you mean 'rlm'?"),
        (["s-niah", "--size", "8q"], "write for instance 8k,64k,1M"),
        (["s-niah", "--count", "0"], "count is at least 1"),
        (["questions:nowhere.jsonl"], "nowhere.jsonl"),
        ([f"questions:{MINE}", "--size", "8k"], "no task here has sizes"),
        (["s-niah:place"], "has no option 'path'"),
    ],
)
def test_eval_called_wrongly_runs_nothing(tmp_path: Path, arguments: list[str], told: str) -> None:
    done = run("eval", *arguments, "--root", "extractive", "--out", tmp_path / "out")
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert not list((tmp_path / "out").glob("*"))
