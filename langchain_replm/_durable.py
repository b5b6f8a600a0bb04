"""Which calls go to the journal, and how they come back from it. Nothing here waits for a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_core.messages import AIMessage

from langchain_replm._effects import RootReply
from langchain_replm._recorded import SavedCall, SavedReply
from langchain_replm._requests import root_model, runs_child, spent, sub_kwargs
from langchain_replm._subcalls import CallOutcome
from langchain_replm.budget import NOTHING
from langchain_replm.journal import journal_key

if TYPE_CHECKING:
    from langchain_core.messages.ai import UsageMetadata

    from langchain_replm._effects import CallRootModel
    from langchain_replm._subcalls import CallRequest
    from langchain_replm.scope import RunScope


def asked(request: CallRequest, scope: RunScope) -> tuple[object, ...]:
    """What the journal knows a call by: equal for equal calls, in every process."""
    if request.kind == "tool":
        return ("tool", request.prompt, dict(request.arguments))
    settings = scope.settings
    model = scope.sub_model if request.model is None else settings.models[request.model]
    kwargs = sub_kwargs(settings.config)
    described = {**model._get_ls_params(**kwargs), **kwargs}  # noqa: SLF001 - as tracers do
    kind = "rlm_query" if runs_child(request, scope) else "llm_query"
    return (kind, type(model).__name__, described, request.prompt, request.context, request.schema)


def recorded_call(scope: RunScope, request: CallRequest) -> CallOutcome | None:
    """The outcome that the journal holds, if this run has made the call before.

    It is charged here: a run is resumed with what its finished iterations have spent, and the cell
    that asks is not in one.
    """
    saved = scope.journal and scope.journal.find(request.journal_key, SavedCall)
    if not saved:
        return None
    of_child = saved.sub_calls - (request.kind != "candidate") if runs_child(request, scope) else 0
    scope.budget.restore(of_child, spent=spent(saved.usage, saved.cost_usd, NOTHING))
    began = scope.run_seconds()
    return CallOutcome(request=request, started_seconds=began, recorded=True, **dict(saved))


def keep_call(scope: RunScope, outcome: CallOutcome) -> CallOutcome:
    """Write an outcome to the journal. A failed call is not kept: it may be made again."""
    if scope.journal is not None and outcome.error is None:
        fields = {name: getattr(outcome, name) for name in SavedCall.model_fields}
        scope.journal.record(outcome.request.journal_key, SavedCall(**fields))
    return outcome


def recorded_reply(scope: RunScope, effect: CallRootModel) -> RootReply | None:
    """The root reply of a child run that the journal holds. Checkpoints hold those of the run."""
    if scope.journal is None or scope.depth == 0:
        return None
    saved = scope.journal.find(_reply_key(scope, effect), SavedReply)
    if saved is None:
        return None
    scope.budget.restore(0, spent=spent(_by_model(saved), saved.cost_usd, NOTHING))
    message = AIMessage(
        saved.text, usage_metadata=saved.usage, response_metadata=dict(saved.metadata)
    )
    return RootReply(message, None, saved.elapsed_seconds, cost_usd=saved.cost_usd)


def keep_reply(scope: RunScope, effect: CallRootModel, reply: RootReply) -> RootReply:
    """Write the root reply of a child run to the journal, unless it is no text."""
    message = reply.message
    if scope.journal is None or scope.depth == 0 or message is None:
        return reply
    if message.tool_calls or message.invalid_tool_calls:
        return reply
    told = message.response_metadata.items()
    saved = SavedReply(
        text=message.text,
        usage=message.usage_metadata,
        cost_usd=reply.cost_usd,
        metadata={name: value for name, value in told if isinstance(value, str)},
        elapsed_seconds=reply.elapsed_seconds,
    )
    scope.journal.record(_reply_key(scope, effect), saved)
    return reply


def _reply_key(scope: RunScope, effect: CallRootModel) -> str:
    texts = [message.text for message in effect.messages]
    described = root_model(scope)._get_ls_params()  # noqa: SLF001 - as tracers do
    return journal_key(scope.options.path, "root", effect.iteration, dict(described), texts)


def _by_model(saved: SavedReply) -> dict[str, UsageMetadata] | None:
    return None if saved.usage is None else {"": saved.usage}
