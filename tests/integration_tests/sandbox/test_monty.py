"""Cells in real Monty processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydantic_monty
import pytest
from langchain_core.documents import Document
from langgraph.checkpoint.memory import InMemorySaver

from langchain_replm import RLM, RLMConfig, RLMResponse
from langchain_replm.errors import ConfigurationError, SandboxError
from langchain_replm.sandbox import MontySandbox, _monty_worker, monty
from langchain_replm.sandbox._monty_source import MODULES
from langchain_replm.sandbox._wire import Function, Parameter, WireLimits
from langchain_replm.testing import ScriptedChatModel
from tests import worker_harness
from tests.python_for_monty import PythonError, PythonSandbox
from tests.scenarios import cell
from tests.worker_harness import Harness, WorkerDiedError

pytestmark = pytest.mark.usefixtures("nothing_left_behind")

MIB = 1024 * 1024
LONG = "the heron stood still. " * 50


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Open a worker: `harness(context=..., sandbox={...})`."""
    opened: list[Harness] = []

    def open_one(sandbox: dict[str, Any] | None = None, **options: Any) -> Harness:
        monkeypatch.setattr(worker_harness, "make_sandbox", lambda _: MontySandbox(**sandbox or {}))
        opened.append(Harness("monty", **options))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@pytest.fixture(params=["monty", "python"])
def either(
    request: pytest.FixtureRequest, harness: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """As `harness`, in Monty and in CPython: the prelude does the same in both."""
    if request.param == "monty":
        yield harness
        return
    opened: list[Harness] = []

    def open_one(**options: Any) -> Harness:
        opened.append(Harness("python", sandbox=PythonSandbox(), **options))
        return opened[-1]

    monkeypatch.setattr(pydantic_monty, "MontyError", PythonError)
    monkeypatch.setattr(_monty_worker, "_lost", pytest.fail)
    yield open_one
    for one in opened:
        one.close()


def run(*replies: str, context: Any = "some text", sandbox: Any = None, **config: Any) -> Any:
    rlm = RLM(
        ScriptedChatModel(replies=list(replies)),
        sub_model=ScriptedChatModel(respond=lambda messages: messages[-1].content.upper()),
        config=RLMConfig(**config),
        sandbox=sandbox or MontySandbox(),
    )
    response: RLMResponse = rlm.generate("q", context)
    return response


# The contract of the REPL.


def test_the_last_expression_is_echoed_and_nothing_else(either: Any) -> None:
    worker = either()
    for code, shown in {
        "1 + 1": "2\n",
        "a = 1; a": "1\n",
        "1, 'x'": "(1, 'x')\n",
        "('ä'\n)  # a comment": "'ä'\n",
        "5;": "",
        "None": "",
        "x = 5": "",
        "print(7)": "7\n",
        "[i for i in range(3)]": "[0, 1, 2]\n",
        "[i for i in range(3)] # f((": "[0, 1, 2]\n",
        "{'a': {'b': (1,)}, 'c': set()}": "{'a': {'b': (1,)}, 'c': set()}\n",
        "async def f(): return 4\nawait f()": "4\n",
        "": "",
        "# only a comment": "",
    }.items():
        assert worker.output(code) == shown, code


def test_values_that_lie_or_never_end_have_short_texts(either: Any) -> None:
    worker = either(limits=WireLimits(output_head_chars=500, output_tail_chars=500))
    worker.output("z = ['x']\nfor _ in range(60): z = [z] * 10")
    assert len(worker.output("z")) < 1_500
    assert "..." in worker.output("loop = []\nloop.append(loop)\nloop")
    assert "digits" in worker.output("10 ** 5000")
    assert worker.output("'y' * 10_000_000").count("y") <= 1_000
    assert "raised ValueError" in worker.output(
        "class Bad:\n    def __repr__(self): raise ValueError('no')\nBad()"
    )
    done = worker.run("big = [10 ** 5000, 'a' * 10**6]\nd = {n: n for n in range(100_000)}")
    assert {len(summary) <= 120 for summary in done.changed.values()} == {True}
    assert done.changed["d"].startswith("dict, 100,000 items: {0: 0")


def test_an_answer_that_is_shared_without_end_is_refused(either: Any) -> None:
    worker = either()
    worker.output("z = ['x']\nfor _ in range(60): z = [z] * 10")
    assert "more than 1,000,000 values" in worker.error("FINAL(z)")
    assert worker.output("print(1)") == "1\n"


def test_answers(either: Any) -> None:
    worker = either(context=LONG)
    worker.output(
        "found = 'x y'\nfrom dataclasses import dataclass\n@dataclass\nclass P:\n    x: int"
    )
    for code, text, is_json in [
        ("FINAL('a \"ä\"')", 'a "ä"', False),
        ("FINAL({'n': [1, 2.5, None, True]})", '{"n": [1, 2.5, null, true]}', True),
        ("FINAL(('a', 1))", '["a", 1]', True),
        ("FINAL(P(3))", '{"x": 3}', True),
        ("FINAL({1, 1})", "{1}", False),
        ("FINAL(float('nan'))", "nan", False),
        ("FINAL_VAR('found')", "x y", False),
        ("FINAL_VAR(found)", "x y", False),
        ("answer['content'] = 5\nanswer['ready'] = True", "5", True),
        ("answer = {'content': 'new', 'ready': True}", "new", False),
        ("try:\n    FINAL('first')\nexcept SystemExit:\n    pass\nFINAL('second')", "first", False),
        ("def f():\n    FINAL('inside')\nf()", "inside", False),
    ]:
        done = worker.run(code)
        assert done.status == "ok", (code, done.error)
        assert done.answer is not None, code
        assert (done.answer.text, done.answer.is_json) == (text, is_json)
        assert worker.run("x = 1").answer is None, "an answer is not submitted twice"
    for code, said in {
        "FINAL(context)": "the whole `context`",
        "FINAL_VAR('context')": "belongs to the REPL",
        "FINAL_VAR('nope')": "Your variables: found",
        "FINAL(None)": "None",
        "FINAL(len)": "function",
        "answer['ready'] = True": "empty",
    }.items():
        answer = worker.run(f"answer['content'] = ''\n{code}")
        assert answer.answer is None
        assert said in (answer.error or ""), code
    assert worker.submit("var", "found").answer.text == "x y"
    assert worker.submit("text", "found").answer.text == "x y"
    assert worker.submit("text", 'no "variable"\n').answer.text == 'no "variable"\n'
    assert "Your variables" in (worker.submit("var", "zzz").error or "")


def test_reserved_names_come_back_and_cannot_be_lost(either: Any) -> None:
    worker = either()
    worker.run(
        "context = llm_query = FINAL = SHOW_VARS = SubCallError = dir = 1\n"
        "len = str = print = isinstance = eval = repr = type = list = None\n"
        "answer = 'mine'\n1 / 0"
    )
    assert worker.output("[context, llm_query('x')]") == "['some context', 'reply to x']\n"
    assert "answer: str, 4 characters: 'mine'" in worker.output("SHOW_VARS()")
    assert worker.run("FINAL_VAR('answer')").answer.text == "mine"


def test_names_that_a_cell_cannot_find(harness: Any) -> None:
    worker = harness()
    for code in (
        "print(globals().keys(), dir())",
        "llm_query",
        "try:\n    llm_query()\nexcept TypeError as error:\n    print(error)",
        "try:\n    llm_query(3)\nexcept TypeError as error:\n    print(error, repr(error))",
        "try:\n    FINAL(None)\nexcept ValueError as error:\n    print(repr(error))",
        "import sys\nprint(sys.modules if hasattr(sys, 'modules') else 'none')",
    ):
        done = worker.run(code)
        shown = done.output_head + (done.error or "")
        assert shown
        prefix = worker_prefix(shown)
        assert prefix is None, (code, shown)


def worker_prefix(text: str) -> str | None:
    import re

    found = re.search(r"_[0-9a-f]{24}_", text)
    return found and found[0]


def test_variables_are_listed_with_what_changed(either: Any) -> None:
    worker = either()
    code = (
        "import re\nfrom json import dumps\na = 'x'\nb: list = [1]\n(c := 3)\n"
        "for d in [4]: pass\ndef e():\n    global f\n    f = 6\ne()\nclass G: pass\n_h = 8\n"
        "[i for i in [9]]\ntry: 1 / 0\nexcept ZeroDivisionError as k: pass"
    )
    done = worker.run(code)
    assert done.error is None
    assert set(done.changed) == set("abcdefG")
    assert done.changed["b"] == "list, 1 items: [1]"
    assert worker.run("b.append(2)").changed == {"b": "list, 2 items: [1, 2]"}
    assert worker.run("b = 5").changed == {"b": "int: 5"}
    assert worker.output("SHOW_VARS()").splitlines()[:2] == [
        "a: str, 1 characters: 'x'",
        "b: int: 5",
    ]


def test_errors_name_cells_and_lines_and_nothing_of_ours(either: Any) -> None:
    worker = either()
    worker.output("def f(x):\n    return 1 / x")
    error = worker.error("a = 1\nf(0)")
    assert error == (
        'Traceback:\n  File "<cell 2>", line 2, in <module>\n    f(0)\n'
        '  File "<cell 1>", line 2, in f\n    return 1 / x\nZeroDivisionError: division by zero'
    )
    assert worker.error("x = [1,\n").startswith('  File "<cell 3>", line 1\n    x = [1,')
    assert len(worker.error("def r(n): return r(n + 1)\nr(0)")) < 4_000
    assert "SystemExit: a cell cannot end" in worker.error("raise SystemExit")
    assert "no user is listening" in worker.error("input()")


def test_an_import_that_is_refused_says_what_can_be_imported(harness: Any) -> None:
    assert "can import asyncio" in harness().error("import statistics")


def test_harmless_idioms_of_models_work(either: Any) -> None:
    worker = either()
    assert worker.output("from rlm import llm_query, FINAL\nimport context\nllm_query('a')") == (
        "'reply to a'\n"
    )
    assert worker.output("x = await llm_query('ä')\nif True:\n    await llm_query('b')\nx") == (
        "'reply to ä'\n"
    )
    assert worker.output("'x' in globals(), 'zz' in globals(), globals()['x'] == x") == (
        "(True, False, True)\n"
    )
    assert "'context'" in worker.output("dir()")


def test_sub_calls_and_their_failures(either: Any) -> None:
    worker = either(answers={"bad": RuntimeError("refused")})
    assert worker.output("llm_query_batch(['a', 'bad', 'c'])") == (
        "['reply to a', RuntimeError('refused'), 'reply to c']\n"
    )
    assert worker.output(
        "r = llm_batch(('bad',))\nisinstance(r[0], SubCallError), llm_query_batched([])"
    ) == ("(True, [])\n")
    assert worker.output("try:\n    llm_query('bad')\nexcept SubCallError as e: print(e)") == (
        "refused\n"
    )
    assert worker.output("rlm_query('q', ['a', 'b'])") == "'reply to q'\n"
    assert worker.output("rlm_query_batch(['q', 'r'], ['a', None])") == (
        "['reply to q', 'reply to r']\n"
    )
    for code, said in {
        "llm_query(['a'])": "use the batch function",
        "llm_query('a', 'b')": "takes one prompt",
        "llm_query('a', model=3)": "model must be a name",
        "llm_query_batch('a')": "takes a list of texts",
        "llm_query_batch(['a', 3])": "item 1 is int",
        "rlm_query('q', 5)": "context must be",
        "rlm_query_batch(['q'], ['a', 'b'])": "1 queries but 2 contexts",
        "llm_query('x' * 20_000_000)": "send less",
    }.items():
        assert said in worker.error(code), code
    assert worker.output("llm_query('still there')") == "'reply to still there'\n"


def test_tools(either: Any) -> None:
    look = Function(
        name="look",
        kind="tool",
        parameters=(
            Parameter(name="limit", required=False, default=5),
            Parameter(name="word"),
            Parameter(name="note", required=False),
            Parameter(name="mark", required=False, default="_x {y}"),
        ),
    )
    worker = either(functions=[look])
    assert worker.output("r = look('a')\nr['word'], r['limit'], r['mark'], 'note' in r") == (
        "('a', 5, '_x {y}', False)\n"
    )
    assert worker.output("look('a', 1, note=None)['note']") == ""
    assert "missing 1 required" in worker.error("look()")


def test_texts_of_every_kind_cross(either: Any) -> None:
    worker = either(context=["a\ud800b", "", "漢字 \U0001f989 \0 \r\n"], metadata=[{"n": 1}] * 3)
    assert worker.output("context[0] == 'a\ufffdb', context[1:], context_metadata[2]['n']") == (
        "(True, ['', '漢字 \U0001f989 \\x00 \\r\\n'], 1)\n"
    )
    assert worker.output("llm_query('\ud800')") == "'reply to \ufffd'\n"
    assert worker.run("x = '\ud800'\nFINAL(x)").answer.text == "\ufffd"


# Bounds.


def test_a_flood_of_output_ends_in_an_error(either: Any) -> None:
    worker = either(limits=WireLimits(output_total_chars=2_000_000))
    assert "printed more than" in worker.error("while True: print('x' * 10_000)")
    assert worker.output("print(1)") == "1\n"
    assert worker.output("print(1, 'ä', sep='-', end='!')\nprint()\nprint([1], flush=True)") == (
        "1-ä!\n[1]\n"
    )


def test_memory_ends_where_it_was_said_and_variables_are_kept(harness: Any) -> None:
    worker = harness({"memory_bytes": 64 * MIB})
    worker.output("kept = 5")
    assert "MemoryError" in worker.error("x = [0] * 10**9")
    assert worker.output("kept") == "5\n"


def test_a_lost_process_is_rebuilt_by_replay() -> None:
    def answer(messages: list[Any]) -> str:
        if messages[-1].content == "kill":
            (host,) = [pid for pid in children_of(os.getpid()) if children_of(pid)]
            (child,) = children_of(host)
            os.kill(child, 9)
        return "a reply"

    first = cell("import random", "llm_query('once')", "kept = random.random()")
    rlm = RLM(
        ScriptedChatModel(replies=[first, cell("llm_query('kill')"), cell("FINAL(kept)")]),
        sub_model=ScriptedChatModel(respond=answer),
        sandbox=MontySandbox(),
    )
    response = rlm.generate("q", "some text")
    assert response.trajectory[1].cells[0].status == "died"
    assert response.sub_calls == 2, "replay makes no model call"
    assert response.answer == run(first, cell("FINAL(kept)")).answer


def test_sleep_counts_and_is_ended() -> None:
    response = run(
        cell("import time", "kept = 1"),
        cell("time.sleep(1000)"),
        cell("FINAL(kept)"),
        sandbox_timeout=0.5,
    )
    assert response.trajectory[1].cells[0].status == "timeout"
    assert response.answer == "1"


def test_a_dead_monty_process_ends_its_worker(harness: Any) -> None:
    worker = harness()
    (child,) = children_of(worker.transport.pid)
    os.kill(child, 9)
    with pytest.raises(WorkerDiedError):
        worker.run("1 + 1")


def children_of(pid: int) -> list[int]:
    threads = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(one) for thread in threads for one in thread.read_text().split()]


def test_nothing_of_it_outlives_its_host() -> None:
    script = (
        "import os, time\n"
        "from pathlib import Path\n"
        "from tests import worker_harness\n"
        "from langchain_replm.sandbox import MontySandbox\n"
        "worker_harness.make_sandbox = lambda _: MontySandbox()\n"
        "worker = worker_harness.Harness('monty')\n"
        "worker.start_cell('while True: pass')\n"
        "pid = worker.transport.pid\n"
        "print(pid, Path(f'/proc/{pid}/task/{pid}/children').read_text(), flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2, done.stderr
    deadline = time.monotonic() + 10
    while any(is_running(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(is_running(pid) for pid in pids)


def is_running(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


# The wall, and what is said about it.


@pytest.mark.parametrize(
    "code",
    [
        "open('/etc/passwd').read()",
        "open('/tmp/x', 'w')",
        "import pathlib\npathlib.Path('/etc/passwd').read_text()",
        "import os\nos.listdir('/')",
        "import os\nos.environ['PATH']",
        "import os\nos.getenv('PATH').upper()",
        "import os\nos.system('true')",
        "import os\nos.kill(os.getppid(), 9)",
        "import socket",
        "import subprocess",
        "import ctypes",
        "__import__('os')",
        "().__class__.__base__.__subclasses__()",
        "llm_query.__globals__",
        "FINAL.__code__",
        "import sys\nsys.modules['os']",
    ],
)
def test_there_is_no_way_out(harness: Any, code: str) -> None:
    assert harness().run(code).status == "error"


def test_what_is_guaranteed_and_required(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(MontySandbox().guarantees().values())
    assert run(cell("FINAL(1)")).sandbox_missing == ()
    with pytest.raises(ConfigurationError, match="no guarantee"):
        MontySandbox(require=["magic"])  # type: ignore[list-item]
    with pytest.raises(ConfigurationError, match="bytes of memory"):
        MontySandbox(memory_bytes=5)
    monkeypatch.setattr(MontySandbox, "guarantees", lambda _: {"cpu_cap": None})
    with pytest.raises(SandboxError, match="does not guarantee cpu_cap"):
        MontySandbox(require=["cpu_cap"]).open()


def test_without_the_package_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(monty, "find_spec", lambda _: None)
    root = ScriptedChatModel(respond=lambda _: pytest.fail("no model may be called"))
    with pytest.raises(ConfigurationError, match=r'pip install "langchain-replm\[monty\]"'):
        RLM(root, config=RLMConfig(sandbox_mode="monty")).generate("q", "some text")


def test_the_prompt_tells_the_truth(harness: Any) -> None:
    worker = harness()
    for name in MODULES:
        assert worker.run(f"import {name}").error is None, name
    said = MontySandbox().describe()
    for mark, code in {
        "class inheritance": "class A(dict): pass",
        "`yield`": "def f(): yield 1",
        "`next` of": "next(i for i in [1])",
        "`del`": "x = 1\ndel x",
        "no threads": "import threading",
        "`callable`": "callable(len)",
        "`issubclass`": "issubclass(int, int)",
        "`vars`": "vars()",
        "`super`": "super()",
        "`re.sub`": "import re\nre.sub('a', lambda m: 'b', 'a')",
        "nothing else": "import statistics",
        "no files": "open('x')",
    }.items():
        assert mark in said
        assert worker.run(code).status == "error", code
    for code in ("match 1:\n    case 1: pass", "lambda: 0", "f'{1:>3}'", "class A:\n    x = 1"):
        assert worker.run(code).error is None, code


def test_a_worker_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox = MontySandbox()
    monkeypatch.setattr(monty, "EXTRA_BYTES", "not a number")
    with pytest.raises(SandboxError, match="TypeError"):
        run(cell("FINAL(1)"), sandbox=sandbox)


def test_typed_sub_calls_and_maps_work_here_too(either: Any) -> None:
    def respond(call: Any) -> list[dict[str, Any]]:
        return [
            {"error": "busy"} if item["prompt"] == "n=2" and len(call.items) > 1
            else {"value": {"n": item["prompt"], "typed": "schema" in item}}
            for item in call.items
        ]  # fmt: skip

    one = either(answers=respond)
    assert one.output("llm_map([1, 2, 'x'], 'n={item}', schema={'n': str})[1]['n']") == "'n=2'\n"
    assert one.output("llm_query('q', schema=[{'a': int}])['typed']") == "True\n"
    assert one.output("llm_query('q')['typed']") == "False\n"
    assert "schema takes" in one.error("llm_query('q', schema=len)")
    assert "{item}" in one.error("llm_map([1], 'no')")


# A session with several questions.


@pytest.mark.parametrize("idle_seconds", [None, 1_000], ids=["rebuilt", "kept open"])
def test_another_context_is_put_into_the_repl_and_its_variables_stay(
    idle_seconds: float | None,
) -> None:
    replies = [
        cell("words = context.split()", "n = len(context)", "FINAL(words)"),
        cell("print(history)", "n = [n, len(context), context[1]]", "FINAL(words)"),
        cell("FINAL([n, context_metadata, context, words, len(history)])"),
    ]
    config: Any = {"configurable": {"thread_id": "t"}}
    with RLM(
        ScriptedChatModel(replies=replies),
        config=RLMConfig(idle_seconds=idle_seconds),
        sandbox=MontySandbox(),
        checkpointer=InMemorySaver(),
    ) as rlm:
        rlm.invoke({"query": "first?", "context": "two words"}, config)
        second = rlm.invoke({"query": "second?", "context": ["a", "list"]}, config)
        assert "first?" in second.trajectory[0].cells[0].output_head
        documents = [Document("doc", metadata={"page": 1})]
        third = rlm.invoke({"query": "third?", "context": documents}, config)
    assert json.loads(third.answer) == [
        [9, 2, "list"], [{"page": 1}], ["doc"], ["two", "words"], 2,
    ]  # fmt: skip


def test_a_batch_of_any_size_is_sent_in_as_many_calls_as_it_takes(harness: Any) -> None:
    worker = harness(limits=WireLimits(frame_bytes=100_000))
    code = (
        "r = llm_query_batch([str(n) + 'x' * 1000 for n in range(500)])\nprint(len(r), r[499][:12])"
    )
    assert worker.run(code).output_head == "500 reply to 499\n"
    assert len(worker.calls) > 4
    assert sum(len(call.items) for call in worker.calls) == 500
    one = worker.run("llm_query('x' * 100_001)")
    assert "send less" in (one.error or "")
