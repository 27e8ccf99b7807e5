"""OTLP requests as emitters that cannot run here send them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

Value = str | bool | int | float | list[str]


def span(
    name: str,
    attributes: Mapping[str, Value] | None = None,
    *,
    trace: str = "t",
    id: str = "",
    parent: str = "",
    at_s: float = 0,
    seconds: float = 2,
    events: Mapping[str, float] | None = None,
    failed: bool = False,
) -> Span:
    """A span of yesterday; `at_s` and the times of events are seconds after its trace's begin and its own."""
    begin = BEGIN_NS + int(at_s * 1e9)
    built = Span(
        trace_id=hashlib.md5(trace.encode()).digest(),
        span_id=hashlib.md5((id or trace + name).encode()).digest()[:8],
        parent_span_id=hashlib.md5(parent.encode()).digest()[:8] if parent else b"",
        name=name,
        start_time_unix_nano=begin,
        end_time_unix_nano=begin + int(seconds * 1e9),
        status=Status(code=Status.STATUS_CODE_ERROR if failed else Status.STATUS_CODE_UNSET),
    )
    _set(built.attributes, attributes or {})
    for event, after_s in (events or {}).items():
        built.events.add(name=event, time_unix_nano=begin + int(after_s * 1e9))
    return built


def request(*spans: Span, scope: str = "", version: str = "", resource: Mapping[str, Value] | None = None) -> bytes:
    """A request with these spans."""
    message = ExportTraceServiceRequest()
    resource_spans = message.resource_spans.add()
    _set(resource_spans.resource.attributes, resource or {})
    scope_spans = resource_spans.scope_spans.add()
    scope_spans.scope.name, scope_spans.scope.version = scope, version
    scope_spans.spans.extend(spans)
    return message.SerializeToString()


BEGIN_NS = (int(time.time()) - 86_400) * 10**9


def _set(attributes: Any, values: Mapping[str, Value]) -> None:
    for key, value in values.items():
        attributes.add(key=key, value=_any(value))


def _any(value: Value) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, str):
        return AnyValue(string_value=value)
    made = AnyValue()
    made.array_value.values.extend(_any(item) for item in value)
    return made
