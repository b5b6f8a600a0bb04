"""The parameters of a run, checked before anything runs."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from langchain_replm.errors import ConfigurationError

SandboxMode = Literal["restricted", "subprocess", "docker", "monty", "none"]
PromptVariant = Literal["default", "cost_warning", "small_context"]
ExitBehavior = Literal["end", "error"]
Approval = Literal["cells", "tools", "budget"]
ActionFormat = Literal["fence", "tool"]
ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]


class ModelPrice(BaseModel):
    """What a model costs, in USD per million tokens.

    Example:
        ```python
        from langchain_replm import ModelPrice, RLMConfig

        mini = ModelPrice(input_usd_per_million=0.25, output_usd_per_million=2.0)
        config = RLMConfig(prices={"gpt-5-mini": mini}, max_cost_usd=0.50)
        ```
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    input_usd_per_million: float = Field(ge=0)
    """Input tokens."""
    output_usd_per_million: float = Field(ge=0)
    """Output tokens, reasoning among them."""
    cached_input_usd_per_million: float | None = Field(default=None, ge=0)
    """Input that the provider had in its prompt cache; the price of input when None."""
    cache_write_usd_per_million: float | None = Field(default=None, ge=0)
    """Input that the provider puts into its prompt cache; the price of input when None."""


class RLMConfig(BaseModel):
    """How a run behaves: its limits, its sampling, its sandbox, its prompt.

    The values are frozen; use `config.model_copy(update={...})` for a changed copy. Sampling values
    that are `None` are not sent at all, so that the chat model keeps what it was built with.

    Raises:
        ConfigurationError: A value is not allowed or a name is unknown. The message names the
            field, the value and what is allowed.

    Example:
        ```python
        from langchain_replm import RLMConfig

        config = RLMConfig(max_iterations=10, max_sub_calls=100, cache_sub_calls=True)
        ```
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid", strict=True)

    max_iterations: int = Field(default=25, ge=1)
    """Most root replies of a run. One closing request for an answer may follow the last one."""

    max_sub_calls: int = Field(default=500, ge=0)
    """Most sub-calls of a run, over all depths. Reserved before a call is made."""

    max_total_tokens: int | None = Field(default=None, ge=1)
    """Most tokens of a run, input and output, all models, all depths. Reserved before a call."""

    max_cost_usd: float | None = Field(default=None, gt=0)
    """Most money of a run, all models, all depths. Reserved before a call; needs prices."""

    max_tool_calls: int | None = Field(default=None, ge=0)
    """Most tool calls of a run, over all depths. More are refused; the run goes on."""

    max_seconds: float | None = Field(default=None, gt=0)
    """Most seconds of a run. Work ends a little earlier, to leave time for the closing request."""

    max_recursion_depth: int = Field(default=1, ge=1)
    """1: `rlm_query` is a plain sub-call. 2 or more: it runs a child RLM, this many levels deep."""

    max_concurrency: int = Field(default=32, ge=1)
    """Most sub-calls in flight at once. Without a bound each call costs twice the CPU."""

    max_consecutive_errors: int = Field(default=3, ge=1)
    """Most root calls that may fail in a row before the run gives up."""

    cache_sub_calls: bool = False
    """Reuse replies to identical sub-calls within the run (10,000 entries, least recent out)."""

    enable_sub_calls: bool = True
    """False: cells have no `llm_query` at all (the ablation of the paper)."""

    metadata_prefix_chars: int = Field(default=10_000, ge=200)
    """Characters of the cells' output that the root model sees per iteration, head and tail."""

    trace_prompt_chars: int | None = Field(default=10_000, ge=0)
    """Longest message that LangSmith gets whole; of a longer one head, tail, length and hash. A
    prompt of a sub-call may be all of the context. None: everything is uploaded as it is."""

    context_preview_chars: int = Field(default=1_000, ge=0)
    """Characters of the context shown to the root model at the start, head and tail."""

    sub_call_max_input_chars: int = Field(default=500_000, ge=1)
    """Longest prompt of one sub-call, in characters. A longer one is refused, never cut."""

    temperature: float | None = Field(default=None, ge=0.0, le=2.0)
    """Sampling temperature of the root model."""

    sub_temperature: float | None = Field(default=None, ge=0.0, le=2.0)
    """Sampling temperature of sub-calls."""

    reasoning_effort: ReasoningEffort | None = None
    """Reasoning effort of the root model, for providers that have it."""

    sub_reasoning_effort: ReasoningEffort | None = None
    """Reasoning effort of sub-calls, for providers that have it."""

    root_max_tokens: int | None = Field(default=None, ge=1)
    """Most output tokens of one root reply."""

    sub_max_tokens: int | None = Field(default=None, ge=1)
    """Most output tokens of one sub-call."""

    sandbox_timeout: float = Field(default=120.0, gt=0)
    """Seconds that one cell may run, not counting the time it waits for sub-calls."""

    max_workers: int | None = Field(default=None, ge=1)
    """Most workers that one RLM holds at once; a run that finds no place waits for one, and so
    does a candidate. Children are not counted: they run inside of a run that has a place."""

    idle_seconds: float | None = Field(default=None, ge=0)
    """Seconds that the session of a thread stays open after a call, for the next query; needs a
    checkpointer. None or 0: it ends with the call and is rebuilt when it is needed. At most
    `max_workers` sessions are kept (32 if that is None); the longest idle goes first."""

    sandbox_mode: SandboxMode = "restricted"
    """Where cells run: `"restricted"` and `"subprocess"` in a jailed child process, `"docker"` in a
    container, `"monty"` in Monty's interpreter, `"none"` in your process. `RLM(sandbox=...)` takes
    any other `Sandbox`."""

    prompt_variant: PromptVariant = "default"
    """Wording of the system prompt: `"cost_warning"` for models that call too often,
    `"small_context"` for models with a window of about 32,000 tokens."""

    action_format: ActionFormat = "fence"
    """How the root model writes cells: `"fence"` in its text, which every model can, or `"tool"` as
    calls of a tool named `python`, for models that prefer that."""

    exit_behavior: ExitBehavior = "end"
    """When a limit is met: `"end"` asks once for a closing answer and returns it with a
    `stop_reason`; `"error"` raises `LimitExceededError` with the partial response."""

    compact_above_tokens: int | None = Field(default=None, ge=0)
    """When the root conversation is longer than this, the root model sums up its older turns and
    goes on with the notes. None: three quarters of the window that the LangChain profile of the
    root model tells, if it tells one. 0: never."""

    n_candidates: int = Field(default=1, ge=1, le=16)
    """Runs of the same query within one budget; the answer that most of them give counts, and of
    equals the one that the root model picks. They differ only where the model's replies do."""

    direct_below_chars: int = Field(default=0, ge=0)
    """A context shorter than this goes to the root model in one call, without a REPL, unless there
    are tools: on short inputs the plain model is better and cheaper. 0: never.
    `RLMChatModel` takes 100,000 where nothing is said here."""

    hold_first_answer: bool = True
    """Hold an answer given before any look at a context longer than its preview, once."""

    hold_final_beside_cells: bool = True
    """Do not take a `FINAL(text)` in a reply with cells: their output was not there yet."""

    hold_invented_output: bool = True
    """Do not take an answer after output that the root model has written itself."""

    hold_plan_answer: bool = True
    """Hold an answer that reads like a plan of what to do, once."""

    hold_stale_variable: bool = True
    """Hold an answer from a variable that a failed cell should have made or changed, once."""

    prices: dict[str, ModelPrice] = Field(default_factory=dict)
    """Prices by model name: that of the chat model, or the one that the provider reports."""

    cost_per_input_token: float | None = Field(default=None, ge=0)
    """USD per input token of every model without an entry in `prices`."""

    cost_per_output_token: float | None = Field(default=None, ge=0)
    """USD per output token of every model without an entry in `prices`."""

    approve: tuple[Approval, ...] = ()
    """What a person decides before it happens: `"cells"` (each reply's cells), `"tools"` (each tool
    call), `"budget"` (more, when a limit is met). One name or several. Needs a checkpointer."""

    verbose: bool = False
    """Log the events of the run at level INFO instead of DEBUG (logger `langchain_replm`)."""

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigurationError(_explain(error)) from error

    @field_validator("approve", mode="before")
    @classmethod
    def _one_or_several(cls, given: Any) -> Any:
        if isinstance(given, str):
            return (given,)
        several = isinstance(given, tuple | list | set | frozenset)
        return tuple(sorted(set(given))) if several else given

    @model_validator(mode="after")
    def _children_cannot_ask(self) -> RLMConfig:
        if self.approve and self.n_candidates > 1:
            msg = (
                "approve and n_candidates > 1 do not go together: candidates run inside of a node, "
                "where nobody can be asked. Set n_candidates=1 or approve=()"
            )
            raise ValueError(msg)
        if {"cells", "tools"} & set(self.approve) and self.max_recursion_depth > 1:
            msg = (
                "approve and max_recursion_depth > 1 do not go together: a child runs inside a "
                "cell, where nobody can be asked"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _prices_come_in_pairs(self) -> RLMConfig:
        if (self.cost_per_input_token is None) != (self.cost_per_output_token is None):
            msg = (
                "cost_per_input_token and cost_per_output_token belong together: "
                "give both, or neither"
            )
            raise ValueError(msg)
        return self

    @property
    def price_of_every_model(self) -> ModelPrice | None:
        """The price of models without an entry in `prices`; None if it is unknown."""
        if self.cost_per_input_token is None or self.cost_per_output_token is None:
            return None
        return ModelPrice(
            input_usd_per_million=self.cost_per_input_token * 1_000_000,
            output_usd_per_million=self.cost_per_output_token * 1_000_000,
        )


def _explain(error: ValidationError) -> str:
    lines = []
    for item in error.errors():
        name = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            known = ", ".join(sorted(RLMConfig.model_fields))
            lines.append(f"RLMConfig has no parameter {name!r}. It has: {known}.")
        elif name:
            lines.append(f"RLMConfig.{name} = {item['input']!r}: {item['msg']}.")
        else:
            lines.append(f"RLMConfig: {item['msg']}.")
    return "\n".join(lines)
