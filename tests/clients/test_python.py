"""Spans through the official exporters for Python, in every column as they were sent."""

from __future__ import annotations

import uuid

import pytest

from monitor.store.client import Client
from tests.clients import python_sdk, records, spans
from tests.clients.receivers import Receivers


def check_spans(receivers: Receivers, store: Client, way: str, count: int) -> None:
    """Send so many spans and compare every column."""
    service = f"python-{uuid.uuid4().hex}"
    wanted = spans.spans(count)
    before = receivers.receiving.snapshot()
    exporter = python_sdk.exporter(receivers, "traces", way)
    ids = python_sdk.send_spans(exporter, {**spans.RESOURCE, "service.name": service}, spans.SCOPE, wanted)
    receivers.wait_stored()
    # The exporter for Python sends no trace state of links.
    assert spans.rows(store, service) == spans.expected(service, wanted, ids, link_state=False)
    after = receivers.receiving.snapshot()
    assert after.stored - before.stored == count
    assert (after.rejected, after.refused_requests) == (before.rejected, before.refused_requests)


@pytest.mark.parametrize("way", python_sdk.WAYS)
def test_spans(receivers: Receivers, store: Client, way: str) -> None:
    check_spans(receivers, store, way, 6)


@pytest.mark.parametrize("way", ["grpc-gzip", "http-deflate"])
def test_more_spans_than_one_batch(receivers: Receivers, store: Client, way: str) -> None:
    check_spans(receivers, store, way, 600)


@pytest.mark.parametrize("way", ["grpc", "http"])
def test_values_that_only_this_sdk_sends(receivers: Receivers, store: Client, way: str) -> None:
    """Whole numbers of 64 bits, doubles that are whole or no number, and nested values."""
    service = f"python-{uuid.uuid4().hex}"
    values = {
        "int.largest": (2**63 - 1, "9223372036854775807"),
        "int.least": (-(2**63), "-9223372036854775808"),
        "double.whole": (5.0, "5"),
        "double.nan": (float("nan"), "nan"),
        "double.infinity": (float("inf"), "inf"),
        **records.NESTED,
    }
    given = {"number": 0, **{name: value for name, (value, _) in values.items()}}
    wanted = [span | {"attributes": given} for span in spans.spans(1)]
    exporter = python_sdk.exporter(receivers, "traces", way)
    python_sdk.send_spans(exporter, {"service.name": service}, spans.SCOPE, wanted)
    receivers.wait_stored()
    (row,) = spans.rows(store, service)
    assert row["SpanAttributes"] == {"number": "0", **{name: text for name, (_, text) in values.items()}}
