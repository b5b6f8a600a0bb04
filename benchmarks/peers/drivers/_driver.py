"""Runs one RLM for the benchmarks: commands come as JSON lines, answers go the same way.

It runs in the virtual environment of that RLM, so it imports the standard library only. A driver
file beside this one has a class `System`; `python _driver.py NAME BASE_URL` serves it.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import os
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

LINE = "heron, stork, heron. "
NEEDLE = "osprey"


class Base:
    """What a driver may change."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url

    def prepare(self, model: str, cell_seconds: float | None):
        """Build what a user builds once; returns `run(query, context) -> answer`."""
        raise NotImplementedError

    def run_many(self, model: str, queries: list[str], context: str) -> list[str]:
        """Many runs at once; threads, unless the system has something better."""
        run = self.prepare(model, None)
        with ThreadPoolExecutor(len(queries)) as threads:
            return list(threads.map(lambda query: attempt(run, query, context), queries))


class AsyncBase(Base):
    """What a driver of an async RLM may change: tasks of one loop, no threads."""

    def arun(self, model: str, cell_seconds: float | None):
        """Build what a user builds once; returns a coroutine function of query and context."""
        raise NotImplementedError

    def prepare(self, model: str, cell_seconds: float | None):
        """One loop for all runs, as in a service."""
        import asyncio  # here, for it would add to the cold start of others

        arun, runner = self.arun(model, cell_seconds), asyncio.Runner()
        return lambda query, context: runner.run(arun(query, context))

    def run_many(self, model: str, queries: list[str], context: str) -> list[str]:
        """Many runs at once, as tasks."""
        import asyncio

        arun = self.arun(model, None)

        async def gather():
            runs = [arun(query, context) for query in queries]
            return await asyncio.gather(*runs, return_exceptions=True)

        return [str(answer) for answer in asyncio.run(gather())]


def attempt(run, query: str, context: str) -> str:
    """One of many: an error is a wrong answer."""
    try:
        return str(run(query, context))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def make_context(chars: int) -> str:
    """A text of so many characters, with one needle near its end."""
    body = LINE * (chars // len(LINE) + 1)
    return body[: chars - 200] + NEEDLE + body[: 200 - len(NEEDLE)]


class Server:
    """One command at a time."""

    def __init__(self, name: str, base_url: str) -> None:
        self.name = name
        self.system = importlib.import_module(f"drive_{name}").System(base_url)
        self._runs: dict[tuple[str, float | None], object] = {}
        self._texts: dict[int, str] = {}
        self._number = itertools.count(os.getpid() * 1000)

    def _text(self, chars: int) -> str:
        if chars not in self._texts:
            self._texts = {chars: make_context(chars)}
        return self._texts[chars]

    def _query(self) -> str:
        return f"This is run-{next(self._number)}. How many herons?"

    def make(self, chars: int) -> dict[str, object]:
        self._text(chars)
        return {}

    def run(
        self, model: str, chars: int = 4_000, cell_seconds: float | None = None
    ) -> dict[str, object]:
        key = (model, cell_seconds)
        if key not in self._runs:
            self._runs[key] = self.system.prepare(f"{model}_{self.name}", cell_seconds)
        text, query = self._text(chars), self._query()
        start = time.perf_counter()
        answer = self._runs[key](query, text)
        return {"seconds": time.perf_counter() - start, "answer": str(answer)}

    def many(self, model: str, count: int) -> dict[str, object]:
        queries = [self._query() for _ in range(count)]
        text = self._text(4_000)
        wanted = ["job-" + query[len("This is run-") :].partition(".")[0] for query in queries]
        start = time.perf_counter()
        answers = self.system.run_many(f"{model}_{self.name}", queries, text)
        seconds = time.perf_counter() - start
        wrong = [answer for answer, own in zip(answers, wanted, strict=True) if answer != own]
        return {"seconds": seconds, "right": count - len(wrong), "wrong": "".join(wrong[:1])[:200]}


def main() -> None:
    """Serve until the input ends. What the RLM prints goes to standard error."""
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    commands = os.fdopen(os.dup(0), encoding="utf-8")
    with Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), 0)
    sys.modules["_driver"] = sys.modules["__main__"]
    server = Server(sys.argv[1], sys.argv[2])
    for line in commands:
        asked = json.loads(line)
        try:
            answer = getattr(server, asked.pop("op"))(**asked)
        except BaseException as error:  # an RLM may raise what it likes
            traceback.print_exc()
            first = (str(error).strip().splitlines() or [""])[0]
            answer = {"error": f"{type(error).__name__}: {first}"[:300]}
        out.write(json.dumps(answer) + "\n")
        out.flush()
    out.close()
    with contextlib.suppress(Exception):
        sys.stderr.flush()
    os._exit(0)  # some leave threads behind that never end


if __name__ == "__main__":
    threading.current_thread().name = "driver"
    main()
