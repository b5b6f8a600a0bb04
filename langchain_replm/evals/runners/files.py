"""A coding agent's way: the context is files, and an agent lists, searches and reads them."""

from __future__ import annotations

import re
import tempfile
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import BaseTool, StructuredTool

from langchain_replm.errors import ConfigurationError
from langchain_replm.evals.runners._base import Baseline
from langchain_replm.evals.runners._meter import Said
from langchain_replm.evals.runners._steps import step

if TYPE_CHECKING:
    from langchain_core.runnables import Runnable

    from langchain_replm.evals.runners._base import Question
    from langchain_replm.evals.runners._meter import Meter

INSTRUCTION = (
    "You answer a question about files that are too long to read whole. Look with the tools: list "
    "the files, search them for words, read the places that matter. When you know the answer, say "
    "it without calling a tool: the answer itself, as short and in the form that the question asks "
    "for."
)
FILE_CHARS = 4_000
FOUND_LINES = 50
LINE_CHARS = 300
LISTED = 200
NO_MORE = "There are no tool calls left. Answer now from what you have seen."


class Files:
    """The tools of the agent: bounded looks into a fixed set of files.

    A file is found by its name in the set, never by a path; words are searched for as they are, not
    as a regular expression, so that no pattern of a model can hold up this process.
    """

    def __init__(self, folder: Path, texts: dict[str, str], meter: Meter) -> None:
        self._meter = meter
        self._paths: dict[str, Path] = {}
        self._chars = {name: len(text) for name, text in texts.items()}
        for number, (name, text) in enumerate(texts.items(), 1):
            path = folder / f"{number:06}.txt"
            path.write_text(text, encoding="utf-8", newline="")
            self._paths[name] = path

    def tools(self) -> list[BaseTool]:
        """As LangChain tools."""
        return [
            StructuredTool.from_function(self.list_files),
            StructuredTool.from_function(self.search),
            StructuredTool.from_function(self.read),
        ]

    def list_files(self, start: int = 0) -> str:
        """List the files with their sizes in characters, 200 at a time from `start` on."""
        if (refusal := self._refusal()) is not None:
            return refusal
        shown = list(islice(self._paths.items(), max(0, start), max(0, start) + LISTED))
        lines = [f"{name} ({self._chars[name]:,} characters)" for name, _ in shown]
        left = len(self._paths) - max(0, start) - len(shown)
        return "\n".join([*lines, f"... {left:,} more" if left > 0 else "(end of list)"])

    def search(self, words: str, file: str = "") -> str:
        """Find the lines that have `words` (any case; `a|b`: either), in one file or in all.

        Shows file, character position of the find, and the line around it; 50 finds at most.
        """
        if (refusal := self._refusal()) is not None:
            return refusal
        if file and file not in self._paths:
            return self._no_such(file)
        either = [re.escape(part) for part in words.split("|") if part]
        if not either:
            return "Say which words to search for."
        pattern = re.compile("|".join(either), re.IGNORECASE)
        lines: list[str] = []
        total = 0
        for name in [file] if file else self._paths:
            text = self._text(name)
            for found in _one_a_line(pattern, text):
                total += 1
                if len(lines) < FOUND_LINES:
                    lines.append(f"{name}:{found.start()}: {_line(text, found)}")
        return "\n".join([f"{total:,} lines found", *lines])

    def read(self, file: str, start: int = 0, chars: int = FILE_CHARS) -> str:
        """Read at most 4,000 characters of a file from character `start` on."""
        if (refusal := self._refusal()) is not None:
            return refusal
        if file not in self._paths:
            return self._no_such(file)
        text, start = self._text(file), max(0, start)
        piece = text[start : start + max(1, min(chars, FILE_CHARS))]
        return f"{piece}\n[characters {start:,} to {start + len(piece):,} of {len(text):,}]"

    def _text(self, name: str) -> str:
        with self._paths[name].open(encoding="utf-8", newline="") as file:
            return file.read()

    def _no_such(self, name: str) -> str:
        return f"There is no file {name!r}. list_files() tells the names."

    def _refusal(self) -> str | None:
        return None if self._meter.budget.admit_tools(1) else NO_MORE


class FilesAgent(Baseline):
    """A LangChain agent with tools to list, search and read files that hold the context.

    The root model is the agent; it is called at most `max_iterations` times and then once more,
    without tools, to close. Needs the `langchain` package. A single text is `context.txt`;
    documents are files by their titles. The files are temporary and go with the run.
    """

    def __init__(self, name: str, root_model: BaseChatModel, *given: Any, **options: Any) -> None:
        super().__init__(name, root_model, *given, **options)
        if type(root_model).bind_tools is BaseChatModel.bind_tools:
            kind = type(root_model).__name__
            msg = f"The runner {name!r} needs a root model that can call tools; {kind} cannot."
            raise ConfigurationError(msg)

    def chain(self, question: Question) -> Runnable[Any, Said]:
        """The agent's loop."""
        try:
            from langchain.agents import create_agent  # noqa: PLC0415 - of an extra

            from langchain_replm.evals.runners._agent import Metered  # noqa: PLC0415 - needs it, too
        except ImportError as error:
            msg = 'The runner `files` needs langchain: pip install "langchain-replm[evals]"'
            raise ConfigurationError(msg) from error
        prefix = "rlm-evals-"
        folder = Path(question.cleanup.enter_context(tempfile.TemporaryDirectory(prefix=prefix)))
        files = Files(folder, _named(question), question.meter)
        agent: Any = create_agent(
            self.root_model,
            files.tools(),
            system_prompt=INSTRUCTION,
            middleware=[Metered(question.meter, self.config.max_iterations)],
        )
        # Each step is a model call and the tools after it; the middleware ends the loop before.
        steps = 4 * (self.config.max_iterations + 2)
        given = step(lambda _: {"messages": [HumanMessage(question.query)]})
        ended = step(lambda state: _answer(state["messages"], question.meter))
        chain: Runnable[Any, Said] = given | agent.with_config(recursion_limit=steps) | ended
        return chain


def _named(question: Question) -> dict[str, str]:
    """Texts by names that are told apart."""
    if len(question.items) == 1:
        return {"context.txt": question.items[0]}
    return {question.title(at): text for at, text in enumerate(question.items)}


def _answer(messages: list[Any], meter: Meter) -> Said:
    """The last words of the agent."""
    last = next((m for m in reversed(messages) if isinstance(m, AIMessage)), AIMessage(""))
    limit = meter.budget.limit_met()
    if limit is None and last.response_metadata.get("rlm_closing"):
        limit = "max_iterations"
    return Said(last.text, limit or "answered")


def _one_a_line(pattern: re.Pattern[str], text: str) -> Any:
    start = 0
    while found := pattern.search(text, start):
        yield found
        end = text.find("\n", found.end())
        if end < 0:
            return
        start = end + 1


def _line(text: str, found: re.Match[str]) -> str:
    """The line of a find, or what stands around it in a long one."""
    start = max(text.rfind("\n", 0, found.start()) + 1, found.start() - LINE_CHARS // 2)
    end = text.find("\n", found.end())
    end = min(len(text) if end < 0 else end, found.end() + LINE_CHARS // 2)
    return text[start:end]
