"""After five hundred runs that ended in every way there is, nothing is there that was not before."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from langchain_replm import RLM, RLMConfig, RLMResponse
from langchain_replm.errors import RLMError
from langchain_replm.testing import ScriptedChatModel
from tests.processes import children
from tests.scenarios import cell

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts in Linux's /proc"),
    pytest.mark.timeout(300),
]

RUNS = 500
AT_ONCE = 4

ENDINGS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "answered": ([cell("FINAL(llm_query('a'))")], {}),
    "cell-error": ([cell("1 / 0"), cell("FINAL('on')")], {}),
    "failed-sub-call": ([cell("llm_query('fail')"), cell("FINAL('on')")], {}),
    "late-thread": (
        [
            cell(
                "import threading",
                "threading.Thread(target=llm_query, args='x').start()",
                "FINAL(1)",
            )
        ],
        {},
    ),
    "timeout": ([cell("while True: pass"), cell("FINAL('on')")], {"sandbox_timeout": 0.02}),
    "stubborn": ([cell("sum(range(10**14))"), cell("FINAL('on')")], {"sandbox_timeout": 0.02}),
    "crash": (
        [cell("import os", "os.kill(os.getpid(), 9)"), cell("FINAL('on')")],
        {"sandbox_mode": "subprocess"},
    ),
    "no-answer": ([cell("x = 1")], {"max_iterations": 1}),
    "failed-root": ([], {"max_consecutive_errors": 1}),
    "in-process": ([cell("FINAL(llm_query('a'))")], {"sandbox_mode": "none"}),
    "in-process-error": ([cell("1 / 0"), cell("FINAL('on')")], {"sandbox_mode": "none"}),
    "cancelled": ([cell("llm_query('wait')")], {}),
}
# A stubborn cell takes half a second to be given up, a worker takes its start: they are rarer.
SHARES = [
    *[name for name in ENDINGS if name != "stubborn"] * 3,
    *["in-process", "in-process-error"] * 12,
    "stubborn",
]


def sub_reply(messages: list[Any]) -> str:
    prompt = messages[-1].content
    if prompt == "fail":
        raise RuntimeError(prompt)
    if prompt == "wait":
        time.sleep(0.05)
    return "a reply"


def make(name: str) -> RLM:
    replies, config = ENDINGS[name]
    given: Any = list(replies) or [RuntimeError("the root fails")]
    return RLM(
        ScriptedChatModel(replies=given),
        sub_model=ScriptedChatModel(respond=sub_reply),
        config=RLMConfig(**config),
    )


def one(name: str) -> RLMResponse | None:
    try:
        return make(name).generate("q", "some text")
    except (RuntimeError, RLMError):
        return None


async def aone(name: str, places: asyncio.Semaphore) -> None:
    async with places:
        running = asyncio.ensure_future(make(name).agenerate("q", "some text"))
        if name == "cancelled":
            await asyncio.sleep(0.02)
            running.cancel()
        with suppress(RuntimeError, RLMError, asyncio.CancelledError):
            await running


async def many(names: list[str]) -> None:
    places = asyncio.Semaphore(AT_ONCE)
    await asyncio.gather(*(aone(name, places) for name in names))


def run(count: int) -> None:
    names = [SHARES[number % len(SHARES)] for number in range(count)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(one, names[::2]))
    asyncio.run(many(names[1::2]))


def census(folder: Path) -> dict[str, Any]:
    gc.collect()
    return {
        "children": len(children()),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "files": sorted(path.name for path in folder.rglob("*")),
    }


def more(now: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """What is there now and was not; what tests before this one have left may go meanwhile."""
    found: dict[str, Any] = {
        name: sorted((Counter(now[name]) - Counter(before[name])).elements())
        for name in ("threads", "files")
    }
    found |= {name: max(0, now[name] - before[name]) for name in ("children", "descriptors")}
    return {name: value for name, value in found.items() if value}


def test_nothing_is_left_after_five_hundred_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    run(len(SHARES))  # imports, probes
    before = census(tmp_path)
    run(RUNS)
    deadline = time.monotonic() + 10
    while (left := more(census(tmp_path), before)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left
