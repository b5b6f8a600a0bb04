"""A process that is killed in the middle of a cell: what it has paid for is not paid again."""

from __future__ import annotations

import json
import random
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.openai_server import OpenAIServer
from tests.zygote import Zygote

JOBS = "tests.integration_tests.durable.jobs"


def recorded_beside_checkpoints(folder: Path) -> int:
    return _count(folder / "runs.db", "select count(*) from writes where channel = 'replm_journal'")


def recorded_in_file(folder: Path) -> int:
    return _count(folder / "journal.db", "select count(*) from entries")


def _count(file: Path, query: str) -> int:
    connection = sqlite3.connect(file)
    try:
        (count,) = connection.execute(query).fetchone()
    except sqlite3.OperationalError:  # the job has not come as far as its first table
        return 0
    else:
        return int(count)
    finally:
        connection.close()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.parametrize(
    ("job", "recorded", "calls", "kills"),
    [
        pytest.param("fan_out_sync", recorded_beside_checkpoints, 300, 20, id="beside checkpoints"),
        pytest.param("fan_out_async", recorded_in_file, 80, 5, id="async, in a file"),
    ],
)
def test_no_sub_call_that_ended_is_made_again(
    tmp_path: Path, job: str, recorded: Callable[[Path], int], calls: int, kills: int
) -> None:
    draw = random.Random(job)
    lost = []
    with (
        OpenAIServer(lambda request: f"read {request.last_text}", latency_seconds=0.01) as server,
        Zygote(JOBS) as zygote,
    ):
        target = f"{JOBS}:{job}"
        for _ in range(kills):
            goal = server.request_count + draw.randint(1, 2 * (calls // kills) - 5)
            pid = zygote.start(target, server.base_url, str(tmp_path), calls)
            wait_until(lambda: server.request_count >= goal or recorded(tmp_path) >= calls)  # noqa: B023
            time.sleep(draw.random() * 0.01)
            assert zygote.kill(pid).code in (-9, 0)
            wait_until(lambda: server.in_flight == 0)
            lost.append(server.request_count - recorded(tmp_path) - sum(lost))
        ended = zygote.run(target, server.base_url, str(tmp_path), calls)
        assert ended.error is None
        answer, sub_calls = ended.result
    assert json.loads(answer) == [calls, calls, "read q3", f"read b{calls // 2 - 1}"]
    assert sub_calls == calls, "each is charged once"
    assert server.request_count == calls + sum(lost)
    # A request may be counted after the next start, when a busy server comes to read it.
    so_far = [sum(lost[: number + 1]) / (number + 1) for number in range(kills)]
    assert max(so_far) <= 8, "no more than were in flight at each kill"
