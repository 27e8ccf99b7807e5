"""The ids of the spans of a request."""

from __future__ import annotations

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

SpanId = tuple[str, str]


def span_ids(body: bytes) -> list[SpanId]:
    """Trace and span id of each span, in hex as they are stored; none of a request of another signal."""
    try:
        request = ExportTraceServiceRequest.FromString(body)
    except DecodeError:
        return []
    return [
        (span.trace_id.hex(), span.span_id.hex())
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
        if span.trace_id
    ]
