"""Spans as JSON, which is what `exporter-trace-otlp-http` sends."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import pytest

from monitor.store.client import Client
from tests.clients import spans
from tests.clients.receivers import Receivers
from tests.clients.test_javascript import check_spans
from tests.tools import javascript


@pytest.mark.parametrize("gzip", [False, True], ids=["plain", "gzip"])
def test_spans(receivers: Receivers, store: Client, gzip: bool) -> None:
    check_spans(receivers, store, "json", gzip, 6)


def test_more_spans_than_one_batch(receivers: Receivers, store: Client) -> None:
    check_spans(receivers, store, "json", True, 600)


# NaN and the infinities, of which JSON.stringify makes `null`, and what is stored of them. An item of an array that has no
# value is stored as `null`.
STRANGE = {
    "nan": ({"$number": "NaN"}, {"json": "", "proto": "nan", "grpc": "nan"}),
    "infinity": ({"$number": "-Infinity"}, {"json": "", "proto": "-inf", "grpc": "-inf"}),
    "array": ([None, 1.5, {"$number": "NaN"}], {"json": "[null,1.5,null]", "proto": '[null,1.5,"nan"]', "grpc": '[null,1.5,"nan"]'}),
}  # fmt: skip


def check_values(
    receivers: Receivers, store: Client, transport: str, values: Mapping[str, Any], texts: Mapping[str, str]
) -> None:
    """Send a span with these attributes, and compare how they are stored."""
    service = f"javascript-{uuid.uuid4().hex}"
    span = spans.spans(1)[0] | {"attributes": {"number": 0, **values}}
    what = {"resource": {"service.name": service}, "scope": spans.SCOPE, "spans": [span]}
    javascript.send(receivers.endpoint(transport), signal="traces", transport=transport, gzip=False, what=what)
    receivers.wait_stored()
    (row,) = spans.rows(store, service)
    assert row["SpanAttributes"] == {"number": "0", **texts}


@pytest.mark.parametrize("transport", ["json", "proto", "grpc"])
def test_numbers_that_json_does_not_know(receivers: Receivers, store: Client, transport: str) -> None:
    values = {name: value for name, (value, _) in STRANGE.items()}
    check_values(receivers, store, transport, values, {name: texts[transport] for name, (_, texts) in STRANGE.items()})


@pytest.mark.parametrize("transport", ["json", "proto", "grpc"])
@pytest.mark.parametrize("number", [2.0**63, 1e21])
def test_whole_numbers_that_are_too_large(receivers: Receivers, store: Client, transport: str, number: float) -> None:
    """The exporter sends them as `intValue` in JSON, as doubles in protobuf. They must not cost the spans around them."""
    text = {2.0**63: "9223372036854776000", 1e21: "1e21"}[number]
    check_values(receivers, store, transport, {"huge": number}, {"huge": text})
