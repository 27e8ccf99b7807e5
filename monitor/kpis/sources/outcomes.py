"""Calls with how they did by each objective: by themselves, by moderation, by what was judged of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from monitor.kpis.conditions import (
    BLOCKED,
    FLAGGED,
    GOODPUT,
    MODERATED,
    judgements,
    verdict_aggregate,
    verdict_column,
    verdict_condition,
)
from monitor.kpis.dimensions import DIMENSIONS, WHERE_KEYS, where_sql
from monitor.kpis.estimators import POPULATION
from monitor.kpis.gpu_periods import periods_of
from monitor.kpis.hours import hour_keys
from monitor.kpis.sources.question import Question, Source, between, group_by, select_list
from monitor.store import Client
from monitor.store.calls import calls_source
from monitor.store.judged import judged_source
from monitor.store.objectives import read_objectives

# That somebody looked whether an answer is a refusal says nothing of what a filter would find in it.
IS_MODERATION: Final = "(source = 'moderation' AND name != 'refusal')"
# The SDK's labels; of a filter that gives a score alone, half and more is a finding, as for the SDK's own filters.
IS_BLOCKED: Final = f"({IS_MODERATION} AND label = 'blocked')"
IS_FLAGGED: Final = (
    f"({IS_MODERATION} AND (label IN ('flagged', 'blocked') OR (label = '' AND ifNull(score >= 0.5, 0))))"
)
_MODERATION: Final = {MODERATED: IS_MODERATION, FLAGGED: IS_FLAGGED, BLOCKED: IS_BLOCKED}


def outcome_rows(client: Client, question: Question, ingredients: Mapping[str, str]) -> str:
    """The question's calls with the outcome of each objective that the ingredients name."""
    words = set(re.findall(r"\w+", " ".join(ingredients.values())))
    outcomes = {one.key: one.outcome for one in judgements(client).values() if one.key in words}
    if not outcomes:
        return calls_source(client, question.start_ns, question.end_ns)
    rows = _said_of(client, question, set(re.findall(r"\w+", " ".join(outcomes.values()))))
    return f"(SELECT *, {', '.join(f'{sql} AS {name}' for name, sql in outcomes.items())} FROM {rows})"


def good_rows(client: Client, question: Question) -> str:
    """The question's calls with `hit`: whether a call was good.

    By goodput where there is an objective on latency (one that cannot be told is not good here); else without an error and
    not broken off.
    """
    if any(one.key == GOODPUT for one in judgements(client).values()):
        return f"(SELECT *, {GOODPUT} = 3 AS hit FROM {outcome_rows(client, question, {'hit': GOODPUT})})"
    calls = calls_source(client, question.start_ns, question.end_ns)
    return f"(SELECT *, error_type = '' AND NOT cancelled AS hit FROM {calls})"


def _said_of(client: Client, question: Question, words: set[str]) -> str:
    """The question's calls with those columns on what was said of them that are among the words."""
    conditions = {name: sql for name, sql in _MODERATION.items() if name in words}
    columns = {name: f"countIf({sql}) > 0" for name, sql in conditions.items()}
    late = False
    for versions in read_objectives(client).values():
        for objective in (version.objective for version in versions if version.objective.kind == "accuracy"):
            name = verdict_column(objective)
            if name in words:
                conditions[name] = verdict_condition(objective)
                columns[name] = verdict_aggregate(objective)
                late = True  # labels come when somebody has had the time
    if not columns:
        return calls_source(client, question.start_ns, question.end_ns)
    condition = " OR ".join(conditions.values())
    return judged_source(client, question.start_ns, question.end_ns, condition=condition, columns=columns, late=late)


def _build(client: Client, question: Question, ingredients: Mapping[str, str]) -> str:
    condition, _ = where_sql(question.where)
    rows = outcome_rows(client, question, ingredients)
    return f"SELECT {select_list(question.key_columns, ingredients)} FROM {rows} WHERE {condition}{group_by(question)}"


def _build_hours(client: Client, question: Question, ingredients: Mapping[str, str]) -> str:
    """The same beside the hours in which GPUs were there, for each key of the question."""
    condition, _ = where_sql(question.where)
    calls = outcome_rows(client, question, ingredients)
    hours = gpu_hours_select(client, question)
    if not question.keys:
        rows = f"(SELECT *, (SELECT gpu_hours FROM ({hours})) AS gpu_hours FROM {calls})"
        return f"SELECT {select_list([], ingredients)} FROM {rows} WHERE {condition}"
    keyed = f"SELECT *, {', '.join(question.key_columns)} FROM {calls} WHERE {condition}"
    joined = f"({keyed}) AS calls LEFT ANY JOIN ({hours}) AS hours USING ({', '.join(question.keys)})"
    return f"SELECT {select_list(question.keys, ingredients)} FROM {joined}{group_by(question)}"


def gpu_hours_select(client: Client, question: Question) -> str:
    """SELECT of the question's keys and `gpu_hours`: the minutes in which each GPU was reported."""
    condition, _ = where_sql(question.where)
    found = periods_of(client, question)
    ends = [(question.start_ns, question.end_ns)] if found is None else found.ends(question)
    keys = "".join(f"{key}, " for key in question.keys)
    # A slice of a GPU is no GPU of its own.
    gpu = "node AS of_node, if(parent = '', gpu, parent) AS of_gpu"
    columns = replace(question, steps_from_ns=question.origin_ns).key_columns
    pieces = [
        f"""SELECT {", ".join([*columns, gpu])}, toUnixTimestamp(toStartOfHour(timestamp)) AS at,
        groupBitOr(bitShiftLeft(toUInt64(1), intDiv(toUnixTimestamp(timestamp), 60) % 60)) AS bits FROM gpu_samples
        WHERE {between(*end)} AND {condition} GROUP BY {keys}of_node, of_gpu, at"""
        for end in ends
    ]
    if found is not None:
        pieces.append(f"""SELECT {", ".join([*hour_keys(question), gpu])}, toUnixTimestamp(toStartOfHour(period)) AS at,
        groupBitOr(minutes) AS bits FROM {found.rows} WHERE rows__n > 0 AND {condition} GROUP BY {keys}of_node, of_gpu, at""")
    hours = f"""SELECT {keys}of_node, of_gpu, at, bitCount(groupBitOr(bits)) AS minutes
        FROM ({" UNION ALL ".join(pieces)}) GROUP BY {keys}of_node, of_gpu, at"""
    return f"SELECT {keys}sum(minutes) / 60 AS gpu_hours FROM ({hours}){group_by(question)}"


OUTCOMES: Final = Source(
    name="outcomes",
    rows="calls: one row for each model call, with how it did by the objective",
    nothing="no call in this window",
    dimensions=DIMENSIONS,
    where_keys=WHERE_KEYS,
    population=POPULATION,
    build=_build,
    cohorts=True,
)

# A source of its own, so that what is added up by hour answers without it.
PRICED: Final = replace(
    OUTCOMES, name="priced", rows="calls with what they cost, and with how they did by the objective"
)

# What both calls and GPU samples know of themselves.
_PLACES: Final = ("environment", "region", "node")

GPU_HOURS: Final = Source(
    name="gpu_hours",
    rows="calls beside the minutes in which each GPU of the same place was reported (`gpu_samples`)",
    nothing="no call in this window",
    dimensions=_PLACES,
    where_keys=_PLACES,
    population=POPULATION,
    build=_build_hours,
)
