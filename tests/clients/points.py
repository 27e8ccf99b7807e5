"""Metrics of every instrument, as `send.mjs` wants them, and the rows that they must become."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monitor.store.client import Client
from tests.clients import spans

SCOPE = {"name": "clients.points", "version": "7.8.9"}
DELTA, CUMULATIVE = 1, 2

METRICS: list[dict[str, Any]] = [
    {
        "instrument": "Counter",
        "name": "clients.requests",
        "unit": "{request}",
        "description": "Anfragen – gezählt 🚀",
        "int": True,
        "values": [[1, {"route": "a"}], [2, {"route": "a"}], [5, {"route": "b"}]],
    },
    {
        "instrument": "UpDownCounter",
        "name": "clients.active",
        "unit": "1",
        "description": "",
        "values": [[3.5, {}], [-5.75, {}]],
    },
    {
        "instrument": "Gauge",
        "name": "clients.temperature",
        "unit": "Cel",
        "description": "zuletzt gemessen",
        "values": [[21.5, spans.sent()], [-3.25, spans.sent()]],
    },
    {
        "instrument": "Histogram",
        "name": "clients.duration",
        "unit": "s",
        "description": "Dauer",
        "bounds": [0.5, 1, 2.5],
        "values": [[value, {"route": "a"}] for value in (0.25, 0.75, 1, 10)],
    },
    {
        "instrument": "Histogram",
        "name": "clients.sizes",
        "unit": "By",
        "description": "Größe",
        "exponential": True,
        # At most 160 buckets for two powers of two: 64 of them each, hence scale 6.
        "values": [[value, {}] for value in (0, 1, 2, 4, 4)],
    },
]

COMMON = """
    ResourceAttributes, ResourceSchemaUrl, ScopeName, ScopeVersion, ScopeAttributes, ScopeDroppedAttrCount, ScopeSchemaUrl,
    ServiceName, MetricName, MetricDescription, MetricUnit, Attributes, Flags
"""
TIMES = "toUnixTimestamp64Nano(StartTimeUnix), toUnixTimestamp64Nano(TimeUnix)"
TABLES = {
    "otel_metrics_gauge": "Value",
    "otel_metrics_sum": "Value, AggregationTemporality, IsMonotonic",
    "otel_metrics_histogram": "Count, Sum, BucketCounts, ExplicitBounds, Min, Max, AggregationTemporality",
    "otel_metrics_exponential_histogram": (
        "Count, Sum, Scale, ZeroCount, PositiveOffset, PositiveBucketCounts, NegativeOffset, NegativeBucketCounts, Min, Max,"
        " AggregationTemporality"
    ),
    "otel_metrics_summary": "Count, Sum",
}


def expected(service: str, *, delta: bool, padded: bool = False) -> dict[str, list[dict[str, Any]]]:
    """The rows of each table, without their times.

    `padded` tells whether the SDK sends all the buckets that it keeps of an exponential histogram, the empty ones too.
    """
    temporality = DELTA if delta else CUMULATIVE

    def row(index: int, attributes: Mapping[str, str], **values: Any) -> dict[str, Any]:
        metric = METRICS[index]
        return {
            "ResourceAttributes": {**spans.RESOURCE_STORED, "service.name": service},
            "ResourceSchemaUrl": "",
            "ScopeName": SCOPE["name"],
            "ScopeVersion": SCOPE["version"],
            "ScopeAttributes": {},
            "ScopeDroppedAttrCount": 0,
            "ScopeSchemaUrl": "",
            "ServiceName": service,
            "MetricName": metric["name"],
            "MetricDescription": metric["description"],
            "MetricUnit": metric["unit"],
            "Attributes": attributes,
            "Flags": 0,
            **values,
        }

    # What goes up and down is cumulative whatever the exporter prefers.
    up_and_down = {"AggregationTemporality": CUMULATIVE, "IsMonotonic": False}
    counted = {"AggregationTemporality": temporality, "IsMonotonic": True}
    return {
        "otel_metrics_gauge": [row(2, spans.stored(), Value=-3.25)],
        "otel_metrics_sum": [
            row(1, {}, Value=-2.25, **up_and_down),
            row(0, {"route": "a"}, Value=3.0, **counted),
            row(0, {"route": "b"}, Value=5.0, **counted),
        ],
        "otel_metrics_histogram": [
            row(
                3,
                {"route": "a"},
                Count=4,
                Sum=12.0,
                BucketCounts=[1, 2, 0, 1],
                ExplicitBounds=[0.5, 1.0, 2.5],
                Min=0.25,
                Max=10.0,
                AggregationTemporality=temporality,
            )
        ],
        "otel_metrics_exponential_histogram": [
            row(
                4,
                {},
                Count=5,
                Sum=11.0,
                Scale=6,
                ZeroCount=1,
                PositiveOffset=-1,
                PositiveBucketCounts=[1, *[0] * 63, 1, *[0] * 63, 2, *([0] * 31 if padded else [])],
                NegativeOffset=0,
                NegativeBucketCounts=[0] if padded else [],
                Min=0.0,
                Max=4.0,
                AggregationTemporality=temporality,
            )
        ],
        "otel_metrics_summary": [],
    }


def rows(store: Client, service: str) -> dict[str, list[dict[str, Any]]]:
    """What is stored of a service in each table, without times."""
    stored = {}
    for table, columns in TABLES.items():
        found = store.query(
            f"SELECT {COMMON}, {columns} FROM {table} WHERE ServiceName = {{service:String}} ORDER BY MetricName, Attributes['route']",
            parameters={"service": service},
        )
        stored[table] = [dict(zip(found.column_names, row, strict=True)) for row in found.result_rows]
    return stored


def times(store: Client, service: str) -> list[tuple[str, int, int]]:
    """Name, begin and time of each point that has a begin."""
    found: list[tuple[str, int, int]] = []
    for table in ("otel_metrics_sum", "otel_metrics_histogram", "otel_metrics_exponential_histogram"):
        query = f"SELECT MetricName, {TIMES} FROM {table} WHERE ServiceName = {{service:String}}"
        found += store.query(query, parameters={"service": service}).result_rows
    return found
