"""The job `objectives`: adds up, hour by hour, the calls that objectives are about, and how many of them were good.

An hour is closed when `GRACE_S` have passed since its end. Each run adds up the hours that have closed since, those that
late spans or late judgements came for, and, backwards from there, history that is not added up yet: an objective that is
new, or that was changed, begins with the newest hour and reaches further back with each run. Every hour is replaced as
a whole, so a run may stop anywhere and be run again. Hours that are not over are added up by the job `hours`, up to its mark.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from monitor.jobs.job import Context, Job, Outcome
from monitor.kpis.attainment import Judgement
from monitor.kpis.conditions import judgements
from monitor.kpis.estimators import POPULATION
from monitor.kpis.grains import KEYS
from monitor.kpis.hours import HOUR_S, State, open_name
from monitor.kpis.objective_counts import (
    COUNTS,
    TABLE,
    ingredients_of,
    read_states,
    rule_of,
    steps_of,
)
from monitor.kpis.rollup import merged_columns, nothing
from monitor.kpis.sources import Question
from monitor.kpis.sources.outcomes import outcome_rows
from monitor.store import Client
from monitor.store.flatten import literal, literals

GRACE_S: Final = 300
SLACK_MS: Final = 120_000  # rows become visible some time after they are stamped
DAY_S: Final = 24 * HOUR_S
BACK_DAYS: Final = 10  # of history in one run
_S: Final = 10**9
_VERSION: Final = "toUnixTimestamp64Milli(now64(3))"


def run(context: Context) -> Outcome:
    """Add up what has closed, what came late, and some of the history."""
    client = context.client
    known = judgements(client)
    if not known:
        return Outcome(note="no objectives")
    closed = (int(context.now.timestamp()) - GRACE_S) // HOUR_S * HOUR_S
    # By the store's own clock, as the times of insert are.
    looked_ms = int(client.query("SELECT toUnixTimestamp64Milli(now64(3))").result_rows[0][0])
    rows = 0
    for state, mine in _together(known, read_states(client), closed, looked_ms):
        rows += _bring_up(context, state, mine, closed, looked_ms)
    return Outcome(rows=rows)


OBJECTIVES: Final = Job(name="objectives", meaning="Adds up by hour how well objectives are kept.", every_s=60, run=run)


def _together(
    known: Mapping[str, Judgement], states: Mapping[str, State], closed: int, looked_ms: int
) -> list[tuple[State, dict[str, Judgement]]]:
    """Objectives whose counts reach equally far: one statement adds up all of them. Rules differ, and are left empty."""
    groups: dict[State, dict[str, Judgement]] = {}
    for name, judgement in known.items():
        state = states.get(name)
        if state is not None and state.rule == rule_of(judgement):
            state = replace(state, mark=0)
        else:
            state = State(rule="", since=closed, until=closed, seen_ms=looked_ms)
        groups.setdefault(replace(state, rule=""), {})[name] = judgement
    return list(groups.items())


def _bring_up(context: Context, state: State, known: Mapping[str, Judgement], closed: int, looked_ms: int) -> int:
    client = context.client
    hours = late_hours(client, state, oldest=_oldest(context))
    rows = sum(replace_counts(client, known, start, end) for start, end in steps_of(hours))
    state = replace(state, seen_ms=looked_ms)
    while state.until < closed and not context.stop.is_set():
        end = min(closed, state.until + DAY_S)
        rows += replace_counts(client, known, state.until, end)
        state = replace(state, until=end)
        write_reach(client, state, known)
    for _ in range(BACK_DAYS):
        if context.stop.is_set() or not state.since:
            break
        last = _last_call(client, _oldest(context), state.since)
        # Nothing before it: the counts of all earlier hours are there, and 0. Else days without a call are passed over.
        end = state.since if last is None else min(state.since, last // HOUR_S * HOUR_S + HOUR_S)
        start = 0 if last is None else max(_oldest(context), end - DAY_S)
        rows += replace_counts(client, known, start, end) if last is not None else 0
        state = replace(state, since=start)
        write_reach(client, state, known)
    write_reach(client, state, known)
    return rows


def add_up_open(client: Client, closed: int, mark: int) -> int:
    """Add up what began since the last hour that is over, up to a mark (Unix seconds); returns the rows.

    The job `hours` does it with its own products, since a page asks for all of them up to one moment. Objectives whose last
    hour is not added up yet are left out until it is.
    """
    known, states = judgements(client), read_states(client)
    wanted = {
        name: judgement
        for name, judgement in known.items()
        if name in states and states[name].rule == rule_of(judgement) and states[name].until == closed
    }
    if not wanted:
        return 0
    open_ = State(rule="", since=closed, until=closed, seen_ms=0)
    # Until the rows are there, there is no mark.
    write_reach(client, open_, wanted, of=open_name)
    rows = replace_counts(client, wanted, closed, mark)
    write_reach(client, replace(open_, until=mark), wanted, of=open_name)
    return rows


def late_hours(client: Client, state: State, *, oldest: int) -> list[int]:
    """Begins of those hours that are added up and that spans or judgements were inserted for since the last look."""
    first = max(state.since, oldest)
    if first >= state.until:
        return []
    inserted = f"inserted_at >= fromUnixTimestamp64Milli(toInt64({state.seen_ms - SLACK_MS}))"
    rolled = f"timestamp >= toDateTime64({first}, 9) AND timestamp < toDateTime64({state.until}, 9)"
    late = f"SELECT trace_id FROM inferences WHERE {inserted} AND {rolled}"
    # Most judgements are of calls that are not added up yet.
    fresh = f"SELECT trace_id FROM inferences WHERE timestamp >= toDateTime64({state.until - HOUR_S}, 9)"
    judged = f"SELECT trace_id FROM evaluations WHERE {inserted} AND trace_id != ''"
    answers = f"SELECT response_id FROM evaluations WHERE {inserted} AND trace_id = '' AND response_id != ''"
    near = f"timestamp >= toDateTime64({state.until - HOUR_S}, 9) AND {rolled}"
    conditions = [
        f"{rolled} AND trace_id IN ({late})",
        f"{near} AND trace_id IN ({judged})",
        f"{rolled} AND trace_id IN ({judged} AND trace_id NOT IN ({fresh}))",
        f"{rolled} AND request_id IN ({answers})",
    ]
    found: set[int] = set()
    for condition in conditions:
        query = (
            f"SELECT DISTINCT intDiv(toUnixTimestamp(timestamp), {HOUR_S}) * {HOUR_S} FROM inferences WHERE {condition}"
        )
        found |= {int(row[0]) for row in client.query(query).result_rows}
    return sorted(found)


def replace_counts(
    client: Client, known: Mapping[str, Judgement], start: int, end: int, *, table: str = TABLE, period_s: int = HOUR_S
) -> int:
    """Write a stretch of hours (minutes) anew; what it had and has no more, with nothing in it. Returns its rows."""
    if start >= end:
        return 0
    keys = ", ".join(KEYS)
    columns = ", ".join((*POPULATION, *COUNTS))
    merged = merged_columns((*POPULATION, *COUNTS))
    range_ = f"objective IN ({literals(known)}) AND period >= toDateTime({start}) AND period < toDateTime({end})"
    had = f"SELECT * FROM {table} FINAL WHERE {range_} AND calls__n > 0"
    emptied = ", ".join(f"{nothing(name)} AS {name}" for name in (*POPULATION, *COUNTS))
    client.command(
        f"INSERT INTO {table} (objective, period, {keys}, version, {columns})"
        f" SELECT objective, period, {keys}, {_VERSION}, {merged} FROM ({_from_calls(client, known, start, end, period_s)}"
        f" UNION ALL SELECT objective, period, {keys}, {emptied} FROM ({had}) AS had)"
        f" GROUP BY objective, period, {keys}"
    )
    written = f"SELECT count() FROM {table} FINAL WHERE {range_} AND calls__n > 0"
    return int(client.query(written).result_rows[0][0])


def _from_calls(client: Client, known: Mapping[str, Judgement], start: int, end: int, period_s: int) -> str:
    """A row for each objective, hour (minute) and combination of keys."""
    wide = dict(POPULATION)
    for judgement in known.values():
        wide |= {name: sql for name, (sql, _) in ingredients_of(judgement).items()}
    question = Question(start_ns=start * _S, end_ns=end * _S, where={}, groups_max=1)
    rows = outcome_rows(client, question, wide)
    keys = ", ".join(KEYS)
    period = f"toDateTime(intDiv(toUnixTimestamp(timestamp), {period_s}) * {period_s}, 'UTC') AS period"
    sums = ", ".join(f"{sql} AS {name}" for name, sql in wide.items())
    hours = f"SELECT {period}, {keys}, {sums} FROM {rows} GROUP BY period, {keys}"
    tuples = [f"({', '.join([literal(name), *_columns_of(judgement)])})" for name, judgement in known.items()]
    picked = ", ".join(f"o.{place} AS {name}" for place, name in enumerate(COUNTS, 2))
    return (
        f"SELECT o.1 AS objective, period, {keys}, {', '.join(POPULATION)}, {picked}"
        f" FROM ({hours}) AS hours ARRAY JOIN [{', '.join(tuples)}] AS o"
    )


def _columns_of(judgement: Judgement) -> list[str]:
    """Ingredients in the order of the columns; 0 for what this objective does not have."""
    mine = {column: name for name, (_, column) in ingredients_of(judgement).items()}
    return [mine.get(column, "toUInt64(0)" if column.endswith("__n") else "toFloat64(0)") for column in COUNTS]


def write_reach(
    client: Client, state: State, known: Mapping[str, Judgement], *, of: Callable[[str], str] = lambda name: name
) -> None:
    """Keep how far the counts of some objectives reach, by their rules, under the names that `of` gives them."""
    selects = [
        f"SELECT {literal(of(name))}, {literal(rule_of(judgement))}, toDateTime({state.since}), toDateTime({state.until}),"
        f" fromUnixTimestamp64Milli(toInt64({state.seen_ms})), {_VERSION}"
        for name, judgement in known.items()
    ]
    client.command(
        f"INSERT INTO {TABLE}_state (objective, rule, since, until, seen, version) {' UNION ALL '.join(selects)}"
    )


def _last_call(client: Client, oldest: int, before: int) -> int | None:
    """When the last call in this stretch began, in Unix seconds."""
    stretch = f"timestamp >= toDateTime64({oldest}, 9) AND timestamp < toDateTime64({before}, 9)"
    last, any_there = client.query(
        f"SELECT toUnixTimestamp(max(timestamp)), count() FROM inferences WHERE {stretch}"
    ).result_rows[0]
    return int(last) if any_there else None


def _oldest(context: Context) -> int:
    """Begin of the oldest day that the retention of calls leaves whole, in Unix seconds."""
    today = int(datetime(context.now.year, context.now.month, context.now.day, tzinfo=UTC).timestamp())
    return today - (context.settings.retention.facts_days - 1) * DAY_S
