"""Numbered migrations: plain SQL files, each statement safe to run twice, recorded with a checksum after success.

ClickHouse has no transactions around DDL: a migration that stopped half way is simply run again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass
from importlib import resources
from typing import Final

from monitor.errors import SchemaTooNew, StoreError
from monitor.store.client import Client
from monitor.store.cluster import LOCAL, Layout, Renderer
from monitor.store.replicas import Present, present_on, refuse_unfit_cluster

METRIC_KINDS: Final = ("gauge", "sum", "histogram", "exponential_histogram", "summary")
_CREATED = re.compile(r"^CREATE TABLE IF NOT EXISTS (\w+)", re.MULTILINE)
_STATEMENT_END = re.compile(r";[ \t]*\n")

_LEDGER = """
CREATE TABLE IF NOT EXISTS schema_migrations
(
    version UInt32,
    name String,
    checksum String,
    applied_at DateTime64(3) DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(applied_at)
ORDER BY version
"""


@dataclass(frozen=True, kw_only=True)
class Migration:
    version: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def statements(self) -> list[str]:
        lines = (line for line in self.text.splitlines() if not line.lstrip().startswith("--"))
        pieces = _STATEMENT_END.split("\n".join(lines) + "\n")
        return [piece.strip() for piece in pieces if piece.strip()]


def known_migrations() -> list[Migration]:
    """All migrations of this release, in order."""
    folder = resources.files("monitor.store") / "migrations"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return [
        Migration(version=int(file.name[:4]), name=file.name[5:-4], text=file.read_text(encoding="utf-8"))
        for file in files
    ]


def ensure_database(client: Client, database: str, layout: Layout | None = None) -> None:
    """Make the database if it is not there; `client` must be connected without it."""
    name = database.replace("`", "")
    # A statement for all servers waits for each: none without need. One that joined gets its database with its tables.
    if layout is None or not layout.on_cluster or not client.command(f"EXISTS DATABASE `{name}`"):
        client.command(_create_database(name, layout))


def _create_database(name: str, layout: Layout | None) -> str:
    return f"CREATE DATABASE IF NOT EXISTS `{name}`{layout.ddl if layout is not None else ''}"


def applied_versions(client: Client) -> dict[int, tuple[str, str]]:
    """Version -> (name, checksum) of what the store has; empty for a store that was never migrated."""
    if not client.command("EXISTS TABLE schema_migrations"):
        return {}
    rows = client.query("SELECT version, name, checksum FROM schema_migrations FINAL ORDER BY version").result_rows
    return {int(version): (str(name), str(checksum)) for version, name, checksum in rows}


def pending(client: Client, known: list[Migration] | None = None) -> list[Migration]:
    """Migrations that the store lacks.

    Raises
    ------
    SchemaTooNew
        If the store has a migration that this release does not know.
    StoreError
        If a migration that was applied is not the one that this release holds under its number.
    """
    known = known_migrations() if known is None else known
    applied = applied_versions(client)
    by_version = {migration.version: migration for migration in known}
    newest = max(by_version, default=0)
    too_new = sorted(version for version in applied if version > newest)
    if too_new:
        raise SchemaTooNew(
            f"the store has schema version {too_new[-1]}, and this release knows versions up to {newest} only;"
            " upgrade inference-monitor, or point store.url at another store"
        )
    for version, (name, checksum) in applied.items():
        if version in by_version and by_version[version].checksum != checksum:
            raise StoreError(
                f"schema version {version} (`{name}`) in the store is not the one of this release: its checksum differs;"
                " was the store made by a changed copy of inference-monitor?"
            )
    return [migration for migration in known if migration.version not in applied]


def migrate(client: Client, known: list[Migration] | None = None, layout: Layout | None = None) -> list[Migration]:
    """Bring the schema up to date; returns what was applied, in order.

    With a `layout` without ON CLUSTER this is one server's part of it: each server keeps its own account of what it has.

    Raises
    ------
    SchemaTooNew, StoreError
        If the store is another release's, or the cluster is not fit for the tables.
    StoreAway
        If something is to be changed, and a server of the cluster that must know does not answer.
    """
    known = known_migrations() if known is None else known
    refuse_other_layout(client, layout)
    missing = pending(client, known)
    if layout is not None and layout.on_cluster and not missing and lacking_servers(client, layout, known):
        missing = known  # a server joined; what the others have is not changed by being made again
    present = Present()
    if layout is not None and missing:
        refuse_unfit_cluster(client, layout)
        present = present_on(client, layout) if layout.replicated else present
    if layout is None or not layout.on_cluster or missing:
        for statement in _preparations(client, layout):
            client.command(present.adapt(statement))
    renderer = Renderer(layout) if layout is not None else None
    settings = layout.settings if layout is not None else {}
    for migration in known:
        # Those that the store has are rendered as well: they say what is a table and what a view.
        statements = renderer.all(migration.statements) if renderer is not None else migration.statements
        if migration not in missing:
            continue
        for statement in statements:
            client.command(present.adapt(statement), settings=settings)
        client.insert(
            "schema_migrations",
            [[migration.version, migration.name, migration.checksum]],
            column_names=["version", "name", "checksum"],
            settings={"async_insert": 0},
        )
    return missing


def _preparations(client: Client, layout: Layout | None) -> list[str]:
    """What migrations need: the account of them and, where one server makes the schema for all, the database."""
    if layout is None or not layout.on_cluster:
        return [_LEDGER]  # each server has an account of its own
    return [_create_database(str(client.database), layout), *Renderer(layout).render(_LEDGER)]


def base_tables(known: list[Migration]) -> list[str]:
    """Names of the tables that migrations make."""
    return [name for migration in known for name in _CREATED.findall(migration.text)]


def lacking_servers(client: Client, layout: Layout, known: list[Migration]) -> list[str]:
    """Servers of the cluster that do not have all tables; of those that answer, as a start must not wait for the rest."""
    query = (
        "SELECT hostName() AS host, uniqExactIf(name, database = {database:String} AND has({tables:Array(String)}, name)) AS present"
        f" FROM clusterAllReplicas('{layout.cluster}', system.tables) GROUP BY host, tcpPort() HAVING present < {{wanted:UInt32}}"
        " ORDER BY host"
    )
    wanted = [f"{name}{LOCAL}" for name in base_tables(known)]
    parameters = {"database": client.database, "tables": wanted, "wanted": len(wanted)}
    settings = {"skip_unavailable_shards": 1}
    return [str(host) for host, _ in client.query(query, parameters=parameters, settings=settings).result_rows]


def refuse_other_layout(client: Client, layout: Layout | None) -> None:
    """Say so if the tables were made for the other kind of store.

    Raises
    ------
    StoreError
        If a table lies on one server and a cluster is configured, or the other way round.
    """
    query = "SELECT name, engine FROM system.tables WHERE database = currentDatabase() AND name IN ('otel_traces', 'inferences')"
    for name, engine in client.query(query).result_rows:
        if layout is None and engine == "Distributed":
            raise StoreError(
                f"the table `{name}` lies on a cluster, and `store.cluster` is not set; set it as it was when the tables were made"
            )
        if layout is not None and engine != "Distributed":
            raise StoreError(
                f"the table `{name}` of this database is not spread over the cluster `{layout.cluster}` but lies on one server;"
                " name another database in store.url, where the cluster's tables will be made, or unset store.cluster"
            )


def apply_retention(
    client: Client,
    *,
    raw_days: int,
    facts_days: int,
    minutes_days: int = 30,
    hours_days: int = 400,
    days_days: int = 3650,
    layout: Layout | None = None,
    leave: Collection[str] = (),
) -> list[str]:
    """Set how long each table keeps its rows, but for those to `leave`; names of those that had it otherwise."""
    changed = []
    wanted = {
        "otel_traces": ("Timestamp", raw_days),
        "otel_traces_trace_id_ts": ("Start", raw_days),
        "otel_logs": ("Timestamp", raw_days),
        **{f"otel_metrics_{kind}": ("TimeUnix", raw_days) for kind in METRIC_KINDS},
        "inferences": ("timestamp", facts_days),
        "inference_stages": ("timestamp", facts_days),
        "sdk_reports": ("timestamp", facts_days),
        "evaluations": ("timestamp", facts_days),
        "engagement_events": ("timestamp", facts_days),
        "gpu_samples": ("timestamp", facts_days),
        "changes": ("timestamp", facts_days),
        "objective_counts": ("period", facts_days),
        "dataset_items": ("called_at", facts_days),
        "reviews": ("at", facts_days),
        "source_hours": ("period", facts_days),
        "user_hours": ("period", facts_days),
        "session_hours": ("period", facts_days),
        # Of the last hours alone, see the job `minutes`.
        "objective_minutes": ("period", 2),
        "source_minutes": ("period", 2),
        "user_minutes": ("period", 2),
        "session_minutes": ("period", 2),
        "emitter_hours": ("period", facts_days),
        "emitter_ends": ("period", facts_days),
        "gpu_1m": ("period", facts_days),
        "gpu_1h": ("period", facts_days),
        "call_costs": ("timestamp", facts_days),
        "session_costs": ("hour", facts_days),
        "node_hours": ("hour", days_days),
        "cost_results": ("hour", days_days),
        "inferences_1m": ("period", minutes_days),
        "inferences_1h": ("period", hours_days),
        "inferences_1d": ("period", days_days),
        "job_runs": ("started_at", facts_days),
        "kpi_results": ("window_end", facts_days),
        "probe_results": ("run_at", facts_days),
        "alert_events": ("at", facts_days),
        "alert_marks": ("active_at", facts_days),
        "silences": ("ends_at", facts_days),
        "alert_outbox": ("planned_at", max(30, raw_days)),  # repeats are counted from it, over up to 5 days
        "notifications": ("sent_at", facts_days),
        "drift_results": ("window_end", facts_days),
        "drift_counts": ("window_start", facts_days),
        "bias_results": ("window_end", facts_days),
    }
    for name, (column, days) in wanted.items():
        if name in leave:
            continue
        table = f"{name}{LOCAL}" if layout is not None else name
        ddl = layout.ddl if layout is not None else ""
        clause = f"toDate({column}) + toIntervalDay({days})"
        query = (
            "SELECT create_table_query FROM system.tables WHERE database = currentDatabase() AND name = {table:String}"
        )
        present = str(client.query(query, parameters={"table": table}).result_rows[0][0])
        if f"TTL {clause}" not in present:
            # Parts are dropped whole, so there is nothing to rewrite now.
            settings = {"materialize_ttl_after_modify": 0, **(layout.settings if layout is not None else {})}
            client.command(f"ALTER TABLE {table}{ddl} MODIFY TTL {clause}", settings=settings)
            changed.append(name)
    return changed
