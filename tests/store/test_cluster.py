"""A real cluster of two shards: the schema, exactly-once through Distributed tables, reading, a shard that dies."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from collectors.wal import encode_record
from monitor.errors import ConfigError, StoreError
from monitor.kpis import KpiValue, Window, evaluate, series
from monitor.settings import Settings, load_settings
from monitor.store.client import Client, connect
from monitor.store.cluster import LOCAL, Layout
from monitor.store.flatten import FlattenOptions
from monitor.store.migrate import base_tables, known_migrations, lacking_servers, migrate, pending
from monitor.store.prepare import prepare_store
from monitor.store.segments import SegmentInserter, is_data_error
from tests.collectors.receiving import receiving
from tests.conftest import empty_all, with_database
from tests.tools import clickhouse_server
from tests.tools.cluster import post, reported_twice, settings_for

KNOWN = known_migrations()
TABLES = base_tables(KNOWN)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[clickhouse_server.Server]]:
    with clickhouse_server.cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.fixture
def settings(servers: list[clickhouse_server.Server], tmp_path: Path) -> Settings:
    """Of a cluster with a database of its own, which is not made yet."""
    return settings_for(tmp_path, servers, f"c_{uuid.uuid4().hex[:10]}")


@pytest.fixture(scope="module")
def shared(servers: list[clickhouse_server.Server], tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Of a cluster whose tables are made, for tests that do not change them: making them takes longer than most tests."""
    made = settings_for(tmp_path_factory.mktemp("shared"), servers, f"c_{uuid.uuid4().hex[:10]}")
    prepare_store(made)
    return made


@pytest.fixture
def shards(shared: Settings) -> Iterator[list[Client]]:
    """Clients of both servers, whose tables of the shared database are empty."""
    clients = [connect(url) for url in reversed(shared.node_urls)]
    yield clients
    for client in clients:
        empty_all(client)
        client.close()


def schema(client: Client) -> dict[str, tuple[str, str]]:
    query = "SELECT name, engine, create_table_query FROM system.tables WHERE database = currentDatabase()"
    return {str(name): (str(engine), str(text)) for name, engine, text in client.query(query).result_rows}


def count(client: Client, table: str) -> int:
    return int(str(client.command(f"SELECT count() FROM {table}")))


def test_each_server_gets_local_tables_and_the_clusters(settings: Settings) -> None:
    assert prepare_store(settings) == KNOWN
    before = []
    for url in settings.node_urls:
        client = connect(url)
        made = schema(client)
        for table in TABLES:
            assert made[table][0] == "Distributed"
            assert made[f"{table}{LOCAL}"][0].endswith("MergeTree") or made[f"{table}{LOCAL}"][0] == "Null"
        views = {name: text for name, (engine, text) in made.items() if engine == "MaterializedView"}
        assert {"otel_traces_trace_id_ts_mv", "inferences_mv"} <= set(views)
        for text in views.values():
            assert not any(f".{table} " in text for table in TABLES), text
        assert "cityHash64(TraceId)" in made["otel_traces"][1]
        assert "cityHash64(trace_id)" in made["inferences"][1]
        assert "TTL toDate(Timestamp) + toIntervalDay(30)" in made[f"otel_traces{LOCAL}"][1]
        assert pending(client) == []
        before.append(made)
        client.close()
    assert prepare_store(settings) == []
    for url, made in zip(settings.node_urls, before, strict=True):
        client = connect(url)
        assert schema(client) == made
        client.close()


def test_a_server_that_joins_gets_what_it_lacks(settings: Settings) -> None:
    prepare_store(settings)
    shards = [connect(url) for url in reversed(settings.node_urls)]
    layout = Layout.from_settings(settings)
    assert layout is not None
    assert lacking_servers(shards[0], layout, KNOWN) == []
    for name, (engine, _) in sorted(schema(shards[1]).items(), key=lambda each: each[1][0] != "MaterializedView"):
        shards[1].command(f"DROP {'VIEW' if engine == 'MaterializedView' else 'TABLE'} {name} SYNC")
    assert len(lacking_servers(shards[0], layout, KNOWN)) == 1
    assert prepare_store(settings) == KNOWN
    assert lacking_servers(shards[0], layout, KNOWN) == []
    for client in shards:
        client.close()


def test_a_store_on_one_server_is_not_taken_for_a_cluster(settings: Settings) -> None:
    single = load_settings().model_copy(
        update={"store": settings.store.model_copy(update={"cluster": "", "nodes": [], "replicated": None})}
    )
    prepare_store(single)
    with pytest.raises(StoreError, match=r"`(otel_traces|inferences)` .* lies on one server; name another database"):
        prepare_store(settings)


def test_a_cluster_is_not_taken_for_one_server(shards: list[Client]) -> None:
    with pytest.raises(StoreError, match=r"lies on a cluster, and `store.cluster` is not set"):
        migrate(shards[0])


@pytest.mark.parametrize(
    ("store", "said"),
    [
        ("url: http://h:1/d\n  cluster: c", "list them in `store.nodes`, or set `store.on_cluster`"),
        ("cluster: c\n  on_cluster: true", "the store is embedded"),
        ("url: http://h:1/d\n  nodes: [http://h:1]", "`store.nodes` is set, but `store.cluster` is empty"),
        ("url: http://h:1/d\n  cluster: c\n  on_cluster: true\n  nodes: [http://h:1]", "without ON CLUSTER"),
        ("url: http://h:1/d\n  cluster: c\n  nodes: [h:1]", "address of a server"),
        ("url: http://h:1/d\n  cluster: c'", "`store.cluster`"),
    ],
)
def test_settings_that_do_not_go_together(tmp_path: Path, store: str, said: str) -> None:
    (tmp_path / "monitor.yaml").write_text(f"store:\n  {store}\n")
    with pytest.raises(ConfigError, match=said):
        load_settings(tmp_path / "monitor.yaml")


def test_addresses_of_nodes_are_filled_from_the_stores(tmp_path: Path) -> None:
    (tmp_path / "monitor.yaml").write_text(
        "store:\n  url: http://u:p%40@a:8123/db\n  cluster: c\n"
        "  nodes: [http://a:8123, 'https://b:8443/', http://v:w@d:1/other]\n"
    )
    settings = load_settings(tmp_path / "monitor.yaml")
    assert settings.node_urls == ["https://u:p%40@b:8443/db", "http://v:w@d:1/other", "http://u:p%40@a:8123/db"]
    assert "p%40" not in repr(settings)


def test_a_segment_counts_once_through_any_server(shared: Settings, shards: list[Client], tmp_path: Path) -> None:
    """Each shard knows the token for its part of the segment, also if it came through another server before."""
    paths = []
    for number in range(2):
        path = tmp_path / f"{number}.segment"
        path.write_bytes(b"".join(encode_record(reported_twice(1 + 50 * i + 500 * number, 50), 100) for i in range(10)))
        paths.append(path)
    inserters = [SegmentInserter(connect(url), url, FlattenOptions.from_settings(shared)) for url in shared.node_urls]
    expected = [(table, 1000 if table != "otel_traces_trace_id_ts" else 500) for table in
                ("otel_traces", "otel_traces_trace_id_ts", "inferences")]  # fmt: skip
    for attempt in range(2):
        for inserter in inserters:
            inserter.insert(paths[0], "one")
            for table, rows in expected:
                assert count(shards[0], table) == rows, (attempt, table)
                parts = [count(client, f"{table}{LOCAL}") for client in shards]
                assert sum(parts) == rows, (attempt, table)
                assert min(parts) > 0.4 * rows, (attempt, table)
    for inserter in inserters:
        inserter.insert(paths[1], "two")
    assert [count(shards[1], table) for table, _ in expected] == [2000, 1000, 2000]
    # A shard that already has its part takes it once when the whole comes again.
    lost = shards[1]
    for table, _ in expected:
        lost.command(f"TRUNCATE TABLE {table}{LOCAL} SYNC")
    inserters[0].insert(paths[0], "three")
    inserters[1].insert(paths[0], "three")
    again = [count(lost, f"{table}{LOCAL}") for table, _ in expected]
    assert again[0] == again[2] == 2 * again[1] > 400
    for inserter in inserters:
        inserter.close()


@pytest.mark.parametrize(("user", "mode"), [("monitor", "global"), ("reader", "global"), ("locked", "deny")])
def test_what_each_user_may_set_is_set(servers: list[clickhouse_server.Server], user: str, mode: str) -> None:
    """A user who may set nothing is served all the same."""
    client = connect(servers[0].url(user=user))
    assert client.command("SELECT getSetting('distributed_product_mode')") == mode
    client.close()


def _same(found: list[KpiValue], wanted: list[KpiValue]) -> None:
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert (one.name, one.n, one.group, one.note) == (other.name, other.n, other.group, other.note)
        for ours, theirs in ((one.value, other.value), (one.low, other.low), (one.high, other.high)):
            assert ours == (theirs if theirs is None else pytest.approx(theirs, rel=1e-9)), one.name


def test_the_cluster_answers_what_one_server_answers(
    shared: Settings, shards: list[Client], clickhouse_url: str, tmp_path: Path
) -> None:
    now_ns = time.time_ns()
    bodies = [reported_twice(1 + 40 * number, 40, now_ns=now_ns) for number in range(25)]
    bodies.append(bodies[3])  # an emitter that sends again what was taken already
    database = f"single_{uuid.uuid4().hex[:8]}"
    one_url = with_database(clickhouse_url, database)
    plain = shared.store.model_copy(update={"url": one_url, "cluster": "", "nodes": []})
    prepare_store(shared.model_copy(update={"store": plain}))
    for name, url in (("cluster", shared.store_url), ("one", one_url)):
        with receiving(tmp_path / name, url) as collector:
            assert [post(collector.http, body) for body in bodies] == [200] * len(bodies)
    one = connect(one_url)
    for table, rows in (("otel_traces", 2080), ("inferences FINAL", 2000)):
        assert count(shards[0], table) == rows
        assert count(one, table) == rows
    parts = [count(client, f"otel_traces{LOCAL}") for client in shards]
    assert sum(parts) == 2080
    assert min(parts) > 800
    # Whole traces: each is on one shard, with both of its spans.
    seen = [
        {row[0] for row in client.query(f"SELECT TraceId FROM otel_traces{LOCAL}").result_rows} for client in shards
    ]
    assert not seen[0] & seen[1]
    assert len(seen[0] | seen[1]) == 1000
    # Families that ask one table. A join of two Distributed tables makes one server hang up on the other when a side has no
    # row, which is nothing to a server, and the end of a `clickhouse local` that listens as one, as here.
    names = ("traffic", "latency")
    window = Window.last("1h")
    whole = evaluate(one, names, window=window)
    values = {value.name: value for value in whole}
    assert values["traffic.requests"].value == 1000  # client and engine of one call count once
    assert values["latency.queue.p50"].n == 1000 - values["traffic.errors"].value  # what only the engine knows is there
    for client in shards:  # through either server
        _same(evaluate(client, names, window=window), whole)
    by, where = ("model", "node"), {"service": ("api",)}
    split = (evaluate(client, names, window=window, by=by, where=where) for client in (shards[1], one))
    _same(*split)
    ours, theirs = (series(client, "latency.ttft.p95", window=window, step_s=300) for client in (shards[0], one))
    assert len(ours) > 5
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-9)
    one.command(f"DROP DATABASE {database}")
    one.close()


def test_a_shard_that_dies_while_it_answers_is_no_fault_of_the_bytes() -> None:
    """Else the segment would be halved, and what the other shard has would be inserted by another token again."""
    text = "Code: 32. DB::Exception: Attempt to read after eof: while receiving packet from 10.0.0.2:9000: Insertion status:"
    assert not is_data_error(DatabaseError(text, code=32))
    assert is_data_error(DatabaseError("Code: 32. DB::Exception: Attempt to read after eof", code=32))


def trouble(http: str) -> str | None:
    try:
        with urllib.request.urlopen(f"{http}/readyz", timeout=10) as answer:
            return json.load(answer)["trouble"]
    except urllib.error.HTTPError as error:
        return str(json.load(error)["trouble"])


def test_a_shard_that_dies_costs_nothing(tmp_path: Path) -> None:
    """What comes meanwhile waits in the log, up to its limit; the other shard's part is not taken twice."""
    with clickhouse_server.cluster(tmp_path / "servers") as servers:
        settings = settings_for(tmp_path, servers, "c")
        prepare_store(settings)
        client = connect(settings.store_url)
        with receiving(tmp_path / "data", settings.store_url, max_wal_bytes=1024 * 1024) as collector:
            assert post(collector.http, reported_twice(1, 100)) == 200
            deadline = time.monotonic() + 30
            while count(client, "otel_traces") < 200:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            servers[1].kill()
            answers = []
            while not answers or answers[-1] == 200:
                answers.append(post(collector.http, reported_twice(1 + 100 * (len(answers) + 1), 100)))
                assert len(answers) < 100
            taken = 1 + answers.count(200)
            assert answers[-1] == 503  # only when the log is full, and then to be sent again
            assert taken > 10
            while not (trouble(collector.http) or "").startswith("ClickHouse does not take spans"):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            # The first segment's rows were seen, but its answer may have died with the shard: it is sent again then.
            assert collector.snapshot().waiting in (200 * (taken - 1), 200 * taken)
            servers[1] = servers[1].restarted()
            deadline = time.monotonic() + 60
            while collector.snapshot().waiting:
                assert time.monotonic() < deadline, trouble(collector.http)
                time.sleep(0.05)
            assert trouble(collector.http) is None
        assert collector.snapshot().retried_inserts > 0
        for table in ("otel_traces", "inferences"):
            assert count(client, table) == 200 * taken
        assert client.command("SELECT uniqExact(SpanId) FROM otel_traces") == 200 * taken
        client.close()


def test_metrics_and_logs_count_once_too(shared: Settings, shards: list[Client], tmp_path: Path) -> None:
    """Metrics pass a table that keeps nothing, on the shard of the resource that sent them."""
    now_ns = time.time_ns()
    metrics, logs = ExportMetricsServiceRequest(), ExportLogsServiceRequest()
    for number in range(40):
        resource = Resource(attributes=[attribute("service.name", "s"), attribute("host.name", f"n{number}")])
        points = metrics.resource_metrics.add(resource=resource).scope_metrics.add()
        for name in ("a", "b"):
            points.metrics.add(name=name).gauge.data_points.add(time_unix_nano=now_ns, as_double=number)
        record = (
            logs.resource_logs.add(resource=resource).scope_logs.add().log_records.add(time_unix_nano=now_ns + number)
        )
        record.body.string_value = "said"
    for signal, message, table, rows in (
        ("metrics", metrics, "otel_metrics_gauge", 80),
        ("logs", logs, "otel_logs", 40),
    ):
        path = tmp_path / signal
        path.write_bytes(encode_record(message.SerializeToString(), rows))
        for url in shared.node_urls * 2:
            inserter = SegmentInserter(connect(url), url, FlattenOptions.from_settings(shared), signal)
            inserter.insert(path, "one")
            inserter.close()
            assert count(shards[0], table) == rows
        assert min(count(client, f"{table}{LOCAL}") for client in shards) > rows // 5
    hosts = [
        {
            row[0]
            for row in client.query(
                f"SELECT ResourceAttributes['host.name'] FROM otel_metrics_gauge{LOCAL}"
            ).result_rows
        }
        for client in shards
    ]
    assert not hosts[0] & hosts[1]


def attribute(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))
