"""A worker that ends in any way is replaced by one that has been where it was, to the byte."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import pytest

from langchain_replm import RLM, RLMConfig, RLMResponse
from langchain_replm.errors import SandboxError
from langchain_replm.sandbox import ProcessSandbox, Sandbox
from langchain_replm.sandbox.base import Exchanged, Transport
from langchain_replm.testing import ScriptedChatModel
from tests.scenarios import cell

pytestmark = pytest.mark.usefixtures("nothing_left_behind")


class Recorded(Sandbox):
    """A sandbox that remembers what its workers said, and how many there were."""

    policy: Literal["full"] = "full"

    def __init__(self, inner: ProcessSandbox) -> None:
        self._inner = inner
        self.heard: list[bytearray] = []
        self.pids: list[int] = []

    def describe(self) -> str:
        return self._inner.describe()

    def open(self) -> Transport:
        self.heard.append(bytearray())
        transport = self._inner.open()
        self.pids.append(transport.pid)
        exchange, heard = transport.exchange, self.heard[-1]

        def recorded(data: Iterable[bytes], seconds: float | None) -> Exchanged:
            done = exchange(data, seconds)
            heard.extend(done.data)
            return done

        transport.exchange = recorded  # type: ignore[method-assign]
        return transport

    def results(self, worker: int) -> list[dict[str, Any]]:
        """How the cells of a worker ended, without the names that the host gave them."""
        data, found = bytes(self.heard[worker]), []
        while len(data) >= 5:
            end = 5 + int.from_bytes(data[:4], "big")
            if len(data) < end or data[4:5] != b"J":
                break
            try:
                message = json.loads(data[5:end])
            except ValueError:
                break
            if message.pop("type") == "done":
                del message["id"]
                found.append(message)
            data = data[end:]
        return found


PAST = (
    cell("import random", "a = [random.random() for _ in range(3)]", "print(a)"),
    cell("s = {f'word{n}' for n in range(50)}", "order = list(s)", "print(order, hash('x'))"),
    cell("r = llm_query('once')", "b = llm_query_batch(['x', 'fail', 'y'])", "print(r, b)"),
    cell("partly = 'kept'", "print('before')", "1 / 0"),
    cell("from dataclasses import dataclass", "@dataclass", "class P:", "    x: int", "p = P(7)", "p"),
    cell("def count():", "    n = 0", "    while True:", "        n += 1", "        yield n", "g = count()", "next(g), next(g)"),
)  # fmt: skip
SHOW = cell("FINAL([a, order, hash('x'), r, str(b), partly, p.x, next(g), random.random()])")

DEATHS = {
    "segmentation fault": cell("import ctypes", "ctypes.string_at(0)"),
    "abort": cell("import os", "os.abort()"),
    "exit": cell("import os", "os._exit(0)"),
    "SIGKILL": cell("import os", "os.kill(os.getpid(), 9)"),
    "closed pipe": cell("import os", "os.closerange(3, 64)", "import time", "time.sleep(30)"),
    "stack": cell(
        "import sys", "sys.setrecursionlimit(10**9)", "class A:",
        "    def __getattr__(self, name): return getattr(self, name)", "A().x",
    ),
    "broken protocol": cell(
        "import os", "for fd in range(3, 64):", "    try: os.write(fd, b'garbage garbage')",
        "    except OSError: pass", "import time", "time.sleep(30)",
    ),
    "time": cell("sum(range(10**14))"),
    "killed from outside": cell("llm_query('kill')"),
    "out of memory": cell("import os", "kept = []", "try:", "    while True: kept.append(b'x' * 10**8)", "except MemoryError: os.kill(os.getpid(), 9)"),
}  # fmt: skip


def run(
    sandbox: Recorded, *replies: str, timeout: float = 30.0, **config: Any
) -> tuple[RLMResponse, ScriptedChatModel]:
    def reply(messages: list[Any]) -> str:
        prompt = messages[-1].content
        if prompt == "kill":
            os.kill(sandbox.pids[-1], 9)
        if prompt == "fail":
            raise RuntimeError("no")
        return prompt.upper()

    sub_model = ScriptedChatModel(respond=reply)
    rlm = RLM(
        ScriptedChatModel(replies=list(replies)),
        sub_model=sub_model,
        sandbox=sandbox,
        config=RLMConfig(sandbox_timeout=timeout, **config),
    )
    return rlm.generate("q", "some text"), sub_model


@pytest.fixture(scope="module")
def undisturbed() -> RLMResponse:
    return run(Recorded(ProcessSandbox("subprocess")), *PAST, SHOW)[0]


@pytest.mark.parametrize("death", DEATHS)
def test_what_was_there_is_there_again(death: str, undisturbed: RLMResponse) -> None:
    sandbox = Recorded(ProcessSandbox("subprocess"))
    timeout = 1.0 if death == "time" else 30.0
    response, sub_model = run(sandbox, *PAST, DEATHS[death], SHOW, timeout=timeout)
    lost = response.trajectory[len(PAST)]
    assert lost.cells[0].status == ("timeout" if death == "time" else "died")
    assert "restarted" in (lost.observation or "")
    assert response.answer == undisturbed.answer
    assert response.stop_reason == "answered"
    # Variables, output and errors of the cells that ran again are equal to the byte.
    assert len(sandbox.heard) == 2
    first, again = sandbox.results(0)[: len(PAST)], sandbox.results(1)
    assert again[: len(PAST)] == first
    assert len(again) == len(PAST) + 1
    prompts = [call[-1].content for call in sub_model.calls if call[-1].content != "kill"]
    assert sorted(prompts) == ["fail", "once", "x", "y"], "running again asks no model"


def test_a_cell_that_ends_its_worker_each_time_is_told_so_each_time() -> None:
    sandbox = Recorded(ProcessSandbox("subprocess"))
    deadly = DEATHS["SIGKILL"]
    response, _ = run(sandbox, cell("kept = 1"), deadly, deadly, deadly, cell("FINAL(kept)"))
    assert response.answer == "1"
    assert [step.cells[0].status for step in response.trajectory] == ["ok", *["died"] * 3, "ok"]
    assert "ended the REPL process" in (response.trajectory[3].cells[0].error or "")
    assert len(sandbox.heard) == 4, "one worker for each death, and the first"


def test_a_worker_that_dies_again_while_it_is_rebuilt_ends_the_run(tmp_path: Path) -> None:
    """A cell that ran well and now ends its worker: nobody can be told, and nothing is repeated."""
    marker = tmp_path / "marker"
    sandbox = Recorded(ProcessSandbox("subprocess", isolation="process"))
    changed = cell(
        "import os", f"if os.path.exists({str(marker)!r}): os._exit(1)", f"open({str(marker)!r}, 'w')"
    )  # fmt: skip
    with pytest.raises(SandboxError, match=r"could not be rebuilt: cell 1 of 1"):
        run(sandbox, changed, DEATHS["SIGKILL"], cell("FINAL('on')"))
    assert len(sandbox.heard) == 2
