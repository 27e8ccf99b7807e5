"""Which call an evaluation is about, and calls with what was said of them.

An evaluation names a span, or a trace alone, or the provider's id of an answer. It is about

- the call whose span it names;
- or else, if it names a trace but none of its calls (a span in between, an inner party's, or no span), the call of that
  trace which ended last: who judges a conversation or an agent's run judges the answer that came out. Its other calls
  are not judged by it: one judgement is one judgement, not five;
- or, if it names no trace, the call with that response id.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from monitor.store.calls import REACH_NS, calls_source
from monitor.store.client import Client
from monitor.store.stages import ID, START

# An evaluation may be older than its call by what clocks differ, and by a moderation that came first; it is not by more.
_BEFORE_NS: Final = REACH_NS
_END: Final = f"{START} + toInt64(duration_s * 1e9)"
CALL: Final = "call_id"


def judged_source(
    client: Client,
    start_ns: int,
    end_ns: int,
    *,
    condition: str,
    columns: Mapping[str, str],
    table: str = "evaluations",
    late: bool = True,
    every_call: bool = True,
) -> str:
    """Sub-select of the calls begun in [start_ns, end_ns) with aggregates over their evaluations.

    Parameters
    ----------
    client : Client
    start_ns, end_ns : int
        Unix time in ns.
    condition : str
        SQL: which evaluations.
    columns : mapping
        Name -> SQL aggregate over the evaluations of a call; beside them stands `evaluated`, their number. A call without
        any has 0 and the types' defaults.
    table : {"evaluations", "engagement_events"}
        Both name calls in the same way.
    late : bool
        Whether evaluations count however late they come; else those up to an hour after the window.
    every_call : bool
        Whether calls without any evaluation are rows too.
    """
    calls = calls_source(client, start_ns, end_ns)
    rows = _evaluations(table, condition, start_ns, end_ns, late=late)
    aggregates = {"evaluated": "count()", **columns}
    matched = _matched(client, rows, start_ns, end_ns)
    if not matched:
        # What such aggregates say of nothing, without a join of all calls with it.
        nothing = ", ".join(f"(SELECT {sql} FROM {rows} WHERE 0) AS {name}" for name, sql in aggregates.items())
        return f"(SELECT *, {nothing} FROM {calls} WHERE {int(every_call)})"
    said = ", ".join(f"{sql} AS {name}" for name, sql in aggregates.items())
    taken = ", ".join(f"said.{name} AS {name}" for name in aggregates)
    return f"""(
    SELECT calls.*, {taken}
    FROM (SELECT *, {ID} AS id FROM {calls}) AS calls
    {"LEFT ANY JOIN" if every_call else "INNER JOIN"}
    (
        SELECT {CALL}, {said} FROM ({" UNION ALL ".join(matched)}) GROUP BY {CALL}
    ) AS said ON calls.id = said.{CALL}
)"""


def _matched(client: Client, rows: str, start_ns: int, end_ns: int) -> list[str]:
    """SELECTs of the evaluations with the call that each is about."""
    by_span, by_trace, by_response = _how_named(client, rows, start_ns, end_ns)
    wide = calls_source(client, start_ns - REACH_NS, end_ns + REACH_NS) if by_trace or by_response else ""
    matched = [f"SELECT *, {ID} AS {CALL} FROM {rows} WHERE trace_id != '' AND span_id != ''"] if by_span else []
    matched += [_of_traces(rows, wide)] if by_trace else []
    return matched + ([_of_responses(rows, wide)] if by_response else [])


def _evaluations(table: str, condition: str, start_ns: int, end_ns: int, *, late: bool) -> str:
    since = f"timestamp >= {_moment(start_ns - _BEFORE_NS)}"
    until = "" if late else f" AND timestamp < {_moment(end_ns + REACH_NS)}"
    return f"(SELECT * FROM {table} FINAL WHERE {since}{until} AND ({condition}))"


def _how_named(client: Client, rows: str, start_ns: int, end_ns: int) -> tuple[bool, bool, bool]:
    """Whether any names a span of a call, only a trace, only a response: what does not occur need not be joined."""
    reach = f"timestamp >= {_moment(start_ns - REACH_NS)} AND timestamp < {_moment(end_ns + REACH_NS)}"
    named = f"trace_id IN (SELECT trace_id FROM {rows})"
    spans = f"SELECT {ID} FROM inferences WHERE {reach} AND {named}"
    # Most that name no span of these are about calls of another time.
    inside = f"timestamp >= {_moment(start_ns)} AND timestamp < {_moment(end_ns)}"
    traces = f"SELECT trace_id FROM inferences WHERE {inside} AND {named}"
    by_span, by_trace, by_response, roles = client.query(
        f"SELECT countIf(span_id != '' AND {ID} IN ({spans})),"
        f" countIf(trace_id != '' AND trace_id IN ({traces}) AND (span_id = '' OR {ID} NOT IN ({spans}))),"
        f" countIf(trace_id = '' AND response_id != ''), (SELECT uniq(role, scope) FROM inferences WHERE {reach}) FROM {rows}"
    ).result_rows[0]
    # Where one call has several rows, an evaluation may name an inner one of them.
    return bool(by_span), bool(by_trace or (by_span and roles > 1)), bool(by_response)


def _of_traces(rows: str, wide: str) -> str:
    traces = f"trace_id IN (SELECT trace_id FROM {rows} WHERE trace_id != '')"
    ids = f"SELECT {ID} FROM {wide} WHERE {traces}"
    last = f"SELECT trace_id, argMax({ID}, ({_END}, {START}, span_id)) AS last_id FROM {wide} WHERE {traces} GROUP BY trace_id"
    return f"""SELECT e.*, last.last_id AS {CALL}
        FROM (SELECT * FROM {rows} WHERE trace_id != '' AND (span_id = '' OR {ID} NOT IN ({ids}))) AS e
        INNER JOIN ({last}) AS last ON e.trace_id = last.trace_id"""


def _of_responses(rows: str, wide: str) -> str:
    known = f"SELECT response_id FROM {rows} WHERE trace_id = '' AND response_id != ''"
    last = f"argMax({ID}, ({_END}, {START}, span_id)) AS last_id"
    answers = f"SELECT request_id, {last} FROM {wide} WHERE request_id IN ({known}) GROUP BY request_id"
    return f"""SELECT e.*, answers.last_id AS {CALL}
        FROM (SELECT * FROM {rows} WHERE trace_id = '' AND response_id != '') AS e
        INNER JOIN ({answers}) AS answers ON e.response_id = answers.request_id"""


def _moment(ns: int) -> str:
    return f"fromUnixTimestamp64Nano(toInt64({int(ns)}))"
