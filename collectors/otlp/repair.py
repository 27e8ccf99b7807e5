"""What is done to the rare item that cannot be stored as it came. Works on decoded messages, in place.

- ids of the wrong length, or all zero: the span is left out (it can never succeed); a log record has none then;
- a begin in the far past or future (see `max_past_days`, `max_future_s`): the time of arrival is taken, the time given is
  kept as an attribute; an end before the begin, or in the far future, becomes the begin, marked the same way;
- a log record or data point of no believable time gets the time of arrival, marked the same way; a data point's impossible
  start becomes unknown;
- values over the limit are cut, attributes over the limit are dropped; both leave a mark;
- byte strings, key-value lists, nested and empty arrays become JSON text, which is how they are stored.
"""

from __future__ import annotations

import base64
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collectors.otlp.checked import Limits, TimeWindow
from monitor import semconv

TRUNCATION_MARK: Final = "…[truncated]"
_LARGEST_PLAIN: Final = 1e21  # numbers from here on are written with an exponent


@dataclass(kw_only=True)
class Repaired:
    changed: bool = False
    rejected: Counter[str] = field(default_factory=Counter)
    repaired: Counter[str] = field(default_factory=Counter)

    def note(self, reason: str, count: int = 1) -> None:
        self.repaired[reason] += count
        self.changed = True


def repair_traces(request: ExportTraceServiceRequest, limits: Limits, window: TimeWindow) -> Repaired:
    """Repair all spans of a request; says what was done."""
    done = Repaired()
    for resource_spans in request.resource_spans:
        _repair_attributes(resource_spans.resource.attributes, limits, done)
        for scope_spans in resource_spans.scope_spans:
            _drop_invalid(scope_spans.spans, done)
            for span in scope_spans.spans:
                # Before the clamp, whose mark must not fall to the limit.
                _repair_attributes(span.attributes, limits, done)
                for event in span.events:
                    _repair_attributes(event.attributes, limits, done)
                for link in span.links:
                    _repair_attributes(link.attributes, limits, done)
                if not window.earliest_ns <= span.start_time_unix_nano <= window.latest_ns:
                    _clamp(span, window.now_ns)
                elif not span.start_time_unix_nano <= span.end_time_unix_nano <= window.latest_ns:
                    _clamp_end(span)
                else:
                    continue
                done.note("time_clamped")
    return done


def repair_logs(request: ExportLogsServiceRequest, limits: Limits, window: TimeWindow) -> Repaired:
    """Repair all records of a request; says what was done."""
    done = Repaired()
    for resource_logs in request.resource_logs:
        _repair_attributes(resource_logs.resource.attributes, limits, done)
        for scope_logs in resource_logs.scope_logs:
            _repair_attributes(scope_logs.scope.attributes, limits, done)
            for record in scope_logs.log_records:
                _repair_attributes(record.attributes, limits, done)
                _repair_value(record.body, limits.max_attribute_bytes, done)
                given = record.time_unix_nano or record.observed_time_unix_nano
                if not window.earliest_ns <= given <= window.latest_ns:
                    record.time_unix_nano = window.now_ns if given else window.arrival_ns
                    # Neither time is often left out, and no error: the protocol lets a receiver fill it in.
                    if given:
                        _set(record.attributes, semconv.TIME_CLAMPED, str(given))
                    done.note("time_clamped")
    return done


def repair_metrics(request: ExportMetricsServiceRequest, limits: Limits, window: TimeWindow) -> Repaired:
    """Repair all data points of a request; says what was done."""
    done = Repaired()
    for resource_metrics in request.resource_metrics:
        _repair_attributes(resource_metrics.resource.attributes, limits, done)
        for scope_metrics in resource_metrics.scope_metrics:
            _repair_attributes(scope_metrics.scope.attributes, limits, done)
            for metric in scope_metrics.metrics:
                for point in data_points(metric):
                    _repair_attributes(point.attributes, limits, done)
                    # A summary has none.
                    for exemplar in getattr(point, "exemplars", ()):
                        _repair_attributes(exemplar.filtered_attributes, limits, done)
                    if not window.holds_point(point):
                        _clamp_point(point, window)
                        done.note("time_clamped")
    return done


def data_points(metric: Metric) -> Sequence[Any]:
    """The points of a metric, of whatever kind; none if it has no kind."""
    kind = metric.WhichOneof("data")
    return getattr(metric, kind).data_points if kind else ()


def _clamp_point(point: Any, window: TimeWindow) -> None:
    if not window.earliest_ns <= point.time_unix_nano <= window.latest_ns:
        _set(point.attributes, semconv.TIME_CLAMPED, str(point.time_unix_nano))
        point.time_unix_nano = window.now_ns if point.time_unix_nano else window.arrival_ns
    if not window.earliest_ns <= point.start_time_unix_nano <= window.latest_ns:
        point.start_time_unix_nano = 0


def _drop_invalid(spans: Any, done: Repaired) -> None:
    reasons = [invalid_reason(span.trace_id, span.span_id) for span in spans]
    if not any(reasons):
        return
    done.rejected.update(reason for reason in reasons if reason)
    done.changed = True
    kept = [span for span, reason in zip(spans, reasons, strict=True) if not reason]
    copies = []
    for span in kept:
        copy = Span()
        copy.CopyFrom(span)
        copies.append(copy)
    del spans[:]
    spans.extend(copies)


def invalid_reason(trace_id: bytes, span_id: bytes) -> str | None:
    """Why a span with these ids can never be stored, or None."""
    if len(trace_id) != 16 or not any(trace_id):
        return "invalid_trace_id"
    if len(span_id) != 8 or not any(span_id):
        return "invalid_span_id"
    return None


def _clamp(span: Span, now_ns: int) -> None:
    given = span.start_time_unix_nano
    duration = span.end_time_unix_nano - given
    # A duration that makes sense is kept, even where the clock does not.
    sane = given > 0 and 0 <= duration <= 3600 * 10**9
    span.start_time_unix_nano = now_ns
    span.end_time_unix_nano = now_ns + (duration if sane else 0)
    _set(span.attributes, semconv.TIME_CLAMPED, str(given))


def _clamp_end(span: Span) -> None:
    """How long it took is not known; 0 is what the table can say, the mark is what tells it from a true 0."""
    _set(span.attributes, semconv.TIME_CLAMPED, f"end {span.end_time_unix_nano}")
    span.end_time_unix_nano = span.start_time_unix_nano


def _set(attributes: Any, key: str, text: str) -> None:
    attribute = attributes.add()
    attribute.key = key
    attribute.value.string_value = text


def _repair_attributes(attributes: Any, limits: Limits, done: Repaired) -> None:
    surplus = len(attributes) - limits.max_attributes
    if surplus > 0:
        del attributes[limits.max_attributes :]
        _set(attributes, semconv.TRUNCATED, f"attributes: {surplus} dropped")
        done.note("attributes_dropped", surplus)
    for attribute in attributes:
        _repair_value(attribute.value, limits.max_attribute_bytes, done)


def _repair_value(value: AnyValue, max_bytes: int, done: Repaired) -> None:
    arm = value.WhichOneof("value")
    if arm in ("kvlist_value", "bytes_value") or (arm == "array_value" and _is_text_only(value.array_value.values)):
        text = _plain(value)
        value.string_value = text if isinstance(text, str) else _json(text)
        done.changed = True
        arm = "string_value"
    if arm == "array_value" and value.ByteSize() > max_bytes:
        text = _json(_plain(value))
        if len(text.encode()) > max_bytes:
            value.string_value = text
            arm = "string_value"
    if arm == "string_value":
        encoded = value.string_value.encode()
        if len(encoded) > max_bytes:
            value.string_value = encoded[:max_bytes].decode(errors="ignore") + TRUNCATION_MARK
            done.note("truncated")


def _is_text_only(items: Sequence[AnyValue]) -> bool:
    """Whether an array is empty or nested, which ClickHouse cannot read."""
    return not items or any(
        item.WhichOneof("value") in ("array_value", "kvlist_value", "bytes_value") for item in items
    )


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _plain(value: AnyValue) -> Any:
    """An AnyValue as what JSON can hold; byte strings as base64, as the exporters write them."""
    arm = value.WhichOneof("value")
    if arm is None:
        return None
    if arm == "kvlist_value":
        return {item.key: _plain(item.value) for item in value.kvlist_value.values}
    if arm == "array_value":
        return [_plain(item) for item in value.array_value.values]
    if arm == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    plain = getattr(value, arm)
    if isinstance(plain, float):
        if not math.isfinite(plain):
            return str(plain)  # JSON has no NaN or infinity
        if plain.is_integer() and abs(plain) < _LARGEST_PLAIN:
            return int(plain)  # 5, not 5.0: as ClickHouse and the exporters write it
    return plain
