"""Drives a worker through its session to completion, with made-up answers to its calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

from langchain_replm.sandbox import LocalSandbox, ProcessSandbox, Sandbox
from langchain_replm.sandbox._policy import policy_data, sub_call_functions
from langchain_replm.sandbox._wire import (
    CallRequested,
    CellFinished,
    Function,
    Ready,
    Session,
    Setup,
    State,
    WireLimits,
)
from langchain_replm.sandbox.base import Exchanged, Transport

Responder = Callable[[CallRequested], list[dict[str, Any]]]

MODES = ("restricted", "subprocess", "none")


def make_sandbox(mode: str) -> Sandbox:
    if mode == "unjailed":
        return ProcessSandbox("subprocess", isolation="process")
    return LocalSandbox() if mode == "none" else ProcessSandbox(mode)  # type: ignore[arg-type]


def answer_from(answers: Mapping[str, Any]) -> Responder:
    """Answer each prompt from a dict; an exception there is a failed item; unknown is echoed."""

    def respond(call: CallRequested) -> list[dict[str, Any]]:
        results: list[dict[str, Any]] = []
        for item in call.items:
            key = item.get("prompt", call.function)
            value = answers.get(key, f"reply to {key}" if "prompt" in item else item.get("args"))
            results.append(
                {"error": str(value)} if isinstance(value, Exception) else {"value": value}
            )
        return results

    return respond


class WorkerDiedError(Exception):
    pass


class Harness:
    """One worker and its session.

    `run` drives a cell to its end, `start_cell` and `pump` do it step by step.
    """

    def __init__(
        self,
        mode: str = "restricted",
        *,
        context: Any = "some context",
        metadata: Any = None,
        answers: Mapping[str, Any] | Responder | None = None,
        functions: Iterable[Function] | None = None,
        limits: WireLimits | None = None,
        seed: int = 7,
        share: bool = True,
        sandbox: Sandbox | None = None,
        session: Session | None = None,
    ) -> None:
        self.mode = mode
        sandbox = make_sandbox(mode) if sandbox is None else sandbox
        self.transport: Transport = sandbox.open()
        self.session = Session(limits) if session is None else session
        self.respond: Responder = answers if callable(answers) else answer_from(answers or {})
        self.calls: list[CallRequested] = []
        self.exchanged: Exchanged | None = None
        self._count = 0
        if share and context is not None and self.transport.share("context", context):
            context = None
        setup = Setup(
            policy=policy_data(sandbox.policy),  # type: ignore[arg-type]
            functions=tuple(sub_call_functions() if functions is None else functions),
            context=context,
            context_metadata=metadata,
            seed=seed,
        )
        try:
            self.ready = self.wait_for(Ready, self.session.start(setup))
        except BaseException:
            self.transport.close()
            raise

    def pump(self, data: Iterable[bytes] = (), timeout: float | None = 20.0) -> Exchanged:
        done = self.transport.exchange(data, timeout)
        self.exchanged = done
        self.session.receive(done.data, eof=done.eof)
        return done

    def wait_for(self, kind: type, data: Iterable[bytes] = (), timeout: float = 20.0) -> Any:
        """Answer calls until an event of that kind comes."""
        deadline = time.monotonic() + timeout
        while True:
            self.pump(data, max(0.0, deadline - time.monotonic()))
            data = []
            while (event := self.session.next_event()) is not None:
                if isinstance(event, kind):
                    return event
                if isinstance(event, CallRequested):
                    self.calls.append(event)
                    data.append(self.session.reply(event.call_id, self.respond(event)))
            if self.session.state is State.CLOSED:
                raise WorkerDiedError
            if time.monotonic() > deadline:
                raise TimeoutError

    def start_cell(self, code: str) -> str:
        self._count += 1
        cell_id = f"c{self._count}"
        self.pump([self.session.execute(cell_id, code)], 0.0)
        return cell_id

    def run(self, code: str, timeout: float = 20.0) -> CellFinished:
        self._count += 1
        frame = self.session.execute(f"c{self._count}", code)
        return self.wait_for(CellFinished, [frame], timeout)

    def submit(self, kind: str, text: str) -> CellFinished:
        self._count += 1
        frame = self.session.submit(f"c{self._count}", kind, text)  # type: ignore[arg-type]
        return self.wait_for(CellFinished, [frame])

    def output(self, code: str) -> str:
        """Run a cell that must succeed and give what it printed."""
        done = self.run(code)
        assert done.status == "ok", done.error
        return done.output_head + done.output_tail

    def error(self, code: str) -> str:
        """Run a cell that must fail and give its error."""
        done = self.run(code)
        assert done.status == "error", done
        assert done.error is not None
        return done.error

    def close(self) -> None:
        self.transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
