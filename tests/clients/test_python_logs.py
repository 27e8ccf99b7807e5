"""Log records through the official exporters for Python, in every column as they were sent."""

from __future__ import annotations

import uuid

import pytest

from monitor.store.client import Client
from tests.clients import python_sdk, records, spans
from tests.clients.receivers import Receivers


@pytest.mark.parametrize("way", python_sdk.WAYS)
def test_records(receivers: Receivers, store: Client, way: str) -> None:
    service = f"python-{uuid.uuid4().hex}"
    wanted = records.records()
    exporter = python_sdk.exporter(receivers, "logs", way)
    python_sdk.send_records(exporter, {**spans.RESOURCE, "service.name": service}, records.SCOPE, wanted)
    receivers.wait_stored()
    assert records.rows(store, service) == records.expected(service, wanted)


def test_a_record_without_a_time_has_the_time_it_was_seen(receivers: Receivers, store: Client) -> None:
    service = f"python-{uuid.uuid4().hex}"
    (first, *_) = records.records()
    exporter = python_sdk.exporter(receivers, "logs", "grpc")
    python_sdk.send_records(exporter, {"service.name": service}, records.SCOPE, [first | {"time": None}])
    receivers.wait_stored()
    (row,) = records.rows(store, service)
    assert row["Timestamp"] == spans.nanoseconds(first["observed"])
