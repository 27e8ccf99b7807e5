"""Rollups of calls: the ingredients of KPIs, added up by minute, hour and day. What their tables hold, and how they are read.

A rollup row has the same ingredients, by the same names, as an aggregate over the calls of its period and keys would
have. So a question over a long window is answered by adding up rows of several tables: days in its middle, hours and
minutes towards its ends, and the calls themselves where nothing is rolled up yet. Sums, counts, shares and means come
out as they would from the calls; quantiles are read from histograms, within 1 %.

The tables keep the newest version of each (period, keys) and are read with FINAL, so that a period which is rolled up
again replaces what was there. An AggregatingMergeTree would add the second time to the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from monitor.kpis.estimators import POPULATION, Measure, Quantile, at_weight_one
from monitor.kpis.families import DECLARED
from monitor.kpis.grains import GRAINS, KEYS
from monitor.kpis.histogram import bucket_list, counted, histogram_ingredients


def rolled_measures() -> list[Measure]:
    """Measures with a histogram: those of which there are quantiles."""
    return list(
        dict.fromkeys(
            kpi.estimator.of for kpi in DECLARED if kpi.source == "calls" and isinstance(kpi.estimator, Quantile)
        )
    )


def ingredients() -> dict[str, str]:
    """Column -> SQL over calls, of everything that a rollup row holds."""
    found = dict(POPULATION)
    for kpi in DECLARED:
        if kpi.source == "calls":
            found |= kpi.estimator.ingredients
    for measure in rolled_measures():
        found |= histogram_ingredients(measure)
    return found


def from_calls(calls: str, keys: Sequence[str], *, unit: bool) -> str:
    """SELECT of the keys (SQL, with names) and all ingredients over calls; `unit`: each of them has a weight of 1."""
    names = [key.rpartition(" AS ")[2] for key in keys]
    if not unit:
        columns = ", ".join([*keys, *(f"{sql} AS {name}" for name, sql in ingredients().items())])
        return f"SELECT {columns} FROM {calls} GROUP BY {', '.join(names)}"
    lists = {f"{measure.name}__b": bucket_list(measure) for measure in rolled_measures()}
    sums = {name: at_weight_one(sql) for name, sql in ingredients().items() if not name.endswith(("__h", "__hx"))}
    columns = ", ".join([*keys, *(f"{sql} AS {name}" for name, sql in (sums | lists).items())])
    read = [
        f"{counted(f'{name[:-3]}__b')} AS {name}" if name.endswith("__h") else f"{nothing(name)} AS {name}"
        for name in ingredients()
        if name not in sums
    ]
    grouped = f"SELECT {columns} FROM {calls} GROUP BY {', '.join(names)}"
    return f"SELECT {', '.join([*names, *sums, *read])} FROM ({grouped})"


def merged(name: str) -> str:
    """SQL that adds up an ingredient over rows."""
    if name.endswith("__w_min"):
        return f"min({name})"
    if name.endswith("__w_max"):
        return f"max({name})"
    return f"sumMap({name})" if name.endswith(("__h", "__hx")) else f"sum({name})"


def nothing(name: str) -> str:
    """SQL of the ingredient of no call: adding it changes nothing."""
    if name.endswith("__w_min"):
        return "inf"
    if name.endswith(("__h", "__hx")):
        return "CAST(map(), 'Map(Int16, Float64)')"
    return "toUInt64(0)" if name.endswith("__n") else "toFloat64(0)"


def column_type(name: str) -> str:
    """Type of an ingredient's column."""
    if name.endswith(("__h", "__hx")):
        return "Map(Int16, Float64)"
    return "UInt64" if name.endswith("__n") else "Float64"


def merged_columns(wanted: Iterable[str]) -> str:
    return ", ".join(f"{merged(name)} AS {name}" for name in wanted)


def can_answer(wanted: Mapping[str, str], asked: Iterable[Measure], by: Sequence[str], where: Iterable[str]) -> bool:
    """Whether the rollups have these ingredients and histograms, for such groups."""
    rolled = ingredients()
    same = all(rolled.get(name) == sql for name, sql in wanted.items())
    return same and set(asked) <= set(rolled_measures()) and {*by, *where} <= set(KEYS)


def ddl() -> str:
    """The text of the migration that makes the tables: `python -m monitor.kpis.rollup`."""
    keys = "\n".join(f"    {key} LowCardinality(String)," for key in KEYS)
    columns = ",\n".join(f"    {name} {column_type(name)} CODEC(ZSTD(1))" for name in ingredients())
    return _HEAD + "".join(
        f"""
CREATE TABLE IF NOT EXISTS {grain.table}
(
    period DateTime('UTC') CODEC(Delta(4), ZSTD(1)),
{keys}
    version UInt64 CODEC(ZSTD(1)),
{columns}
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY {grain.partition}
ORDER BY (period, {", ".join(KEYS)})
SETTINGS index_granularity = 1024, ttl_only_drop_parts = 1;
"""
        for grain in GRAINS
    )


_HEAD: Final = """-- Rollups: the ingredients of KPIs over calls, by minute, hour and day. Made by `python -m monitor.kpis.rollup`, which
-- tells what each is. Read with FINAL: a period that is rolled up again replaces its rows. `__n` counts rows, `__w` is
-- the sum of their weights, `__x` that of the values, `__h` a histogram with buckets of 1 %. Periods are UTC.

-- How far the rollups reach: what began before `until_…` is in them, but for rows inserted after `seen`.
CREATE TABLE IF NOT EXISTS rollup_state
(
    name LowCardinality(String),
    until_1m DateTime('UTC'),
    until_1h DateTime('UTC'),
    until_1d DateTime('UTC'),
    seen DateTime64(3, 'UTC'),
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY name;
"""

if __name__ == "__main__":
    print(ddl(), end="")
