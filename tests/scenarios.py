"""Runs that every entry point must answer alike. Written once, run through all of them.

A scenario is a function that makes a fresh `RLM`, a query and a context. `play` runs it through
one entry point; the response without its times must be the same for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel
from typing_extensions import TypedDict

from langchain_replm import (
    RLM,
    AnswerValidationError,
    LimitExceededError,
    ModelPrice,
    RLMConfig,
    RLMResponse,
)
from langchain_replm.state import make_response
from langchain_replm.testing import ScriptedChatModel

TEXT = "".join(f"line {n}: the heron stands still\n" for n in range(2_000))


def cell(*lines: str) -> str:
    return "```repl\n" + "\n".join(lines) + "\n```"


def echo(messages: list[Any]) -> str:
    """A sub-model whose reply depends on nothing but the prompt."""
    return f"read {len(messages[-1].content)}: {messages[-1].content[:20]}"


def flaky(messages: list[Any]) -> Any:
    text = messages[-1].content
    return RuntimeError("overloaded") if "bad" in text else f"ok {text}"


@dataclass(frozen=True)
class Scenario:
    replies: list[Any]
    sub: Callable[[list[Any]], Any] = echo
    context: Any = TEXT
    config: dict[str, Any] | None = None
    answer: str = ""
    stop_reason: str = "answered"
    sub_calls: int = 0
    tools: tuple[Any, ...] = ()
    response_format: Any = None


class Sighting(BaseModel):
    bird: str
    lines: int


def add(first: int, second: int = 1) -> int:
    """Add two numbers."""
    return first + second


SCENARIOS: dict[str, Scenario] = {
    "final_in_cell": Scenario([cell("FINAL(context.count('heron'))")], answer="2000"),
    "several_iterations": Scenario(
        [
            cell("lines = context.splitlines()", "print(len(lines))"),
            cell("best = [l for l in lines if '1999' in l]", "best"),
            cell("FINAL(best[0])"),
        ],
        answer="line 1999: the heron stands still",
    ),
    "sub_call": Scenario(
        [cell("r = llm_query('what? ' + context[:100])", "print(r)"), cell("FINAL(r)")],
        answer="read 106: what? line 0: the he",
        sub_calls=1,
    ),
    "batch_in_order": Scenario(
        [cell("FINAL(llm_query_batch([f'p{i}' for i in range(40)])[39])")],
        answer="read 3: p39",
        sub_calls=40,
    ),
    "batch_with_failures": Scenario(
        [
            cell("r = llm_query_batch(['a', 'bad', 'c'])"),
            cell("FINAL([type(x).__name__ if isinstance(x, SubCallError) else x for x in r])"),
        ],
        sub=flaky,
        answer='["ok a", "SubCallError", "ok c"]',
        sub_calls=3,
    ),
    "single_failure_raises": Scenario(
        [
            cell("try:", "    llm_query('bad')", "except SubCallError as e:", "    why = str(e)"),
            cell("FINAL('overloaded' in why)"),
        ],
        sub=flaky,
        answer="true",
        sub_calls=1,
    ),
    "threads_in_a_cell": Scenario(
        [
            cell(
                "from concurrent.futures import ThreadPoolExecutor",
                "with ThreadPoolExecutor(8) as pool:",
                "    r = list(pool.map(llm_query, [f't{i}' for i in range(16)]))",
                "FINAL(r[15])",
            )
        ],
        answer="read 3: t15",
        sub_calls=16,
    ),
    "cache": Scenario(
        [cell("FINAL(len(set(llm_query_batch(['same'] * 10) + [llm_query('same')])))")],
        config={"cache_sub_calls": True},
        answer="1",
        sub_calls=1,
    ),
    "sub_call_limit": Scenario(
        [
            cell("r = llm_query_batch([f'x{i}' for i in range(10)])"),
            cell("FINAL(sum(isinstance(x, str) for x in r))"),
        ],
        config={"max_sub_calls": 4},
        answer="4",
        stop_reason="max_sub_calls",
        sub_calls=4,
    ),
    "token_limit": Scenario(
        [
            cell(
                "read = []",
                "try:",
                "    while True:",
                "        read.append(llm_query('x' * 40_000))",
                "except SubCallError as e:",
                "    why = str(e)",
            ),
            cell("FINAL(['tokens' in why, len(read)])"),
        ],
        config={"max_total_tokens": 65_000, "root_max_tokens": 500, "sub_max_tokens": 500},
        answer="[true, 4]",
        stop_reason="max_tokens",
        sub_calls=4,
    ),
    "cost_limit": Scenario(
        [
            cell(
                "read = []",
                "try:",
                "    while True:",
                "        read.append(llm_query('x' * 40_000))",
                "except SubCallError as e:",
                "    why = str(e)",
            ),
            cell("FINAL(['money' in why, len(read)])"),
        ],
        config={
            "max_cost_usd": 0.30,
            "root_max_tokens": 500,
            "sub_max_tokens": 500,
            "prices": {
                "root": ModelPrice(input_usd_per_million=1.0, output_usd_per_million=10.0),
                "sub": ModelPrice(input_usd_per_million=5.0, output_usd_per_million=5.0),
            },
        },
        answer="[true, 4]",
        stop_reason="max_cost",
        sub_calls=4,
    ),
    "tool_limit_does_not_end_the_run": Scenario(
        [
            cell(
                "try:",
                "    print(add(1), add(2), add(3))",
                "except Exception as e:",
                "    print(e)",
            ),
            cell("FINAL('went on')"),
        ],
        tools=(add,),
        config={"max_tool_calls": 2},
        answer="went on",
    ),
    "iteration_limit_closes_with_a_cell": Scenario(
        [cell("n = 1"), cell("n += 1"), cell("FINAL(n)")],
        config={"max_iterations": 2},
        answer="2",
        stop_reason="max_iterations",
    ),
    "iteration_limit_closes_with_prose": Scenario(
        [cell("n = 1"), "The text does not say."],
        config={"max_iterations": 1},
        answer="The text does not say.",
        stop_reason="max_iterations",
    ),
    "iteration_limit_error": Scenario(
        [cell("n = 1"), cell("n = 2"), cell("n = 3")],
        config={"max_iterations": 2, "exit_behavior": "error"},
        stop_reason="max_iterations",
    ),
    "cell_error_is_repaired": Scenario(
        [cell("kept = 7", "1 / 0"), cell("FINAL(kept)")], answer="7"
    ),
    "nudged": Scenario(["Let me think about it.", cell("FINAL('done')")], answer="done"),
    "text_final": Scenario(
        [cell("print(context[:20])"), "I have read it.\n\nFINAL(a heron that stands still)"],
        answer="a heron that stands still",
    ),
    "text_final_var": Scenario([cell("found = context[:6]"), "FINAL_VAR(found)"], answer="line 0"),
    "first_answer_is_held": Scenario(
        ["FINAL(a guess of mine)", cell("FINAL(len(context))")], answer=str(len(TEXT))
    ),
    "final_beside_a_cell_does_not_count": Scenario(
        [cell("x = 5", "print(x)") + "\n\nFINAL(it is six)", cell("FINAL(x)")], answer="5"
    ),
    "root_fails_once": Scenario(
        [RuntimeError("overloaded"), cell("FINAL('still here')")], answer="still here"
    ),
    "root_fails_later_for_ever": Scenario(
        [cell("x = 1"), RuntimeError("gone")], answer="", stop_reason="errors"
    ),
    "documents": Scenario(
        [cell("FINAL([type(context).__name__, len(context), context_metadata[1]['source']])")],
        context=[
            Document("one", metadata={"source": "a.txt"}),
            Document("two", metadata={"source": "b.txt"}),
        ],
        answer='["list", 2, "b.txt"]',
    ),
    "no_sub_calls": Scenario(
        [cell("FINAL('llm_query' in dir())")], config={"enable_sub_calls": False}, answer="false"
    ),
    "tool": Scenario([cell("FINAL(add(2, second=3) + add(1))")], tools=(add,), answer="7"),
    "recursion": Scenario(
        [cell("FINAL(rlm_query('how long?', context[:100]))")],
        sub=lambda messages: cell("FINAL(len(context))"),
        config={"max_recursion_depth": 2},
        answer="100",
        sub_calls=1,
    ),
    "tool_call_is_explained": Scenario(
        [
            AIMessage("", tool_calls=[{"name": "python", "args": {"code": "1"}, "id": "1"}]),
            cell("FINAL('fence')"),
        ],
        answer="fence",
    ),
    "typed_answer_is_mended": Scenario(
        [
            cell("n = context.count('heron')", "FINAL({'bird': 'heron', 'lines': 'many'})"),
            cell("FINAL({'bird': 'heron', 'lines': n})"),
        ],
        response_format=Sighting,
        answer='{"bird": "heron", "lines": 2000}',
    ),
    "typed_answer_is_never_given": Scenario(
        [cell("FINAL({'bird': 'heron'})"), "I cannot say how many."],
        response_format=Sighting,
        config={"max_iterations": 1},
        answer="I cannot say how many.",
        stop_reason="max_iterations",
    ),
    "candidates_agree": Scenario(
        [cell("FINAL(len(llm_query_batch(['a', 'b'])) + context.count('heron'))")],
        config={"n_candidates": 3},
        answer="2002",
        sub_calls=6,
    ),
    "typed_map": Scenario(
        [cell("FINAL(sum(llm_map(range(20), 'Length of {item}', schema=int)))")],
        sub=lambda messages: "3" if "<reply " in messages[0].content else messages[0].content[10],
        answer=str(sum(int(str(n)[0]) for n in range(20))),
        sub_calls=20,
    ),
    "stale_variable_is_held": Scenario(
        [cell("best = context.index('stork')"), "FINAL_VAR(best)", cell("FINAL('none')")],
        answer="none",
    ),
    "conversation_is_compacted": Scenario(
        [
            *(cell(f"n = {n}", "print(context[:6000])") for n in range(3)),
            "Notes: `n` holds the number.",
            cell("FINAL(n)"),
        ],
        config={"compact_above_tokens": 6_000},
        answer="2",
    ),
    "direct": Scenario(
        ["<think>Short.</think>\n\nIt stands still."],
        context="The heron stands still.",
        config={"direct_below_chars": 100},
        answer="It stands still.",
    ),
    "direct_and_typed": Scenario(
        ["A heron, once.", '```json\n{"bird": "heron", "lines": 1}\n```'],
        context=[Document("a heron", metadata={"source": "a.txt"})],
        config={"direct_below_chars": 100},
        response_format=Sighting,
        answer='```json\n{"bird": "heron", "lines": 1}\n```',
    ),
    "direct_fails_and_closes": Scenario(
        [RuntimeError("overloaded"), "", "Still nothing."],
        context="The heron stands still.",
        config={"direct_below_chars": 100, "max_iterations": 2},
        answer="Still nothing.",
        stop_reason="max_iterations",
    ),
    "typed_answer_error": Scenario(
        [cell("FINAL({'bird': 'heron'})")],
        response_format=Sighting,
        config={"max_iterations": 1, "exit_behavior": "error"},
        answer='{"bird": "heron"}',
        stop_reason="max_iterations",
    ),
}


def make(scenario: Scenario) -> RLM:
    return RLM(
        ScriptedChatModel(replies=scenario.replies, model_name="root"),
        sub_model=ScriptedChatModel(respond=scenario.sub, model_name="sub"),
        config=RLMConfig(**(scenario.config or {})),
        tools=list(scenario.tools),
        response_format=scenario.response_format,
    )


QUERY = "What does the heron do?"


class Parent(TypedDict, total=False):
    query: str
    context: Any
    answer: str
    stop_reason: str
    trajectory: list[Any]
    variables: dict[str, str]
    sandbox_missing: list[str]
    asked: dict[str, Any]
    structured_response: Any


def as_node(rlm: RLM) -> Any:
    builder = StateGraph(Parent)
    builder.add_node("rlm", rlm.graph)
    builder.add_edge(START, "rlm")
    builder.add_edge("rlm", END)
    return builder.compile()


async def play(scenario: Scenario, entry: str, **parameters: Any) -> RLMResponse:
    """The response of one scenario through one entry point."""
    rlm = make(scenario).model_copy(update=parameters)
    given = {"query": QUERY, "context": scenario.context}
    try:
        return await _ENTRIES[entry](rlm, given)
    except (LimitExceededError, AnswerValidationError) as error:
        return error.partial


async def _stream(rlm: RLM, given: Any) -> RLMResponse:
    return list(rlm.stream(given))[-1]


async def _astream(rlm: RLM, given: Any) -> RLMResponse:
    return [item async for item in rlm.astream(given)][-1]


async def _stream_generate(rlm: RLM, given: Any) -> RLMResponse:
    return list(rlm.stream_generate(**given))[-1].detail["response"]


async def _astream_generate(rlm: RLM, given: Any) -> RLMResponse:
    return [chunk async for chunk in rlm.astream_generate(**given)][-1].detail["response"]


async def _invoke(rlm: RLM, given: Any) -> RLMResponse:
    return rlm.invoke(given)


async def _ainvoke(rlm: RLM, given: Any) -> RLMResponse:
    return await rlm.ainvoke(given)


async def _batch(rlm: RLM, given: Any) -> RLMResponse:
    return rlm.batch([given])[0]


async def _abatch(rlm: RLM, given: Any) -> RLMResponse:
    return (await rlm.abatch([given]))[0]


async def _generate(rlm: RLM, given: Any) -> RLMResponse:
    return rlm.generate(**given, on_event=lambda event: None)


async def _agenerate(rlm: RLM, given: Any) -> RLMResponse:
    return await rlm.agenerate(**given, on_event=lambda event: None)


async def _node(rlm: RLM, given: Any) -> RLMResponse:
    return _of_graph(rlm, as_node(rlm).invoke(given))


async def _anode(rlm: RLM, given: Any) -> RLMResponse:
    return _of_graph(rlm, await as_node(rlm).ainvoke(given))


def _of_graph(rlm: RLM, state: dict[str, Any]) -> RLMResponse:
    return make_response(state, rlm.graph.settings.response_format)


async def _chain(rlm: RLM, given: Any) -> RLMResponse:
    return (RunnableLambda(lambda item: item) | rlm).invoke(given)


_ENTRIES: dict[str, Callable[[RLM, Any], Any]] = {
    "invoke": _invoke,
    "ainvoke": _ainvoke,
    "stream": _stream,
    "astream": _astream,
    "batch": _batch,
    "abatch": _abatch,
    "generate": _generate,
    "agenerate": _agenerate,
    "stream_generate": _stream_generate,
    "astream_generate": _astream_generate,
    "node": _node,
    "anode": _anode,
    "chain": _chain,
}
ENTRIES = list(_ENTRIES)


def comparable(response: RLMResponse) -> dict[str, Any]:
    """The response without times."""

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            if "host_calls" in value:  # threads of a cell call in no fixed order
                calls = sorted(value["host_calls"], key=lambda call: call["request_sha256"])
                value = {**value, "host_calls": calls}
            if value.get("role") == "sub_call":
                return {"role": "sub_call", "iteration": value["iteration"]}
            return {key: strip(item) for key, item in value.items() if not key.endswith("_seconds")}
        return [strip(item) for item in value] if isinstance(value, list) else value

    stripped: dict[str, Any] = strip(response.to_dict())
    return stripped
