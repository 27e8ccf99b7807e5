"""The check that every request passes before it is logged: bytes in, the same bytes out.

The C protobuf parser tells whether the message is whole, its text UTF-8, and whether any value in it may need repair
(`collectors.otlp.scan`, by `collectors.otlp.shapes`); a short loop looks at the ids and times of each item. Only then
are objects built (`collectors.otlp.repair`), so a well-formed request is never decoded into Python values and never encoded
again.

`now_ns` is the clock when the request first came, by which its times are judged; `arrival_ns` the clock now, if another.
"""

from __future__ import annotations

from typing import Final

from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collectors.otlp import shapes
from collectors.otlp.checked import Checked, Limits, TimeWindow, parse
from collectors.otlp.repair import Repaired, data_points, repair_logs, repair_metrics, repair_traces
from collectors.otlp.scan import Outline, needs_repair

_NO_TRACE: Final = bytes(16)
_NO_SPAN: Final = bytes(8)
_SPAN_ATTRIBUTE: Final = b"\x4a"  # tag of Span.attributes
_EVENT_ATTRIBUTE: Final = b"\x1a"  # tag of Event.attributes
_LINK_ATTRIBUTE: Final = b"\x22"  # tag of Link.attributes
_Heads: Final = shapes.heads()


def check_traces(body: bytes, limits: Limits, now_ns: int, arrival_ns: int | None = None) -> Checked:
    """Check one serialised `ExportTraceServiceRequest`.

    Raises
    ------
    Malformed
        If it is not one.
    """
    window = limits.window(now_ns, arrival_ns)
    spans = _sound_spans(body, limits, window)
    if spans is not None:
        return Checked(body=body, items=spans)
    request = parse(ExportTraceServiceRequest, body)
    spans = sum(len(scope_spans.spans) for group in request.resource_spans for scope_spans in group.scope_spans)
    return _checked(request, body, spans, repair_traces(request, limits, window))


def _sound_spans(body: bytes, limits: Limits, window: TimeWindow) -> int | None:
    """How many spans there are; None if the request is none, or any of it may need repair."""
    try:
        outline = Outline(body)
        if needs_repair(ExportTraceServiceRequest, body, outline, limits.max_attribute_bytes):
            return None
        heads = _Heads.FromString(body)
    except DecodeError:
        return None
    earliest, latest = window.earliest_ns, window.latest_ns
    for group in heads.resource_spans:
        if len(group.resource.attributes) > limits.max_attributes:
            return None
        for scope_spans in group.scope_spans:
            for span in scope_spans.spans:
                trace_id, span_id = span.trace_id, span.span_id
                if (
                    len(trace_id) != 16
                    or len(span_id) != 8
                    or trace_id == _NO_TRACE
                    or span_id == _NO_SPAN
                    or not earliest <= span.start_time_unix_nano <= span.end_time_unix_nano <= latest
                ):
                    return None
    # An attribute takes two bytes at least.
    most = limits.max_attributes
    crowded = any(_crowded(item, most) for item in outline.items if len(item) > 2 * most)
    return None if crowded else len(outline.items)


def _crowded(item: bytes, most: int) -> bool:
    """Whether a span, or an event or a link of it, has more attributes than it may."""
    # As many tags, which also stand for other things.
    if (
        item.count(_SPAN_ATTRIBUTE) <= most
        and item.count(_EVENT_ATTRIBUTE) <= most
        and item.count(_LINK_ATTRIBUTE) <= most
    ):
        return False
    span = Span.FromString(item)
    holders: tuple[Span | Span.Event | Span.Link, ...] = (span, *span.events, *span.links)
    return any(len(holder.attributes) > most for holder in holders)


def check_logs(body: bytes, limits: Limits, now_ns: int, arrival_ns: int | None = None) -> Checked:
    """Check one serialised `ExportLogsServiceRequest`; no record is ever left out.

    Raises
    ------
    Malformed
        If it is not one.
    """
    request = parse(ExportLogsServiceRequest, body)
    window = limits.window(now_ns, arrival_ns)
    earliest, latest = window.earliest_ns, window.latest_ns
    records, suspect = 0, False
    for resource_logs in request.resource_logs:
        suspect = suspect or len(resource_logs.resource.attributes) > limits.max_attributes
        for scope_logs in resource_logs.scope_logs:
            suspect = suspect or len(scope_logs.scope.attributes) > limits.max_attributes
            for record in scope_logs.log_records:
                records += 1
                body_kind = record.body.WhichOneof("value")
                if (
                    not earliest <= (record.time_unix_nano or record.observed_time_unix_nano) <= latest
                    or len(record.attributes) > limits.max_attributes
                    # The bodies of records do not look like attributes to the scan.
                    or body_kind not in (None, "string_value")
                    or (body_kind and record.body.ByteSize() > limits.max_attribute_bytes)
                ):
                    suspect = True
    if not suspect and not needs_repair(ExportLogsServiceRequest, body, Outline(body), limits.max_attribute_bytes):
        return Checked(body=body, items=records)
    return _checked(request, body, records, repair_logs(request, limits, window))


def check_metrics(body: bytes, limits: Limits, now_ns: int, arrival_ns: int | None = None) -> Checked:
    """Check one serialised `ExportMetricsServiceRequest`; a metric without data is no item, and no point is ever left out.

    Raises
    ------
    Malformed
        If it is not one.
    """
    request = parse(ExportMetricsServiceRequest, body)
    window = limits.window(now_ns, arrival_ns)
    points, suspect = 0, False
    for resource_metrics in request.resource_metrics:
        suspect = suspect or len(resource_metrics.resource.attributes) > limits.max_attributes
        for scope_metrics in resource_metrics.scope_metrics:
            suspect = suspect or len(scope_metrics.scope.attributes) > limits.max_attributes
            for metric in scope_metrics.metrics:
                for point in data_points(metric):
                    points += 1
                    if not window.holds_point(point) or len(point.attributes) > limits.max_attributes:
                        suspect = True
    if not suspect and not needs_repair(ExportMetricsServiceRequest, body, Outline(body), limits.max_attribute_bytes):
        return Checked(body=body, items=points)
    return _checked(request, body, points, repair_metrics(request, limits, window))


def _checked(request: Message, body: bytes, items: int, repaired: Repaired) -> Checked:
    return Checked(
        body=request.SerializeToString() if repaired.changed else body,
        items=items - sum(repaired.rejected.values()),
        rejected=repaired.rejected,
        repaired=repaired.repaired,
    )
