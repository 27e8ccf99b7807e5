"""Log records through the official exporters for JavaScript, in every column as they were sent."""

from __future__ import annotations

import uuid

import pytest

from monitor.store.client import Client
from tests.clients import records, spans
from tests.clients.receivers import Receivers
from tests.tools import javascript


@pytest.mark.parametrize("gzip", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("transport", ["proto", "json", "grpc"])
def test_records(receivers: Receivers, store: Client, transport: str, gzip: bool) -> None:
    service = f"javascript-{uuid.uuid4().hex}"
    wanted = records.records()
    what = {"resource": {**spans.RESOURCE, "service.name": service}, "scope": records.SCOPE, "records": wanted}
    javascript.send(receivers.endpoint(transport), signal="logs", transport=transport, gzip=gzip, what=what)
    receivers.wait_stored()
    assert records.rows(store, service) == records.expected(service, wanted)
