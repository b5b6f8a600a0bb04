"""A context of 100 MB: what it costs the host in memory and in time.

Memory is measured in fresh processes (`python -m benchmarks.context KIND MEGABYTES`), because what
a process has freed once, it takes again without growing.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks._measure import Plan, Row, compare, interleave, timed
from benchmarks._memory import children, forget_peak, peak, resident
from benchmarks._scripts import QUERY, cell
from langchain_replm import RLM
from langchain_replm.testing import ScriptedChatModel

LOADING_AIM, LOADED_AIM = 2.2, 1.1
TIME_AIM = 1.5
FILE, FILE_AIM = "file", 0.1
"""A file is streamed to the worker: the host holds pieces of it, never the whole."""
KINDS = {
    "ASCII": "the heron stands still in the cold water\n",
    "Latin-1": "der Reiher hört die Flöße, später, im Fluß\n",
    "CJK": "灰鷺站在寒冷的河水裡。一動也不動。等待著魚。\n",
    "list": "",
}
DOCUMENTS = 100_000
READER = "import sys; t = sys.stdin.buffer.read().decode(); print(len(t), flush=True)"


def measure(plan: Plan) -> Iterator[Row]:
    megabytes = plan.pick(100, 10)
    for kind in KINDS:
        # Fresh processes and resident pages: the numbers hardly differ between rounds.
        for _ in range(plan.pick(2, 1)):
            seen = _measure_memory(kind, megabytes)
        case = f"{megabytes} MB {kind}"
        floor = f"the caller's own context: {seen['own'] / 1e6:.0f} MB"
        memory = [
            ("host at its peak", seen["peak"], LOADING_AIM),
            ("host after loading", seen["loaded"], LOADED_AIM),
            ("worker", seen["worker"], None),
        ]
        for name, taken, aim in memory:
            yield Row("context", f"{case}, {name}", taken, floor, aim)
    seen = _measure_memory(FILE, 5 * megabytes)
    floor = f"the size of the file: {seen['own'] / 1e6:.0f} MB"
    for name in ("peak", "worker"):
        aim = FILE_AIM if name == "peak" else None
        case = f"file of {5 * megabytes} MB, {'host at its peak' if name == 'peak' else name}"
        yield Row("context", case, seen[name], floor, aim)
    yield from _measure_time(megabytes, plan)


def make_context(kind: str, megabytes: int) -> str | list[str]:
    """A context that takes so many megabytes in CPython: 1 or 2 bytes a character."""
    size = megabytes * 1_000_000
    if kind == "list":
        each = size // DOCUMENTS
        return [f"document {i:>8} ".ljust(each, "x") for i in range(DOCUMENTS)]
    line = KINDS[kind]
    return line * (size // (len(line) * (1 if ord(max(line)) < 256 else 2)))


def _measure_time(megabytes: int, plan: Plan) -> Iterator[Row]:
    for kind in KINDS:
        context = make_context(kind, megabytes)
        # A plain program would send a list as one text, too.
        text = context if isinstance(context, str) else "".join(context)
        rlm = RLM(ScriptedChatModel(replies=[cell("FINAL(len(context))")]))
        given: Any = {"query": QUERY, "context": context}
        cases = {
            "ours": timed(lambda given=given, rlm=rlm: rlm.invoke(given)),
            "floor": timed(lambda text=text: _pipe_floor(text)),
        }
        samples = interleave(cases, plan.rounds)
        yield compare(
            "context",
            f"{megabytes} MB {kind}, whole run",
            samples["ours"],
            samples["floor"],
            floor="python -I child that reads it from a pipe",
            aim=TIME_AIM,
        )


def _pipe_floor(text: str) -> None:
    command = [sys.executable, "-I", "-c", READER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        for start in range(0, len(text), 1 << 18):
            child.stdin.write(text[start : start + (1 << 18)].encode())
        child.stdin.close()
        assert int(child.stdout.readline()) == len(text)


def _measure_memory(kind: str, megabytes: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.context", kind, str(megabytes)]
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def in_file(folder: str, megabytes: int) -> Path:
    """A text file of so many megabytes, written in pieces."""
    path, piece = Path(folder) / "context.txt", KINDS["ASCII"] * 25_000
    with path.open("w", encoding="utf-8") as file:
        for _ in range(megabytes * 1_000_000 // len(piece) + 1):
            file.write(piece)
    return path


def memory_child(kind: str, megabytes: int) -> dict[str, float]:
    """In a fresh process: resident memory over the base line, in multiples of the context."""
    seen: dict[str, int] = {}

    def look(messages: list[Any]) -> str:
        if len(messages) == 2:
            return cell("print(len(context))")
        # The worker has the context since before the first cell.
        gc.collect()
        seen["loaded"], seen["peak"] = resident(), peak()
        seen["worker"] = max(map(resident, children()))
        return cell("FINAL(1)")

    # Imports, pools and lazy parts belong to the base line.
    RLM(ScriptedChatModel(respond=look)).invoke({"query": QUERY, "context": "x" * 10_000})
    worker_base = seen["worker"]
    gc.collect()
    base = resident()
    with tempfile.TemporaryDirectory() as folder:
        is_file = kind == FILE
        context: Any = in_file(folder, megabytes) if is_file else make_context(kind, megabytes)
        gc.collect()
        own = context.stat().st_size if is_file else resident() - base
        forget_peak()
        RLM(ScriptedChatModel(respond=look)).invoke({"query": QUERY, "context": context})
    return {
        "own": own,
        "peak": (seen["peak"] - base) / own,
        "loaded": (seen["loaded"] - base) / own,
        "worker": (seen["worker"] - worker_base) / own,
    }


if __name__ == "__main__":
    print(json.dumps(memory_child(sys.argv[1], int(sys.argv[2]))))
