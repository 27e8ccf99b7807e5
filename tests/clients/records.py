"""Log records of every kind, as `send.mjs` wants them, and the rows that they must become."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from monitor.store.client import Client
from tests.clients import spans

SCOPE = {"name": "clients.records", "version": "4.5.6"}
TRACE_ID, SPAN_ID = "00112233445566778899aabbccddeeff", "0123456789abcdef"

# Body and the text that is stored.
BODIES: Sequence[tuple[Any, str]] = (
    ("Anfrage angenommen 🚀\nzweite Zeile", "Anfrage angenommen 🚀\nzweite Zeile"),
    ({"a": 1, "b": ["x", True], "c": {"d": 0.5}}, '{"a":1,"b":["x",true],"c":{"d":0.5}}'),
    (["x", 2, {"y": False}], '["x",2,{"y":false}]'),
    (17, "17"),
    (0.25, "0.25"),
    (True, "true"),
    ({"$bytes": "00ff10"}, "AP8Q"),
    (None, ""),
)
# Only attributes of log records may be nested in the SDK for JavaScript.
NESTED: Mapping[str, tuple[Any, str]] = {
    "map": ({"k": {"l": [1, "ü"]}}, '{"k":{"l":[1,"ü"]}}'),
    "arrays": ([[1, 2], ["a"]], '[[1,2],["a"]]'),
    "mixed": ([1, "a", True], '[1,"a",true]'),
    "bytes": ({"$bytes": "00ff10"}, "AP8Q"),
}
SEVERITIES = ((9, "INFO"), (13, "Warnung"), (0, ""))

COLUMNS = """
    toUnixTimestamp64Nano(Timestamp) AS Timestamp, TraceId, SpanId, TraceFlags, SeverityText, SeverityNumber, ServiceName, Body,
    ResourceSchemaUrl, ResourceAttributes, ScopeSchemaUrl, ScopeName, ScopeVersion, ScopeAttributes, LogAttributes, EventName
"""


def records() -> list[dict[str, Any]]:
    """One of each body; of three one belongs to a sampled span, one to a span that is not, one to none."""
    now = int(time.time()) - 60
    attributes = {**spans.sent(), **{name: value for name, (value, _) in NESTED.items()}}
    return [
        {
            "time": [now, number * 1000 + 1],
            "observed": [now + 1, number],
            "severity": SEVERITIES[number % 3][0],
            "text": SEVERITIES[number % 3][1],
            "body": body,
            "attributes": {**attributes, "number": number} if number % 2 == 0 else {"number": number},
            "event": "clients.event" if number % 4 == 0 else "",
            "span": {"trace": TRACE_ID, "span": SPAN_ID, "flags": number % 3} if number % 3 < 2 else None,
        }
        for number, (body, _) in enumerate(BODIES)
    ]


def expected(service: str, wanted: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of `otel_logs`, in the order of the records."""
    attributes = {**spans.stored(), **{name: text for name, (_, text) in NESTED.items()}}
    return [
        {
            "Timestamp": spans.nanoseconds(record["time"]),
            "TraceId": record["span"]["trace"] if record["span"] else "",
            "SpanId": record["span"]["span"] if record["span"] else "",
            "TraceFlags": record["span"]["flags"] if record["span"] else 0,
            "SeverityText": record["text"],
            "SeverityNumber": record["severity"],
            "ServiceName": service,
            "Body": BODIES[number][1],
            "ResourceSchemaUrl": "",
            "ResourceAttributes": {**spans.RESOURCE_STORED, "service.name": service},
            "ScopeSchemaUrl": "",
            "ScopeName": SCOPE["name"],
            "ScopeVersion": SCOPE["version"],
            "ScopeAttributes": {},
            "LogAttributes": {**(attributes if number % 2 == 0 else {}), "number": str(number)},
            "EventName": record["event"],
        }
        for number, record in enumerate(wanted)
    ]


def rows(store: Client, service: str) -> list[dict[str, Any]]:
    """What is stored of a service, by number."""
    found = store.query(
        f"SELECT {COLUMNS} FROM otel_logs WHERE ServiceName = {{service:String}} ORDER BY toUInt32(LogAttributes['number'])",
        parameters={"service": service},
    )
    return [dict(zip(found.column_names, row, strict=True)) for row in found.result_rows]
