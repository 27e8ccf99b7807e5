"""Receivers that real clients send to, over the session's embedded store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from monitor.store.client import Client, connect
from monitor.store.migrate import migrate
from tests.clients.receivers import Receivers
from tests.collectors.receiving import receiving
from tests.conftest import empty_all


@pytest.fixture(scope="session")
def store(chdb_url: str) -> Iterator[Client]:
    """A client of the database that the receivers write into, emptied at the end."""
    client = connect(chdb_url)
    migrate(client)
    yield client
    empty_all(client)
    client.close()


@pytest.fixture(scope="module")
def receivers(store: Client, chdb_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receivers]:
    with receiving(tmp_path_factory.mktemp("clients") / "data", chdb_url) as found:
        yield Receivers(found)
