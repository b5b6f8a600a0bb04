"""What every `Sandbox` must do, as tests that any sandbox can inherit.

The tests go through `RLM`, so they need nothing but a sandbox: they show that runs work in it, not
how it does it. They are written in the manner of langchain-tests: subclass, say how to make one,
and switch off by property what your sandbox cannot have.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from langchain_replm.config import RLMConfig
from langchain_replm.runnable import RLM
from langchain_replm.sandbox.base import GUARANTEES
from langchain_replm.testing.scripted import ScriptedChatModel

if TYPE_CHECKING:
    from langchain_replm.sandbox.base import Sandbox
    from langchain_replm.types import RLMResponse


class SandboxStandardTests(ABC):
    """Inherit from this in a pytest module to test a sandbox.

    Example:
        ```python
        from langchain_replm.sandbox.process import ProcessSandbox
        from langchain_replm.testing import SandboxStandardTests


        class TestMySandbox(SandboxStandardTests):
            def make_sandbox(self):
                return ProcessSandbox()


        TestMySandbox().test_variables_stay_from_cell_to_cell()
        ```
    """

    @abstractmethod
    def make_sandbox(self) -> Sandbox:
        """A sandbox of the kind under test."""

    @property
    def supports_threads(self) -> bool:
        """Cells may start threads that call `llm_query`."""
        return True

    @property
    def supports_interrupt(self) -> bool:
        """A Python loop over its time is stopped without losing the variables."""
        return True

    @property
    def supports_imports(self) -> bool:
        """Cells may import `statistics`, `io` and `textwrap`."""
        return True

    @property
    def timeout_seconds(self) -> float:
        """`sandbox_timeout` of the tests that run into it."""
        return 1.0

    @property
    def deadly_cell(self) -> str | None:
        """A cell that ends its own worker; None where no cell can do so."""
        return None

    # How the tests run cells.

    def run(self, *cells: str, context: Any = "some text", **config: Any) -> RLMResponse:
        """Run cells, one in each reply; the last one has to submit."""
        return self.make_rlm(cells, config).generate("q", context)

    def make_rlm(self, cells: tuple[str, ...], config: dict[str, Any]) -> RLM:
        """An `RLM` whose root writes these cells, with a sub-model that answers in upper case."""
        replies = [f"```repl\n{inspect.cleandoc(code)}\n```" for code in cells]
        return RLM(
            ScriptedChatModel(replies=replies),
            sub_model=ScriptedChatModel(respond=_answer),
            sandbox=self.make_sandbox(),
            config=RLMConfig(**config),
        )

    def observed(self, response: RLMResponse, number: int = 1) -> str:
        """What the root model saw of a reply."""
        return response.trajectory[number - 1].observation or ""

    # The tests.

    def test_no_test_is_overridden_DO_NOT_OVERRIDE(self) -> None:  # noqa: N802 - as langchain-tests
        """A standard test that a subclass replaces proves nothing."""
        own = [name for name in vars(type(self)) if name.startswith("test_")]
        replaced = [name for name in own if hasattr(SandboxStandardTests, name)]
        assert not replaced, f"standard tests must not be overridden: {replaced}"

    def test_guarantees_name_every_one(self) -> None:
        """`guarantees` says of each guarantee by what means it holds, or None."""
        found = self.make_sandbox().guarantees()
        assert set(found) == set(GUARANTEES)
        assert all(means is None or means for means in found.values())

    def test_the_root_model_is_told_what_cells_may_do(self) -> None:
        """`describe` is a sentence or two for the prompt."""
        assert 20 < len(self.make_sandbox().describe()) < 1_000  # noqa: PLR2004 - two sentences

    def test_variables_stay_from_cell_to_cell(self) -> None:
        """The namespace is one."""
        assert self.run("a = 2", "b = a + 3", "FINAL(a * b)").answer == "10"

    def test_output_is_shown_and_the_last_expression_echoed(self) -> None:
        """`print` and a bare last expression, as in Jupyter."""
        response = self.run("print('printed', 1)\n6 * 7", "FINAL('ok')")
        assert "printed 1" in self.observed(response)
        assert "42" in self.observed(response)

    def test_the_context_arrives_unchanged(self) -> None:
        """Text of every width, and a list of texts."""
        text = "naïve 漢字 \U0001f989\n" * 2_000
        response = self.run("FINAL([len(context), context[6:8], context[-3:]])", context=text)
        assert json.loads(response.answer) == [len(text), text[6:8], text[-3:]]
        documents = ["one", "zwei ä", ""]
        assert json.loads(self.run("FINAL(context[:])", context=documents).answer) == documents

    def test_a_large_context_arrives(self) -> None:
        """Five million characters."""
        response = self.run("FINAL([len(context), context[-5:]])", context="0123456789" * 500_000)
        assert json.loads(response.answer) == [5_000_000, "56789"]

    def test_sub_calls(self) -> None:
        """One call, and a batch in order with a failed item in its slot."""
        cell = """
            one = llm_query('one')
            many = llm_query_batch(['a', 'fail', 'c'])
            good = [item for item in many if isinstance(item, str)]
            FINAL([one, len(many), good])
        """
        response = self.run(cell)
        assert json.loads(response.answer) == ["ONE", 3, ["A", "C"]]
        assert response.sub_calls == 4  # noqa: PLR2004 - one and three

    def test_sub_calls_from_threads(self) -> None:
        """Calls of threads are served while others are running."""
        if not self.supports_threads:
            return
        cell = """
            from concurrent.futures import ThreadPoolExecutor
            with ThreadPoolExecutor(4) as pool:
                found = list(pool.map(llm_query, ['a', 'b', 'c', 'd']))
            FINAL(found)
        """
        assert json.loads(self.run(cell).answer) == ["A", "B", "C", "D"]

    def test_an_error_is_shown_and_keeps_the_variables(self) -> None:
        """What was assigned before the error is there."""
        response = self.run("kept = 1\n1 / 0\nlost = 2", "FINAL(kept)")
        assert response.answer == "1"
        assert "ZeroDivisionError" in self.observed(response)

    def test_reserved_names_come_back(self) -> None:
        """A cell cannot take `context` or `llm_query` away from the next one."""
        response = self.run("context = 1\nllm_query = 2", "FINAL([context, llm_query('x')])")
        assert json.loads(response.answer) == ["some text", "X"]

    def test_answers_of_every_kind(self) -> None:
        """Text stays as it is; everything else becomes JSON."""
        assert self.run("FINAL('a \"b\"')").answer == 'a "b"'
        assert json.loads(self.run("FINAL({'n': [1, 2.5, None, True]})").answer) == {
            "n": [1, 2.5, None, True]
        }
        assert self.run("found = 'x y'", "FINAL_VAR('found')").answer == "x y"
        assert self.run("answer['content'] = 'z'\nanswer['ready'] = True").answer == "z"

    def test_a_flood_of_output_is_bounded(self) -> None:
        """The observation is short, says what is missing, and the run goes on."""
        cell = "for i in range(20_000): print('x' * 100)"
        response = self.run(cell, "FINAL('dry')", metadata_prefix_chars=1_000)
        assert response.answer == "dry"
        assert "left out" in self.observed(response)
        assert len(self.observed(response)) < 4_000  # noqa: PLR2004 - bounded, whatever was printed

    def test_common_modules_can_be_imported(self) -> None:
        """What root models import most."""
        modules = "re, json, math, collections, itertools, datetime"
        more = ", statistics, io, textwrap" if self.supports_imports else ""
        cell = f"import {modules}{more}\nFINAL(re.findall('[0-9]+', 'a1b22'))"
        if not self.supports_imports:
            cell = "import re, json, math\nFINAL(re.findall('[0-9]+', 'a1b22'))"
        assert json.loads(self.run(cell).answer) == ["1", "22"]

    def test_a_cell_over_its_time_is_stopped(self) -> None:
        """The run goes on, with the variables of the cells before."""
        response = self.run(
            "kept = 1",
            "while True: pass",
            "FINAL(kept)",
            sandbox_timeout=self.timeout_seconds,
        )
        assert response.answer == "1"
        assert response.trajectory[1].cells[0].status == "timeout"
        restarted = "restarted" in self.observed(response, 2)
        assert restarted is not self.supports_interrupt

    def test_a_dead_worker_is_replaced(self) -> None:
        """The run goes on in a new worker, with the variables and replies of the old one."""
        if self.deadly_cell is None:
            return
        response = self.run(
            "kept = llm_query('once')\norder = list({f'w{n}' for n in range(20)})",
            self.deadly_cell,
            "FINAL([kept, order == list({f'w{n}' for n in range(20)})])",
        )
        assert response.trajectory[1].cells[0].status == "died"
        assert json.loads(response.answer) == ["ONCE", True]
        assert response.sub_calls == 1
        assert "restarted" in self.observed(response, 2)

    def test_equal_runs_are_equal(self) -> None:
        """Replay needs it: sets have the same order in every session."""
        cell = "FINAL([str(item) for item in {f'w{n}' for n in range(30)}])"
        assert self.run(cell).answer == self.run(cell).answer

    def test_a_wide_batch_comes_back_in_order(self) -> None:
        """Two hundred sub-calls at once."""
        cell = "FINAL(llm_query_batch([f'p{n}' for n in range(200)]))"
        response = self.run(cell)
        assert json.loads(response.answer) == [f"P{n}" for n in range(200)]

    def test_a_huge_error_is_bounded(self) -> None:
        """An exception may carry the whole context in its message."""
        response = self.run("raise ValueError('x' * 1_000_000)", "FINAL('on')")
        assert response.answer == "on"
        assert len(self.observed(response)) < 20_000  # noqa: PLR2004 - bounded

    def test_text_that_no_encoding_has_is_replaced(self) -> None:
        """A lone surrogate in an answer would break the next request; refusing it will do, too."""
        response = self.run("print(chr(0xD800))\nFINAL('a' + chr(0xDFFF) + 'b')", "FINAL('abc')")
        assert len(response.answer) == 3  # noqa: PLR2004 - replaced, not lost
        response.to_json().encode()

    def test_cancelling_ends_a_running_cell(self) -> None:
        """The caller has its `CancelledError`, and the cell is over."""

        async def cancel() -> bool:
            rlm = self.make_rlm(("while True: pass",), {"sandbox_timeout": 60.0})
            running = asyncio.ensure_future(rlm.agenerate("q", "some text"))
            await asyncio.sleep(0.5)  # the cell burns, or is about to
            running.cancel()
            done, _ = await asyncio.wait({running}, timeout=30.0)
            return bool(done) and running.cancelled()

        assert asyncio.run(cancel())

    def test_runs_at_the_same_time_share_nothing(self) -> None:
        """Both colours."""
        rlm = self.make_rlm(("print(context)\nFINAL(context)",), {})
        given: list[Any] = [{"query": "q", "context": f"text {n}"} for n in range(4)]
        rlm.root_model.replies = ["```repl\nprint(context)\nFINAL(context)\n```"]  # type: ignore[union-attr]  # ours
        for responses in (rlm.batch(given), asyncio.run(rlm.abatch(given))):
            assert [response.answer for response in responses] == [g["context"] for g in given]


def _answer(messages: list[Any]) -> Any:
    text = messages[-1].content
    return RuntimeError("no answer to this") if text == "fail" else text.upper()
