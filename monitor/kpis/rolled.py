"""The SELECT that answers a question from several tables: rollups, and calls where there are none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from monitor.kpis import histogram
from monitor.kpis.coverage import Part, parts_of, period_between
from monitor.kpis.dimensions import dimension_sql, where_sql
from monitor.kpis.estimators import POPULATION, Measure
from monitor.kpis.rollup import can_answer, merged_columns
from monitor.kpis.sources import Question, Source
from monitor.kpis.sources.calls import CALLS
from monitor.kpis.sources.question import group_by
from monitor.store import Client

Asked = Mapping[Measure, Sequence[float]]


def rolled_parts(
    client: Client, source: Source, question: Question, wanted: Mapping[str, str], asked: Asked
) -> list[Part] | None:
    """Parts of the window, if rollups are to answer some of them."""
    if source.name != "calls" or not can_answer(wanted, asked, question.by, question.where):
        return None
    return parts_of(client, question)


def rolled_select(
    client: Client,
    source: Source,
    question: Question,
    wanted: Mapping[str, str],
    asked: Asked,
    parts: Sequence[Part],
) -> str:
    """One row per key with the ingredients `wanted`, and the columns of `histogram` for the quantiles `asked`."""
    ingredients = dict(wanted)
    for measure in asked:
        ingredients |= histogram.histogram_ingredients(measure)
    pieces = [*_rollups(question, ingredients, parts), *_calls(client, source, question, ingredients, parts)]
    # A piece without calls says 0 where it has no weight to say.
    union = " UNION ALL ".join(f"SELECT * FROM ({piece}) WHERE calls__n > 0" for piece in pieces)
    keys = "".join(f"{key}, " for key in question.keys)
    summed = f"SELECT {keys}{merged_columns(ingredients)} FROM ({union}){group_by(question)}"
    read = [f"{sql} AS {name}" for name, sql in histogram.columns(asked).items()]
    return f"SELECT {', '.join([*question.keys, *wanted, *read])} FROM ({summed})"


@dataclass(frozen=True, kw_only=True)
class Latencies:
    """How many calls of a group (and step) have a latency in each bucket of `monitor.kpis.histogram`."""

    keys: tuple[Any, ...]
    calls: int
    buckets: Mapping[int, float]


def rolled_latencies(client: Client, measure: Measure, question: Question) -> list[Latencies] | None:
    """The latencies of a long window, from rollups where there are; None where the calls themselves are to be counted.

    They are where they are few, where rollups do not know the filter or the split, and where calls stand for several each, as
    rollups have their weights alone.
    """
    asked: Asked = {measure: ()}
    known = {f"{measure.name}__n": measure.sums[f"{measure.name}__n"]}
    wanted = {**POPULATION, **known}
    parts = rolled_parts(client, CALLS, question, wanted, asked)
    if parts is None:
        return None
    _, parameters = where_sql(question.where)
    sql = rolled_select(client, CALLS, question, wanted, asked, parts)
    rows = list(client.query(sql, parameters=parameters).named_results())
    if any(row["calls__n"] and (row["calls__w_min"], row["calls__w_max"]) != (1, 1) for row in rows):
        return None
    return [
        Latencies(
            keys=tuple(row[key] for key in question.keys),
            calls=int(row[f"{measure.name}__n"]),
            buckets=dict(zip(row[f"{measure.name}__h_buckets"], row[f"{measure.name}__h_weights"], strict=True)),
        )
        for row in rows
        if row[f"{measure.name}__n"]
    ]


def _rollups(question: Question, ingredients: Mapping[str, str], parts: Sequence[Part]) -> list[str]:
    """A SELECT for each table that answers some parts."""
    condition, _ = where_sql(question.where)
    columns = [f"{dimension_sql(name)} AS {key}" for name, key in zip(question.by, question.group_keys, strict=True)]
    if question.step_ns:
        begin = "toInt64(toUnixTimestamp(period)) * 1000000000"
        columns.append(f"intDiv({begin} - {question.origin_ns}, {question.step_ns}) AS step")
    pieces = []
    for grain in dict.fromkeys(part.grain for part in parts if part.grain is not None):
        periods = " OR ".join(f"({period_between(part)})" for part in parts if part.grain is grain)
        select = ", ".join([*columns, merged_columns(ingredients)])
        pieces.append(f"SELECT {select} FROM {grain.table} FINAL WHERE ({periods}) AND {condition}{group_by(question)}")
    return pieces


def _calls(
    client: Client, source: Source, question: Question, ingredients: Mapping[str, str], parts: Sequence[Part]
) -> list[str]:
    return [
        source.build(
            client,
            replace(question, start_ns=part.start_ns, end_ns=part.end_ns, steps_from_ns=question.origin_ns),
            ingredients,
        )
        for part in parts
        if part.grain is None
    ]
