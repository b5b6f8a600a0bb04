"""`root_generate`, by hand: what is sent, and what becomes of what comes back."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from langchain_replm._effects import CallRootModel, Emit, RootReply
from langchain_replm._nodes.root_generate import render_system_prompt, root_generate
from langchain_replm.events import RLMEvent
from langchain_replm.scope import RunScope
from langchain_replm.state import Turn
from langchain_replm.types import Iteration
from tests.unit_tests._nodes.by_hand import scope_for, state_for, usage

STEP = Iteration(number=1, reply="look", observation="saw it")
FAILED = Iteration(number=2, error="RuntimeError: busy")


def ask(
    state: dict[str, Any], scope: RunScope, got: RootReply
) -> tuple[RLMEvent, CallRootModel, Turn]:
    """One turn of the node: its first event, its question, its update."""
    flow = root_generate(state, scope)
    emit = next(flow)
    assert isinstance(emit, Emit)
    question = flow.send(None)
    assert isinstance(question, CallRootModel)
    replied = flow.send(got)
    assert isinstance(replied, Emit)
    assert replied.event.type == "root_reply"
    with pytest.raises(StopIteration) as returned:
        flow.send(None)
    update = returned.value.value
    assert update.keys() == {"turn"}
    return emit.event, question, Turn.model_validate(update["turn"])


def reply(message: AIMessage | None = None, **fields: Any) -> RootReply:
    return RootReply(message or AIMessage("hi", **fields), None, 0.5)


def failure(error: Exception) -> RootReply:
    return RootReply(None, error, 0.5)


def test_the_first_question_is_the_system_prompt_and_the_query() -> None:
    scope = scope_for(max_iterations=7)
    event, question, turn = ask(state_for(), scope, reply())
    assert [type(message) for message in question.messages] == [SystemMessage, HumanMessage]
    assert question.messages[0].content == render_system_prompt(scope)
    assert "How many herons?" in str(question.messages[1].content)
    assert (question.iteration, turn.number, turn.closing) == (1, 1, False)
    assert (event.type, event.iteration) == ("iteration_start", 1)
    assert event.detail["closing"] is False
    assert event.detail["max_iterations"] == 7
    assert event.preview == "Iteration 1 of at most 7"


def test_the_messages_of_an_iteration_are_a_prefix_of_those_of_the_next() -> None:
    # The provider's prompt cache hits only if not one byte of the earlier part changes.
    past = [
        STEP,
        FAILED,
        Iteration(number=3, reply="", observation="nudge"),
        Iteration(number=4, reply="again", observation="saw more"),
    ]
    asked = [
        list(ask(state_for(past=past[:count]), scope_for(), reply())[1].messages)
        for count in range(5)
    ]
    for shorter, longer in pairwise(asked):
        assert longer[: len(shorter)] == shorter
    assert [message.content for message in asked[4][2:]] == [
        "look", "saw it", "(no text)", "nudge", "again", "saw more",
    ]  # fmt: skip


def test_failed_calls_count_as_iterations_but_leave_no_message() -> None:
    _, question, turn = ask(state_for(past=[STEP, FAILED]), scope_for(), reply())
    assert turn.number == question.iteration == 3
    assert not any("busy" in str(message.content) for message in question.messages)


def test_after_a_limit_the_reply_is_the_closing_one() -> None:
    event, _, turn = ask(state_for(past=[STEP], limit="max_iterations"), scope_for(), reply())
    assert turn.closing
    assert (event.preview, event.detail["closing"]) == ("Closing request", True)


def test_the_reply_becomes_the_turn() -> None:
    message = AIMessage(
        "```repl\nx\n```",
        response_metadata={"model_name": "gpt-x", "finish_reason": "stop"},
        usage_metadata=usage(7, 3),
    )
    turn = ask(state_for(), scope_for(), reply(message))[2]
    assert turn == Turn(
        number=1,
        reply="```repl\nx\n```",
        model="gpt-x",
        usage=usage(7, 3),
        elapsed_seconds=0.5,
    )


def test_the_reply_is_plain_text_without_thinking_and_without_lone_surrogates() -> None:
    message = AIMessage(
        [
            {"type": "reasoning", "reasoning": "hmm"},
            {"type": "text", "text": "a \ud83d b"},
        ]
    )
    flow = root_generate(state_for(), scope_for())
    next(flow)
    flow.send(None)
    flow.send(reply(message))
    with pytest.raises(StopIteration) as returned:
        flow.send(None)
    text = returned.value.value["turn"]["reply"]
    assert text == "a ? b"
    # A checkpointer meets the exact type; LangChain's accessor is a subclass of str.
    assert type(text) is str


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param({"finish_reason": "length"}, id="OpenAI"),
        pytest.param({"stop_reason": "max_tokens"}, id="Anthropic"),
        pytest.param({"finish_reason": "MAX_TOKENS"}, id="Gemini"),
        pytest.param({"done_reason": "length"}, id="Ollama"),
        pytest.param({"finish_reason": "model_length"}, id="Mistral"),
    ],
)
def test_a_reply_at_the_token_limit_is_truncated(metadata: dict[str, str]) -> None:
    assert ask(state_for(), scope_for(), reply(response_metadata=metadata))[2].truncated


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"finish_reason": "stop"},
        {"finish_reason": None},
        {"stop_reason": "end_turn"},
        {"stop_reason": "stop_sequence"},
        {"finish_reason": "tool_calls"},
        {"finish_reason": "content_filter"},
    ],
)
def test_a_reply_that_ended_by_itself_is_whole(metadata: dict[str, Any]) -> None:
    assert not ask(state_for(), scope_for(), reply(response_metadata=metadata))[2].truncated


def test_native_tool_calls_are_named_whether_valid_or_not() -> None:
    valid = AIMessage("", tool_calls=[{"name": "python", "args": {}, "id": "1"}])
    broken = AIMessage(
        "", invalid_tool_calls=[{"name": "bash", "args": "{", "id": "1", "error": "no JSON"}]
    )
    assert ask(state_for(), scope_for(), reply(valid))[2].foreign == "python"
    assert ask(state_for(), scope_for(), reply(broken))[2].foreign == "bash"
    assert ask(state_for(), scope_for(), reply())[2].foreign is None


def test_a_failed_call_is_a_turn_with_an_error() -> None:
    turn = ask(state_for(), scope_for(), failure(RuntimeError("overloaded")))[2]
    assert turn == Turn(number=1, error="RuntimeError: overloaded", elapsed_seconds=0.5)


def failures(count: int) -> list[Iteration]:
    return [Iteration(number=n, error="RuntimeError: busy") for n in range(1, count + 1)]


@pytest.mark.parametrize("most", [1, 2, 3])
def test_it_gives_up_when_nothing_was_ever_replied(most: int) -> None:
    scope = scope_for(max_consecutive_errors=most)
    for before in range(most - 1):
        turn = ask(state_for(past=failures(before)), scope, failure(RuntimeError("busy")))[2]
        assert turn.error is not None
    flow = root_generate(state_for(past=failures(most - 1)), scope)
    next(flow)
    flow.send(None)
    error = RuntimeError("still busy")
    told = flow.send(failure(error))
    assert isinstance(told, Emit)
    assert told.event.detail["error"] == "RuntimeError: still busy"
    with pytest.raises(RuntimeError, match="still busy") as raised:
        flow.send(None)
    assert raised.value is error, "the model's own exception, so that a caller can catch it"
    assert f"failed {most} times in a row" in error.__notes__[0]


def test_a_run_that_had_one_reply_never_raises() -> None:
    past = [STEP, *failures(5)]
    turn = ask(state_for(past=past), scope_for(), failure(RuntimeError("busy")))[2]
    assert (turn.number, turn.error) == (7, "RuntimeError: busy")


def test_a_child_is_told_its_depth_and_whether_it_may_recurse() -> None:
    top = render_system_prompt(scope_for(max_recursion_depth=2))
    child = render_system_prompt(scope_for(max_recursion_depth=2, depth=1))
    assert "at depth 1" in child
    assert "at depth" not in top
    assert "REPL of its own" in top
    assert "REPL of its own" not in child, "the last depth makes plain sub-calls"
    event = ask(state_for(), scope_for(depth=1), reply())[0]
    assert event.depth == 1


def test_the_system_prompt_knows_sandbox_models_and_tools() -> None:
    from langchain_core.tools import tool

    @tool
    def add(first: int, second: int = 1) -> int:
        """Add two numbers."""
        return first + second

    rendered = render_system_prompt(scope_for(models={"zoom": None, "cheap": None}, tools=[add]))
    assert "Cells run by hand." in rendered
    assert 'Names: "cheap", "zoom".' in rendered
    assert "`add(first: int, second: int = 1)`: Add two numbers." in rendered
