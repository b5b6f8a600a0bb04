"""Cells in backends of Deep Agents' protocol: its own local one, and ours with faults to order."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from langchain_replm import RLM, RLMConfig, RLMResponse
from langchain_replm.errors import ConfigurationError, SandboxError
from langchain_replm.sandbox import DeepAgentsSandbox
from langchain_replm.sandbox.base import GUARANTEES
from langchain_replm.testing import ScriptedChatModel
from tests import worker_harness
from tests.backends import Executed, ShellBackend
from tests.scenarios import cell
from tests.worker_harness import Harness


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path, nothing_left_behind: None) -> Iterator[None]:
    yield
    deadline = time.monotonic() + 10
    while (left := traces(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []


def traces(folder: Path) -> list[str]:
    """Folders of sessions and processes that work in them."""
    found = [str(path) for path in folder.glob("langchain_replm-*")]
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if f"{folder}/langchain_replm-" in line:
            found.append(line)
    return found


def make(tmp_path: Path, backend: Any = None, **options: Any) -> DeepAgentsSandbox:
    options = {"python": sys.executable, "folder": str(tmp_path), **options}
    return DeepAgentsSandbox(backend or ShellBackend(), **options)


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    opened: list[Harness] = []

    def open_one(backend: Any = None, **options: Any) -> Harness:
        monkeypatch.setattr(worker_harness, "make_sandbox", lambda _: make(tmp_path, backend))
        opened.append(Harness("deepagents", **options))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


async def run(colour: str, sandbox: Any, *replies: str, **config: Any) -> RLMResponse:
    rlm = RLM(
        ScriptedChatModel(replies=list(replies)),
        sub_model=ScriptedChatModel(respond=lambda messages: messages[-1].content.upper()),
        config=RLMConfig(**config),
        sandbox=sandbox,
    )
    if colour == "sync":
        return rlm.generate("q", "some text")
    return await rlm.agenerate("q", "some text")


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_run_in_the_local_backend_of_deep_agents(colour: str, tmp_path: Path) -> None:
    from deepagents.backends import LocalShellBackend

    backend = LocalShellBackend(root_dir=tmp_path, virtual_mode=False)
    response = await run(
        colour,
        make(tmp_path, backend, vouched={"network": "none, for this test"}),
        cell("a = llm_query('one')", "print('x' * 60_000)"),
        cell("while True: pass"),
        cell("FINAL([a, len(context), llm_query_batch(['a', 'b'])])"),
        sandbox_timeout=1,
    )
    assert response.answer == '["ONE", 9, ["A", "B"]]'
    assert response.trajectory[1].cells[0].status == "timeout"
    assert set(response.sandbox_missing) == set(GUARANTEES) - {"network"}


async def test_a_c_loop_is_killed_and_the_run_rebuilt(tmp_path: Path) -> None:
    response = await run(
        "sync",
        make(tmp_path),
        cell("a = llm_query('once')", "h = hash('x')"),
        cell("sum(range(10**14))"),
        cell("FINAL([a, h])"),
        sandbox_timeout=3,  # the latency of the backend is a part of it
    )
    assert response.trajectory[1].cells[0].status == "timeout"
    assert response.answer.startswith('["ONCE"')
    assert response.sub_calls == 1, "replay makes no model call"


async def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    response = await run(
        "async",
        make(tmp_path),
        cell("a = 41"),
        cell("import os", "os._exit(3)"),
        cell("FINAL(a + 1)"),
    )
    assert response.trajectory[1].cells[0].status == "died"
    assert response.answer == "42"


def test_a_cell_costs_one_command_and_a_batch_two_more(harness: Any) -> None:
    backend = ShellBackend(banner="Welcome to the sandbox\n")
    worker = harness(backend)
    for code, most in {
        "x = 1": 1,
        "print('x' * 10_000)": 1,
        "len(llm_query_batch(['prompt'] * 500))": 3,
    }.items():
        before = len(backend.commands)
        assert worker.run(code).error is None
        assert len(backend.commands) - before <= most, code


def test_what_is_large_goes_by_files(harness: Any) -> None:
    text = "naïve 漢字 \U0001f989\n" * 1_000_000
    worker = harness(context=text)
    assert worker.output("print(len(context), context[-9:])") == f"{len(text)} {text[-9:]}\n"
    assert worker.output("len(llm_query('y' * 5_000_000))") == "5000009\n"


# Faults.


@pytest.mark.parametrize(
    "line",
    [
        "",
        "no such thing",
        "{nonce}:5:open:AAAA:",
        "{nonce}:-1:open::",
        "{nonce}:3:open:A!!A:",
        "{nonce}:3:closed:AAAA:",
        "{nonce}:999999999:open::",
        "{nonce}:2000000:open:" + "A" * 2_666_668 + ":",
        "{nonce}:4:open:AAAAA:",
        "{nonce}:" + "9" * 5_000 + ":open::",
    ],
)
def test_a_line_that_lies_is_an_error_and_nothing_else(harness: Any, line: str) -> None:
    backend = ShellBackend()
    worker = harness(backend)

    def spoil(command: str) -> Executed | None:
        found = re.search(r" step \S+ ([0-9a-f]{32}) ", command)
        return Executed(line.replace("{nonce}", found[1]), 0) if found else None

    backend.spoil = spoil
    with pytest.raises(SandboxError):
        worker.run("1 + 1")
    backend.spoil = lambda _: None


async def test_a_backend_that_fails_is_named(tmp_path: Path) -> None:
    class Failing(ShellBackend):
        def upload_files(self, files: Any) -> Any:
            raise ConnectionError("no route")

    with pytest.raises(SandboxError, match="failed to upload_files: ConnectionError: no route"):
        await run("sync", make(tmp_path, Failing()), cell("FINAL(1)"))
    backend = ShellBackend()
    backend.spoil = lambda command: Executed("disk full", 1) if " serve " in command else None
    with pytest.raises(SandboxError, match=r"serve.*exit code 1.*disk full"):
        await run("async", make(tmp_path, backend), cell("FINAL(1)"))
    with pytest.raises(SandboxError, match="exit code 127"):
        await run("sync", make(tmp_path, python="/no/python"), cell("FINAL(1)"))


async def test_a_worker_that_cannot_start_says_why(tmp_path: Path) -> None:
    class Spoiling(ShellBackend):
        def upload_files(self, files: Any) -> Any:
            changed = [
                (
                    path,
                    b"raise ImportError('broken over there')" if "_worker_repl" in path else data,
                )
                for path, data in files
            ]
            return super().upload_files(changed)

    with pytest.raises(SandboxError, match="broken over there"):
        await run("sync", make(tmp_path, Spoiling()), cell("FINAL(1)"))


def test_a_hung_backend_holds_up_nobody(harness: Any) -> None:
    backend = ShellBackend()
    worker = harness(backend)
    backend.spoil = lambda command: time.sleep(1.0) if " step " in command else None  # type: ignore[func-returns-value]
    worker.start_cell("1")
    assert worker.transport.exchange([], 0.01).timed_out
    worker.transport.wake()
    done = worker.transport.exchange([], 30.0)
    assert (done.data, done.eof, done.timed_out) == (b"", False, False)


# The ends.


def test_kill_close_and_forget(tmp_path: Path) -> None:
    forgotten = make(tmp_path).open()
    forgotten.exchange([], 0.0)
    del forgotten
    early = make(tmp_path).open()
    early.kill()
    early.kill()
    assert early.exchange([], 5.0).eof
    early.close()
    early.close()
    assert early.exchange([], 5.0).eof
    assert not early.interrupt()


def test_a_worker_whose_host_waits_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox = make(tmp_path, idle_seconds=2)
    monkeypatch.setattr(worker_harness, "make_sandbox", lambda _: sandbox)
    with Harness("deepagents") as worker:
        # The server looks every two seconds.
        assert worker.output("import time\ntime.sleep(5)\nprint(1)") == "1\n"


def test_a_worker_whose_host_is_gone_ends_itself(tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "from tests import worker_harness\n"
        "from tests.backends import ShellBackend\n"
        "from langchain_replm.sandbox import DeepAgentsSandbox\n"
        f"sandbox = DeepAgentsSandbox(ShellBackend(), folder={str(tmp_path)!r},\n"
        "    python=sys.executable, idle_seconds=1)\n"
        "worker_harness.make_sandbox = lambda _: sandbox\n"
        "worker = worker_harness.Harness('deepagents')\n"
        "worker.start_cell('while True: pass')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", script], cwd=root, check=False)
    deadline = time.monotonic() + 40
    while any("python" in line for line in traces(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.1)
    left = traces(tmp_path)
    assert len(left) == 1, "the folder alone is left"
    subprocess.run(["rm", "-rf", left[0]], check=True)


# What is said about it.


def test_it_guarantees_what_the_caller_vouches_for_and_no_more(tmp_path: Path) -> None:
    assert not any(make(tmp_path).guarantees().values())
    vouched = make(tmp_path, vouched={"network": "egress is off in the template"})
    assert vouched.guarantees()["network"] == "egress is off in the template"
    with pytest.raises(SandboxError, match="does not guarantee exec"):
        make(tmp_path, vouched={"network": "x"}, require=["network", "exec"]).open()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"backend": object()}, "has no execute, upload_files, download_files"),
        ({"vouched": {"magic": "x"}}, "no guarantee"),
        ({"require": ["magic"]}, "no guarantee"),
        ({"policy": "some"}, "'full' or 'restricted'"),
        ({"folder": "tmp"}, "absolute path"),
        ({"idle_seconds": 0}, "idle_seconds"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        DeepAgentsSandbox(**{"backend": ShellBackend(), **options})


def test_restricted_has_the_allow_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox = make(tmp_path, policy="restricted")
    monkeypatch.setattr(worker_harness, "make_sandbox", lambda _: sandbox)
    with Harness("deepagents") as worker:
        assert "not possible here" in worker.error("import subprocess")
    assert "no files" in sandbox.describe()
