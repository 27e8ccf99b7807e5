"""Spans with all that OTLP knows, as `send.mjs` wants them, and the rows that they must become."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from monitor.store.client import Client

KINDS = ("Internal", "Server", "Client", "Producer", "Consumer")
STATUS = {0: "Unset", 1: "Ok", 2: "Error"}
STATE = "vendor=a:1,other=b"

# Name -> what is sent, and the text that is stored.
ATTRIBUTES: Mapping[str, tuple[Any, str]] = {
    "text": ('naïve 🚀 "quoted"\n\tdie Größe', 'naïve 🚀 "quoted"\n\tdie Größe'),
    "text.empty": ("", ""),
    "text.long": ("ü" * 300, "ü" * 300),
    "schlüssel": ("ein Name, der kein ASCII ist", "ein Name, der kein ASCII ist"),
    "int": (42, "42"),
    "int.zero": (0, "0"),
    "int.negative": (-7, "-7"),
    "int.large": (2**53, "9007199254740992"),
    "double": (0.25, "0.25"),
    "double.small": (1e-9, "1e-9"),
    "bool.true": (True, "true"),
    "bool.false": (False, "false"),
    "texts": (["a", 'ü "b"', ""], '["a","ü \\"b\\"",""]'),
    "ints": ([1, -2, 0], "[1,-2,0]"),
    "doubles": ([0.5, -1.25], "[0.5,-1.25]"),
    "bools": ([True, False], "[true,false]"),
}
RESOURCE = {"host.name": "knoten-7 🖥", "process.pid": 4711, "process.command_args": ["a", "-b"]}
RESOURCE_STORED = {"host.name": "knoten-7 🖥", "process.pid": "4711", "process.command_args": '["a","-b"]'}
SCOPE = {"name": "clients.spans", "version": "1.2.3"}

COLUMNS = """
    SpanId, TraceId, ParentSpanId, TraceState, SpanName, SpanKind, ServiceName, ResourceAttributes, ScopeName, ScopeVersion,
    SpanAttributes, toUnixTimestamp64Nano(Timestamp) AS Timestamp, Duration, StatusCode, StatusMessage,
    arrayMap(t -> toUnixTimestamp64Nano(t), Events.Timestamp) AS `Events.Timestamp`, Events.Name, Events.Attributes,
    Links.TraceId, Links.SpanId, Links.TraceState, Links.Attributes
"""


def sent() -> dict[str, Any]:
    return {name: value for name, (value, _) in ATTRIBUTES.items()}


def stored() -> dict[str, str]:
    return {name: text for name, (_, text) in ATTRIBUTES.items()}


def spans(count: int) -> list[dict[str, Any]]:
    """Of three spans one is a root, one its child, and one has a parent elsewhere; each links to the one before."""
    now = int(time.time()) - 60
    return [
        {
            "name": f"Schritt {number} – größer 🚀",
            "kind": number % 5,
            "begin": [now, number * 1000 + 1],
            "end": [now + 1, number * 1000 + 8],
            "attributes": {**sent(), "number": number},
            "events": [
                {"name": "erstes Ereignis", "time": [now, number * 1000 + 500], "attributes": sent()},
                {"name": "zweites", "time": [now + 1, 3], "attributes": {}},
            ][: number % 3],
            "links": [] if number == 0 else [{"to": number - 1, "attributes": {"why": "davor", "distance": 1}}],
            "status": [None, {"code": 1}, {"code": 2, "message": "zu spät 😀"}][number % 3],
            "parent": number - 1 if number % 3 == 1 else None,
            "state": STATE if number % 3 == 2 else None,
        }
        for number in range(count)
    ]


def expected(
    service: str, wanted: Sequence[Mapping[str, Any]], ids: Sequence[Sequence[str]], *, link_state: bool = True
) -> list[dict[str, Any]]:
    """The rows of `otel_traces`, in the order of the spans; `ids` are trace, span and parent of each.

    `link_state` tells whether the exporter sends the trace state of a link.
    """
    rows = []
    for number, (span, (trace_id, span_id, parent_id)) in enumerate(zip(wanted, ids, strict=True)):
        assert parent_id == ("", ids[number - 1][1], "fedcbafedcbafedc")[number % 3]
        before = [ids[link["to"]] for link in span["links"]]
        rows.append(
            {
                "SpanId": span_id,
                "TraceId": trace_id,
                "ParentSpanId": parent_id,
                "TraceState": span["state"] or "",
                "SpanName": span["name"],
                "SpanKind": KINDS[span["kind"]],
                "ServiceName": service,
                "ResourceAttributes": {**RESOURCE_STORED, "service.name": service},
                "ScopeName": SCOPE["name"],
                "ScopeVersion": SCOPE["version"],
                "SpanAttributes": {**stored(), "number": str(number)},
                "Timestamp": nanoseconds(span["begin"]),
                "Duration": nanoseconds(span["end"]) - nanoseconds(span["begin"]),
                "StatusCode": STATUS[(span["status"] or {"code": 0})["code"]],
                "StatusMessage": (span["status"] or {}).get("message", ""),
                "Events.Timestamp": [nanoseconds(event["time"]) for event in span["events"]],
                "Events.Name": [event["name"] for event in span["events"]],
                "Events.Attributes": [stored() if event["attributes"] else {} for event in span["events"]],
                "Links.TraceId": [trace for trace, _, _ in before],
                "Links.SpanId": [span for _, span, _ in before],
                "Links.TraceState": [
                    (wanted[link["to"]]["state"] or "") if link_state else "" for link in span["links"]
                ],
                "Links.Attributes": [{"why": "davor", "distance": "1"} for _ in before],
            }
        )
    return rows


def rows(store: Client, service: str) -> list[dict[str, Any]]:
    """What is stored of a service, by number."""
    found = store.query(
        f"SELECT {COLUMNS} FROM otel_traces WHERE ServiceName = {{service:String}} ORDER BY toUInt32(SpanAttributes['number'])",
        parameters={"service": service},
    )
    return [dict(zip(found.column_names, row, strict=True)) for row in found.result_rows]


def nanoseconds(given: Sequence[int]) -> int:
    return given[0] * 10**9 + given[1]
