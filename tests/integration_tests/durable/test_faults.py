"""Faults at seeded random moments: the right answer, no finished call made twice, nothing left.

More than 200 runs, each with one fault: the worker is killed, the process is killed, the database
goes away, the disk is full, the model fails, the caller cancels.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.sqlite import SqliteSaver
from psycopg_pool import ConnectionPool

from langchain_replm import RLM, MemoryJournal, RLMConfig, RLMError
from langchain_replm.testing import ScriptedChatModel
from tests import postgres_server
from tests.integration_tests.durable.jobs import CONFIG
from tests.openai_server import OpenAIServer
from tests.scenarios import cell
from tests.zygote import Zygote

GIVEN: Any = {"query": "q", "context": "the heron stands still\n" * 50}
CALLS = 10
ANSWER = '["read b0", "read b1", "read b2", "read b3", "read b4", "read s0", "read s1", "read s2", "read s3", "read s4"]'

ASK_ALL = [
    "def ask(prompts):",
    "    got = {}",
    "    while len(got) < len(prompts):",
    "        left = [p for p in prompts if p not in got]",
    "        for p, r in zip(left, llm_query_batch(left)):",
    "            if isinstance(r, str): got[p] = r",
    "    return [got[p] for p in prompts]",
]
BATCH = cell(*ASK_ALL, "r = ask([f'b{n}' for n in range(5)])")
ONE_BY_ONE = cell("s = [ask([f's{n}'])[0] for n in range(5)]")
FINAL = cell("FINAL(r + s)")


def root() -> ScriptedChatModel:
    """Goes on with what is missing; a cell whose worker died is written again."""

    def respond(messages: list[Any]) -> str:
        if any("restarted" in message.text for message in messages[2:]):
            return cell(*ASK_ALL, "r = ask([f'b{n}' for n in range(5)])",
                        "s = [ask([f's{n}'])[0] for n in range(5)]", "FINAL(r + s)")  # fmt: skip
        return [BATCH, ONE_BY_ONE, FINAL][(len(messages) - 2) // 2]

    return ScriptedChatModel(respond=respond)


# In mode "none" an interrupt is an exception in the thread of the cell. One that arrives in the
# callback of a weak reference is swallowed there by the interpreter, which says so.
pytestmark = pytest.mark.filterwarnings(r"ignore:Exception ignored in[\s\S]*KeyboardInterrupt")


class Sub:
    """Counts what it has answered; something happens at its n-th call."""

    def __init__(self, at: int, fault: Any) -> None:
        self.answered: Counter[str] = Counter()
        self._left, self._fault = at, fault

    def __call__(self, messages: list[Any]) -> Any:
        self._left -= 1
        if self._left == 0:
            self._fault()
        self.answered[messages[-1].text] += 1
        return f"read {messages[-1].text}"

    @property
    def repeated(self) -> int:
        return self.answered.total() - CALLS


def build(sub: Sub, saver: Any = None, journal: Any = None, **config: Any) -> RLM:
    return RLM(
        root(),
        sub_model=ScriptedChatModel(respond=sub),
        config=RLMConfig(max_concurrency=2, cache_sub_calls=True, **config),
        checkpointer=saver or InMemorySaver(),
        journal=journal,
    )


async def go(rlm: RLM, draw: random.Random, given: Any) -> Any:
    if draw.random() < 0.5:
        return await rlm.ainvoke(given, CONFIG)
    return await asyncio.to_thread(rlm.invoke, given, CONFIG)


def fail() -> None:
    raise ConnectionError("the provider is down")


def kill_workers() -> None:
    """Every worker of this process; the runs come one after the other."""
    for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        with suppress(OSError):
            if b"_worker.py" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(int(pid), signal.SIGKILL)


def stop() -> None:
    raise KeyboardInterrupt


hacked: list[str] = []
PICKLE = b"ctests.integration_tests.durable.test_faults\nhacked.append\n(S'yes'\ntR."
DAMAGES = [
    (
        "select rowid, checkpoint from checkpoints",
        "update checkpoints set checkpoint = ? where rowid = ?",
    ),
    (
        "select rowid, metadata from checkpoints",
        "update checkpoints set metadata = ? where rowid = ?",
    ),
    ("select rowid, value from writes", "update writes set value = ? where rowid = ?"),
]


@pytest.fixture(scope="module")
def _warm() -> None:
    """What the first run leaves for good is there before it is counted."""
    asyncio.run(asyncio.to_thread(lambda: None))
    build(Sub(0, fail)).invoke(GIVEN, CONFIG)


@pytest.mark.usefixtures("_warm", "nothing_left_behind")
async def test_80_failing_models() -> None:
    draw = random.Random(1)
    for seed in range(80):
        sub = Sub(draw.randint(1, CALLS), fail)
        rlm = build(sub, sandbox_mode="none")
        response = await go(rlm, draw, GIVEN)
        assert (response.answer, sub.repeated) == (ANSWER, 0), seed


@pytest.mark.usefixtures("_warm", "no_worker_left")
async def test_50_cancelled_runs_go_on() -> None:
    draw = random.Random(2)
    for seed in range(50):
        tasks: list[asyncio.Task[Any]] = []
        sub = Sub(draw.randint(1, CALLS), lambda tasks=tasks: tasks[0].cancel())
        rlm = build(sub, sandbox_mode="none")
        tasks.append(asyncio.create_task(rlm.ainvoke(GIVEN, CONFIG)))
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]
        response = await go(rlm, draw, None)
        assert response.answer == ANSWER, seed
        assert sub.repeated <= 2, "no more than were in flight"


class Full(MemoryJournal):
    """A disk that is full once."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self._left = at

    def write(self, run_id: str, key: str, entry: str) -> None:
        self._left -= 1
        if self._left == 0:
            raise OSError(28, "No space left on device")
        super().write(run_id, key, entry)


@pytest.mark.usefixtures("_warm", "no_worker_left")
async def test_40_full_disks() -> None:
    draw = random.Random(3)
    for seed in range(40):
        sub = Sub(0, fail)
        rlm = build(sub, journal=Full(draw.randint(1, CALLS)), sandbox_mode="none")
        with pytest.raises(RLMError, match="No space left"):
            await go(rlm, draw, GIVEN)
        response = await go(rlm, draw, None)
        assert response.answer == ANSWER, seed
        assert sub.repeated <= 2, "what could not be written, and what was in flight"


@pytest.mark.usefixtures("_warm", "nothing_left_behind")
async def test_20_killed_workers() -> None:
    draw = random.Random(4)
    for seed in range(20):
        sub = Sub(draw.randint(1, CALLS), kill_workers)
        response = await go(build(sub), draw, GIVEN)
        assert (response.answer, sub.repeated) == (ANSWER, 0), seed


def test_8_killed_processes(tmp_path: Path) -> None:
    draw = random.Random(5)
    jobs = "tests.integration_tests.durable.jobs"
    with (
        OpenAIServer(lambda request: f"read {request.last_text}", latency_seconds=0.005) as server,
        Zygote(jobs) as zygote,
    ):
        for seed in range(8):
            folder = tmp_path / str(seed)
            folder.mkdir()
            before = server.request_count
            goal = before + draw.randint(1, 11)
            pid = zygote.start(f"{jobs}:fan_out_sync", server.base_url, str(folder), 12)
            while server.request_count < goal:
                assert Path(f"/proc/{pid}").exists()
            assert zygote.kill(pid).code in (-9, 0)
            ended = zygote.run(f"{jobs}:fan_out_sync", server.base_url, str(folder), 12)
            assert ended.error is None
            assert ended.result[1] == 12
            assert server.request_count - before <= 12 + 8, "no more than were in flight"


@contextmanager
def connected(uri: str) -> Iterator[PostgresSaver]:
    options = {"autocommit": True, "prepare_threshold": 0}
    with ConnectionPool(
        uri,
        min_size=1,
        max_size=4,
        timeout=1,
        kwargs=options,
        check=ConnectionPool.check_connection,
    ) as pool:
        yield PostgresSaver(pool)  # type: ignore[arg-type]


def test_3_databases_that_go_away() -> None:
    if why := postgres_server.missing():
        pytest.skip(why)
    draw = random.Random(6)
    with postgres_server.server() as server:
        for seed in range(3):
            sub = Sub(draw.randint(1, CALLS), lambda: server.stop("immediate"))
            with connected(server.uri) as saver:
                saver.setup()
                saver.delete_thread("t")
                with pytest.raises((psycopg.Error, RLMError)):
                    build(sub, saver, sandbox_mode="none").invoke(GIVEN, CONFIG)
            server.start()
            # Another pool: one that has lost its server waits longer and longer for it.
            with connected(server.uri) as saver:
                response = build(sub, saver, sandbox_mode="none").invoke(None, CONFIG)
            assert response.answer == ANSWER, seed
            assert sub.repeated <= 2, "what could not be written, and what was in flight"


def test_40_damaged_checkpoints_are_errors_and_nothing_else() -> None:
    """Bits flipped, values cut, pickles put in: an exception, never code, never a hang."""
    draw = random.Random(7)
    for seed in range(40):
        connection = sqlite3.connect(":memory:", check_same_thread=False)
        rlm = build(Sub(7, stop), SqliteSaver(connection), sandbox_mode="none")
        with pytest.raises(KeyboardInterrupt):
            rlm.invoke(GIVEN, CONFIG)
        reading, writing = draw.choice(DAMAGES)
        rows = [row for row in connection.execute(reading).fetchall() if row[1]]
        rowid, value = draw.choice(rows)
        broken = bytearray(value if isinstance(value, bytes) else str(value).encode())
        how = draw.choice(["flip", "cut", "pickle"])
        if how == "flip":
            broken[draw.randrange(len(broken))] ^= 1 << draw.randrange(8)
        elif how == "cut":
            del broken[draw.randrange(len(broken)) :]
        else:
            broken = bytearray(PICKLE)
        connection.execute(writing, (bytes(broken), rowid))
        with suppress(Exception):
            response = rlm.invoke(None, CONFIG)
            assert response.stop_reason in {"answered", "errors", "max_iterations"}, seed
        connection.close()
    assert not hacked, "nothing of a checkpoint was executed"


def test_a_pickle_among_the_writes_is_not_unpickled(tmp_path: Path) -> None:
    """LangGraph's serializer knows a type "pickle"; it must be off where we build on it."""
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    rlm = build(Sub(7, stop), SqliteSaver(connection), sandbox_mode="none")
    with pytest.raises(KeyboardInterrupt):
        rlm.invoke(GIVEN, CONFIG)
    connection.execute("update writes set type = 'pickle', value = ?", (PICKLE,))
    with suppress(Exception):
        rlm.invoke(None, CONFIG)
    connection.close()
    assert not hacked
