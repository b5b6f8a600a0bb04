"""What is left of a run that was stopped from outside, and how a stop is noticed in time."""

from __future__ import annotations

from concurrent.futures import Future
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

from langchain_replm.events import RLMEvent
from langchain_replm.state import make_response

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from langchain_replm._lanes import Lanes
    from langchain_replm.scope import RunScope
    from langchain_replm.types import RLMResponse

_END = object()
STOP_SECONDS = 2.0
"""Longest wait for a node to notice that the run was stopped; it takes milliseconds."""


def tell_partial(scope: RunScope, error: BaseException) -> None:
    """Give what a stopped run had found: as `error.partial`, and to `on_event`.

    Only for what comes from outside (a cancel, an interrupt, a closed stream). An `Exception` of
    the run itself is its own explanation.
    """
    if scope.parent is not None or isinstance(error, Exception) or not scope.state:
        return
    response = partial_response(scope)
    error.partial = response  # type: ignore[attr-defined]
    detail = {"answer": "", "stop_reason": "cancelled", "response": response.to_dict()}
    scope.tell(RLMEvent("final_answer", len(response.trajectory), "", detail))


def partial_response(scope: RunScope) -> RLMResponse:
    """Everything that the run has done and paid for until now."""
    return make_response(
        {
            **scope.state,
            "answer": "",
            "stop_reason": "cancelled",
            "trajectory": [step.model_dump() for step in scope.partial_trajectory()],
            "elapsed_seconds": scope.elapsed_seconds(),
        }
    )


def pulled(inner: Generator[Any, None, None], lanes: Lanes) -> Iterator[Any]:
    """The items of a stream, pulled by a thread of ours.

    LangGraph runs the nodes of such a stream in threads and waits for them when it is interrupted.
    With this an interrupt of the caller arises here, where the run can be stopped first.
    """
    context = copy_context()
    waiting: Future[Any] | None = None
    try:
        while True:
            waiting = Future()
            lanes.start("stream", partial(context.run, _pull, inner, waiting))
            item = waiting.result()
            waiting = None
            if item is _END:
                return
            yield item
    finally:
        lanes.close()
        if waiting is not None and not waiting.done():
            waiting.exception(STOP_SECONDS)
        context.run(inner.close)


def _pull(inner: Generator[Any, None, None], waiting: Future[Any]) -> None:
    try:
        waiting.set_result(next(inner, _END))
    except BaseException as error:  # noqa: BLE001 - it is raised where the item is waited for
        waiting.set_exception(error)
