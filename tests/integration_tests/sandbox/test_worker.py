"""Real workers: what a root model meets in its cells, and what the host survives.

Scenarios run in every mode where they make sense: "restricted" and "subprocess" are processes,
"none" is a thread of this process.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from langchain_replm.errors import ConfigurationError, ProtocolError
from langchain_replm.sandbox import LocalSandbox, ProcessSandbox
from langchain_replm.sandbox._policy import sub_call_functions
from langchain_replm.sandbox._wire import (
    CallRequested,
    CellFinished,
    Function,
    Parameter,
    State,
    WireLimits,
)
from tests.ordinary_cells import ORDINARY
from tests.processes import children
from tests.worker_harness import MODES, Harness, WorkerDiedError, make_sandbox

PROCESSES = ("restricted", "subprocess")
POSIX = os.name == "posix"

pytestmark = pytest.mark.skipif(not POSIX, reason="workers need POSIX so far")


def open_fds() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.fixture(autouse=True)
def nothing_is_left():
    fds, kids = open_fds(), children()
    stdout, stderr, cwd = sys.stdout, sys.stderr, Path.cwd()
    handler = signal.getsignal(signal.SIGINT)
    yield
    deadline = time.monotonic() + 5
    while open_fds() > fds and time.monotonic() < deadline:
        time.sleep(0.01)  # a local worker's threads close their ends when they see ours closed
    assert open_fds() <= fds
    assert children() <= kids
    assert (sys.stdout, sys.stderr, Path.cwd()) == (stdout, stderr, cwd)
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.fixture(params=MODES)
def mode(request) -> str:
    return request.param


@pytest.fixture(params=PROCESSES)
def process_mode(request) -> str:
    return request.param


@pytest.fixture
def h(mode):
    with Harness(mode) as harness:
        yield harness


@pytest.fixture
def p(process_mode):
    with Harness(process_mode) as harness:
        yield harness


@pytest.fixture
def restricted():
    with Harness("restricted") as harness:
        yield harness


@pytest.fixture
def full():
    with Harness("subprocess") as harness:
        yield harness


@pytest.fixture
def unjailed():
    """Only without the jail can a cell fork, so only there must the host bear it."""
    with Harness("unjailed") as harness:
        yield harness


# Ordinary cells -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_cell_runs_unchanged_in_restricted(restricted_shared, name):
    code, expected = ORDINARY[name]
    assert restricted_shared.output(code) == expected


@pytest.fixture(scope="module")
def restricted_shared():
    # The autouse fixture counts from inside the module's scope, so this worker is no leak to it.
    with Harness("restricted") as harness:
        yield harness


@pytest.mark.parametrize("mode", ["subprocess", "none"])
def test_ordinary_cells_run_unchanged_in_full(mode):
    with Harness(mode) as harness:
        wrong = {}
        for name, (code, expected) in ORDINARY.items():
            if mode == "none" and name in ("dataclass-annotations", "pprint"):
                # `__main__` is the host's there, and so is what a library prints by itself.
                continue
            done = harness.run(code)
            if done.status != "ok" or done.output_head + done.output_tail != expected:
                wrong[name] = done
        assert not wrong


# Names and values ---------------------------------------------------------------------------


def test_context_and_variables_live_on(h):
    assert h.output("x = context.upper()") == ""
    assert h.output("x") == "'SOME CONTEXT'\n"


def test_metadata_is_there_when_given(mode):
    with Harness(mode, context=["a", "b"], metadata=[{"p": 1}, {"p": 2}]) as h:
        assert h.output("[m['p'] for m in context_metadata]") == "[1, 2]\n"


def test_no_context_no_name(mode):
    with Harness(mode, context=None) as h:
        assert "NameError" in h.error("context")


def test_no_functions_no_names(mode):
    with Harness(mode, functions=()) as h:
        assert "NameError" in h.error("llm_query('a')")
        assert h.run("FINAL('a')").answer.text == "a"


@pytest.mark.parametrize(
    "code", ["1; 2;", "x = 5", "None", "pass", "", "# only a comment", "[1];  # no echo"]
)
def test_nothing_is_echoed(h, code):
    assert h.output(code) == ""


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("'a' 'b'", "'ab'\n"),
        ("x = 1\nx, 2", "(1, 2)\n"),
        ("llm_query('q')", "reply to q\n"),
        ("[llm_query('q')]", "['reply to q']\n"),
        ("1  # a comment; with semicolon", "1\n"),
        ("'ä;'", "'ä;'\n"),
        (
            "[[...], {'a': {1}}, (1,), set(), frozenset({1})]",
            "[[Ellipsis], {'a': {1}}, (1,), set(), frozenset({1})]\n",
        ),
        ("a = []\na.append(a)\na", "[...]\n"),
        ("10**5000", "<int of 16,610 bits>\n"),
        ("(\n 1 +\n 2)", "3\n"),
    ],
)
def test_last_expression_is_echoed(h, code, expected):
    assert h.output(code) == expected


def test_echo_of_a_huge_string_shows_both_ends(h):
    done = h.run("'a' + 'x' * 3_000_000 + 'z'")
    text = done.output_head + done.output_tail
    assert text.startswith("'axx")
    assert text.endswith("xz'\n")
    assert "3,000,002 in all" in text


def test_broken_repr_is_said(h):
    out = h.output("class B:\n    def __repr__(self): raise ValueError('no')\nB()")
    assert out == "<B object whose __repr__ raised ValueError>\n"


def test_broken_repr_and_str_and_len_hurt_nothing(h):
    code = (
        "class M(type):\n    def __getattribute__(c, n): raise OSError('meta')\n"
        "class B(metaclass=M):\n"
        "    def __repr__(self): raise SystemExit\n    __str__ = __len__ = __repr__\n"
        "    def __eq__(self, o): raise KeyError\n    def __bool__(self): raise KeyError\n"
        "b = [B()]\nc = B()"
    )
    done = h.run(code)
    assert done.status == "ok", done.error
    assert "b" in done.changed
    assert h.run("raise Exception(c)").status == "error"
    assert h.run("FINAL(c)").status == "error"
    assert h.run("SHOW_VARS()").status == "ok"
    assert h.output("1") == "1\n"


@pytest.mark.parametrize(
    "name", ["context", "llm_query", "llm_query_batch", "FINAL", "SHOW_VARS", "SubCallError"]
)
def test_reserved_names_come_back(h, name):
    h.run(f"before = {name}\n{name} = 'mine'")
    assert h.output(f"{name} is before") == "True\n"
    h.run(f"del {name}")
    assert h.output(f"{name} is before") == "True\n"
    h.run(f"{name} = 1\n1/0")
    assert h.output(f"{name} is before") == "True\n"


def test_a_failed_cell_keeps_what_it_assigned(h):
    done = h.run("a = 1\nb = 1/0\nc = 2")
    assert done.status == "error"
    assert done.changed == {"a": "int: 1"}
    assert h.output("a") == "1\n"


def test_changed_and_removed(h):
    assert h.run(
        "a = [1]\nb = 'x'\ndef f(): pass\nclass C: pass\n_hidden = 1\nimport math"
    ).changed == {
        "a": "list, 1 items: [1]",
        "b": "str, 1 characters: 'x'",
        "f": "function",
        "C": "class",
    }
    assert h.run("pass").changed == {}
    done = h.run("a.append(2)\ndel b")
    assert done.changed == {"a": "list, 2 items: [1, 2]"}
    assert done.removed == ("b",)


def test_summaries_are_bounded(h):
    done = h.run(
        "for i in range(300): globals()[f'v{i}'] = ['y' * 1000] * 10000\nglobals()['n' * 10**6] = 1"
    )
    assert len(done.changed) == 101
    assert done.changed["..."] == "and 202 more"
    assert all(len(text) <= 120 for text in done.changed.values())
    assert all(len(name) <= 100 for name in h.run("globals()['m' * 10**6] = 1").changed)


def test_show_vars_prints_once_and_returns(h):
    h.run("rows = list(range(1024))\nname = 'Ada'")
    assert (
        h.output("SHOW_VARS()")
        == "rows: list, 1,024 items: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 1...\nname: str, 3 characters: 'Ada'\n"
    )
    assert h.output("s = SHOW_VARS()\nassert s.startswith('rows: list'), s").startswith("rows")


def test_show_vars_without_variables(h):
    assert "no variables" in h.output("SHOW_VARS()")


def test_private_machinery_is_not_visible(h):
    names = set(json.loads(h.output("import json\nprint(json.dumps(sorted(globals())))")))
    python = {
        "__name__",
        "__doc__",
        "__package__",
        "__loader__",
        "__spec__",
        "__builtins__",
        "json",
    }
    ours = {"context", "answer", "FINAL", "FINAL_VAR", "SHOW_VARS", "SubCallError"}
    assert names == python | ours | {function.name for function in sub_call_functions()}


def test_main_module_is_the_namespace(full):
    code = "import pickle, sys\nclass P:\n    def __init__(self): self.a = 1\nprint(pickle.loads(pickle.dumps(P())).a, sys.modules['__main__'].__dict__ is globals())"
    assert full.output(code) == "1 True\n"


def test_a_reply_is_a_str_everywhere(full):
    full.output("r = llm_query('q')")
    code = (
        "import pickle, copy, json\n"
        "assert r == 'reply to q' and hash(r) == hash('reply to q') and {r: 1}['reply to q']\n"
        "assert type(r).__name__ == 'str' and isinstance(r, str) and f'{r:>11}' == ' reply to q'\n"
        "assert type(pickle.loads(pickle.dumps(r))) is str and copy.copy(r) == r\n"
        "assert json.loads(json.dumps([r])) == [r] and r.split()[0] == 'reply' and r + 'x'\n"
        "b = llm_query_batch(['q'])\n"
        "assert b == ['reply to q'] and isinstance(b, list) and json.dumps(b)\n"
        "assert type(pickle.loads(pickle.dumps(b))) is list\n"
    )
    assert full.run(code).error is None


@pytest.mark.parametrize(
    "code", ["import context\nprint(context[:4])", "import llm_query\nprint('some')"]
)
def test_import_of_an_injected_name_gives_it(h, code):
    assert h.output(code) == "some\n"


def test_import_from_an_injected_name_explains(h):
    assert "use it without importing" in h.error("from context import data")


def test_import_of_functions_from_an_invented_module(h):
    assert h.output("from rlm_tools import llm_query, FINAL_VAR\nllm_query('a')") == "reply to a\n"


# Sub-calls ----------------------------------------------------------------------------------


def test_call_reaches_the_host_as_data(h):
    h.run("llm_query('p', model='m')")
    call = h.calls[0]
    assert (call.function, call.kind, call.items) == (
        "llm_query",
        "llm_query",
        ({"prompt": "p", "model": "m"},),
    )


@pytest.mark.parametrize("name", ["llm_query_batch", "llm_query_batched", "llm_batch"])
def test_batch_is_one_call_in_order(h, name):
    assert h.output(f"{name}(p for p in 'abc')") == "['reply to a', 'reply to b', 'reply to c']\n"
    assert [item["prompt"] for item in h.calls[0].items] == ["a", "b", "c"]


def test_empty_batch_asks_nobody(h):
    assert h.output("llm_query_batch([])") == "[]\n"
    assert h.calls == []


def test_failed_single_call_raises(mode):
    with Harness(mode, answers={"q": ValueError("refused: the budget of 3 calls is used")}) as h:
        error = h.error("llm_query('q')")
        assert error.endswith("SubCallError: refused: the budget of 3 calls is used")
        assert h.output(
            "try:\n    llm_query('q')\nexcept SubCallError as e:\n    print('caught', e)"
        ).startswith("caught refused")


def test_failed_item_stands_in_its_slot(mode):
    with Harness(mode, answers={"b": ValueError("too long")}) as h:
        code = "r = llm_query_batch(['a', 'b', 'c'])\nprint([isinstance(x, SubCallError) for x in r], r[1], r[2])"
        assert h.output(code) == "[False, True, False] too long reply to c\n"


def test_rlm_query_and_its_batch(h):
    assert h.output("rlm_query('q', ['a', 'b'])") == "reply to q\n"
    assert (
        h.output("rlm_query_batched(['q', 'r'], ['c', None])") == "['reply to q', 'reply to r']\n"
    )
    assert h.calls[0].items == ({"prompt": "q", "context": ["a", "b"]},)
    assert h.calls[1].items == ({"prompt": "q", "context": "c"}, {"prompt": "r", "context": None})


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("llm_query('q', context)", "Put the text into the prompt"),
        ("llm_query(['a', 'b'])", "use the batch function"),
        ("llm_query(None)", "not NoneType"),
        ("llm_query()", "prompt"),
        ("llm_query('a', model=3)", "model must be a name"),
        ("llm_query_batch('abc')", "list of texts"),
        ("llm_query_batch(['a', 3])", "item 1 is int"),
        ("llm_query_batch({'a': 1})", "list of texts"),
        ("rlm_query('q', {'a': 1})", "context must be"),
        ("rlm_query_batch(['q'], 'c')", "one per query"),
    ],
)
def test_wrong_arguments_teach(h, code, words):
    error = h.error(code)
    assert "TypeError" in error
    assert words in error
    assert h.calls == []


def test_contexts_must_match_queries(h):
    assert "2 queries but 1 contexts" in h.error("rlm_query_batch(['q', 'r'], ['c'])")


def test_a_batch_of_any_size_goes_in_messages_that_fit(mode):
    with Harness(mode, limits=WireLimits(frame_bytes=100_000)) as h:
        assert h.output("len(llm_query_batch([str(n) + 'x' * 60_000 for n in range(3)]))") == "3\n"
        assert [len(call.items) for call in h.calls] == [1, 1, 1]


def test_too_large_a_call_is_an_error_with_numbers(mode):
    with Harness(mode, limits=WireLimits(frame_bytes=100_000)) as h:
        error = h.error("llm_query_batch(['x' * 180_000, 'y'])")
        assert "180,000 characters together; at most 100,000 bytes" in error
        assert "send less" in error
        # Few characters, many bytes.
        assert "bytes together" in h.error("llm_query('\\U0001f600' * 60_000)")
        assert "queries and contexts" in h.error("rlm_query('q', ['x' * 60_000] * 2)")
        assert h.output("llm_query('a')") == "reply to a\n"


SEARCH = Function(
    name="search",
    kind="tool",
    doc="Search the archive.",
    parameters=(
        Parameter(name="limit", required=False, default=5, annotation="integer"),
        Parameter(name="query", annotation="string"),
        Parameter(name="lang", required=False),
    ),
)


def test_tools_are_functions_with_signature_and_doc(mode):
    with Harness(mode, functions=[SEARCH]) as h:
        assert h.output("search('a')") == "{'query': 'a', 'limit': 5}\n"
        assert h.output("search('a', 7, lang='en')") == "{'query': 'a', 'limit': 7, 'lang': 'en'}\n"
        assert "search() missing 1 required positional argument: 'query'" in h.error("search()")
        assert "unexpected keyword argument 'q'" in h.error("search(q=1)")
        assert h.output("print(search.__name__, search.__doc__)") == "search Search the archive.\n"
        assert "JSON values only" in h.error("search({1, 2})")
        assert h.calls[1].items == ({"args": {"query": "a", "limit": 7, "lang": "en"}},)


def test_tool_signature_in_full(full):
    with Harness("subprocess", functions=[SEARCH]) as h:
        assert (
            h.output("import inspect\nlist(inspect.signature(search).parameters)")
            == "['query', 'limit', 'lang']\n"
        )


def test_failed_tool_raises(mode):
    with Harness(
        mode, functions=[SEARCH], answers={"search": ValueError("archive is closed")}
    ) as h:
        assert h.error("search('a')").endswith("SubCallError: archive is closed")


def test_prompts_arrive_encodable(h):
    h.run("llm_query('a\\ud800b\\U0001f600')")
    assert h.calls[0].items[0]["prompt"] == "a\ufffdb\U0001f600"


def test_threads_call_concurrently(mode):
    """The host answers only when two calls are outstanding: sequential calls would hang."""
    with Harness(mode) as h:
        h.start_cell(
            "from concurrent.futures import ThreadPoolExecutor\n"
            "with ThreadPoolExecutor(2) as e:\n    print(list(e.map(llm_query, ['a', 'b'])))"
        )
        calls: list[CallRequested] = []
        while len(calls) < 2:
            h.pump(timeout=10)
            while (event := h.session.next_event()) is not None:
                assert isinstance(event, CallRequested)
                calls.append(event)
        assert len({call.call_id for call in calls}) == 2
        data = [
            h.session.reply(c.call_id, [{"value": c.items[0]["prompt"] * 2}])
            for c in reversed(calls)
        ]
        assert h.wait_for(CellFinished, data).output_head == "['aa', 'bb']\n"


def test_a_kept_pool_serves_the_next_cell(h):
    h.run(
        "from concurrent.futures import ThreadPoolExecutor\npool = ThreadPoolExecutor(1)\nlist(pool.map(llm_query, 'a'))"
    )
    time.sleep(0.05)
    assert (
        h.output("def say(q):\n    print(q)\n    return llm_query(q)\nlist(pool.map(say, 'b'))")
        == "b\n['reply to b']\n"
    )
    h.run("pool.shutdown()")


def test_late_threads_neither_print_nor_call(h):
    done = h.run(
        "import threading\nstarted, go, over = threading.Event(), threading.Event(), threading.Event()\nlate_error = []\n"
        "def late():\n    print('early')\n    started.set()\n    go.wait()\n    print('LATE')\n"
        "    try:\n        llm_query('late')\n    except RuntimeError as e:\n        late_error.append(str(e))\n    over.set()\n"
        "t = threading.Thread(target=late)\nt.start()\nstarted.wait();"
    )
    assert done.output_head == "early\n"
    assert h.output("go.set()\nover.wait()\nt.join()\nprint('mine', late_error)") == (
        "mine ['llm_query was called by a thread of a cell that has ended']\n"
    )
    assert h.calls == []


def test_a_call_left_behind_is_answered_into_the_void(h):
    h.start_cell(
        "import threading\ndef leave():\n    try: llm_query('left')\n    except RuntimeError: pass\nt = threading.Thread(target=leave, daemon=True)\nt.start()\nimport time\ntime.sleep(0.2)"
    )
    events: list[Any] = []
    while not any(isinstance(event, CellFinished) for event in events):
        h.pump(timeout=10)
        while (event := h.session.next_event()) is not None:
            events.append(event)
    call = next(event for event in events if isinstance(event, CallRequested))
    assert h.session.reply(call.call_id, [{"value": "too late"}]) == b""
    assert h.output("t.join()\nprint('on')") == "on\n"


def test_an_exception_in_a_thread_is_shown_without_host_paths(p):
    out = p.output(
        "import threading\nt = threading.Thread(target=lambda: 1/0)\nt.start()\nt.join()"
    )
    assert out.endswith("ZeroDivisionError: division by zero\n")
    assert "/" not in out.replace("1/0", "")


# Answers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "text", "is_json"),
    [
        ("FINAL('Paris')", "Paris", False),
        ("FINAL(42)", "42", True),
        ("FINAL({'ä': [1, None, True, 2.5]})", '{"ä": [1, null, true, 2.5]}', True),
        ("FINAL((1, 2))", "[1, 2]", True),
        ("FINAL({1, 2})", "[1, 2]", True),
        ("FINAL(llm_query('q'))", "reply to q", False),
        ("x = 'v'\nFINAL_VAR('x')", "v", False),
        ("x = 'v'\nFINAL_VAR(\"'x'\")", "v", False),
        ("x = [1]\nFINAL_VAR(x)", "[1]", True),
        ("FINAL_VAR('two words')", "two words", False),
        ("from decimal import Decimal\nFINAL(Decimal('1.50'))", "1.50", False),
        (
            "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int = 1\nFINAL([P()])",
            '[{"x": 1}]',
            True,
        ),
        ("FINAL(float('nan'))", "nan", False),
        ("answer['content'] = 'c'\nanswer['ready'] = True", "c", False),
        ("answer = {'content': [1], 'ready': True}", "[1]", True),
        ("try:\n    FINAL('a')\nexcept Exception:\n    FINAL('b')", "a", False),
        ("try:\n    FINAL('a')\nexcept BaseException:\n    FINAL('b')", "a", False),
        ("try:\n    FINAL('a')\nexcept:\n    pass\nprint('went on')", "a", False),
        ("async def f():\n    FINAL('deep')\nawait f()", "deep", False),
        (
            "import asyncio\nasync def f():\n    FINAL('deep')\nawait asyncio.gather(f(), f())",
            "deep",
            False,
        ),
        (
            "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor() as e: e.submit(FINAL, 'thread').result()",
            "thread",
            False,
        ),
        ("FINAL(['\\ud800'])", '["\ufffd"]', True),
    ],
)
def test_answers(h, code, text, is_json):
    done = h.run(code)
    assert done.status == "ok", done.error
    assert (done.answer.text, done.answer.is_json) == (text, is_json)


def test_final_in_a_thread(p):
    done = p.run(
        "import threading\nt = threading.Thread(target=lambda: FINAL('thread'))\nt.start(); t.join()"
    )
    assert (done.answer.text, done.output_chars) == ("thread", 0)


def test_final_ends_the_cell(h):
    done = h.run("print('before')\nFINAL(1)\nprint('after')")
    assert done.output_head == "before\n"
    assert done.answer.text == "1"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("FINAL(None)", "the answer is None"),
        ("FINAL(len)", "submit its result"),
        ("FINAL(lambda: 1)", "submit its result"),
        ("import math\nFINAL(math)", "submit its result"),
        ("FINAL(str)", "submit its result"),
        ("FINAL_VAR('missing')", "there is no variable `missing`"),
        ("mine = 1\nFINAL_VAR('missing')", "Your variables: mine."),
        ("FINAL_VAR('context')", "belongs to the REPL"),
        ("FINAL_VAR(context)", "belongs to the REPL"),
        ("FINAL_VAR('llm_query')", "belongs to the REPL"),
        ("FINAL('x' * 8_000_001)", "8,000,001 characters; at most 8,000,000"),
        ("FINAL(10**5000)", "digits"),
        ("a = []\na.append(a)\nFINAL(a)", "Circular reference"),
        ("a = [0]\nfor _ in range(10): a = [a] * 10\nFINAL(a)", "1,000,000 values"),
        ("class B:\n    def __str__(self): raise KeyError('x')\nFINAL(B())", "KeyError"),
        ("answer['ready'] = True", "is empty"),
    ],
)
def test_no_answer_and_why(h, code, words):
    done = h.run(code)
    assert done.answer is None
    assert done.status == "error"
    assert words in done.error
    assert h.run("1").answer is None


def test_the_whole_context_is_no_answer(mode):
    with Harness(mode, context="long text " * 100) as h:
        assert "the whole `context`" in h.error("FINAL(context)")
        assert "the whole `context`" in h.error(
            "answer['content'] = context\nanswer['ready'] = True"
        )
    with Harness(mode, context="yes") as h:
        assert h.run("FINAL(context)").answer.text == "yes"


def test_ready_in_a_failed_cell_does_not_count(h):
    done = h.run("answer['content'] = 'c'\nanswer['ready'] = True\n1/0")
    assert done.answer is None
    assert h.run("pass").answer is None
    assert h.run("answer['ready'] = True").answer.text == "c"


def test_answer_may_be_an_ordinary_variable(h):
    h.run("answer = 'Paris'")
    assert h.output("answer") == "'Paris'\n"
    assert h.submit("var", "answer").answer.text == "Paris"
    h.run("del answer")
    assert h.output("answer") == "{'content': '', 'ready': False}\n"


def test_an_answer_of_many_bytes_cannot_break_the_wire(h):
    done = h.run("FINAL('\\U0001f600' * 7_000_000)")
    assert done.answer is None
    assert "too many to send" in done.error
    assert h.output("1") == "1\n"


def test_submit_var(h):
    h.run("result = ['a']\ndef f(): pass")
    assert h.submit("var", "result").answer.text == '["a"]'
    assert h.submit("var", " `result` ").answer.text == '["a"]'
    done = h.submit("var", "missing")
    assert done.answer is None
    assert "Your variables: result, f." in done.error
    assert "belongs to the REPL" in h.submit("var", "context").error
    assert "submit its result" in h.submit("var", "f").error


def test_submit_text(h):
    h.run("result = 'from variable'")
    assert h.submit("text", "result").answer.text == "from variable"
    assert h.submit("text", "'result'").answer.text == "from variable"
    assert h.submit("text", "It is Paris.").answer.text == "It is Paris."
    assert h.submit("text", "context").answer.text == "context"
    assert h.submit("text", "unknown_name").answer.text == "unknown_name"


# Errors -------------------------------------------------------------------------------------


def test_traceback_shows_cells_only(h):
    h.run("import json\ndef load(t):\n    return json.loads(t)")
    error = h.error("x = 1\nload('{')")
    assert error == (
        "Traceback:\n  File \"<cell 2>\", line 2, in <module>\n    load('{')\n"
        '  File "<cell 1>", line 3, in load\n    return json.loads(t)\n'
        "  in module json\n  in module json.decoder\n"
        "JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"
    )


def test_syntax_error_has_its_caret(h):
    error = h.error("x = 1\nif x == = 2:\n    pass")
    assert error.startswith('  File "<cell 1>", line 2\n    if x == = 2:\n            ^')
    assert "SyntaxError: invalid syntax" in error


@pytest.mark.parametrize(
    "code", ["x = '\\0'[0:", "def f(:", "\x00", "a = '\ud800'", "return 1", "await", "(" * 300]
)
def test_code_that_does_not_compile(h, code):
    assert h.error(code)
    assert h.output("1") == "1\n"


def test_chained_errors(h):
    error = h.error(
        "try:\n    {}['k']\nexcept KeyError as e:\n    raise ValueError('outer') from e"
    )
    assert error.index("KeyError: 'k'") < error.index("ValueError: outer")


def test_error_text_is_bounded_and_keeps_its_end(h):
    done = h.run("raise ValueError('x' * 10**6 + 'THE END')")
    assert len(done.error) <= 4000
    assert done.error.endswith("THE END")


def test_recursion_error(h):
    error = h.error("def f(n): return f(n + 1)\nf(0)")
    assert "frames left out" in error
    assert "RecursionError" in error
    assert h.output("1") == "1\n"


@pytest.mark.parametrize(
    "code",
    [
        "raise SystemExit(0)",
        "import sys\nraise SystemExit",
        "exit()",
        "quit(3)",
        "raise KeyboardInterrupt",
        "raise BaseException('b')",
        "raise GeneratorExit",
        "input('name? ')",
        "breakpoint()",
        "raise MemoryError",
        "raise ExceptionGroup('g', [ValueError('a')])",
        "raise StopIteration",
        "await asyncio.sleep(0)",
        "assert False, 'why'",
    ],
)
def test_endings_are_errors_of_the_cell(h, code):
    error = h.error("before = 1\n" + code)
    assert "/" not in error
    assert h.output("before") == "1\n"


def test_exit_says_what_to_do(h):
    assert "use FINAL(...)" in h.error("raise SystemExit(3)")
    assert "FINAL(...)" in h.error("exit()")
    assert "no user" in h.error("input()")


def test_memory_error_in_a_cell(p):
    assert "MemoryError" in p.error("x = bytearray(2**62)")
    assert p.output("1") == "1\n"


# Output -------------------------------------------------------------------------------------


def test_output_keeps_both_ends(mode):
    with Harness(mode, limits=WireLimits(output_head_chars=100, output_tail_chars=50)) as h:
        done = h.run("for i in range(10000): print(i)")
        assert done.output_head == "".join(f"{i}\n" for i in range(200))[:100]
        assert done.output_tail == "".join(f"{i}\n" for i in range(9000, 10000))[-50:]
        assert done.output_chars == 48_890
        done = h.run("print('a' * 120, end='')")
        assert (done.output_head, done.output_tail, done.output_chars) == ("a" * 100, "a" * 20, 120)
        done = h.run("print('h' + 'm' * 10**6 + 't', end='')")
        assert (done.output_head[0], done.output_tail[-1], done.output_chars) == (
            "h",
            "t",
            10**6 + 2,
        )


def test_a_flood_of_prints_ends(h):
    done = h.run("line = 'x' * 999\nwhile True:\n    print(line)", timeout=60)
    assert done.status == "error"
    assert "OutputLimitError" in done.error
    assert "50,000,000" in done.error
    assert len(done.output_head) == len(done.output_tail) == 20_000
    assert h.output("1") == "1\n"


def test_a_print_of_one_huge_string_ends(h):
    assert "OutputLimitError" in h.error("print('x' * 60_000_000)")


def test_pprint_and_redirect(p):
    code = "import pprint, contextlib, io\npprint.pprint({'b': 1, 'a': 2})\nb = io.StringIO()\nwith contextlib.redirect_stdout(b):\n    print('inside')\nprint(b.getvalue().upper(), end='')"
    assert p.output(code) == "{'a': 2, 'b': 1}\nINSIDE\n"


def test_a_replaced_stdout_comes_back(p):
    p.run("import sys, io\nsys.stdout = io.StringIO()\nprint('lost')")
    assert p.output("print('seen')") == "seen\n"
    p.run("import sys\nsys.stdout.close()")
    assert p.output("print('seen')") == "seen\n"


def test_output_of_a_destructor_and_warnings_show_no_paths(p):
    out = p.output(
        "class D:\n    def __del__(self): raise ValueError('in del')\nd = D()\ndel d\nprint('on')"
    )
    assert "ValueError: in del" in out
    assert "/" not in out


def test_surrogates_in_output_are_replaced(h):
    assert h.output("print('a\\ud800b')") == "a\ufffdb\n"


def test_output_is_kept_when_the_cell_fails(h):
    done = h.run("print('so far')\n1/0")
    assert (done.status, done.output_head) == ("error", "so far\n")


# Restricted ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "import os",
        "import subprocess",
        "from os import path",
        "import os.path",
        "import urllib.request",
        "from urllib import request",
        "import socket",
        "__import__('os')",
        "import numpy",
        "import inspect",
        "import pickle",
        "import ctypes",
        "import importlib",
        "import builtins",
        "def f():\n    import os\nf()",
        "class A:\n    import os",
    ],
)
def test_refused_import_says_why(restricted_shared, code):
    error = restricted_shared.error(code)
    assert "ImportError: import of `" in error
    assert "no file or network access" in error
    assert "Available: re, json" in error


@pytest.mark.parametrize("name", ["open", "eval", "exec", "compile"])
def test_refused_builtins_offer_another_way(restricted_shared, name):
    error = restricted_shared.error(f"{name}('x')")
    assert "not available" in error


def test_open_can_be_caught_as_an_os_error(restricted_shared):
    assert "in `context`" in restricted_shared.output(
        "try:\n    open('a.txt')\nexcept OSError as e:\n    print(e)"
    )


def test_sys_is_harmless_in_restricted(restricted_shared):
    code = "import sys\nprint(sys.version_info[0], sys.maxsize > 0, sys.getsizeof('') > 0, hasattr(sys, 'modules'), hasattr(sys, 'exit'))"
    assert restricted_shared.output(code) == "3 True True False False\n"
    assert "FINAL(...)" in restricted_shared.error("import sys\nsys.exit()")
    assert (
        restricted_shared.output(
            "from sys import version_info\nimport sys\nold = sys.stdout\nimport io\nsys.stdout = b = io.StringIO()\nprint('x')\nsys.stdout = old\nprint(b.getvalue(), end='')"
        )
        == "x\n"
    )


def test_library_code_imports_what_it_needs(restricted):
    code = "import asyncio, logging, uuid, decimal, concurrent.futures, tokenize, xml\nprint('ok')"
    assert "import of `xml`" in restricted.error(code)
    assert restricted.output(code.replace(", xml", "")) == "ok\n"


def test_full_has_everything(full):
    assert (
        full.output(
            "import os, pickle, socket, inspect\nprint(eval('1 + 1'), open(os.devnull).read() == '')\nexec('x = 3')\nx"
        )
        == "2 True\n3\n"
    )


def test_full_sees_the_packages_of_the_environment(full):
    assert full.output("import pydantic\nprint(pydantic.__name__)") == "pydantic\n"


def test_environment_is_clean(full, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    with Harness("subprocess") as h:
        names = set(json.loads(h.output("import os, json\nprint(json.dumps(list(os.environ)))")))
        assert names <= {
            "LC_ALL",
            "OPENBLAS_NUM_THREADS",
            "OMP_NUM_THREADS",
            "MALLOC_ARENA_MAX",
            "PYTHONHASHSEED",
            "LC_CTYPE",
        }
        assert h.output("import os\nprint(os.getcwd())") == "/\n"
        # Standard streams, the wire's two ends, the lifeline: nothing of the host's.
        count = """
            import os
            def is_open(fd):
                try:
                    os.fstat(fd)
                except OSError:
                    return False
                return True
            print(sum(is_open(fd) for fd in range(1024)))
        """
        assert h.output(textwrap.dedent(count)) == "6\n"


# Determinism --------------------------------------------------------------------------------


def test_seed_and_hash_order_are_fixed(process_mode):
    code = "import random\nprint(random.random(), list({'alpha', 'beta', 'gamma', 'delta'}), hash('x'))"
    outputs = set()
    for _ in range(2):
        with Harness(process_mode, seed=3) as h:
            outputs.add(h.output(code))
    assert len(outputs) == 1
    with Harness(process_mode, seed=4) as h:
        assert h.output(code) not in outputs


def test_local_leaves_the_hosts_random_alone():
    import random

    random.seed(1)
    expected = random.random()
    random.seed(1)
    with Harness("none") as h:
        h.run("import random\nx = 1")
    assert random.random() == expected


# Contexts -----------------------------------------------------------------------------------


def sha(texts: list[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()


SHA = "import hashlib\nd = hashlib.sha256()\nfor t in ([context] if isinstance(context, str) else context): d.update(t.encode('utf-8', 'surrogatepass') + b'\\0')\nprint(type(context).__name__, len(context), d.hexdigest())"


def test_large_text_arrives_equal(mode):
    text = ("aä€\U0001f600\ud800\n" * 100 + "plain " * 400) * 7000
    assert len(text) > 20_000_000
    with Harness(mode, context=text, share=False) as h:
        assert h.output(SHA) == f"str {len(text)} {sha([text])}\n"


def test_many_documents_arrive_equal(mode):
    documents = [f"document {i} ä€\U0001f600" * (i % 7) for i in range(20_000)]
    documents[7] = "\ud800\udc00 lone"
    documents[8] = "long é" * 300_000
    with Harness(mode, context=documents, share=False) as h:
        assert h.output(SHA) == f"list 20000 {sha(documents)}\n"


@pytest.mark.parametrize("context", ["", [], [""], ["", "a", ""]])
def test_empty_contexts(mode, context):
    with Harness(mode, context=context, share=False) as h:
        assert h.output("context") == repr(context) + "\n"


def test_local_shares_by_reference():
    documents = ["a"]
    with Harness("none", context=documents) as h:
        h.run("context.append('b')")
    assert documents == ["a", "b"]


def test_processes_share_nothing(p):
    assert p.transport.share("context", "x") is False


# Time, interrupt, kill ----------------------------------------------------------------------


def wait_until_running(h: Harness) -> None:
    """Until the cell asks for `go`, which it does when it is where the test wants it."""
    while True:
        h.pump(timeout=10)
        event = h.session.next_event()
        if event is not None:
            assert isinstance(event, CallRequested), event
            h.pump([h.session.reply(event.call_id, [{"value": "go"}])], 0)
            return


@pytest.mark.parametrize(
    "busy",
    [
        "while True: pass",
        "import time\nfor _ in range(10**6): time.sleep(0.01)",
        "sum(i for i in iter(int, 1))",
    ],
)
def test_interrupt_keeps_variables_and_output(h, busy):
    h.start_cell(f"kept = 1\nprint('partial')\nllm_query('running')\n{busy}")
    wait_until_running(h)
    assert h.pump(timeout=0.05).timed_out
    assert h.transport.interrupt() is True
    done = h.wait_for(CellFinished)
    assert done.status == "interrupted"
    assert done.error.endswith("KeyboardInterrupt")
    assert done.output_head == "partial\n"
    assert done.changed["kept"] == "int: 1"
    assert h.output("kept") == "1\n"


@pytest.mark.parametrize(
    "waiting",
    [
        "llm_query('never')",
        "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(2) as e:\n    list(e.map(llm_query, 'abcdef'))",
        "import asyncio\nawait asyncio.gather(*(asyncio.to_thread(llm_query, q) for q in 'ab'))",
    ],
)
def test_interrupt_of_a_cell_that_waits_for_calls(h, waiting):
    if h.mode == "none" and "import" in waiting:
        pytest.skip("a thread that waits in a lock cannot be interrupted in-process")
    h.start_cell("kept = 1\n" + waiting)
    while not isinstance(h.session.next_event(), CallRequested):
        h.pump(timeout=10)
    h.transport.interrupt()
    done = h.wait_for(CellFinished)
    assert done.status == "interrupted", done
    assert h.output("kept") == "1\n"


UNDER_A_DEBUGGER = """\
import sys
from langchain_replm.sandbox._wire import CallRequested, CellFinished
from tests.worker_harness import Harness
with Harness("none") as harness:
    harness.start_cell("llm_query('never')")
    while not isinstance(harness.session.next_event(), CallRequested):
        harness.pump(timeout=10)
    trace = lambda *_: trace
    sys.settrace(trace)
    harness.transport.interrupt()
    print(harness.wait_for(CellFinished).status)
"""


def test_an_interrupt_in_a_host_under_a_debugger():
    """CPython 3.11 holds up a traced thread while an exception is on its way to another one."""
    # In a process of its own, which can be killed: that thread takes no signal either.
    command = [sys.executable, "-c", UNDER_A_DEBUGGER]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "interrupted\n", done.stderr


def test_interrupt_of_an_await(p):
    p.start_cell("import asyncio\nkept = 1\nllm_query('running')\nawait asyncio.sleep(1000)")
    wait_until_running(p)
    p.transport.interrupt()
    assert p.wait_for(CellFinished).status == "interrupted"
    assert p.output("await asyncio.sleep(0)\nkept") == "1\n"


def test_interrupt_without_a_cell_is_ignored(h):
    for _ in range(20):
        h.transport.interrupt()
    assert h.output("1") == "1\n"


def test_interrupts_at_any_moment_never_break_a_session(p):
    """SIGINT rains while short cells, calls and finishes go on: every cell ends, in order."""
    stop = threading.Event()

    def rain() -> None:
        while not stop.is_set():
            p.transport.interrupt()
            time.sleep(0.0005)

    thread = threading.Thread(target=rain)
    thread.start()
    try:
        seen = {
            p.run("x = [llm_query('a') for _ in range(3)]\nprint(x)").status for _ in range(150)
        }
    finally:
        stop.set()
        thread.join()
    assert seen <= {"ok", "interrupted"}
    assert p.output("1") == "1\n"


def test_a_cell_that_ignores_interrupts_is_killed(p):
    p.start_cell(
        "def burn():\n    while True: pass\nllm_query('running')\nwhile True:\n    try:\n        burn()\n    except KeyboardInterrupt:\n        print('no')"
    )
    wait_until_running(p)
    assert p.pump(timeout=0.1).timed_out
    p.transport.interrupt()
    assert p.pump(timeout=0.2).timed_out
    p.transport.kill()
    done = p.pump(timeout=10)
    assert done.eof
    assert p.session.next_event() is None
    assert p.session.state is State.CLOSED


def until_eof(h):
    """A cell in the host's process may still say that it was interrupted."""
    while not (done := h.pump(timeout=30)).eof:
        assert done.data
    return done


def test_kill_from_another_thread_ends_an_exchange(h):
    h.start_cell("import time\nllm_query('running')\nfor _ in range(3000): time.sleep(0.01)")
    wait_until_running(h)
    timer = threading.Timer(0.1, h.transport.kill)
    timer.start()
    start = time.monotonic()
    done = until_eof(h)
    timer.join()
    assert not done.timed_out
    assert time.monotonic() - start < 10


def test_close_from_another_thread_ends_an_exchange(h):
    h.start_cell("import time\nllm_query('running')\nfor _ in range(3000): time.sleep(0.01)")
    wait_until_running(h)
    timer = threading.Timer(0.1, h.transport.close)
    timer.start()
    until_eof(h)
    timer.join()
    assert h.transport.exchange([b"x"], 0).eof


def test_wake_returns_early_and_coalesces(h):
    for _ in range(100_000):
        h.transport.wake()
    done = h.pump(timeout=30)
    assert (done.data, done.eof, done.timed_out) == (b"", False, False)
    assert h.pump(timeout=0.01).timed_out
    timer = threading.Timer(0.05, h.transport.wake)
    timer.start()
    done = h.pump(timeout=30)
    timer.join()
    assert not done.timed_out
    assert done.elapsed_seconds < 20


def test_wake_and_kill_after_close_are_harmless(mode):
    h = Harness(mode)
    h.close()
    h.close()
    h.transport.wake()
    h.transport.kill()
    h.transport.interrupt()
    assert h.pump(timeout=0).eof


def stop(pid: int) -> None:
    """Stop a worker, and wait until it stands still: until then it may still read."""
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)


def test_a_worker_that_does_not_read_cannot_block_us(process_mode):
    with Harness(process_mode) as h:
        stop(h.transport.pid)
        start = time.monotonic()
        done = h.transport.exchange([b"x" * 20_000_000], 0.2)
        assert done.timed_out
        assert time.monotonic() - start < 5
        h.transport.kill()


def test_what_was_not_sent_in_time_is_sent_next():
    with Harness("restricted") as h:
        stop(h.transport.pid)
        code = "x = " + repr("y" * 3_000_000) + "\nprint(len(x))"
        assert h.transport.exchange([h.session.execute("big", code)], 0.05).timed_out
        os.kill(h.transport.pid, signal.SIGCONT)
        assert h.wait_for(CellFinished).output_head == "3000000\n"


def test_timeout_zero_only_polls(h):
    done = h.pump(timeout=0)
    assert done.timed_out
    assert done.elapsed_seconds < 1


# The worker as an enemy ---------------------------------------------------------------------

FIND_WIRE = (
    "import os\n"
    "def fds():\n"
    "    for fd in range(3, 64):\n"
    "        try:\n"
    "            os.fstat(fd)\n"
    "            yield fd\n"
    "        except OSError: pass\n"
    "def shout(data):\n"
    "    for fd in fds():\n"
    "        try: os.write(fd, data)\n"
    "        except OSError: pass\n"
    "def frame(text): return len(text).to_bytes(4, 'big') + b'J' + text.encode()\n"
)


@pytest.mark.parametrize(
    "forged",
    [
        "b'garbage garbage garbage'",
        "b'\\xff\\xff\\xff\\xff' + b'J' + b'x' * 100",
        "frame('[' * 100_000)",
        'frame(\'{"type": "ready", "version": 1, "python": "3"}\')',
        'frame(\'{"type": "call", "id": 1, "function": "delete_all", "kind": "tool", "items": [{"args": {}}]}\')',
        'frame(\'{"type": "done", "id": "other"}\')',
        "frame('{\"n\": ' + '9' * 10_000 + '}')",
        "frame('null')",
        "b'\\0\\0\\0\\1B\\0'",
    ],
)
def test_forged_frames_are_protocol_errors(full, forged):
    with pytest.raises(ProtocolError):
        full.run(FIND_WIRE + f"shout({forged})")
    assert full.session.state is State.BROKEN
    with pytest.raises(ProtocolError):
        full.session.next_event()


def test_a_well_formed_forgery_is_only_a_lie(full):
    code = FIND_WIRE + (
        "import json\n"
        "shout(frame(json.dumps({'type': 'done', 'id': 'c1', 'status': 'ok', 'output_head': 'lie', 'output_tail': '',"
        " 'output_chars': 3, 'error': None, 'changed': {}, 'removed': [], 'answer': {'text': 'lie', 'json': False}})))"
    )
    done = full.run(code)
    assert done.answer.text == "lie"
    # The true end of the cell is now one message too many.
    with pytest.raises(ProtocolError):
        full.run("1")


def test_a_flood_of_the_wire_ends(full):
    with pytest.raises(ProtocolError):
        full.run(FIND_WIRE + "while True: shout(b'x' * 65536)")


def test_a_cell_that_closes_the_wire_is_a_dead_worker(full):
    with pytest.raises(WorkerDiedError):
        full.run("import os\nos.closerange(3, 64)")


@pytest.mark.parametrize(
    "code",
    [
        "import os\nos._exit(3)",
        "import os\nos.kill(os.getpid(), 9)",
        "import ctypes\nctypes.string_at(0)",
        "import os\nos.abort()",
    ],
)
def test_a_dead_worker_is_an_end_of_file(full, code):
    with pytest.raises(WorkerDiedError):
        full.run(code)
    assert full.session.state is State.CLOSED


def test_a_forked_cell_does_not_speak_twice(unjailed):
    full = unjailed
    # From 3.12 on Python warns that this process has threads.
    out = full.output("import os\npid = os.fork()\nif pid: os.waitpid(pid, 0)\nprint('once')")
    assert out.count("once") == 1
    assert full.output("1") == "1\n"


def test_a_grandchild_cannot_hold_an_exchange(unjailed):
    full = unjailed
    full.start_cell(
        "import os, time\nllm_query('running')\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(3)\n    os._exit(0)\ntime.sleep(1000)"
    )
    wait_until_running(full)
    timer = threading.Timer(0.2, full.transport.kill)
    timer.start()
    assert full.pump(timeout=2.5).eof
    timer.join()


def test_signals_of_a_cell_do_not_reach_the_host(full):
    got = []
    old = signal.signal(signal.SIGUSR1, lambda *_: got.append(1))
    try:
        full.run(
            "import os, signal\nsignal.signal(signal.SIGUSR1, signal.SIG_IGN)\nos.killpg(0, signal.SIGUSR1)"
        )
    finally:
        signal.signal(signal.SIGUSR1, old)
    assert got == []


# Ownership ----------------------------------------------------------------------------------


def test_twenty_workers_leave_nothing(mode):
    sandbox = make_sandbox(mode)
    for _ in range(20):
        transport = sandbox.open()
        transport.close()
        transport.close()
    # `nothing_is_left` counts.


def test_a_forgotten_transport_is_cleaned_up(process_mode):
    pid = make_sandbox(process_mode).open().pid
    gc.collect()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_closing_during_setup(mode):
    transport = make_sandbox(mode).open()
    transport.exchange([b"\0\0"], 0.0)
    transport.close()


@pytest.mark.parametrize("cell", ["", "while True: pass"])
def test_the_worker_ends_with_its_host(tmp_path, cell):
    """A killed host cannot clean up; the worker sees the end of its wire, even while it burns."""
    script = (
        "import sys, time\nfrom tests.worker_harness import Harness\n"
        "h = Harness('restricted')\nprint(h.transport.pid, flush=True)\n"
        f"h.start_cell({cell!r})\nprint('started', flush=True)\ntime.sleep(1000)\n"
    )
    root = str(Path(__file__).parents[3])
    host = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": root},
    )
    try:
        pid = int(host.stdout.readline())
        assert host.stdout.readline() == "started\n"
        time.sleep(0.2)
    finally:
        host.kill()
        host.wait()
        host.stdout.close()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return
        if state == "Z":
            return  # dead; its new parent has not looked yet
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("the worker outlived its host")


def test_a_forked_host_does_not_touch_the_worker():
    with Harness("restricted") as h:
        pid = os.fork()
        if pid == 0:
            try:
                h.transport.interrupt()
                h.transport.wake()
                h.transport.kill()
                h.transport.close()
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        assert h.output("1") == "1\n"


def test_unknown_mode():
    with pytest.raises(ConfigurationError):
        ProcessSandbox("jail")  # type: ignore[arg-type]


def test_descriptions_and_policies():
    assert "no files" in ProcessSandbox().describe()
    assert ProcessSandbox().policy == "restricted"
    assert ProcessSandbox("subprocess").policy == LocalSandbox().policy == "full"


def test_two_local_sessions_do_not_mix():
    with Harness("none") as a, Harness("none") as b:
        a.start_cell("import time\nfor i in range(20):\n    print('a')\n    time.sleep(0.001)")
        assert b.output("for i in range(20): print('b')\nx = 1") == "b\n" * 20
        assert a.wait_for(CellFinished).output_head == "a\n" * 20
        assert "NameError" in a.error("x")


def test_local_prints_do_not_reach_the_hosts_stdout(capsys):
    with Harness("none") as h:
        assert (
            h.output(
                "import sys\nprint('p')\nprint('e', file=sys.stderr)\nsys.stdout.write('w\\n');"
            )
            == "p\ne\nw\n"
        )
    assert capsys.readouterr() == ("", "")
