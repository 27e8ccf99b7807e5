"""Stores for all tests: the embedded engine and a real server, one database for each test.

The embedded engine allows one folder a process, so the whole session shares one; a server is started once, or the one
that MONITOR_TEST_CLICKHOUSE_URL names is used (its user must be allowed to make databases).
"""

from __future__ import annotations

import contextlib
import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from hypothesis import settings

from monitor.errors import MonitorError
from monitor.store.client import Client, connect
from monitor.store.migrate import ensure_database, migrate
from tests.tools import clickhouse_server

BACKENDS = ("chdb", "clickhouse")
# Address of a store, and for which tests -> the database that they share.
Databases = dict[tuple[str, str], str]
# What takes longest, and what waits most, in the order in which it begins: else one worker ends with it alone.
FIRST = (
    "acceptance/test_faults.py",
    "store/test_adopt.py",
    "acceptance/test_kill.py",
    "dashboards/",
    "store/test_cluster.py",
    "cli/",
    "dialects/",
    "acceptance/",
    "clients/",
    "store/",
    "kpis/",
    "collectors/",
)

# Hundreds of processes are started; without their bytecode, each of them would compile all of our modules again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# How long an example takes says more of what else runs than of us; `timeout` bounds each test.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_turn)  # keeps the order within a file


def _turn(item: pytest.Item) -> int:
    path = item.path.relative_to(Path(__file__).parent).as_posix()
    return next((turn for turn, prefix in enumerate(FIRST) if path.startswith(prefix)), len(FIRST))


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


@pytest.fixture(scope="session")
def migrated() -> Iterator[Databases]:
    """Migrated databases that tests share: making one takes longer than most tests."""
    names: Databases = {}
    yield names
    for (url, _), name in names.items():
        with contextlib.suppress(MonitorError):  # a server of our own has ended by now
            drop_database(url, name)


@pytest.fixture
def database(request: pytest.FixtureRequest, backend_url: str, migrated: Databases) -> Iterator[str]:
    """An empty database: the shared, migrated one for a test that asks for `store_client`, else a new one."""
    if "store_client" not in request.fixturenames:
        name = make_database(backend_url)
        yield name
        drop_database(backend_url, name)
        return
    name = migrated_database(backend_url, migrated)
    yield name
    client = connect(backend_url, database=name)
    empty_all(client)
    dropped = (
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND create_table_query LIKE '% TTL %'"
        " AND name != 'alert_sends'"  # always has one
    )
    found = client.query(dropped).result_rows
    assert not found, "these have a TTL now: rows of other tests, of long ago, would be dropped"
    client.close()


@pytest.fixture
def pipeline_url(backend_url: str, migrated: Databases) -> Iterator[str]:
    """Address of a migrated, empty store of each kind; of the embedded one, a pipeline can use the default database alone.

    None that tests of `store_client` use, too: a pipeline sets how long rows are kept, and theirs are of long ago.
    """
    embedded = backend_url.startswith("chdb:")
    url = backend_url if embedded else with_database(backend_url, migrated_database(backend_url, migrated, "pipelines"))
    client = connect(url)
    if embedded:
        migrate(client)
    empty_all(client)  # of what others left there
    yield url
    empty_all(client)
    client.close()


def migrated_database(url: str, migrated: Databases, of: str = "facts") -> str:
    """The name of the session's migrated database in this store, one for each kind of tests."""
    if (url, of) not in migrated:
        migrated[url, of] = make_database(url)
        client = connect(url, database=migrated[url, of])
        migrate(client)
        client.close()
    return migrated[url, of]


def make_database(url: str) -> str:
    name = f"test_{uuid.uuid4().hex[:12]}"
    admin = connect(url, database="default")
    ensure_database(admin, name)
    admin.close()
    return name


def drop_database(url: str, name: str) -> None:
    admin = connect(url, database="default")
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
    """A client of a migrated database without any row; its schema is not to be changed."""
    return empty_client


def empty_all(client: Client) -> None:
    """Empty every table of the client's database but the ledger of migrations."""
    query = (
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
        " AND name != 'schema_migrations' AND total_rows != 0"
    )
    for (table,) in client.query(query).result_rows:
        client.command(f"TRUNCATE TABLE `{table}`")


@pytest.fixture
def shared_folder() -> Path:
    """Test data that is kept in the repository."""
    return Path(__file__).parent / "data"
