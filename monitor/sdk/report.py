"""What became of the calls, spans and judgements of this process, as OTLP metrics: the store knows what it should hold.

OpenTelemetry's own names are used where it has them; its conventions count spans, of which calls are a part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
        sent = self.exporter.export(self.read(counts, resource, now_ns)) is MetricExportResult.SUCCESS
        self.failures = 0 if sent else self.failures + 1

    def read(self, counts: Counts, resource: Resource, now_ns: int) -> MetricsData:
        """All counters at this moment."""
        return reading(counts, self.calls(), resource, self.scope, start_ns=self.started_ns, now_ns=now_ns)

    def shutdown(self) -> None:
        """End a try that is under way."""
        self.exporter.shutdown()


@dataclass(kw_only=True)
class JudgementReporter(Reporter):
    """The same for judgements; `refused` counts those that were none, such as a score that is no number."""

    calls: Callable[[], Calls] = lambda: (0, 0, 0, 0)
    refused: Callable[[], int]

    def read(self, counts: Counts, resource: Resource, now_ns: int) -> MetricsData:
        """All counters at this moment."""
        start_ns = self.started_ns
        return judgement_reading(counts, self.refused(), resource, self.scope, start_ns=start_ns, now_ns=now_ns)


def reading(
    counts: Counts, calls: Calls, resource: Resource, scope: InstrumentationScope, *, start_ns: int, now_ns: int
) -> MetricsData:
    """One reading of all counters, cumulative since `start_ns`."""
    started, ended, still_open, unsampled = calls
    points = _Points(start_ns, now_ns)
    metrics = [
        points.total(semconv.CALLS_STARTED, "{call}", "Calls that were begun.", points.of(started)),
        points.total(semconv.CALLS_ENDED, "{call}", "Calls that ended, in whatever way.", points.of(ended)),
        points.total(semconv.CALLS_UNSAMPLED, "{call}", "Ended calls that the sampler left out.", points.of(unsampled)),
        points.total(
            semconv.CALLS_SETTLED,
            "{call}",
            "Calls that were numbered and are sent, or lost: all numbers up to this one.",
            points.of(counts.settled),
        ),
        points.gauge(semconv.CALLS_OPEN, "{call}", "Calls that are under way.", still_open),
        *points.queue(counts, "span", "{span}", "Spans"),
    ]
    return _data(resource, scope, metrics)


def judgement_reading(
    counts: Counts, refused: int, resource: Resource, scope: InstrumentationScope, *, start_ns: int, now_ns: int
) -> MetricsData:
    """One reading of the counters of judgements, cumulative since `start_ns`."""
    points = _Points(start_ns, now_ns)
    metrics = [
        points.total(
            semconv.JUDGEMENTS_REFUSED, "{judgement}", "Judgements with impossible arguments.", points.of(refused)
        ),
        *points.queue(counts, "log", "{log_record}", "Judgements"),
    ]
    return _data(resource, scope, metrics)


class _Points:
    """Makes the data points of one reading."""

    def __init__(self, start_ns: int, now_ns: int) -> None:
        self._start_ns = start_ns
        self._now_ns = now_ns

    def of(self, value: int, attributes: Mapping[str, str] | None = None) -> NumberDataPoint:
        return NumberDataPoint(dict(attributes or {}), self._start_ns, self._now_ns, value)

    def total(self, name: str, unit: str, meaning: str, *points: NumberDataPoint) -> Metric:
        return Metric(name, meaning, unit, Sum(points, AggregationTemporality.CUMULATIVE, is_monotonic=True))

    def gauge(self, name: str, unit: str, meaning: str, value: int) -> Metric:
        return Metric(name, meaning, unit, Gauge([self.of(value)]))

    def queue(self, counts: Counts, kind: str, unit: str, what: str) -> list[Metric]:
        """What became of all that was offered to a queue; `what` is said of it in words."""
        return [
            self.total(
                f"otel.sdk.processor.{kind}.processed",
                unit,
                f"{what} that left the queue, or were dropped because it was full.",
                self.of(counts.exported + counts.failed),
                self.of(counts.dropped, {semconv.ERROR_TYPE: "queue_full"}),
            ),
            self.total(
                f"otel.sdk.exporter.{kind}.exported",
                unit,
                f"{what} that were sent, or could not be.",
                self.of(counts.exported),
                self.of(counts.failed, {semconv.ERROR_TYPE: "_OTHER"}),
            ),
            self.gauge(f"otel.sdk.processor.{kind}.queue.size", unit, f"{what} that wait.", counts.waiting),
        ]


def _data(resource: Resource, scope: InstrumentationScope, metrics: Sequence[Metric]) -> MetricsData:
    url: Any = scope.schema_url
    scoped = ScopeMetrics(scope=scope, metrics=metrics, schema_url=url or "")
    return MetricsData([ResourceMetrics(resource=resource, scope_metrics=[scoped], schema_url=resource.schema_url)])
