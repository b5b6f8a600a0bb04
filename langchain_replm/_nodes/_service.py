"""One cell while it runs: its clock, its calls, its end.

The session is an event stream, not a call stack: while sub-calls of one thread of a cell run,
requests of its other threads are served.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langchain_replm._approval import Decision
from langchain_replm._durable import asked
from langchain_replm._effects import (
    AwaitCalls,
    CutCalls,
    Emit,
    Exchange,
    Interrupt,
    LookUp,
    StartCalls,
    Worked,
)
from langchain_replm._prices import name_of
from langchain_replm._subcalls import SubCallDesk, record_of, request_key, wire_results
from langchain_replm.errors import ProtocolError
from langchain_replm.events import RLMEvent, call_detail, preview
from langchain_replm.sandbox._wire import CallRequested, CellFinished
from langchain_replm.types import PROMPT_RECORD_CHARS, Answer, Cell, HostCall, SubCall, total

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from langchain_replm._recorded import CellKeys
    from langchain_replm._subcalls import CallOutcome, CallRequest, OpenCall
    from langchain_replm.scope import RunScope
    from langchain_replm.state import Turn

    Step = Generator[Any, Any, Any]

INTERRUPT_GRACE_SECONDS = 0.5
"""A Python loop ends within microseconds of the interrupt and keeps its variables; code that does
not end in this time (a C loop, a cell that swallows everything) is killed."""


STOPPED = "the run was stopped"
OUT_OF_TIME = "the time of the run is over"


class AskFirstError(Exception):
    """A cell has called a tool about which a person has not decided yet."""

    def __init__(self, question: dict[str, Any]) -> None:
        super().__init__(question)
        self.question = question


class CellService:
    """One cell while it runs: its clock, its calls, its end."""

    def __init__(self, scope: RunScope, turn: Turn, session: Any, keys: CellKeys | None) -> None:
        config = scope.settings.config
        self._scope = scope
        self._iteration = turn.number
        self._closing = turn.closing
        self._session = session
        self._keys = keys
        self._limit = config.sandbox_timeout
        self._used = 0.0
        self._started: float | None = None
        self._ended_at = 0.0
        self._data: list[bytes] = []
        self._calls: dict[int, HostCall] = {}
        self._desk = SubCallDesk(
            config=config,
            budget=scope.budget,
            cache=scope.cache,
            depth=scope.level,
            models=scope.settings.models,
            model=name_of(scope.sub_model),
            keeps=scope.settings.cache is not None,
        )
        self.decisions: Mapping[str, Any] = {}
        scope.children.clear()
        scope.begun.clear()
        self._ended = False
        self._eof = False
        self._out_of_time = False
        self.lost: str | None = None
        """Why the session is gone, if the cell took it along."""
        self.has_strayed = False
        """Its threads were waiting for calls when it ended: a replay would answer them."""

    def run(self, code: str, data: bytes) -> Step:
        """Serve the cell until it ends, is stopped, or takes its worker along."""
        self._data = [data]
        finished: CellFinished | None = None
        try:
            finished = yield from self._serve()
        except AskFirstError:
            self._ended = True
            yield from self._settle_rest()  # they are paid for, so they must reach the journal
            raise
        except ProtocolError as error:
            self.lost = f"its worker broke the protocol: {error}"
        if self._eof and self.lost is None:
            self.lost = "its worker died"
        self._ended = True
        self.has_strayed = self._desk.waiting
        yield from self._settle_rest()
        return self._cell(code, finished)

    def unfinished(self, code: str) -> Cell:
        """The cell as far as it got before the run was stopped."""
        self._calls |= self._desk.unfinished(self._cut_off)
        return self._cell(code, None).model_copy(update={"error": STOPPED})

    def _cut_off(self, request: CallRequest) -> SubCall:
        """The record of a call that was open; a child has done what it has done."""
        began = id(request) in self._scope.begun and request.kind != "tool"
        fields: dict[str, Any] = {"sub_calls": int(began)}
        child = self._scope.children.get((request.call_id, request.index))
        if child is not None:
            steps = tuple(child.partial_trajectory())
            totals = total(steps)
            fields = {"child": steps, "usage": totals.usage_by_model}
            fields["sub_calls"] = 1 + totals.sub_calls
        status = "failed" if began else "refused"
        return record_of(request, status=status, error=STOPPED, **fields)

    def _serve(self) -> Step:
        while True:
            event = self._session.next_event()
            if isinstance(event, CellFinished):
                return event
            if self._eof:
                self.lost = "its worker died"
                return None
            if self._scope.budget.out_of_time(closing=self._closing):
                return (yield from self._end_early())
            if isinstance(event, CallRequested):
                yield from self._admit(event)
            elif not self._desk.waiting and self._used >= self._limit:
                return (yield from self._stop())
            else:
                yield from self._exchange()

    def _exchange(self) -> Step:
        """One exchange; the cell's clock stands still while it waits for calls."""
        waiting = self._desk.waiting
        data, self._data = self._data, []
        left = self._scope.budget.seconds_left(closing=self._closing)
        timeout = left if waiting else max(0.0, self._limit - self._used)
        if left is not None and timeout is not None:
            timeout = min(timeout, left)
        got: Worked = yield Exchange(data, timeout)
        if not waiting:
            self._used += got.exchanged.elapsed_seconds
        self._clock(got)
        self._eof = got.exchanged.eof
        self._session.receive(got.exchanged.data, eof=self._eof)
        for outcome in got.outcomes:
            yield from self._settle(outcome)

    def _clock(self, got: Worked) -> None:
        if self._started is None:
            self._started = got.ended_seconds - got.exchanged.elapsed_seconds
        self._ended_at = got.ended_seconds

    def _end_early(self) -> Step:
        """The time of the run is over: cut what runs for the cell, and stop it."""
        self._out_of_time = True
        yield CutCalls(OUT_OF_TIME)
        return (yield from self._stop())

    def _stop(self) -> Step:
        """The cell is over its time: ask it to stop, and give its worker up if it does not."""
        self.lost = "it ran out of time and could not be stopped"
        if not (yield Interrupt()):
            return None
        self.lost = None
        left = INTERRUPT_GRACE_SECONDS
        while left > 0:
            event = self._session.next_event()
            if isinstance(event, CellFinished):
                return event
            if event is None:
                got: Worked = yield Exchange([], left)
                left -= got.exchanged.elapsed_seconds
                self._clock(got)
                self._session.receive(got.exchanged.data, eof=got.exchanged.eof)
                for outcome in got.outcomes:
                    yield from self._settle(outcome)
                if got.exchanged.eof:
                    break
        self.lost = "it ran out of time and could not be stopped"
        return None

    def _admit(self, event: CallRequested) -> Step:
        items: Sequence[Any] = event.items
        if event.kind == "tool" and self._scope.asks("tools") and self._keys is not None:
            decision = self._decision(event, self._keys)
            if decision.type == "reject":
                self._refuse(event, decision)
                return
            items = items if decision.args is None else ({"args": decision.args},)
        call = (event.call_id, event.function, event.kind, items)
        known: Sequence[str | None] = ()
        if self._scope.settings.cache is not None and event.kind != "tool":
            requests = self._desk.requests(*call)
            found: Sequence[str | None] = yield LookUp(requests)
            known = [
                None if text is None or self._has_made(request) else text
                for request, text in zip(requests, found, strict=True)
            ]
        admission = self._desk.admit(*call, known=known)
        # A replay finds the results by what the cell has asked for.
        admission.call.request_sha256 = request_key(event.kind, list(event.items))
        for slot in admission.call.slots:
            if slot is not None and slot.cached:
                yield self._emit_call("sub_call_cache_hit", slot)
        for request in admission.start:
            detail = {"kind": request.kind, "prompt_chars": len(request.prompt)}
            detail["call_count"] = self._scope.budget.sub_calls
            name = preview(request.prompt)
            yield Emit(RLMEvent("sub_call_start", self._iteration, name, detail, self._scope.depth))
        if admission.start:
            yield StartCalls(self._named(admission.start), iteration=self._iteration)
        self._reply_if_complete(admission.call)

    def _has_made(self, request: CallRequest) -> bool:
        """Whether this run has made a call before it was resumed: then it is charged with it."""
        journal = self._scope.journal
        if journal is None or self._keys is None:
            return False
        return journal.knows(self._keys.next_key(*asked(request, self._scope)))

    def _decision(self, event: CallRequested, keys: CellKeys) -> Decision:
        """What a person has decided about a tool call; raised to be asked, if nothing yet."""
        args = event.items[0]["args"]
        key = keys.key("person", event.function, args)
        if key not in self.decisions:
            question = {"ask": "tools", "iteration": self._iteration, "key": key}
            raise AskFirstError({**question, "tool": event.function, "args": args})
        return Decision.model_validate(self.decisions[key])

    def _refuse(self, event: CallRequested, decision: Decision) -> None:
        """Answer a tool call that a person has rejected."""
        error = "a person has rejected this call"
        error += f": {decision.message}" if decision.message else "; do it another way"
        prompt = json.dumps(event.items[0]["args"])[:PROMPT_RECORD_CHARS]
        item = SubCall(
            kind="tool", prompt=prompt, prompt_chars=len(prompt), status="refused", error=error
        )
        key = request_key(event.kind, list(event.items))
        call = HostCall(function=event.function, request_sha256=key, items=(item,))
        self._calls[event.call_id] = call
        self._data.append(self._session.reply(event.call_id, wire_results(call)))

    def _named(self, requests: list[CallRequest]) -> list[CallRequest]:
        """The requests with their names in the journal, in the order in which they were made."""
        keys, scope = self._keys, self._scope
        if keys is None:
            return requests
        return [
            replace(request, journal_key=keys.key(*asked(request, scope))) for request in requests
        ]

    def _settle(self, outcome: CallOutcome) -> Step:
        again = self._desk.mend(outcome)
        if again is not None:
            yield StartCalls(self._named([again]), iteration=self._iteration)
            return
        records, touched = self._desk.settle(outcome)
        for record in records:
            kind = "sub_call_cache_hit" if record.cached else "sub_call_end"
            yield self._emit_call(kind, record, outcome)
        for call in touched:
            self._reply_if_complete(call)

    def _reply_if_complete(self, call: OpenCall) -> None:
        if not call.complete:
            return
        done = self._desk.close(call)
        self._calls[call.call_id] = done
        if not self._ended:
            self._data.append(self._session.reply(call.call_id, wire_results(done)))

    def _settle_rest(self) -> Step:
        """Calls of threads that outlived the cell: they were paid for, so they are recorded."""
        cut = self._out_of_time
        while self._desk.waiting:
            if not cut and self._scope.budget.out_of_time(closing=self._closing):
                cut = True
                yield CutCalls(OUT_OF_TIME)
            # After the cut only child runs are left. They see the same clock.
            left = None if cut else self._scope.budget.seconds_left(closing=self._closing)
            outcomes: list[CallOutcome] = yield AwaitCalls(left)
            for outcome in outcomes:
                yield from self._settle(outcome)

    def _emit_call(self, kind: Any, record: SubCall, outcome: CallOutcome | None = None) -> Emit:
        text = preview(record.response or record.error or "")
        detail = call_detail(record) | {"left": self._scope.left()}
        detail["tool"] = outcome.request.prompt if outcome and record.kind == "tool" else None
        detail["recorded"] = outcome is not None and outcome.recorded and not record.cached
        event = RLMEvent(kind, self._iteration, text, detail, self._scope.depth, record)
        return Emit(event)

    def _cell(self, code: str, finished: CellFinished | None) -> Cell:
        common: dict[str, Any] = {
            "code": code,
            "host_calls": tuple(call for _, call in sorted(self._calls.items())),
            "started_seconds": max(0.0, self._started or 0.0),
            "elapsed_seconds": self._used,
            "total_seconds": max(0.0, self._ended_at - (self._started or 0.0)),
        }
        timed_out = self._used >= self._limit or self._out_of_time
        if finished is None:
            status = "timeout" if timed_out else "died"
            return Cell(status=status, error=self._why_ended(), **common)
        if finished.status == "interrupted" and timed_out:
            common |= {"status": "timeout", "error": self._why_ended()}
        else:
            failed = finished.status != "ok"
            common |= {"status": "error" if failed else "ok"}
            common |= {"error": finished.error or ("The cell failed." if failed else None)}
        return Cell(
            output_head=finished.output_head,
            output_tail=finished.output_tail,
            output_chars=finished.output_chars,
            changed=finished.changed,
            removed=finished.removed,
            answer=finished.answer
            and Answer(text=finished.answer.text, is_json=finished.answer.is_json),
            **common,
        )

    def _why_ended(self) -> str:
        if self._out_of_time:
            return f"TimeoutError: the cell was stopped: {OUT_OF_TIME}."
        if self._used >= self._limit:
            what = "The REPL was restarted." if self.lost else "Its variables are kept."
            return (
                f"TimeoutError: the cell was stopped after {self._limit:g} seconds of its own time "
                f"(waiting for sub-calls does not count). {what} Do less per cell."
            )
        return f"The cell ended the REPL process: {self.lost}. The REPL was restarted."
