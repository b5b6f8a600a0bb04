"""Cells in, results out: runs cells through a session and serves the calls that they make.

The session is an event stream, not a call stack: while sub-calls of one thread of a cell run,
requests of its other threads are served. A lost session is rebuilt by running the finished cells
again with the recorded results of their calls; no model is called for that.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langchain_replm._approval import Decision, ask
from langchain_replm._durable import asked
from langchain_replm._effects import (
    AwaitCalls,
    CutCalls,
    Datum,
    Emit,
    Exchange,
    Flow,
    Interrupt,
    LookUp,
    OpenSession,
    Renew,
    Restart,
    StartCalls,
    Worked,
)
from langchain_replm._prices import name_of
from langchain_replm._recorded import CellKeys
from langchain_replm._subcalls import Replay, SubCallDesk, record_of, request_key, wire_results
from langchain_replm.errors import ProtocolError, SandboxError
from langchain_replm.events import RLMEvent, call_detail, cell_detail, preview
from langchain_replm.journal import journal_key
from langchain_replm.prompts import EDITED_CELLS, REJECTED_CELLS, fence
from langchain_replm.sandbox._wire import CallRequested, CellFinished, State
from langchain_replm.state import read_session, read_trajectory, read_turn
from langchain_replm.types import PROMPT_RECORD_CHARS, Answer, Cell, HostCall, SubCall, total

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from langchain_replm._subcalls import CallOutcome, CallRequest, OpenCall
    from langchain_replm.events import EventType
    from langchain_replm.sandbox._lifecycle import LiveSession
    from langchain_replm.state import FinalText, RLMState, RunScope, Turn

    Step = Generator[Any, Any, Any]

INTERRUPT_GRACE_SECONDS = 0.5
"""A Python loop ends within microseconds of the interrupt and keeps its variables; code that does
not end in this time (a C loop, a cell that swallows everything) is killed."""


def sandbox_exec(state: RLMState, scope: RunScope) -> Flow:
    """Run the cells of the reply, in order, until one fails or submits.

    Yields:
        Session effects, `StartCalls` and events.

    Returns:
        `turn` with the cells' results and the submitted answer.

    Raises:
        SandboxError: The worker could not be started or died while it was being rebuilt.
    """
    turn = yield from _decided(read_turn(state), scope)
    detail = {"text": turn.reply, "cells": list(turn.code)}
    yield Emit(RLMEvent("code_generated", turn.number, preview(turn.reply), detail, scope.depth))
    if turn.verdict is not None and not turn.code:
        return {"turn": turn.model_dump()}
    runner = _Runner(scope, turn, rebuilding(state, scope), datum_of(state, scope))
    runner.decisions = turn.decisions
    scope.unfinished = lambda: turn.model_copy(update={"cells": runner.unfinished()})
    yield from runner.open()
    try:
        for code in turn.code:
            yield from runner.run_cell(code)
    except _AskFirstError as error:
        return {"turn": turn.model_copy(update={"asks": (error.question,)}).model_dump()}
    if turn.final is not None and runner.may_submit(turn):
        yield from runner.submit(turn.final)
    answer = next((cell.answer.text for cell in runner.cells if cell.answer), None)
    scope.unfinished = None
    update = {"cells": tuple(runner.cells), "answer": answer, "restarted": runner.restarted}
    return {"turn": turn.model_copy(update=update).model_dump()}


STOPPED = "the run was stopped"
OUT_OF_TIME = "the time of the run is over"


def _decided(turn: Turn, scope: RunScope) -> Generator[Any, Any, Turn]:
    """The turn as a person wants it; asked first thing, before any work is done."""
    if turn.asks:
        (question,) = turn.asks
        decision = yield from ask(question, ("approve", "edit", "reject"))
        known = {**turn.decisions, question["key"]: decision.model_dump()}
        return turn.model_copy(update={"asks": (), "decisions": known})
    if not turn.code or turn.verdict is not None or not scope.asks("cells") or turn.decisions:
        return turn
    question = {"ask": "cells", "iteration": turn.number, "cells": list(turn.code)}
    decision = yield from ask({**question, "reply": turn.reply}, ("approve", "edit", "reject"))
    message = f" ({decision.message})" if decision.message else ""
    if decision.type == "edit":
        shown = fence("cells", "\n\n".join(decision.cells))
        told = EDITED_CELLS.replace("{message}", message).replace("{cells}", shown)
        return turn.model_copy(update={"code": decision.cells, "verdict": told})
    if decision.type == "reject":
        told = REJECTED_CELLS.replace("{message}", message)
        skipped = tuple(
            Cell(code=code, status="skipped", error="rejected by a person") for code in turn.code
        )
        update = {"code": (), "final": None, "cells": skipped, "verdict": told}
        return turn.model_copy(update=update)
    return turn


class _AskFirstError(Exception):
    """A cell has called a tool about which a person has not decided yet."""

    def __init__(self, question: dict[str, Any]) -> None:
        super().__init__(question)
        self.question = question


def datum_of(state: RLMState, scope: RunScope) -> Datum:
    """What the REPL is about now."""
    if scope.journal is None or scope.depth:
        return Datum(state["context_handle"])
    runs = read_session(state)
    handles: list[Any] = [*(run.context_handle for run in runs), state["context_handle"]]
    room = max(handle["chars"] for handle in handles)
    return Datum(state["context_handle"], tuple(run.said() for run in runs), room)


def rebuilding(state: RLMState, scope: RunScope) -> list[tuple[Datum, Cell]]:
    """The cells of a session before this turn, and what the REPL was about when they ran."""
    now = datum_of(state, scope)
    cells = []
    for number, run in enumerate(read_session(state) if now.history is not None else []):
        handle: Any = run.context_handle
        then = Datum(handle, (now.history or ())[:number], now.room_chars)
        cells += [(then, cell) for step in run.trajectory for cell in step.cells]
    return cells + [(now, cell) for step in read_trajectory(state) for cell in step.cells]


def _name(datum: Datum, cell: Cell) -> str:
    """Equal for cells that do the same to a session."""
    return journal_key(datum.name, cell.code, [call.request_sha256 for call in cell.host_calls])


class _Runner:
    """The cells of one turn, run one after the other in the session of the run."""

    def __init__(
        self, scope: RunScope, turn: Turn, past: list[tuple[Datum, Cell]], datum: Datum
    ) -> None:
        self._scope = scope
        self._turn = turn
        self._past = past
        self._datum = datum
        self._opened: LiveSession
        self.decisions: Mapping[str, Any] = {}
        self._running: Callable[[], Cell] | None = None
        self.cells: list[Cell] = []
        self.restarted: str | None = None

    @property
    def _finished(self) -> list[tuple[Datum, Cell]]:
        """Cells whose effects a session must hold, in order, and what they were about."""
        cells = [*self._past, *((self._datum, cell) for cell in self.cells)]
        return [(datum, cell) for datum, cell in cells if cell.status in {"ok", "error"}]

    def open(self) -> Step:
        """Take the session of the run, and bring it to where the record stands."""
        self._opened = yield OpenSession(self._datum)
        self._opened.datum = self._opened.datum or self._datum.name
        wanted = [_name(datum, cell) for datum, cell in self._finished]
        done, room = self._opened.done, self._opened.room_chars
        stands = self._opened.session.state is State.IDLE
        if not stands or done != wanted[: len(done)] or room < self._datum.room_chars:
            yield from self._restart()
        else:
            yield from self._replay()

    def _restart(self) -> Step:
        self._opened = yield Restart(self._datum)
        self._opened.datum = self._datum.name
        yield from self._replay()

    def _be_about(self, datum: Datum) -> Step:
        if self._opened.datum != datum.name:
            self._opened = yield Renew(datum)
            self._opened.datum = datum.name

    def unfinished(self) -> tuple[Cell, ...]:
        """The cells of the turn, and what there is of the one that was running."""
        running = [] if self._running is None else [self._running()]
        return (*self.cells, *running)

    def run_cell(self, code: str) -> Step:
        """Run one cell, unless an earlier one of the turn has failed or submitted."""
        if any(cell.status != "ok" or cell.answer for cell in self.cells):
            self.cells.append(Cell(code=code, status="skipped"))
            return
        name = f"{self._turn.number}.{len(self.cells) + 1}"
        data = self._opened.session.execute(name, code)
        yield from self._record(code, data, submits=False)

    def may_submit(self, turn: Turn) -> bool:
        """A text final beside cells counts only if it names a variable and all cells ran well.

        A `FINAL(text)` in the same reply was written before the output was there. In the closing
        reply there is no later one, so it counts.
        """
        assert turn.final is not None  # noqa: S101 - for the type checker; the caller has looked
        if any(cell.answer for cell in self.cells):
            return False
        if turn.closing and turn.final.kind == "text":
            return True
        failed = any(cell.status != "ok" for cell in self.cells)
        beside_counts = not self._scope.settings.config.hold_final_beside_cells
        return not failed and (not turn.code or turn.final.kind == "var" or beside_counts)

    def submit(self, final: FinalText) -> Step:
        """Resolve a text final in the REPL: a variable's value, or the text itself."""
        data = self._opened.session.submit(f"{self._turn.number}.final", final.kind, final.text)
        call = f'FINAL_VAR("{final.text}")' if final.kind == "var" else f"FINAL({final.text})"
        yield from self._record(call, data, submits=True)

    def _record(self, code: str, data: bytes, *, submits: bool) -> Step:
        detail = {"cell": len(self.cells) + 1, "code": code, "submits": submits}
        yield self._emit("cell_start", code, detail)
        keys = None
        if self._scope.journal is not None:
            place = f"{self._turn.number}.{len(self.cells) + 1}"
            keys = CellKeys(self._scope.options.path, place, code)
        service = _Service(self._scope, self._turn, self._opened.session, keys)
        service.decisions = self.decisions
        self._running = lambda: service.unfinished(code)
        cell: Cell = yield from service.run(code, data)
        self._running = None
        yield self._emit("cell_end", cell.error or cell.output_head, detail | cell_detail(cell))
        self.cells.append(cell)
        if cell.status in {"ok", "error"}:
            self._opened.done.append(_name(self._datum, cell))
        if service.lost is not None and cell.answer is None:
            self.restarted = service.lost
            yield from self._restart()

    def _emit(self, kind: EventType, text: str, detail: dict[str, Any]) -> Emit:
        return Emit(RLMEvent(kind, self._turn.number, preview(text), detail, self._scope.depth))

    def _replay(self) -> Step:
        """Run what the session does not hold yet, with the recorded results of its calls."""
        session, finished = self._opened.session, self._finished
        for position, (datum, cell) in enumerate(finished[len(self._opened.done) :], start=1):
            yield from self._be_about(datum)
            self._opened.done.append(_name(datum, cell))
            data = [session.execute(f"replay.{position}", cell.code)]
            replay = Replay(cell.host_calls)
            left, ended = self._scope.settings.config.sandbox_timeout, False
            while True:
                event = session.next_event()
                if isinstance(event, CellFinished):
                    break
                if isinstance(event, CallRequested):
                    data.append(
                        session.reply(event.call_id, replay.results(event.kind, event.items))
                    )
                    continue
                if ended or left <= 0:
                    msg = (
                        f"The REPL could not be rebuilt: cell {position} of {len(finished)} "
                        "did not finish when it was run again."
                    )
                    raise SandboxError(msg)
                got: Worked = yield Exchange(data, left)
                data, left, ended = [], left - got.exchanged.elapsed_seconds, got.exchanged.eof
                session.receive(got.exchanged.data, eof=ended)
        yield from self._be_about(self._datum)


class _Service:
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

    def run(self, code: str, data: bytes) -> Step:
        """Serve the cell until it ends, is stopped, or takes its worker along."""
        self._data = [data]
        finished: CellFinished | None = None
        try:
            finished = yield from self._serve()
        except _AskFirstError:
            self._ended = True
            yield from self._settle_rest()  # they are paid for, so they must reach the journal
            raise
        except ProtocolError as error:
            self.lost = f"its worker broke the protocol: {error}"
        if self._eof and self.lost is None:
            self.lost = "its worker died"
        self._ended = True
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
        asked = (event.call_id, event.function, event.kind, items)
        known: Sequence[str | None] = ()
        if self._scope.settings.cache is not None and event.kind != "tool":
            known = yield LookUp(self._desk.requests(*asked))
        admission = self._desk.admit(*asked, known=known)
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

    def _decision(self, event: CallRequested, keys: CellKeys) -> Decision:
        """What a person has decided about a tool call; raised to be asked, if nothing yet."""
        args = event.items[0]["args"]
        key = keys.key("person", event.function, args)
        if key not in self.decisions:
            question = {"ask": "tools", "iteration": self._iteration, "key": key}
            raise _AskFirstError({**question, "tool": event.function, "args": args})
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
            yield self._emit_call(kind, record)
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

    def _emit_call(self, kind: Any, record: SubCall) -> Emit:
        text = preview(record.response or record.error or "")
        detail = call_detail(record)
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
