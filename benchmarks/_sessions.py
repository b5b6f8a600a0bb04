"""Sessions with a worker, without the loop around them; and a bare child to hold them against."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from langchain_replm.sandbox._lifecycle import SessionKeeper
from langchain_replm.sandbox._policy import policy_data
from langchain_replm.sandbox._wire import CellFinished, Session, Setup, WireLimits
from langchain_replm.sandbox.base import Sandbox
from langchain_replm.sandbox.process import ProcessSandbox

ECHO = """
import sys
names = {}
for line in sys.stdin:
    exec(eval(line), names)
    sys.__stdout__.write("done\\n")
    sys.__stdout__.flush()
"""
"""The least that runs cells in a process: a line of source in, a word out."""


@contextmanager
def open_session(
    limits: WireLimits | None = None, *, sandbox: Sandbox | None = None, context: str = "heron"
) -> Iterator[tuple[SessionKeeper, Session]]:
    """A worker, of the default sandbox if no other is given, ready for cells."""
    sandbox = sandbox or ProcessSandbox("restricted")
    keeper = SessionKeeper(sandbox)
    try:
        setup = Setup(policy=policy_data(sandbox.policy), context=context)
        opened = keeper.opening(lambda: (setup, limits or WireLimits())).result()
        yield keeper, opened.session
    finally:
        keeper.close()


def run_cell(keeper: SessionKeeper, session: Session, code: str) -> CellFinished:
    """One cell without calls."""
    data = [session.execute("1", code)]
    while True:
        got = keeper.exchange(data, 60.0)
        data = []
        session.receive(got.data, eof=got.eof)
        event = session.next_event()
        if isinstance(event, CellFinished):
            return event
        if got.eof or got.timed_out:
            msg = "the worker is gone"
            raise RuntimeError(msg)


@contextmanager
def open_echo() -> Iterator[Any]:
    """A bare child; call the result with source."""
    command = [sys.executable, "-I", "-c", ECHO]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as child:

        def run(code: str) -> None:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(f"{code!r}\n")
            assert child.stdout.readline() == "done\n"

        yield run
        assert child.stdin is not None
        child.stdin.close()
