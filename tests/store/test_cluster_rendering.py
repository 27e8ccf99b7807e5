"""What each statement of a migration becomes on a cluster, as text, and whether ClickHouse can read it."""

from __future__ import annotations

import re

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from monitor.errors import StoreError
from monitor.store.client import Client, connect, is_transient
from monitor.store.cluster import Layout, Renderer, render
from monitor.store.migrate import base_tables, known_migrations

PLAIN = Layout(cluster="c", on_cluster=False, replicated=False)
KEEPER = Layout(cluster="c", on_cluster=True, replicated=True)
KNOWN = known_migrations()

SPANS = """CREATE TABLE IF NOT EXISTS spans
(
    TraceId String CODEC(ZSTD(1)), -- a comment, with (a comma
    Name LowCardinality(String) DEFAULT 'a, (b',
    Events Nested (TraceId String, Name String),
    INDEX idx TraceId TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(Timestamp)
ORDER BY (Name, toDateTime(Timestamp))
SETTINGS non_replicated_deduplication_window = 10000"""
FACTS = """CREATE TABLE IF NOT EXISTS facts
(
    trace_id String,
    at DateTime
)
ENGINE = ReplacingMergeTree(at)
ORDER BY (toStartOfHour(at), cityHash64(trace_id))"""


def test_a_table_becomes_two() -> None:
    local, twin = Renderer(PLAIN).render(SPANS)
    assert local == SPANS.replace("EXISTS spans", "EXISTS spans_local")
    assert twin == (
        "CREATE TABLE IF NOT EXISTS spans AS spans_local\n"
        "ENGINE = Distributed('c', currentDatabase(), 'spans_local', cityHash64(TraceId))"
    )


def test_a_table_is_replicated_and_made_everywhere() -> None:
    local, twin = Renderer(KEEPER).render(SPANS)
    assert local.startswith("CREATE TABLE IF NOT EXISTS spans_local ON CLUSTER 'c'\n(")
    assert "\nENGINE = ReplicatedMergeTree\nPARTITION BY" in local
    assert local.endswith(
        "SETTINGS replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800"
    )
    assert twin.startswith("CREATE TABLE IF NOT EXISTS spans ON CLUSTER 'c' AS spans_local\nENGINE = Distributed('c', ")
    (local, _) = Renderer(KEEPER).render(FACTS)
    assert "ENGINE = ReplicatedReplacingMergeTree(at)" in local


def test_replicas_that_are_made_one_by_one_share_a_path() -> None:
    renderer = Renderer(Layout(cluster="c", on_cluster=False, replicated=True))
    assert (
        "ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/spans_local', '{replica}')"
        in renderer.render(SPANS)[0]
    )
    assert (
        "ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/facts_local', '{replica}', at)"
        in renderer.render(FACTS)[0]
    )


def test_the_next_replica_knows_what_the_one_before_it_changed() -> None:
    """Else it refuses a change of its own (517). With ON CLUSTER the servers see to that."""
    assert Layout(cluster="c", on_cluster=False, replicated=True).settings == {"alter_sync": 2}
    assert PLAIN.settings == KEEPER.settings == {}
    assert is_transient(DatabaseError("Code: 517. DB::Exception: Metadata on replica is not up to date", code=517))


def _key(create: str) -> str:
    twin = Renderer(PLAIN).render(create)[1]
    return twin[twin.index("_local', ") + 9 : -1]


@pytest.mark.parametrize(
    ("columns", "engine", "key"),
    [
        ("TraceId String, a Int32", "MergeTree ORDER BY a", "cityHash64(TraceId)"),
        ("`trace_id` String, a Int32", "MergeTree() ORDER BY (a)", "cityHash64(trace_id)"),
        ("trace_id String, a Int32", "ReplacingMergeTree ORDER BY (a, cityHash64(trace_id))", "cityHash64(trace_id)"),
        # Rows that differ in the trace alone merge into one, so it must not part them.
        ("trace_id String, a Int32", "ReplacingMergeTree ORDER BY (a, b)", "cityHash64(a, b)"),
        (
            "ServiceName String, ResourceAttributes Map(String, String), Exemplars Nested(TraceId String)",
            "MergeTree ORDER BY (ServiceName, toDate(t))",
            "cityHash64(ServiceName, ResourceAttributes)",
        ),
        ("a Int32, b Map(String, String), e Nested(x Int32)", "Null", "cityHash64(a, b)"),
        ("day Date, n UInt64", "SummingMergeTree(n) ORDER BY day SETTINGS index_granularity = 8192", "cityHash64(day)"),
        ("a Int32, b Int32", "MergeTree ORDER BY tuple()", "cityHash64(a, b)"),
    ],
)
def test_the_sharding_key(columns: str, engine: str, key: str) -> None:
    assert _key(f"CREATE TABLE IF NOT EXISTS t ({columns}) ENGINE = {engine}") == key


def test_records_without_a_trace_are_spread_as_well() -> None:
    create = "CREATE TABLE IF NOT EXISTS otel_logs (TraceId String, Timestamp DateTime) ENGINE = MergeTree ORDER BY (Timestamp)"
    assert _key(create) == "if(empty(TraceId), cityHash64(Timestamp), cityHash64(TraceId))"


def test_a_table_like_another() -> None:
    renderer = Renderer(PLAIN)
    renderer.render(FACTS)
    local, twin = renderer.render("CREATE TABLE IF NOT EXISTS more AS facts ENGINE = MergeTree ORDER BY at")
    assert local == "CREATE TABLE IF NOT EXISTS more_local\nAS facts_local\nENGINE = MergeTree\nORDER BY at"
    assert "cityHash64(trace_id)" in twin


def test_a_view_stays_on_its_shard() -> None:
    renderer = Renderer(KEEPER)
    renderer.all([SPANS, FACTS])
    view = (
        "CREATE MATERIALIZED VIEW IF NOT EXISTS v TO facts AS\nWITH 'FROM spans' AS text, few AS (SELECT 1)\n"
        "SELECT spans.TraceId AS trace_id, f.at -- FROM spans\nFROM spans INNER JOIN facts AS f USING (x)"
        " WHERE a IN (SELECT spans FROM (SELECT * FROM facts)) AND b IN (SELECT 1 FROM few) AND c IN (SELECT * FROM numbers(3))"
    )
    expected = (
        "CREATE MATERIALIZED VIEW IF NOT EXISTS v ON CLUSTER 'c' TO facts_local AS\nWITH 'FROM spans' AS text, few AS (SELECT 1)\n"
        "SELECT spans_local.TraceId AS trace_id, f.at -- FROM spans\nFROM spans_local INNER JOIN facts_local AS f USING (x)"
        " WHERE a IN (SELECT spans FROM (SELECT * FROM facts_local)) AND b IN (SELECT 1 FROM few) AND c IN (SELECT * FROM numbers(3))"
    )
    assert renderer.render(view) == [expected]
    assert renderer.render("ALTER TABLE v MODIFY QUERY\nSELECT 1 FROM spans") == [
        "ALTER TABLE v ON CLUSTER 'c' MODIFY QUERY\nSELECT 1 FROM spans_local"
    ]
    # One that holds nothing reads the whole cluster.
    assert renderer.render("CREATE VIEW IF NOT EXISTS w AS SELECT 1 FROM spans") == [
        "CREATE VIEW IF NOT EXISTS w ON CLUSTER 'c' AS\nSELECT 1 FROM spans"
    ]


def test_changes_go_where_they_mean_something() -> None:
    renderer = Renderer(PLAIN)
    renderer.all([SPANS, "CREATE VIEW IF NOT EXISTS w AS SELECT 1 FROM spans"])
    both = "ADD COLUMN IF NOT EXISTS x Tuple(a Int32, b String) DEFAULT (1, ','), DROP COLUMN IF EXISTS y"
    index = "ADD INDEX IF NOT EXISTS i x TYPE minmax"
    assert renderer.render(f"ALTER TABLE spans {both}, {index}") == [
        f"ALTER TABLE spans_local {both}, {index}",
        f"ALTER TABLE spans {both}",
    ]
    for storage in ("MODIFY SETTING non_replicated_deduplication_window = 1", "MODIFY TTL t + toIntervalDay(1)", index):
        assert renderer.render(f"ALTER TABLE spans {storage}") == [f"ALTER TABLE spans_local {storage}"]
    assert renderer.render("DROP TABLE IF EXISTS spans") == [
        "DROP TABLE IF EXISTS spans",
        "DROP TABLE IF EXISTS spans_local",
    ]
    assert renderer.render("DROP VIEW IF EXISTS w") == ["DROP VIEW IF EXISTS w"]


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("OPTIMIZE TABLE spans FINAL", "none of CREATE TABLE"),
        ("CREATE TABLE spans (a Int32) ENGINE = MergeTree ORDER BY a", "none of CREATE TABLE"),
        ("CREATE TABLE IF NOT EXISTS t (a Int32) ENGINE = KeeperMap('/x') PRIMARY KEY a", "the engine KeeperMap"),
        ("CREATE TABLE IF NOT EXISTS t (a Int32) ENGINE = ReplicatedMergeTree ORDER BY a", "replicated already"),
        ("CREATE TABLE IF NOT EXISTS t ENGINE = MergeTree ORDER BY a AS SELECT 1 AS a", "columns are neither"),
        ("CREATE TABLE IF NOT EXISTS t (a Int32)", "names no engine"),
        ("CREATE MATERIALIZED VIEW IF NOT EXISTS v TO nowhere AS SELECT 1 FROM spans", "makes the table `nowhere`"),
        ("CREATE MATERIALIZED VIEW IF NOT EXISTS v TO spans AS SELECT 1 FROM other", "makes the table `other`"),
        ("CREATE MATERIALIZED VIEW IF NOT EXISTS v TO spans AS SELECT 1 FROM spans, facts", "by a comma"),
        ("ALTER TABLE spans FREEZE", "what it changes"),
        ("ALTER TABLE nowhere ADD COLUMN a Int32", "makes the table `nowhere`"),
    ],
)
def test_what_is_not_known_is_said(statement: str, why: str) -> None:
    renderer = Renderer(PLAIN)
    renderer.render(SPANS)
    with pytest.raises(StoreError, match=re.escape(why)) as caught:
        renderer.render(statement)
    assert statement[:20] in str(caught.value)


@pytest.mark.parametrize("layout", [PLAIN, KEEPER, Layout(cluster="c", on_cluster=False, replicated=True)])
def test_every_migration_can_be_made_on_a_cluster(layout: Layout, clickhouse_url: str) -> None:
    rendered = render([migration.statements for migration in KNOWN], layout)
    assert all(len(made) >= len(each.statements) for made, each in zip(rendered, KNOWN, strict=True))
    client: Client = connect(clickhouse_url)
    tables = base_tables(KNOWN)
    for statement in [each for statements in rendered for each in statements]:
        client.query("SELECT formatQuery({text:String})", parameters={"text": statement})  # it can be read
        for table in tables:
            # In whatever is stored or filled on a shard there is no name of a Distributed table left.
            if statement.startswith(("CREATE MATERIALIZED", "ALTER")) and "COLUMN" not in statement[:300]:
                assert re.search(rf"\b(FROM|JOIN|TO|TABLE) {table}\b", statement) is None, statement[:300]
    client.close()
    made = {name for statements in rendered for each in statements for name in re.findall(r"EXISTS (\w+)", each)}
    assert {name for table in tables for name in (table, f"{table}_local")} <= made
