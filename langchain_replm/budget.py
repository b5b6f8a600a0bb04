"""The ceilings of a run and the ledger that is held against them, for the whole recursion tree.

Nothing is spent that was not admitted before. A count (sub-calls, tool calls) is taken at once. The
tokens and the money of a model call are reserved at the most that the call can take and settled
with what it took. What does not fit beside the reservations of calls that are still running waits
for them; what does not fit beside what is spent is refused.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_replm.config import RLMConfig
    from langchain_replm.types import StopReason

CLOSING_SECONDS = 1.0
CLOSING_SHARE = 0.1
"""Least time that is left for the closing request, and least part of `max_seconds`."""

ROUNDING = 1e-9
"""A limit is not met by the rounding of sums of money."""

Verdict: TypeAlias = "Literal['admitted', 'wait'] | StopReason"


@dataclass(frozen=True, slots=True)
class Spend:
    """Tokens and money: of one call, or of many."""

    tokens: int = 0
    cost_usd: float = 0.0

    def __add__(self, other: Spend) -> Spend:
        return Spend(self.tokens + other.tokens, self.cost_usd + other.cost_usd)

    def __sub__(self, other: Spend) -> Spend:
        return Spend(self.tokens - other.tokens, self.cost_usd - other.cost_usd)


NOTHING = Spend()


class Budget:
    """Everything allowed, spent, reserved and refused. Shared by a run and all its children.

    Admission is atomic and comes before the call is made, so that no interleaving of threads,
    tasks and children can spend more than the limit.
    """

    def __init__(self, config: RLMConfig, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.max_seconds = config.max_seconds
        self._clock = clock
        self._started = clock()
        self._closing_seconds = 0.0
        self.max_sub_calls: int = config.max_sub_calls
        self.max_tool_calls: int | None = config.max_tool_calls
        self.max_total_tokens = config.max_total_tokens
        self.max_cost_usd = config.max_cost_usd
        self._lock = threading.Lock()
        self._sub_calls = 0
        self._tool_calls = 0
        self._spent = NOTHING
        self._held = NOTHING
        self._holds = 0
        self._kept = NOTHING
        self._refused: StopReason | None = None
        self._waiting: list[Callable[[], object]] = []
        self._stopped = False

    # Counts

    def admit(self, wanted: int) -> int:
        """Take up to `wanted` sub-calls and return how many may be made."""
        with self._lock:
            admitted = max(0, min(wanted, self.max_sub_calls - self._sub_calls))
            self._sub_calls += admitted
            if admitted < wanted:
                self._refused = self._refused or "max_sub_calls"
            return admitted

    def give_back(self, sub_calls: int) -> None:
        """Return sub-calls that were taken and not made."""
        with self._lock:
            self._sub_calls -= sub_calls

    def admit_tools(self, wanted: int) -> int:
        """Take up to `wanted` tool calls and return how many may be made.

        A refusal does not end the run: tools are a means, and the root model can go on without.
        """
        with self._lock:
            left = wanted if self.max_tool_calls is None else self.max_tool_calls - self._tool_calls
            admitted = max(0, min(wanted, left))
            self._tool_calls += admitted
            return admitted

    # Tokens and money

    @property
    def counts_spending(self) -> bool:
        """Whether there is a limit for which the size of a call must be known before it is made."""
        return self.max_total_tokens is not None or self.max_cost_usd is not None

    def reserve(
        self, most: Spend, *, closing: bool = False, when_room: Callable[[], object] | None = None
    ) -> Verdict:
        """Ask for a model call before it is made.

        Args:
            most: The most that the call can take; to be settled if it is admitted.
            closing: This is the closing request of the run; it may use what was kept for it.
            when_room: Called once when it is worth to ask again, if the verdict is "wait".

        Returns:
            "admitted"; "wait" while calls that are running hold what this one needs; or the limit
            for which it is refused.
        """
        with self._lock:
            if self._stopped or self._is_over(closing=closing):
                over: StopReason = "cancelled" if self._stopped else "deadline"
                self._refused = self._refused or over
                return over
            kept = NOTHING if closing else self._kept
            if self._missing(self._spent + self._held + kept + most) is None:
                self._held += most
                self._holds += 1
                return "admitted"
            limit = self._missing(self._spent + kept + most)
            if limit is None and when_room is not None:
                self._waiting.append(when_room)
                return "wait"
            limit = limit or self._missing(self._spent + self._held + kept + most)
            assert limit is not None  # noqa: S101 - for the type checker; the first test said so
            self._refused = self._refused or limit
            return limit

    def settle(self, most: Spend, used: Spend) -> None:
        """Replace what was reserved for a call with what it took."""
        with self._lock:
            self._holds -= 1
            # Sums of money drift; with nothing held nothing is held.
            self._held = self._held - most if self._holds else NOTHING
            self._spent += used
            waiting, self._waiting = self._waiting, []
        for ask_again in waiting:
            ask_again()

    def keep_for_closing(self, most: Spend) -> None:
        """Keep so much for the closing request of the run; only that request may use it."""
        with self._lock:
            self._kept = most

    def grant(self, limit: str, amount: float) -> None:
        """Add to a limit, and forget that it has refused something."""
        with self._lock:
            if limit == "max_sub_calls":
                self.max_sub_calls += int(amount)
            elif limit == "max_tokens" and self.max_total_tokens is not None:
                self.max_total_tokens += int(amount)
            elif limit == "max_cost" and self.max_cost_usd is not None:
                self.max_cost_usd += amount
            elif limit == "deadline" and self.max_seconds is not None:
                self.max_seconds += amount
            self._refused = None

    def restore(
        self, sub_calls: int, tool_calls: int = 0, spent: Spend = NOTHING, *, seconds: float = 0.0
    ) -> None:
        """Charge what a run had spent before it was resumed."""
        with self._lock:
            self._started -= seconds
            self._sub_calls += sub_calls
            self._tool_calls += tool_calls
            self._spent += spent

    def _missing(self, total: Spend) -> StopReason | None:
        if self.max_total_tokens is not None and total.tokens > self.max_total_tokens:
            return "max_tokens"
        if self.max_cost_usd is not None and total.cost_usd > self.max_cost_usd * (1 + ROUNDING):
            return "max_cost"
        return None

    # Time

    def seconds_left(self, *, closing: bool = False) -> float | None:
        """Seconds until work must end, or until the closing request must; None: no limit."""
        if self.max_seconds is None:
            return None
        kept = 0.0 if closing else self._closing_seconds
        return max(0.0, self._started + self.max_seconds - kept - self._clock())

    def out_of_time(self, *, closing: bool = False) -> bool:
        """Whether work must end now; if so, that is a limit met."""
        if not self._is_over(closing=closing):
            return False
        with self._lock:
            self._refused = self._refused or "deadline"
        return True

    def root_replied(self, seconds: float) -> None:
        """From now on there is something to close with: leave time for twice the slowest reply."""
        if self.max_seconds is not None:
            least = max(CLOSING_SECONDS, CLOSING_SHARE * self.max_seconds)
            wanted = max(2 * seconds, self._closing_seconds, least)
            self._closing_seconds = min(wanted, self.max_seconds / 2)

    def stop(self) -> None:
        """Admit nothing more; who waits for room is told to ask again."""
        with self._lock:
            self._stopped = True
            waiting, self._waiting = self._waiting, []
        for ask_again in waiting:
            ask_again()

    def _is_over(self, *, closing: bool = False) -> bool:
        return self.seconds_left(closing=closing) == 0.0

    # What is known

    @property
    def sub_calls(self) -> int:
        """Sub-calls made or taken."""
        return self._sub_calls

    @property
    def sub_calls_left(self) -> int:
        """Sub-calls that may still be made."""
        return max(0, self.max_sub_calls - self._sub_calls)

    @property
    def tool_calls_left(self) -> int | None:
        """Tool calls that may still be made; None: as many as you like."""
        return None if self.max_tool_calls is None else self.max_tool_calls - self._tool_calls

    @property
    def tokens_left(self) -> int | None:
        """Tokens not spent and not kept for the closing request; None: no limit."""
        if self.max_total_tokens is None:
            return None
        return max(0, self.max_total_tokens - self._spent.tokens - self._kept.tokens)

    @property
    def cost_left_usd(self) -> float | None:
        """Money not spent and not kept for the closing request; None: no limit."""
        if self.max_cost_usd is None:
            return None
        return max(0.0, self.max_cost_usd - self._spent.cost_usd - self._kept.cost_usd)

    @property
    def spent(self) -> Spend:
        """What settled calls have taken."""
        return self._spent

    def limit_met(self) -> StopReason | None:
        """The limit that has stopped something first, if one has.

        A limit that is used up exactly has stopped nothing; the run may still end well.
        """
        return self._refused
