"""Numbered migrations: plain SQL files, each statement safe to run twice, recorded with a checksum after success.

ClickHouse has no transactions around DDL: a migration that stopped half way is simply run again.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib import resources
from typing import Final

from monitor.errors import SchemaTooNew, StoreError
from monitor.store.client import Client

METRIC_KINDS: Final = ("gauge", "sum", "histogram", "exponential_histogram", "summary")
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


def ensure_database(client: Client, database: str) -> None:
    """Make the database if it is not there; `client` must be connected without it."""
    client.command(f"CREATE DATABASE IF NOT EXISTS `{database.replace('`', '')}`")


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


def migrate(client: Client, known: list[Migration] | None = None) -> list[Migration]:
    """Bring the schema up to date; returns what was applied, in order."""
    missing = pending(client, known)
    client.command(_LEDGER)
    for migration in missing:
        for statement in migration.statements:
            client.command(statement)
        client.insert(
            "schema_migrations",
            [[migration.version, migration.name, migration.checksum]],
            column_names=["version", "name", "checksum"],
            settings={"async_insert": 0},
        )
    return missing


def apply_retention(client: Client, *, raw_days: int, facts_days: int) -> None:
    """Set how long each table keeps its rows; a no-op where that is what the table has."""
    wanted = {
        "otel_traces": ("Timestamp", raw_days),
        "otel_traces_trace_id_ts": ("Start", raw_days),
        "otel_logs": ("Timestamp", raw_days),
        **{f"otel_metrics_{kind}": ("TimeUnix", raw_days) for kind in METRIC_KINDS},
        "inferences": ("timestamp", facts_days),
        "sdk_reports": ("timestamp", facts_days),
        "evaluations": ("timestamp", facts_days),
        "engagement_events": ("timestamp", facts_days),
        "gpu_samples": ("timestamp", facts_days),
    }
    for table, (column, days) in wanted.items():
        clause = f"toDate({column}) + toIntervalDay({days})"
        query = (
            "SELECT create_table_query FROM system.tables WHERE database = currentDatabase() AND name = {table:String}"
        )
        present = str(client.query(query, parameters={"table": table}).result_rows[0][0])
        if f"TTL {clause}" not in present:
            # Parts are dropped whole, so there is nothing to rewrite now.
            client.command(f"ALTER TABLE {table} MODIFY TTL {clause}", settings={"materialize_ttl_after_modify": 0})
