"""Views that are newer than the rows of the table that they read: carrying history over.

A materialized view sees what is inserted after it was made. A database that the OpenTelemetry Collector's ClickHouse
exporter filled before we came has rows that no view of ours has seen, and so has our own store when a release adds a
view. Before the schema is changed, `plan` notes which views each raw table has; afterwards `back_fill` runs the query of
each view that is new over the table's history, newest day first, in chunks that bound memory. What is done is noted
chunk by chunk, so it can be stopped, or killed, at any point.

Rows that arrive meanwhile pass the view and may be back-filled as well: they are left out where they are there already,
and what slips through in the moment between is one row to whoever reads with FINAL.
"""

from __future__ import annotations

import itertools
import logging
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from monitor.errors import StoreError
from monitor.store.client import Client
from monitor.store.cluster import LOCAL, Layout
from monitor.store.migrate import Migration, known_migrations

logger = logging.getLogger(__name__)

# Raw table -> its column of time.
RAW: Final = {
    "otel_traces": "Timestamp",
    "otel_logs": "Timestamp",
    **{
        f"otel_metrics_{kind}": "TimeUnix" for kind in ("gauge", "sum", "histogram", "exponential_histogram", "summary")
    },
}
# Kept as long as the exporter's own settings say, though nothing is read from it by a view.
_EXPORTERS: Final = (*RAW, "otel_traces_trace_id_ts")
# Columns that exporters of 2022 did not have yet.
_LATER_COLUMNS: Final = ("ScopeName", "ScopeVersion")
# A table that several rows for one thing do no harm: it is read with min and max.
_HARMLESS: Final = "otel_traces_trace_id_ts"
# A day with more rows is carried over hour by hour.
DAY_ROWS: Final = 2_000_000
_NEVER: Final = 10**15
# Of what a view's query inserts.
SETTINGS: Final[dict[str, Any]] = {
    "async_insert": 0,
    "max_insert_threads": 1,
    # As for segments: a pass that hashes all of the view's sub-selects, and finds nothing in them.
    "optimize_and_compare_chain": 0,
    "max_partitions_per_insert_block": 0,
    "throw_on_max_partitions_per_insert_block": 0,
}

_VIEWS: Final = re.compile(r"^CREATE MATERIALIZED VIEW IF NOT EXISTS (\w+)", re.MULTILINE)
_ACCOUNT: Final = """
CREATE TABLE IF NOT EXISTS schema_back_fills
(
    source String,
    view String,
    item String,
    rows UInt64,
    at DateTime64(3) DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(at)
ORDER BY (source, view, item)
"""
_PLANNED: Final = "planned"  # of a source: its views are looked after here
_FOREIGN: Final = "foreign"  # of a source: the exporter made it
_HAD: Final = "had"  # of a view: it was there before
_DONE: Final = "done"  # of a view: all history is carried over


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What was carried over of one view: `done` of `total` chunks, the latest of them and its rows."""

    view: str
    target: str
    chunk: str
    rows: int
    done: int
    total: int


@dataclass(frozen=True, kw_only=True)
class View:
    """One of our views: the table that it reads, the one that it fills, and its query."""

    source: str
    name: str
    target: str
    select: str


def plan(client: Client, layout: Layout | None = None) -> None:
    """Note which views each raw table has, before migrations add to them; make an exporter's tables fit for ours.

    Raises
    ------
    StoreError
        If an exporter made tables that the views cannot read.
    """
    query = (
        "SELECT name, engine, dependencies_table FROM system.tables"
        " WHERE database = currentDatabase() AND name IN {names:Array(String)} ORDER BY name"
    )
    names = [f"{name}{LOCAL}" for name in RAW] if layout is not None else list(_EXPORTERS)
    present = client.query(query, parameters={"names": names}).result_rows
    if not present:
        return
    foreign = not client.command("EXISTS TABLE schema_migrations")
    if foreign:
        _make_fit(client, [(str(name), str(engine)) for name, engine, _ in present])
    client.command(_ACCOUNT)
    noted = {(source, view) for source, view, _ in _account(client)}
    for source, _, views in present:
        if (source, "") in noted:
            continue
        # The source last: it says that its account is whole.
        for view in views:
            _note(client, str(source), str(view), _HAD)
        _note(client, str(source), "", _FOREIGN if foreign else _PLANNED)


def foreign_tables(client: Client) -> set[str]:
    """Tables that an exporter made, whose retention is the exporter's."""
    return {source for source, view, item in _account(client) if not view and item == _FOREIGN}


def unfinished(client: Client, known: list[Migration] | None = None) -> list[str]:
    """Views that lack history."""
    return [view.name for view in _open_views(client, known)]


def back_fill(
    client: Client,
    *,
    keep_days: int,
    on_progress: Callable[[Progress], None] | None = None,
    stop: threading.Event | None = None,
    known: list[Migration] | None = None,
) -> bool:
    """Carry history over into all tables that lack it; whether all is done.

    Parameters
    ----------
    client : Client
        Of the database, which is migrated.
    keep_days : int
        What is older would be dropped from the facts at once, and is left out.
    on_progress : callable, optional
        Called after each chunk.
    stop : threading.Event, optional
        Looked at between two chunks.
    known : list of Migration, optional
        Whose views are looked after; those of this release.
    """
    for view in _open_views(client, known):
        if not _back_fill_view(client, view, keep_days, on_progress, stop):
            return False
        _note(client, view.source, view.name, _DONE)
    return True


def _make_fit(client: Client, tables: list[tuple[str, str]]) -> None:
    for table, engine in tables:
        query = "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {table:String}"
        columns = {str(name): str(kind) for name, kind in client.query(query, parameters={"table": table}).result_rows}
        for name in ("ResourceAttributes", "SpanAttributes", "LogAttributes", "Attributes"):
            if name in columns and not columns[name].startswith("Map("):
                raise StoreError(
                    f"the table `{table}` has {name} as {columns[name]}, and the monitor reads maps; turn off `json` of the"
                    " clickhouse exporter, or name another database in store.url"
                )
        if table == "otel_traces":
            for name in _LATER_COLUMNS:
                client.command(f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {name} String CODEC(ZSTD(1))")
        if engine.startswith("Replicated"):
            # A segment may be inserted again days later, when the store was away.
            client.command(f"ALTER TABLE {table} MODIFY SETTING replicated_deduplication_window_seconds = 604800")


def _account(client: Client) -> list[tuple[str, str, str]]:
    if not client.command("EXISTS TABLE schema_back_fills"):
        return []
    rows = client.query("SELECT source, view, item FROM schema_back_fills FINAL").result_rows
    return [(str(source), str(view), str(item)) for source, view, item in rows]


def _note(client: Client, source: str, view: str, item: str, rows: int = 0) -> None:
    client.insert(
        "schema_back_fills",
        [[source, view, item, rows]],
        column_names=["source", "view", "item", "rows"],
        settings={"async_insert": 0},
    )


def _open_views(client: Client, known: list[Migration] | None) -> list[View]:
    account = _account(client)
    # Somebody else's view on a raw table is somebody else's matter. Ours in the order in which they were thought of.
    ours = [
        name
        for migration in (known_migrations() if known is None else known)
        for name in _VIEWS.findall(migration.text)
    ]
    planned = sorted({source for source, view, _ in account if not view})
    settled = {(source, view) for source, view, item in account if item in (_HAD, _DONE)}
    found = []
    for source in planned:
        query = (
            "SELECT dependencies_table FROM system.tables WHERE database = currentDatabase() AND name = {name:String}"
        )
        rows = client.query(query, parameters={"name": source}).result_rows
        attached = {str(view) for view in rows[0][0]} if rows else set()
        views = [view for view in ours if view in attached and (source, view) not in settled]
        found += [view_of(client, source, view) for view in views]
    return [view for view in found if view is not None]


def view_of(client: Client, source: str, name: str) -> View | None:
    """A view by its name; None if there is none, or it is no materialized view into a table."""
    query = (
        "SELECT create_table_query, as_select FROM system.tables"
        " WHERE database = currentDatabase() AND name = {name:String} AND engine = 'MaterializedView'"
    )
    rows = client.query(query, parameters={"name": name}).result_rows
    if not rows:
        return None
    create, select = (str(value) for value in rows[0])
    match = re.search(r"\sTO (?:`?[\w-]+`?\.)?`?(\w+)`?[\s(]", create[: create.index(" AS ")] + " ")
    if match is None:
        return None
    return View(source=source, name=name, target=match.group(1), select=select)


def _back_fill_view(
    client: Client,
    view: View,
    keep_days: int,
    on_progress: Callable[[Progress], None] | None,
    stop: threading.Event | None,
) -> bool:
    target = client.query(
        "SELECT engine, sorting_key FROM system.tables WHERE database = currentDatabase() AND name = {name:String}",
        parameters={"name": view.target},
    ).result_rows[0]
    engine, sorting_key = (str(value) for value in target)
    replacing = "Replacing" in engine
    if not replacing and not view.target.startswith(_HARMLESS) and not _idempotent(client, view.target):
        logger.warning("%s holds no history: rows that came twice would count twice there", view.target)
        return True
    done = {item for source, name, item in _account(client) if (source, name) == (view.source, view.name)}
    time_column = RAW[view.source.removesuffix(LOCAL)]
    chunks = list(_chunks(client, view.source, time_column, keep_days))
    columns = columns_of(client, view)
    for number, (label, begin, end) in enumerate(chunks, 1):
        if stop is not None and stop.is_set():
            return False
        if label in done:
            continue
        # Only where a row is all there is to know of its key may it be left out because the key is there.
        known_key = sorting_key if replacing else None
        rows = _insert_chunk(client, view, columns, known_key, time_column, begin, end)
        _note(client, view.source, view.name, label, rows)
        if on_progress is not None:
            on_progress(
                Progress(view=view.name, target=view.target, chunk=label, rows=rows, done=number, total=len(chunks))
            )
    return True


def _idempotent(client: Client, table: str) -> bool:
    """Whether a table that aggregates comes to the same if rows come twice."""
    query = (
        "SELECT engine LIKE '%AggregatingMergeTree', (SELECT countIf(match(type, 'AggregateFunction')"
        " AND NOT match(type, '^SimpleAggregateFunction\\\\((min|max|any|anyLast|minMap|maxMap),')) FROM system.columns"
        " WHERE database = currentDatabase() AND table = {table:String})"
        " FROM system.tables WHERE database = currentDatabase() AND name = {table:String}"
    )
    aggregating, others = client.query(query, parameters={"table": table}).result_rows[0]
    return bool(aggregating) and not int(others)


def _chunks(client: Client, source: str, time_column: str, keep_days: int) -> Iterator[tuple[str, datetime, datetime]]:
    """Label, begin and end of each stretch with rows, the newest first."""
    hour = f"toStartOfHour({time_column}, 'UTC')"
    hours = f"SELECT {hour} AS hour, count() AS rows FROM {source} WHERE {time_column} >= now() - toIntervalDay({keep_days}) GROUP BY hour"
    query = f"SELECT toUnixTimestamp(hour) AS begin, rows FROM ({hours}) ORDER BY begin DESC"
    found = [(datetime.fromtimestamp(int(begin), UTC), int(rows)) for begin, rows in client.query(query).result_rows]
    for day, group in itertools.groupby(found, key=lambda each: each[0].replace(hour=0)):
        of_day = list(group)
        if sum(rows for _, rows in of_day) <= DAY_ROWS:
            yield f"{day:%Y-%m-%d}", day, day + timedelta(days=1)
        else:
            for at, _ in of_day:
                yield f"{at:%Y-%m-%d %H}h", at, at + timedelta(hours=1)


def columns_of(client: Client, view: View) -> list[str]:
    """Columns that the view gives; they reach its target by name, as they do when it sees an insert."""
    return [str(row[0]) for row in client.query(f"DESCRIBE ({view.select})").result_rows]


def _insert_chunk(
    client: Client,
    view: View,
    columns: list[str],
    sorting_key: str | None,
    time_column: str,
    begin: datetime,
    end: datetime,
) -> int:
    """Carry one stretch over, without rows that are there already; returns how many."""
    chosen = _between(time_column, begin, end)
    listed = ", ".join(f"`{name}`" for name in columns)
    present, total = "", f"SELECT count() FROM {view.target}"
    if "timestamp" in columns:
        # What a view makes of a row may carry another time than the row, such as that of an event in a span.
        near = _between("timestamp", begin - timedelta(days=1), end + timedelta(days=1))
        total += f" WHERE {near}"
        if sorting_key is not None and int(str(client.command(total))):
            present = (
                f" WHERE tuple({sorting_key}) NOT IN (SELECT tuple({sorting_key}) FROM {view.target} WHERE {near})"
            )
    before = int(str(client.command(total)))
    filters = "{" + f"'{client.database}.{view.source}': '{chosen}'" + "}"
    client.command(
        f"INSERT INTO {view.target} ({listed}) SELECT {listed} FROM ({fenced(view)}){present}",
        settings={
            **SETTINGS,
            "additional_table_filters": filters,
        },
    )
    return max(0, int(str(client.command(total))) - before)


def fenced(view: View, condition: str = "1") -> str:
    """The view's query over those rows of its table, with a limit that is never reached around them; as it is if it does not
    read the table once.

    The planner carries no condition through a limit. Without one it looks for conditions on the table in all levels of
    the view's expressions, which takes nine times as long as the rows of a small chunk (measured; the rows are the same).
    """
    if not reads_once(view):
        return view.select
    return _table(view).sub(lambda found: f"FROM (SELECT * {found[0]} WHERE {condition} LIMIT {_NEVER})", view.select)


def reads_once(view: View) -> bool:
    """Whether the view's query names its table once."""
    return len(_table(view).findall(view.select)) == 1


def _table(view: View) -> re.Pattern[str]:
    return re.compile(rf"\bFROM ((?:`[^`]+`|\w+)\.)?(`?){re.escape(view.source)}\2(?![\w`])")


def _between(column: str, begin: datetime, end: datetime) -> str:
    first, last = (f"toDateTime({int(moment.timestamp())})" for moment in (begin, end))
    return f"{column} >= {first} AND {column} < {last}"
