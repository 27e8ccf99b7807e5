"""Times of a call that its engine tells in spans of their own, for `monitor.store.calls`.

SGLang's stages hang below a span for each thread, and that below the call; where two servers share a call, the first
one's half is a span beside that of the call. Triton's queue is entered within the call's span, and left where the first
`compute` below it begins. Of several threads' times the longest counts: the call waits for all.
"""

from __future__ import annotations

from typing import Final

from monitor.store.dialects import INFERENCES_COLUMNS

TIMES: Final = ("queue_s", "prefill_s", "decode_s")
# Of a row: when it began, in Unix ns; what tells it, and the row above it, from all others.
START: Final = "toUnixTimestamp64Nano(timestamp)"
ID: Final = "cityHash64(trace_id, span_id)"
PARENT: Final = "if(parent_span_id = '', 0, cityHash64(trace_id, parent_span_id))"


def times_sql(reach: str) -> str:
    """Sub-select of `call_id` (hash of trace and span id) and `TIMES` (seconds, NULL if not told) of the calls with stages.

    `reach` is the condition on `timestamp`. Whose half it is that stands beside several calls is not told, so none gets it.
    """

    def linking(name: str) -> str:
        return f"SELECT {ID} AS id, {PARENT} AS parent FROM inference_stages WHERE name = '{name}' AND {reach}"

    beside = f"""SELECT {PARENT} AS parent, any({ID}) AS id FROM inferences
        WHERE role = 'engine' AND dialect = 'sglang' AND {reach} AND parent != 0 AND parent IN (SELECT parent FROM ({linking("prefill")}))
        GROUP BY parent HAVING uniqExact(span_id) = 1"""
    queued = "(minIf(start_ns, name = 'compute') - minIf(start_ns, name = 'queue')) / 1e9"
    both = "countIf(name = 'compute') > 0 AND countIf(name = 'queue') > 0"
    return f"""(
    SELECT if(half.id = 0, top_id, call.id) AS call_id,
        if({both}, {queued}, maxOrNullIf(duration_s, name = 'prefill_waiting')) AS queue_s,
        maxOrNullIf(duration_s, name = 'prefill_forward') AS prefill_s,
        maxOrNullIf(duration_s, name = 'decode_forward') AS decode_s
    FROM
    (
        SELECT name, duration_s, start_ns, if(thread.id = 0, stage.parent, thread.parent) AS top_id
        FROM
        (
            SELECT name, duration_s, {START} AS start_ns, {PARENT} AS parent
            FROM inference_stages WHERE name NOT IN ('thread', 'prefill') AND {reach}
        ) AS stage
        LEFT ANY JOIN ({linking("thread")}) AS thread ON stage.parent = thread.id
    ) AS told
    LEFT ANY JOIN ({linking("prefill")}) AS half ON told.top_id = half.id
    LEFT ANY JOIN ({beside}) AS call ON half.parent = call.parent
    GROUP BY call_id
    HAVING call_id != 0
)"""


def rows_sql(condition: str, reach: str, *, staged: bool) -> str:
    """What to read for the rows of `inferences` with `condition`: they themselves, or with the times of their stages."""
    columns = ", ".join(INFERENCES_COLUMNS)
    rows = f"(SELECT {columns} FROM inferences FINAL WHERE {condition})"
    if not staged:
        return rows
    filled = ", ".join(f"coalesce(stages.{name}, calls.{name}) AS {name}" for name in TIMES)
    kept = ", ".join(f"calls.{name} AS {name}" for name in INFERENCES_COLUMNS if name not in TIMES)
    return f"""(
    SELECT {kept}, {filled}
    FROM (SELECT *, {ID} AS id FROM {rows}) AS calls LEFT ANY JOIN {times_sql(reach)} AS stages ON calls.id = stages.call_id
)"""
