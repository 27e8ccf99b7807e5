"""One request of each signal with every field that a table has a column for, and the rows that it must become."""

from __future__ import annotations

import time
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.metrics.v1.metrics_pb2 import Exemplar

TRACE, SPAN = bytes(range(1, 17)), bytes(range(1, 9))
NOW = time.time_ns() - 60 * 10**9


def attribute(key: str, value: Any) -> KeyValue:
    found = AnyValue()
    if isinstance(value, bool):
        found.bool_value = value
    elif isinstance(value, int):
        found.int_value = value
    elif isinstance(value, float):
        found.double_value = value
    elif isinstance(value, list):
        found.array_value.CopyFrom(ArrayValue(values=[attribute("", item).value for item in value]))
    elif isinstance(value, dict):
        found.kvlist_value.CopyFrom(KeyValueList(values=[attribute(name, item) for name, item in value.items()]))
    elif isinstance(value, bytes):
        found.bytes_value = value
    elif value is not None:
        found.string_value = value
    return KeyValue(key=key, value=found)


def _about(resource: Any, scoped: Any) -> None:
    resource.schema_url = "https://resource"
    resource.resource.attributes.append(attribute("service.name", "shop"))
    scoped.schema_url = "https://scope"
    scoped.scope.name, scoped.scope.version = "the scope", "1.2"
    scoped.scope.attributes.append(attribute("of scope", True))


def log_request() -> ExportLogsServiceRequest:
    message = ExportLogsServiceRequest()
    logs = message.resource_logs.add()
    records = logs.scope_logs.add()
    _about(logs, records)
    record = records.log_records.add(
        time_unix_nano=NOW + 1,
        observed_time_unix_nano=NOW + 5,
        severity_number=9,
        severity_text="INFO",
        flags=0x101,
        trace_id=TRACE,
        span_id=SPAN,
        event_name="order.placed",
    )
    record.body.string_value = "hello — wörld"
    record.attributes.extend(
        attribute(key, value)
        for key, value in {"n": 7, "x": 2.5, "b": False, "list": [1, "a"], "deep": {"k": [1, {"z": 2}]}}.items()
    )
    # Neither ids nor a time of its own, and a structured body.
    bare = records.log_records.add(observed_time_unix_nano=NOW + 2)
    bare.body.kvlist_value.values.append(attribute("code", 500))
    return message


LOG_ROWS: list[dict[str, Any]] = [
    {
        "nanos": NOW + 1, "TraceId": TRACE.hex(), "SpanId": SPAN.hex(), "TraceFlags": 1, "SeverityText": "INFO",
        "SeverityNumber": 9, "ServiceName": "shop", "Body": "hello — wörld", "ResourceSchemaUrl": "https://resource",
        "ResourceAttributes": {"service.name": "shop"}, "ScopeSchemaUrl": "https://scope", "ScopeName": "the scope",
        "ScopeVersion": "1.2", "ScopeAttributes": {"of scope": "true"},
        "LogAttributes": {"n": "7", "x": "2.5", "b": "false", "list": '[1,"a"]', "deep": '{"k":[1,{"z":2}]}'},
        "EventName": "order.placed",
    },
    {
        "nanos": NOW + 2, "TraceId": "", "SpanId": "", "TraceFlags": 0, "SeverityText": "", "SeverityNumber": 0,
        "ServiceName": "shop", "Body": '{"code":500}', "ResourceSchemaUrl": "https://resource",
        "ResourceAttributes": {"service.name": "shop"}, "ScopeSchemaUrl": "https://scope", "ScopeName": "the scope",
        "ScopeVersion": "1.2", "ScopeAttributes": {"of scope": "true"}, "LogAttributes": {}, "EventName": "",
    },
]  # fmt: skip


def metric_request() -> ExportMetricsServiceRequest:
    message = ExportMetricsServiceRequest()
    metrics = message.resource_metrics.add()
    scoped = metrics.scope_metrics.add()
    _about(metrics, scoped)
    scoped.scope.dropped_attributes_count = 3
    times = {"start_time_unix_nano": NOW - 10, "time_unix_nano": NOW}
    of_point = [attribute("k", 7)]
    exemplar = Exemplar(time_unix_nano=NOW - 1, as_int=4, span_id=SPAN, trace_id=TRACE)
    exemplar.filtered_attributes.append(attribute("u", "v"))

    gauge = scoped.metrics.add(name="a gauge", description="what it is", unit="1")
    gauge.gauge.data_points.add(**times, as_int=-5, attributes=of_point, flags=1, exemplars=[exemplar])
    gauge.gauge.data_points.add(time_unix_nano=NOW, as_double=2.5)
    total = scoped.metrics.add(name="a sum", unit="By")
    total.sum.aggregation_temporality, total.sum.is_monotonic = 2, True
    total.sum.data_points.add(**times, as_double=1e18, attributes=of_point, exemplars=[exemplar])
    histogram = scoped.metrics.add(name="a histogram", unit="s")
    histogram.histogram.aggregation_temporality = 1
    histogram.histogram.data_points.add(
        **times, attributes=of_point, count=6, sum=7.5, bucket_counts=[1, 2, 3], explicit_bounds=[0.5, 1.5], min=0.1,
        max=3, exemplars=[exemplar], flags=1,
    )  # fmt: skip
    exponential = scoped.metrics.add(name="an exponential histogram", unit="s")
    exponential.exponential_histogram.aggregation_temporality = 2
    point = exponential.exponential_histogram.data_points.add(
        **times, attributes=of_point, count=8, sum=9.5, scale=-3, zero_count=1, min=-2, max=4, exemplars=[exemplar]
    )
    point.positive.offset, point.negative.offset = -2, 5
    point.positive.bucket_counts.extend([1, 2])
    point.negative.bucket_counts.extend([4])
    summary = scoped.metrics.add(name="a summary", unit="s")
    point = summary.summary.data_points.add(**times, attributes=of_point, count=7, sum=9)
    point.quantile_values.add(quantile=0.5, value=1)
    point.quantile_values.add(quantile=0.99, value=3)
    scoped.metrics.add(name="nothing in it")
    return message


POINTS = 6
_COMMON: dict[str, Any] = {
    "ResourceAttributes": {"service.name": "shop"}, "ResourceSchemaUrl": "https://resource", "ScopeName": "the scope",
    "ScopeVersion": "1.2", "ScopeAttributes": {"of scope": "true"}, "ScopeDroppedAttrCount": 3,
    "ScopeSchemaUrl": "https://scope", "ServiceName": "shop", "MetricDescription": "", "Attributes": {"k": "7"},
    "Flags": 0, "start": NOW - 10, "time": NOW,
}  # fmt: skip
_EXEMPLARS: dict[str, Any] = {
    "Exemplars.FilteredAttributes": [{"u": "v"}], "Exemplars.Value": [4.0], "Exemplars.SpanId": [SPAN.hex()],
    "Exemplars.TraceId": [TRACE.hex()],
}  # fmt: skip
_NO_EXEMPLARS: dict[str, Any] = {name: [] for name in _EXEMPLARS}
METRIC_ROWS: dict[str, list[dict[str, Any]]] = {
    "gauge": [
        {
            **_COMMON, **_EXEMPLARS, "MetricName": "a gauge", "MetricDescription": "what it is", "MetricUnit": "1",
            "Value": -5.0, "Flags": 1,
        },
        {
            **_COMMON, **_NO_EXEMPLARS, "MetricName": "a gauge", "MetricDescription": "what it is", "MetricUnit": "1",
            "Value": 2.5, "start": 0, "Attributes": {},
        },
    ],
    "sum": [
        {
            **_COMMON, **_EXEMPLARS, "MetricName": "a sum", "MetricUnit": "By", "Value": 1e18,
            "AggregationTemporality": 2, "IsMonotonic": True,
        }
    ],
    "histogram": [
        {
            **_COMMON, **_EXEMPLARS, "MetricName": "a histogram", "MetricUnit": "s", "Count": 6, "Sum": 7.5,
            "BucketCounts": [1, 2, 3], "ExplicitBounds": [0.5, 1.5], "Flags": 1, "Min": 0.1, "Max": 3.0,
            "AggregationTemporality": 1,
        }
    ],
    "exponential_histogram": [
        {
            **_COMMON, **_EXEMPLARS, "MetricName": "an exponential histogram", "MetricUnit": "s", "Count": 8,
            "Sum": 9.5, "Scale": -3, "ZeroCount": 1, "PositiveOffset": -2, "PositiveBucketCounts": [1, 2],
            "NegativeOffset": 5, "NegativeBucketCounts": [4], "Min": -2.0, "Max": 4.0, "AggregationTemporality": 2,
        }
    ],
    "summary": [
        {
            **_COMMON, "MetricName": "a summary", "MetricUnit": "s", "Count": 7, "Sum": 9.0,
            "ValueAtQuantiles.Quantile": [0.5, 0.99], "ValueAtQuantiles.Value": [1.0, 3.0],
        }
    ],
}  # fmt: skip
