"""A store of very many calls in little time: one day is made up and added up by the jobs, the others are that day again.

Each later day has the calls, judgements, events and costs of the first, so many days later, with traces, sessions, emitters,
users and release of its own. What the jobs make of a day of calls is then the same but for the time and these names, so the
rollups of the later days are copied likewise; `differences` has the jobs make a day anew and compares. Users are added up by
the statement of the job `hours`, from the calls of the first day under their names of the other; GPUs by the job.

Closed periods are answered from these rollups. The calls themselves are there on `days` of the later days, the last ones; costs
of single calls on the first alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from benchmarks.calls import DAYS, END, START, fill, insert_all, users_of
from monitor.jobs import hours, objectives, rollup
from monitor.jobs.job import Context
from monitor.kpis.conditions import judgements
from monitor.kpis.hours import read_states, write_state
from monitor.kpis.units import USER_HOURS, bucket_sql, users_made_of
from monitor.settings import ObjectiveSettings, Settings
from monitor.store import Client
from monitor.store.calls import calls_source
from monitor.store.objectives import write_objectives

_NS: Final = 10**9
_DAY_S: Final = 86_400
_BEGIN: Final = int(START.timestamp())
_FACTS: Final = ("inferences", "evaluations", "engagement_events")
_ROLLED: Final = (
    "inferences_1m",
    "inferences_1h",
    "inferences_1d",
    "objective_counts",
    "source_hours",
    "emitter_hours",
    "emitter_ends",
    "session_hours",
    "session_costs",
    "cost_results",
)
_CHECKED: Final = tuple(table for table in _ROLLED if table not in ("session_hours", "session_costs", "cost_results"))


_WAS: Final = {"session_id": "was_session", "unit": "was_unit"}


def fill_shifted(client: Client, calls: int, known: tuple[ObjectiveSettings, ...], *, days: int = 1) -> None:
    """About so many calls a month, added up but for GPUs (`hours` does that); facts of the first day and the last `days`."""
    fill(client, calls, days=1)
    write_objectives(client, known, now=START)
    shift(client, calls)
    copy_facts(client, calls, range(DAYS - days, DAYS))


def shift(client: Client, calls: int) -> None:
    """The first day is added up, and what is made of it copied to all others."""
    began = time.perf_counter()
    for job in (rollup, hours, objectives):
        job.run(_context(client, _BEGIN + _DAY_S + job.GRACE_S))
        print(f"  first day, {job.__name__}: {time.perf_counter() - began:.1f} s", flush=True)
    for table in _ROLLED:
        columns = columns_of(client, table)
        insert_all(client, (_copy(table, columns, calls, day) for day in range(1, DAYS)))
        print(f"  other days, {table}: {time.perf_counter() - began:.1f} s", flush=True)
    insert_all(client, (_users(client, calls, day) for day in range(1, DAYS)))
    print(f"  other days, users: {time.perf_counter() - began:.1f} s", flush=True)
    _tell_how_far(client)


def copy_facts(client: Client, calls: int, days: Iterable[int]) -> None:
    days = list(days)
    for table in _FACTS:
        columns = columns_of(client, table)
        insert_all(client, (_copy(table, columns, calls, day) for day in days))


def differences(client: Client, day: int) -> list[str]:
    """What the jobs make of a day (1 to 29) against what is there: columns whose sums differ."""
    start, end = _BEGIN + day * _DAY_S, _BEGIN + (day + 1) * _DAY_S
    before = {table: _sums(client, table, start, end) for table in _CHECKED}
    context, state = _context(client, END.timestamp() + 600), rollup.read_state(client)
    assert state is not None
    rollup.roll_late(context, [(start, end)], state)
    objectives.replace_counts(client, judgements(client), start, end)
    for product in hours.PRODUCTS:
        product.write(client, start, end)
    found = []
    for table, had in before.items():
        has = _sums(client, table, start, end)
        found += [
            f"{table}.{name}: {had[name]}, made anew {has[name]}"
            for name in had
            if not math.isclose(had[name], has[name], rel_tol=1e-9)
        ]
    return found


def columns_of(client: Client, table: str) -> dict[str, str]:
    rows = client.query(
        f"SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = '{table}'"
        " AND default_kind NOT IN ('MATERIALIZED', 'ALIAS') ORDER BY position"
    ).result_rows
    return {str(name): str(kind) for name, kind in rows}


def _context(client: Client, now_s: float) -> Context:
    return Context(client=client, settings=Settings(), now=START + timedelta(seconds=now_s - _BEGIN))


def _copy(table: str, columns: Mapping[str, str], calls: int, day: int) -> str:
    moved = f"* REPLACE ({_moved(columns, calls, day)})"
    # What is said late may be of the next day.
    first = f"{_time(columns)} < toDateTime({_BEGIN + _DAY_S}, 'UTC')"
    own = "session_id LIKE 's0-%'" if table == "engagement_events" else first
    names = ", ".join(columns)
    # Filtered and named first: what is replaced keeps its name.
    was = "".join(f", {name} AS {was}" for name, was in _WAS.items() if name in columns)
    return f"INSERT INTO {table} ({names}) SELECT {names} FROM (SELECT {moved} FROM (SELECT *{was} FROM {table} WHERE {own}))"


def _users(client: Client, calls: int, day: int) -> str:
    """Hours of the users of a day, as the job makes them of the first day's calls under their new names."""
    rows = calls_source(client, _BEGIN * _NS, (_BEGIN + _DAY_S) * _NS)
    columns = ("timestamp", "session_id", "user_id", "release")
    moved = f"(SELECT * REPLACE ({_moved(columns, calls, day)}) FROM (SELECT *, session_id AS was_session FROM {rows}))"
    made = users_made_of(client, _BEGIN, _BEGIN + _DAY_S).replace(rows, moved)
    names = ", ".join(["period", *USER_HOURS.keys, *USER_HOURS.columns])
    return f"INSERT INTO {USER_HOURS.table} ({names}, version) SELECT {names}, 1 FROM ({made})"


def _time(columns: Iterable[str]) -> str:
    return next(name for name in ("timestamp", "period", "hour") if name in columns)


def _moved(columns: Collection[str], calls: int, day: int) -> str:
    """Columns of the first day that are others on this day, as REPLACE has them."""
    session = "toUInt64(substring(was_session, 4))"
    place = f"bitShiftRight(cityHash64({session}, {day}, 1), 11) / 9007199254740992."
    unit = f"cityHash64(was_unit, {day})"
    said = {
        "trace_id": f"if(trace_id = '', '', concat('{day:02x}', substring(trace_id, 3)))",
        "user_id": f"concat('u', toString(toUInt64({users_of(calls, day)} * pow({place}, 2))))",
        "session_id": f"concat('s{day}-', substring(was_session, 4))",
        "unit": unit,
        "bucket": bucket_sql(unit),
        "release": f"'r{day // 6}'",
        "emitter": f"concat(substring(emitter, 1, length(emitter) - 1), '{day}')",
    }
    time_ = _time(columns)
    found = [f"{time_} + toIntervalSecond({day * _DAY_S}) AS {time_}"]
    found += [f"{sql} AS {name}" for name, sql in said.items() if name in columns]
    found += [
        f"mapApply((k, v) -> (toInt64(k + {24 * day}), v), {name}) AS {name}"
        for name in columns
        if name.endswith("_by_hour")
    ]
    return ", ".join(found)


def _tell_how_far(client: Client) -> None:
    """To the end, as the jobs would have; what is there already came too early to be late."""
    end, seen_ms = int(END.timestamp()), int((time.time() + 600) * 1000)
    rollup.write_state(client, rollup.State(minutes=end, hours=end, days=end, seen_ms=seen_ms))
    for name, state in read_states(client).items():
        write_state(client, name, replace(state, until=state.until if name == "gpus" else end, seen_ms=seen_ms))
    known = judgements(client)
    for name, counted in objectives.read_states(client).items():
        objectives.write_reach(client, replace(counted, until=end, seen_ms=seen_ms), {name: known[name]})


def _sums(client: Client, table: str, start: int, end: int) -> dict[str, float]:
    columns = columns_of(client, table)
    numbers = {name for name, kind in columns.items() if "__" in name and kind in ("UInt64", "Float64")}
    maps = {name for name, kind in columns.items() if kind.startswith("Map")}
    keys = [name for name in columns if "__" not in name and name not in ("version", "runs", "first_min", "last_max")]
    had = "rows__n" if "rows__n" in columns else "calls__n"
    wanted = {"rows": "count()", "keys": f"sum(cityHash64({', '.join(keys)}) % 1000003)"}
    wanted |= {name: f"sum(if(isFinite({name}), {name}, 0))" for name in numbers}
    wanted |= {name: f"sum(arraySum(mapValues({name})))" for name in maps}
    wanted |= {f"{name} keys": f"sum(cityHash64(mapKeys({name})) % 1000003)" for name in maps}
    if "runs" in columns:
        wanted["runs"] = "sum(cityHash64(arraySort(runs)) % 1000003)"
    rows = (
        f"SELECT * FROM {table} FINAL WHERE period >= toDateTime({start}) AND period < toDateTime({end}) AND {had} > 0"
    )
    values: tuple[Any, ...] = client.query(f"SELECT {', '.join(wanted.values())} FROM ({rows})").result_rows[0]
    return {name: float(value) for name, value in zip(wanted, values, strict=True)}
