"""An open session and what was done in it, in the hands of a run or of nobody."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_replm.sandbox._wire import Session
    from langchain_replm.sandbox.base import Transport


@dataclass(slots=True)
class LiveSession:
    """An open session, and what was done in it."""

    session: Session
    datum: str = ""
    """Names the context and the history that are in it."""
    room_chars: int = 0
    """The longest context for which it has room."""
    done: list[tuple[str, ...]] = field(default_factory=list)
    """Names of the cells that it has run, in order."""
    digest: str = ""
    """Of the records of these cells: equal for the REPL that they describe, and for no other."""
    is_exact: bool = True
    """Nothing happened in it that would not happen when it is rebuilt from its record."""
    is_left: bool = False
    """An earlier call has left it; nobody has looked yet whether it is what this call needs."""


@dataclass(frozen=True, slots=True)
class IdleSession:
    """A session that nobody runs, and until when it is kept."""

    transport: Transport
    opened: LiveSession
    until: float = 0.0
