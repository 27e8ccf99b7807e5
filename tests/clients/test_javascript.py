"""Spans through the official exporters for JavaScript, in every column as they were sent."""

from __future__ import annotations

import uuid

import pytest

from monitor.store.client import Client
from tests.clients import spans
from tests.clients.receivers import Receivers
from tests.tools import javascript


def check_spans(receivers: Receivers, store: Client, transport: str, gzip: bool, count: int) -> None:
    """Send so many spans and compare every column."""
    service = f"javascript-{uuid.uuid4().hex}"
    wanted = spans.spans(count)
    what = {"resource": {**spans.RESOURCE, "service.name": service}, "scope": spans.SCOPE, "spans": wanted}
    before = receivers.receiving.snapshot()
    ids = javascript.send(receivers.endpoint(transport), signal="traces", transport=transport, gzip=gzip, what=what)
    receivers.wait_stored()
    assert spans.rows(store, service) == spans.expected(service, wanted, ids)
    after = receivers.receiving.snapshot()
    assert after.stored - before.stored == count
    assert (after.rejected, after.refused_requests) == (before.rejected, before.refused_requests)


@pytest.mark.parametrize("gzip", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("transport", ["proto", "grpc"])
def test_spans(receivers: Receivers, store: Client, transport: str, gzip: bool) -> None:
    check_spans(receivers, store, transport, gzip, 6)


def test_more_spans_than_one_batch(receivers: Receivers, store: Client) -> None:
    check_spans(receivers, store, "grpc", True, 600)
