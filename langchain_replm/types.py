"""The record of a run: what was asked, written, run, called, seen and answered.

All of it is immutable. The graph's state holds the same records as plain JSON data
(`model_dump`), and reads them back through validation: a checkpoint is never trusted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from langchain_core.messages.ai import UsageMetadata, add_usage
from pydantic import BaseModel, ConfigDict, computed_field, field_serializer, model_validator
from pydantic_core import to_jsonable_python

from langchain_replm import report

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

StopReason = Literal[
    "answered",
    "max_iterations",
    "max_sub_calls",
    "max_tokens",
    "max_cost",
    "deadline",
    "errors",
    "cancelled",
    "interrupted",
]
CellStatus = Literal["ok", "error", "timeout", "died", "skipped"]
SubCallKind = Literal["llm_query", "rlm_query", "tool", "candidate"]
SubCallStatus = Literal["ok", "refused", "failed"]

PROMPT_RECORD_CHARS = 2_000
"""Characters of a sub-call's prompt that the record keeps. The whole prompt is a slice of the
context, so keeping it would store the context again, once for every sub-call."""


def encodable(text: str) -> str:
    """The text with lone surrogates replaced, so that it can be sent and stored as UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8") if not text.isascii() else text


class Record(BaseModel):
    """An immutable value that survives a round trip through JSON."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")


class SubCall(Record):
    """One item that a cell asked for: one completion, one child run, or one tool call."""

    kind: SubCallKind
    prompt: str
    """The prompt, query or arguments (JSON); at most `PROMPT_RECORD_CHARS` characters of it."""
    prompt_chars: int
    status: SubCallStatus
    response: str = ""
    """The reply text; for a tool its result as JSON."""
    typed: bool = False
    """A schema was asked for; an ok response is JSON that fits it."""
    error: str | None = None
    model: str | None = None
    cached: bool = False
    cache_key: str | None = None
    """What the cache of the run knows the call by; None where replies are not cached."""
    sub_calls: int = 0
    """Model calls charged to the budget: 1, or 0 when cached or refused, plus those of a child."""
    usage: dict[str, UsageMetadata] = {}
    """Tokens by model."""
    started_seconds: float = 0.0
    """When the call began, counted from the start of the run; 0 for what was never started."""
    cost_usd: float | None = None
    """What it has cost; None if a price or the tokens are unknown, or if no model was called."""
    elapsed_seconds: float = 0.0
    child: tuple[Iteration, ...] = ()
    """The trajectory of the child run of an `rlm_query`."""


class HostCall(Record):
    """One request from a cell to our side: a single call or a batch."""

    function: str
    request_sha256: str
    """Hash of the whole request; replay finds the recorded results by it."""
    items: tuple[SubCall, ...]


class Answer(Record):
    """What a cell or a reply submitted."""

    text: str
    is_json: bool = False
    """The submitted value was no string; `text` is its JSON."""


class Cell(Record):
    """One cell that the root model wrote, and what came of it."""

    code: str
    status: CellStatus
    output_head: str = ""
    output_tail: str = ""
    output_chars: int = 0
    """Characters printed in all; more than head and tail hold when some were left out."""
    error: str | None = None
    changed: dict[str, str] = {}
    """Variables made or changed by the cell: name to a short summary."""
    removed: tuple[str, ...] = ()
    answer: Answer | None = None
    host_calls: tuple[HostCall, ...] = ()
    started_seconds: float = 0.0
    """When the cell began, counted from the start of the run."""
    elapsed_seconds: float = 0.0
    """The cell's own seconds; waiting for sub-calls is not counted."""
    total_seconds: float = 0.0
    """From the cell's start to its end, waiting for sub-calls included."""

    @property
    def output(self) -> str:
        """What the cell printed, as far as it was kept: head, a mark of what is missing, tail."""
        left_out = self.output_chars - len(self.output_head) - len(self.output_tail)
        if left_out <= 0:
            return self.output_head + self.output_tail
        return f"{self.output_head}\n[... {left_out:,} characters left out ...]\n{self.output_tail}"


class Summary(Record):
    """What the root model wrote about older turns, of which it is shown only this from then on."""

    text: str
    through: int
    """Number of the last iteration that it stands for."""
    variables: dict[str, str] = {}
    """The variables at that time: name to a short summary."""
    model: str | None = None
    usage: UsageMetadata | None = None
    cost_usd: float | None = None
    started_seconds: float = 0.0
    elapsed_seconds: float = 0.0


class Iteration(Record):
    """One root reply and what followed from it."""

    number: int
    """1 for the first reply."""
    closing: bool = False
    """The reply to the closing request after a limit was met; not counted as an iteration."""
    direct: bool = False
    """The root model was shown the whole context, without a REPL; its reply is the answer."""
    reply: str = ""
    model: str | None = None
    usage: UsageMetadata | None = None
    cost_usd: float | None = None
    """What the root call has cost; None if its price or its tokens are unknown."""
    error: str | None = None
    """The root call failed, or there was no room left for it; there is no reply."""
    summary: Summary | None = None
    """Made before this reply, because the conversation had become long."""
    cells: tuple[Cell, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    """Runs among whose answers one was chosen; `reply` is that of the judge, if one was asked."""
    held: str | None = None
    """The guard that did not take the answer of this reply; names as in `RLMConfig`."""
    observation: str | None = None
    """What the root model was shown next; None when the run ended here."""
    started_seconds: float = 0.0
    """When the root call began, counted from the start of the run."""
    elapsed_seconds: float = 0.0
    """Time of the root call."""

    def root_calls(self) -> Iterator[Iteration | Summary]:
        """The calls of the root model that came back: of the notes, if any, and of the reply."""
        if self.summary is not None:
            yield self.summary
        if self.error is None and not (self.candidates and self.model is None):
            yield self

    def host_calls(self) -> Iterator[HostCall]:
        """Every host call of the iteration's cells, in order."""
        for cell in self.cells:
            yield from cell.host_calls


class Candidate(Record):
    """One of several runs of the same query."""

    answer: str
    stop_reason: StopReason
    chosen: bool = False
    trajectory: tuple[Iteration, ...] = ()


class Totals(Record):
    """Counts summed over a trajectory; nothing is counted twice, nothing is counted elsewhere."""

    iterations: int
    sub_calls: int
    tool_calls: int
    cache_hits: int
    usage_by_model: dict[str, UsageMetadata]
    cost_usd: float
    """What is known of the cost."""
    unpriced_models: tuple[str, ...]
    """Models that replied at a cost that is not known."""

    @property
    def tokens(self) -> int:
        """Input and output of all models."""
        return sum(usage["total_tokens"] for usage in self.usage_by_model.values())


def total(trajectory: Iterable[Iteration]) -> Totals:
    """Sum the calls and tokens of a trajectory, children included.

    Example:
        ```python
        from langchain_replm.types import Iteration, total

        assert total([Iteration(number=1, reply="FINAL(42)")]).iterations == 1
        ```
    """
    sums = _Sums()
    for step in trajectory:
        sums.iterations += not step.closing and not step.candidates
        for candidate in step.candidates:
            inner = total(candidate.trajectory)
            sums.iterations += inner.iterations
            sums.sub_calls += inner.sub_calls
            add_usage_by_model(sums.usage, inner.usage_by_model)
            sums.add_run(inner)
        for call in step.root_calls():
            usage = {} if call.usage is None else {call.model or "unknown": call.usage}
            add_usage_by_model(sums.usage, usage)
            sums.add_cost(call.cost_usd, call.model)
        for item in (item for asked in step.host_calls() for item in asked.items):
            sums.add_item(item)
    return sums.totals()


@dataclass(slots=True)
class _Sums:
    """What `total` counts while it goes through a trajectory."""

    iterations: int = 0
    sub_calls: int = 0
    tool_calls: int = 0
    cache_hits: int = 0
    cost_usd: float = 0.0
    usage: dict[str, UsageMetadata] = field(default_factory=dict)
    unpriced: set[str] = field(default_factory=set)

    def add_item(self, item: SubCall) -> None:
        self.sub_calls += item.sub_calls
        add_usage_by_model(self.usage, item.usage)
        if item.child:  # calls and tokens of a child are in its item already
            self.add_run(total(item.child))
            return
        self.tool_calls += item.kind == "tool" and item.status != "refused"
        self.cache_hits += item.cached
        # A reply that does not fit its schema is a failed call that has cost something.
        called = item.sub_calls and (item.status == "ok" or item.response or item.usage)
        if called or item.cost_usd is not None:
            self.add_cost(item.cost_usd, item.model)

    def add_run(self, inner: Totals) -> None:
        self.tool_calls += inner.tool_calls
        self.cache_hits += inner.cache_hits
        self.cost_usd += inner.cost_usd
        self.unpriced |= set(inner.unpriced_models)

    def add_cost(self, cost_usd: float | None, model: str | None) -> None:
        self.cost_usd += cost_usd or 0.0
        if cost_usd is None:
            self.unpriced.add(model or "unknown")

    def totals(self) -> Totals:
        return Totals(
            iterations=self.iterations,
            sub_calls=self.sub_calls,
            tool_calls=self.tool_calls,
            cache_hits=self.cache_hits,
            usage_by_model=self.usage,
            cost_usd=self.cost_usd,
            unpriced_models=tuple(sorted(self.unpriced)),
        )


def ended_seconds(trajectory: Iterable[Iteration]) -> float:
    """When the last thing of a trajectory ended, counted from the start of the run."""
    ends = [0.0]
    for step in trajectory:
        ends.append(step.started_seconds + step.elapsed_seconds)
        ends.extend(cell.started_seconds + cell.total_seconds for cell in step.cells)
    return max(ends)


def add_usage_by_model(into: dict[str, UsageMetadata], usage: Mapping[str, UsageMetadata]) -> None:
    """Add token counts to a ledger by model; cached and reasoning tokens are kept."""
    for model, tokens in usage.items():
        into[model] = add_usage(into.get(model), tokens)


class HistoryEntry(Record):
    """One entry of `RLMResponse.history`."""

    role: Literal["root", "repl_output", "sub_call"]
    content: str
    """The whole text: reply, output as far as it was kept, or sub-call reply."""
    truncated_content: str
    """What the root model saw of it."""
    iteration: int


class ContextSummary(Record):
    """What the run was given to read, without the text itself."""

    sha256: str
    kind: Literal["str", "list"]
    items: int
    """Number of documents; 1 for a single text."""
    chars: int
    head: str = ""
    tail: str = ""
    """Start and end of the text, as the root model was shown them."""


class RLMResponse(Record):
    r"""The result of a run.

    Example:
        ```python
        from langchain_replm import RLM
        from langchain_replm.testing import ScriptedChatModel

        root = ScriptedChatModel(replies=["```repl\nFINAL(context.count('heron'))\n```"])
        response = RLM(root).generate("How many herons?", "heron, stork, heron")
        assert (response.answer, response.stop_reason) == ("2", "answered")
        ```
    """

    answer: str
    """The answer as text; `structured_response` has it as data."""
    stop_reason: StopReason
    """Why the run ended. Anything but `"answered"` means that a limit was met, and that `answer`
    is what the root model said when it was asked to close (possibly nothing)."""
    iterations: int
    """Root replies used, the closing one not counted."""
    sub_calls: int
    """Model calls made from cells, over all depths."""
    total_input_tokens: int
    """Input tokens of all models, over all depths."""
    total_output_tokens: int
    """Output tokens of all models, over all depths."""
    tool_calls: int = 0
    """Tool calls made from cells, over all depths."""
    cache_hits: int = 0
    """Sub-calls that were answered from a cache; they cost nothing."""
    usage_by_model: dict[str, UsageMetadata] = {}
    """Tokens by model name, with cached and reasoning tokens where the provider tells them."""
    cost: float | None = None
    """USD over all models and depths; None (unknown) if any part of it is unknown."""
    unpriced_models: tuple[str, ...] = ()
    """Why `cost` is None: models that replied without a price, or without telling their tokens."""
    elapsed_seconds: float = 0.0
    """Wall time of the run, its earlier parts included when it was resumed."""
    repl_variables: dict[str, str] = {}
    """The variables at the end: name to a short summary."""
    structured_response: Any = None
    """The answer as what `response_format` asked for: an instance of its model, or JSON data. None
    without a `response_format`, and when the run ended without an answer that fits it."""
    query: str = ""
    """What was asked."""
    context: ContextSummary | None = None
    """What it was asked about: kind, length, hash, start and end; not the whole text."""
    sandbox_missing: tuple[str, ...] = ()
    """What the sandbox did not guarantee on this machine; names as in `Sandbox.guarantees`."""
    questions: tuple[dict[str, Any], ...] = ()
    """What a person is asked; the run is `"interrupted"` and goes on with `Command(resume=...)`."""
    trajectory: tuple[Iteration, ...] = ()
    """Everything that happened: each reply, its cells, their calls, and what the root model saw."""

    @model_validator(mode="before")
    @classmethod
    def _history_is_derived(cls, data: Any) -> Any:
        """`to_dict` has the history for readers; it is made anew, not read back."""
        if isinstance(data, dict) and "history" in data:
            return {name: value for name, value in data.items() if name != "history"}
        return data

    @field_serializer("structured_response", when_used="json")
    def _as_json_data(self, value: Any) -> Any:
        """Whatever the object is made of, the response can be written as JSON."""
        return to_jsonable_python(value, fallback=str)

    @computed_field  # type: ignore[prop-decorator]  # pydantic's documented order
    @property
    def history(self) -> list[HistoryEntry]:
        """The trajectory as a flat list, the final turn included."""
        return list(_flatten(self.trajectory))

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """All runs of the query, with `n_candidates` over 1; `chosen` says which one counts."""
        return tuple(item for step in self.trajectory for item in step.candidates)

    def to_dict(self) -> dict[str, Any]:
        """The response as JSON data."""
        return self.model_dump(mode="json")

    def to_json(self) -> str:
        """The response as JSON text."""
        return self.model_dump_json()

    def to_html(self, path: str | Path) -> Path:
        r"""Write the run as one HTML page that needs no network, and return where it is.

        The page shows why the run gave its answer and what it cost: a timeline, every iteration
        with its cells, outputs and sub-calls, tokens, variables and child runs, with a search.

        Example:
            ```python
            from pathlib import Path
            from tempfile import mkdtemp

            from langchain_replm import RLM
            from langchain_replm.testing import ScriptedChatModel

            root = ScriptedChatModel(replies=["```repl\nFINAL(len(context))\n```"])
            response = RLM(root).generate("How long?", "a heron")
            page = response.to_html(Path(mkdtemp()) / "run.html")
            assert "How long?" in page.read_text()
            ```
        """
        return report.write(report.render(**self._for_report()), path)

    def _repr_html_(self) -> str:
        """The run in a notebook."""
        told = self._for_report()
        page = report.render(**told)
        del told["record"]
        return report.card(page, **told)

    def _for_report(self) -> dict[str, str]:
        return {
            "record": self.model_dump_json(exclude={"history"}),
            "query": self.query,
            "answer": self.answer,
            "stop_reason": self.stop_reason,
        }


def _flatten(trajectory: Iterable[Iteration]) -> Iterator[HistoryEntry]:
    for step in trajectory:
        for candidate in step.candidates:
            if candidate.chosen:
                yield from _flatten(candidate.trajectory)
        if step.candidates and step.model is None:
            continue  # nobody was asked to choose
        reply = step.reply or step.error or ""
        yield HistoryEntry(
            role="root", content=reply, truncated_content=reply, iteration=step.number
        )
        for item in (item for call in step.host_calls() for item in call.items):
            text = item.response if item.status == "ok" else (item.error or "")
            yield HistoryEntry(
                role="sub_call", content=text, truncated_content="", iteration=step.number
            )
        if step.cells:
            yield HistoryEntry(
                role="repl_output",
                content="\n".join(cell.output + (cell.error or "") for cell in step.cells),
                truncated_content=step.observation or "",
                iteration=step.number,
            )
