"""Cells in, results out: runs cells through a session and serves the calls that they make.

A lost session is rebuilt by running the finished cells
again with the recorded results of their calls; no model is called for that.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from langchain_replm._approval import ask
from langchain_replm._effects import (
    SESSION_ROOM_CHARS,
    Datum,
    Emit,
    Exchange,
    Flow,
    OpenSession,
    Renew,
    Restart,
    Worked,
)
from langchain_replm._nodes._service import AskFirstError, CellService
from langchain_replm._recorded import CellKeys
from langchain_replm._subcalls import Replay
from langchain_replm.errors import SandboxError
from langchain_replm.events import RLMEvent, cell_detail, preview
from langchain_replm.journal import journal_key
from langchain_replm.prompts import EDITED_CELLS, REJECTED_CELLS, fence
from langchain_replm.sandbox._lifecycle import NoPlaceError
from langchain_replm.sandbox._wire import CallRequested, CellFinished, State
from langchain_replm.state import read_session, read_turn
from langchain_replm.types import Cell

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from langchain_replm.events import EventType
    from langchain_replm.sandbox._live import LiveSession
    from langchain_replm.scope import RunScope
    from langchain_replm.state import FinalText, RLMState, Turn

    Step = Generator[Any, Any, Any]


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
    try:
        yield from runner.open()
    except NoPlaceError as error:
        skipped = (Cell(code=code, status="skipped", error=str(error)) for code in turn.code)
        return {"turn": turn.model_copy(update={"cells": tuple(skipped)}).model_dump()}
    try:
        for code in turn.code:
            yield from runner.run_cell(code)
    except AskFirstError as error:
        return {"turn": turn.model_copy(update={"asks": (error.question,)}).model_dump()}
    if turn.final is not None and runner.may_submit(turn):
        yield from runner.submit(turn.final)
    answer = next((cell.answer.text for cell in runner.cells if cell.answer), None)
    scope.unfinished = None
    update = {"cells": tuple(runner.cells), "answer": answer, "restarted": runner.restarted}
    return {"turn": turn.model_copy(update=update).model_dump()}


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
            Cell(code=code, status="skipped", error="a person has rejected it")
            for code in turn.code
        )
        update = {"code": (), "final": None, "cells": skipped, "verdict": told}
        return turn.model_copy(update=update)
    return turn


def datum_of(state: RLMState, scope: RunScope) -> Datum:
    """What the REPL is about now."""
    if scope.journal is None or scope.depth:
        return Datum(state["context_handle"])
    runs = read_session(state)
    handles: list[Any] = [*(run.context_handle for run in runs), state["context_handle"]]
    room = max(SESSION_ROOM_CHARS, *(handle["chars"] for handle in handles))
    return Datum(state["context_handle"], tuple(run.said() for run in runs), room)


def rebuilding(state: RLMState, scope: RunScope) -> list[tuple[Datum, Cell]]:
    """The cells of a session before this turn, and what the REPL was about when they ran."""
    now = datum_of(state, scope)
    cells = []
    for number, run in enumerate(read_session(state) if now.history is not None else []):
        handle: Any = run.context_handle
        then = Datum(handle, (now.history or ())[:number], now.room_chars)
        cells += [(then, cell) for step in run.trajectory for cell in step.cells]
    return cells + [(now, cell) for step in scope.steps(state) for cell in step.cells]


def _hold(opened: LiveSession, datum: Datum, cell: Cell) -> None:
    """Note that a session has run a cell."""
    opened.done.append(_name(datum, cell))
    opened.digest = _digest(opened.digest, datum, cell)


def _digest(before: str, datum: Datum, cell: Cell) -> str:
    """Of one more cell: its code, what its calls were given, what came of it, and when."""
    return journal_key(before, datum.name, cell.model_dump(mode="json"))


def _name(datum: Datum, cell: Cell) -> tuple[str, ...]:
    """Equal for cells that do the same to a session; no hash, for all are compared at each turn."""
    return (datum.name, cell.code, *(call.request_sha256 for call in cell.host_calls))


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
        if self._opened.is_left:
            yield from self._take_up()
            return
        self._opened.datum = self._opened.datum or self._datum.name
        wanted = [_name(datum, cell) for datum, cell in self._finished]
        done, room = self._opened.done, self._opened.room_chars
        stands = self._opened.session.state is State.IDLE
        if not stands or done != wanted[: len(done)] or room < self._datum.room_chars:
            yield from self._restart()
        else:
            yield from self._replay()

    def _take_up(self) -> Step:
        """Go on in a session that an earlier call has left, if the record is that of it."""
        opened, wanted = self._opened, ""
        opened.is_left = False
        for datum, cell in self._finished:
            wanted = _digest(wanted, datum, cell)
        if opened.digest == wanted and opened.room_chars >= self._datum.room_chars:
            with suppress(SandboxError):  # it has ended meanwhile
                yield from self._be_about(self._datum)
                return
        yield from self._restart()

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
        service = CellService(self._scope, self._turn, self._opened.session, keys)
        service.decisions = self.decisions
        self._running = lambda: service.unfinished(code)
        cell: Cell = yield from service.run(code, data)
        self._running = None
        yield self._emit("cell_end", cell.error or cell.output_head, detail | cell_detail(cell))
        self.cells.append(cell)
        if cell.status in {"ok", "error"}:
            _hold(self._opened, self._datum, cell)
        if service.has_strayed or cell.status not in {"ok", "error"}:
            self._opened.is_exact = False
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
            _hold(self._opened, datum, cell)
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
