"""What is asked of models, tools and child runs, and what their replies become."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.errors import GraphInterrupt
from pydantic import BaseModel

from langchain_replm._effects import Datum
from langchain_replm._requests import (
    ERROR_CHARS,
    Call,
    lane_of,
    root_kwargs,
    runs_child,
    setup_maker,
    stream_kwargs,
    sub_kwargs,
)
from langchain_replm._subcalls import CallOutcome, CallRequest
from langchain_replm.config import RLMConfig
from langchain_replm.context_store import MemoryContextStore, check_context, make_handle
from langchain_replm.errors import ContextNotFoundError
from langchain_replm.scope import OPTIONS_KEY
from langchain_replm.testing import ScriptedChatModel
from langchain_replm.types import Cell, HostCall, Iteration, SubCall
from tests.unit_tests._nodes.by_hand import handle_of, scope_for, usage


def request(kind: Any = "llm_query", prompt: str = "p", **fields: Any) -> CallRequest:
    return CallRequest(call_id=1, index=0, kind=kind, prompt=prompt, **fields)


def make(asked: CallRequest | None = None, **scope: Any) -> Call:
    return Call(scope_for(**scope), asked or request(), iteration=3)


def done(call: Call, result: Any) -> CallOutcome:
    return call.done(result, time.monotonic())


# -- sampling --------------------------------------------------------------------------------------


def test_what_is_none_is_not_sent() -> None:
    assert root_kwargs(RLMConfig()) == {}
    assert sub_kwargs(RLMConfig()) == {}


def test_root_and_sub_models_have_their_own_parameters() -> None:
    config = RLMConfig(
        temperature=0.0,
        root_max_tokens=100,
        reasoning_effort="high",
        sub_temperature=0.5,
        sub_max_tokens=10,
        sub_reasoning_effort="low",
    )
    assert root_kwargs(config) == {
        "temperature": 0.0, "max_tokens": 100, "reasoning_effort": "high",
    }  # fmt: skip
    assert sub_kwargs(config) == {"temperature": 0.5, "max_tokens": 10, "reasoning_effort": "low"}


class Switched(ScriptedChatModel):
    """A model that counts the tokens of a stream only when asked, as `ChatOpenAI` does."""

    stream_usage: bool | None = None


def test_a_stream_is_asked_for_its_token_counts_unless_the_user_has_decided() -> None:
    plain: BaseChatModel = ScriptedChatModel()
    assert stream_kwargs(plain, {"a": 1}) == {"a": 1}, "an unknown parameter could be refused"
    assert stream_kwargs(Switched(), {"a": 1}) == {"a": 1, "stream_usage": True}
    assert stream_kwargs(Switched(stream_usage=False), {"a": 1}) == {"a": 1}
    assert stream_kwargs(Switched(stream_usage=None), {}) == {}


# -- lanes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "depth", "most", "lane"),
    [
        ("llm_query", 0, 1, "model"),
        ("llm_query", 1, 3, "model"),
        ("tool", 0, 1, "tool"),
        ("rlm_query", 0, 1, "model"),
        ("rlm_query", 0, 2, "depth-1"),
        ("rlm_query", 1, 2, "model"),
        ("rlm_query", 1, 3, "depth-2"),
    ],
)
def test_a_child_run_never_takes_a_place_that_its_own_calls_need(
    kind: str, depth: int, most: int, lane: str
) -> None:
    scope = scope_for(depth=depth, max_recursion_depth=most)
    assert lane_of(request(kind), scope) == lane
    assert runs_child(request(kind), scope) == lane.startswith("depth")


# -- a model ---------------------------------------------------------------------------------------


def test_a_sub_call_asks_the_sub_model_with_its_parameters() -> None:
    sub = ScriptedChatModel()
    call = make(sub=sub, sub_temperature=0.25, depth=1)
    assert call.target is sub
    assert (call.input, call.kwargs) == ("p", {"temperature": 0.25})
    assert call.config["run_name"] == "llm_query"
    assert call.config["metadata"] == {"rlm_role": "sub", "rlm_iteration": 3, "rlm_depth": 1}
    assert "callbacks" not in call.config, "the ambient ones are taken; twice would trace twice"


def test_a_named_model_is_used() -> None:
    zoom = ScriptedChatModel(model_name="zoom")
    assert make(request(model="zoom"), models={"zoom": zoom}).target is zoom


def test_a_child_query_at_the_last_depth_is_a_sub_call() -> None:
    call = make(request("rlm_query"), depth=1, max_recursion_depth=2)
    assert call.input == "p"
    assert call.config["run_name"] == "llm_query"


def test_a_reply_becomes_text_model_and_usage() -> None:
    message = AIMessage(
        [{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "two"}],
        response_metadata={"model_name": "gpt-x-2026"},
        usage_metadata=usage(7, 3),
    )
    outcome = done(make(), message)
    assert (outcome.text, outcome.model, outcome.error) == ("two", "gpt-x-2026", None)
    assert (outcome.usage, outcome.sub_calls) == ({"gpt-x-2026": usage(7, 3)}, 1)
    assert outcome.elapsed_seconds >= 0


def test_a_reply_without_a_name_or_counts_goes_under_the_models_own_name() -> None:
    outcome = done(make(sub=ScriptedChatModel(model_name="mine")), AIMessage("two"))
    assert (outcome.model, outcome.usage) == ("mine", {})
    other = Call(scope_for(sub=object()), request(), iteration=1)
    assert done(other, AIMessage("two")).model == "object"


def test_what_is_no_message_of_a_model_is_a_failure_of_that_call() -> None:
    outcome = done(make(), HumanMessage("hi"))
    assert outcome.error == "the model returned a HumanMessage, not an AIMessage"
    assert outcome.sub_calls == 1


# -- failures --------------------------------------------------------------------------------------


def failed(error: Exception, asked: CallRequest | None = None) -> CallOutcome:
    add = tool(lambda n: n, description="d") if asked is None else None
    return make(asked, tools=[add] if add else []).failed(error, time.monotonic())


def test_an_error_is_named_and_charged() -> None:
    outcome = failed(ValueError("no"))
    assert (outcome.text, outcome.error, outcome.sub_calls) == ("", "ValueError: no", 1)


@pytest.mark.parametrize("size", [ERROR_CHARS - 1, ERROR_CHARS, ERROR_CHARS + 1, 100_000])
def test_an_error_page_is_shortened(size: int) -> None:
    error = failed(ValueError("x" * (size - len("ValueError: ")))).error
    assert error is not None
    assert len(error) == min(size, ERROR_CHARS)
    assert error.endswith("…") == (size > ERROR_CHARS)


def test_an_error_with_lone_surrogates_can_be_stored() -> None:
    assert failed(ValueError("\udcff")).error == "ValueError: ?"


def test_an_interrupt_is_no_failure() -> None:
    with pytest.raises(GraphInterrupt):
        failed(GraphInterrupt(()))


# -- a tool ----------------------------------------------------------------------------------------


@tool
def add(first: int, second: int = 1) -> int:
    """Add two numbers."""
    return first + second


def tool_call(**arguments: Any) -> Call:
    return make(request("tool", "add", arguments=arguments), tools=[add])


def test_a_tool_gets_its_arguments_and_keeps_its_own_name_in_traces() -> None:
    call = tool_call(first=2)
    assert call.target is add
    assert (call.input, call.kwargs) == ({"first": 2}, {})
    assert "run_name" not in call.config
    assert call.config["tags"] == ["rlm:tool"]
    assert call.target.invoke(call.input) == 3


class Point(BaseModel):
    x: int


class Odd:
    def __str__(self) -> str:
        return "odd"


@pytest.mark.parametrize(
    ("result", "data"),
    [
        (3, 3),
        ("text", "text"),
        (None, None),
        ([1, ("a", 2.5)], [1, ["a", 2.5]]),
        ({1: "one"}, {"1": "one"}),
        pytest.param(Point(x=1), {"x": 1}, id="a model"),
        pytest.param([{"p": Point(x=1)}], [{"p": {"x": 1}}], id="a model inside"),
        pytest.param(Odd(), "odd", id="an object becomes its text"),
        pytest.param({Odd}, "{<class", id="a set becomes its text"),
    ],
)
def test_the_result_of_a_tool_is_json(result: Any, data: Any) -> None:
    outcome = done(tool_call(first=1), result)
    assert (outcome.error, outcome.sub_calls, outcome.usage) == (None, 0, {})
    found = json.loads(outcome.text)
    if data == "{<class":
        assert found.startswith(data)
    else:
        assert found == data


@pytest.mark.parametrize("result", [{(1, 2): "pair"}, "recursive"])
def test_a_result_that_no_json_can_hold_is_a_failure_and_free(result: Any) -> None:
    if result == "recursive":
        result = []
        result.append(result)
    outcome = done(tool_call(first=1), result)
    assert outcome.error is not None
    assert outcome.error.startswith(("TypeError: ", "ValueError: "))
    assert (outcome.text, outcome.sub_calls) == ("", 0)


def test_a_tool_that_fails_is_no_sub_call() -> None:
    assert tool_call().failed(ValueError("no"), time.monotonic()).sub_calls == 0


# -- a child run -----------------------------------------------------------------------------------

CHILD = object()


def child_call(context: Any = "text") -> Call:
    asked = request("rlm_query", "q", context=context)
    return make(asked, max_recursion_depth=2, make_child=lambda: CHILD)


def child_state(answer: str, stop_reason: str = "answered") -> dict[str, Any]:
    item = SubCall(
        kind="llm_query", prompt="p", prompt_chars=1, status="ok", sub_calls=2,
        usage={"sub": usage(5, 1)},
    )  # fmt: skip
    cell = Cell(
        code="c",
        status="ok",
        host_calls=(HostCall(function="f", request_sha256="", items=(item,)),),
    )
    step = Iteration(number=1, reply="r", model="sub", usage=usage(10, 2), cells=(cell,))
    return {"answer": answer, "stop_reason": stop_reason, "trajectory": [step.model_dump()]}


def test_a_child_run_is_told_who_its_parent_is() -> None:
    scope = scope_for(max_recursion_depth=2, make_child=lambda: CHILD)
    call = Call(scope, request("rlm_query", "q", context=["a", "b"]), iteration=1)
    assert call.target is CHILD
    assert call.input == {"query": "q", "context": ["a", "b"]}
    assert call.kwargs == {}, "a child reads its own configuration"
    assert call.config["run_name"] == "rlm_query"
    assert call.config["configurable"][OPTIONS_KEY].parent is scope


def test_a_child_without_a_context_reads_its_query() -> None:
    assert child_call(context=None).input == {"query": "q", "context": "q"}
    assert child_call(context="").input["context"] == "", "an empty text is not no text"


def test_a_child_answers_with_all_that_it_has_cost() -> None:
    outcome = done(child_call(), child_state("two"))
    assert (outcome.text, outcome.error) == ("two", None)
    assert outcome.sub_calls == 3, "itself and its two"
    assert outcome.usage == {"sub": usage(15, 3)}
    assert [step.number for step in outcome.child] == [1]


@pytest.mark.parametrize(
    ("answer", "stop_reason", "failed"),
    [
        ("", "max_iterations", True),
        ("", "errors", True),
        ("half", "max_iterations", False),
        ("", "answered", False),
    ],
)
def test_a_child_without_an_answer_is_a_failure_that_was_paid_for(
    answer: str, stop_reason: str, failed: bool
) -> None:
    outcome = done(child_call(), child_state(answer, stop_reason))
    assert (outcome.error is not None) is failed
    if failed:
        assert stop_reason in (outcome.error or "")
    assert outcome.sub_calls == 3


# -- the setup of a worker -------------------------------------------------------------------------


def test_a_worker_is_told_functions_context_and_limits() -> None:
    store = MemoryContextStore()
    context = check_context(["one", "two"])
    handle = make_handle(context, preview_chars=100)
    make_setup = setup_maker(
        scope_for(store=store, tools=[add], metadata_prefix_chars=300), Datum(handle)
    )
    with pytest.raises(ContextNotFoundError):
        make_setup()  # the text is fetched when a worker wants it, not before
    store.put(handle, context)
    setup, limits = make_setup()
    assert setup.context == ["one", "two"]
    assert setup.policy["name"] == "restricted"
    names = {function.name: function.kind for function in setup.functions}
    assert names["add"] == "tool"
    assert names["llm_batch"] == "llm_query_batch"
    assert (limits.output_head_chars, limits.output_tail_chars) == (300, 300)


def test_the_ablation_has_no_sub_calls_but_keeps_its_tools() -> None:
    store = MemoryContextStore()
    context = check_context("text")
    handle = handle_of("text")
    store.put(handle, context)
    setup, _ = setup_maker(
        scope_for(store=store, tools=[add], enable_sub_calls=False), Datum(handle)
    )()
    assert [function.name for function in setup.functions] == ["add"]
