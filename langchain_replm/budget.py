"""The ceilings of a run and the ledger that is held against them, for the whole recursion tree."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_replm.config import RLMConfig
    from langchain_replm.types import StopReason


class Budget:
    """Sub-calls allowed, used and refused. Shared by a run and all its children.

    Admission is atomic and comes before the call is made, so that no interleaving of threads,
    tasks and children can spend more than the limit.
    """

    def __init__(self, config: RLMConfig) -> None:
        self.max_sub_calls = config.max_sub_calls
        self._lock = threading.Lock()
        self._sub_calls = 0
        self._refused = 0

    def admit(self, wanted: int) -> int:
        """Reserve up to `wanted` sub-calls and return how many may be made."""
        with self._lock:
            admitted = max(0, min(wanted, self.max_sub_calls - self._sub_calls))
            self._sub_calls += admitted
            self._refused += wanted - admitted
            return admitted

    def restore(self, sub_calls: int) -> None:
        """Charge what a run had spent before it was resumed."""
        with self._lock:
            self._sub_calls += sub_calls

    @property
    def sub_calls(self) -> int:
        """Sub-calls made or reserved."""
        return self._sub_calls

    @property
    def sub_calls_left(self) -> int:
        """Sub-calls that may still be made."""
        return max(0, self.max_sub_calls - self._sub_calls)

    def limit_met(self) -> StopReason | None:
        """The limit that has stopped something, if one has.

        A limit that is used up exactly has stopped nothing; the run may still end well.
        """
        return "max_sub_calls" if self._refused else None
