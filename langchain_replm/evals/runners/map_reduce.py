"""Every part of the context is read at once, then the notes are combined."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.runnables import Runnable

from langchain_replm.errors import ConfigurationError
from langchain_replm.evals.runners._base import CHARS_PER_TOKEN, Baseline
from langchain_replm.evals.runners._meter import LimitMetError, Said
from langchain_replm.evals.runners._steps import step

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from langchain_replm.config import RLMConfig
    from langchain_replm.evals.runners._base import Question

READ = (
    "You read one part of a longer text. Write down, briefly, everything in this part that helps "
    "to answer the question: facts, names, numbers, counts, with what they belong to. Other parts "
    "are read by others. If nothing here helps, write: NOTHING"
)
COMBINE = (
    "Below are notes that were taken on the parts of a longer text, in order. Answer the question "
    "from them. Give the answer itself, as short and in the form that the question asks for."
)
CONDENSE = (
    "Below are notes that were taken on some parts of a longer text, in order. Write one shorter "
    "note that keeps everything that helps to answer the question."
)
NOTHING = "NOTHING"
NO_NOTES = "(no part had anything)"

DEFAULT_CHUNK_TOKENS = 32_000
MOST_CHUNK_TOKENS = 100_000
SHARE = 2
"""A chunk fills half of a window: the rest is for the instruction, the reply, and estimates."""


class MapReduce(Baseline):
    """The sub-model reads every chunk, `max_concurrency` at a time; the root model combines.

    Chunks end at the ends of lines where there are any. Notes that are together longer than a chunk
    are condensed first. Over a limit, the notes that there are become the answer, and the stop
    reason names the limit; a chunk whose call failed is left out, unless all of them failed.

    Args:
        name: What results call it.
        root_model: Combines.
        sub_model: Reads chunks.
        config: Limits, sampling and prices, as of an RLM.
        window_tokens: The window of both models, where their profiles do not tell.
        chunk_tokens: Size of a chunk. Default: half of the sub-model's window, at most 100,000;
            32,000 where no window is known.
    """

    def __init__(  # noqa: PLR0913 - as of every baseline, and one more
        self,
        name: str,
        root_model: BaseChatModel,
        sub_model: BaseChatModel,
        config: RLMConfig,
        *,
        window_tokens: int | None = None,
        chunk_tokens: int | None = None,
    ) -> None:
        super().__init__(name, root_model, sub_model, config, window_tokens=window_tokens)
        if chunk_tokens is not None and chunk_tokens < 1:
            msg = f"chunk_tokens is at least 1, not {chunk_tokens}."
            raise ConfigurationError(msg)
        window = self.window(sub_model)
        known = DEFAULT_CHUNK_TOKENS if window is None else window // SHARE
        self.chunk_tokens: int = chunk_tokens or max(1, min(known, MOST_CHUNK_TOKENS))

    def definition(self) -> dict[str, Any]:
        """As of every baseline, and the size of a chunk."""
        return {**super().definition(), "chunk_tokens": self.chunk_tokens}

    def chain(self, question: Question) -> Runnable[Any, Said]:
        """Read, then combine."""
        chunks = split(question.text(), self.chunk_tokens * CHARS_PER_TOKEN)
        total = len(chunks)
        asked = [
            _ask(READ, question, f"Part {number} of {total}:\n{chunk}")
            for number, chunk in enumerate(chunks, 1)
        ]
        read = self._each(question, asked)
        return read | step(lambda replies: self._combine(question, _notes(replies)))

    def _each(self, question: Question, asked: list[list[BaseMessage]]) -> Runnable[Any, Any]:
        """One call for each list of messages; failures are values in their place."""
        one = question.meter.model("sub").with_config(max_concurrency=question.meter.at_once)
        # `RunnableEach.bind` would bind the Runnable of each item, not the batch.
        each = Runnable.bind(one.map(), return_exceptions=True)
        return step(lambda _: asked) | each

    def _combine(self, question: Question, notes: list[str], rounds: int = 4) -> Any:
        text, most = "\n\n".join(notes), self.chunk_tokens * CHARS_PER_TOKEN
        if len(text) <= most or len(notes) <= 1 or not rounds:
            ask = step(lambda _: _ask(COMBINE, question, f"Notes:\n{text[:most] or NO_NOTES}"))
            last = ask | question.meter.model("root") | step(question.meter.said)
            return step(lambda _: {}) | last.with_fallbacks(
                [step(lambda given: Said(text, given["error"].stop_reason))],
                exceptions_to_handle=(LimitMetError,),
                exception_key="error",
            )
        groups = _grouped(notes, most)
        asked = [_ask(CONDENSE, question, f"Notes:\n{group}") for group in groups]
        condensed = self._each(question, asked)
        return condensed | step(
            lambda replies: self._combine(question, _notes(replies, groups), rounds - 1)
        )


def split(text: str, chars: int) -> list[str]:
    r"""Pieces of at most so many characters, which end at the end of a line where they can.

    Example:
        ```python
        from langchain_replm.evals.runners.map_reduce import split

        assert split("one\ntwo\nthree", 9) == ["one\ntwo\n", "three"]
        ```
    """
    found, start = [], 0
    while start < len(text):
        end = min(start + chars, len(text))
        if end < len(text):
            line = text.rfind("\n", start, end)
            end = line + 1 if line > start + chars // 2 else end
        found.append(text[start:end])
        start = end
    return found


def _ask(instruction: str, question: Question, text: str) -> list[BaseMessage]:
    return [SystemMessage(instruction), HumanMessage(f"Question: {question.query}\n\n{text}")]


def _notes(replies: list[AIMessage | Exception], instead: list[str] | None = None) -> list[str]:
    """What the replies say, in order.

    Raises:
        Exception: The first failure, if all of them failed.
    """
    failures = [reply for reply in replies if isinstance(reply, Exception)]
    if failures and len(failures) == len(replies) and instead is None:
        raise failures[0]
    found = []
    for at, reply in enumerate(replies):
        if isinstance(reply, AIMessage):
            found.append(str(reply.text))
        elif instead is not None:
            found.append(instead[at])
    return [note for note in found if note.strip().rstrip(".") != NOTHING]


def _grouped(notes: list[str], chars: int) -> list[str]:
    """Notes together, as many as fit."""
    groups = [""]
    for note in notes:
        if groups[-1] and len(groups[-1]) + len(note) > chars:
            groups.append("")
        groups[-1] += note[:chars] + "\n\n"
    return groups
