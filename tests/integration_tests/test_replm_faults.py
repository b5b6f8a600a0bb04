"""The 63 faults that were shown in replm 0.1.0, one test each: they are mended here, not inherited.

Each test does what showed the fault and asserts what should have been seen. Scripted models say
what the models said; all else is real.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest
from langchain_core.language_models import SimpleChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from langchain_replm import RLM, RLMConfig, RLMResponse
from langchain_replm.errors import ConfigurationError
from langchain_replm.sandbox._pipes import PipeTransport
from langchain_replm.sandbox.base import Exchanged
from langchain_replm.testing import ScriptedChatModel
from tests.openai_server import Fault, OpenAIServer, Reply
from tests.processes import running

T = TypeVar("T", bound=Callable[..., None])
TESTED: list[int] = []


def fault(number: int) -> Callable[[T], T]:
    """Say which of the faults a test is about."""
    TESTED.append(number)
    return lambda test: test


def cell(code: str) -> str:
    return f"```repl\n{code}\n```"


def make(
    replies: Sequence[str | AIMessage | Exception],
    sub: ScriptedChatModel | None = None,
    **settings: Any,
) -> RLM:
    root = ScriptedChatModel(replies=replies, model_name="root")
    sub = sub or ScriptedChatModel(replies=["reply"], model_name="sub")
    tools = settings.pop("tools", ())
    return RLM(root, sub_model=sub, config=RLMConfig(**settings), tools=tools)


def run(
    replies: Sequence[str | AIMessage | Exception], context: Any = "some context", **settings: Any
) -> RLMResponse:
    return make(replies, **settings).generate("What is it?", context)


def outputs(response: RLMResponse) -> str:
    return "".join(cell.output for turn in response.trajectory for cell in turn.cells)


def errors(response: RLMResponse) -> str:
    return "".join(cell.error or "" for turn in response.trajectory for cell in turn.cells)


# Final answers -------------------------------------------------------------------------------


@fault(1)
def test_a_plan_that_mentions_final_does_not_end_the_run() -> None:
    response = run(["Plan: gather evidence, then I will call FINAL(the answer)", "FINAL(real)"])
    assert (response.answer, response.iterations) == ("real", 2)


@fault(2)
def test_a_plan_that_mentions_final_var_does_not_end_the_run() -> None:
    plan = "I will end with FINAL_VAR(result). First look:\n" + cell("result = 'draft'")
    assert run([plan, "FINAL(real)"]).answer == "real"


@fault(3)
@pytest.mark.parametrize(
    "reply", ["FINAL(42)\n\nHope that helps!", "FINAL(42).", "**FINAL(42)**", "`FINAL(42)`"]
)
def test_a_right_answer_with_something_around_it_counts(reply: str) -> None:
    response = run([reply])
    assert (response.answer, response.iterations) == ("42", 1)


@fault(4)
def test_final_is_a_function_of_cells() -> None:
    response = run([cell("x = 1\nFINAL(x)")], max_iterations=3)
    assert (response.answer, response.iterations) == ("1", 1)


@fault(5)
def test_a_cell_beside_a_final_text_is_executed() -> None:
    response = run([f"{cell('print(6)')}\nFINAL(7)", "FINAL(6)"])
    assert response.answer == "6"
    assert "6" in outputs(response)
    assert response.trajectory[0].cells


@fault(6)
@pytest.mark.parametrize("answer", ["All good :) the total is 12", "Findings: 1) alpha 2) beta"])
def test_brackets_in_an_answer_do_not_cut_it(answer: str) -> None:
    assert run([f"FINAL({answer})"]).answer == answer


@fault(7)
@pytest.mark.parametrize(
    ("reply", "answer"),
    [('FINAL("Paris")', "Paris"), ("FINAL(town)", "Rome"), ('FINAL(f"{n} items")', "3 items")],
)
def test_literals_names_and_f_strings_give_their_value(reply: str, answer: str) -> None:
    assert run([cell("town, n = 'Rome', 3"), reply]).answer == answer


@fault(8)
def test_the_last_final_counts() -> None:
    assert run(["FINAL(first)\nwait, actually\nFINAL(second)"]).answer == "second"


@fault(9)
def test_a_longer_word_is_no_final() -> None:
    assert run(["see SEMIFINAL(Brazil)", "FINAL(France)"]).answer == "France"


@fault(10)
def test_fences_of_other_languages_are_not_searched() -> None:
    reply = '```json\n{"a": "FINAL(x)"}\n```\nNot started. (see above)'
    assert run([reply, "FINAL(done)"]).answer == "done"


@fault(11)
def test_thinking_is_not_searched() -> None:
    reply = "<think>end with FINAL(3)</think>\nLooking (see below)"
    assert run([reply, "FINAL(4)"]).answer == "4"


@fault(12)
@pytest.mark.parametrize("argument", ['"kept"', 'r["x"]', "a.text"])
def test_final_var_takes_quotes_and_expressions(argument: str) -> None:
    code = "class A: text = 'found'\na = A()\nr = {'x': 'found'}\nkept = 'found'"
    assert run([cell(code), f"FINAL_VAR({argument})"]).answer == "found"


@fault(13)
@pytest.mark.parametrize("name", ["context", "llm_query"])
def test_the_input_and_functions_are_no_answers(name: str) -> None:
    response = run([f"FINAL_VAR({name})", "FINAL(real)"], "a long text " * 50)
    assert response.answer == "real"


@fault(14)
def test_a_stale_variable_is_held_once() -> None:
    replies = [cell("ans = 'old'"), f"{cell('ans = 1 / 0')}\nFINAL_VAR(ans)", "FINAL(new)"]
    assert run(replies).answer == "new"


@fault(15)
def test_a_name_that_looks_like_final_is_only_a_name() -> None:
    response = run([cell("from typing import Final\nprint(1)"), "FINAL(done)"])
    assert (response.answer, response.iterations) == ("done", 2)


@fault(16)
def test_a_run_at_its_limit_says_so() -> None:
    looking = [cell("result = []")] * 2
    response = run([*looking, "I could not find an answer."], max_iterations=2)
    assert response.answer != "[]"
    assert response.stop_reason == "max_iterations"


@fault(17)
def test_a_cell_in_the_closing_reply_is_executed() -> None:
    closing = cell("found = 'late'") + "\nFINAL_VAR(found)"
    response = run([cell("print(1)"), closing], max_iterations=1)
    assert (response.answer, response.stop_reason) == ("late", "max_iterations")


# Code blocks ---------------------------------------------------------------------------------


@fault(18)
@pytest.mark.parametrize(
    "reply",
    [
        "```py\nFINAL(7)\n```",
        "```Python\nFINAL(7)\n```",
        "```python3\nFINAL(7)\n```",
        "```\nn = 7\nFINAL(n)\n```",
        "~~~python\nFINAL(7)\n~~~",
        "```tool_code\nFINAL(7)\n```",
        '```python title="x"\nFINAL(7)\n```',
        "```python FINAL(7)```",
    ],
)
def test_fences_as_models_write_them_are_code(reply: str) -> None:
    response = run([reply])
    assert (response.answer, response.iterations) == ("7", 1)


@fault(19)
def test_the_fence_of_a_list_item_is_dedented() -> None:
    assert run(["1. Count:\n   ```repl\n   n = 7\n   FINAL(n)\n   ```"]).answer == "7"


@fault(20)
def test_fences_inside_a_string_do_not_end_the_cell() -> None:
    code = 'text = """\n```\nFINAL(y)\n```\n"""\nFINAL(text.count("`"))'
    assert run([cell(code)]).answer == "6"


@fault(21)
def test_a_cell_that_was_cut_is_not_an_answer() -> None:
    cut = AIMessage(
        "```repl\nans = compute(\nFINAL(ans)", response_metadata={"finish_reason": "length"}
    )
    assert run([cut, "FINAL(whole)"]).answer == "whole"


@fault(22)
def test_a_reply_without_code_is_told_what_to_do() -> None:
    response = run(["Let me think about it.", "FINAL(done)"])
    told = response.trajectory[0].observation or ""
    assert "repl" in told
    assert "FINAL" in told


@fault(23)
def test_a_cell_after_a_failed_one_does_not_run() -> None:
    response = run([cell("1 / 0") + "\n" + cell("print('ran')"), "FINAL(done)"])
    assert "ran" not in outputs(response)
    assert "ZeroDivisionError" in errors(response)


# The REPL ------------------------------------------------------------------------------------


@fault(24)
def test_a_cell_over_its_time_leaves_nothing_behind() -> None:
    loop = "import time\nend = time.time() + 30\nwhile time.time() < end: pass\nlate = 1"
    threads, stdout = set(threading.enumerate()), sys.stdout
    response = run([cell(loop), cell("print('late' in globals())"), "FINAL(x)"], sandbox_timeout=1)
    assert response.trajectory[0].cells[0].status == "timeout"
    assert "late" not in response.repl_variables
    assert sys.stdout is stdout
    for thread in set(threading.enumerate()) - threads:
        thread.join(10)
        assert not thread.is_alive()


@fault(25)
def test_runs_at_once_keep_their_outputs_apart() -> None:
    stdout = sys.stdout
    code = "import time\nfor _ in range(5):\n    print(context)\n    time.sleep(0.01)"

    def one(context: str) -> str:
        return outputs(run([cell(code), "FINAL(x)"], context))

    async def several() -> list[RLMResponse]:
        rlms = [make([cell(code), "FINAL(x)"]) for _ in range(3)]
        return await asyncio.gather(*(rlm.agenerate("q", f"c{n}") for n, rlm in enumerate(rlms)))

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(one, ("a", "b"))) == ["a\n" * 5, "b\n" * 5]
    found = asyncio.run(several())
    assert [outputs(response) for response in found] == ["c0\n" * 5, "c1\n" * 5, "c2\n" * 5]
    assert sys.stdout is stdout


@fault(26)
@pytest.mark.parametrize(
    "code",
    [
        "import random\nprint(random._os.popen('id -u').read())",
        "import json\nprint(json.codecs.open(PATH).read())",
        "import re\nprint(re.enum.sys.modules['os'].listdir('/'))",
        "import urllib.request\nprint(urllib.request.urlopen('file://' + PATH).read())",
        "for c in ().__class__.__base__.__subclasses__():\n"
        "    if c.__name__ == 'FileLoader': print(c('x', PATH).get_data(PATH))",
        "for c in ().__class__.__base__.__subclasses__():\n"
        "    if c.__name__ == 'Popen': c('echo taken', shell=True)",
    ],
)
def test_ways_out_of_the_restricted_mode_are_closed(code: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("taken")
    code = code.replace("PATH", repr(str(tmp_path / "file")))
    response = run([cell(code), "FINAL(x)"])
    assert "taken" not in outputs(response)
    assert str(os.getuid()) not in outputs(response).split()
    assert "tmp" not in outputs(response)


@fault(27)
def test_a_cell_reaches_neither_the_client_nor_its_budget() -> None:
    code = (
        "cells = getattr(llm_query, '__closure__', None) or ()\n"
        "for found in cells:\n"
        "    budget = getattr(found.cell_contents, '_budget', None)\n"
        "    if budget is not None: budget.max_sub_calls = 10**9\n"
        "for _ in range(9): llm_query('more')"
    )
    sub = ScriptedChatModel(replies=["reply"])
    response = run([cell(code), "FINAL(x)"], sub=sub, max_sub_calls=2)
    assert len(sub.calls) == response.sub_calls == 2


@fault(28)
def test_a_cell_changes_no_module_of_the_host() -> None:
    run([cell("import json\njson.dumps = lambda *a, **k: 'HACKED'"), "FINAL(x)"])
    assert json.dumps({}) == "{}"


@fault(29)
def test_system_exit_is_an_error_that_the_model_sees() -> None:
    response = run([cell("raise SystemExit('bye')"), "FINAL(x)"])
    assert "SystemExit" in errors(response)
    assert "bye" in (response.trajectory[0].observation or "")


@fault(30)
def test_objects_whose_repr_raises_stay_in_the_repl() -> None:
    code = (
        "class Bad:\n"
        "    def __repr__(self): raise ValueError('no')\n"
        "    __str__ = __repr__\n"
        "bad = Bad()"
    )
    response = run([cell(code), cell("FINAL_VAR('bad')"), "FINAL(good)"])
    assert response.stop_reason == "answered"


@fault(31)
def test_floods_of_output_and_memory_are_bounded() -> None:
    floods = [cell("for _ in range(100): print('x' * 10**6)"), cell("big = 'a' * (3 * 10**9)")]
    response = run([*floods, cell("print('alive')"), "FINAL(x)"])
    assert max(len(turn.observation or "") for turn in response.trajectory) < 15_000
    assert "MemoryError" in errors(response)
    assert "alive" in outputs(response)


@fault(32)
def test_a_traceback_shows_nothing_of_the_host() -> None:
    response = run([cell("def f():\n    1 / 0\nf()"), cell("import socket"), "FINAL(x)"])
    seen = "\n".join(turn.observation or "" for turn in response.trajectory)
    assert "ZeroDivisionError" in seen
    assert "langchain_replm" not in seen
    assert sys.prefix not in seen


# The worker ----------------------------------------------------------------------------------


@fault(33)
def test_nothing_of_a_worker_is_unpickled(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    code = (
        "import random\n"
        "class Evil:\n"
        f"    def __reduce__(self): return (random._os.system, ('touch {mark}',))\n"
        "evil = Evil()"
    )
    for mode in ("restricted", "subprocess"):
        run([cell(code), cell("FINAL_VAR('evil')"), "FINAL(x)"], sandbox_mode=mode)
    assert not mark.exists()


@fault(34)
def test_system_exit_does_not_end_a_worker() -> None:
    code = cell("kept = 5\nraise SystemExit")
    replies = [code, cell("print(kept)"), "FINAL(x)"]
    assert "5" in outputs(run(replies, sandbox_mode="subprocess"))


@fault(35)
def test_the_time_of_a_cell_is_all_of_its_own_time() -> None:
    code = "import time\nfor n in range(40):\n    time.sleep(0.1)\n    llm_query(str(n))"
    sub = ScriptedChatModel(replies=["reply"])
    response = run([cell(code), "FINAL(x)"], sub=sub, sandbox_timeout=1)
    assert response.trajectory[0].cells[0].status == "timeout"
    assert 1 <= len(sub.calls) < 20


@fault(36)
def test_after_a_timeout_all_variables_are_there() -> None:
    made = "import re\nm = re.compile('x')\ndef double(n): return 2 * n\nclass Box: size = 3"
    check = "print(m.match('x') is not None, double(4), Box.size, re.escape('.'))"
    replies = [cell(made), cell("while True: pass"), cell(check), "FINAL(x)"]
    assert "True 8 3 \\." in outputs(run(replies, sandbox_timeout=1))


@fault(37)
def test_large_variables_stay_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    received = 0
    exchange = PipeTransport.exchange

    def counted(self: PipeTransport, *args: Any) -> Exchanged:
        nonlocal received
        done = exchange(self, *args)
        received += len(done.data)
        return done

    monkeypatch.setattr(PipeTransport, "exchange", counted)
    big = cell("lines = ['word ' + str(n) for n in range(600_000)]")
    run([big, *[cell("pass")] * 5, cell("FINAL(len(lines))")])
    assert 0 < received < 100_000


@fault(38)
def test_variables_are_what_they_are() -> None:
    made = "class Box:\n    def __str__(self): return 'a box'\nbox = Box()\ngone = 1"
    changed = "del gone\ncontext = 'mine'\nprint(context)"
    response = run([cell(made), cell(changed), cell("FINAL_VAR('box')")])
    assert response.answer == "a box"
    assert "gone" not in response.repl_variables
    assert "mine" in outputs(response)


@fault(39)
def test_runs_leave_no_process_behind() -> None:
    for _ in range(3):
        run([cell("print(1)"), "FINAL(x)"])
    assert not [
        line for _, parent, line in running() if parent == os.getpid() and "_worker" in line
    ]


@fault(40)
@pytest.mark.parametrize("mode", ["restricted", "subprocess"])
def test_keys_of_the_environment_are_not_there(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    ways = (
        "try:\n    import os\nexcept ImportError:\n    import random\n    os = random._os\n"
        "print(dict(os.environ))\nprint(open('/proc/self/environ').read())"
    )
    assert "secret" not in outputs(run([cell(ways), "FINAL(x)"], sandbox_mode=mode))


# Sub-calls, budgets and accounts ---------------------------------------------------------------


@fault(41)
@pytest.mark.parametrize("calls", [2, 20])
def test_tokens_of_children_are_counted_once(calls: int) -> None:
    def respond(messages: list[BaseMessage]) -> str:
        if "piece" in messages[1].text:
            return "FINAL(child)"
        return cell(f"for n in range({calls}): rlm_query('piece', 'text')\nFINAL('done')")

    model = ScriptedChatModel(respond=respond, model_name="root")
    response = RLM(model, config=RLMConfig(max_recursion_depth=2)).generate("What?", "context")
    sent = [str(message.content) for call in model.calls for message in call]
    assert response.total_input_tokens == sum(-(-len(text) // 4) for text in sent)
    assert len(model.calls) == 1 + calls


@fault(42)
def test_a_batch_exists_in_sync_and_in_async() -> None:
    replies = [cell("FINAL(llm_query_batch(['a', 'b']))")]
    expected = run(replies).answer
    assert "reply" in expected
    assert asyncio.run(make(replies).agenerate("q", "some context")).answer == expected


@fault(43)
def test_a_batch_keeps_to_its_concurrency() -> None:
    lock, now, most = threading.Lock(), 0, 0

    def respond(_: list[BaseMessage]) -> str:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.005)
        with lock:
            now -= 1
        return "reply"

    sub = ScriptedChatModel(respond=respond)
    replies = [cell("FINAL(len(llm_query_batch([str(n) for n in range(100)])))")]
    assert run(replies, sub=sub, max_concurrency=8).answer == "100"
    assert 1 < most <= 8


@fault(44)
def test_one_failed_call_of_a_batch_loses_nothing() -> None:
    def respond(messages: list[BaseMessage]) -> str | Exception:
        return ValueError("refused") if "4" in messages[-1].text else "fine"

    code = (
        "found = llm_query_batch([str(n) for n in range(10)])\n"
        "print(sum(isinstance(one, SubCallError) for one in found), found.count('fine'))"
    )
    response = run([cell(code), "FINAL(x)"], sub=ScriptedChatModel(respond=respond))
    assert outputs(response) == "1 9\n"


@fault(45)
def test_a_batch_over_the_limit_keeps_what_was_paid_for() -> None:
    code = (
        "found = llm_query_batch([str(n) for n in range(10)])\n"
        "print(found.count('reply'), len(found))"
    )
    sub = ScriptedChatModel(replies=["reply"])
    response = run([cell(code), "FINAL(x)"], sub=sub, max_sub_calls=4)
    assert outputs(response) == "4 10\n"
    assert len(sub.calls) == 4


@fault(46)
def test_equal_prompts_of_a_batch_are_one_call() -> None:
    sub = ScriptedChatModel(replies=["reply"])
    replies = [cell("FINAL(llm_query_batch(['same'] * 50).count('reply'))")]
    response = run(replies, sub=sub, cache_sub_calls=True)
    assert (response.answer, len(sub.calls), response.cache_hits) == ("50", 1, 49)


@fault(47)
def test_items_of_a_batch_can_be_children() -> None:
    def respond(messages: list[BaseMessage]) -> str:
        if "piece" in messages[1].text:
            return cell("FINAL(len(context))")
        return cell("FINAL(rlm_query_batch(['piece', 'piece'], ['xx', 'xxxx']))")

    config = RLMConfig(max_recursion_depth=3)
    model = ScriptedChatModel(respond=respond)
    assert json.loads(RLM(model, config=config).generate("What?", "c").answer) == ["2", "4"]


@fault(48)
def test_a_long_text_for_a_child_is_its_context() -> None:
    def respond(messages: list[BaseMessage]) -> str:
        if "piece" in messages[1].text:
            return cell("FINAL(len(context))")
        return cell("FINAL(rlm_query('piece', 'Q' * 400_000))")

    model = ScriptedChatModel(respond=respond)
    response = RLM(model, config=RLMConfig(max_recursion_depth=2)).generate("What?", "c")
    assert response.answer == "400000"
    assert max(len(str(call)) for call in model.calls) < 50_000


@fault(49)
def test_a_prompt_that_is_too_long_is_refused_and_never_cut() -> None:
    sub = ScriptedChatModel(replies=["reply"])
    response = run([cell("llm_query('x' * 600_000)"), "FINAL(x)"], sub=sub)
    assert "500,000" in errors(response)
    assert not sub.calls


@fault(50)
def test_after_a_cancel_and_after_a_timeout_no_call_is_begun() -> None:
    begun = threading.Event()

    def respond(_: list[BaseMessage]) -> str:
        begun.set()
        time.sleep(0.05)
        return "reply"

    calls = cell("for n in range(1000): llm_query(str(n))")

    async def cancelled() -> int:
        sub = ScriptedChatModel(respond=respond)
        task = asyncio.create_task(make([calls], sub=sub).agenerate("q", "some context"))
        await asyncio.to_thread(begun.wait)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        count = len(sub.calls)
        await asyncio.sleep(0.3)
        return len(sub.calls) - count

    assert asyncio.run(cancelled()) <= 1  # one may have been on its way to its thread
    sub = ScriptedChatModel(respond=respond)
    busy = "import time\nfor n in range(1000):\n    llm_query(str(n))\n    time.sleep(0.2)"
    response = run([cell(busy), "FINAL(x)"], sub=sub, sandbox_timeout=1)
    count = len(sub.calls)
    time.sleep(0.3)
    assert response.trajectory[0].cells[0].status == "timeout"
    assert len(sub.calls) == count


@fault(51)
def test_a_model_that_only_delegates_meets_the_limits_of_the_whole_tree() -> None:
    model = ScriptedChatModel(replies=[cell("for n in range(6): rlm_query(str(n), 'text')")])
    config = RLMConfig(max_recursion_depth=3, max_iterations=6, max_sub_calls=10)
    response = RLM(model, config=config).generate("What?", "context")
    assert response.sub_calls == 10
    assert len(model.calls) <= 11 * (6 + 1)


@fault(52)
def test_sub_calls_take_what_models_pass_or_say_what_to_write() -> None:
    calls = "llm_query(prompt='count') + llm_query('count', model='small')"
    root = ScriptedChatModel(replies=[cell("llm_query('count', context)"), cell(f"FINAL({calls})")])
    sub, small = (ScriptedChatModel(replies=[name]) for name in ("sub ", "small"))
    response = RLM(root, sub_model=sub, models={"small": small}).generate("What?", "context")
    assert response.answer == "sub small"
    assert 'llm_query(f"{question}\\n\\n{text}")' in errors(response)


# Robustness and reports ------------------------------------------------------------------------


@fault(53)
def test_a_model_needs_no_more_than_langchain_asks_of_it() -> None:
    class Mine(SimpleChatModel):
        @property
        def _llm_type(self) -> str:
            return "mine"

        def _call(self, messages: list[BaseMessage], *_: Any, **__: Any) -> str:
            return "FINAL(42)"

    assert RLM(Mine()).generate("What?", "context").answer == "42"


@fault(54)
def test_a_root_call_that_fails_once_is_made_again() -> None:
    response = run([cell("kept = 1"), ConnectionError("503"), cell("FINAL(kept)")])
    assert (response.answer, response.stop_reason) == ("1", "answered")


@fault(55)
def test_a_callback_that_fails_ends_no_run() -> None:
    def failing(event: Any) -> None:
        raise KeyError(event.type)

    rlm = make([cell("print(1)"), "FINAL(x)"])
    assert rlm.generate("q", "some context", on_event=failing).answer == "x"


@fault(56)
def test_an_error_after_much_output_is_seen() -> None:
    code = "for n in range(3000): print('line', n)\nraise ValueError('the reason')"
    response = run([cell(code), "FINAL(x)"])
    assert "the reason" in (response.trajectory[0].observation or "")


@fault(57)
def test_a_long_conversation_is_compacted() -> None:
    replies = [f"{'thought ' * 2500}\n{cell(f'print({n})')}" for n in range(20)]
    summary = ScriptedChatModel(respond=lambda _: "notes")
    root = ScriptedChatModel(replies=[*replies, "FINAL(x)"])
    config = RLMConfig(compact_above_tokens=20_000)
    RLM(root, sub_model=summary, config=config).generate("What?", "context")
    assert max(len(str([m.content for m in call])) for call in root.calls) < 200_000


@fault(58)
def test_a_long_list_makes_no_long_prompt() -> None:
    rlm = make(["FINAL(x)"])
    rlm.generate("What?", [f"text {n}" for n in range(20_000)])
    assert isinstance(rlm.root_model, ScriptedChatModel)
    assert sum(len(str(message.content)) for message in rlm.root_model.calls[0]) < 10_000


@fault(59)
@pytest.mark.parametrize("context", [[1, 2], b"bytes", None])
def test_a_wrong_context_is_refused_before_any_call(context: Any) -> None:
    rlm = make(["FINAL(x)"])
    with pytest.raises(ConfigurationError, match=r"context"):
        rlm.generate("What?", context)
    assert isinstance(rlm.root_model, ScriptedChatModel)
    assert not rlm.root_model.calls


@fault(60)
def test_names_that_a_cell_has_overwritten_come_back() -> None:
    code = "llm_query = None\nFINAL = None"
    assert run([cell(code), cell("FINAL(llm_query('again'))")]).answer == "reply"


@fault(61)
def test_a_response_without_choices_is_one_failed_call() -> None:
    outcomes = iter([Fault("empty_choices"), Reply("FINAL(42)")])
    with OpenAIServer(lambda _: next(outcomes)) as server:
        model = ChatOpenAI(model="m", base_url=server.base_url, api_key=SecretStr("k"))
        response = RLM(model).generate("What?", "context")
        model.root_client.close()
    assert (response.answer, response.iterations) == ("42", 2)


@fault(62)
def test_the_history_has_the_final_turn() -> None:
    response = run([cell("print(1)"), "FINAL(the end)"])
    assert "FINAL(the end)" in str(response.history)
    assert response.trajectory[-1].reply == "FINAL(the end)"


@fault(63)
def test_reasoning_effort_reaches_sub_calls_and_no_limit_is_sent_unasked() -> None:
    rlm = make([cell("FINAL(llm_query('x'))")], reasoning_effort="high", sub_reasoning_effort="low")
    rlm.generate("What?", "context")
    (root,), (sub,) = (model.call_kwargs for model in (rlm.root_model, rlm.sub_model))
    assert (root["reasoning_effort"], sub["reasoning_effort"]) == ("high", "low")
    assert not {"max_tokens", "max_completion_tokens"} & (set(root) | set(sub))


def test_no_fault_is_left_out() -> None:
    assert list(range(1, 64)) == TESTED
