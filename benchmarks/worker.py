"""A worker: from nothing to ready, and one cell there and back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from benchmarks._measure import Plan, Row, compare, interleave, timed
from benchmarks._sessions import open_echo, open_session, run_cell

START_AIM, CELL_AIM = 3.0, 10.0
CELLS = 200


def measure(plan: Plan) -> Iterator[Row]:
    yield _measure_start(plan)
    yield _measure_cell(plan)


def _measure_start(plan: Plan) -> Row:
    def start() -> None:
        with open_session():
            pass

    bare = [sys.executable, "-I", "-c", "pass"]
    cases = {"ours": timed(start), "floor": timed(lambda: subprocess.run(bare, check=True))}
    samples = interleave(cases, plan.pick(4 * plan.rounds, plan.rounds))
    return compare(
        "worker",
        "open to ready, and closed again",
        samples["ours"],
        samples["floor"],
        floor="python -I -c pass",
        aim=START_AIM,
    )


def _measure_cell(plan: Plan) -> Row:
    with open_session() as (keeper, session), open_echo() as echo:

        def ours() -> None:
            for _ in range(CELLS):
                run_cell(keeper, session, "pass")

        def floor() -> None:
            for _ in range(CELLS):
                echo("pass")

        samples = interleave({"ours": timed(ours), "floor": timed(floor)}, plan.rounds)
    return compare(
        "worker",
        "a cell that does nothing, there and back",
        [taken / CELLS for taken in samples["ours"]],
        [taken / CELLS for taken in samples["floor"]],
        floor="bare child that execs a line",
        aim=CELL_AIM,
    )
