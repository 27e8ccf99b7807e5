"""Sessions, one row each: of the calls that began in the window, so a session that reaches beyond it counts for its part.

A session is abandoned if an event `abandon` is about one of its calls, or names the session alone. The latter belongs to the
window of its own time; if the session has no call there, its newest call in the day before says where it belongs.

Columns: `turns` (traces: an agent's several calls for one question are one turn; 0 if only an event is in the window),
`minutes` (from the first call's begin to the last one's end), `abandoned`, `kept_weight` (the largest weight of its calls).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from monitor.kpis.dimensions import DIMENSIONS, WHERE_KEYS, where_sql
from monitor.kpis.estimators import POPULATION
from monitor.kpis.hours import HOUR_S, hour_keys, merged
from monitor.kpis.sources.engaged import engaged_sql
from monitor.kpis.sources.question import Question, Source, between, group_by, select_list
from monitor.kpis.units import SESSION_HOURS, SESSION_MINUTES, UNIT_KEYS, bucket_sql, period_sql, sampled, unit_sql
from monitor.store import Client
from monitor.store.calls import calls_source
from monitor.store.client import any_rows

_NS: Final = 10**9
_BEFORE_NS: Final = 86_400 * _NS
_COLUMNS: Final = (*DIMENSIONS, *(name for name in WHERE_KEYS if name not in DIMENSIONS), "duration_s", "sample_weight")
_BEGIN: Final = "toUnixTimestamp64Nano(timestamp)"
# Columns of `session_hours` for a single call.
CALL_PARTS: Final = {
    "unit": unit_sql("session_id"),
    "turns": "if(is_call = 1, [cityHash64(trace_id)], CAST([], 'Array(UInt64)'))",
    "begins_min": f"if(is_call = 1, {_BEGIN}, 9223372036854775807)",
    "ends_max": f"if(is_call = 1, {_BEGIN} + toInt64(duration_s * 1e9), 0)",
    "abandoned_max": "toUInt8(left_)",
    "kept__w_max": "sample_weight",
}
_PART: Final = tuple(CALL_PARTS)


def unit_select(question: Question, ingredients: Mapping[str, str], units: str, *, share: float = 1.0) -> str:
    """Aggregates over units (sessions, users) that have the question's keys; each counts once.

    `share` is the share of all units that is looked at.
    """
    rows = f"(SELECT *, toFloat64(1) AS sample_weight, {share!r} AS unit_share FROM ({units}))"
    return f"SELECT {select_list(question.keys, ingredients)} FROM {rows}{group_by(question)}"


def kept_columns() -> Mapping[str, str]:
    """Ingredients of every answer over units; `kept__w_max` tells whether their calls were sampled, `unit__share` whether they are."""
    return {**POPULATION, "kept__w_max": "max(kept_weight)", "unit__share": "max(unit_share)"}


def _build(client: Client, question: Question, ingredients: Mapping[str, str]) -> str:
    condition, _ = where_sql(question.where)
    found = sampled(client, question, SESSION_MINUTES) or sampled(client, question, SESSION_HOURS)
    if found is None:
        pieces, share = [_parts_of(client, question, question.start_ns, question.end_ns, condition)], 1.0
    else:
        share = found.share
        own = f"{condition} AND {found.of_units(unit_sql('session_id'))}"
        kept = f"SELECT {', '.join([*hour_keys(question), *_PART])} FROM {found.rows(found.first, found.last)} WHERE {condition}"
        ends = ((question.start_ns, found.first * _NS), (found.last * _NS, question.end_ns))
        pieces = [kept, *(_parts_of(client, question, start, end, own) for start, end in ends if start < end)]
    keys = "".join(f"{key}, " for key in question.keys)
    units = f"""SELECT {keys}unit, uniqExactArray(turns) AS turns, max(abandoned_max) AS abandoned, max(kept__w_max) AS kept_weight,
        if(turns = 0, 0, (max(ends_max) - min(begins_min)) / 60e9) AS minutes
        FROM (SELECT {keys}unit, turns AS their_turns, begins_min, ends_max, abandoned_max, kept__w_max FROM ({" UNION ALL ".join(pieces)}))
        GROUP BY {keys}unit""".replace("uniqExactArray(turns)", "uniqExactArray(their_turns)")
    return unit_select(question, ingredients, units, share=share)


def _parts_of(client: Client, question: Question, start_ns: int, end_ns: int, condition: str) -> str:
    """SELECT of the question's keys and `_PART`, a row for each call of sessions, or event of a session alone."""
    rows = session_calls(client, replace(question, start_ns=start_ns, end_ns=end_ns), condition)
    columns = replace(question, steps_from_ns=question.origin_ns).key_columns
    return f"SELECT {', '.join([*columns, *(f'{sql} AS {name}' for name, sql in CALL_PARTS.items())])} FROM ({rows})"


def session_calls(client: Client, question: Question, condition: str) -> str:
    """SELECT of the calls of sessions that meet a condition, and of events of sessions alone (`is_call` 0)."""
    columns = ", ".join(_COLUMNS)
    rows = engaged_sql(client, question.start_ns, question.end_ns, f"session_id != '' AND {condition}")
    pieces = [f"SELECT timestamp, {columns}, toUInt8(abandoned) AS left_, 1 AS is_call FROM {rows}"]
    lonely = (
        f"{between(question.start_ns, question.end_ns)} AND lower(kind) = 'abandon'"
        " AND trace_id = '' AND response_id = '' AND session_id != ''"
    )
    if any_rows(client, f"engagement_events WHERE {lonely}"):
        pieces.append(_by_session(client, question, columns, lonely, condition))
    return " UNION ALL ".join(pieces)


def sessions_made_of(client: Client, start: int, end: int, period_s: int = HOUR_S) -> str:
    """SELECT of the rows of `session_hours` of some hours (periods of so many seconds), from calls and events."""
    question = Question(start_ns=start * _NS, end_ns=end * _NS, where={}, groups_max=1)
    keys = ", ".join(UNIT_KEYS)
    parts = ", ".join(f"{sql} AS {name}" for name, sql in CALL_PARTS.items())
    rows = f"SELECT {period_sql(period_s)} AS period, {keys}, {parts} FROM ({session_calls(client, question, '1')})"
    sums = ", ".join(
        f"{merged(name, kind)} AS {name}" for name, kind in SESSION_HOURS.columns.items() if name != "rows__n"
    )
    return (
        f"SELECT period, {bucket_sql('unit')} AS bucket, unit, {keys}, count() AS rows__n, {sums}"
        f" FROM ({rows}) AS parts GROUP BY period, unit, {keys}"
    )


def _by_session(client: Client, question: Question, columns: str, lonely: str, condition: str) -> str:
    """Events of sessions alone, each as a row with its session's newest call before it, at the event's own time."""
    calls = calls_source(client, question.start_ns - _BEFORE_NS, question.end_ns)
    of_them = f"session_id IN (SELECT session_id FROM engagement_events WHERE {lonely})"
    events = f"SELECT session_id AS of_session, timestamp AS at FROM engagement_events FINAL WHERE {lonely}"
    told = f"""SELECT e.at AS timestamp, {", ".join(f"c.{name} AS {name}" for name in _COLUMNS)}, toUInt8(1) AS left_, 0 AS is_call
        FROM ({events}) AS e
        ASOF INNER JOIN (SELECT timestamp AS begun, {columns} FROM {calls} WHERE {of_them}) AS c
        ON e.of_session = c.session_id AND e.at >= c.begun"""
    # Filtered last: an event belongs where its session was, not to the newest call that a filter leaves.
    return f"SELECT * FROM ({told}) WHERE {condition}"


SESSIONS: Final = Source(
    name="sessions",
    rows="sessions (`session_id`) with a call, or an event `abandon`, in the window; one that uses two models is in both groups",
    nothing="no call of this window says its session",
    dimensions=DIMENSIONS,
    where_keys=WHERE_KEYS,
    population=kept_columns(),
    build=_build,
)
