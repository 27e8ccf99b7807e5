"""Spans as JSON, which is what `exporter-trace-otlp-http` sends."""

from __future__ import annotations

import uuid

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


# What JSON.stringify makes of a number: NaN and the infinities become `null`; whole ones that are too large for an
# integer are sent as `intValue: 1e+21`. An item of an array that has no value is stored as an empty text.
STRANGE = {
    "nan": ({"$number": "NaN"}, {"json": "", "proto": "nan", "grpc": "nan"}),
    "infinity": ({"$number": "-Infinity"}, {"json": "", "proto": "-inf", "grpc": "-inf"}),
    "huge": (1e21, {"json": "1e21", "proto": "1e21", "grpc": "1e21"}),
    "array": ([None, 1.5, {"$number": "NaN"}], {"json": '["",1.5,""]', "proto": '["",1.5,"nan"]', "grpc": '["",1.5,"nan"]'}),
}  # fmt: skip


@pytest.mark.parametrize("transport", ["json", "proto", "grpc"])
def test_numbers_that_json_does_not_know(receivers: Receivers, store: Client, transport: str) -> None:
    """Whatever becomes of such a value, the span is stored with all its others."""
    service = f"javascript-{uuid.uuid4().hex}"
    span = spans.spans(1)[0] | {"attributes": {"number": 0, **{name: value for name, (value, _) in STRANGE.items()}}}
    what = {"resource": {"service.name": service}, "scope": spans.SCOPE, "spans": [span]}
    javascript.send(receivers.endpoint(transport), signal="traces", transport=transport, gzip=False, what=what)
    receivers.wait_stored()
    (row,) = spans.rows(store, service)
    assert row["SpanAttributes"] == {"number": "0", **{name: texts[transport] for name, (_, texts) in STRANGE.items()}}
