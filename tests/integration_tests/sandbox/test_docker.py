"""Cells in real containers, through podman and through the docker CLI."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from langchain_replm import RLM, RLMConfig, RLMResponse
from langchain_replm.errors import ConfigurationError, SandboxError
from langchain_replm.sandbox._wire import CellFinished, WireLimits
from langchain_replm.sandbox.docker import DockerSandbox
from langchain_replm.testing import ScriptedChatModel
from tests import worker_harness
from tests.container_engine import PYTHON, Engine, docker_socket, find_engine
from tests.scenarios import cell
from tests.worker_harness import Harness, WorkerDiedError

pytestmark = pytest.mark.timeout(600)  # the first test may install an engine

MIB = 1024 * 1024
CANARY = "replm-host-secret"
both = pytest.mark.parametrize("running", ["podman", "docker"], indirect=True, scope="module")


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """The engine that is asked for with `both`, and else any that works."""
    kind = getattr(request, "param", None)
    engine, reason = find_engine(kind)
    if engine is not None:
        yield engine
        return
    podman, podman_reason = find_engine("podman")
    if podman is None or kind != "docker":
        pytest.skip(f"no container engine can run here: {reason}; {podman_reason}")
    try:
        service = docker_socket(podman)
        engine = service.__enter__()
    except RuntimeError as error:
        pytest.skip(f"{reason}; and over podman's socket: {error}")
    yield engine
    service.__exit__(None, None, None)


@pytest.fixture
def engine(running: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """The engine as the sandbox finds it; afterwards nothing of it may be left."""
    for name, value in running.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HTTPS_PROXY", f"http://{CANARY}@proxy.invalid")
    monkeypatch.setenv("OWN_SECRET", CANARY)
    before = traces()[1]
    yield running
    deadline = time.monotonic() + 10
    while (running.containers() or is_more_than(before)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert running.containers() == []
    assert not is_more_than(before)


def is_more_than(descriptors: int) -> str:
    """What is there of our containers; what earlier tests have left open may go meanwhile."""
    processes, now = traces()
    return f"{processes}, {now}" if processes or now > descriptors else ""


def traces() -> tuple[list[str], int]:
    """Processes that carry the name of one of our containers, and our open descriptors."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            children = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if f"replm-{os.getpid()}-" in line:
            found.append(line)
        elif children[0] == "Z" and children[1] == str(os.getpid()):
            found.append("zombie")
    return found, len(list(Path("/proc/self/fd").iterdir()))


def make(engine: Engine, **options: Any) -> DockerSandbox:
    return DockerSandbox(engine.image, engine=engine.command, python=PYTHON, **options)


@pytest.fixture
def harness(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Open a worker in a container: `harness(context=..., memory_bytes=...)`."""
    opened: list[Harness] = []

    def open_one(sandbox: dict[str, Any] | None = None, **options: Any) -> Harness:
        monkeypatch.setattr(worker_harness, "make_sandbox", lambda _: make(engine, **sandbox or {}))
        opened.append(Harness("docker", **options))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


async def run(
    colour: str, sandbox: DockerSandbox, *replies: Any, context: Any = "some text", **config: Any
) -> RLMResponse:
    rlm = RLM(
        ScriptedChatModel(replies=list(replies)),
        sub_model=ScriptedChatModel(respond=lambda messages: messages[-1].content.upper()),
        config=RLMConfig(**config),
        sandbox=sandbox,
    )
    if colour == "sync":
        return rlm.generate("q", context)
    return await rlm.agenerate("q", context)


# Whole runs.


@both
@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_run(colour: str, engine: Engine) -> None:
    response = await run(
        colour,
        make(engine),
        cell("import os, json", "who = llm_query('who?')", "print(os.getuid(), who)"),
        cell("FINAL(json.dumps([who, len(context), llm_query_batch(['a', 'b'])]))"),
    )
    assert response.answer == '["WHO?", 9, ["A", "B"]]'
    assert "65534 WHO?" in (response.trajectory[0].observation or "")
    assert response.sub_calls == 3


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_python_loop_is_stopped_and_keeps_its_variables(
    colour: str, engine: Engine
) -> None:
    response = await run(
        colour,
        make(engine),
        cell("a = 1"),
        cell("b = 2", "while True: pass"),
        cell("FINAL([a, b])"),
        sandbox_timeout=0.5,
    )
    assert response.answer == "[1, 2]"
    assert response.trajectory[1].cells[0].status == "timeout"
    assert "kept" in (response.trajectory[1].cells[0].error or "")


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_c_loop_is_killed_and_the_run_rebuilt(colour: str, engine: Engine) -> None:
    response = await run(
        colour,
        make(engine),
        cell("import random", "a = llm_query('once')", "r = random.random()", "h = hash('x')"),
        cell("sum(range(10**14))"),
        cell("FINAL([a, r, h])"),
        sandbox_timeout=0.5,
    )
    assert response.trajectory[1].cells[0].status == "timeout"
    assert response.sub_calls == 1, "replay makes no model call"
    undisturbed = await run(
        colour,
        make(engine),
        cell("import random", "a = llm_query('once')", "r = random.random()", "h = hash('x')"),
        cell("FINAL([a, r, h])"),
    )
    assert response.answer == undisturbed.answer


@both
async def test_a_container_killed_from_outside_is_replaced(engine: Engine) -> None:
    def kill_it(_: Any) -> str:
        (name,) = engine.containers()
        engine.run("kill", name)
        return "answered while it died"

    rlm = RLM(
        ScriptedChatModel(
            replies=[cell("a = 41"), cell("r = llm_query('kill')"), cell("FINAL(a + 1)")]
        ),
        sub_model=ScriptedChatModel(respond=kill_it),
        sandbox=make(engine),
    )
    response = await rlm.agenerate("q", "some text")
    assert response.trajectory[1].cells[0].status == "died"
    assert response.answer == "42"


async def test_a_cell_that_eats_all_memory_is_replaced(engine: Engine) -> None:
    response = await run(
        "sync",
        make(engine, memory_bytes=128 * MIB),
        cell("a = 41"),
        cell("b = bytearray(10**9)"),
        cell("FINAL(a + 1)"),
    )
    assert response.trajectory[1].cells[0].status == "died"
    assert response.answer == "42"


# The channel.


@both
def test_the_example(engine: Engine) -> None:
    script = Path(__file__).parents[3] / "examples" / "docker_sandbox.py"
    done = subprocess.run(
        [sys.executable, str(script), engine.image],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.stdout == "1000 herons, user 65534, network: OSError\n", done.stderr


def test_a_context_of_20_mb(harness: Any) -> None:
    # With what would detach a terminal, and the bytes of a frame's header.
    text = "\x10\x11 \0\0J ä " * 2_000_000
    worker = harness(context=text)
    assert worker.output("print(len(context), context == '\\x10\\x11 \\0\\0J ä ' * 2_000_000)") == (
        f"{len(text)} True\n"
    )


def test_llm_query_from_threads(harness: Any) -> None:
    worker = harness()
    code = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(16) as pool: r = list(pool.map(llm_query, map(str, range(100))))\n"
        "print(r == [f'reply to {n}' for n in range(100)])"
    )
    assert worker.output(code) == "True\n"


def test_a_flood_of_prints(harness: Any) -> None:
    worker = harness(limits=WireLimits(output_total_chars=2_000_000))
    assert "printed more than" in worker.error("while True: print('x' * 10_000)")
    assert worker.output("print(1)") == "1\n"


def test_nothing_that_is_written_reaches_the_wire(harness: Any) -> None:
    worker = harness()
    code = (
        "import os, subprocess, sys\n"
        "for fd in (0, 1, 2):\n"
        "    try: os.write(fd, b'x' * 100_000)\n"
        "    except OSError: pass\n"
        "sys.__stdout__ and sys.__stdout__.write('x'); sys.__stderr__.write('x')\n"
        f"subprocess.run([{PYTHON!r}, '-c', 'print(9 * 10**9)'])"
    )
    assert worker.run(code).status == "ok"
    assert worker.output("print(1)") == "1\n"


def test_an_interrupt_ends_the_wait_for_a_reply(harness: Any) -> None:
    worker = harness(answers=lambda call: pytest.fail("not answered"))
    worker.start_cell("x = 1\nllm_query('slow')")
    worker.pump()
    worker.session.next_event()
    assert worker.transport.interrupt()
    assert worker.wait_for(CellFinished).status == "interrupted"
    assert worker.output("print(x)") == "1\n"


# The walls.


@both
def test_who_a_cell_is(harness: Any) -> None:
    status = harness().output("print(open('/proc/self/status').read())")
    lines = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert lines["Uid"].split() == ["65534"] * 4
    assert {lines[name] for name in ("CapEff", "CapPrm", "CapBnd")} == {"0" * 16}
    assert lines["NoNewPrivs"] == "1"
    assert lines["Seccomp"] == "2"


@both
def test_the_hosts_secrets_are_not_there(harness: Any, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(CANARY)
    worker = harness()
    code = (
        "import os, glob\n"
        "said = repr(dict(os.environ))\n"
        "for path in ['/proc/1/environ', '/proc/self/environ', '/etc/hosts', '/proc/1/cmdline']:\n"
        "    said += open(path).read() if os.path.exists(path) else ''\n"
        "print(said)"
    )
    seen = worker.output(code)
    assert CANARY not in seen
    assert "proxy.invalid" not in seen
    assert "FileNotFoundError" in worker.error(f"open({str(tmp_path / 'secret')!r})")
    assert "FileNotFoundError" in worker.error(f"open({__file__!r})")


def test_the_network_is_not_there(harness: Any) -> None:
    import socket

    worker = harness()
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        for address in ("127.0.0.1", "192.0.2.1", socket.gethostbyname(socket.gethostname())):
            code = f"import socket\nsocket.create_connection(({address!r}, {port}), timeout=2)"
            error = worker.error(code)
            assert "Network is unreachable" in error or "refused" in error
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()


@both
def test_only_the_scratch_folder_can_be_written(harness: Any) -> None:
    worker = harness({"tmpfs_bytes": 4 * MIB})
    for path in ("/x", "/usr/x", "/usr/bin/x", "/dev/x"):
        error = worker.error(f"open({path!r}, 'w')")
        assert "Read-only" in error or "Permission denied" in error
    assert worker.output("print(open('/tmp/x', 'w').write('note'))") == "4\n"
    assert "No space left" in worker.error("open('/tmp/y', 'wb').write(b'x' * 5_000_000)")


def test_there_may_be_no_scratch_folder_at_all(harness: Any) -> None:
    assert "OSError" in harness({"tmpfs_bytes": 0}).error("open('/tmp/x', 'w')")


def test_a_fork_bomb_stays_inside(harness: Any) -> None:
    worker = harness({"pids": 16})
    code = (
        "import os, time\n"
        "count = 0\n"
        "try:\n"
        "    while count < 1000:\n"
        "        if os.fork() == 0: time.sleep(600)\n"
        "        count += 1\n"
        "except OSError as error: print(error)\n"
        "print(count < 16)"
    )
    assert worker.output(code).endswith("unavailable\nTrue\n")


@both
def test_memory_ends_where_it_was_said(harness: Any, engine: Engine) -> None:
    worker = harness({"memory_bytes": 64 * MIB})
    with pytest.raises(WorkerDiedError):
        worker.run("x = bytearray(10**8)")
    assert not Path("oom").exists(), "podman's monitor writes one where it was started"
    said = worker.transport.why_ended()
    if "DOCKER_HOST" in engine.environment:
        assert said is None, "podman's service loses the exit code"
    else:
        assert "64 MiB of memory (exit code 137)" in said


@both
def test_what_is_guaranteed(engine: Engine) -> None:
    given = make(engine, cpus=0.5).guarantees()
    assert [name for name, means in given.items() if means is None] == ["exec"]
    assert make(engine).guarantees()["cpu_cap"] is None
    with pytest.raises(SandboxError, match="exec"):
        make(engine, require=["network", "exec"]).open()
    root = make(engine, user="0:0").guarantees()
    assert root["file_writes"] is None


def test_restricted_has_the_allow_list(harness: Any) -> None:
    assert "not possible here" in harness({"policy": "restricted"}).error("import subprocess")


# The ends.


@both
def test_close_kill_and_forget(engine: Engine) -> None:
    forgotten = make(engine).open()
    forgotten.exchange([], 0.0)
    del forgotten  # the collector ends it
    early = make(engine).open()
    early.kill()
    early.kill()
    assert early.exchange([], 5.0).eof
    early.close()
    early.close()
    assert early.exchange([], 5.0).eof
    assert engine.containers() == []


def test_a_kill_does_not_wait(harness: Any) -> None:
    worker = harness()
    worker.start_cell("sum(range(10**14))")
    start = time.monotonic()
    worker.transport.kill()
    assert time.monotonic() - start < 5.0, "it only asks the engine"
    assert worker.transport.exchange([], 5.0).eof


@both
@pytest.mark.parametrize("code", ["while True: pass", "sum(range(10**14))"])
def test_no_container_outlives_its_host(engine: Engine, code: str) -> None:
    script = (
        "import os, sys, time\n"
        "from tests import worker_harness\n"
        "from langchain_replm.sandbox.docker import DockerSandbox\n"
        f"sandbox = DockerSandbox({engine.image!r}, engine={engine.command!r})\n"
        "worker_harness.make_sandbox = lambda _: sandbox\n"
        "worker = worker_harness.Harness('docker')\n"
        f"worker.start_cell({code!r})\n"
        "time.sleep(0.3)\n"
        "print(worker.transport.name, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("replm-"), done.stderr
    owner = int(done.stdout.split("-")[1])
    deadline = time.monotonic() + 20
    while engine.containers(owner) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert engine.containers(owner) == []


@both
def test_leftovers_are_found_and_those_of_living_hosts_stay(engine: Engine, harness: Any) -> None:
    import platform

    living = harness()
    dead = subprocess.Popen(["true"])
    dead.wait()
    name = f"replm-{dead.pid}-0123456789ab"
    label = f"--label=langchain_replm={platform.node()}"
    limits = ("--ulimit=nofile=256:256", "--ulimit=nproc=4096:4096", "--network=none")
    sleep = (engine.image, PYTHON, "-c", "import time; time.sleep(600)")
    engine.run("run", "--detach", "--pull=never", "--rm", f"--name={name}", label, *limits, *sleep)
    assert name in make(engine).remove_leftovers()
    assert living.output("print(1)") == "1\n"


# What is missing.


@both
def test_a_missing_image_says_what_to_run(engine: Engine) -> None:
    rlm = RLM(
        ScriptedChatModel(replies=[cell("FINAL(1)")]),
        sandbox=DockerSandbox("langchain-replm-nowhere:1", engine=engine.command),
    )
    with pytest.raises(SandboxError, match="pull langchain-replm-nowhere:1"):
        rlm.generate("q", "some text")
    with pytest.raises(SandboxError, match="pull langchain-replm-nowhere:1"):
        DockerSandbox("langchain-replm-nowhere:1", engine=engine.command).guarantees()


@both
def test_a_missing_program_is_named(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox = DockerSandbox(engine.image, engine=engine.command, python="no-python")
    monkeypatch.setattr(worker_harness, "make_sandbox", lambda _: sandbox)
    with pytest.raises(SandboxError, match="no-python"):
        Harness("docker")


def test_a_missing_engine_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(SandboxError, match="install podman, or install docker"):
        DockerSandbox().open()
    with pytest.raises(SandboxError, match="no 'dockr' here"):
        DockerSandbox(engine="dockr").open()


def test_an_engine_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    command = tmp_path / "docker"
    command.write_text(
        "#!/bin/sh\necho 'Cannot connect to the Docker daemon at unix:///x.' >&2\nexit 1\n"
    )
    command.chmod(0o755)
    monkeypatch.setattr(
        worker_harness, "make_sandbox", lambda _: DockerSandbox(engine=str(command))
    )
    with pytest.raises(SandboxError, match="systemctl start docker"):
        Harness("docker")


@pytest.mark.parametrize(
    "wrong",
    [
        {"policy": "open"},
        {"require": ["nothing"]},
        {"image": "--privileged"},
        {"memory_bytes": MIB},
        {"pids": 1},
    ],
)
def test_wrong_arguments(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        DockerSandbox(**wrong)
