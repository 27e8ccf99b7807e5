"""The check that every request passes before it is logged: bytes in, the same bytes out.

The C protobuf parser tells whether the message is whole and its text UTF-8; a short loop looks at the ids and times
of each item; two passes over the raw bytes (`collectors.otlp.scan`) tell whether anything in it may need repair. Only then
are objects built (`collectors.otlp.repair`), so a well-formed request is never decoded into Python values and never encoded
again.

`now_ns` is the clock when the request first came, by which its times are judged; `arrival_ns` the clock now, if another.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collectors.otlp.checked import Checked, Limits, parse
from collectors.otlp.repair import Repaired, data_points, repair_logs, repair_metrics, repair_traces
from collectors.otlp.scan import Bytes, needs_repair

_NO_TRACE: Final = bytes(16)
_NO_SPAN: Final = bytes(8)
_EVENT_ATTRIBUTE: Final = 0x1A  # tag of Event.attributes
_LINK_ATTRIBUTE: Final = 0x22  # tag of Link.attributes


def check_traces(body: bytes, limits: Limits, now_ns: int, arrival_ns: int | None = None) -> Checked:
    """Check one serialised `ExportTraceServiceRequest`.

    Raises
    ------
    Malformed
        If it is not one.
    """
    request = parse(ExportTraceServiceRequest, body)
    window = limits.window(now_ns, arrival_ns)
    earliest, latest = window.earliest_ns, window.latest_ns
    spans, suspect = 0, False
    for resource_spans in request.resource_spans:
        suspect = suspect or len(resource_spans.resource.attributes) > limits.max_attributes
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                spans += 1
                trace_id, span_id = span.trace_id, span.span_id
                if (
                    len(trace_id) != 16
                    or len(span_id) != 8
                    or trace_id == _NO_TRACE
                    or span_id == _NO_SPAN
                    or not earliest <= span.start_time_unix_nano <= span.end_time_unix_nano <= latest
                    or len(span.attributes) > limits.max_attributes
                ):
                    suspect = True
    suspect = suspect or _crowded(request, body, limits.max_attributes)
    if not suspect and not needs_repair(body, limits.max_attribute_bytes):
        return Checked(body=body, items=spans)
    return _checked(request, body, spans, repair_traces(request, limits, window))


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
    if not suspect and not needs_repair(body, limits.max_attribute_bytes):
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
    if not suspect and not needs_repair(body, limits.max_attribute_bytes):
        return Checked(body=body, items=points)
    return _checked(request, body, points, repair_metrics(request, limits, window))


def _checked(request: Message, body: bytes, items: int, repaired: Repaired) -> Checked:
    return Checked(
        body=request.SerializeToString() if repaired.changed else body,
        items=items - sum(repaired.rejected.values()),
        rejected=repaired.rejected,
        repaired=repaired.repaired,
    )


def _crowded(request: ExportTraceServiceRequest, body: bytes, max_attributes: int) -> bool:
    """Whether an event or a link has more attributes than it may."""
    # Asking each span for its events takes as long as reading it; a request with few such tags has no such event.
    data = np.frombuffer(body, dtype=np.uint8)
    if not any(_may_exceed(data, tag, max_attributes) for tag in (_EVENT_ATTRIBUTE, _LINK_ATTRIBUTE)):
        return False
    return any(
        len(item.attributes) > max_attributes
        for resource_spans in request.resource_spans
        for scope_spans in resource_spans.scope_spans
        for span in scope_spans.spans
        for items in (span.events, span.links)
        for item in items
    )


def _may_exceed(data: Bytes, tag: int, most: int) -> bool:
    """Whether more than so many attributes with this tag of one byte may be there; it also stands for other things."""
    found = data == tag
    if np.count_nonzero(found) <= most:
        return False
    tags = np.flatnonzero(found[:-2])
    length, first = data[tags + 1], data[tags + 2]
    # Behind an attribute's tag: nothing in it, or a length of several bytes, or a key (0x0A), or a value alone (0x12).
    likely = (length == 0) | (length >= 0x80) | (first == 0x0A) | (first == 0x12)
    return 2 + int(np.count_nonzero(likely)) > most
