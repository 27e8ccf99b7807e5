"""Metrics through the official exporters for JavaScript, in every column as they were sent."""

from __future__ import annotations

import time
import uuid

import pytest

from monitor.store.client import Client
from tests.clients import points, spans
from tests.clients.receivers import Receivers
from tests.tools import javascript


@pytest.mark.parametrize("delta", [False, True], ids=["cumulative", "delta"])
@pytest.mark.parametrize("transport", ["proto", "json", "grpc"])
def test_points(receivers: Receivers, store: Client, transport: str, delta: bool) -> None:
    service = f"javascript-{uuid.uuid4().hex}"
    what = {
        "resource": {**spans.RESOURCE, "service.name": service},
        "scope": points.SCOPE,
        "metrics": points.METRICS,
        "delta": delta,
    }
    begin = time.time_ns()
    javascript.send(receivers.endpoint(transport), signal="metrics", transport=transport, gzip=delta, what=what)
    end = time.time_ns()
    receivers.wait_stored()
    assert points.rows(store, service) == points.expected(service, delta=delta)
    for name, start, at in points.times(store, service):
        assert begin - 10**6 <= start <= at <= end + 10**6, name  # clocks of milliseconds
