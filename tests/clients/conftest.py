"""Receivers that real clients send to, over the session's embedded store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from monitor.store.client import Client, connect
from monitor.store.migrate import migrate
from tests.clients.receivers import Receivers
from tests.collectors.receiving import receiving


@pytest.fixture(scope="session")
def store(chdb_url: str) -> Iterator[Client]:
    """A client of the database that the receivers write into, emptied at the end."""
    client = connect(chdb_url)
    migrate(client)
    yield client
    tables = "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
    for (table,) in client.query(tables).result_rows:
        if table.startswith("otel_") or table in ("inferences", "evaluations", "engagement_events"):
            client.command(f"TRUNCATE TABLE {table}")
    client.close()


@pytest.fixture(scope="module")
def receivers(store: Client, chdb_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receivers]:
    with receiving(tmp_path_factory.mktemp("clients") / "data", chdb_url) as found:
        yield Receivers(found)
