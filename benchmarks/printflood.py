"""A cell that prints 100 MB in lines of 1 kB: bounded while it is printed, not after."""

from __future__ import annotations

import gc
from collections.abc import Iterator

from benchmarks._measure import Plan, Row, compare, interleave, timed
from benchmarks._memory import peak_growth
from benchmarks._sessions import open_echo, open_session, run_cell
from langchain_replm.sandbox._wire import WireLimits

TIME_AIM, MEMORY_AIM = 1.5, 0.02
KEPT_CHARS = 10_000

WRITER = f"""
import sys
class HeadTail:
    def __init__(self, keep):
        self.keep, self.head, self.tail, self.chars = keep, [], [], 0
        self.head_chars = self.tail_chars = 0
    def write(self, text):
        self.chars += len(text)
        if self.head_chars < self.keep:
            self.head.append(text)
            self.head_chars += len(text)
            return
        self.tail.append(text)
        self.tail_chars += len(text)
        if self.tail_chars > 2 * self.keep:
            kept = "".join(self.tail)[-self.keep:]
            self.tail, self.tail_chars = [kept], len(kept)
    def flush(self):
        pass
sys.stdout = HeadTail({KEPT_CHARS})
"""


def measure(plan: Plan) -> Iterator[Row]:
    megabytes = plan.pick(100, 10)
    flood = f"line = 'x' * 999\nfor _ in range({megabytes * 1000}):\n    print(line)"
    limits = WireLimits(
        output_head_chars=KEPT_CHARS, output_tail_chars=KEPT_CHARS, output_total_chars=10**9
    )
    with open_session(limits) as (keeper, session), open_echo() as echo:
        echo(WRITER)

        def ours() -> None:
            finished = run_cell(keeper, session, flood)
            assert finished.output_chars == megabytes * 1_000_000, finished

        cases = {"ours": timed(ours), "floor": timed(lambda: echo(flood))}
        samples = interleave(cases, plan.rounds)
        gc.collect()
        growth = peak_growth(ours)
    yield compare(
        "printflood",
        f"{megabytes} MB of prints, time",
        samples["ours"],
        samples["floor"],
        floor="head-and-tail writer in a bare child",
        aim=TIME_AIM,
    )
    yield Row(
        "printflood",
        f"{megabytes} MB of prints, growth of the host",
        growth / (megabytes * 1_000_000),
        "what was printed",
        MEMORY_AIM,
        ours=f"{growth / 1e6:.1f} MB",
        base=f"{megabytes} MB",
    )
