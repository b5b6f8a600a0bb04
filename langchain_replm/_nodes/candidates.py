"""Several runs of the same query, within one budget, and one answer by agreement.

Identical runs differ widely, so agreement between them says much (SRLM, arXiv 2603.15653). Each
candidate is a child run at the same level: same models, own REPL, shared budget, cache and lanes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.documents import Document

from langchain_replm._agreement import judge_number, judge_request, leading_groups
from langchain_replm._effects import AwaitCalls, CallRootModel, Emit, ReadContext, StartCalls
from langchain_replm._prices import name_of
from langchain_replm._requests import root_model
from langchain_replm._subcalls import CallRequest
from langchain_replm.errors import RLMError
from langchain_replm.events import RLMEvent, preview, totals_of
from langchain_replm.journal import journal_key
from langchain_replm.state import make_response
from langchain_replm.types import Candidate, Iteration

if TYPE_CHECKING:
    from collections.abc import Generator

    from langchain_replm._effects import Effect, Flow, RootReply
    from langchain_replm._subcalls import CallOutcome
    from langchain_replm.context_store import StoredContext
    from langchain_replm.scope import RunScope
    from langchain_replm.state import RLMState
    from langchain_replm.types import StopReason


def candidates(state: RLMState, scope: RunScope) -> Flow:
    """Run all candidates, choose among their answers, and end the run.

    Yields:
        `ReadContext`, `StartCalls`, `AwaitCalls`, perhaps one `CallRootModel`, and events.

    Returns:
        `trajectory` with one iteration that holds the candidates, `answer` and `stop_reason`.

    Raises:
        RLMError: Every candidate failed before its root model replied.
    """
    count = scope.settings.config.n_candidates
    detail = {"closing": False, "n_candidates": count}
    yield Emit(RLMEvent("iteration_start", 1, f"{count} candidates", detail, scope.depth))
    outcomes = yield from _run_all(state, scope)
    found = [_candidate(outcome, scope) for outcome in outcomes]
    if not any(item.trajectory for item in found):
        msg = f"No candidate had a reply of the root model: {outcomes[0].error}"
        raise RLMError(msg)
    chosen, fields = yield from _choose(state["query"], found, scope)
    marked = tuple(
        item.model_copy(update={"chosen": at == chosen}) for at, item in enumerate(found)
    )
    step = Iteration(number=1, candidates=marked, **fields)
    return (yield from _end(found[chosen], step, scope))


def _run_all(state: RLMState, scope: RunScope) -> Generator[Effect, Any, list[CallOutcome]]:
    stored: StoredContext = yield ReadContext(state["context_handle"])
    given = {"query": state["query"], "context": _as_given(stored)}
    count = scope.settings.config.n_candidates
    requests = [
        CallRequest(
            call_id=0,
            index=at,
            kind="candidate",
            prompt=state["query"],
            arguments=given,
            journal_key=journal_key("candidate", at, state["query"]),
        )
        for at in range(count)
    ]
    yield StartCalls(requests, iteration=1)
    outcomes: list[CallOutcome] = []
    while len(outcomes) < count:
        outcomes += yield AwaitCalls()
    return sorted(outcomes, key=lambda outcome: outcome.request.index)


def _as_given(stored: StoredContext) -> Any:
    """The context as a caller passes it."""
    if stored.metadata is None:
        return stored.value
    pairs = zip(stored.items, stored.metadata, strict=True)
    return [Document(text, metadata=metadata) for text, metadata in pairs]


def _candidate(outcome: CallOutcome, scope: RunScope) -> Candidate:
    trajectory = outcome.child
    last = trajectory[-1] if trajectory else None
    stop: StopReason = "errors"
    if outcome.error is None:
        stop = "answered"
        if last is not None and last.closing:
            stop = scope.budget.limit_met() or "max_iterations"
    return Candidate(answer=outcome.text, stop_reason=stop, trajectory=trajectory)


def _choose(
    query: str, found: list[Candidate], scope: RunScope
) -> Generator[Effect, Any, tuple[int, dict[str, Any]]]:
    """The candidate whose answer is given most often; of equals the root model picks one."""
    groups = leading_groups(found)
    if len(groups) == 1:
        return groups[0], {}
    ask = judge_request(query, [found[at].answer for at in groups])
    got: RootReply = yield CallRootModel(ask, iteration=1, purpose="root_judge")
    if got.message is None:
        return groups[0], {}
    number = judge_number(got.message.text, len(groups))
    told = got.message.response_metadata.get("model_name")
    fields = {
        "reply": got.message.text,
        "model": told or name_of(root_model(scope)),
        "usage": got.message.usage_metadata,
        "cost_usd": got.cost_usd,
        "started_seconds": got.started_seconds,
        "elapsed_seconds": got.elapsed_seconds,
    }
    return groups[number - 1 if number else 0], fields


def _end(chosen: Candidate, step: Iteration, scope: RunScope) -> Flow:
    update: dict[str, Any] = {
        "answer": chosen.answer,
        "stop_reason": chosen.stop_reason,
        "elapsed_seconds": scope.elapsed_seconds(),
    }
    if scope.answer_format is not None:
        checked = scope.answer_format.check(chosen.answer, is_json=_is_json(chosen))
        update["structured_response"] = checked.data
        if not checked.fits:
            update["rejected"] = {"answer": chosen.answer, "problem": checked.problem}
    detail = {"answer": chosen.answer, "stop_reason": chosen.stop_reason}
    detail |= totals_of(make_response({**update, "trajectory": [step]}))
    shown = preview(chosen.answer)
    yield Emit(RLMEvent("final_answer", 1, shown, detail, scope.depth))
    return {**update, "trajectory": [step.model_dump()]}


def _is_json(chosen: Candidate) -> bool:
    cells = chosen.trajectory[-1].cells if chosen.trajectory else ()
    return any(cell.answer is not None and cell.answer.is_json for cell in cells)
