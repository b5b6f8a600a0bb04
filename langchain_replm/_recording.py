"""What a run tells its recorder: each reply, sub-call and iteration as it comes, and the end.

Two sources, and no third: what the nodes hand to the graph's state, and the records that events
carry. So a recorder sees exactly what the response will be made of, in every way to run the loop.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from langchain_replm._log import log_failure
from langchain_replm._prices import name_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_replm.events import RLMEvent
    from langchain_replm.scope import RunScope
    from langchain_replm.state import RLMState

_OF_A_REPLY = (
    "number", "closing", "reply", "model", "usage", "error", "started_seconds", "elapsed_seconds",
    "cost_usd", "direct", "summary",
)  # fmt: skip
_OF_THE_END = ("answer", "stop_reason", "variables", "elapsed_seconds", "structured_response")


def record_update(
    scope: RunScope, node: str, state: RLMState, update: Mapping[str, Any], thread: str | None
) -> None:
    """Tell the recorder what a node adds to the state.

    Children are not told one by one: the record of the sub-call holds the whole child run.
    """
    if scope.settings.recorder is None or scope.parent is not None:
        return
    if not scope.recorded_as:
        scope.recorded_as = uuid4().hex
        _tell(scope, "run", _beginning(scope, state, thread))
    if node == "root_generate":
        turn = update["turn"]
        _tell(scope, "reply", {name: turn[name] for name in _OF_A_REPLY if name in turn})
    for step in update.get("trajectory") or ():
        _tell(scope, "iteration", {"record": step})
    if update.get("stop_reason"):
        # What the closing node does not say itself stands in the state.
        told = {**state, **update}
        _tell(scope, "end", {name: told.get(name) for name in _OF_THE_END})


def record_event(scope: RunScope, event: RLMEvent) -> None:
    """Tell the recorder about a sub-call that has ended; its iteration may go on for hours."""
    if scope.settings.recorder is None or not scope.recorded_as:
        return
    if event.record is not None and event.depth == 0:
        record = event.record.model_dump(mode="json")
        _tell(scope, "sub_call", {"iteration": event.iteration, "record": record})


def _beginning(scope: RunScope, state: RLMState, thread: str | None) -> dict[str, Any]:
    settings = scope.settings
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "thread": thread,
        "query": state["query"],
        "context": state["context_handle"],
        "root_model": name_of(settings.root_model),
        "sub_model": name_of(scope.sub_model),
        "config": settings.config.model_dump(mode="json"),
        "sandbox_missing": state.get("sandbox_missing") or [],
        # Of a run that goes on: what was done before, so that the file stands alone.
        "past": state.get("trajectory") or [],
    }


def _tell(scope: RunScope, kind: str, data: Mapping[str, Any]) -> None:
    recorder = scope.settings.recorder
    if recorder is None:
        return
    try:
        recorder.record({"type": kind, "run": scope.recorded_as, **data})
    except Exception as error:  # noqa: BLE001 - any
        # A recorder is a listener: a full disk must not cost a run that was paid for.
        log_failure(f"the recorder failed for {kind!r}", error)
