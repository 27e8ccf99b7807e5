"""SQL of traces: search, one trace, and what is in the store. Whatever a user typed is bound by the server.

Searches read `inferences` without FINAL, which would merge everything before the newest 50 rows are known; a span that
was sent twice is dropped from the answer instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import pandas as pd

from dashboards.waterfall import Span
from monitor.kpis import DIMENSIONS, Window
from monitor.kpis.coverage import reach_of
from monitor.kpis.dimensions import dimension_sql, where_sql
from monitor.kpis.grains import HOUR, KEYS
from monitor.store import Client

PAGE_ROWS: Final = 50
COUNT_MAX: Final = 10_000
SPANS_MAX: Final = 5_000
VALUES_MAX: Final = 200
# Parts of a time, from its end, that a search for the newest looks at before it looks at all of it.
_LAST_PARTS: Final = (256, 16)
NS: Final = 10**9

CALLS: Final = "calls"
ROOTS: Final = "traces"
NEWEST: Final = "newest"
SLOWEST: Final = "slowest"


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is looked for. `where` is the filter bar's; the rest is the page's own.

    Parameters
    ----------
    kind : {"calls", "traces"}
        One row for each report of a model call, or for each trace (its first span).
    min_s : float
        Shortest duration, in seconds.
    text : str
        Part of a span's name, in any case.
    """

    kind: str
    start_ns: int
    end_ns: int
    where: tuple[tuple[str, tuple[str, ...]], ...] = ()
    min_s: float = 0.0
    errors: bool = False
    user: str = ""
    session: str = ""
    text: str = ""
    order: str = NEWEST


@dataclass(frozen=True, kw_only=True)
class _Query:
    rows: str
    parameters: dict[str, Any] = field(default_factory=dict)


def count(client: Client, search: Search) -> int:
    """Rows that a search finds, counted up to `COUNT_MAX` and one more."""
    query = _matching(search)
    result = client.query(
        f"SELECT count() FROM (SELECT 1 FROM {query.rows} LIMIT {COUNT_MAX + 1})", parameters=query.parameters
    )
    return int(result.result_rows[0][0])


def find(client: Client, search: Search, *, page: int) -> pd.DataFrame:
    """One page of what a search finds; pages count from 1."""
    for part in _newest_parts(search) if search.order == NEWEST else _slowest_part(client, search, page):
        found = _page(client, part, page)
        if len(found) == PAGE_ROWS:
            return found
    return _page(client, search, page)


def _newest_parts(search: Search) -> Iterator[Search]:
    """The newest are in the last part of the time, which is mostly enough to fill a page."""
    length_ns = search.end_ns - search.start_ns
    for share in _LAST_PARTS:
        yield replace(search, start_ns=max(search.start_ns, search.end_ns - length_ns // share))


def _slowest_part(client: Client, search: Search, page: int) -> Iterator[Search]:
    """Those from some duration on; durations alone are read fast. Twice as many as wanted, as a span may be there twice."""
    query = _matching(search)
    seconds = "toFloat64(duration_s)" if search.kind == CALLS else "Duration / 1e9"
    found = client.query(
        f"SELECT {seconds} AS seconds FROM {query.rows} ORDER BY seconds DESC NULLS LAST"
        f" LIMIT 1 OFFSET {2 * PAGE_ROWS * page}",
        parameters=query.parameters,
    ).result_rows
    if found and found[0][0]:
        yield replace(search, min_s=max(search.min_s, float(found[0][0])))


def _page(client: Client, search: Search, page: int) -> pd.DataFrame:
    query = _matching(search)
    columns, when, how_long, key = _CALL if search.kind == CALLS else _ROOT
    order = f"{when} DESC" if search.order == NEWEST else f"{how_long} DESC, {when} DESC"
    text = (
        f"SELECT {', '.join(f'{sql} AS {name}' for name, sql in columns.items())} FROM {query.rows} ORDER BY {order}"
        f" LIMIT 1 BY {key} LIMIT {PAGE_ROWS} OFFSET {PAGE_ROWS * (page - 1)}"
    )
    result = client.query(text, parameters=query.parameters)
    # An empty answer tells no names.
    return pd.DataFrame(result.result_rows, columns=list(columns))


_CALL: Final = (
    {
        "start_ns": "toUnixTimestamp64Nano(timestamp)",
        **{
            name: name
            for name in (
                "trace_id", "span_id", "service", "model", "node", "variant", "role", "duration_s", "ttft_s",
                "input_tokens", "output_tokens", "error_type", "finish_reason", "cancelled", "user_id", "session_id",
            )
        },
    },
    "timestamp",
    "duration_s",
    "trace_id, span_id",
)  # fmt: skip
_ROOT: Final = (
    {
        "start_ns": "toUnixTimestamp64Nano(Timestamp)",
        "trace_id": "TraceId",
        "span_id": "SpanId",
        "service": "ServiceName",
        "name": "SpanName",
        "duration_s": "Duration / 1e9",
        "failed": "StatusCode IN ('Error', 'STATUS_CODE_ERROR')",
    },
    "Timestamp",
    "Duration",
    "TraceId, SpanId",
)


def _matching(search: Search) -> _Query:
    return _calls(search) if search.kind == CALLS else _roots(search)


def _calls(search: Search) -> _Query:
    condition, found = where_sql(dict(search.where))
    conditions = [_between("timestamp"), condition]
    parameters: dict[str, Any] = _bounds(search) | found
    if search.min_s > 0:
        conditions.append("duration_s >= {min_s:Float64}")
        parameters["min_s"] = search.min_s
    if search.errors:
        conditions.append("error_type != ''")
    for column, value in (("user_id", search.user), ("session_id", search.session)):
        if value:
            conditions.append(f"{column} = {{{column}:String}}")
            parameters[column] = value
    if search.text:
        conditions.append(f"trace_id IN ({_NAMED})")
        parameters["text"] = search.text
    return _Query(rows=f"inferences WHERE {' AND '.join(conditions)}", parameters=parameters)


def _roots(search: Search) -> _Query:
    conditions = [_between("Timestamp"), "ParentSpanId = ''"]
    parameters = _bounds(search)
    where = dict(search.where)
    services = where.pop("service", ())
    if services:
        conditions.append("ServiceName IN {services:Array(String)}")
        parameters["services"] = list(services)
    if search.min_s > 0:
        conditions.append("Duration >= {min_ns:UInt64}")
        parameters["min_ns"] = round(search.min_s * 1e9)
    if search.errors:
        conditions.append(f"TraceId IN (SELECT TraceId FROM otel_traces WHERE {_between('Timestamp')} AND {_FAILED})")
    if search.text:
        conditions.append(f"TraceId IN ({_NAMED})")
        parameters["text"] = search.text
    # What spans without a model call do not have is asked of the calls in the same trace.
    if where or search.user or search.session:
        inner = _calls(
            Search(
                kind=CALLS,
                start_ns=search.start_ns,
                end_ns=search.end_ns,
                where=tuple(where.items()),
                user=search.user,
                session=search.session,
            )
        )
        conditions.append(f"TraceId IN (SELECT trace_id FROM {inner.rows})")
        parameters |= inner.parameters
    return _Query(rows=f"otel_traces WHERE {' AND '.join(conditions)}", parameters=parameters)


_FAILED: Final = "StatusCode IN ('Error', 'STATUS_CODE_ERROR')"


def _between(column: str) -> str:
    # Parameters are whole numbers; a call's parents began before it, so traces are cut at the window's edges.
    return f"{column} >= fromUnixTimestamp64Nano({{start_ns:Int64}}) AND {column} < fromUnixTimestamp64Nano({{end_ns:Int64}})"


_NAMED: Final = (
    f"SELECT TraceId FROM otel_traces WHERE {_between('Timestamp')}"
    " AND positionCaseInsensitiveUTF8(SpanName, {text:String}) > 0"
)


def _bounds(search: Search) -> dict[str, Any]:
    return {"start_ns": search.start_ns, "end_ns": search.end_ns}


@dataclass(frozen=True, kw_only=True)
class Trace:
    """Spans of one trace in the order of their starts; `total` may be more than there are in `spans`."""

    spans: tuple[Span, ...]
    total: int


def trace(client: Client, trace_id: str) -> Trace:
    """All spans of a trace, up to `SPANS_MAX`."""
    parameters: dict[str, Any] = {"trace_id": trace_id}
    bounds = client.query(
        "SELECT toInt64(min(toUnixTimestamp(Start))), toInt64(max(toUnixTimestamp(End))), count()"
        " FROM otel_traces_trace_id_ts WHERE TraceId = {trace_id:String}",
        parameters=parameters,
    ).result_rows[0]
    if not bounds[2]:
        return Trace(spans=(), total=0)
    # Ends are whole seconds, rounded down.
    parameters |= {"start_ns": bounds[0] * 10**9, "end_ns": (bounds[1] + 1) * 10**9}
    rows = f"otel_traces WHERE TraceId = {{trace_id:String}} AND {_between('Timestamp')}"
    total = client.query(f"SELECT uniqExact(SpanId) FROM {rows}", parameters=parameters).result_rows[0][0]
    result = client.query(
        f"SELECT {_SPAN} FROM {rows} ORDER BY Timestamp, SpanId LIMIT 1 BY SpanId LIMIT {SPANS_MAX}",
        parameters=parameters,
    )
    spans = tuple(_span(dict(zip(result.column_names, row, strict=True))) for row in result.result_rows)
    return Trace(spans=spans, total=int(total))


_SPAN: Final = (
    "toUnixTimestamp64Nano(Timestamp) AS start_ns, Duration AS duration_ns, SpanId AS span_id, ParentSpanId AS parent_id,"
    " SpanName AS name, SpanKind AS kind, ServiceName AS service, ScopeName AS scope, StatusCode AS status,"
    " StatusMessage AS message, SpanAttributes AS attributes, ResourceAttributes AS resource,"
    " arrayMap(t -> toUnixTimestamp64Nano(t), Events.Timestamp) AS event_times, Events.Name AS event_names,"
    " Events.Attributes AS event_attributes, Links.TraceId AS link_traces, Links.SpanId AS link_spans"
)


def _span(row: Mapping[str, Any]) -> Span:
    events = zip(row["event_times"], row["event_names"], row["event_attributes"], strict=True)
    return Span(
        span_id=row["span_id"],
        parent_id=row["parent_id"],
        name=row["name"],
        kind=row["kind"],
        service=row["service"],
        scope=row["scope"],
        start_ns=int(row["start_ns"]),
        duration_ns=int(row["duration_ns"]),
        failed=row["status"] in ("Error", "STATUS_CODE_ERROR"),
        message=row["message"],
        attributes=dict(row["attributes"]),
        resource=dict(row["resource"]),
        events=tuple((int(moment), str(name), dict(attributes)) for moment, name, attributes in events),
        links=tuple(zip(row["link_traces"], row["link_spans"], strict=True)),
    )


def first_tokens(client: Client, trace_id: str, spans: Sequence[Span]) -> dict[str, float]:
    """Span id -> seconds to the first token, for the trace's model calls; names of all dialects are known to the store."""
    if not spans:
        return {}
    parameters = {
        "trace_id": trace_id,
        "start_ns": min(span.start_ns for span in spans),
        "end_ns": max(span.start_ns for span in spans) + 1,
    }
    result = client.query(
        f"SELECT span_id, any(ttft_s) FROM inferences WHERE trace_id = {{trace_id:String}} AND {_between('timestamp')}"
        " AND isNotNull(ttft_s) GROUP BY span_id",
        parameters=parameters,
    )
    return {str(span_id): float(ttft_s) for span_id, ttft_s in result.result_rows}


def newest(client: Client) -> tuple[int | None, int | None]:
    """Start of the newest call and of the newest span, in nanoseconds; parts know their newest, so no row is read."""
    found = []
    for column, table in (("timestamp", "inferences"), ("Timestamp", "otel_traces")):
        row = client.query(f"SELECT toUnixTimestamp64Nano(max({column})), count() FROM {table}").result_rows[0]
        found.append(int(row[0]) if row[1] else None)
    return found[0], found[1]


def dimension_values(client: Client, window: Window, dimensions: Sequence[str]) -> dict[str, list[str]]:
    """Values that calls of the window have, in order; at most 200 of each dimension.

    Hours that are added up already tell them, where they know the dimension, and so may begin up to an hour before the window.
    """
    assert set(dimensions) <= set(DIMENSIONS), f"not all of {dimensions} are dimensions"
    hours = next((reach for reach in reach_of(client) if reach.grain is HOUR), None)
    rolled = [name for name in dimensions if name in KEYS] if hours is not None else []
    found: dict[str, list[str]] = {}
    if hours is not None and rolled:
        first, last = max(hours.since, HOUR.floor(window.start_ns // NS)), min(hours.until, -(-window.end_ns // NS))
        periods = f"period >= toDateTime({first}) AND period < toDateTime({last})"
        newer = f"{_between('timestamp')} AND NOT (timestamp >= toDateTime({first}) AND timestamp < toDateTime({last}))"
        names = ", ".join(rolled)
        rows = (
            f"SELECT {names} FROM {HOUR.table} WHERE {periods} UNION ALL SELECT {names} FROM inferences WHERE {newer}"
        )
        found |= _values(client, rolled, f"({rows})", window)
    rest = [name for name in dimensions if name not in found]
    if rest:
        found |= _values(client, rest, f"inferences WHERE {_between('timestamp')}", window)
    return {name: found[name] for name in dimensions}


def _values(client: Client, dimensions: Sequence[str], rows: str, window: Window) -> dict[str, list[str]]:
    columns = ", ".join(f"groupUniqArray({VALUES_MAX})({dimension_sql(name)})" for name in dimensions)
    row = client.query(
        f"SELECT {columns} FROM {rows}", parameters={"start_ns": window.start_ns, "end_ns": window.end_ns}
    ).result_rows[0]
    return {name: sorted(map(str, values)) for name, values in zip(dimensions, row, strict=True)}
