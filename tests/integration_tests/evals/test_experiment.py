"""Experiments with real runs: bounded, killed, resumed, interrupted, and counted exactly."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda

from langchain_replm import ConfigurationError, ModelPrice, RLMConfig
from langchain_replm.evals import (
    Example,
    Experiment,
    Outcome,
    Results,
    ResultsFileError,
    Score,
    read_results,
    runner,
    task,
)
from langchain_replm.testing import ScriptedChatModel
from tests.eval_doors import Doors, Player

ROOT = Path(__file__).parents[3]
QUESTIONS = ROOT / "tests" / "data" / "questions.jsonl"
PRICE = ModelPrice(input_usd_per_million=1.0, output_usd_per_million=10.0)
CONFIG = RLMConfig(prices={"root": PRICE, "sub": PRICE})


def runners(*names: str, config: RLMConfig = CONFIG) -> dict[str, Any]:
    root, sub = Player(model_name="root"), Player(model_name="sub")
    return {name: runner(name, root_model=root, sub_model=sub, config=config) for name in names}


def experiment(*names: str, **options: Any) -> Experiment:
    given = {"context_tokens": [500, 1_000], "count": 2, "progress": False, **options}
    return Experiment([Doors()], runners(*(names or ("rlm", "search"))), **given)


def told(results: Results) -> list[Any]:
    return [run.model_dump(exclude={"elapsed_seconds", "time"}) for run in results.runs]


async def test_every_run_is_made_once_and_equal_in_both_colours(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    results = experiment(repeats=2, results=path).run()
    assert len(results.runs) == 2 * 2 * 2 * 2
    assert results.note == ""
    assert {run.score for run in results.runs} == {1.0}
    assert len({run.key for run in results.runs}) == 16
    assert told(await experiment(repeats=2).arun()) == told(results)
    assert told(read_results(path)) == told(results)


def test_numbers_are_those_of_the_response() -> None:
    ask = runners("rlm")["rlm"]
    [example] = Doors().examples(context_tokens=500, count=1, seed=0)
    response = ask.invoke({"query": example.query, "context": example.context})
    [run] = (
        Experiment([Doors()], {"rlm": ask}, context_tokens=[500], count=1, progress=False)
        .run()
        .runs
    )
    assert (run.answer, run.stop_reason) == (response.answer, response.stop_reason)
    assert (run.iterations, run.sub_calls) == (response.iterations, response.sub_calls)
    assert (run.cost, run.usage_by_model) == (response.cost, response.usage_by_model)
    assert run.input_tokens == response.total_input_tokens
    assert run.models == {"root": "root", "sub": "sub"}


def test_only_what_is_missing_is_done_again(tmp_path: Path) -> None:
    path, asked = tmp_path / "runs.jsonl", []

    def answer(given: Any) -> Outcome:
        asked.append(given["query"])
        return Outcome(given["context"])

    ask = {"echo": RunnableLambda(answer)}
    options: dict[str, Any] = {"count": 2, "results": path, "progress": False}
    Experiment([Doors()], ask, context_tokens=[100], **options).run()
    assert len(asked) == 2
    more = Experiment([Doors()], ask, context_tokens=[100, 200], repeats=2, **options).run()
    assert len(asked) == 8, "two repeats of two sizes, less what was there"
    assert len(more.runs) == 8
    Experiment([Doors()], ask, context_tokens=[100, 200], repeats=2, **options).run()
    assert len(asked) == 8


def test_other_examples_under_known_ids_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    experiment(results=path).run()

    class Renamed(Doors):
        def examples(self, **given: Any) -> Any:
            for example in super().examples(**given):
                yield type(example)(**{
                    name: getattr(example, name) for name in example.__dataclass_fields__
                } | {"context": "other"})  # fmt: skip

    Renamed.__qualname__ = "Doors"
    changed = Experiment(
        [Renamed()], runners("rlm", "search"), context_tokens=[500], count=2, results=path,
        progress=False,
    )  # fmt: skip
    with pytest.raises(ResultsFileError, match="the task has changed"):
        changed.run()


def test_a_run_that_fails_is_a_result_and_may_be_made_again(tmp_path: Path) -> None:
    path, fails = tmp_path / "runs.jsonl", True

    def answer(given: Any) -> Outcome:
        if fails:
            message = "no such host"
            raise OSError(message)
        return Outcome(given["context"])

    def made(**options: Any) -> Experiment:
        return Experiment(
            [Doors()], {"echo": RunnableLambda(answer)}, context_tokens=[100], count=2,
            results=path, progress=False, **options,
        )  # fmt: skip

    first = made().run()
    assert [(run.score, run.stop_reason) for run in first.runs] == [(0.0, "error")] * 2
    assert first.runs[0].error == "OSError: no such host"
    assert first.summaries()[0].errors == 2
    fails = False
    assert {run.score for run in made().run().runs} == {0.0}
    again = made(retry_errors=True).run()
    assert {run.score for run in again.runs} == {1.0}
    assert len(path.read_text().splitlines()) == 5, "the failures stay in the file"


@pytest.mark.parametrize(
    ("limit", "word"),
    [({"max_total_tokens": 1}, "max_total_tokens"), ({"max_cost_usd": 1e-9}, "max_cost_usd")],
)
def test_a_limit_ends_the_experiment_and_says_so(limit: Any, word: str) -> None:
    results = experiment("rlm", max_concurrency=1, **limit).run()
    assert (len(results.runs), results.undone) == (1, 3)
    assert word in results.note


def test_a_cost_that_cannot_be_known_stops_a_bounded_experiment() -> None:
    asked = runners("rlm", config=RLMConfig())
    results = Experiment(
        [Doors()], asked, context_tokens=[500], count=3, max_cost_usd=1.0, max_concurrency=1,
        progress=False,
    ).run()  # fmt: skip
    assert len(results.runs) == 1
    assert "RLMConfig.prices" in results.note


async def test_a_cancel_ends_what_runs_and_keeps_what_has_ended(tmp_path: Path) -> None:
    path, started = tmp_path / "runs.jsonl", asyncio.Event()

    async def answer(given: Any) -> Outcome:
        if started.is_set():
            await asyncio.Event().wait()
        started.set()
        return Outcome(given["context"])

    def never(_: Any) -> Outcome:
        raise AssertionError

    made = Experiment(
        [Doors()], {"slow": RunnableLambda(never, afunc=answer)}, context_tokens=[100], count=3,
        results=path, progress=False,
    )  # fmt: skip
    running = asyncio.create_task(made.arun())
    await started.wait()
    while not path.exists() or len(path.read_text().splitlines()) < 2:  # noqa: ASYNC110 - a file
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [run.score for run in read_results(path).runs] == [1.0]


class Watched(Experiment):
    """Shows what each call of `run` knows."""

    @contextmanager
    def _session(self) -> Iterator[Any]:
        with super()._session() as found:
            self.__dict__.setdefault("sessions", []).append(found[0])
            yield found


def test_an_interrupt_lets_running_runs_make_no_more_calls(tmp_path: Path) -> None:
    path, calls = tmp_path / "runs.jsonl", 0

    def play(_: Any) -> str:
        nonlocal calls
        calls += 1
        if calls == 3:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            deadline = time.monotonic() + 30
            while not made.sessions[-1].interrupted and time.monotonic() < deadline:
                time.sleep(0.01)  # the main thread hears of it when it gets its turn
        return "```repl\nprint(len(context))\n```" if calls % 2 else "```repl\nFINAL(1)\n```"

    asked = {"rlm": runner("rlm", root_model=ScriptedChatModel(respond=play))}
    made = Watched(
        [Doors()], asked, context_tokens=[500], count=5, results=path, max_concurrency=1,
        progress=False,
    )  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        made.run()
    assert calls == 3, "the second run was in the middle, and asked no more"
    assert len(read_results(path).runs) == 1
    assert len(made.run().runs) == 5


@pytest.mark.parametrize(
    ("options", "told_of"),
    [
        ({"count": 0}, "count"),
        ({"repeats": 0}, "repeats"),
        ({"context_tokens": []}, "context_tokens must say how large"),
        ({"context_tokens": [0]}, "at least 1 token"),
        ({"max_cost_usd": 0}, "max_cost_usd"),
        ({"max_concurrency": 0}, "max_concurrency"),
    ],
)
def test_wrong_values_are_refused_before_anything_runs(options: Any, told_of: str) -> None:
    with pytest.raises(ConfigurationError, match=told_of):
        experiment(**options)


KILLED = """\
import sys, time
from langchain_core.runnables import RunnableLambda
from langchain_replm.evals import Experiment, Outcome
from tests.eval_doors import Doors

def answer(given):
    print("asked", given["query"], flush=True)
    time.sleep(0.03)
    return Outcome(given["context"])

Experiment([Doors()], {"echo": RunnableLambda(answer)}, context_tokens=[50, 60], count=20,
           results=sys.argv[1], max_concurrency=2, progress=False).run()
"""


def test_a_killed_experiment_repeats_no_run_that_has_ended(tmp_path: Path) -> None:
    path, asked, kills = tmp_path / "runs.jsonl", 0, 0
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    while True:
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, path], stdout=subprocess.PIPE, env=environment, text=True
        )
        assert process.stdout is not None
        for count, _ in enumerate(process.stdout, 1):
            asked += 1
            if kills < 3 and count == 8:
                process.kill()
                kills += 1
        process.stdout.close()
        if process.wait() == 0:
            break
        assert process.returncode == -signal.SIGKILL
    results = read_results(path)
    assert len(results.runs) == 40
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    keys = [(one["example"], one["repeat"]) for one in entries if one["type"] == "run"]
    assert len(keys) == len(set(keys)), "nothing that has ended was made again"
    assert 40 <= asked <= 40 + 2 * kills, "but for what was under way"


def test_progress_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    experiment("search", progress=True).run()
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "[4/4] doors 1,000 search: 1.00 (answered" in shown.err


class Clock:
    """Two questions whose contexts are what they are."""

    name = "clock"
    has_sizes = False

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def examples(self, *, context_tokens: int, count: int, seed: int) -> Iterator[Example]:
        assert seed == 0
        self.asked.append((context_tokens, count))
        for number in range(min(count, 2)):
            yield Example(f"clock-{number}", self.name, "Which hour?", "x" * number, number, 0)

    def score(self, example: Example, answer: str) -> Score:
        return Score(float(answer == str(example.expected)))


def hours(**options: Any) -> Experiment:
    ask: Any = RunnableLambda(lambda given: Outcome(str(len(given["context"]))))
    return Experiment([Clock()], {"count": ask}, **options)


@pytest.mark.parametrize("colour", ["run", "arun"])
def test_a_task_with_fewer_examples_and_no_sizes_is_run_once(
    colour: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {"count": 5, "repeats": 2, "results": tmp_path / "runs.jsonl"}
    made = getattr(hours(**options), colour)()
    results = asyncio.run(made) if colour == "arun" else made
    assert [(run.example, run.repeat) for run in results.runs] == [
        ("clock-0", 0), ("clock-0", 1), ("clock-1", 0), ("clock-1", 1),
    ]  # fmt: skip
    assert results.note == ""
    assert "[4/" in capsys.readouterr().err
    again = hours(**options)
    assert told(again.run()) == told(results)
    assert capsys.readouterr().err == "4 of 4 runs are there already\n"
    assert again.tasks["clock"].asked == [(0, 5)]  # type: ignore[attr-defined]
    assert results.table().splitlines()[1].split()[:3] == ["clock", "own", "count"]
    assert results.plot(tmp_path / "runs.svg").stat().st_size > 1_000


def test_tasks_with_and_without_sizes_stand_side_by_side() -> None:
    one, two = hours(count=1).tasks["clock"], Doors()
    ask: Any = RunnableLambda(lambda _: Outcome("0"))
    made = Experiment([one, two], {"zero": ask}, context_tokens=[500, 600], count=1, progress=False)
    assert [(run.task, run.context_tokens) for run in made.run().runs] == [
        ("clock", 0), ("doors", 500), ("doors", 600),
    ]  # fmt: skip


def test_sizes_for_a_task_that_has_none_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="leave context_tokens out"):
        hours(context_tokens=[500])


def judged(judge: ScriptedChatModel, **options: Any) -> Experiment:
    mine = task("questions", path=QUESTIONS, scorer="judge", judge=judge)
    root = ScriptedChatModel(replies=["FINAL(the clerk)"], model_name="root")
    ask = {"rlm": runner("rlm", root_model=root, config=CONFIG)}
    return Experiment([mine], ask, **{"count": 2, "progress": False, **options})


def test_a_judge_is_counted_beside_the_run_and_in_the_limits(tmp_path: Path) -> None:
    judge = ScriptedChatModel(replies=["It says so.\nVERDICT: correct"], model_name="root")
    path = tmp_path / "runs.jsonl"
    first, second = judged(judge, results=path).run().runs  # by their ids
    [used] = first.judge_usage_by_model.values()
    [asked] = {-(-len(one.text) // 4) for (one,) in judge.calls if "resigned" in one.text}
    assert (used["input_tokens"], used["output_tokens"]) == (asked, 7)
    assert first.judge_cost == pytest.approx(asked * 1e-6 + 7e-5)
    assert (first.score, second.reason) == (1.0, "It says so.")
    assert "judge" not in str(first.usage_by_model)
    assert read_results(path).runs == (first, second)

    spent = first.input_tokens + first.output_tokens + used["total_tokens"]
    options: dict[str, Any] = {"max_concurrency": 1, "max_total_tokens": spent}
    assert len(judged(judge, **options).run().runs) == 1
    options["max_total_tokens"] = spent + 1
    assert len(judged(judge, **options).run().runs) == 2


def test_a_judge_without_a_price_ends_an_experiment_with_a_limit_of_cost() -> None:
    judge = ScriptedChatModel(replies=["VERDICT: wrong"], model_name="dear")
    results = judged(judge, max_cost_usd=1.0, max_concurrency=1).run()
    assert [run.judge_cost for run in results.runs] == [None]
    assert "the cost of the judge of 'questions' is unknown" in results.note


def test_the_judge_of_a_runner_that_knows_no_prices_has_one() -> None:
    judge = ScriptedChatModel(replies=["VERDICT: wrong"], model_name="root")
    made = judged(judge)
    plain: Any = RunnableLambda(lambda _: Outcome("nobody", cost=0.0))
    made = Experiment(
        list(made.tasks.values()), {"plain": plain, **made.runners}, count=2, max_cost_usd=1.0,
        max_concurrency=1, progress=False,
    )  # fmt: skip
    results = made.run()
    assert results.note == ""
    assert len(results.runs) == 4
    assert all(run.judge_cost is not None for run in results.runs)


async def test_a_judge_that_takes_its_time_holds_up_no_event_loop() -> None:
    turns = 0

    def decide(_: Any) -> str:
        before, deadline = turns, time.monotonic() + 30
        while turns < before + 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        return "VERDICT: correct" if turns >= before + 3 else "the loop stood still"

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.01)
            turns += 1

    turning = asyncio.create_task(turn())
    results = await judged(ScriptedChatModel(respond=decide)).arun()
    turning.cancel()
    assert [run.score for run in results.runs] == [1.0, 1.0]


def test_a_terminal_shows_a_bar_that_ends_where_the_examples_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    path = tmp_path / "runs.jsonl"
    hours(count=5, results=path, progress=False).run()
    master, slave = pty.openpty()
    with open(slave, "w", encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        hours(count=5, results=path, repeats=2, max_concurrency=1).run()
        monkeypatch.undo()
    shown = b""
    with contextlib.suppress(OSError):  # how Linux tells the end of a terminal
        while data := os.read(master, 65_536):
            shown += data
    os.close(master)
    last = shown.decode().replace("\r", "\n").split("\n")
    assert any("4/4" in line and "last: clock count: 1.00" in line for line in last), last
