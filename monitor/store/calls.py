"""One row per call, from one row per party of the call.

A request may be reported by the client that made it, by a gateway on its way and by the engine that served it, each
with a span of its own in one trace. Spans arrive in any order and from different machines, so the rows of
`inferences` cannot be merged as they are written; whoever counts calls reads through this module instead.

The outermost party's row stands for the call. An inner row belongs to an outer one of the same trace

- if it is its child, whatever the two roles are: two libraries that are both instrumented report one call as leaf in
  leaf. A span that is no model call between the two breaks this: a tool that asks a model on behalf of another model's
  call looks just the same, and a call that is counted twice can be seen, one that is dropped cannot. Nor are calls of
  one role merged since they overlap in time: parallel calls do.
- or else if its role is an inner one (engine in gateway in client) and the two overlap in time: with HTTP
  instrumentation between the two, it is not its child.

What only the inner parties know is taken from the innermost that says it: where it ran, and how long it queued,
prefilled and decoded. Such times may also be told by stages of the call, which `monitor.store.stages` adds to the row.
"""

from __future__ import annotations

from typing import Final

from monitor.store.client import Client, any_rows
from monitor.store.dialects import INFERENCES_COLUMNS
from monitor.store.parties import DEPTH, EVERYTHING, Merging, pairs_sql
from monitor.store.stages import ID, PARENT, TIMES, rows_sql

REACH_NS: Final = 3600 * 10**9  # no call lasts longer than this
_HOUR_NS: Final = 3600 * 10**9

_WHERE_IT_RAN: Final = ("node", "gpu", "region", "deployment", "pricing", "variant")
_FILLED: Final = (
    "ttft_s", "tpot_s", "input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens",
    "cost_usd", "stream",
)  # fmt: skip
_FILLED_TEXT: Final = ("model", "provider", "finish_reason", "request_id", "session_id", "user_id")
_TAKEN: Final = (*_WHERE_IT_RAN, *TIMES, *_FILLED, *_FILLED_TEXT)


def any_calls(client: Client) -> bool:
    """Whether there is any call yet."""
    return any_rows(client, "inferences")


def calls_source(client: Client, start_ns: int, end_ns: int) -> str:
    """Sub-select with the columns of `inferences`, one row per call begun in [start_ns, end_ns)."""
    return calls_sql(start_ns, end_ns, merging=_merging(client, start_ns, end_ns))


def _merging(client: Client, start_ns: int, end_ns: int) -> Merging:
    """A look at small columns tells whether a call may have more than one row, as it mostly cannot.

    It may if there are several roles, or a service with several instrumentations, one of which may wrap another; only
    then is it looked whether there are children at all. The look is at whole hours: windows of one moment, of which a page
    asks many, share its answer, and what is found beside the window only makes the statement more careful.
    """
    start_ns, end_ns = start_ns // _HOUR_NS * _HOUR_NS, -(-end_ns // _HOUR_NS) * _HOUR_NS
    # What belongs to a call may begin as long after the window as a call lasts.
    after = _between("timestamp", start_ns, end_ns + REACH_NS)
    seen = f"FROM inferences WHERE {after}"
    staged = f"(SELECT count() FROM inference_stages WHERE {after})"
    query = f"SELECT uniqExact(role), max(dialect = 'litellm-proxy'), uniqExact(scope), {staged} {seen}"
    roles, refused, scopes, stages = client.query(query).result_rows[0]
    several = roles > 1 or bool(refused)
    if not several and scopes > 1:
        in_one = f"SELECT max(scopes) FROM (SELECT uniqExact(scope) AS scopes {seen} GROUP BY service)"
        scopes = client.query(in_one).result_rows[0][0]
    if not several and scopes < 2:
        return Merging(roles=False, depth=0, stages=bool(stages))
    reach = _between("timestamp", start_ns - REACH_NS, end_ns + REACH_NS)
    children = f"inferences WHERE {reach} AND {PARENT} IN (SELECT {ID} FROM inferences WHERE {reach})"
    depth = DEPTH if any_rows(client, children) else 0
    return Merging(roles=several, depth=depth, stages=bool(stages))


def calls_sql(start_ns: int, end_ns: int, *, merging: Merging = EVERYTHING) -> str:
    """The same without a look at the store."""
    columns = ", ".join(INFERENCES_COLUMNS)
    window = _between("timestamp", start_ns, end_ns)
    reach = _between("timestamp", start_ns - REACH_NS, end_ns + REACH_NS)
    rows = rows_sql(window, reach, staged=merging.stages)
    if not merging.roles and not merging.depth:
        return f"(SELECT {columns} FROM {rows})"
    merged = ", ".join(_merged(column) for column in INFERENCES_COLUMNS)
    inner = ", ".join(
        f"argMaxIf({column}, (rank, duration_s), NOT is_inner AND {_known(column)}) AS inner_{column}"
        for column in _TAKEN
    )
    # The pairs stand here once, for both: as two they would be planned and found twice.
    return f"""(
SELECT {merged}
FROM
(
    SELECT {columns}, {ID} AS id FROM {rows}
) AS outermost
LEFT ANY JOIN
(
    SELECT key, max(is_inner) AS inner_itself, {inner}
    FROM
    (
        SELECT *, arrayJoin([(outer_id, false), (id, true)]) AS part, part.1 AS key, part.2 AS is_inner
        FROM {pairs_sql(reach, _TAKEN, merging)}
    )
    GROUP BY key
) AS inner_calls
ON outermost.id = inner_calls.key
WHERE NOT inner_calls.inner_itself
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
    if column in TIMES:
        return f"coalesce({inner}, {own}) AS {column}"
    if column in _FILLED:
        return f"coalesce({own}, {inner}) AS {column}"
    if column in _FILLED_TEXT:
        return f"if(notEmpty({own}), {own}, {inner}) AS {column}"
    return f"{own} AS {column}"
