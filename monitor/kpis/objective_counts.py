"""Objectives over long windows: hours that are added up already, and at both ends minutes that are, or the calls themselves.

`monitor.jobs.objectives` and `monitor.jobs.minutes` fill the tables. What is added up are the very sums that a question to the
calls would give, so all answers are the same number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from monitor.kpis.attainment import Judgement, cost_sums
from monitor.kpis.conditions import GOODPUT, judgements
from monitor.kpis.dimensions import dimension_sql, where_sql
from monitor.kpis.estimators import POPULATION
from monitor.kpis.families.objective import COST
from monitor.kpis.grains import KEYS
from monitor.kpis.hours import HOUR_S, MINUTE_S, State, with_marks
from monitor.kpis.rollup import merged_columns
from monitor.kpis.sources import Question, Source
from monitor.kpis.sources.cost import good_costs_select
from monitor.kpis.sources.outcomes import OUTCOMES, gpu_hours_select
from monitor.kpis.sources.question import group_by
from monitor.store import Client
from monitor.store.flatten import literal, literals

TABLE: Final = "objective_counts"
MINUTES_TABLE: Final = "objective_minutes"
# Columns of the table beside its population.
_SHARES: Final = ("about__n", "about__w", "known__n", "known__w", "known__ww", "good__n", "good__w", "good__ww")
# Of goodput, over the calls that say what they cost; of all else 0.
_COSTS: Final = (
    "priced__n", "priced__wx", "priced__wwx", "priced__wwxx", "priced_good__n", "priced_good__w", "priced_good__ww", "priced_good__wwx",
)  # fmt: skip
COUNTS: Final = (*_SHARES, *_COSTS)
_S: Final = 10**9


def rule_of(judgement: Judgement) -> str:
    """Hash of the sums: counts by another rule say nothing of this one."""
    text = judgement.outcome + "".join(sql for sql, _ in ingredients_of(judgement).values())
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def ingredients_of(judgement: Judgement) -> dict[str, tuple[str, str]]:
    """Name of an ingredient over calls -> its SQL, and the column that it is added up in."""
    shares = {
        **judgement.concerned.pick("n", "w"),
        **judgement.judged.pick("n", "w", "ww"),
        **judgement.hit.pick("n", "w", "ww"),
    }
    costs = cost_sums(judgement, COST) if judgement.key == GOODPUT else {}
    return {
        name: (sql, column)
        for sums, columns in ((shares, _SHARES), (costs, _COSTS))
        for (name, sql), column in zip(sums.items(), columns, strict=False)
    }


def read_states(client: Client) -> dict[str, State]:
    """Objective -> how far its counts reach."""
    rows = client.query(
        "SELECT objective, rule, toUnixTimestamp(since), toUnixTimestamp(until), toUnixTimestamp64Milli(seen)"
        f" FROM {TABLE}_state FINAL"
    ).result_rows
    return with_marks(
        {
            str(name): State(rule=str(rule), since=int(since), until=int(until), seen_ms=int(seen))
            for name, rule, since, until, seen in rows
        }
    )


def counted_select(client: Client, source: Source, question: Question, wanted: Mapping[str, str]) -> str | None:
    """One row per key with the ingredients `wanted`; None where the calls must answer."""
    if source.name == "gpu_hours":
        return _beside_gpus(client, question, wanted)
    if source.name == "good_costs":
        return _beside_costs(client, question, wanted)
    if source.name not in ("outcomes", "priced") or not {*question.by, *question.where} <= set(KEYS):
        return None
    if not all(name in POPULATION or name.startswith(("o_", GOODPUT)) for name in wanted):
        return None
    known = judgements(client)
    columns = _columns(known, wanted)
    if columns is None:
        return None
    states, names = read_states(client), {name for name, _ in columns.values()}
    hours = _hours(question, known, states, names)
    pieces = [] if hours is None else [_counted(question, wanted, columns, *hours, table=TABLE)]
    start_ns, end_ns = question.start_ns, question.end_ns
    ends = [(start_ns, end_ns)] if hours is None else [(start_ns, hours[0] * _S), (hours[1] * _S, end_ns)]
    for part in [replace(question, start_ns=a, end_ns=b, steps_from_ns=question.origin_ns) for a, b in ends if a < b]:
        if _by_minute(part, known, states, names):
            first, last = part.start_ns // _S, part.end_ns // _S
            pieces.append(_counted(question, wanted, columns, first, last, table=MINUTES_TABLE))
        elif hours is None:
            return None
        else:
            pieces.append(source.build(client, part, wanted))
    union = " UNION ALL ".join(f"SELECT * FROM ({piece}) WHERE calls__n > 0" for piece in pieces)
    keys = "".join(f"{key}, " for key in question.keys)
    return f"SELECT {keys}{merged_columns(wanted)} FROM ({union}){group_by(question)}"


def _beside_gpus(client: Client, question: Question, wanted: Mapping[str, str]) -> str | None:
    """The counts beside the hours of GPUs of the same place."""
    others = {name: sql for name, sql in wanted.items() if name != "gpu__hours"}
    counted = counted_select(client, OUTCOMES, question, others)
    if counted is None:
        return None
    hours = gpu_hours_select(client, question)
    if not question.keys:
        return f"SELECT {', '.join(others)}, (SELECT gpu_hours FROM ({hours})) AS gpu__hours FROM ({counted})"
    keys = ", ".join(question.keys)
    columns = ", ".join([*(f"calls.{name} AS {name}" for name in others), "hours.gpu_hours AS gpu__hours"])
    return f"SELECT {keys}, {columns} FROM ({counted}) AS calls LEFT ANY JOIN ({hours}) AS hours USING ({keys})"


def _beside_costs(client: Client, question: Question, wanted: Mapping[str, str]) -> str | None:
    """The good calls beside what all of them cost."""
    known = judgements(client)
    if GOODPUT not in known:
        return None
    hit = known[GOODPUT].hit
    counted = counted_select(client, OUTCOMES, question, {**POPULATION, **hit.pick("n", "w")})
    if counted is None:
        return None
    keys = "".join(f"{key}, " for key in question.keys)
    good = f"SELECT {keys}calls__n AS requests, {hit.name}__w AS good, {hit.name}__n AS good_n FROM ({counted}) WHERE calls__n > 0"
    return good_costs_select(question, good, wanted)


def merge(name: str) -> str:
    """Aggregate function that adds up an ingredient."""
    return {"calls__w_min": "min", "calls__w_max": "max"}.get(name, "sum")


def _columns(known: Mapping[str, Judgement], wanted: Mapping[str, str]) -> dict[str, tuple[str, str]] | None:
    """Wanted ingredient -> objective and column; None if one of them is not added up in just this way."""
    offered = {
        ingredient: (name, sql, column)
        for name, judgement in known.items()
        for ingredient, (sql, column) in ingredients_of(judgement).items()
    }
    found = {}
    for ingredient, sql in wanted.items():
        if ingredient in POPULATION:
            continue
        if ingredient not in offered or offered[ingredient][1] != sql:
            return None
        found[ingredient] = (offered[ingredient][0], offered[ingredient][2])
    return found or None


def _hours(
    question: Question, known: Mapping[str, Judgement], states: Mapping[str, State], names: set[str]
) -> tuple[int, int] | None:
    """The part of the window, in Unix seconds, whose hours are added up for all these objectives; see `whole_hours`."""
    hour_ns = HOUR_S * _S
    if question.step_ns and (question.origin_ns % hour_ns or question.step_ns % hour_ns):
        return None
    if any(name not in states or states[name].rule != rule_of(known[name]) for name in names):
        return None
    since = max([-(-question.start_ns // hour_ns) * HOUR_S, *(states[name].since for name in names)])
    until = min([question.end_ns // hour_ns * HOUR_S, *(states[name].until for name in names)])
    if all(question.end_ns == states[name].mark * _S for name in names):
        until = -(-question.end_ns // hour_ns) * HOUR_S
    return (since, until) if since < until else None


def _by_minute(part: Question, known: Mapping[str, Judgement], states: Mapping[str, State], names: set[str]) -> bool:
    """Whether all of a part of the window is added up by the minute for all these objectives."""
    minute_ns = MINUTE_S * _S
    if part.start_ns % minute_ns or part.end_ns % minute_ns:
        return False
    if part.step_ns and (part.origin_ns % minute_ns or part.step_ns % minute_ns):
        return False
    mine = {name: states.get(minutes_name(name)) for name in names}
    return all(
        state is not None
        and state.rule == rule_of(known[name])
        and state.since * _S <= part.start_ns
        and part.end_ns <= state.until * _S
        for name, state in mine.items()
    )


def minutes_name(objective: str) -> str:
    """Under which it is kept how far an objective's minutes reach."""
    return f"minutes:{objective}"


def _counted(
    question: Question,
    wanted: Mapping[str, str],
    columns: Mapping[str, tuple[str, str]],
    first: int,
    last: int,
    *,
    table: str,
) -> str:
    names = sorted({name for name, _ in columns.values()})
    condition, _ = where_sql(question.where)
    keys = [f"{dimension_sql(name)} AS {key}" for name, key in zip(question.by, question.group_keys, strict=True)]
    if question.step_ns:
        begin = f"toInt64(toUnixTimestamp(period)) * {_S}"
        keys.append(f"intDiv({begin} - {question.origin_ns}, {question.step_ns}) AS step")
    # Each objective has all calls of an hour as its population; one of them tells it.
    of_all = {name: f"{merge(name)}If({name}, objective = {literal(names[0])})" for name in POPULATION}
    sums = {name: f"sumIf({column}, objective = {literal(of)})" for name, (of, column) in columns.items()}
    select = ", ".join([*keys, *(f"{({**of_all, **sums})[name]} AS {name}" for name in wanted)])
    filtered = (
        f"SELECT * FROM {table} FINAL WHERE objective IN ({literals(names)}) AND period >= toDateTime({first})"
        f" AND period < toDateTime({last}) AND {condition} AND calls__n > 0"
    )
    return f"SELECT {select} FROM ({filtered}) AS counted{group_by(question)}"


def steps_of(hours: Sequence[int]) -> list[tuple[int, int]]:
    """Hours (their begins, Unix seconds) as half-open stretches; neighbours are one, of at most a day."""
    found: list[tuple[int, int]] = []
    for hour in sorted(set(hours)):
        if found and hour == found[-1][1] and hour - found[-1][0] < 24 * HOUR_S:
            found[-1] = (found[-1][0], hour + HOUR_S)
        else:
            found.append((hour, hour + HOUR_S))
    return found
