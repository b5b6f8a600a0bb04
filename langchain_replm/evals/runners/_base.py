"""What the baselines share: one run is one chain, with one meter, in both colours."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_core.exceptions import ContextOverflowError
from langchain_core.runnables import Runnable

from langchain_replm._prices import name_of
from langchain_replm.context_store import check_context
from langchain_replm.errors import ConfigurationError
from langchain_replm.evals.runners._meter import LimitMetError, Meter, Said
from langchain_replm.evals.types import Outcome
from langchain_replm.state import RLMInput

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.language_models import BaseChatModel
    from langchain_core.runnables import RunnableConfig

    from langchain_replm.config import RLMConfig

CHARS_PER_TOKEN = 4
"""The rule by which tasks count their sizes."""

WINDOW = "window"
"""Stop reason of a run whose prompt was longer than the model's window; the paper's asterisk."""

_OVERFLOW = (
    "context_length_exceeded",
    "context length",
    "context window",
    "context size",
    "prompt is too long",
    "input token count",
    "maximum number of tokens",
)
"""Words by which providers say that a prompt was too long, where LangChain has no error of it."""


@dataclass
class Question:
    """What one run was asked, and what it may use."""

    query: str
    items: list[str]
    metadata: list[dict[str, Any]]
    """Of documents, in their order; empty for plain texts."""
    meter: Meter
    cleanup: ExitStack
    """Ends with the run."""

    def text(self) -> str:
        """The context as one text; several documents have a line above each that names it."""
        if len(self.items) == 1:
            return self.items[0]
        return "\n\n".join(f"[{self.title(at)}]\n{item}" for at, item in enumerate(self.items))

    def title(self, at: int) -> str:
        """What a document is called."""
        told = self.metadata[at] if self.metadata else {}
        source = told.get("source") or told.get("title") or told.get("id")
        return f"document {at + 1}" + (f": {source}" if source else "")


@dataclass
class _Attempt:
    chain: Runnable[Any, Said]
    question: Question
    said: Said = field(default_factory=lambda: Said(""))

    def outcome(self) -> Outcome:
        meter = self.question.meter
        return Outcome(
            answer=self.said.answer,
            stop_reason=self.said.stop_reason,
            iterations=meter.calls["root"],
            sub_calls=meter.calls["sub"],
            cost=meter.cost_usd,
            usage_by_model=meter.usage,
        )


class Baseline(Runnable[RLMInput, Outcome], ABC):
    """A way to answer that is no RLM, with the models, limits, prices and counts of one."""

    def __init__(
        self,
        name: str,
        root_model: BaseChatModel,
        sub_model: BaseChatModel,
        config: RLMConfig,
        *,
        window_tokens: int | None = None,
    ) -> None:
        if window_tokens is not None and window_tokens < 1:
            msg = f"window_tokens is at least 1, not {window_tokens}."
            raise ConfigurationError(msg)
        self.name: str = name
        self.root_model = root_model
        self.sub_model = sub_model
        self.config = config
        self.window_tokens = window_tokens

    @abstractmethod
    def chain(self, question: Question) -> Runnable[Any, Said]:
        """What answers this question; it is invoked with an empty input."""

    def window(self, model: BaseChatModel) -> int | None:
        """Tokens that a model can read; None where nobody has told."""
        if self.window_tokens is not None:
            return self.window_tokens
        told = (model.profile or {}).get("max_input_tokens")
        return told if isinstance(told, int) and told > 0 else None

    def definition(self) -> dict[str, Any]:
        """What makes two runners the same one, as JSON data."""
        return {
            "root_model": name_of(self.root_model),
            "sub_model": name_of(self.sub_model),
            "window_tokens": self.window_tokens,
            "config": self.config.model_dump(mode="json", exclude_defaults=True),
        }

    def invoke(
        self, input: RLMInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Outcome:
        """Answer one query."""
        with self._attempt(input) as attempt:
            attempt.said = attempt.chain.invoke({}, self._named(config), **kwargs)
        return attempt.outcome()

    async def ainvoke(
        self, input: RLMInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Outcome:
        """`invoke`, awaitable."""
        with self._attempt(input) as attempt:
            attempt.said = await attempt.chain.ainvoke({}, self._named(config), **kwargs)
        return attempt.outcome()

    @contextmanager
    def _attempt(self, given: RLMInput) -> Iterator[_Attempt]:
        """One run; a prompt over the window and a limit that is met are outcomes, not errors."""
        context: Any = given["context"]
        stored = check_context(context.read_text("utf-8") if isinstance(context, Path) else context)
        with ExitStack() as cleanup:
            meter = Meter(self.config, self.root_model, self.sub_model)
            question = Question(
                given["query"], list(stored.items), list(stored.metadata or ()), meter, cleanup
            )
            attempt = _Attempt(self.chain(question), question)
            try:
                yield attempt
            except LimitMetError as error:
                attempt.said = Said("", error.stop_reason)
            except Exception as error:
                if not is_overflow(error):
                    raise
                attempt.said = Said("", WINDOW)

    def _named(self, config: RunnableConfig | None) -> RunnableConfig:
        return {**(config or {}), "run_name": str(self.name)}


def is_overflow(error: BaseException) -> bool:
    """Whether a provider has refused a prompt because it was longer than its window."""
    if isinstance(error, ContextOverflowError):
        return True
    status = getattr(error, "status_code", 400)
    said = str(error).lower()
    return status in {400, 413, 422, 500} and any(word in said for word in _OVERFLOW)


def tokens_of(text: str) -> int:
    """About how many tokens a text has, by the rule of the tasks."""
    return -(-len(text) // CHARS_PER_TOKEN)
