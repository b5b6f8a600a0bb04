"""Whatever a cell does without end is bounded while it does it, on our side and in its worker."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.tools import tool

from langchain_replm import RLM, RLMConfig, RLMResponse
from langchain_replm.sandbox._wire import WireLimits
from langchain_replm.testing import ScriptedChatModel
from tests.scenarios import cell
from tests.worker_harness import Harness

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="measures in Linux's /proc"),
    pytest.mark.usefixtures("nothing_left_behind"),
]

MIB = 2**20


def memory(name: str, pid: int | str = "self") -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"{name}:\s+(\d+)", status)[1]) * 1024  # type: ignore[index]


@pytest.fixture
def grown() -> Any:
    """By how many bytes this process has grown at most since the test began."""
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    return lambda: memory("VmHWM") - before


@tool
def keep(data: Any) -> str:
    """Keep something."""
    return "kept"


def run(*lines: str, **config: Any) -> RLMResponse:
    rlm = RLM(
        ScriptedChatModel(replies=[cell(*lines), cell("FINAL('the run goes on')")]),
        sub_model=ScriptedChatModel(respond=lambda _: "r"),
        tools=[keep],
        config=RLMConfig(**config),
    )
    response = rlm.generate("q", "some text")
    assert response.answer == "the run goes on"
    return response


FLOODS = {
    "lines": ("line = 'x' * 999_999", "for _ in range(1000):", "    try: print(line)", "    except RuntimeError: pass"),
    "one print": ("try: print('x' * 400_000_000)", "except RuntimeError: pass", "print('after')"),
    "errors": ("import sys", "for _ in range(1000):", "    try: sys.stderr.write('y' * 10**6)", "    except RuntimeError: pass"),
}  # fmt: skip


@pytest.mark.parametrize("flood", FLOODS)
def test_a_gigabyte_of_output_costs_nobody_memory(flood: str, grown: Any) -> None:
    response = run(*FLOODS[flood], metadata_prefix_chars=1_000)
    assert grown() < 30 * MIB
    observation = response.trajectory[0].observation or ""
    assert len(observation) < 4_000
    if flood != "one print":
        assert "left out" in observation


def test_the_worker_holds_no_output_either() -> None:
    limits = WireLimits(output_total_chars=10**9)
    with Harness("restricted", limits=limits) as h:
        h.output("pass")
        before = memory("VmHWM", h.transport.pid)  # type: ignore[attr-defined]
        done = h.run("line = 'x' * 99_999\nfor _ in range(4_000): print(line)")
        assert done.output_chars == 400_000_000
        after = memory("VmHWM", h.transport.pid)  # type: ignore[attr-defined]
    assert len(done.output_head) + len(done.output_tail) <= 40_000
    assert after - before < 20 * MIB


def test_refused_calls_are_cheap(grown: Any) -> None:
    response = run(
        "for n in range(1_000):", "    try: llm_query('x' * 2_000)", "    except Exception: pass",
        max_sub_calls=5,
    )  # fmt: skip
    assert response.sub_calls == 5
    assert grown() < 30 * MIB


@pytest.mark.parametrize("depth", [50, 95, 500, 900, 100_000])
def test_nested_arguments_are_bounded(depth: int) -> None:
    """Ours walk what they get from far up the stack; a cell is told before it is sent."""
    response = run(
        "deep = []", f"for _ in range({depth}): deep = [deep]",
        "try: print(keep(data=deep))", "except Exception as error: print('told:', error)",
    )  # fmt: skip
    output = response.trajectory[0].cells[0].output
    assert output.startswith("kept" if depth == 50 else "told: ")
    if depth != 50:
        assert "90 levels deep" in output


def test_threads_end_at_the_memory_that_there_is() -> None:
    response = run(
        "import threading, time", "started = 0", "try:", "    for _ in range(5_000):",
        "        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
        "        started += 1", "except (RuntimeError, MemoryError) as error: print(error)",
        "print(started < 5_000)",
    )  # fmt: skip
    assert response.trajectory[0].cells[0].output.endswith("True\n")


def test_variables_are_summarised_within_bounds(grown: Any) -> None:
    response = run(
        "for n in range(3_000): globals()['n' * 5_000 + str(n)] = 'v' * 10_000", "big = 'x' * 10**8"
    )
    changed = response.trajectory[0].cells[0].changed
    assert len(changed) <= 101
    assert all(len(name) <= 300 and len(text) <= 300 for name, text in changed.items())
    assert grown() < 30 * MIB


def test_ten_thousand_calls_of_one_cell_cost_our_side_little(grown: Any) -> None:
    prompts = "[f'{i:05}' + 'x' * 2_000 for i in range(10_000)]"
    rlm = RLM(
        ScriptedChatModel(replies=[cell(f"r = llm_query_batch({prompts})", "FINAL(len(r))")]),
        sub_model=FakeListChatModel(responses=["r"]),
        config=RLMConfig(max_sub_calls=10_000),
    )
    response = rlm.generate("q", "some text")
    assert (response.answer, response.sub_calls) == ("10000", 10_000)
    assert grown() < 120 * MIB  # the prompts are 19 MiB; about 36 MiB were measured
