"""KPIs of what was said of calls, by the hour and of late by the minute: sums of judgements, moderation, feedback, and of nodes.

A row of `source_hours` (`source_minutes`) has, for an hour (a minute) and the keys of the other rollups, the very ingredients
that a question to its source would give, so the answer is the same number. A window's ragged ends, and what is not added up yet,
are asked of the source; minutes answer the windows that they have all of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Final

from monitor.kpis.coverage import whole_hours
from monitor.kpis.dimensions import where_sql
from monitor.kpis.estimators import POPULATION
from monitor.kpis.families import DECLARED
from monitor.kpis.families.accuracy import score_measure, score_names
from monitor.kpis.grains import KEYS
from monitor.kpis.hours import HOUR_S, Hours, ddl_columns, hour_keys, merged
from monitor.kpis.sources import SOURCES, Question, Source
from monitor.kpis.sources.balanced import NODE_SUMS, nodes_select
from monitor.kpis.sources.judged import JUDGED, JUDGED_TWICE, SCORE_SUMS, SCORES, start_before
from monitor.kpis.sources.moderated import CATEGORY, CATEGORY_SUMS, MODERATED, categories_select
from monitor.kpis.sources.question import group_by
from monitor.store import Client
from monitor.store.flatten import literal

TABLE: Final = "source_hours"
MINUTES_TABLE: Final = "source_minutes"
KEPT: Final = ("engaged", "moderated", "refusal_checked", "reported", "judged", "node_sums", SCORES.name)
# Beside what the registry's KPIs ask for: of what a call has several, so that it is no key.
_SEVERAL: Final = {MODERATED.name: CATEGORY_SUMS, SCORES.name: SCORE_SUMS}
_NS: Final = 10**9
# What changed of a source's rows while its ingredients stayed the same: hours are made anew.
_CHANGED: Final = {NODE_SUMS.name: "calls that say no node, too"}
# Ingredient of `judged_twice`, without its window -> ingredient of `judged`.
_TWICE: Final = {
    f"{what}__{sum_}": f"{mine}__{sum_}"
    for what, mine in (("of", "compared"), ("agreed", "agreed"))
    for sum_ in ("n", "w", "ww")
}


def ingredients_of(source: str) -> dict[str, str]:
    """Ingredient -> SQL over the rows of a source, of all that is kept of it."""
    found = dict(SOURCES[source].population)
    for kpi in DECLARED:
        if kpi.source == source:
            found |= kpi.estimator.ingredients
    return found | _SEVERAL.get(source, {})


def column_type(name: str) -> str:
    if name.endswith(("_by_hour", "_by_bin")):
        return "Map(Int64, Float64)"
    if "_by_" in name:
        return "Map(String, Float64)"
    return "UInt64" if name.endswith("__n") else "Float64"


def columns_of(source: str) -> dict[str, str]:
    return {name: column_type(name) for name in ingredients_of(source)}


@cache
def hours_of(source: str) -> Hours:
    """What is kept of a source."""
    text = "\n".join(f"{name} {sql}" for name, sql in ingredients_of(source).items()) + _CHANGED.get(source, "")
    return Hours(
        name=source,
        table=TABLE,
        rule=hashlib.sha256(text.encode()).hexdigest()[:16],
        keys=("source", *KEYS),
        dimensions=KEYS,
        columns={"rows__n": "UInt64", **columns_of(source)},
        scope=f"source = {literal(source)}",
    )


@cache
def minutes_of(source: str) -> Hours:
    """What is kept of a source by the minute."""
    return hours_of(source).by_minute(MINUTES_TABLE)


def made_of(client: Client, source: str, start: int, end: int, period_s: int = HOUR_S) -> str:
    """SELECT of the rows of some hours (periods of so many seconds), from the source itself."""
    question = Question(start_ns=start * _NS, end_ns=end * _NS, by=KEYS, where={}, step_ns=period_s * _NS, groups_max=1)
    ingredients = ingredients_of(source)
    rows = SOURCES[source].build(client, question, ingredients)
    keys = ", ".join(f"g{place} AS {name}" for place, name in enumerate(KEYS))
    columns = ", ".join(ingredients)
    return (
        f"SELECT toDateTime({start} + step * {period_s}, 'UTC') AS period, {literal(source)} AS source, {keys},"
        f" toUInt64(calls__n) AS rows__n, {columns} FROM ({rows}) WHERE calls__n > 0"
    )


def summed_select(client: Client, source: Source, question: Question, wanted: Mapping[str, str]) -> str:
    """One row per key with the ingredients `wanted`, from hours where they can answer, else from the source itself."""
    return hourly_select(client, source, question, wanted) or source.build(client, question, wanted)


def hourly_select(client: Client, source: Source, question: Question, wanted: Mapping[str, str]) -> str | None:
    """One row per key with the ingredients `wanted`; None where the source itself must answer."""
    if source.name == "nodes":
        by_node = replace(question, by=(*question.by, "service", "model", "node"))
        sums = hourly_select(client, NODE_SUMS, by_node, NODE_SUMS.population)
        return None if sums is None else nodes_select(client, question, sums, wanted)
    if source.name == JUDGED_TWICE.name:
        return _twice(client, question, wanted)
    if source.name == SCORES.name and wanted.keys() != {**POPULATION, **SCORE_SUMS}.keys():
        return _scores(client, question, wanted)
    if source.name == MODERATED.name and CATEGORY in question.by:
        return _categories(client, question, wanted)
    if source.name not in KEPT:
        return None
    kept = ingredients_of(source.name)
    if any(kept.get(name) != sql for name, sql in wanted.items()):
        return None
    hours = minutes_of(source.name)
    whole = whole_hours(client, question, hours)
    if whole is None:
        hours = hours_of(source.name)
        whole = whole_hours(client, question, hours)
    if whole is None:
        return None
    first, last = whole
    columns = {name: column_type(name) for name in wanted}
    pieces = [_kept(hours, question, columns, first, last)]
    for start, end in ((question.start_ns, first * _NS), (last * _NS, question.end_ns)):
        if start < end:
            end_of_it = replace(question, start_ns=start, end_ns=end, steps_from_ns=question.origin_ns)
            rows = source.build(client, end_of_it, wanted)
            cast = ", ".join([*question.keys, *(f"CAST({name}, '{kind}') AS {name}" for name, kind in columns.items())])
            pieces.append(f"SELECT {cast} FROM (SELECT * FROM ({rows}) WHERE calls__n > 0)")
    keys = "".join(f"{key}, " for key in question.keys)
    sums = ", ".join(f"{merged(name, kind)} AS {name}" for name, kind in columns.items())
    return f"SELECT {keys}{sums} FROM ({' UNION ALL '.join(pieces)}){group_by(question)}"


def _twice(client: Client, question: Question, wanted: Mapping[str, str]) -> str | None:
    """Judgements of the window (or step) and of the one before it, side by side: sums of `judged`, under the names of both."""
    begin_ns = start_before(question)
    end_ns = question.end_ns - question.step_ns if question.step_ns else question.start_ns
    from_ns = question.origin_ns - (question.step_ns or 0)
    earlier = replace(question, start_ns=begin_ns, end_ns=end_ns, steps_from_ns=from_ns)
    mine = ingredients_of(JUDGED.name)
    needed = {**POPULATION, **{name: mine[name] for name in _TWICE.values()}}
    now = hourly_select(client, JUDGED, question, needed)
    if now is None:
        return None
    before = summed_select(client, JUDGED, earlier, needed)
    pieces = []
    for when, rows in (("now", now), ("before", before)):
        columns = []
        for name in wanted:
            of_window, _, rest = name.partition("__")
            said = name if name in POPULATION else _TWICE[rest] if of_window == when else ""
            columns.append(f"{said or ('toUInt64(0)' if name.endswith('__n') else 'toFloat64(0)')} AS {name}")
        pieces.append(f"SELECT {', '.join([*question.keys, *columns])} FROM ({rows}) WHERE calls__n > 0")
    keys = "".join(f"{key}, " for key in question.keys)
    sums = ", ".join(f"{merged(name, column_type(name))} AS {name}" for name in wanted)
    return f"SELECT {keys}{sums} FROM ({' UNION ALL '.join(pieces)}){group_by(question)}"


def _scores(client: Client, question: Question, wanted: Mapping[str, str]) -> str | None:
    """Sums of scores, each under the name of its KPI."""
    offered = {
        ingredient: (sql, f"{kept}[{literal(name)}]")
        for name in score_names(client)
        for ingredient, sql in score_measure(name).sums.items()
        if (kept := f"scored__{ingredient.rpartition('__')[2]}_by_name") in SCORE_SUMS
    }
    columns = list(question.keys)
    for name, sql in wanted.items():
        if name in POPULATION:
            columns.append(name)
        elif name in offered and offered[name][0] == sql:
            value = offered[name][1]
            columns.append(f"{f'toUInt64({value})' if name.endswith('__n') else value} AS {name}")
        else:
            return None
    sums = hourly_select(client, SCORES, question, {**POPULATION, **SCORE_SUMS})
    return None if sums is None else f"SELECT {', '.join(columns)} FROM ({sums})"


def _categories(client: Client, question: Question, wanted: Mapping[str, str]) -> str | None:
    """Sums of moderated calls by category."""
    kept = ingredients_of(MODERATED.name)
    if CATEGORY in question.where or any(kept.get(name) != sql for name, sql in wanted.items()):
        return None
    others = replace(question, by=tuple(name for name in question.by if name != CATEGORY))
    sums = hourly_select(client, MODERATED, others, {**POPULATION, **CATEGORY_SUMS})
    return None if sums is None else categories_select(question, sums, wanted)


def _kept(hours: Hours, question: Question, columns: Mapping[str, str], first: int, last: int) -> str:
    sums = [f"{merged(name, kind)} AS {name}" for name, kind in columns.items()]
    condition, _ = where_sql(question.where)
    rows = f"SELECT * FROM {hours.table} FINAL WHERE {hours.inside(first, last)} AND {condition}"
    grouped = f"SELECT {', '.join([*hour_keys(question), *sums])} FROM ({rows}) AS kept{group_by(question)}"
    # Without groups a sum over nothing is a row of its own, and its weights none.
    return f"SELECT * FROM ({grouped}) WHERE calls__n > 0"


def ddl() -> str:
    """CREATE TABLE of the migration: `python -m monitor.kpis.source_hours`."""
    return _ddl(TABLE, "toYYYYMM(period)", several=False)


def ddl_minutes() -> str:
    """CREATE TABLE of the migration that added minutes."""
    return _ddl(MINUTES_TABLE, "toDate(period)", several=True)


def _ddl(table: str, partition: str, *, several: bool) -> str:
    columns: dict[str, str] = {"rows__n": "UInt64"}
    for source in KEPT:
        columns |= columns_of(source)
    later = {name for sums in _SEVERAL.values() for name in sums}
    columns = {name: kind for name, kind in columns.items() if several or name not in later}
    keys = "\n".join(f"    {key} LowCardinality(String)," for key in KEYS)
    return f"""
CREATE TABLE IF NOT EXISTS {table}
(
    source LowCardinality(String),
    period DateTime('UTC') CODEC(Delta(4), ZSTD(1)),
{keys}
    version UInt64 CODEC(ZSTD(1)),
{ddl_columns(columns)}
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY {partition}
ORDER BY (source, period, {", ".join(KEYS)})
SETTINGS index_granularity = 1024, ttl_only_drop_parts = 1;
"""


def ddl_several() -> str:
    """ALTER TABLEs of the migration that added sums by what a call has several of."""
    return "".join(
        f"ALTER TABLE {TABLE} ADD COLUMN IF NOT EXISTS {name} {column_type(name)} CODEC(ZSTD(1));\n"
        for sums in _SEVERAL.values()
        for name in sums
    )


if __name__ == "__main__":
    print(ddl() + ddl_several() + ddl_minutes(), end="")
