"""Calls with what their users did with the answers, one row each.

An event belongs to the call whose trace it has, and of its calls to the one whose span it names; else (no span, or that of
something that is no model call) to the trace's last call: the answer. One that knows only the provider's response id belongs
to the call that had this response. A window is that in which the *call* began, however late the event comes.

Events of a session or a user alone say nothing of a call; those of a session are in `monitor.kpis.sources.sessions`.

Columns beside those of `calls`:

- `thumbs` : `up`, `down`, or empty; the newest counts.
- `commented`, `copied`, `regenerated`, `abandoned` : 1 or 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from monitor.kpis.dimensions import DIMENSIONS, WHERE_KEYS, where_sql
from monitor.kpis.estimators import POPULATION
from monitor.kpis.sources.question import Question, Source, between, group_by, select_list
from monitor.store import Client
from monitor.store.calls import REACH_NS, calls_source

# A clock that is behind dates an event before its call.
SLACK_NS: Final = 3600 * 10**9
FLAGS: Final = {"commented": "comment", "copied": "copy", "regenerated": "regenerate", "abandoned": "abandon"}


def events_sql(start_ns: int, end_ns: int) -> str:
    """Sub-select of events since a window's begin that are about a call, with the trace of each."""
    since = f"timestamp >= fromUnixTimestamp64Nano(toInt64({start_ns - SLACK_NS}))"
    traceless = f"SELECT response_id FROM engagement_events WHERE {since} AND trace_id = '' AND response_id != ''"
    return f"""(
SELECT if(e.trace_id = '', r.trace, e.trace_id) AS trace, if(e.trace_id = '', r.span, e.span_id) AS span,
    e.timestamp AS at, lower(e.kind) AS kind, lower(e.value) AS said
FROM (SELECT * FROM engagement_events FINAL WHERE {since} AND (trace_id != '' OR response_id != '')) AS e
LEFT ANY JOIN
(
    SELECT request_id AS response, any(trace_id) AS trace, any(span_id) AS span
    FROM inferences WHERE {between(start_ns, end_ns)} AND request_id != '' AND request_id IN ({traceless}) GROUP BY request_id
) AS r ON e.response_id = r.response
WHERE trace != ''
)"""


def engaged_sql(client: Client, start_ns: int, end_ns: int, condition: str) -> str:
    """Sub-select with one row per call of a window that meets a condition."""
    rows = calls_source(client, start_ns, end_ns)
    events = events_sql(start_ns, end_ns)
    about = f"trace_id IN (SELECT trace FROM {events})"
    # Of a trace that reaches beyond the window, an event is of one call, in it or not.
    near = calls_source(client, start_ns - REACH_NS, end_ns + REACH_NS)
    targets = f"""SELECT trace_id AS trace, groupArray(span_id) AS spans, argMax(span_id, (timestamp, span_id)) AS last
        FROM {near} WHERE {about} GROUP BY trace_id"""
    kinds = ", ".join(f"max(e.kind = '{kind}') AS {name}" for name, kind in FLAGS.items())
    flags = f"""SELECT t.trace AS of_trace, if(has(t.spans, e.span), e.span, t.last) AS of_span,
        argMaxIf(e.said, e.at, e.kind = 'thumbs') AS thumbs, {kinds}
        FROM {events} AS e INNER JOIN ({targets}) AS t ON e.trace = t.trace GROUP BY of_trace, of_span"""
    said = ", ".join(f"flags.{name} AS {name}" for name in ("thumbs", *FLAGS))
    return f"""(
SELECT calls.*, {said} FROM (SELECT * FROM {rows} WHERE {condition}) AS calls
LEFT ANY JOIN ({flags}) AS flags ON calls.trace_id = flags.of_trace AND calls.span_id = flags.of_span
)"""


def _build(client: Client, question: Question, ingredients: Mapping[str, str]) -> str:
    condition, _ = where_sql(question.where)
    rows = engaged_sql(client, question.start_ns, question.end_ns, condition)
    return f"SELECT {select_list(question.key_columns, ingredients)} FROM {rows}{group_by(question)}"


ENGAGED: Final = Source(
    name="engaged",
    rows="calls, each with the engagement events that are about it",
    nothing="no call in this window",
    dimensions=DIMENSIONS,
    where_keys=WHERE_KEYS,
    population=POPULATION,
    build=_build,
)
