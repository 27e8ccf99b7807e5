"""Metrics through the official exporters for Python, in every column as they were sent."""

from __future__ import annotations

import time
import uuid

import pytest

from monitor.store.client import Client
from tests.clients import points, python_sdk, spans
from tests.clients.receivers import Receivers


@pytest.mark.parametrize("delta", [False, True], ids=["cumulative", "delta"])
@pytest.mark.parametrize("way", python_sdk.WAYS)
def test_points(receivers: Receivers, store: Client, way: str, delta: bool) -> None:
    service = f"python-{uuid.uuid4().hex}"
    options = {"preferred_temporality": python_sdk.delta()} if delta else {}
    exporter = python_sdk.exporter(receivers, "metrics", way, **options)
    begin = time.time_ns()
    python_sdk.send_points(exporter, {**spans.RESOURCE, "service.name": service}, points.SCOPE, points.METRICS)
    end = time.time_ns()
    receivers.wait_stored()
    assert points.rows(store, service) == points.expected(service, delta=delta, padded=True)
    for name, start, at in points.times(store, service):
        assert begin <= start <= at <= end, name
