"""The official SDK and exporters for Python; what is sent is described as for `send.mjs`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import grpc
from opentelemetry import context, trace
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from tests.clients.receivers import Receivers

# Every transport with every compression that its exporter knows.
WAYS = ("grpc", "grpc-gzip", "grpc-deflate", "http", "http-gzip", "http-deflate")
GRPC = {
    "": grpc.Compression.NoCompression,
    "gzip": grpc.Compression.Gzip,
    "deflate": grpc.Compression.Deflate,
}
HTTP = {"": Compression.NoCompression, "gzip": Compression.Gzip, "deflate": Compression.Deflate}
EXPORTERS = {
    "traces": (GrpcSpans, HttpSpans),
    "logs": (GrpcLogs, HttpLogs),
    "metrics": (GrpcMetrics, HttpMetrics),
}


def exporter(receivers: Receivers, signal: str, way: str, **options: Any) -> Any:
    """An exporter of `traces`, `logs` or `metrics` to the receivers."""
    transport, _, compression = way.partition("-")
    over_grpc, over_http = EXPORTERS[signal]
    if transport == "grpc":
        return over_grpc(
            endpoint=receivers.endpoint("grpc"), insecure=True, compression=GRPC[compression], timeout=20, **options
        )
    endpoint = f"{receivers.endpoint('http')}/v1/{signal}"
    return over_http(endpoint=endpoint, compression=HTTP[compression], timeout=20, **options)


def send_spans(
    exporter: Any, resource: Mapping[str, Any], scope: Mapping[str, str], wanted: Sequence[Mapping[str, Any]]
) -> list[tuple[str, str, str]]:
    """Trace id, span id and parent span id of each."""
    provider = TracerProvider(resource=Resource(resource), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer(scope["name"], scope["version"])
    made: list[Any] = []
    for number, span in enumerate(wanted):
        parent = context.Context()
        if span["state"]:
            pairs = [tuple(pair.split("=")) for pair in span["state"].split(",")]
            far = SpanContext(
                trace_id=0xABCDEFABCDEFABCDEFABCDEFABCDEFAB,
                span_id=0xFEDCBAFEDCBAFEDC,
                is_remote=True,
                trace_flags=TraceFlags(1),
                trace_state=TraceState(pairs),
            )
            parent = trace.set_span_in_context(NonRecordingSpan(far), parent)
        if span["parent"] is not None:
            parent = trace.set_span_in_context(made[span["parent"]], parent)
        links = [trace.Link(made[link["to"]].get_span_context(), link["attributes"]) for link in span["links"]]
        one = tracer.start_span(
            span["name"],
            context=parent,
            kind=list(SpanKind)[span["kind"]],
            attributes=plain(span["attributes"]),
            links=links,
            start_time=nanoseconds(span["begin"]),
        )
        for event in span["events"]:
            one.add_event(event["name"], plain(event["attributes"]), nanoseconds(event["time"]))
        if span["status"]:
            code = StatusCode(span["status"]["code"])
            one.set_status(Status(code, span["status"].get("message")))
        one.end(nanoseconds(span["end"]))
        made.append(one)
        if number % 2000 == 1999:
            provider.force_flush()
    provider.shutdown()
    return [
        (
            f"{span.context.trace_id:032x}",
            f"{span.context.span_id:016x}",
            f"{span.parent.span_id:016x}" if span.parent else "",
        )
        for span in made
    ]


def send_records(
    exporter: Any, resource: Mapping[str, Any], scope: Mapping[str, str], wanted: Sequence[Mapping[str, Any]]
) -> None:
    provider = LoggerProvider(resource=Resource(resource), shutdown_on_exit=False)
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    logger = provider.get_logger(scope["name"], scope["version"])
    for record in wanted:
        within = context.Context()
        if record["span"]:
            of = SpanContext(
                trace_id=int(record["span"]["trace"], 16),
                span_id=int(record["span"]["span"], 16),
                is_remote=False,
                trace_flags=TraceFlags(record["span"]["flags"]),
            )
            within = trace.set_span_in_context(NonRecordingSpan(of), within)
        logger.emit(
            timestamp=nanoseconds(record["time"]) if record["time"] else None,
            observed_timestamp=nanoseconds(record["observed"]),
            context=within,
            severity_number=SeverityNumber(record["severity"]),
            severity_text=record["text"],
            body=plain(record["body"]),
            attributes=plain(record["attributes"]),
            event_name=record["event"] or None,
        )
    provider.shutdown()


def send_points(
    exporter: Any, resource: Mapping[str, Any], scope: Mapping[str, str], wanted: Sequence[Mapping[str, Any]]
) -> None:
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    views = [
        View(instrument_name=metric["name"], aggregation=ExponentialBucketHistogramAggregation())
        for metric in wanted
        if metric.get("exponential")
    ]
    provider = MeterProvider([reader], resource=Resource(resource), views=views, shutdown_on_exit=False)
    meter = provider.get_meter(scope["name"], scope["version"])
    makers: dict[str, Any] = {
        "Counter": meter.create_counter,
        "UpDownCounter": meter.create_up_down_counter,
        "Gauge": meter.create_gauge,
        "Histogram": meter.create_histogram,
    }
    for metric in wanted:
        bounds = {"explicit_bucket_boundaries_advisory": metric["bounds"]} if "bounds" in metric else {}
        instrument = makers[metric["instrument"]](metric["name"], metric["unit"], metric["description"], **bounds)
        for value, attributes in metric["values"]:
            measure = getattr(instrument, "add", None) or getattr(instrument, "record", None) or instrument.set
            measure(value, attributes, context.Context())
    provider.shutdown()


def delta() -> dict[type, AggregationTemporality]:
    """For `preferred_temporality`."""
    return dict.fromkeys((Counter, Histogram), AggregationTemporality.DELTA)


def plain(value: Any) -> Any:
    """With bytes for what stands for bytes."""
    if isinstance(value, dict):
        return bytes.fromhex(value["$bytes"]) if "$bytes" in value else {name: plain(of) for name, of in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def nanoseconds(given: Sequence[int]) -> int:
    return given[0] * 10**9 + given[1]
