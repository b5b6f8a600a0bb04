"""The cases: what every RLM is asked, in turn, and what is kept of it."""

from __future__ import annotations

import random
import re
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Self

from benchmarks._measure import Plan, progress
from benchmarks.peers._process import Memory, NoAnswerError, Process
from benchmarks.peers._systems import System

PATIENCE_SECONDS = 20.0
ENDLESS_SECONDS, ENDLESS_PATIENCE_SECONDS = 1.0, 8.0
MEGABYTE = 1_000_000
RUNS = 20
PATH = re.compile(r"(?<![\w:/])(?:/[\w.@+-]+){2,}")


@dataclass
class Result:
    """What one RLM did in one case."""

    numbers: list[float] = field(default_factory=list)
    text: str = ""
    """Stands for a number, or beside it."""
    failed: str = ""
    """The error."""

    @property
    def value(self) -> float | None:
        return statistics.median(self.numbers) if self.numbers and not self.failed else None

    @property
    def is_over(self) -> bool:
        return bool(self.failed)

    def to_dict(self) -> dict[str, Any]:
        failed = PATH.sub("PATH", self.failed)  # an error may name places of this machine
        return {"value": self.value, "text": self.text, "failed": failed}


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    name: str
    title: str
    unit: str
    results: dict[str, Result]

    def to_dict(self) -> dict[str, Any]:
        results = {name: result.to_dict() for name, result in self.results.items()}
        return {"name": self.name, "title": self.title, "unit": self.unit, "results": results}


class Runner:
    """Asks every system, round by round, in an order that changes."""

    def __init__(self, systems: list[System], base_url: str, plan: Plan) -> None:
        self.systems, self.base_url, self.plan = systems, base_url, plan
        self._open: dict[str, Process] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for process in self._open.values():
            process.__exit__()
        self._open.clear()

    def fresh(self, system: System) -> Process:
        return Process(system.python(), system.name, self.base_url)

    def kept(self, system: System) -> Process:
        """The process of a system that answers case after case."""
        if system.name not in self._open:
            self._open[system.name] = self.fresh(system).__enter__()
        return self._open[system.name]

    def drop(self, system: System) -> None:
        process = self._open.pop(system.name, None)
        if process is not None:
            process.__exit__()

    def each(self, rounds: int, measure: Callable[[System, Result], None]) -> dict[str, Result]:
        """One result of each system; who has failed once is not asked again."""
        results = {system.name: Result() for system in self.systems}
        for _ in range(rounds):
            for system in random.sample(self.systems, len(self.systems)):
                result = results[system.name]
                if result.is_over:
                    continue
                try:
                    measure(system, result)
                except NoAnswerError as error:
                    result.failed = str(error)
                    self.drop(system)
        return results


def measure_all(runner: Runner) -> Iterator[Case]:
    """Every case but the tokens."""
    plan = runner.plan
    rounds = plan.rounds
    steps, batch = plan.pick(25, 4), plan.pick(100, 10)
    big = plan.pick((10, 100), (1,))
    progress("peers: iterations")
    yield _timed(runner, f"loop_{steps}", f"step {steps - 1}", rounds, f"{steps} iterations, time")
    progress("peers: fan-out")
    yield _timed(runner, f"fanout_{batch}", str(batch), rounds, f"{batch} sub-calls of 50 ms, time")
    progress("peers: runs at once")
    yield from _many(runner, plan.pick(RUNS, 3))
    runner.__exit__()
    for size in big:
        progress(f"peers: {size} MB")
        chars = size * MEGABYTE
        command = {"model": "read_1", "chars": chars}
        yield from _watched(runner, command, f"{chars} 1", f"context of {size} MB")
    lines = plan.pick(40, 5) * 1_000
    progress("peers: print flood")
    command = {"model": f"flood_{lines}"}
    yield from _watched(runner, command, "done", f"{lines // 1000} MB of prints")
    progress("peers: runaway cell")
    yield _endless(runner)
    progress("peers: cold start")
    yield _cold(runner, rounds)


def _timed(runner: Runner, model: str, answer: str, rounds: int, title: str) -> Case:
    def measure(system: System, result: Result) -> None:
        process = runner.kept(system)
        for _ in range(1 if result.numbers else 2):  # the first one of all warms it up
            got = process.ask(PATIENCE_SECONDS, op="run", model=model)
            if not _is_right(got, answer, result):
                return
        result.numbers.append(got["seconds"])

    return Case(model, title, "s", runner.each(rounds, measure))


def _many(runner: Runner, count: int) -> Iterator[Case]:
    right: dict[str, Result] = {system.name: Result() for system in runner.systems}

    def measure(system: System, result: Result) -> None:
        got = runner.kept(system).ask(PATIENCE_SECONDS, op="many", model="own_1", count=count)
        if "error" in got:
            result.failed = got["error"]
            return
        result.numbers.append(got["seconds"])
        seen = right[system.name]
        seen.numbers.append(got["right"])
        seen.text = f"{min(seen.numbers):.0f}/{count}"

    times = runner.each(max(2, runner.plan.rounds // 2), measure)
    for name, result in times.items():
        right[name].failed = result.failed
    yield Case("own", f"{count} runs at once, time", "s", times)
    yield Case("right", f"{count} runs at once, right outputs", "", right)


def _watched(runner: Runner, command: dict[str, Any], answer: str, title: str) -> Iterator[Case]:
    """Time and memory in a fresh process: what was freed once is taken again without growing."""
    memory: dict[str, Result] = {system.name: Result() for system in runner.systems}

    def measure(system: System, result: Result) -> None:
        with runner.fresh(system) as process:
            warm = process.ask(PATIENCE_SECONDS, op="run", model="read_1")
            if not _is_right(warm, "4000 1", result):
                return
            if "chars" in command:
                process.ask(PATIENCE_SECONDS, op="make", chars=command["chars"])
            with Memory(process.pid) as seen:
                got = process.ask(PATIENCE_SECONDS, op="run", **command)
            if _is_right(got, answer, result):
                result.numbers.append(got["seconds"])
                memory[system.name].numbers.append(seen.growth / MEGABYTE)

    rounds = max(1, min(3, runner.plan.rounds - 1))
    times = runner.each(rounds, measure)
    for name, result in times.items():
        memory[name].failed = result.failed
    yield Case(command["model"], f"{title}, time", "s", times)
    yield Case(command["model"], f"{title}, memory", "MB", memory)


def _endless(runner: Runner) -> Case:
    def measure(system: System, result: Result) -> None:
        with runner.fresh(system) as process:
            try:
                process.ask(PATIENCE_SECONDS, op="run", model="read_1")
                got = process.ask(
                    ENDLESS_PATIENCE_SECONDS,
                    op="run",
                    model="endless_1",
                    cell_seconds=ENDLESS_SECONDS,
                )
            except NoAnswerError:
                result.text = "never ends"
                return
            if got.get("error", "").startswith("NotImplementedError"):
                result.text = "never ends"  # there is no limit to be set
                return
            kept = got.get("answer") == "42"
            ended = "goes on" if kept else "run lost"
            burns = process.cores() > 0.5
            result.text = f"{ended}, a core burns" if burns else ended

    return Case("endless", "`while True` with a limit of 1 s", "", runner.each(1, measure))


def _cold(runner: Runner, rounds: int) -> Case:
    """From the start of a process to the first byte of its first request."""

    def measure(system: System, result: Result) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(PATIENCE_SECONDS)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
            start = time.perf_counter()
            with Process(system.python(), system.name, url) as process:
                process.send(op="run", model="loop_2")
                try:
                    connection, _ = listener.accept()
                    connection.settimeout(PATIENCE_SECONDS)
                    with connection:
                        connection.recv(1)
                        result.numbers.append(time.perf_counter() - start)
                except TimeoutError:
                    raise NoAnswerError("no request came") from None

    # The first start of each compiles its bytecode.
    return Case("cold", "cold start to the first request", "s", runner.each(rounds + 1, measure))


def _is_right(got: dict[str, Any], answer: str, result: Result) -> bool:
    if "error" in got:
        result.failed = got["error"]
    elif got["answer"] != answer:
        result.failed = f"wrong answer: {got['answer'][:100]!r}"
    return not result.failed
