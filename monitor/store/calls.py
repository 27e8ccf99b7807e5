"""One row per call, from one row per party of the call.

A request may be reported by the client that made it, by a gateway on its way and by the engine that served it, each
with a span of its own in one trace. Spans arrive in any order and from different machines, so the rows of
`inferences` cannot be merged as they are written; whoever counts calls reads through this module instead.

The outermost party's row stands for the call. An inner row belongs to an outer one of the same trace if it is its
child, or else if the two overlap in time: with HTTP instrumentation between the two, it is not its direct child. What
only the inner parties know is taken from the innermost that says it: where it ran, and how long it queued, prefilled
and decoded.
"""

from __future__ import annotations

from typing import Final

from monitor.store.client import Client
from monitor.store.dialects import INFERENCES_COLUMNS

SLACK_NS: Final = 10**9  # clocks of two machines differ by less than this
REACH_NS: Final = 3600 * 10**9  # no call lasts longer than this

_WHERE_IT_RAN: Final = ("node", "gpu", "region", "deployment", "pricing", "variant")
_STAGES: Final = ("queue_s", "prefill_s", "decode_s")
_FILLED: Final = (
    "ttft_s", "tpot_s", "input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens",
    "cost_usd", "stream",
)  # fmt: skip
_FILLED_TEXT: Final = ("model", "provider", "finish_reason", "request_id", "session_id", "user_id")
_RANK: Final = "transform(role, ['client', 'gateway', 'engine'], [0, 1, 2], 0)"


def calls_source(client: Client, start_ns: int, end_ns: int) -> str:
    """Sub-select with the columns of `inferences`, one row per call begun in [start_ns, end_ns).

    Merging is paid for only where more than one party reported: a look at the small column `role` tells.
    """
    query = f"SELECT uniqExact(role) FROM inferences WHERE {_between('timestamp', start_ns, end_ns + REACH_NS)}"
    return calls_sql(start_ns, end_ns, mixed=int(client.query(query).result_rows[0][0]) > 1)


def calls_sql(start_ns: int, end_ns: int, *, mixed: bool = True) -> str:
    """The same without a look at the store; `mixed` says whether parties must be merged."""
    columns = ", ".join(INFERENCES_COLUMNS)
    window = _between("timestamp", start_ns, end_ns)
    if not mixed:
        return f"(SELECT {columns} FROM inferences FINAL WHERE {window})"
    pairs = _pairs_sql(start_ns, end_ns)
    merged = ", ".join(_merged(column) for column in INFERENCES_COLUMNS)
    inner = ", ".join(
        f"argMaxIf({column}, (rank, duration_s), {_known(column)}) AS inner_{column}"
        for column in (*_WHERE_IT_RAN, *_STAGES, *_FILLED, *_FILLED_TEXT)
    )
    return f"""(
SELECT {merged}
FROM
(
    SELECT {columns} FROM inferences FINAL
    WHERE {window} AND (trace_id, span_id) NOT IN (SELECT trace_id, span_id FROM {pairs})
) AS outermost
LEFT ANY JOIN
(
    SELECT trace_id, outer_span_id, {inner} FROM {pairs} GROUP BY trace_id, outer_span_id
) AS inner_calls
ON outermost.trace_id = inner_calls.trace_id AND outermost.span_id = inner_calls.outer_span_id
)"""


def _between(column: str, start_ns: int, end_ns: int) -> str:
    start, end = (f"fromUnixTimestamp64Nano(toInt64({int(value)}))" for value in (start_ns, end_ns))
    return f"{column} >= {start} AND {column} < {end}"


def _known(column: str) -> str:
    return f"notEmpty({column})" if column in _WHERE_IT_RAN + _FILLED_TEXT else f"isNotNull({column})"


def _merged(column: str) -> str:
    own, inner = f"outermost.{column}", f"inner_calls.inner_{column}"
    if column in _WHERE_IT_RAN:
        return f"if(notEmpty({inner}), {inner}, {own}) AS {column}"
    if column in _STAGES:
        return f"coalesce({inner}, {own}) AS {column}"
    if column in _FILLED:
        return f"coalesce({own}, {inner}) AS {column}"
    if column in _FILLED_TEXT:
        return f"if(notEmpty({own}), {own}, {inner}) AS {column}"
    return f"{own} AS {column}"


def _pairs_sql(start_ns: int, end_ns: int) -> str:
    """Each inner row with the span id of the outermost row that it belongs to."""
    reach = _between("timestamp", start_ns - REACH_NS, end_ns + REACH_NS)
    start = "toUnixTimestamp64Nano(timestamp)"
    spans = f"{start} AS start_ns, {start} + toInt64(duration_s * 1e9) AS end_ns, {_RANK} AS rank"
    wanted = ", ".join((*_WHERE_IT_RAN, *_STAGES, *_FILLED, *_FILLED_TEXT))
    carried = ", ".join(
        f"any(i.{column}) AS {column}" for column in (*_WHERE_IT_RAN, *_STAGES, *_FILLED, *_FILLED_TEXT)
    )
    inner_rows = f"SELECT trace_id, span_id, parent_span_id, {spans}, duration_s, {wanted} FROM inferences FINAL"
    is_inner = f"role != 'client' AND parent_span_id != '' AND {reach}"
    return f"""(
    SELECT i.trace_id AS trace_id, i.span_id AS span_id, any(i.rank) AS rank, any(i.duration_s) AS duration_s, {carried},
        argMin(o.span_id, (o.rank, i.parent_span_id != o.span_id, abs(i.start_ns - o.start_ns))) AS outer_span_id
    FROM ({inner_rows} WHERE {is_inner}) AS i
    INNER JOIN
    (
        SELECT trace_id, span_id, {spans} FROM inferences FINAL
        WHERE role != 'engine' AND {reach} AND trace_id IN (SELECT trace_id FROM inferences WHERE {is_inner})
    ) AS o ON i.trace_id = o.trace_id
    WHERE o.rank < i.rank
        AND (i.parent_span_id = o.span_id OR (i.start_ns < o.end_ns + {SLACK_NS} AND i.end_ns + {SLACK_NS} > o.start_ns))
    GROUP BY i.trace_id, i.span_id
)"""
