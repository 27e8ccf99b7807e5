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

from dataclasses import dataclass
from typing import Final

from monitor.store.client import Client
from monitor.store.dialects import INFERENCES_COLUMNS
from monitor.store.stages import TIMES, times_sql

SLACK_NS: Final = 10**9  # clocks of two machines differ by less than this
REACH_NS: Final = 3600 * 10**9  # no call lasts longer than this
DEPTH: Final = 3  # children in a row, as in: wrapper, client, gateway, engine; of more the count is right still

_WHERE_IT_RAN: Final = ("node", "gpu", "region", "deployment", "pricing", "variant")
_FILLED: Final = (
    "ttft_s", "tpot_s", "input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens",
    "cost_usd", "stream",
)  # fmt: skip
_FILLED_TEXT: Final = ("model", "provider", "finish_reason", "request_id", "session_id", "user_id")
_TAKEN: Final = (*_WHERE_IT_RAN, *TIMES, *_FILLED, *_FILLED_TEXT)
# The proxy's own word on a failed request comes after what it says of the call, though it lasts longer.
_RANK: Final = "if(dialect = 'litellm-proxy', 2, transform(role, ['client', 'gateway', 'engine'], [0, 1, 3], 0))"
_START: Final = "toUnixTimestamp64Nano(timestamp)"
_ID: Final = "cityHash64(trace_id, span_id)"
_PARENT: Final = "if(parent_span_id = '', 0, cityHash64(trace_id, parent_span_id))"
_SPAN: Final = f"""{_ID} AS id, {_PARENT} AS parent, {_RANK} AS rank, {_START} AS start_ns, {_START} + toInt64(duration_s * 1e9) AS end_ns"""
# How far from each other two rows may be that overlap but for clocks. A proxy's two words on a request have one clock.
_APART: Final = f"if(i.top_rank = 2 AND o.rank = 1, 0, {SLACK_NS})"
_MEET: Final = (
    "o.id != 0 AND o.rank < i.top_rank AND (i.top_parent = o.id"
    f" OR (i.top_start_ns < o.end_ns + {_APART} AND i.top_end_ns + {_APART} > o.start_ns))"
)


@dataclass(frozen=True)
class Merging:
    """What must be paid for: rows of several roles that meet in time, how many rows may be children in a row, stages."""

    roles: bool
    depth: int
    stages: bool


EVERYTHING: Final = Merging(roles=True, depth=DEPTH, stages=True)
NOTHING: Final = Merging(roles=False, depth=0, stages=False)


def calls_source(client: Client, start_ns: int, end_ns: int) -> str:
    """Sub-select with the columns of `inferences`, one row per call begun in [start_ns, end_ns)."""
    return calls_sql(start_ns, end_ns, merging=_merging(client, start_ns, end_ns))


def _merging(client: Client, start_ns: int, end_ns: int) -> Merging:
    """A look at small columns tells whether a call may have more than one row, as it mostly cannot.

    It may if there are several roles, or a service with several instrumentations, one of which may wrap another; only
    then is it looked whether there are children at all.
    """
    # What belongs to a call may begin as long after the window as a call lasts.
    after = _between("timestamp", start_ns, end_ns + REACH_NS)
    seen = f"FROM inferences WHERE {after}"
    staged = f"(SELECT count() FROM (SELECT 1 FROM inference_stages WHERE {after} LIMIT 1))"
    query = f"SELECT uniqExact(role), max(dialect = 'litellm-proxy'), uniqExact(scope), {staged} {seen}"
    roles, refused, scopes, stages = client.query(query).result_rows[0]
    several = roles > 1 or bool(refused)
    if not several and scopes > 1:
        in_one = f"SELECT max(scopes) FROM (SELECT uniqExact(scope) AS scopes {seen} GROUP BY service)"
        scopes = client.query(in_one).result_rows[0][0]
    if not several and scopes < 2:
        return Merging(roles=False, depth=0, stages=bool(stages))
    reach = _between("timestamp", start_ns - REACH_NS, end_ns + REACH_NS)
    children = (
        f"SELECT 1 FROM inferences WHERE {reach} AND {_PARENT} IN (SELECT {_ID} FROM inferences WHERE {reach}) LIMIT 1"
    )
    depth = DEPTH if client.query(children).result_rows else 0
    return Merging(roles=several, depth=depth, stages=bool(stages))


def calls_sql(start_ns: int, end_ns: int, *, merging: Merging = EVERYTHING) -> str:
    """The same without a look at the store."""
    columns = ", ".join(INFERENCES_COLUMNS)
    window = _between("timestamp", start_ns, end_ns)
    reach = _between("timestamp", start_ns - REACH_NS, end_ns + REACH_NS)
    rows = _rows(window, reach, merging)
    if not merging.roles and not merging.depth:
        return f"(SELECT {columns} FROM {rows})"
    pairs = _pairs_sql(reach, merging)
    merged = ", ".join(_merged(column) for column in INFERENCES_COLUMNS)
    inner = ", ".join(
        f"argMaxIf({column}, (rank, duration_s), {_known(column)}) AS inner_{column}" for column in _TAKEN
    )
    return f"""(
SELECT {merged}
FROM
(
    SELECT {columns}, {_ID} AS id FROM {rows} WHERE id NOT IN (SELECT id FROM {pairs})
) AS outermost
LEFT ANY JOIN
(
    SELECT outer_id, {inner} FROM {pairs} GROUP BY outer_id
) AS inner_calls
ON outermost.id = inner_calls.outer_id
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


def _rows(condition: str, reach: str, merging: Merging) -> str:
    """What to read for the rows of `inferences` with `condition`: they themselves, or with the times of their stages."""
    columns = ", ".join(INFERENCES_COLUMNS)
    rows = f"(SELECT {columns} FROM inferences FINAL WHERE {condition})"
    if not merging.stages:
        return rows
    filled = ", ".join(f"coalesce(stages.{name}, calls.{name}) AS {name}" for name in TIMES)
    kept = ", ".join(f"calls.{name} AS {name}" for name in INFERENCES_COLUMNS if name not in TIMES)
    return f"""(
    SELECT {kept}, {filled}
    FROM (SELECT *, {_ID} AS id FROM {rows}) AS calls LEFT ANY JOIN {times_sql(reach)} AS stages ON calls.id = stages.call_id
)"""


def _pairs_sql(reach: str, merging: Merging) -> str:
    """Each inner row (its `id`, rank, and what may be taken of it) with the id of the outermost row that it belongs to.

    First up from child to parent as far as there are rows, then from the row found there to one that it overlaps.
    """
    ids = f"SELECT {_ID} FROM inferences WHERE {reach}"
    candidates = "role != 'client'" if merging.roles else "0"
    if merging.depth:
        candidates += f" OR {_PARENT} IN ({ids})"
    taken = ", ".join(f"i.{column} AS {column}" for column in _TAKEN)
    rows = _rows(f"parent_span_id != '' AND {reach} AND ({candidates})", reach, merging)
    inner_rows = f"""SELECT i.id AS id, i.trace_id AS trace_id, i.rank AS rank, i.duration_s AS duration_s, {taken},
        {_tops(merging)}
    FROM
    (
        SELECT {_SPAN}, trace_id, role, duration_s, {", ".join(_TAKEN)}
        FROM {rows}
    ) AS i
    {_parents(reach, merging)}"""
    if not merging.roles:
        return f"(SELECT *, top_id AS outer_id FROM ({inner_rows}) WHERE top_id != id)"
    any_taken = ", ".join(f"any(i.{column}) AS {column}" for column in _TAKEN)
    no_child = f"AND {_PARENT} NOT IN ({ids})" if merging.depth else ""
    return f"""(
    SELECT i.id AS id, any(i.rank) AS rank, any(i.duration_s) AS duration_s, {any_taken},
        if(countIf({_MEET}) > 0, argMinIf(o.id, (o.rank, i.top_parent != o.id, abs(i.top_start_ns - o.start_ns)), {_MEET}), any(i.top_id)) AS outer_id
    FROM (SELECT *, if(top_rank > 0 AND top_parent != 0, trace_id, '') AS alike FROM ({inner_rows})) AS i
    LEFT JOIN
    (
        SELECT {_SPAN}, trace_id FROM inferences FINAL
        WHERE {reach} {no_child} AND role != 'engine'
            AND trace_id IN (SELECT trace_id FROM inferences WHERE role != 'client' AND {reach})
    ) AS o ON i.alike = o.trace_id
    GROUP BY i.id
    HAVING outer_id != id
)"""


def _parents(reach: str, merging: Merging) -> str:
    """Joins of the rows above a row; only what is a parent is worth a place in their tables."""
    parents = f"SELECT {_PARENT} FROM inferences WHERE {reach} AND parent_span_id != ''"
    row = f"SELECT {_SPAN} FROM inferences WHERE {reach} AND {_ID} IN ({parents})"
    below = ["i", *(f"p{n}" for n in range(1, merging.depth))]
    return "\n    ".join(
        f"LEFT ANY JOIN ({row}) AS p{n} ON {child}.parent = p{n}.id"
        for n, child in enumerate(below[: merging.depth], 1)
    )


def _tops(merging: Merging) -> str:
    above = [f"p{n}" for n in range(merging.depth, 0, -1)]
    return ", ".join(
        f"{_first([f'{p}.id != 0, {p}.{name}' for p in above], f'i.{name}')} AS top_{name}"
        for name in ("id", "rank", "start_ns", "end_ns", "parent")
    )


def _first(choices: list[str], otherwise: str) -> str:
    return f"multiIf({', '.join([*choices, otherwise])})" if choices else otherwise
