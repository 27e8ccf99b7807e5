"""Stores for all tests: the embedded engine and a real server, one database for each test.

The embedded engine allows one folder a process, so the whole session shares one; a server is started once, or the one
that MONITOR_TEST_CLICKHOUSE_URL names is used (its user must be allowed to make databases).
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from monitor.store.client import Client, connect
from monitor.store.migrate import ensure_database, migrate
from tests.tools import clickhouse_server

BACKENDS = ("chdb", "clickhouse")


@pytest.fixture(scope="session")
def chdb_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The session's embedded folder, kept open."""
    folder = tmp_path_factory.mktemp("chdb") / "store"
    url = f"chdb://{folder}"
    keeper = connect(url)
    yield url
    keeper.close()


@pytest.fixture(scope="session")
def clickhouse_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server's address, without a database."""
    given = os.environ.get("MONITOR_TEST_CLICKHOUSE_URL")
    if given:
        yield given
        return
    with clickhouse_server.running(tmp_path_factory.mktemp("clickhouse") / "data") as server:
        yield server.url()


@pytest.fixture(params=BACKENDS)
def backend_url(request: pytest.FixtureRequest) -> str:
    """Address of each backend in turn."""
    return str(request.getfixturevalue(f"{request.param}_url"))


def with_database(url: str, database: str) -> str:
    """A server's address with this database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))


@pytest.fixture
def database(backend_url: str) -> Iterator[str]:
    """A new, empty database."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    admin = connect(backend_url, database="default")
    ensure_database(admin, name)
    yield name
    admin.command(f"DROP DATABASE IF EXISTS {name}")
    admin.close()


@pytest.fixture
def empty_client(backend_url: str, database: str) -> Iterator[Client]:
    """A client of a database without any table."""
    client = connect(backend_url, database=database)
    yield client
    client.close()


@pytest.fixture
def store_client(empty_client: Client) -> Client:
    """A client of a fresh, migrated database."""
    migrate(empty_client)
    return empty_client


def empty_all(client: Client) -> None:
    """Empty every table of the client's database but the ledger of migrations."""
    query = (
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
        " AND name != 'schema_migrations'"
    )
    for (table,) in client.query(query).result_rows:
        client.command(f"TRUNCATE TABLE {table}")


@pytest.fixture
def shared_folder() -> Path:
    """Test data that is kept in the repository."""
    return Path(__file__).parent / "data"
