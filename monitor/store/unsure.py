"""Making sure of spans whose insert was cut off: that they are in the raw table, and in what views make of it.

ClickHouse's log of tokens (`non_replicated_deduplication_window`) and its parts are not written in one step: a token is
noted, then its part gets its name. A server that is killed in between comes back with the token and without the rows, and
takes the same insert again as one that it has (rare: 360 kills at chance moments did not show it; the same can happen to each
table that a view fills). So once an insert went wrong on its way and was answered with success when it was sent again, it is looked
whether its rows are there. Replicated tables note both in one step, and need none of this.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from monitor.store.adopt import SETTINGS, View, columns_of, fenced, reads_once, view_of
from monitor.store.client import Client, the_row
from monitor.store.flatten import literals

SpanId = tuple[str, str]
_RAW: Final = "otel_traces"
_BATCH: Final = 2000  # ids of a statement, which may be 256 KiB long
_FEW: Final = 64


def can_be_unsure(client: Client) -> bool:
    """Whether rows and tokens are written in two steps."""
    (plain,) = the_row(
        client,
        "SELECT countIf(engine = 'MergeTree') FROM system.tables WHERE database = currentDatabase() AND name = {name:String}",
        {"name": _RAW},
    )
    return bool(plain)


def absent(client: Client, spans: Iterable[SpanId]) -> set[SpanId]:
    """Which of these spans, trace and span id in hex, are not in the raw table."""
    wanted = set(spans)
    found: set[SpanId] = set()
    for traces in _batches(sorted({trace for trace, _ in wanted})):
        rows = client.query(
            f"SELECT DISTINCT TraceId, SpanId FROM {_RAW} WHERE TraceId IN ({literals(traces)})"
        ).result_rows
        found |= {(str(trace), str(span)) for trace, span in rows}
    return wanted - found


def fill_views(client: Client, traces: Iterable[str]) -> None:
    """Run the views of the raw table over the rows of these traces, where their tables lack any of a few of them.

    What an insert lost of a table it lost as a whole, of a day at least; so few tell.
    """
    listed = sorted(set(traces))
    if not listed:
        return
    attached = client.query(
        "SELECT arrayJoin(dependencies_table) FROM system.tables WHERE database = currentDatabase() AND name = {name:String}",
        parameters={"name": _RAW},
    ).result_rows
    for (name,) in attached:
        view = view_of(client, _RAW, str(name))
        if view is None or not reads_once(view) or (key := _key_of(client, view.target)) is None:
            continue
        columns = ", ".join(f"`{column}`" for column in columns_of(client, view))
        few = listed[:: max(1, len(listed) // _FEW)]
        if not client.query(f"SELECT count() {_lacking(view, key, few)}", settings=SETTINGS).result_rows[0][0]:
            continue
        for batch in _batches(listed):
            client.command(
                f"INSERT INTO {view.target} ({columns}) SELECT {columns} {_lacking(view, key, batch)}",
                settings=SETTINGS,
            )


def _lacking(view: View, key: str, traces: Iterable[str]) -> str:
    chosen = literals(traces)
    return (
        f"FROM ({fenced(view, f'TraceId IN ({chosen})')})"
        f" WHERE tuple({key}) NOT IN (SELECT tuple({key}) FROM {view.target} WHERE trace_id IN ({chosen}))"
    )


def _key_of(client: Client, table: str) -> str | None:
    """The columns by which two rows of a table are one; None where rows would count twice, or tell of no trace."""
    engine, key, traced = client.query(
        "SELECT engine, sorting_key, (SELECT count() FROM system.columns WHERE database = currentDatabase()"
        " AND table = {table:String} AND name = 'trace_id')"
        " FROM system.tables WHERE database = currentDatabase() AND name = {table:String}",
        parameters={"table": table},
    ).result_rows[0]
    return str(key) if "Replacing" in str(engine) and traced else None


def _batches(values: Sequence[str]) -> Iterator[list[str]]:
    return (list(values[at : at + _BATCH]) for at in range(0, len(values), _BATCH))
