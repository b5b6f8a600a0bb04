"""A worker ends with its host, however that ends; and what does not end is found."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from langchain_replm import RLM, RLMConfig
from langchain_replm.sandbox.process import WORKER
from tests import processes
from tests.integration_tests.durable.jobs import CONFIG, script
from tests.scenarios import cell
from tests.zygote import Zygote

HERE = "tests.integration_tests.durable.test_left_processes"


def die_with_workers(folder: str) -> None:
    """Leave an idle session open, and have a running one when the process is killed."""
    root = script(cell("n = 1", "FINAL(n)"))
    rlm = RLM(root, config=RLMConfig(idle_seconds=1_000), checkpointer=InMemorySaver())
    given: Any = {"query": "q", "context": "text"}
    rlm.invoke(given, CONFIG)
    (idle,) = rlm.graph.places._idle.values()
    transport: Any = idle.transport
    Path(folder, "worker").write_text(str(transport.pid))

    def killed_in_its_cell(event: Any) -> None:
        if event.type == "cell_start" and "while True" in event.detail["code"]:
            os.kill(os.getpid(), signal.SIGKILL)

    loops = RLM(script(cell("while True: pass")))
    loops.generate("q", "text", on_event=killed_in_its_cell)


def test_workers_idle_and_running_end_with_a_host_that_is_killed(tmp_path: Path) -> None:
    with Zygote(HERE) as zygote:
        ended = zygote.run(f"{HERE}:die_with_workers", str(tmp_path))
    assert (ended.code, ended.error) == (-signal.SIGKILL, None)
    assert processes.outlived() == []
    worker = int((tmp_path / "worker").read_text())
    assert worker not in [pid for pid, _, command in processes.running() if command]


def test_what_outlives_its_host_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "PATIENCE_SECONDS", 0.1)
    code = "import time; time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, str(WORKER)]) as process:
        try:
            (found,) = processes.outlived()
            assert found.startswith(f"{process.pid}: ")
        finally:
            process.kill()
    assert processes.outlived() == []
