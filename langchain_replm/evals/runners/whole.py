"""The context in one prompt: whole, or cut in the middle until it fits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import HumanMessage, SystemMessage

from langchain_replm._prices import most_output_tokens
from langchain_replm.evals.runners._base import (
    CHARS_PER_TOKEN,
    Baseline,
    is_overflow,
    tokens_of,
)
from langchain_replm.evals.runners._steps import step

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import Runnable

    from langchain_replm.evals.runners._base import Question
    from langchain_replm.evals.runners._meter import Said

INSTRUCTION = (
    "Answer the question from the text below it. Give the answer itself, as short and in the form "
    "that the question asks for."
)
CUT = "\n\n[... {left_out:,} characters were left out here ...]\n\n"

MOST_REPLY_SHARE = 4
"""A window keeps at most a fourth of itself free for the reply."""

SHRINK = 0.7
"""What is kept of a text that was still too long; counts of tokens are estimates."""

TRIES = 6


def prompt(question: Question, text: str) -> list[BaseMessage]:
    """The question before and after the text, as long-context benchmarks put it."""
    asked = f"Question: {question.query}\n\nText:\n{text}\n\nQuestion: {question.query}"
    return [SystemMessage(INSTRUCTION), HumanMessage(asked)]


class WholeContext(Baseline):
    """One call of the root model with the whole context.

    A context over the window is the outcome `"window"` with an empty answer. The window is
    `window_tokens`, else what the LangChain profile of the model tells; where neither is known,
    and where the estimate of four characters a token was too low, the provider's own refusal
    counts.
    """

    def chain(self, question: Question) -> Runnable[Any, Said]:
        """One call."""
        messages = prompt(question, question.text())
        window = self.window(self.root_model)
        needed = sum(tokens_of(message.text) for message in messages)

        def ask(_: Any) -> Any:
            if window is not None and needed > window:
                msg = f"The prompt has about {needed:,} tokens, the window {window:,}."
                raise ContextOverflowError(msg)
            return messages

        return step(ask) | question.meter.model("root") | step(question.meter.said)


class Truncation(Baseline):
    """One call of the root model with a context whose middle was cut out until it fits.

    Head and tail are kept in equal parts, as LongBench does. If the provider refuses the prompt all
    the same, 7/10 of the text are tried, and so on. Without a known window, the first try is the
    whole text.
    """

    def chain(self, question: Question) -> Runnable[Any, Said]:
        """Calls until one of them fits."""
        text = question.text()
        return self._asking(question, text, min(len(text), self._room(question)), TRIES)

    def _asking(self, question: Question, text: str, chars: int, tries: int) -> Runnable[Any, Said]:
        ask = step(lambda _: prompt(question, cut_middle(text, chars)))
        first = ask | question.meter.model("root") | step(question.meter.said)

        def smaller(given: dict[str, Any]) -> Any:
            if not is_overflow(given["error"]) or tries <= 1:
                raise given["error"]
            return self._asking(question, text, int(chars * SHRINK), tries - 1)

        return first.with_fallbacks([step(smaller)], exception_key="error")

    def _room(self, question: Question) -> int:
        window = self.window(self.root_model)
        if window is None:
            return len(question.text())
        reply = min(
            self.config.root_max_tokens or most_output_tokens(self.root_model),
            window // MOST_REPLY_SHARE,
        )
        around = sum(tokens_of(m.text) for m in prompt(question, CUT.format(left_out=10**9)))
        return max(0, window - reply - around) * CHARS_PER_TOKEN


def cut_middle(text: str, chars: int) -> str:
    r"""The text without its middle; the mark that is left there is not counted.

    Example:
        ```python
        from langchain_replm.evals.runners.whole import cut_middle

        assert cut_middle("a" * 50 + "b" * 50, 10).startswith("aaaaa\n")
        ```
    """
    if len(text) <= chars:
        return text
    tail = chars // 2
    head = chars - tail
    left_out = len(text) - chars
    return text[:head] + CUT.format(left_out=left_out) + text[len(text) - tail :]
