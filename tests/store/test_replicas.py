"""Replicas of one shard, with a real ZooKeeper: tables that meet there, a server that joins, one that is away.

The servers here make replicated tables and check them against those of other replicas, but send no parts to each other
and cannot change or fill such tables; see `tests.tools.clickhouse_server`.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from dataclasses import replace

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from monitor.errors import StoreAway, StoreError
from monitor.store.client import Client, connect
from monitor.store.cluster import LOCAL, Layout
from monitor.store.migrate import Migration, base_tables, ensure_database, known_migrations, lacking_servers, migrate
from monitor.store.replicas import present_on
from tests.tools import clickhouse_server, zookeeper
from tests.tools.clickhouse_server import CLUSTER, COPIES, REPLICAS

LAYOUT = Layout(cluster=REPLICAS, on_cluster=False, replicated=True)

BEGINNING = Migration(
    version=1,
    name="beginning",
    text="""
CREATE TABLE IF NOT EXISTS spans (TraceId String, Timestamp DateTime) ENGINE = MergeTree ORDER BY TraceId;
CREATE TABLE IF NOT EXISTS facts (trace_id String, at DateTime) ENGINE = ReplacingMergeTree(at) ORDER BY trace_id;
CREATE MATERIALIZED VIEW IF NOT EXISTS facts_mv TO facts AS SELECT TraceId AS trace_id, Timestamp AS at FROM spans;
""",
)
# What becomes of it when a release adds a column, and somebody sets how long rows are kept.
BY_NOW = replace(
    BEGINNING,
    text=BEGINNING.text.replace("Timestamp DateTime)", "Timestamp DateTime, Name String DEFAULT 'x')").replace(
        "ORDER BY trace_id;", "ORDER BY trace_id TTL toDate(at) + toIntervalDay(30);"
    ),
)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[clickhouse_server.Server]]:
    folder = tmp_path_factory.mktemp("replicas")
    with zookeeper.running(folder / "zookeeper") as port, clickhouse_server.cluster(folder, keeper=port) as started:
        yield started


@pytest.fixture
def database() -> str:
    return f"r_{uuid.uuid4().hex[:10]}"


@pytest.fixture
def clients(servers: list[clickhouse_server.Server], database: str) -> Iterator[list[Client]]:
    """Of both replicas, in an empty database."""
    opened = []
    for server in servers:
        client = connect(server.url())
        ensure_database(client, database)
        client.close()
        opened.append(connect(server.url(database)))
    yield opened
    for client in opened:
        client.close()


def replicas(client: Client) -> dict[str, tuple[str, str, int]]:
    """Of each replicated table: its path, the replica's name, how many there are."""
    query = "SELECT table, zookeeper_path, replica_name, total_replicas FROM system.replicas WHERE database = currentDatabase()"
    return {str(name): (str(path), str(own), int(total)) for name, path, own, total in client.query(query).result_rows}


def view_ids(client: Client) -> dict[str, str]:
    query = "SELECT name, toString(uuid) FROM system.tables WHERE database = currentDatabase() AND engine = 'MaterializedView'"
    return {str(name): str(identity) for name, identity in client.query(query).result_rows}


def columns(client: Client, table: str) -> list[str]:
    return [str(row[0]) for row in client.query(f"DESCRIBE {table}").result_rows]


def without_changes(known: list[Migration]) -> list[Migration]:
    """The migrations as if tables were made at once as they are by now: the servers here cannot change them."""
    made = []
    for migration in known:
        text = migration.text.replace(
            "    tokens_estimated Bool,\n", "    tokens_estimated Bool,\n    tokens_adjusted Bool,\n"
        ).replace(
            "    dialect_version LowCardinality(String),\n",
            "    dialect_version LowCardinality(String),\n    scope LowCardinality(String),\n",
        )
        made.append(replace(migration, text=re.sub(r"^ALTER TABLE (?!\w+_mv\b)[^;]*;\n", "", text, flags=re.MULTILINE)))
    return made


def test_tables_of_two_replicas_are_one_in_the_keeper(clients: list[Client], database: str) -> None:
    known = without_changes(known_migrations())
    for client in clients:
        assert migrate(client, known, LAYOUT) == known
        assert migrate(client, known, LAYOUT) == []
    null = {"otel_metrics_in"}  # keeps nothing
    expected = {f"{table}{LOCAL}" for table in base_tables(known) if table not in null}
    for number, client in enumerate(clients, 1):
        assert replicas(client) == {
            table: (f"/clickhouse/tables/1/{database}/{table}", f"r{number}", 2) for table in expected
        }
    assert len(expected) > 10
    # By its id, a view's part of a segment is known again when it comes through the other replica.
    assert view_ids(clients[0]) == view_ids(clients[1])
    assert {"inferences_mv", "otel_metrics_gauge_mv"} <= set(view_ids(clients[0]))
    assert lacking_servers(clients[0], LAYOUT, known) == []


def test_a_replica_that_joins_makes_tables_as_they_are_by_now(clients: list[Client], database: str) -> None:
    """As the migration says it, ClickHouse would refuse: 342, the definition in the Keeper is another one."""
    migrate(clients[0], [BY_NOW], LAYOUT)
    migrate(clients[1], [BEGINNING], LAYOUT)
    for client in clients:
        assert columns(client, "spans_local") == columns(client, "spans") == ["TraceId", "Timestamp", "Name"]
        assert "TTL toDate(at) + toIntervalDay(30)" in str(client.command("SHOW CREATE TABLE facts_local"))
        assert {table: total for table, (_, _, total) in replicas(client).items()} == {
            "spans_local": 2,
            "facts_local": 2,
        }
    assert view_ids(clients[0]) == view_ids(clients[1])


def test_a_replica_joins_tables_that_lie_under_their_id(clients: list[Client]) -> None:
    """That is the default path, which ON CLUSTER makes; a new statement for all servers would have a new id in it."""
    identity = str(uuid.uuid4())
    clients[0].command(
        f"CREATE TABLE spans_local UUID '{identity}' (TraceId String) ENGINE = ReplicatedMergeTree ORDER BY TraceId"
    )
    view = str(uuid.uuid4())
    clients[0].command(
        f"CREATE MATERIALIZED VIEW spans_mv UUID '{view}' TO spans_local AS SELECT TraceId FROM spans_local"
    )
    table = "CREATE TABLE IF NOT EXISTS spans_local (TraceId String) ENGINE = ReplicatedMergeTree ORDER BY TraceId"
    seen = "CREATE MATERIALIZED VIEW IF NOT EXISTS spans_mv TO spans_local AS SELECT TraceId FROM spans_local"
    present = present_on(clients[1], LAYOUT)
    clients[1].command(present.adapt(table))
    clients[1].command(present.adapt(seen))
    path = f"/clickhouse/tables/{identity}/1"
    assert replicas(clients[0]) == {"spans_local": (path, "r1", 2)}
    assert replicas(clients[1]) == {"spans_local": (path, "r2", 2)}
    assert view_ids(clients[0]) == view_ids(clients[1]) == {"spans_mv": view}
    # From one server for all it is the same, with ON CLUSTER, and can be read.
    present = present_on(clients[1], replace(LAYOUT, on_cluster=True))
    for_all = present.adapt(table)
    assert for_all.startswith(f"CREATE TABLE IF NOT EXISTS spans_local ON CLUSTER '{REPLICAS}' (`TraceId` String)")
    assert f"ReplicatedMergeTree('/clickhouse/tables/{identity}/{{shard}}', '{{replica}}')" in for_all
    viewed = present.adapt(seen.replace(" TO ", f" ON CLUSTER '{REPLICAS}' TO ", 1))
    assert f"spans_mv UUID '{view}' ON CLUSTER '{REPLICAS}' TO spans_local" in viewed
    for statement in (for_all, viewed):
        clients[0].query("SELECT formatQuery({text:String})", parameters={"text": statement})
    # What is nowhere yet is made as the migration says.
    assert present.adapt(table.replace("spans_local", "more_local")) == table.replace("spans_local", "more_local")


def test_without_need_nothing_is_sent_to_all_servers(
    servers: list[clickhouse_server.Server], clients: list[Client], database: str
) -> None:
    """The servers here refuse any ON CLUSTER. Elsewhere it waits for minutes for a server that is away."""
    for client in clients:
        migrate(client, [BEGINNING], Layout(cluster=CLUSTER, on_cluster=False, replicated=False))
    for_all = Layout(cluster=CLUSTER, on_cluster=True, replicated=True)
    port = servers[1].options[servers[1].options.index("--tcp-port") + 1]
    servers[1].kill()
    try:
        ensure_database(clients[0], database, for_all)
        assert migrate(clients[0], [BEGINNING], for_all) == []
        said = rf"a server of the cluster `monitor` does not answer \(127\.0\.0\.1:{port}\), and the schema"
        with pytest.raises(StoreAway, match=said):
            migrate(clients[0], [BEGINNING, replace(BEGINNING, version=2)], for_all)
    finally:
        servers[1] = servers[1].restarted()
    with pytest.raises(DatabaseError, match="Replicated DDL queries are disabled"):
        migrate(clients[0], [BEGINNING, replace(BEGINNING, version=2)], for_all)


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        (Layout(cluster="nowhere", on_cluster=False, replicated=False), "has no cluster `nowhere` in its remote_servers"),
        (Layout(cluster=COPIES, on_cluster=False, replicated=True), "replication is off .* written to all of them; turn it on"),
        (Layout(cluster=REPLICAS, on_cluster=False, replicated=False), "replication is on .* reach one of them only; turn it off"),
    ],
)  # fmt: skip
def test_a_cluster_that_does_not_go_with_the_tables_is_refused(
    clients: list[Client], layout: Layout, said: str
) -> None:
    with pytest.raises(StoreError, match=said):
        migrate(clients[0], [BEGINNING], layout)
    assert clients[0].command("SELECT count() FROM system.tables WHERE database = currentDatabase()") == 0


def test_shards_are_no_replicas(clients: list[Client]) -> None:
    """One server a shard is fit for either kind of table."""
    assert migrate(clients[0], [BEGINNING], Layout(cluster=CLUSTER, on_cluster=False, replicated=True)) == [BEGINNING]
