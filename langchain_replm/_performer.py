"""What performing effects is about in either colour: calls in flight, and whom to tell."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.utils import message_chunk_to_message

from langchain_replm._effects import CallRootModel, RootReply
from langchain_replm._log import log_event, log_failure
from langchain_replm._recording import record_event
from langchain_replm._requests import runs_child
from langchain_replm._subcalls import CallOutcome
from langchain_replm.errors import RunStoppedError
from langchain_replm.events import RLMEvent, preview

if TYPE_CHECKING:
    from collections.abc import Iterable

    from langchain_replm._subcalls import CallRequest
    from langchain_replm.scope import RunScope


class Performer:
    """The calls of one node while they are open, the outcomes that came in, and the listeners.

    A call is opened when the node asks for it, begun when there is a place for it, and finished
    once: by its own end, or because it was cut. What a call says after that is heard by nobody.
    """

    def __init__(self, scope: RunScope) -> None:
        self.scope = scope
        self.failure: BaseException | None = None
        """What ended a call without an outcome: an interrupt, a cancel, a fault of ours."""
        self._lock = threading.Lock()
        self._outcomes: deque[CallOutcome] = deque()
        self._open: dict[int, CallRequest] = {}
        self._begun = scope.begun

    def arrived(self) -> None:
        """Wake whoever waits for an outcome. From any thread."""
        raise NotImplementedError

    def check(self) -> None:
        """Leave the node if the run was stopped.

        Raises:
            RunStoppedError: It was.
        """
        if self.scope.lanes.stopped:
            raise RunStoppedError

    # Calls

    def open(self, requests: Iterable[CallRequest]) -> None:
        """Calls that are to be made."""
        with self._lock:
            self._open.update((id(request), request) for request in requests)

    def begin(self, request: CallRequest) -> bool:
        """The turn of a call has come; False if nobody waits for it any more."""
        with self._lock:
            if id(request) not in self._open:
                return False
            self._begun.add(id(request))
            return True

    def finish(self, request: CallRequest, outcome: CallOutcome | BaseException) -> None:
        """A call has ended, with an outcome or with something that is none."""
        with self._lock:
            if self._open.pop(id(request), None) is None:
                return
            if isinstance(outcome, CallOutcome):
                self._begun.discard(id(request))
                self._outcomes.append(outcome)
            else:
                self.failure = outcome
        self.arrived()

    def cut(self, error: str) -> list[CallRequest]:
        """End every open call now; child runs that have begun end by themselves, with a record.

        Returns:
            The calls that had begun. What they have taken will never be known.
        """
        left: list[CallRequest] = []
        with self._lock:
            if not self._open:
                return left
            for key, request in list(self._open.items()):
                began = key in self._begun
                if began and (request.kind == "candidate" or runs_child(request, self.scope)):
                    continue
                del self._open[key]
                if began:
                    left.append(request)
                self._outcomes.append(
                    CallOutcome(
                        request=request,
                        error=error,
                        refused=not began,
                        sub_calls=int(began and request.kind != "tool"),
                    )
                )
        self.arrived()
        return left

    def abandon(self) -> None:
        """Nobody waits any more, whatever the open calls say."""
        with self._lock:
            self._open.clear()

    def drain(self) -> list[CallOutcome]:
        """The outcomes that have arrived; what is no outcome is raised into the node."""
        if self.failure is not None:
            raise self.failure
        drained = []
        while self._outcomes:
            drained.append(self._outcomes.popleft())
        return drained

    def cache_failed(self, error: Exception) -> None:
        """Say that the cache over runs does not work; the run goes on without it."""
        log_failure("the cache failed", error)

    # Listeners

    def emit(self, event: RLMEvent) -> None:
        """Tell stream, callback and log; one event at a time, and no listener can end a run."""
        root = self.scope.root
        options = root.options
        verbose = root.settings.config.verbose or (event.type, event.depth) == ("final_answer", 0)
        level = logging.INFO if verbose else logging.DEBUG
        with root.emit_lock:
            if event.type == "token":
                if options.stream_tokens and event.depth == 0:
                    root.write(event.to_dict())
                return
            log_event(event, level)
            root.write(event.to_dict())
            record_event(root, event)
            root.tell(event)

    def token(self, effect: CallRootModel, chunk: AIMessageChunk) -> None:
        """Tell a piece of the root model's reply to whoever streams the run."""
        self.check()
        text = chunk.text
        if text:
            detail = {"text": text}
            self.emit(RLMEvent("token", effect.iteration, preview(text), detail, self.scope.depth))

    # The root model

    def streams(self, effect: CallRootModel) -> bool:
        """Whether somebody listens to this reply word by word."""
        listened = self.scope.root.options.stream_tokens and self.scope.depth == 0
        return listened and effect.purpose == "root_generate"

    def reply(self, started: float, message: BaseMessage | Exception) -> RootReply:
        """What came of a call of the root model that began at `started`."""
        elapsed = time.monotonic() - started
        began = self.scope.run_seconds() - elapsed
        if isinstance(message, Exception):
            log_failure("the root model failed", message)
            return RootReply(None, message, elapsed, began)
        if isinstance(message, AIMessageChunk):
            message = message_chunk_to_message(message)
        if not isinstance(message, AIMessage):
            kind = type(message).__name__
            return RootReply(None, TypeError(f"the root model returned a {kind}"), elapsed, began)
        return RootReply(message, None, elapsed, began)
