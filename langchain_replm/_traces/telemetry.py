"""OpenTelemetry spans and metrics, made of the same runs that LangSmith gets.

`SpanTracer` is a LangChain tracer: it hears the runs of the graph, its iterations, cells and calls,
and makes spans of those that have a role (`_tracing`). Parents come from the runs, not from the
context of a thread, so they are right across threads and tasks. It is put among the callbacks of a
run when an OpenTelemetry provider is configured; whoever has configured one has imported the
library, so nothing is imported here otherwise.

Names follow the GenAI semantic conventions; `rlm.*` carries replm's names and our own.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING, Any

from langchain_core.runnables.config import merge_configs
from langchain_core.tracers.base import BaseTracer

from langchain_replm._tracing import METADATA_PREFIX

if TYPE_CHECKING:
    from uuid import UUID

    from langchain_core.runnables import RunnableConfig
    from langchain_core.tracers.schemas import Run
    from opentelemetry.trace import Span

CALLS = {"root", "sub", "tool"}
"""Roles of runs that call something outside; what runs below them is not ours."""

_NAMES = {
    "query_chars": "rlm.query_len",
    "prompt_chars": "rlm.prompt_len",
    "root_model": "rlm.model",
}
"""Attributes that replm has under another name."""
_OF_RUN = {
    "input_tokens": "rlm.total_input_tokens",
    "output_tokens": "rlm.total_output_tokens",
}
_OF_CHILD = {"iterations": "rlm.inner_iterations"}


def with_telemetry(config: RunnableConfig | None) -> RunnableConfig:
    """`config`, with spans if OpenTelemetry is configured; else as it is."""
    given = config or {}
    tracer = configured_tracer()
    if tracer is None:
        return given
    told: RunnableConfig = {
        "callbacks": [tracer],
        "metadata": {"rlm_role": "run", **(given.get("metadata") or {})},
    }
    return merge_configs(given, told)


def configured_tracer() -> SpanTracer | None:
    """The tracer for the providers of this process; None when there are none."""
    modules = [sys.modules.get(name) for name in ("opentelemetry.trace", "opentelemetry.metrics")]
    if modules[0] is None:
        return None
    spans = modules[0].get_tracer_provider()
    meters = modules[1] and modules[1].get_meter_provider()
    # A provider of the API itself records nothing. LangSmith imports the API wherever it finds it.
    own = ("opentelemetry.trace", "opentelemetry.metrics")
    if all(item is None or type(item).__module__.startswith(own) for item in (spans, meters)):
        return None
    return _tracer_for(spans, meters)


@cache
def _tracer_for(spans: Any, meters: Any) -> SpanTracer:
    return SpanTracer(spans, meters)


class SpanTracer(BaseTracer):
    """Makes spans and measurements of runs. One for a process: it keeps only what is open."""

    run_inline = True  # spans begin in the thread or task of what they measure

    def __init__(self, spans: Any, meters: Any) -> None:
        super().__init__()
        self._tracer = spans.get_tracer("langchain_replm")
        from opentelemetry import metrics  # noqa: PLC0415 - an extra

        meters = meters or metrics.get_meter_provider()
        self._meters = _Meters(meters.get_meter("langchain_replm"))
        self._open: dict[UUID, tuple[Span, str]] = {}
        """Nearest span and its role, by run; a run without a span of its own has its parent's."""

    def _persist_run(self, run: Run) -> None:
        """Nothing is kept of a run that has ended."""

    @staticmethod
    def _add_child_run(parent_run: Run, child_run: Run) -> None:
        """Nothing needs the tree; with it a long run would be held whole."""

    def _on_run_create(self, run: Run) -> None:
        from opentelemetry import context, trace  # noqa: PLC0415 - an extra

        above = self._open.get(run.parent_run_id) if run.parent_run_id else None
        role = _role_of(run, above and above[1])
        if role is None:
            if above is not None:
                self._open[run.id] = above
            return
        where = trace.set_span_in_context(above[0]) if above else context.get_current()
        kind = trace.SpanKind.CLIENT if run.run_type == "llm" else trace.SpanKind.INTERNAL
        span = self._tracer.start_span(_span_name(role, run), context=where, kind=kind)
        self._open[run.id] = (span, role)
        if role in CALLS:
            # For spans of HTTP clients and of tools. It is not taken back: a call has a context
            # of its own, which ends with it.
            context.attach(trace.set_span_in_context(span))

    def _on_run_update(self, run: Run) -> None:
        self.order_map.pop(run.id, None)
        span, role = self._open.pop(run.id, (None, ""))
        above = self._open.get(run.parent_run_id) if run.parent_run_id else None
        if span is None or (above is not None and above[0] is span):
            return
        attributes = attributes_of(role, run)
        span.set_attributes(attributes)
        if run.error is not None:
            from opentelemetry import trace  # noqa: PLC0415 - an extra

            kind = run.error.partition("(")[0]
            span.set_attribute("error.type", kind)
            span.set_status(trace.StatusCode.ERROR, kind)
        self._meters.take(role, run, attributes)
        span.end()


def _role_of(run: Run, above: str | None) -> str | None:
    """What a run is; labels that it has only inherited from a call above it do not count."""
    role: str | None = _metadata(run).get("rlm_role")
    return None if above in CALLS and role != "run" else role


def _metadata(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = (run.extra or {}).get("metadata") or {}
    return found


def _span_name(role: str, run: Run) -> str:
    if role == "root":
        return f"chat {_metadata(run).get('ls_model_name', run.name)}"
    if role == "tool":
        return f"execute_tool {run.name}"
    names = {"run": "rlm.generate", "iteration": "rlm.iteration", "cell": "rlm.cell"}
    return names.get(role, "rlm.sub_call")


def attributes_of(role: str, run: Run) -> dict[str, Any]:
    """The attributes of a run that has ended. No text of prompts, replies or the context."""
    known = {
        name.removeprefix(METADATA_PREFIX): value
        for name, value in _metadata(run).items()
        if name.startswith(METADATA_PREFIX) and value is not None
    }
    names = _NAMES | (_OF_RUN if role == "run" else {}) | (_OF_CHILD if role == "child" else {})
    found = {names.get(name, f"rlm.{name}"): value for name, value in known.items()}
    if role == "child":
        found["rlm.recursive"] = True
    if role == "run":
        found |= {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": run.name}
    if role == "tool":
        found |= {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": run.name}
    if run.run_type == "llm":
        found |= _of_model_call(run)
    return found


def _of_model_call(run: Run) -> dict[str, Any]:
    told = _metadata(run)
    message = _message_of(run)
    usage = message.get("usage_metadata") or {}
    response = message.get("response_metadata") or {}
    finish = response.get("finish_reason")
    found = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": told.get("ls_provider"),
        "gen_ai.request.model": told.get("ls_model_name"),
        "gen_ai.request.temperature": told.get("ls_temperature"),
        "gen_ai.request.max_tokens": told.get("ls_max_tokens"),
        "gen_ai.response.model": response.get("model_name"),
        "gen_ai.response.finish_reasons": [str(finish)] if finish else None,
        "gen_ai.usage.input_tokens": usage.get("input_tokens"),
        "gen_ai.usage.output_tokens": usage.get("output_tokens"),
        "rlm.input_tokens": usage.get("input_tokens"),
        "rlm.output_tokens": usage.get("output_tokens"),
    }
    return {name: value for name, value in found.items() if value is not None}


def _message_of(run: Run) -> dict[str, Any]:
    """The message of a model's run, as LangChain's tracers hold it: serialised."""
    try:
        message = (run.outputs or {})["generations"][0][0]["message"]
    except (KeyError, IndexError, TypeError):
        return {}
    found = message.get("kwargs", message) if isinstance(message, dict) else vars(message)
    return dict(found)


class _Meters:
    """Counts and durations, under the names of the semantic conventions where there are some."""

    def __init__(self, meter: Any) -> None:
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage", "{token}", "Tokens of a model call"
        )
        self._call_duration = meter.create_histogram(
            "gen_ai.client.operation.duration", "s", "Duration of a model call"
        )
        self._run_duration = meter.create_histogram("rlm.run.duration", "s", "Duration of a run")
        self._runs = meter.create_counter("rlm.runs", "{run}", "Runs, by stop reason")
        self._iterations = meter.create_counter("rlm.iterations", "{iteration}", "Iterations")
        self._sub_calls = meter.create_counter("rlm.sub_calls", "{call}", "Sub-calls, by outcome")
        self._cost = meter.create_counter("rlm.cost", "USD", "Cost of runs")

    def take(self, role: str, run: Run, attributes: dict[str, Any]) -> None:
        """Measure a run that has ended."""
        ended = run.end_time or run.start_time
        seconds = (ended - run.start_time).total_seconds()
        if run.run_type == "llm":
            labels = {name: attributes[name] for name in _LABELS if name in attributes}
            self._call_duration.record(seconds, labels)
            for kind in ("input", "output"):
                tokens = attributes.get(f"gen_ai.usage.{kind}_tokens")
                if tokens is not None:
                    self._tokens.record(tokens, {**labels, "gen_ai.token.type": kind})
        if role in {"sub", "child"}:
            without = [name for name in ("cached", "recorded") if attributes.get(f"rlm.{name}")]
            status = without[0] if without else "error" if run.error else "ok"
            self._sub_calls.add(1, {"rlm.kind": run.name, "rlm.status": status})
        if role == "iteration":
            self._iterations.add(1)
        if role == "run":
            why = {"rlm.stop_reason": attributes.get("rlm.stop_reason", "error")}
            self._runs.add(1, why)
            self._run_duration.record(seconds, why)
            if "rlm.cost_usd" in attributes:
                self._cost.add(attributes["rlm.cost_usd"], why)


_LABELS = ("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "error.type")
