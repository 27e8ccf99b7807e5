"""What became of the calls and spans of this process, as OTLP metrics: so that the store knows what it should hold.

OpenTelemetry's own names are used where it has them; its conventions count spans, of which calls are a part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from monitor import semconv
from monitor.sdk.pipeline import Counts

# Counting again every few seconds tells of a loss soon enough, and costs nothing.
INTERVAL_S: Final = 10.0
# A collector that takes no metrics will not begin to.
FAILURES_MAX: Final = 3

Calls = tuple[int, int, int, int]  # started, ended, open, unsampled


@dataclass(kw_only=True)
class Reporter:
    """Sends the counts of one run; used by the pipeline's thread alone."""

    exporter: MetricExporter
    scope: InstrumentationScope
    calls: Callable[[], Calls]
    started_ns: int
    failures: int = 0

    def send(self, counts: Counts, resource: Resource, now_ns: int) -> None:
        """Send one reading."""
        if self.failures >= FAILURES_MAX:
            return
        data = reading(counts, self.calls(), resource, self.scope, start_ns=self.started_ns, now_ns=now_ns)
        sent = self.exporter.export(data) is MetricExportResult.SUCCESS
        self.failures = 0 if sent else self.failures + 1

    def shutdown(self) -> None:
        """End a try that is under way."""
        self.exporter.shutdown()


def reading(
    counts: Counts, calls: Calls, resource: Resource, scope: InstrumentationScope, *, start_ns: int, now_ns: int
) -> MetricsData:
    """One reading of all counters, cumulative since `start_ns`."""
    started, ended, still_open, unsampled = calls

    def point(value: int, attributes: Mapping[str, str] | None = None) -> NumberDataPoint:
        return NumberDataPoint(dict(attributes or {}), start_ns, now_ns, value)

    def total(name: str, unit: str, meaning: str, *points: NumberDataPoint) -> Metric:
        return Metric(name, meaning, unit, Sum(points, AggregationTemporality.CUMULATIVE, is_monotonic=True))

    def gauge(name: str, unit: str, meaning: str, value: int) -> Metric:
        return Metric(name, meaning, unit, Gauge([point(value)]))

    failed = {semconv.ERROR_TYPE: "_OTHER"}
    metrics = [
        total(semconv.CALLS_STARTED, "{call}", "Calls that were begun.", point(started)),
        total(semconv.CALLS_ENDED, "{call}", "Calls that ended, in whatever way.", point(ended)),
        total(semconv.CALLS_UNSAMPLED, "{call}", "Ended calls that the sampler left out.", point(unsampled)),
        total(
            semconv.CALLS_SETTLED,
            "{call}",
            "Calls that were numbered and are sent, or lost: all numbers up to this one.",
            point(counts.settled),
        ),
        gauge(semconv.CALLS_OPEN, "{call}", "Calls that are under way.", still_open),
        total(
            "otel.sdk.processor.span.processed",
            "{span}",
            "Spans that left the queue, or were dropped because it was full.",
            point(counts.exported + counts.failed),
            point(counts.dropped, {semconv.ERROR_TYPE: "queue_full"}),
        ),
        total(
            "otel.sdk.exporter.span.exported",
            "{span}",
            "Spans that were sent, or could not be.",
            point(counts.exported),
            point(counts.failed, failed),
        ),
        gauge("otel.sdk.processor.span.queue.size", "{span}", "Spans that wait.", counts.waiting),
    ]
    url: Any = scope.schema_url
    scoped = ScopeMetrics(scope=scope, metrics=metrics, schema_url=url or "")
    return MetricsData([ResourceMetrics(resource=resource, scope_metrics=[scoped], schema_url=resource.schema_url)])
