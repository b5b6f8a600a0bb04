"""What a baseline may spend and has spent, by the rules that hold for an RLM."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from langchain_replm._prices import cost_usd, most_spent, name_of, price_of
from langchain_replm._requests import root_kwargs, sub_kwargs
from langchain_replm.budget import NOTHING, Budget, Spend
from langchain_replm.errors import RLMError
from langchain_replm.evals.runners._steps import step
from langchain_replm.types import add_usage_by_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage, BaseMessage
    from langchain_core.messages.ai import UsageMetadata
    from langchain_core.runnables import Runnable

    from langchain_replm.config import RLMConfig

Role = Literal["root", "sub"]


@dataclass(frozen=True, slots=True)
class Said:
    """What a chain ends with."""

    answer: str
    stop_reason: str = "answered"


class LimitMetError(RLMError):
    """There was no room for a call; the run ends with what it has."""

    def __init__(self, stop_reason: str) -> None:
        self.stop_reason = stop_reason
        super().__init__(f"The run met its limit {stop_reason!r}.")


class Meter:
    """Admits the calls of one run and adds up what they took.

    The ledger is the `Budget` of an RLM and the prices are read by the same functions, so that a
    limit means the same for every runner. A run with a limit of tokens or money makes its calls
    one after the other: then no two of them can share the last room.
    """

    def __init__(self, config: RLMConfig, root: BaseChatModel, sub: BaseChatModel) -> None:
        self.config = config
        self.budget: Budget = Budget(config)
        self.usage: dict[str, UsageMetadata] = {}
        self.calls: dict[Role, int] = {"root": 0, "sub": 0}
        self._models: dict[Role, BaseChatModel] = {"root": root, "sub": sub}
        self._cost_usd: float | None = 0.0
        self._held: Spend | None = None
        self._lock = threading.Lock()

    @property
    def cost_usd(self) -> float | None:
        """USD so far; None if a price or the tokens of a call are unknown."""
        return self._cost_usd

    @property
    def at_once(self) -> int:
        """How many calls may be in flight."""
        return 1 if self.budget.counts_spending else self.config.max_concurrency

    def kwargs(self, role: Role) -> dict[str, Any]:
        """The sampling parameters that the config asks for."""
        return root_kwargs(self.config) if role == "root" else sub_kwargs(self.config)

    def model(self, role: Role) -> Runnable[Any, AIMessage]:
        """The model of a role, admitted before each call and charged after it.

        A function that returns a Runnable has it invoked with its own input; so each call of a
        batch is admitted when its turn comes, not all of them before the first.
        """
        target = self._models[role].bind(**self.kwargs(role)) | step(lambda m: self.take(role, m))

        def admitted(messages: list[BaseMessage]) -> Any:
            self.admit(role, messages)
            return target

        return step(admitted, name=f"{role}_model")

    def admit(self, role: Role, messages: Sequence[BaseMessage]) -> None:
        """Reserve the most that a call can take.

        Raises:
            LimitMetError: It does not fit.
        """
        with self._lock:
            if self._held is not None:  # of a call that failed
                self.budget.settle(self._held, NOTHING)
                self._held = None
            most = self._most(role, messages) if self.budget.counts_spending else NOTHING
            if role == "sub" and not self.budget.admit(1):
                raise LimitMetError("max_sub_calls")  # noqa: EM101 - the word is the reason
            verdict = self.budget.reserve(most)
            if verdict != "admitted":
                raise LimitMetError(verdict)
            self.calls[role] += 1
            if self.budget.counts_spending:
                self._held = most

    def take(self, role: Role, message: AIMessage) -> AIMessage:
        """Charge a call with what its reply says."""
        asked, reported = name_of(self._models[role]), message.response_metadata.get("model_name")
        usage = message.usage_metadata
        # The order in which an RLM looks for the price of a root model and of a sub-model.
        price = price_of(self.config, asked, reported)
        cost = cost_usd(usage, price)
        with self._lock:
            if usage is not None:
                add_usage_by_model(self.usage, {reported or asked: usage})
            if cost is None or self._cost_usd is None:
                self._cost_usd = None
            else:
                self._cost_usd += cost
            if self._held is not None:
                most, self._held = self._held, None
                tokens = most.tokens if usage is None else usage["total_tokens"]
                self.budget.settle(most, Spend(tokens, most.cost_usd if cost is None else cost))
        return message

    def said(self, message: AIMessage) -> Said:
        """A reply as the answer; the stop reason names a limit if it has refused something."""
        return Said(message.text, self.budget.limit_met() or "answered")

    def _most(self, role: Role, messages: Sequence[BaseMessage]) -> Spend:
        model = self._models[role]
        price = price_of(self.config, name_of(model))
        texts = [message.text for message in messages]
        asked = self.kwargs(role).get("max_tokens")
        return most_spent(texts, model, price, output_tokens=asked)
