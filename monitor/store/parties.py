"""Which rows of `inferences` report one call, and which of them is the outermost, for `monitor.store.calls`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from monitor.store.stages import ID, PARENT, START, rows_sql

SLACK_NS: Final = 10**9  # clocks of two machines differ by less than this
DEPTH: Final = 3  # children in a row, as in: wrapper, client, gateway, engine; of more the count is right still
# The proxy's own word on a failed request comes after what it says of the call, though it lasts longer.
_RANK: Final = "if(dialect = 'litellm-proxy', 2, transform(role, ['client', 'gateway', 'engine'], [0, 1, 3], 0))"
_SPAN: Final = f"""{ID} AS id, {PARENT} AS parent, {_RANK} AS rank, {START} AS start_ns, {START} + toInt64(duration_s * 1e9) AS end_ns"""
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


def pairs_sql(reach: str, taken: Sequence[str], merging: Merging) -> str:
    """Each inner row (its `id`, rank, and the columns `taken`) with the id of the outermost row that it belongs to.

    First up from child to parent as far as there are rows, then from the row found there to one that it overlaps.
    """
    ids = f"SELECT {ID} FROM inferences WHERE {reach}"
    candidates = "role != 'client'" if merging.roles else "0"
    if merging.depth:
        candidates += f" OR {PARENT} IN ({ids})"
    own = ", ".join(f"i.{column} AS {column}" for column in taken)
    rows = rows_sql(f"parent_span_id != '' AND {reach} AND ({candidates})", reach, staged=merging.stages)
    inner_rows = f"""SELECT i.id AS id, i.trace_id AS trace_id, i.rank AS rank, i.duration_s AS duration_s, {own},
        {_tops(merging)}
    FROM
    (
        SELECT {_SPAN}, trace_id, role, duration_s, {", ".join(taken)}
        FROM {rows}
    ) AS i
    {_parents(reach, merging)}"""
    if not merging.roles:
        return f"(SELECT *, top_id AS outer_id FROM ({inner_rows}) WHERE top_id != id)"
    any_taken = ", ".join(f"any(i.{column}) AS {column}" for column in taken)
    no_child = f"AND {PARENT} NOT IN ({ids})" if merging.depth else ""
    return f"""(
    SELECT i.id AS id, any(i.rank) AS rank, any(i.duration_s) AS duration_s, {any_taken},
        argMinIf(o.id, (o.rank, i.top_parent != o.id, abs(i.top_start_ns - o.start_ns)), {_MEET}) AS met,
        if(countIf({_MEET}) > 0, met, any(i.top_id)) AS outer_id
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
    parents = f"SELECT {PARENT} FROM inferences WHERE {reach} AND parent_span_id != ''"
    row = f"SELECT {_SPAN} FROM inferences WHERE {reach} AND {ID} IN ({parents})"
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
