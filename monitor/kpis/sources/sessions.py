"""Sessions, one row each: of the calls that began in the window, so a session that reaches beyond it counts for its part.

A session is abandoned if an event `abandon` is about one of its calls, or names the session alone. The latter belongs to the
window of its own time; if the session has no call there, its newest call in the day before says where it belongs.

Columns: `turns` (traces: an agent's several calls for one question are one turn; 0 if only an event is in the window),
`minutes` (from the first call's begin to the last one's end), `abandoned`, `kept_weight` (the largest weight of its calls).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from monitor.kpis.dimensions import DIMENSIONS, WHERE_KEYS, where_sql
from monitor.kpis.estimators import POPULATION
from monitor.kpis.sources.engaged import engaged_sql
from monitor.kpis.sources.question import Question, Source, between, group_by, select_list
from monitor.store import Client
from monitor.store.calls import calls_source

_BEFORE_NS: Final = 86_400 * 10**9
_COLUMNS: Final = (*DIMENSIONS, *(name for name in WHERE_KEYS if name not in DIMENSIONS), "duration_s", "sample_weight")


def unit_select(question: Question, ingredients: Mapping[str, str], units: str) -> str:
    """Aggregates over units (sessions, users) that have the question's keys; each counts once."""
    rows = f"(SELECT *, toFloat64(1) AS sample_weight FROM ({units}))"
    return f"SELECT {select_list(question.keys, ingredients)} FROM {rows}{group_by(question)}"


def kept_columns() -> Mapping[str, str]:
    """Ingredients of every answer over units; `kept__w_max` tells whether their calls were sampled."""
    return {**POPULATION, "kept__w_max": "max(kept_weight)"}


def _build(client: Client, question: Question, ingredients: Mapping[str, str]) -> str:
    condition, _ = where_sql(question.where)
    columns = ", ".join(_COLUMNS)
    rows = engaged_sql(client, question.start_ns, question.end_ns, f"session_id != '' AND {condition}")
    pieces = [f"SELECT timestamp, {columns}, toUInt8(abandoned) AS left_, 1 AS is_call FROM {rows}"]
    lonely = (
        f"{between(question.start_ns, question.end_ns)} AND lower(kind) = 'abandon'"
        " AND trace_id = '' AND response_id = '' AND session_id != ''"
    )
    if client.query(f"SELECT 1 FROM engagement_events WHERE {lonely} LIMIT 1").result_rows:
        pieces.append(_by_session(client, question, columns, lonely, condition))
    keys = "".join(f"{key}, " for key in question.keys)
    units = f"""SELECT {keys}session_id, uniqExactIf(trace_id, is_call = 1) AS turns, max(left_) AS abandoned,
        max(sample_weight) AS kept_weight,
        (maxIf(ends_ns, is_call = 1) - minIf(begins_ns, is_call = 1)) / 60e9 AS minutes
        FROM (SELECT {", ".join([*question.key_columns, "session_id", "trace_id", "left_", "is_call", "sample_weight"])},
            toUnixTimestamp64Nano(timestamp) AS begins_ns, begins_ns + toInt64(duration_s * 1e9) AS ends_ns
            FROM ({" UNION ALL ".join(pieces)}))
        GROUP BY {keys}session_id"""
    return unit_select(question, ingredients, units)


def _by_session(client: Client, question: Question, columns: str, lonely: str, condition: str) -> str:
    """Events of sessions alone, each as a row with its session's newest call before it, at the event's own time."""
    calls = calls_source(client, question.start_ns - _BEFORE_NS, question.end_ns)
    of_them = f"session_id IN (SELECT session_id FROM engagement_events WHERE {lonely})"
    events = f"SELECT session_id AS of_session, timestamp AS at FROM engagement_events FINAL WHERE {lonely}"
    return f"""SELECT e.at AS timestamp, {", ".join(f"c.{name} AS {name}" for name in _COLUMNS)}, toUInt8(1) AS left_, 0 AS is_call
        FROM ({events}) AS e
        ASOF INNER JOIN (SELECT timestamp AS begun, {columns} FROM {calls} WHERE {of_them} AND {condition}) AS c
        ON e.of_session = c.session_id AND e.at >= c.begun"""


SESSIONS: Final = Source(
    name="sessions",
    rows="sessions (`session_id`) with a call, or an event `abandon`, in the window; one that uses two models is in both groups",
    nothing="no call of this window says its session",
    dimensions=DIMENSIONS,
    where_keys=WHERE_KEYS,
    population=kept_columns(),
    build=_build,
)
