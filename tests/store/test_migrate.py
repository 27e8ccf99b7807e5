"""Migrations, on both backends."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from monitor.errors import SchemaTooNew, StoreError
from monitor.store import dialects, gpu_dialects
from monitor.store.client import Client, connect
from monitor.store.migrate import Migration, applied_versions, apply_retention, known_migrations, migrate, pending
from tests.conftest import Databases, drop_database, make_database, migrated_database

KNOWN = known_migrations()
METRIC_TABLES = ("gauge", "sum", "histogram", "exponential_histogram", "summary")
TABLES = {
    "otel_traces",
    "otel_traces_trace_id_ts",
    "otel_traces_trace_id_ts_mv",
    "inferences",
    "inferences_mv",
    "inference_stages",
    "inference_stages_mv",
    "otel_logs",
    "otel_metrics_in",
    *(f"otel_metrics_{kind}" for kind in METRIC_TABLES),
    *(f"otel_metrics_{kind}_mv" for kind in METRIC_TABLES),
    "evaluations",
    "evaluations_from_logs_mv",
    "evaluations_from_spans_mv",
    "engagement_events",
    "engagement_from_logs_mv",
    "engagement_from_spans_mv",
    "prices",
    "node_hours",
    "call_costs",
    "cost_results",
    "cost_budgets",
    "cost_state",
    "sdk_reports",
    "sdk_reports_mv",
    "inferences_1m",
    "inferences_1h",
    "inferences_1d",
    "rollup_state",
    "hour_state",
    "source_hours",
    "source_minutes",
    "user_minutes",
    "session_minutes",
    "objective_minutes",
    "user_hours",
    "session_hours",
    "session_costs",
    "emitter_hours",
    "emitter_ends",
    "gpu_1m",
    "gpu_1h",
    "kpi_results",
    "drift_results",
    "drift_bins",
    "drift_counts",
    "bias_results",
    "gpu_samples",
    "gpu_samples_from_gauge_mv",
    "gpu_samples_from_sum_mv",
    "objectives",
    "objective_counts",
    "objective_counts_state",
    "changes",
    "dataset_items",
    "reviews",
    "probe_results",
    "refusal_models",
    "safety_state",
    "silences",
    "alert_outbox",
    "alert_sends",
    "notifications",
    "job_runs",
    "job_claims",
    "alert_rules",
    "alert_state",
    "alert_health",
    "alert_events",
    "alert_marks",
    "schema_migrations",
}


@pytest.fixture
def store_client(backend_url: str) -> Iterator[Client]:
    """A client of a migrated database of its own, whose schema may be changed."""
    name = make_database(backend_url)
    client = connect(backend_url, database=name)
    migrate(client)
    yield client
    client.close()
    drop_database(backend_url, name)


@pytest.fixture
def fresh(backend_url: str, migrated: Databases) -> dict[str, str]:
    """Schema of a store that was brought up to date at once."""
    client = connect(backend_url, database=migrated_database(backend_url, migrated))
    found = schema(client)
    client.close()
    return found


def schema(client: Client) -> dict[str, str]:
    query = "SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase()"
    return {str(name): str(text).replace(str(client.database), "DB") for name, text in client.query(query).result_rows}


def test_numbers_have_no_gap() -> None:
    assert [migration.version for migration in KNOWN] == list(range(1, len(KNOWN) + 1))


def test_the_newest_dialect_migration_is_the_table_of_dialects() -> None:
    newest = [migration for migration in KNOWN if "dialects" in migration.name][-1]
    assert newest.text == dialects.migration(), "write the next migration: python -m monitor.store.dialects > NEXT.sql"


def test_the_newest_gpu_migration_is_the_table_of_names() -> None:
    newest = [migration for migration in KNOWN if "gpu" in migration.name][-1]
    assert newest.text == gpu_dialects.migration(), (
        "write the next one: python -m monitor.store.gpu_dialects > NEXT.sql"
    )


def test_a_fresh_store_gets_all_and_then_nothing(empty_client: Client) -> None:
    assert pending(empty_client) == KNOWN
    assert migrate(empty_client) == KNOWN
    assert set(schema(empty_client)) == TABLES
    before = schema(empty_client)
    assert migrate(empty_client) == []
    assert schema(empty_client) == before


def test_every_earlier_version_reaches_the_same_schema(empty_client: Client, fresh: dict[str, str]) -> None:
    """Release by release, so that each version is what the next one finds; at the end it is as if made at once."""
    for count, newest in enumerate(KNOWN, 1):
        assert migrate(empty_client, KNOWN[:count]) == [newest]
        assert pending(empty_client) == KNOWN[count:]
    assert schema(empty_client) == fresh


def test_each_statement_is_safe_to_run_twice_and_to_stop_after(empty_client: Client) -> None:
    """A process that dies between two statements leaves a store that the next start brings up to date."""
    for migration in KNOWN:
        whole = len(migration.statements)
        for count in sorted({1, 2, whole // 2, whole - 1, whole} - {0}):
            for statement in migration.statements[:count]:
                empty_client.command(statement)
    assert migrate(empty_client) == KNOWN
    assert set(schema(empty_client)) == TABLES


def test_a_newer_schema_is_refused(store_client: Client) -> None:
    store_client.insert("schema_migrations", [[999, "later", "x"]], column_names=["version", "name", "checksum"])
    with pytest.raises(SchemaTooNew, match=r"version 999.*upgrade inference-monitor"):
        migrate(store_client)


def test_a_changed_migration_is_refused(store_client: Client) -> None:
    first = KNOWN[0]
    changed = Migration(version=first.version, name=first.name, text=first.text + "\nSELECT 1;\n")
    with pytest.raises(StoreError, match=r"version 1 .*checksum differs"):
        migrate(store_client, [changed, *KNOWN[1:]])
    assert applied_versions(store_client)[1] == (first.name, first.checksum)


def test_statements_are_cut_at_line_ends_only() -> None:
    text = "-- a comment; with a semicolon\nSELECT ';'\nFROM x;\n\n  -- more\nSELECT 2;\n"
    assert Migration(version=1, name="x", text=text).statements == ["SELECT ';'\nFROM x", "SELECT 2"]


def test_retention_is_set_and_changed(empty_client: Client) -> None:
    """In a database of its own: rows of long ago, which other tests use, would be dropped."""
    migrate(empty_client)
    apply_retention(empty_client, raw_days=30, facts_days=400)
    first = schema(empty_client)
    assert "TTL toDate(Timestamp) + toIntervalDay(30)" in first["otel_traces"]
    assert "TTL toDate(timestamp) + toIntervalDay(400)" in first["inferences"]
    assert "TTL toDate(timestamp) + toIntervalDay(400)" in first["gpu_samples"]
    assert "TTL toDate(period) + toIntervalDay(2)" in first["source_minutes"]
    apply_retention(empty_client, raw_days=30, facts_days=400)
    assert schema(empty_client) == first
    apply_retention(empty_client, raw_days=7, facts_days=400)
    assert "TTL toDate(Timestamp) + toIntervalDay(7)" in schema(empty_client)["otel_traces"]


def test_a_database_that_the_collectors_exporter_filled_keeps_its_rows(empty_client: Client) -> None:
    """Its otel_traces has no deduplication window and more indexes; new spans become facts from then on."""
    made = next(text for text in KNOWN[0].statements if "CREATE TABLE" in text and "otel_traces\n" in text)
    theirs = made.replace(", non_replicated_deduplication_window = 10000", "").replace(
        "INDEX idx_trace_id", "INDEX idx_duration Duration TYPE minmax GRANULARITY 1, INDEX idx_trace_id"
    )
    empty_client.command(theirs)
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
    columns = ["Timestamp", "TraceId", "SpanId", "SpanName", "ServiceName", "SpanAttributes", "Duration"]

    def export(span_id: str) -> None:
        row = [datetime(2026, 11, 22, 10, tzinfo=UTC), "aa", span_id, "chat m", "theirs", attributes, 10**9]
        empty_client.insert("otel_traces", [row], column_names=columns, settings={"async_insert": 0})

    export("bb")
    migrate(empty_client)
    assert empty_client.command("SELECT count() FROM otel_traces") == 1
    assert "non_replicated_deduplication_window = 10000" in schema(empty_client)["otel_traces"]
    export("cc")
    assert empty_client.query("SELECT span_id, model FROM inferences").result_rows == [("cc", "m")]
