"""Numbered calls by the hour: `emitter_hours` has the numbers of each emitter that are stored, as runs from first to last;
`emitter_ends` has the highest and lowest number of what an emitter sent of each kind of call, and of what it reported."""

from __future__ import annotations

from typing import Final

from monitor.kpis.grains import HOUR, KEYS
from monitor.kpis.hours import HOUR_S, Hours, ddl_columns
from monitor.kpis.sources.question import between
from monitor.kpis.units import period_sql

_NS: Final = 10**9
EMITTER_HOURS: Final = Hours(
    name="emitters",
    table="emitter_hours",
    rule="1",
    keys=("emitter",),
    dimensions=(),
    columns={"rows__n": "UInt64", "runs": "Array(Tuple(UInt64, UInt64))"},
)
EMITTER_ENDS: Final = Hours(
    name="emitters",
    table="emitter_ends",
    rule="1",
    keys=("told_by", "emitter", *KEYS),
    dimensions=KEYS,
    columns={"rows__n": "UInt64", "first_min": "UInt64", "last_max": "UInt64"},
)


def runs_sql(start_ns: int, end_ns: int, *keys: str) -> str:
    """SELECT of the keys (SQL, with names) and `emitter, runs` of the numbers that are stored of a stretch."""
    names = ", ".join([*(key.rpartition(" AS ")[2] for key in keys), "emitter"])
    numbers = f"""SELECT {", ".join([*keys, "emitter"])}, arrayCompact(arraySort(groupArray(seq))) AS seqs, count() AS rows__n
        FROM inferences WHERE seq > 0 AND {between(start_ns, end_ns)} GROUP BY {names}"""
    places = "arrayEnumerate(seqs)"
    begins = f"arrayFilter((s, i) -> i = 1 OR seqs[i - 1] + 1 != s, seqs, {places})"
    ends = f"arrayFilter((s, i) -> i = length(seqs) OR seqs[i + 1] != s + 1, seqs, {places})"
    return f"SELECT {names}, rows__n, arrayZip({begins}, {ends}) AS runs FROM ({numbers})"


def stored_between(runs: str, first: str, last: str) -> str:
    """SQL: how many numbers of the runs lie in [first, last]."""
    return (
        f"arraySum(run -> greatest(0, toInt64(least(run.2, {last})) - toInt64(greatest(run.1, {first})) + 1), {runs})"
    )


def hours_made_of(start: int, end: int) -> str:
    """SELECT of the rows of `emitter_hours` of some hours (Unix seconds)."""
    return runs_sql(start * _NS, end * _NS, f"{period_sql(HOUR_S)} AS period")


def ends_made_of(start: int, end: int) -> str:
    """SELECT of the rows of `emitter_ends` of some hours (Unix seconds)."""
    inside, keys = between(start * _NS, end * _NS), ", ".join(KEYS)
    said = ", ".join(f"'' AS {key}" if key in ("provider", "model") else key for key in KEYS)
    return f"""SELECT {period_sql(HOUR_S)} AS period, 'calls' AS told_by, emitter, {keys}, count() AS rows__n, min(seq) AS first_min,
        max(seq) AS last_max FROM inferences WHERE seq > 0 AND {inside} GROUP BY period, emitter, {keys}
    UNION ALL
    SELECT {period_sql(HOUR_S)} AS period, 'reports' AS told_by, emitter, {said}, count() AS rows__n, min(settled) + 1 AS first_min,
        max(settled) AS last_max FROM sdk_reports WHERE {inside} GROUP BY period, emitter, {keys}"""


def ddl() -> str:
    """CREATE TABLEs of the migration: `python -m monitor.kpis.emitters`."""
    return "".join(
        f"""
CREATE TABLE IF NOT EXISTS {hours.table}
(
    period DateTime('UTC') CODEC(Delta(4), ZSTD(1)),
{chr(10).join(f"    {key} LowCardinality(String)," for key in hours.keys)}
    version UInt64 CODEC(ZSTD(1)),
{ddl_columns(hours.columns)}
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY {HOUR.partition}
ORDER BY (period, {", ".join(hours.keys)})
SETTINGS index_granularity = 1024, ttl_only_drop_parts = 1;
"""
        for hours in (EMITTER_HOURS, EMITTER_ENDS)
    )


if __name__ == "__main__":
    print(ddl(), end="")
