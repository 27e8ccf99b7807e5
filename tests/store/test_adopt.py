"""Databases that the OpenTelemetry Collector's clickhouse exporter filled, of several years: adopted with their history."""

from __future__ import annotations

import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor.errors import StoreError
from monitor.kpis import Window, evaluate
from monitor.settings import Settings, load_settings
from monitor.store import adopt
from monitor.store.adopt import Progress, back_fill, plan, unfinished
from monitor.store.client import Client, connect
from monitor.store.migrate import Migration, known_migrations, migrate
from monitor.store.prepare import back_fill_store, history_missing, prepare_store
from tests.conftest import with_database
from tests.tools.service import ROOT, command, environment, running

# Noon, so that a day's rows are of one day.
NOW = (datetime.now(UTC) - timedelta(days=1)).replace(hour=12, minute=30, second=0, microsecond=0)
DAYS = 2  # each is a chunk, and takes more than a second of planning
CALLS = 40  # a day

# As the exporter makes it; what differs between its years is in braces.
TRACES = """CREATE TABLE otel_traces (
    Timestamp DateTime64(9) CODEC(Delta(8), ZSTD(1)),
    TraceId String CODEC(ZSTD(1)),
    SpanId String CODEC(ZSTD(1)),
    ParentSpanId String CODEC(ZSTD(1)),
    TraceState String CODEC(ZSTD(1)),
    SpanName LowCardinality(String) CODEC(ZSTD(1)),
    SpanKind LowCardinality(String) CODEC(ZSTD(1)),
    ServiceName LowCardinality(String) CODEC(ZSTD(1)),
    ResourceAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    {scope}
    SpanAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    Duration {duration},
    StatusCode LowCardinality(String) CODEC(ZSTD(1)),
    StatusMessage String CODEC(ZSTD(1)),
    Events Nested (
        Timestamp DateTime64(9),
        Name LowCardinality(String),
        Attributes Map(LowCardinality(String), String)
    ) CODEC(ZSTD(1)),
    Links Nested (
        TraceId String,
        SpanId String,
        TraceState String,
        Attributes Map(LowCardinality(String), String)
    ) CODEC(ZSTD(1)),{more}
    INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX idx_res_attr_key mapKeys(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_res_attr_value mapValues(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_span_attr_key mapKeys(SpanAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_span_attr_value mapValues(SpanAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_duration Duration TYPE minmax GRANULARITY 1
) ENGINE = MergeTree()
PARTITION BY toDate(Timestamp)
ORDER BY ({order})
{ttl}
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1"""
IDS = """CREATE TABLE otel_traces_trace_id_ts (
    TraceId String CODEC(ZSTD(1)),
    Start {time},
    End {end},
    INDEX idx_trace_id TraceId TYPE bloom_filter(0.01) GRANULARITY 1
) ENGINE = {engine}()
PARTITION BY {partition}
ORDER BY ({order})
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1"""
IDS_VIEW = """CREATE MATERIALIZED VIEW otel_traces_trace_id_ts_mv TO otel_traces_trace_id_ts AS
SELECT TraceId, min(Timestamp) AS Start, max(Timestamp) AS End FROM otel_traces WHERE TraceId != '' GROUP BY TraceId"""

PLAIN_IDS = IDS.format(
    time="DateTime CODEC(Delta(4), ZSTD(1))", end="DateTime CODEC(Delta(4), ZSTD(1))", engine="MergeTree",
    partition="toDate(Start)", order="TraceId, Start",
)  # fmt: skip
SCOPE = "ScopeName String CODEC(ZSTD(1)), ScopeVersion String CODEC(ZSTD(1)),"
ITEMS = """
    ResourceAttributeItems Array(String) ALIAS arrayMap((k, v) -> concat(k, '=', v), mapKeys(ResourceAttributes), mapValues(ResourceAttributes)),
    SpanAttributeItems Array(String) ALIAS arrayMap((k, v) -> concat(k, '=', v), mapKeys(SpanAttributes), mapValues(SpanAttributes)),"""
VARIANTS: dict[str, tuple[str, ...]] = {
    "2023": (
        TRACES.format(scope="", duration="Int64 CODEC(ZSTD(1))", more="", ttl="",
                      order="ServiceName, SpanName, toUnixTimestamp(Timestamp), TraceId"),
        PLAIN_IDS, IDS_VIEW,
    ),
    "2025": (
        TRACES.format(scope=SCOPE, duration="UInt64 CODEC(ZSTD(1))", more="", ttl="TTL toDate(Timestamp) + toIntervalDay(180)",
                      order="ServiceName, SpanName, toDateTime(Timestamp)"),
        PLAIN_IDS, IDS_VIEW,
    ),
    "2026, with items": (
        TRACES.format(scope=SCOPE, duration="UInt64 CODEC(T64, ZSTD(1))", more=ITEMS, ttl="",
                      order="ServiceName, SpanName, toDateTime(Timestamp), Timestamp"),
        IDS.format(time="SimpleAggregateFunction(min, DateTime)", end="SimpleAggregateFunction(max, DateTime)",
                   engine="AggregatingMergeTree", partition="toMonday(Start)", order="TraceId, toStartOfHour(Start)")
        .replace("PARTITION BY toMonday(Start)", "PARTITION BY tuple()").replace(", toStartOfHour(Start)", ""),
        IDS_VIEW,
    ),
    "without the table of trace ids": (
        TRACES.format(scope=SCOPE, duration="UInt64 CODEC(ZSTD(1))", more="", ttl="",
                      order="ServiceName, SpanName, toDateTime(Timestamp)"),
    ),
}  # fmt: skip
COLUMNS = ["Timestamp", "TraceId", "SpanId", "ParentSpanId", "SpanName", "SpanKind", "ServiceName", "ResourceAttributes",
           "SpanAttributes", "Duration", "StatusCode"]  # fmt: skip
EXPORTERS = {"async_insert": 1, "wait_for_async_insert": 1}


def export(client: Client, *, days: int = DAYS, calls: int = CALLS, first: int = 0, old: bool = False) -> int:
    """Insert spans as the exporter does: calls, each below an HTTP span; returns the number of calls."""
    kinds, states = (("SPAN_KIND_SERVER", "SPAN_KIND_CLIENT"), ("STATUS_CODE_UNSET", "STATUS_CODE_ERROR")) if old else (
        ("Server", "Client"), ("Unset", "Error"))  # fmt: skip
    rows: list[list[Any]] = []
    for number in range(first, first + days * calls):
        at = NOW - timedelta(days=number // calls % days, seconds=10 * (number % calls))
        words = {
            "gen_ai.operation.name": "chat", "gen_ai.request.model": f"m{number % 2}", "gen_ai.usage.output_tokens": "11",
            "gen_ai.usage.input_tokens": str(number), "gen_ai.response.time_to_first_chunk": f"{0.1 + number / 1000:.3f}",
        }  # fmt: skip
        trace, resource = f"{number:032x}", {"service.name": "theirs", "host.name": "h1"}
        rows.append(
            [at, trace, f"{2 * number:016x}", "", "POST /v1", kinds[0], "theirs", resource, {}, 3 * 10**9, states[0]]
        )
        rows.append([at, trace, f"{2 * number + 1:016x}", f"{2 * number:016x}", "chat m", kinds[1], "theirs", resource, words,
                     2 * 10**9, states[number % 10 == 0]])  # fmt: skip
    client.insert("otel_traces", rows, column_names=COLUMNS, settings=EXPORTERS)
    return days * calls


def facts(client: Client) -> list[tuple[Any, ...]]:
    query = (
        "SELECT span_id, count(), any(model), any(duration_s), any(error_type), any(input_tokens), any(node) FROM inferences"
        " GROUP BY span_id ORDER BY span_id"
    )
    return [tuple(row) for row in client.query(query).result_rows]


def expected(calls: int) -> list[tuple[Any, ...]]:
    return [(f"{2 * n + 1:016x}", 1, f"m{n % 2}", 2.0, "_OTHER" if n % 10 == 0 else "", n, "h1") for n in range(calls)]


def text_of(client: Client, table: str) -> str:
    query = "SELECT create_table_query FROM system.tables WHERE database = currentDatabase() AND name = {table:String}"
    return str(client.query(query, parameters={"table": table}).result_rows[0][0])


def adopted(client: Client, **options: Any) -> bool:
    """What `monitor migrate` does, on this client's database."""
    if len(_applied(client)) < len(known_migrations()):
        plan(client)
    migrate(client)
    return back_fill(client, keep_days=400, **options)


def _applied(client: Client) -> list[Any]:
    if not client.command("EXISTS TABLE schema_migrations"):
        return []
    return list(client.query("SELECT version FROM schema_migrations FINAL").result_rows)


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_history_becomes_facts_once(empty_client: Client, variant: str) -> None:
    for statement in VARIANTS[variant]:
        empty_client.command(statement)
    calls = export(empty_client, old=variant == "2023")
    steps: list[Progress] = []
    assert adopted(empty_client, on_progress=steps.append)
    assert facts(empty_client) == expected(calls)
    assert unfinished(empty_client) == []
    seen = [(step.chunk, step.rows, step.done, step.total) for step in steps if step.view == "inferences_mv"]
    days = [f"{NOW - timedelta(days=day):%Y-%m-%d}" for day in range(DAYS)]
    assert seen == [(day, CALLS, number, DAYS) for number, day in enumerate(days, 1)]
    # Again, and what comes later through the exporter: each once.
    assert adopted(empty_client)
    export(empty_client, first=calls, days=1, calls=50)
    assert facts(empty_client) == expected(calls + 50)
    traces = "SELECT count(), min(begin), max(n) FROM (SELECT TraceId, min(Start) AS begin, count() AS n FROM otel_traces_trace_id_ts GROUP BY TraceId)"
    found = empty_client.query(traces).result_rows[0]
    assert (found[0], found[2]) == (calls + 50, 1)
    window = Window.last(timedelta(hours=24), now=NOW + timedelta(hours=1))
    values = {value.name: value.value for value in evaluate(empty_client, window=window)}
    assert values["traffic.requests"] == CALLS + 50
    assert values["traffic.errors"] == 9  # of the calls 0, 10, 20, 30 and 80, 90, …, 120
    assert values["traffic.input_tokens"] == sum(range(CALLS)) + sum(range(calls, calls + 50))


def test_our_own_collector_writes_beside_the_exporter(empty_client: Client) -> None:
    """Into the exporter's oldest table, with Int64 durations: a segment counts once there too."""
    for statement in VARIANTS["2023"]:
        empty_client.command(statement)
    export(empty_client)
    adopted(empty_client)
    assert "non_replicated_deduplication_window = 10000" in text_of(empty_client, "otel_traces")
    for _ in range(2):
        empty_client.insert(
            "otel_traces", [[NOW, "t", "s", "chat", "x", 5, {"gen_ai.operation.name": "chat"}]],
            column_names=["Timestamp", "TraceId", "SpanId", "SpanName", "ScopeName", "Duration", "SpanAttributes"],
            settings={"async_insert": 0, "insert_deduplication_token": "t", "deduplicate_blocks_in_dependent_materialized_views": 1},
        )  # fmt: skip
    assert empty_client.command("SELECT count() FROM otel_traces WHERE TraceId = 't'") == 1
    assert empty_client.command("SELECT count() FROM inferences WHERE trace_id = 't'") == 1


def test_stopped_half_way_it_goes_on(empty_client: Client) -> None:
    for statement in VARIANTS["2025"]:
        empty_client.command(statement)
    calls = export(empty_client)
    stop = threading.Event()
    assert not adopted(empty_client, on_progress=lambda step: stop.set(), stop=stop)
    assert len(facts(empty_client)) == CALLS
    assert unfinished(empty_client)[0] == "inferences_mv"
    assert adopted(empty_client)
    assert facts(empty_client) == expected(calls)


class Killed(Exception):
    pass


def test_killed_between_a_chunk_and_its_account(empty_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for statement in VARIANTS["2025"]:
        empty_client.command(statement)
    calls = export(empty_client)
    note = adopt._note

    def dies(client: Client, source: str, view: str, item: str, rows: int = 0) -> None:
        if rows:
            raise Killed
        note(client, source, view, item, rows)

    monkeypatch.setattr(adopt, "_note", dies)
    with pytest.raises(Killed):
        adopted(empty_client)
    monkeypatch.undo()
    assert len(facts(empty_client)) == CALLS
    assert adopted(empty_client)
    assert facts(empty_client) == expected(calls)
    assert empty_client.command("SELECT count() FROM inferences") == calls  # without FINAL too


def test_killed_at_each_statement_of_the_schema(empty_client: Client) -> None:
    """Some views are made and see what comes from then on; the rest of the history is theirs all the same."""
    for statement in VARIANTS["2025"]:
        empty_client.command(statement)
    calls = export(empty_client)
    plan(empty_client)
    made = [statement for migration in known_migrations() for statement in migration.statements]
    first_views = next(i for i, statement in enumerate(made) if "inferences_mv" in statement)
    for statement in made[: first_views + 1]:
        empty_client.command(statement)
    export(empty_client, first=calls, days=1, calls=30)  # seen by the view
    assert adopted(empty_client)
    assert facts(empty_client) == expected(calls + 30)


def test_a_day_with_very_many_rows_goes_by_the_hour(empty_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for statement in VARIANTS["2025"]:
        empty_client.command(statement)
    calls = export(empty_client, days=2, calls=400)
    monkeypatch.setattr(adopt, "DAY_ROWS", 799)
    steps: list[Progress] = []
    assert adopted(empty_client, on_progress=steps.append)
    assert facts(empty_client) == expected(calls)
    days = [f"{NOW - timedelta(days=day):%Y-%m-%d}" for day in range(2)]
    wanted = [(f"{day} {hour}h", rows) for day in days for hour, rows in ((12, 181), (11, 219))]
    assert [(step.chunk, step.rows) for step in steps if step.view == "inferences_mv"] == wanted


def test_a_view_of_a_later_release_starts_with_history(empty_client: Client) -> None:
    """Also in a store that was ours from the beginning; a view of somebody else is left alone."""
    known = migrate(empty_client)
    calls = export(empty_client)
    text = (
        "CREATE TABLE IF NOT EXISTS errors (timestamp DateTime64(9), trace_id String) ENGINE = ReplacingMergeTree\n"
        "ORDER BY (timestamp, trace_id);\n\nCREATE MATERIALIZED VIEW IF NOT EXISTS errors_mv TO errors AS\n"
        "SELECT Timestamp AS timestamp, TraceId AS trace_id FROM otel_traces WHERE StatusCode = 'Error';\n"
    )
    later = [*known, Migration(version=len(known) + 1, name="errors", text=text)]
    plan(empty_client)
    migrate(empty_client, later)
    empty_client.command(
        "CREATE MATERIALIZED VIEW theirs_mv ENGINE = MergeTree ORDER BY TraceId AS SELECT TraceId FROM otel_traces"
    )
    assert unfinished(empty_client, later) == ["errors_mv"]
    assert back_fill(empty_client, keep_days=400, known=later)
    assert empty_client.command("SELECT count() FROM errors") == calls // 10
    assert empty_client.command("SELECT count() FROM theirs_mv") == 0
    assert facts(empty_client) == expected(calls)


def test_history_that_facts_would_not_keep_is_left_out(empty_client: Client) -> None:
    for statement in VARIANTS["2025"]:
        empty_client.command(statement)
    export(empty_client, days=3)
    plan(empty_client)
    migrate(empty_client)
    assert back_fill(empty_client, keep_days=2)
    days = empty_client.query("SELECT DISTINCT toString(toDate(timestamp, 'UTC')) FROM inferences").result_rows
    assert f"{NOW:%Y-%m-%d}" in {day for (day,) in days}
    assert len(days) in (1, 2)  # the second day ago may have begun less than 48 hours ago


LOGS = """CREATE TABLE otel_logs (
    Timestamp DateTime64(9) CODEC(Delta(8), ZSTD(1)),
    {time}
    TraceId String CODEC(ZSTD(1)),
    SpanId String CODEC(ZSTD(1)),
    TraceFlags UInt8,
    SeverityText LowCardinality(String) CODEC(ZSTD(1)),
    SeverityNumber UInt8,
    ServiceName LowCardinality(String) CODEC(ZSTD(1)),
    Body String CODEC(ZSTD(1)),
    ResourceSchemaUrl LowCardinality(String) CODEC(ZSTD(1)),
    ResourceAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ScopeSchemaUrl LowCardinality(String) CODEC(ZSTD(1)),
    ScopeName String CODEC(ZSTD(1)),
    ScopeVersion LowCardinality(String) CODEC(ZSTD(1)),
    ScopeAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    LogAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)){event},
    INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX idx_log_attr_key mapKeys(LogAttributes) TYPE bloom_filter(0.01) GRANULARITY 1
) ENGINE = MergeTree()
PARTITION BY toDate({by})
{order}
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1"""
OLD_LOGS = LOGS.format(
    time="TimestampTime DateTime DEFAULT toDateTime(Timestamp),", event="", by="TimestampTime",
    order="PRIMARY KEY (ServiceName, TimestampTime) ORDER BY (ServiceName, TimestampTime, Timestamp)",
)  # fmt: skip
NEW_LOGS = LOGS.format(
    time="", event=", EventName String CODEC(ZSTD(1)),"
    " __otel_materialized_k8s.pod.name LowCardinality(String) MATERIALIZED ResourceAttributes['k8s.pod.name']".replace(
        "__otel_materialized_k8s.pod.name", "`__otel_materialized_k8s.pod.name`"),
    by="Timestamp", order="ORDER BY (toStartOfFiveMinutes(Timestamp), ServiceName, Timestamp)",
)  # fmt: skip


@pytest.mark.parametrize("logs", [OLD_LOGS, NEW_LOGS], ids=["old", "new"])
def test_logs_are_kept_and_become_facts(empty_client: Client, logs: str) -> None:
    empty_client.command(logs)
    words = {"event.name": "gen_ai.evaluation.result", "gen_ai.evaluation.name": "helpful", "gen_ai.evaluation.score.value": "0.5"}  # fmt: skip
    rows = [[NOW - timedelta(days=n % DAYS), f"{n:032x}", f"{n:016x}", "theirs", "said", words] for n in range(60)]
    columns = ["Timestamp", "TraceId", "SpanId", "ServiceName", "Body", "LogAttributes"]
    empty_client.insert("otel_logs", rows, column_names=columns, settings=EXPORTERS)
    for _ in range(2):
        assert adopted(empty_client)
    assert empty_client.command("SELECT count() FROM otel_logs") == 60
    found = empty_client.query("SELECT count(), uniqExact(trace_id), sum(score) FROM evaluations").result_rows
    assert found == [(60, 60, 30.0)]


# Before 2026; later: times of seconds.
GAUGE = """CREATE TABLE otel_metrics_gauge (
    ResourceAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ResourceSchemaUrl String CODEC(ZSTD(1)),
    ScopeName String CODEC(ZSTD(1)),
    ScopeVersion String CODEC(ZSTD(1)),
    ScopeAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ScopeDroppedAttrCount UInt32 CODEC(ZSTD(1)),
    ScopeSchemaUrl String CODEC(ZSTD(1)),
    ServiceName LowCardinality(String) CODEC(ZSTD(1)),
    MetricName String CODEC(ZSTD(1)),
    MetricDescription String CODEC(ZSTD(1)),
    MetricUnit String CODEC(ZSTD(1)),
    Attributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    StartTimeUnix {time} CODEC(Delta, ZSTD(1)),
    TimeUnix {time} CODEC(Delta, ZSTD(1)),
    Value Float64 CODEC(ZSTD(1)),
    Flags UInt32 CODEC(ZSTD(1)),
    Exemplars Nested (
        FilteredAttributes Map(LowCardinality(String), String),
        TimeUnix DateTime64(9),
        Value Float64,
        SpanId String,
        TraceId String
    ) CODEC(ZSTD(1)),
    INDEX idx_attr_key mapKeys(Attributes) TYPE bloom_filter(0.01) GRANULARITY 1
) ENGINE = MergeTree()
PARTITION BY toDate(TimeUnix)
ORDER BY ({order})
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1"""
OLD_GAUGE = GAUGE.format(
    time="DateTime64(9)", order="ServiceName, MetricName, Attributes, toUnixTimestamp64Nano(TimeUnix)"
)
NEW_GAUGE = GAUGE.format(
    time="DateTime", order="ServiceName, MetricName, toStartOfHour(TimeUnix), cityHash64(Attributes), TimeUnix"
)


@pytest.mark.parametrize("gauge", [OLD_GAUGE, NEW_GAUGE], ids=["old", "new"])
def test_metrics_of_gpus_become_samples(empty_client: Client, gauge: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several points make one sample, so that what a part of it left there keeps no other part out."""
    empty_client.command(gauge)
    points = {"hw.gpu.utilization": 0.5, "hw.temperature": 60.0, "hw.gpu.memory.usage": 2e9}
    attributes = {"hw.id": "GPU-1", "hw.type": "gpu"}

    def put(day: int, *names: str) -> None:
        at = NOW - timedelta(days=day)
        rows = [
            [{"host.name": "n"}, "s", name, {**attributes, "hw.gpu.task": "general"}, at, at, points[name]]
            for name in names
        ]
        columns = [
            "ResourceAttributes",
            "ServiceName",
            "MetricName",
            "Attributes",
            "StartTimeUnix",
            "TimeUnix",
            "Value",
        ]
        empty_client.insert("otel_metrics_gauge", rows, column_names=columns, settings=EXPORTERS)

    for day in range(DAYS):
        put(day, "hw.gpu.utilization", "hw.temperature")
    plan(empty_client)
    migrate(empty_client)
    put(0, *points)  # some points of the newest sample again, and one more, through the view
    note = adopt._note

    def dies(client: Client, source: str, view: str, item: str, rows: int = 0) -> None:
        if item.startswith("20"):
            raise Killed
        note(client, source, view, item, rows)

    monkeypatch.setattr(adopt, "_note", dies)
    with pytest.raises(Killed):
        adopted(empty_client)
    monkeypatch.undo()
    assert adopted(empty_client)
    query = (
        "SELECT node, gpu, temperature_c, memory_used_bytes, utilization > 0 FROM gpu_samples FINAL ORDER BY timestamp"
    )
    found = empty_client.query(query).result_rows
    assert found == [("n", "GPU-1", 60.0, None, 1)] * (DAYS - 1) + [("n", "GPU-1", 60.0, 2e9, 1)]


def test_a_table_of_json_is_refused_in_words(empty_client: Client) -> None:
    statement = VARIANTS["2025"][0].replace("Attributes Map(LowCardinality(String), String)", "Attributes JSON")
    without = [line for line in statement.splitlines() if "mapKeys" not in line and "mapValues" not in line]
    empty_client.command("\n".join(without))
    with pytest.raises(StoreError, match=r"`otel_traces` has ResourceAttributes as JSON.*turn off `json`"):
        plan(empty_client)


@pytest.fixture
def theirs(clickhouse_url: str) -> Iterator[Settings]:
    """Settings of a server's database that an exporter filled, for what looks at settings."""
    url = with_database(clickhouse_url, f"theirs_{uuid.uuid4().hex[:8]}")
    admin = connect(clickhouse_url)
    admin.command(f"CREATE DATABASE {url.rsplit('/', 1)[1]}")
    client = connect(url)
    for statement in VARIANTS["2025"]:
        client.command(statement)
    export(client)
    plain = load_settings()
    yield plain.model_copy(update={"store": plain.store.model_copy(update={"url": url})})
    admin.command(f"DROP DATABASE {url.rsplit('/', 1)[1]}")
    client.close()
    admin.close()


def test_the_exporters_retention_stays(theirs: Settings) -> None:
    """Ours is shorter by default: taking it would delete what somebody else keeps."""
    for _ in range(2):
        prepare_store(theirs)
        assert "inferences_mv" in history_missing(theirs)
    client = connect(theirs.store_url)
    assert "TTL toDate(Timestamp) + toIntervalDay(180)" in text_of(client, "otel_traces")
    assert "TTL" not in text_of(client, "otel_traces_trace_id_ts").replace("ttl_only_drop_parts", "")
    assert "TTL toDate(timestamp) + toIntervalDay(400)" in text_of(client, "inferences")
    assert back_fill_store(theirs)
    assert history_missing(theirs) == []
    assert facts(client) == expected(DAYS * CALLS)
    client.close()


def run(settings: Settings, folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        command(*arguments, "--data", str(folder)), cwd=ROOT, env=environment({"MONITOR_STORE__URL": settings.store_url}),
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout


def test_the_command_says_what_it_carried_over(theirs: Settings, tmp_path: Path) -> None:
    assert f"carried {DAYS * CALLS} rows of history into inferences" in run(theirs, tmp_path, "migrate").splitlines()
    assert run(theirs, tmp_path, "migrate") == "the schema is up to date\n"
    assert "history" not in run(theirs, tmp_path, "check")


def test_a_service_carries_history_over_while_it_runs(theirs: Settings, tmp_path: Path) -> None:
    prepare_store(theirs)
    assert "rows from before are not yet in the facts of " in run(theirs, tmp_path, "check")
    client = connect(theirs.store_url)
    with running(tmp_path / "data", env={"MONITOR_STORE__URL": theirs.store_url}):
        deadline = time.monotonic() + 60
        while history_missing(theirs):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert facts(client) == expected(DAYS * CALLS)
    client.close()
