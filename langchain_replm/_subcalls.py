"""Which calls of a cell are made, and what becomes of their results. No call is made here.

`admit` decides before anything is spent: a prompt that is too long, a call over the budget and a
call that the cache can answer are settled on the spot; the rest is to be started. `settle` turns
what came of a call into its record.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from langchain_replm._typed import reply_format, schema_problem
from langchain_replm.budget import NOTHING
from langchain_replm.prompts import mending_prompt, sub_call_prompt, typed_prompt
from langchain_replm.types import (
    PROMPT_RECORD_CHARS,
    HostCall,
    Iteration,
    SubCall,
    add_usage_by_model,
    encodable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from langchain_core.messages.ai import UsageMetadata

    from langchain_replm._cache import SubCallCache
    from langchain_replm.budget import Budget, Spend
    from langchain_replm.config import RLMConfig
    from langchain_replm.types import StopReason, SubCallKind


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRequest:
    """One call to make."""

    call_id: int
    index: int
    kind: SubCallKind
    prompt: str
    """The prompt of a completion, the query of a child run, or the name of a tool."""
    model: str | None = None
    """Name out of `RLM(models=...)`; None for the sub-model."""
    context: str | list[str] | None = None
    """What a child run reads."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """What a tool gets."""
    schema: str | None = None
    """What the reply must be, as the text of a JSON Schema; `prompt` says so too."""
    first: CallOutcome | None = None
    """This call is the one more after a reply that did not fit, and this was that reply."""
    journal_key: str = ""
    """Where the journal keeps the result; empty where none is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOutcome:
    """What came of one call: a text or an error, never both."""

    request: CallRequest
    text: str = ""
    error: str | None = None
    model: str | None = None
    usage: Mapping[str, UsageMetadata] = field(default_factory=dict)
    cost_usd: float | None = None
    sub_calls: int = 1
    started_seconds: float = 0.0
    refused: bool = False
    """There was no room left when its turn came; `error` says why. Nothing was called."""
    elapsed_seconds: float = 0.0
    child: tuple[Iteration, ...] = ()
    recorded: bool = False
    """The journal had it: the run made the call before it was resumed."""


@dataclass(slots=True)
class OpenCall:
    """A request of a cell that is being served: one slot for each item, filled as results come."""

    call_id: int
    function: str
    request_sha256: str
    slots: list[SubCall | None]
    missing: int
    requests: Sequence[CallRequest] = ()

    def fill(self, index: int, record: SubCall) -> None:
        """Put a result into its slot. Counting keeps a batch of any size linear."""
        self.slots[index] = record
        self.missing -= 1

    @property
    def complete(self) -> bool:
        """Every slot is filled; the cell can have its reply."""
        return self.missing == 0

    def record(self) -> HostCall:
        """The finished call, for the trajectory."""
        return HostCall(
            function=self.function,
            request_sha256=self.request_sha256,
            items=tuple(slot for slot in self.slots if slot is not None),
        )


class SubCallDesk:
    """Admission and settlement of the calls of one cell."""

    def __init__(  # noqa: PLR0913 - what it decides from
        self,
        *,
        config: RLMConfig,
        budget: Budget,
        cache: SubCallCache,
        depth: int,
        models: Collection[str] = (),
        model: str = "",
        keeps: bool = False,
    ) -> None:
        self._config = config
        self._budget = budget
        self._cache = cache
        self._can_recurse = depth + 1 < config.max_recursion_depth
        self._models = models
        self._model = model
        self._keeps = keeps or config.cache_sub_calls
        self._open: dict[int, OpenCall] = {}
        self._leaders: dict[str, CallRequest] = {}
        self._followers: dict[str, list[CallRequest]] = {}

    @property
    def waiting(self) -> bool:
        """Some call of the cell is still running."""
        return bool(self._open)

    def admit(
        self,
        call_id: int,
        function: str,
        kind: str,
        items: Sequence[Mapping[str, Any]],
        *,
        known: Sequence[str | None] = (),
    ) -> Admission:
        """Decide about one request of a cell.

        Args:
            call_id: How the worker names the request.
            function: The function that the cell called.
            kind: What its items are.
            items: As the wire delivers them.
            known: What the cache over runs has for each item; nothing, if there is none.
        """
        requests = self.requests(call_id, function, kind, items)
        key = request_key(kind, list(items))
        call = OpenCall(call_id, function, key, [None] * len(requests), len(requests), requests)
        self._open[call_id] = call
        wanted = []
        for request in requests:
            settled = self._refuse(request) or self._from_cache(request)
            if settled is None and known and (text := known[request.index]) is not None:
                settled = record_of(request, status="ok", response=encodable(text), cached=True)
            if settled is not None:
                call.fill(request.index, settled)
            elif not self._follow(request):
                wanted.append(request)
        take = self._budget.admit_tools if kind == "tool" else self._budget.admit
        admitted = take(len(wanted))
        for request in wanted[admitted:]:
            self._drop(request, call)
        return Admission(start=wanted[:admitted], call=call)

    def requests(
        self, call_id: int, function: str, kind: str, items: Sequence[Mapping[str, Any]]
    ) -> list[CallRequest]:
        """The calls that a cell asks for."""
        return [
            self._request(call_id, index, kind, function, item) for index, item in enumerate(items)
        ]

    def mend(self, outcome: CallOutcome) -> CallRequest | None:
        """The one more call after a reply that does not fit its schema.

        Returns:
            The call, charged already; None if the reply fits, if it was the second one, or if no
            call is left. Then `settle` takes the outcome.
        """
        request = outcome.request
        is_child = request.kind == "rlm_query" and self._can_recurse
        if request.schema is None or request.first is not None or outcome.error is not None:
            return None
        if is_child:  # it has sent back what did not fit, within its own iterations
            return None
        problem = reply_format(request.schema)(outcome.text).problem
        if not problem or not self._budget.admit(1):
            return None
        prompt = mending_prompt(request.prompt, outcome.text, problem)
        return replace(request, prompt=prompt, first=outcome)

    def settle(self, outcome: CallOutcome) -> tuple[list[SubCall], list[OpenCall]]:
        """Record what came of a call.

        Returns:
            Its record and those of the identical calls that waited for it, and the requests of
            which slots were filled.
        """
        if outcome.refused and outcome.request.kind != "tool":
            self._budget.give_back(1)
        outcome = _typed(_both(outcome))
        request = outcome.request
        failed = "refused" if outcome.refused else "failed"
        record = record_of(
            request,
            status="ok" if outcome.error is None else failed,
            response=encodable(outcome.text),
            error=outcome.error,
            model=outcome.model,
            sub_calls=outcome.sub_calls,
            usage=dict(outcome.usage),
            started_seconds=outcome.started_seconds,
            cost_usd=outcome.cost_usd,
            elapsed_seconds=outcome.elapsed_seconds,
            child=outcome.child,
            cache_key=self._key(request),
        )
        touched = {request.call_id: self._fill(request, record)}
        key = self._key(request)
        if key is None:
            return [record], list(touched.values())
        if record.status == "ok":
            self._cache.put(key, record)
        self._leaders.pop(key, None)
        followers = self._followers.pop(key, [])
        for follower in followers:
            touched[follower.call_id] = self._fill(follower, _as_hit(record))
        return [record, *(_as_hit(record) for _ in followers)], list(touched.values())

    def unfinished(self, record_of: Callable[[CallRequest], SubCall]) -> dict[int, HostCall]:
        """The calls that were open when the run was stopped, with records for what is missing."""
        calls = {}
        for call in self._open.values():
            slots = [
                record_of(request) if slot is None else slot
                for request, slot in zip(call.requests, call.slots, strict=True)
            ]
            calls[call.call_id] = HostCall(
                function=call.function, request_sha256=call.request_sha256, items=tuple(slots)
            )
        return calls

    def close(self, call: OpenCall) -> HostCall:
        """Take a complete call off the desk."""
        del self._open[call.call_id]
        return call.record()

    def _request(
        self, call_id: int, index: int, kind: str, function: str, item: Mapping[str, Any]
    ) -> CallRequest:
        common: dict[str, Any] = {"call_id": call_id, "index": index, "kind": kind}
        if kind == "tool":
            return CallRequest(prompt=function, arguments=item["args"], **common)
        prompt, context, schema = item["prompt"], item.get("context"), item.get("schema")
        is_child = kind == "rlm_query" and self._can_recurse
        if kind == "rlm_query" and not is_child:
            prompt, context = sub_call_prompt(prompt, context), None
        # A child is told by its system prompt, and sends what does not fit back to its own model.
        if schema is not None and not is_child and prompt.strip() and not schema_problem(schema):
            prompt = typed_prompt(prompt, schema)
        model = item.get("model")
        return CallRequest(prompt=prompt, model=model, context=context, schema=schema, **common)

    def _refuse(self, request: CallRequest) -> SubCall | None:
        """Refusals that cost nothing and say what to do."""
        error = None
        limit = self._config.sub_call_max_input_chars
        if request.kind == "tool":
            return None
        if not request.prompt.strip():
            error = "the prompt is empty"
        elif len(request.prompt) > limit:
            error = (
                f"the prompt has {len(request.prompt):,} characters, the limit is {limit:,}; "
                "split the text and ask about each part"
            )
        elif request.model is not None and request.model not in self._models:
            names = ", ".join(sorted(self._models)) or "none besides the default"
            error = f"there is no model {request.model!r}; names: {names}"
        elif request.schema is not None:
            error = schema_problem(request.schema)
        return None if error is None else record_of(request, status="refused", error=error)

    def _drop(self, request: CallRequest, call: OpenCall) -> None:
        """Refuse a call for which the budget had no room, and those that waited for its reply."""
        if request.kind == "tool":
            error = f"no tool calls are left (the limit is {self._budget.max_tool_calls})"
            error += "; go on with what you have"
        else:
            error = no_room("max_sub_calls", self._budget, NOTHING)
        refusal = record_of(request, status="refused", error=error)
        call.fill(request.index, refusal)
        key = self._key(request)
        if key is not None:
            self._leaders.pop(key, None)
            for follower in self._followers.pop(key, []):
                self._fill(follower, refusal)

    def _from_cache(self, request: CallRequest) -> SubCall | None:
        key = self._key(request)
        hit = None if key is None else self._cache.get(key)
        return None if hit is None else _as_hit(hit)

    def _follow(self, request: CallRequest) -> bool:
        """Join an identical call that is already under way (only where replies are cached)."""
        key = self._key(request)
        if key is None:
            return False
        if key in self._leaders:
            self._followers.setdefault(key, []).append(request)
            return True
        self._leaders[key] = request
        return False

    def _key(self, request: CallRequest) -> str | None:
        if not self._keeps or request.kind == "tool":
            return None
        model = request.model or ["by default", self._model]
        return request_key(request.kind, [request.prompt, model, request.context, request.schema])

    def _fill(self, request: CallRequest, record: SubCall) -> OpenCall:
        call = self._open[request.call_id]
        call.fill(request.index, record)
        return call


@dataclass(frozen=True, slots=True)
class Admission:
    """What became of one request of a cell: calls to start, slots that are settled already."""

    start: list[CallRequest]
    call: OpenCall


def no_room(limit: StopReason, budget: Budget, most: Spend) -> str:
    """What a cell reads about a model call that was refused, and what to do about it."""
    advice = "; go on with what you have"
    if limit == "max_sub_calls":
        used, allowed = budget.sub_calls, budget.max_sub_calls
        return f"no sub-calls are left ({used:,} of {allowed:,} used){advice}"
    if limit == "max_tokens":
        left = budget.tokens_left or 0
        return f"too few tokens are left: {left:,}, and it may take {most.tokens:,}{advice}"
    if limit == "max_cost":
        left_usd = budget.cost_left_usd or 0.0
        return (
            f"too little money is left: ${left_usd:.4f}, and it may cost ${most.cost_usd:.4f}"
            f"{advice}"
        )
    return f"the run is ending ({limit}){advice}"


def _both(outcome: CallOutcome) -> CallOutcome:
    """A second call and the first one as one outcome: that of the request of the cell."""
    first = outcome.request.first
    if first is None:
        return outcome
    usage = dict(first.usage)
    add_usage_by_model(usage, outcome.usage)
    # A call that has failed is charged as nothing, here as everywhere.
    second = 0.0 if outcome.error is not None else outcome.cost_usd
    unknown = None in (first.cost_usd, second)
    problem = outcome.error and f"{_misfit(first)}\nThe call to mend it failed: {outcome.error}"
    return replace(
        outcome,
        request=first.request,
        error=problem,
        refused=False,  # the first one was made
        usage=usage,
        cost_usd=None if unknown else (first.cost_usd or 0.0) + (second or 0.0),
        sub_calls=first.sub_calls + outcome.sub_calls,
        started_seconds=first.started_seconds,
        elapsed_seconds=first.elapsed_seconds + outcome.elapsed_seconds,
    )


def _typed(outcome: CallOutcome) -> CallOutcome:
    """The outcome with JSON for its text, where a schema asks for it and the reply fits."""
    if outcome.request.schema is None or outcome.error is not None:
        return outcome
    checked = reply_format(outcome.request.schema)(outcome.text)
    if not checked.fits:
        return replace(outcome, error=_misfit(outcome))
    return replace(outcome, text=json.dumps(checked.data, ensure_ascii=False))


def _misfit(outcome: CallOutcome) -> str:
    problem = reply_format(outcome.request.schema or "true")(outcome.text).problem
    return f"the reply does not fit the schema:\n{problem}"


class Replay:
    """Recorded results for the cells of a session that is rebuilt. Makes no call."""

    def __init__(self, host_calls: tuple[HostCall, ...]) -> None:
        self._recorded: dict[str, list[HostCall]] = {}
        for call in host_calls:
            self._recorded.setdefault(call.request_sha256, []).append(call)

    def results(self, kind: str, items: Sequence[Any]) -> list[dict[str, Any]]:
        """The recorded results of a request: the n-th equal request gets the n-th record."""
        recorded = self._recorded.get(request_key(kind, list(items)))
        if not recorded:
            error = "this call was not made when the cell ran first; it is not made in a replay"
            return [{"error": error} for _ in items]
        return wire_results(recorded.pop(0))


def request_key(kind: str, items: object) -> str:
    """Hash that is equal for equal requests."""
    text = json.dumps([kind, items], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def wire_results(call: HostCall) -> list[dict[str, Any]]:
    """The results of a call as the worker gets them: values, and errors that are no values."""
    return [_wire_result(item) for item in call.items]


def _wire_result(item: SubCall) -> dict[str, Any]:
    if item.status != "ok":
        kind = "refused" if item.status == "refused" else "error"
        return {kind: item.error or "the call failed"}
    is_data = item.kind == "tool" or item.typed
    return {"value": json.loads(item.response) if is_data else item.response}


def _as_hit(record: SubCall) -> SubCall:
    if record.status != "ok":
        return record.model_copy(update=_FREE)
    return record.model_copy(update={**_FREE, "cached": True, "elapsed_seconds": 0.0})


_FREE: dict[str, Any] = {"sub_calls": 0, "usage": {}, "cost_usd": None, "child": ()}


def record_of(request: CallRequest, *, status: str, **fields: Any) -> SubCall:
    prompt = json.dumps(dict(request.arguments)) if request.kind == "tool" else request.prompt
    return SubCall(
        kind=request.kind,
        prompt=prompt[:PROMPT_RECORD_CHARS],
        prompt_chars=len(prompt),
        status=status,
        typed=request.schema is not None,
        **({"model": request.model} | fields),
    )
