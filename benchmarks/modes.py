"""What each sandbox mode costs: start, a cell, a context, a session that is rebuilt."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

from benchmarks._measure import Plan, Row, compare, interleave, progress, timed
from benchmarks._sessions import open_echo, open_session, run_cell
from langchain_replm.sandbox.base import Sandbox
from langchain_replm.sandbox.local import LocalSandbox
from langchain_replm.sandbox.process import ProcessSandbox

START_AIM = 3.0
PROCESSES = ("restricted", "subprocess")
CELLS, PAST = 100, 50
READER = "import sys; t = sys.stdin.buffer.read().decode(); print(len(t), flush=True)"


def measure(plan: Plan) -> Iterator[Row]:
    modes = _modes()
    context = "the heron stands still in the cold water\n" * plan.pick(500_000, 50_000)
    yield from _rows(
        "from nothing to ready, and closed again",
        {name: timed(lambda make=make: _use(make())) for name, make in modes.items()},
        timed(lambda: subprocess.run([sys.executable, "-I", "-c", "pass"], check=True)),
        plan,
        "python -I -c pass",
        START_AIM,
    )
    yield from _round_trips(modes, plan)
    yield from _rows(
        f"start with a context of {len(context) / 1e6:.0f} MB",
        {name: timed(lambda m=make: _use(m(), context=context)) for name, make in modes.items()},
        timed(lambda: _read_by_a_child(context)),
        plan,
        "python -I child that reads it from a pipe",
    )
    past = [f"x{n} = [{n}] * 10" for n in range(PAST)]
    yield from _rows(
        f"rebuilt by {PAST} cells, start included",
        {name: timed(lambda make=make: _use(make(), *past)) for name, make in modes.items()},
        timed(lambda: _echo(past)),
        plan,
        "bare child that execs the lines",
    )


def _modes() -> dict[str, Callable[[], Sandbox]]:
    """Every mode that can run on this machine."""
    found: dict[str, Callable[[], Sandbox]] = {
        "restricted": ProcessSandbox,
        "subprocess": lambda: ProcessSandbox("subprocess"),
        "none": LocalSandbox,
    }
    if importlib.util.find_spec("pydantic_monty"):
        from langchain_replm.sandbox.monty import MontySandbox

        found["monty"] = MontySandbox
    from langchain_replm.sandbox.docker import DockerSandbox
    from tests.container_engine import PYTHON, find_engine

    engine, reason = find_engine()
    if engine is None:
        progress(f"no containers: {reason}")
    else:
        os.environ |= engine.environment
        found["docker"] = lambda: DockerSandbox(engine.image, engine=engine.command, python=PYTHON)
    return found


def _rows(  # noqa: PLR0917 - what, of whom, against what
    case: str,
    ours: dict[str, Callable[[], float]],
    floor: Callable[[], float],
    plan: Plan,
    against: str,
    aim: float | None = None,
) -> Iterator[Row]:
    samples = interleave({**ours, "floor": floor}, plan.rounds)
    for name in ours:
        yield compare(
            "modes",
            f"{name}: {case}",
            samples[name],
            samples["floor"],
            floor=against,
            aim=aim if name in PROCESSES else None,
        )


def _round_trips(modes: dict[str, Callable[[], Sandbox]], plan: Plan) -> Iterator[Row]:
    for name, make in modes.items():
        with open_session(sandbox=make()) as (keeper, session), open_echo() as echo:

            def ours(keeper=keeper, session=session) -> None:
                for _ in range(CELLS):
                    run_cell(keeper, session, "pass")

            def floor(echo=echo) -> None:
                for _ in range(CELLS):
                    echo("pass")

            samples = interleave({"ours": timed(ours), "floor": timed(floor)}, plan.rounds)
        yield compare(
            "modes",
            f"{name}: a cell, there and back",
            [taken / CELLS for taken in samples["ours"]],
            [taken / CELLS for taken in samples["floor"]],
            floor="bare child that execs a line",
        )


def _use(sandbox: Sandbox, *cells: str, context: str = "heron") -> None:
    with open_session(sandbox=sandbox, context=context) as (keeper, session):
        for code in cells:
            run_cell(keeper, session, code)


def _echo(lines: list[str]) -> None:
    with open_echo() as echo:
        for line in lines:
            echo(line)


def _read_by_a_child(text: str) -> None:
    command = [sys.executable, "-I", "-c", READER]
    done = subprocess.run(command, input=text.encode(), capture_output=True, check=True)
    assert int(done.stdout) == len(text)
