"""When the root conversation is too long, and what becomes of its older turns.

The conversation is made anew from the record for each call, so that compaction is a decision about
what to show: notes of the root model in the place of older turns. Nothing is taken from the record
or from the REPL, and the notes are recorded, so a resumed run shows the same.

The length of the conversation is what the provider has counted for the last reply, plus an estimate
for what came after it; without counts all of it is estimated, at `CHARS_PER_TOKEN`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages import HumanMessage

from langchain_replm._effects import CallRootModel, Emit, RootReply
from langchain_replm._prices import name_of
from langchain_replm._reply import without_thinking
from langchain_replm._requests import root_model
from langchain_replm.events import RLMEvent, preview
from langchain_replm.prompts import SUMMARISE, messages_for
from langchain_replm.types import Summary, encodable

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from langchain_core.messages import BaseMessage

    from langchain_replm._effects import Effect
    from langchain_replm.scope import RunScope
    from langchain_replm.state import RLMState
    from langchain_replm.types import Iteration

CHARS_PER_TOKEN = 3
"""English has about four, code and other languages have fewer: an estimate must not be too low."""

SHARE_OF_WINDOW = 0.75
"""Of the window that a profile tells; the rest is for the last turn, the notes and the reply."""

SHARE_KEPT = 0.5
"""Of the limit, for the turns that stay verbatim."""

VARIABLES = 60


def limit_tokens(scope: RunScope) -> int | None:
    """The length above which older turns are summed up; None: never."""
    given = scope.settings.config.compact_above_tokens
    if given is not None:
        return given or None
    profile: Any = root_model(scope).profile or {}
    window = profile.get("max_input_tokens")
    return int(window * SHARE_OF_WINDOW) if window else None


def sum_up(
    state: RLMState, past: list[Iteration], scope: RunScope, begin: tuple[str, str]
) -> Generator[Effect, Any, Summary | None]:
    """Ask the root model for notes about older turns, if the conversation is too long.

    Yields:
        One `CallRootModel` and an event, or nothing.

    Returns:
        The notes; None if none are needed, or if the call has failed: the turns stay then.
    """
    limit = limit_tokens(scope)
    if limit is None or not past:
        return None
    messages = messages_for(*begin, past)
    before = conversation_tokens(messages, past)
    through = _through(past, limit, base=estimate(begin)) if before > limit else None
    if through is None:
        return None
    number = 1 + len(past)
    ask = [*messages[:-1], HumanMessage(f"{messages[-1].text}\n\n{SUMMARISE}")]
    got: RootReply = yield CallRootModel(ask, iteration=number, purpose="root_summary")
    text = without_thinking(encodable(got.message.text)) if got.message is not None else ""
    if got.message is None or not text:
        return None
    told = got.message.response_metadata.get("model_name")
    summary = Summary(
        text=text,
        through=through,
        variables=dict(list((state.get("variables") or {}).items())[-VARIABLES:]),
        model=told or name_of(root_model(scope)),
        usage=got.message.usage_metadata,
        cost_usd=got.cost_usd,
        started_seconds=got.started_seconds,
        elapsed_seconds=got.elapsed_seconds,
    )
    detail = {"through": through, "tokens_before": before, "summary": text}
    yield Emit(RLMEvent("history_compacted", number, preview(text), detail, scope.depth))
    return summary


def conversation_tokens(messages: Sequence[BaseMessage], past: Sequence[Iteration]) -> int:
    """The length of the conversation, as well as it is known."""
    # Notes made before a call that failed are not in what was counted before them.
    last = next((step for step in reversed(past) if step.error is None or step.summary), None)
    if last is None or last.usage is None:
        return estimate([message.text for message in messages])
    counted = last.usage["input_tokens"] + last.usage["output_tokens"]
    return counted + estimate([last.observation or ""])


def estimate(texts: Sequence[str]) -> int:
    """Tokens of texts, by their characters."""
    return -(-sum(map(len, texts)) // CHARS_PER_TOKEN)


def _through(past: list[Iteration], limit: int, *, base: int) -> int | None:
    """The last iteration to sum up: what follows it fits into its share. At least one reply stays.

    None if that leaves nothing that is not summed up already.
    """
    done = max((step.summary.through for step in past if step.summary), default=0)
    room = limit * SHARE_KEPT - base
    last = next((step.number for step in reversed(past) if step.error is None), 0)
    first_kept = past[-1].number
    for step in reversed(past):
        shown = [message.text for message in messages_for("", "", [step])]
        room -= estimate(shown)
        if room < 0:
            break
        first_kept = step.number
    through = min(first_kept, last) - 1
    return through if through > done else None
