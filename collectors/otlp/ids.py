"""The ids of the spans of a request."""

from __future__ import annotations

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from monitor.store.unsure import SpanId


def span_ids(body: bytes) -> list[SpanId]:
    """Trace and span id of each span, in hex as they are stored; `body` is a request that was checked."""
    request = ExportTraceServiceRequest.FromString(body)
    return [
        (span.trace_id.hex(), span.span_id.hex())
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
