"""Small OTLP requests for tests."""

from __future__ import annotations

import time

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


def request(first: int = 1, spans: int = 3, *, now_ns: int | None = None) -> ExportTraceServiceRequest:
    """Spans whose ids are made from first, first + 1, …; each a chat call."""
    now_ns = now_ns or time.time_ns()
    message = ExportTraceServiceRequest()
    resource_spans = message.resource_spans.add()
    service = resource_spans.resource.attributes.add()
    service.key, service.value.string_value = "service.name", "test"
    scope_spans = resource_spans.scope_spans.add()
    for number in range(first, first + spans):
        span = scope_spans.spans.add()
        span.trace_id, span.span_id = number.to_bytes(16, "big"), number.to_bytes(8, "big")
        span.name, span.kind = "chat m", Span.SPAN_KIND_CLIENT
        span.start_time_unix_nano, span.end_time_unix_nano = now_ns - 10**9, now_ns
        for key, text in {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}.items():
            attribute = span.attributes.add()
            attribute.key, attribute.value.string_value = key, text
    return message


def body(first: int = 1, spans: int = 3) -> bytes:
    return request(first, spans).SerializeToString()
