"""OTLP metric requests to rows of `otel_metrics_in`, whose views send each data point to its table.

See `monitor.store.flatten`. Points of all kinds get the same columns here, so that a segment is parsed once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from monitor.store.flatten import (
    ATTRIBUTES,
    COMMON_SCHEMA,
    Flattening,
    FlattenOptions,
    attribute_map,
    literal,
    resource_map,
)
from monitor.store.flatten_logs import hex_id

METRICS_SCHEMA: Final = (
    """syntax = "proto3";
message Request { repeated ResourceMetrics resource_metrics = 1; }
message ResourceMetrics { Resource resource = 1; repeated ScopeMetrics scope_metrics = 2; string schema_url = 3; }
message ScopeMetrics { Scope scope = 1; repeated Metric metrics = 2; string schema_url = 3; }
message Scope { string name = 1; string version = 2; repeated KeyValue attributes = 3; uint32 dropped_attributes_count = 4; }
message Metric {
  string name = 1; string description = 2; string unit = 3; Gauge gauge = 5; Sum sum = 7; Histogram histogram = 9;
  Exponential exponential_histogram = 10; Summary summary = 11;
}
message Gauge { repeated Number data_points = 1; }
message Sum { repeated Number data_points = 1; int32 aggregation_temporality = 2; bool is_monotonic = 3; }
message Histogram { repeated HistogramPoint data_points = 1; int32 aggregation_temporality = 2; }
message Exponential { repeated ExponentialPoint data_points = 1; int32 aggregation_temporality = 2; }
message Summary { repeated SummaryPoint data_points = 1; }
message Number {
  repeated KeyValue attributes = 7; fixed64 start_time_unix_nano = 2; fixed64 time_unix_nano = 3;
  oneof value { double as_double = 4; sfixed64 as_int = 6; } repeated Exemplar exemplars = 5; uint32 flags = 8;
}
message HistogramPoint {
  repeated KeyValue attributes = 9; fixed64 start_time_unix_nano = 2; fixed64 time_unix_nano = 3; fixed64 count = 4;
  double sum = 5; repeated fixed64 bucket_counts = 6; repeated double explicit_bounds = 7; repeated Exemplar exemplars = 8;
  uint32 flags = 10; double min = 11; double max = 12;
}
message ExponentialPoint {
  repeated KeyValue attributes = 1; fixed64 start_time_unix_nano = 2; fixed64 time_unix_nano = 3; fixed64 count = 4;
  double sum = 5; sint32 scale = 6; fixed64 zero_count = 7; Buckets positive = 8; Buckets negative = 9; uint32 flags = 10;
  repeated Exemplar exemplars = 11; double min = 12; double max = 13;
}
message Buckets { sint32 offset = 1; repeated uint64 bucket_counts = 2; }
message SummaryPoint {
  repeated KeyValue attributes = 7; fixed64 start_time_unix_nano = 2; fixed64 time_unix_nano = 3; fixed64 count = 4;
  double sum = 5; repeated AtQuantile quantile_values = 6; uint32 flags = 8;
}
message AtQuantile { double quantile = 1; double value = 2; }
message Exemplar {
  repeated KeyValue filtered_attributes = 7; fixed64 time_unix_nano = 2; oneof value { double as_double = 3; sfixed64 as_int = 6; }
  bytes span_id = 4; bytes trace_id = 5;
}
"""
    + COMMON_SCHEMA
)

_NUMBER = "as_double Nullable(Float64), as_int Nullable(Int64)"
_EXEMPLARS = (
    f"Array(Tuple(filtered_attributes {ATTRIBUTES}, time_unix_nano UInt64, {_NUMBER}, span_id String, trace_id String))"
)
_POINT = f"attributes {ATTRIBUTES}, start_time_unix_nano UInt64, time_unix_nano UInt64, flags UInt32"
_COUNTED = f"{_POINT}, count UInt64, sum Float64"
_BUCKETS = "Tuple(offset Int32, bucket_counts Array(UInt64))"
_POINTS: Final[Mapping[str, str]] = {
    "gauge": f"Tuple(data_points Array(Tuple({_POINT}, {_NUMBER}, exemplars {_EXEMPLARS})))",
    "sum": (
        f"Tuple(data_points Array(Tuple({_POINT}, {_NUMBER}, exemplars {_EXEMPLARS})),"
        " aggregation_temporality Int32, is_monotonic Bool)"
    ),
    "histogram": (
        f"Tuple(data_points Array(Tuple({_COUNTED}, min Float64, max Float64, bucket_counts Array(UInt64),"
        f" explicit_bounds Array(Float64), exemplars {_EXEMPLARS})), aggregation_temporality Int32)"
    ),
    "exponential_histogram": (
        f"Tuple(data_points Array(Tuple({_COUNTED}, min Float64, max Float64, scale Int32, zero_count UInt64,"
        f" positive {_BUCKETS}, negative {_BUCKETS}, exemplars {_EXEMPLARS})), aggregation_temporality Int32)"
    ),
    "summary": (
        f"Tuple(data_points Array(Tuple({_COUNTED}, quantile_values Array(Tuple(quantile Float64, value Float64)))))"
    ),
}
_KINDS = ", ".join(f"{kind} {points}" for kind, points in _POINTS.items())
_METRIC = f"Tuple(name String, description String, unit String, {_KINDS})"
METRICS_STRUCTURE: Final = (
    f"resource_metrics Array(Tuple(resource Tuple(attributes {ATTRIBUTES}), scope_metrics Array(Tuple("
    f"scope Tuple(name String, version String, attributes {ATTRIBUTES}, dropped_attributes_count UInt32),"
    f" metrics Array({_METRIC}), schema_url String)), schema_url String))"
)

_NO_NUMBERS = "CAST([], 'Array(Float64)')"
_NO_COUNTS = "CAST([], 'Array(UInt64)')"

# What is taken of a point `p` of the metric `m`, for a kind or for all others. A capital begins a column of
# `otel_metrics_in`; the rest is worked on further.
_COLUMNS: Final[Mapping[str, Mapping[str, str]]] = {
    "attributes": {"": "p.attributes"},
    "start": {"": "p.start_time_unix_nano"},
    "time": {"": "p.time_unix_nano"},
    "Flags": {"": "p.flags"},
    "Value": {"gauge sum": "coalesce(p.as_double, toFloat64(p.as_int), 0.)", "": "0."},
    "Count": {"gauge sum": "toUInt64(0)", "": "p.count"},
    "Sum": {"gauge sum": "0.", "": "p.sum"},
    "Min": {"histogram exponential_histogram": "p.min", "": "0."},
    "Max": {"histogram exponential_histogram": "p.max", "": "0."},
    "BucketCounts": {"histogram": "p.bucket_counts", "": _NO_COUNTS},
    "ExplicitBounds": {"histogram": "p.explicit_bounds", "": _NO_NUMBERS},
    "Scale": {"exponential_histogram": "p.scale", "": "toInt32(0)"},
    "ZeroCount": {"exponential_histogram": "p.zero_count", "": "toUInt64(0)"},
    "PositiveOffset": {"exponential_histogram": "p.positive.offset", "": "toInt32(0)"},
    "PositiveBucketCounts": {"exponential_histogram": "p.positive.bucket_counts", "": _NO_COUNTS},
    "NegativeOffset": {"exponential_histogram": "p.negative.offset", "": "toInt32(0)"},
    "NegativeBucketCounts": {"exponential_histogram": "p.negative.bucket_counts", "": _NO_COUNTS},
    "Quantiles": {"summary": "p.quantile_values.quantile", "": _NO_NUMBERS},
    "QuantileValues": {"summary": "p.quantile_values.value", "": _NO_NUMBERS},
    "exemplars": {"summary": f"CAST([], {literal(_EXEMPLARS)})", "": "p.exemplars"},
    "AggregationTemporality": {
        "sum": "m.sum.aggregation_temporality",
        "histogram": "m.histogram.aggregation_temporality",
        "exponential_histogram": "m.exponential_histogram.aggregation_temporality",
        "": "toInt32(0)",
    },
    "IsMonotonic": {"sum": "m.sum.is_monotonic", "": "false"},
}  # fmt: skip


def _value(column: str, kind: str) -> str:
    choices = _COLUMNS[column]
    return next((sql for kinds, sql in choices.items() if kind in kinds.split()), choices[""])


def _points(kind: str) -> str:
    """SQL for all points of one kind in the metric `m`, as an array of tuples."""
    values = ", ".join(_value(column, kind) for column in _COLUMNS)
    return f"arrayMap(p -> tuple('{kind}', {values}), m.{kind}.data_points)"


def insert_metrics(source: str, options: FlattenOptions) -> str:
    """The INSERT … SELECT for one segment; `source` is the FROM clause that yields `METRICS_STRUCTURE`."""
    points = ",\n                ".join(_points(kind) for kind in _POINTS)
    parts = ", ".join(f"point.{place} AS {name}" for place, name in enumerate(("Kind", *_COLUMNS), 1))
    columns = {
        "ResourceAttributes": "resource_attributes",
        "ResourceSchemaUrl": "resource_url",
        "ScopeName": "scope.name",
        "ScopeVersion": "scope.version",
        "ScopeAttributes": attribute_map("scope.attributes", options),
        "ScopeDroppedAttrCount": "scope.dropped_attributes_count",
        "ScopeSchemaUrl": "scope_url",
        "ServiceName": "resource_attributes['service.name']",
        "MetricName": "name",
        "MetricDescription": "description",
        "MetricUnit": "unit",
        "Kind": "Kind",
        "Attributes": attribute_map("attributes", options),
        "StartTimeUnix": _moment("start"),
        "TimeUnix": _moment("time"),
        **{name: name for name in _COLUMNS if name[0].isupper()},
        "ExemplarAttributes": f"arrayMap(x -> {attribute_map('x.filtered_attributes', options)}, exemplars)",
        "ExemplarTimes": f"arrayMap(t -> {_moment('t')}, exemplars.time_unix_nano)",
        "ExemplarValues": "arrayMap((d, n) -> coalesce(d, toFloat64(n), 0.), exemplars.as_double, exemplars.as_int)",
        "ExemplarSpanIds": f"arrayMap(x -> {hex_id('x', 8)}, exemplars.span_id)",
        "ExemplarTraceIds": f"arrayMap(x -> {hex_id('x', 16)}, exemplars.trace_id)",
    }
    resources = attribute_map("resource_metrics.resource.attributes", options)
    return f"""
INSERT INTO otel_metrics_in ({", ".join(columns)})
SELECT
    {", ".join(columns.values())}
FROM (
    SELECT resource_attributes, resource_url, scope_url, scope, name, description, unit, {parts} FROM (
        SELECT resource_attributes, resource_url, scope_url, scope, m.name AS name, m.description AS description,
            m.unit AS unit, arrayJoin(arrayConcat(
                {points}
            )) AS point
        FROM (
            SELECT resource_attributes, resource_url, scope_metrics.schema_url AS scope_url, scope_metrics.scope AS scope,
                arrayJoin(scope_metrics.metrics) AS m
            FROM (
                SELECT {resource_map(resources, options)} AS resource_attributes, resource_metrics.schema_url AS resource_url,
                    arrayJoin(resource_metrics.scope_metrics) AS scope_metrics
                FROM (SELECT arrayJoin(resource_metrics) AS resource_metrics FROM {source})
            )
        )
    )
)""".strip()


def _moment(column: str) -> str:
    return f"fromUnixTimestamp64Nano(toInt64({column}))"


METRICS: Final = Flattening(schema=METRICS_SCHEMA, structure=METRICS_STRUCTURE, insert=insert_metrics)
