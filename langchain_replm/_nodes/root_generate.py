"""Messages in, one root reply out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages import HumanMessage

from langchain_replm._approval import ask
from langchain_replm._compaction import sum_up
from langchain_replm._effects import CallRootModel, Emit, Flow, ReadContext, RootReply
from langchain_replm._prices import name_of
from langchain_replm._requests import error_text, root_model
from langchain_replm._root_tool import as_calls, as_reply, cells_of
from langchain_replm._tools import tool_signature
from langchain_replm.errors import ConfigurationError
from langchain_replm.events import RLMEvent, preview
from langchain_replm.prompts import (
    GRANTED,
    closing_request,
    direct_message,
    direct_system_prompt,
    first_message,
    messages_for,
    session_note,
    system_prompt,
)
from langchain_replm.state import Turn, read_session, variables_of
from langchain_replm.types import encodable

if TYPE_CHECKING:
    from collections.abc import Generator

    from langchain_core.messages import AIMessage

    from langchain_replm._approval import DecisionType
    from langchain_replm._effects import Effect
    from langchain_replm.context_store import StoredContext
    from langchain_replm.scope import RunScope
    from langchain_replm.state import RLMState
    from langchain_replm.types import Iteration, StopReason


def root_generate(state: RLMState, scope: RunScope) -> Flow:
    """Ask the root model what to do next.

    Yields:
        The events of the iteration and one `CallRootModel`.

    Returns:
        `turn`, holding the reply, or the error of a call that may be tried again.

    Raises:
        Exception: The root model's own, when it has failed `max_consecutive_errors` times in a row
            and never replied: there is nothing to return.
    """
    past = scope.steps(state)
    closing = state.get("limit") is not None
    number = 1 + len(past)
    update: dict[str, Any] = {}
    asked = bool(past) and past[-1].closing  # and the closing request has failed
    if closing and scope.asks("budget") and not asked:
        closing, past, update = yield from _ask_for_more(state, past, scope)
    most = scope.max_iterations
    title = "Closing request" if closing else f"Iteration {number} of at most {most}"
    detail = {
        "closing": closing,
        "max_iterations": most,
        "left": scope.left(),
        "elapsed_seconds": scope.elapsed_seconds(),
    }
    yield Emit(RLMEvent("iteration_start", number, title, detail, scope.depth))
    direct = scope.is_direct(state["context_handle"])
    begin = yield from _beginning(state, scope, direct=direct)
    summary = None if direct else (yield from sum_up(state, past, scope, begin))
    attached = scope.options.attachments
    messages = messages_for(*begin, past, summary, attachments=attached)
    if scope.settings.config.action_format == "tool" and not direct:
        messages = as_calls(messages)
    got: RootReply = yield CallRootModel(messages, iteration=number, closing=closing)
    if got.refused and not closing and _may_close(scope, past, got.refused):
        # What was kept for this is still there: the request becomes the closing one.
        closing, update["limit"] = True, got.refused
        request = closing_request(got.refused, direct=direct)
        messages[-1] = HumanMessage(f"{messages[-1].text}\n\n{request}")
        got = yield CallRootModel(messages, iteration=number, closing=True)
    turn = _turn(number, got, scope, closing=closing)
    yield Emit(_replied(turn, scope))
    if got.error is not None:
        _give_up_if_hopeless(past, got, scope)
    more = {"direct": direct, "summary": summary}
    return {"turn": turn.model_copy(update=more).model_dump(), **update}


def _ask_for_more(
    state: RLMState, past: list[Iteration], scope: RunScope
) -> Generator[Effect, Any, tuple[bool, list[Iteration], dict[str, Any]]]:
    """A limit is met: a person grants more, or lets the run be closed."""
    limit: str = state["limit"] or ""
    question = {"ask": "budget", "limit": limit, "iterations": len(past)}
    question["sub_calls"] = scope.budget.sub_calls
    allowed: tuple[DecisionType, ...] = ("finish",) if limit == "deadline" else ("grant", "finish")
    decision = yield from ask(question, allowed)
    if decision.type == "finish":
        return True, past, {}
    scope.grant(limit, decision.amount)
    granted = dict(state.get("granted") or {})
    granted[limit] = granted.get(limit, 0) + decision.amount
    last = past[-1]
    shown = (last.observation or "").removesuffix(closing_request(limit, direct=last.direct))
    last = last.model_copy(update={"observation": shown + GRANTED})
    update = {"limit": None, "granted": granted, "trajectory": [last.model_dump()]}
    return False, [*past[:-1], last], update


def _may_close(scope: RunScope, past: list[Iteration], limit: StopReason) -> bool:
    """Whether a closing request is to be made instead of a call for which there is no room.

    Raises:
        ConfigurationError: Not even the first call of the run has room; nothing was spent yet.
    """
    field = {"max_tokens": "max_total_tokens", "max_cost": "max_cost_usd"}.get(limit)
    if field and not past and scope.level == 0:
        value = getattr(scope.settings.config, field)
        msg = (
            f"RLMConfig.{field} = {value:,} is too little for one reply of the root model and the "
            "closing request after it, at the most that these can take. Raise it, or set "
            "root_max_tokens: without that a reply may be as long as the model can write."
        )
        raise ConfigurationError(msg)
    # A child has nothing to close with: its parent's cell is stopped at the same moment.
    in_time = limit != "cancelled" and (limit != "deadline" or (scope.level == 0 and bool(past)))
    return in_time and scope.settings.config.exit_behavior == "end"


def _beginning(
    state: RLMState, scope: RunScope, *, direct: bool
) -> Generator[Effect, Any, tuple[str, str]]:
    """The system prompt and the first message."""
    handle, query = state["context_handle"], state["query"]
    if not direct:
        first = first_message(query, handle)
        if runs := read_session(state):
            # The trajectory is left out: the first message stays the same for the whole run.
            names = variables_of({"session": state["session"]})
            first = f"{first}\n\n{session_note(len(runs), names)}"
        return render_system_prompt(scope), first
    stored: StoredContext = yield ReadContext(handle)
    return direct_system_prompt(_schema(scope)), direct_message(
        query, stored.items, stored.metadata
    )


def _schema(scope: RunScope) -> str | None:
    return None if scope.answer_format is None else scope.answer_format.told()


def render_system_prompt(scope: RunScope) -> str:
    """The system prompt of this run; the only place where it is put together."""
    settings = scope.settings
    text = system_prompt(
        settings.config,
        sandbox=settings.sandbox.describe(),
        depth=scope.level,
        can_recurse=scope.level + 1 < settings.config.max_recursion_depth,
        models=sorted(settings.models),
        tools=[(tool_signature(tool), tool.description) for tool in settings.tools],
        schema=_schema(scope),
    )
    told = scope.options.instructions
    return f"{text}\n\n{told}" if told else text


def _give_up_if_hopeless(past: list[Iteration], got: RootReply, scope: RunScope) -> None:
    failures = 1
    for step in reversed(past):
        if step.error is None:
            break
        failures += 1
    replied = any(step.error is None for step in past)
    most = scope.settings.config.max_consecutive_errors
    # A child does not raise: what it has spent must reach the record of its parent.
    if failures >= most and not replied and got.error is not None and scope.level == 0:
        got.error.add_note(f"The root model failed {failures} times in a row and never replied.")
        raise got.error


def _turn(number: int, got: RootReply, scope: RunScope, *, closing: bool) -> Turn:
    if got.refused:
        error = f"there was no room left for this request ({got.refused})"
        return Turn(number=number, closing=True, refused=got.refused, error=error)
    if got.message is None:
        return Turn(
            number=number,
            closing=closing,
            error=error_text(got.error),
            started_seconds=got.started_seconds,
            elapsed_seconds=got.elapsed_seconds,
        )
    message = got.message
    cells = cells_of(message) if scope.settings.config.action_format == "tool" else []
    calls = [] if cells else [*message.tool_calls, *message.invalid_tool_calls]
    return Turn(
        number=number,
        closing=closing,
        reply=encodable(as_reply(message.text, cells) if cells else message.text),
        model=message.response_metadata.get("model_name") or name_of(root_model(scope)),
        usage=message.usage_metadata,
        started_seconds=got.started_seconds,
        cost_usd=got.cost_usd,
        elapsed_seconds=got.elapsed_seconds,
        truncated=_was_cut_off(message),
        foreign=str(calls[0].get("name")) if calls else None,
    )


def _replied(turn: Turn, scope: RunScope) -> RLMEvent:
    detail = {
        "model": turn.model,
        "usage": turn.usage,
        "cost_usd": turn.cost_usd,
        "refused": turn.refused,
        "error": turn.error,
        "elapsed_seconds": turn.elapsed_seconds,
        "left": scope.left(),
    }
    text = preview(turn.error or turn.reply)
    return RLMEvent("root_reply", turn.number, text, detail, scope.depth)


def _was_cut_off(message: AIMessage) -> bool:
    """The provider says that the token limit ended the reply; names differ by provider."""
    told = message.response_metadata
    details = told.get("incomplete_details")
    ended = [
        details.get("reason") if isinstance(details, dict) else None,
        *(told.get(name) for name in ("finish_reason", "stop_reason", "stopReason", "done_reason")),
    ]
    return any(str(reason).lower() in _CUT_OFF for reason in ended)


_CUT_OFF = {"length", "max_tokens", "max_output_tokens", "model_length"}
