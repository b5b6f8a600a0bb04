"""OpenTelemetry with exporters in memory, configured for one block and gone after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


class Telemetry:
    """What was exported."""

    def __init__(self, exporter: InMemorySpanExporter, reader: InMemoryMetricReader) -> None:
        self._exporter = exporter
        self._reader = reader

    @property
    def spans(self) -> list[ReadableSpan]:
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def tree(self, above: int | None = None, depth: int = 0) -> list[str]:
        lines = []
        for span in self.spans:
            if (span.parent.span_id if span.parent else None) == above:
                lines.append("  " * depth + span.name)
                lines += self.tree(span.context.span_id, depth + 1)
        return lines

    def points(self, metric: str) -> list[Any]:
        """The data points of a metric: one for each set of attributes."""
        data = self._reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for item in scope.metrics
            if item.name == metric
            for point in item.data.data_points
        ]


@contextmanager
def telemetry() -> Iterator[Telemetry]:
    """As after `set_tracer_provider` and `set_meter_provider`, which a process can do only once."""
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    spans, meters = TracerProvider(), MeterProvider([reader])
    spans.add_span_processor(SimpleSpanProcessor(exporter))
    with (
        patch.object(trace, "get_tracer_provider", lambda: spans),
        patch.object(metrics, "get_meter_provider", lambda: meters),
    ):
        yield Telemetry(exporter, reader)
    spans.shutdown()
    meters.shutdown()
