"""The job `rollup`: adds up closed periods of calls by minute, hour and day.

A minute is closed when `GRACE_S` have passed since its end. Each run rolls up what has closed since the last one, and
again every period that rows came for after it was rolled up: late spans, and whatever belongs to the same trace, since
a late row may become part of a call that is counted already. What is found by looking at the time of insert reaches
`SLACK_S` further back than the last look, as rows become visible some time after they are stamped.

Every period is replaced as a whole: groups that it had and has no more are written anew with nothing in them. So a run
may stop anywhere and be run again. Rows that only the retention took away are no reason to roll up anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from monitor.jobs.job import Context, Job, Outcome
from monitor.kpis.grains import DAY, HOUR, KEYS, MINUTE, Grain
from monitor.kpis.rollup import from_calls, ingredients, merged_columns, nothing
from monitor.store import Client
from monitor.store.calls import REACH_NS, calls_source
from monitor.store.client import any_rows

GRACE_S: Final = 120
SLACK_S: Final = 120
# Late periods with a gap of less between them are rolled up as one stretch.
GAP_S: Final = 600
# Of more, those with a gap of an hour too: each costs some statements, whatever is in it.
STRETCHES_MAX: Final = 8
_NS: Final = 10**9

Stretch = tuple[int, int]  # Unix seconds, half-open


@dataclass(frozen=True, kw_only=True)
class State:
    """How far the rollups reach (Unix seconds), and up to which time of insert (Unix milliseconds) rows are in them."""

    minutes: int
    hours: int
    days: int
    seen_ms: int


def run(context: Context) -> Outcome:
    """Roll up what has closed since the last run, day by day, and what came late."""
    client = context.client
    closed = MINUTE.floor(int(context.now.timestamp()) - GRACE_S)
    # By the store's own clock, as the times of insert are.
    looked_ms = int(client.query("SELECT toUnixTimestamp64Milli(now64(3))").result_rows[0][0])
    state = read_state(client)
    if state is None:
        first = _first_call(client)
        if first is None or first >= closed:
            return Outcome(note="no call yet")
        state = State(minutes=DAY.floor(first), hours=DAY.floor(first), days=DAY.floor(first), seen_ms=looked_ms)
        late: list[Stretch] = []
    else:
        late = late_minutes(client, state, oldest=_oldest_fact(context))
    rows = roll_late(context, late, state)
    state = replace(state, seen_ms=looked_ms)
    while state.minutes < closed and not context.stop.is_set():
        end = min(closed, DAY.floor(state.minutes) + DAY.seconds)
        if state.minutes == state.days:  # a new day: those without a call are passed over
            end = min(closed, max(end, DAY.floor(_first_call(client, since=state.minutes) or closed)))
        rows += _roll_forward(context, state, min(end, DAY.floor(state.minutes) + DAY.seconds))
        state = replace(state, minutes=end, hours=HOUR.floor(end), days=DAY.floor(end))
        write_state(client, state)
    remark = f"{len(late)} late stretches" if late else ""
    return Outcome(rows=rows, note=remark)


ROLLUP: Final = Job(name="rollup", meaning="Adds up calls by minute, hour and day.", every_s=30, run=run)


def read_state(client: Client) -> State | None:
    """What the last run left; None before the first."""
    rows = client.query(
        "SELECT toUnixTimestamp(until_1m), toUnixTimestamp(until_1h), toUnixTimestamp(until_1d),"
        " toUnixTimestamp64Milli(seen) FROM rollup_state FINAL WHERE name = 'inferences'"
    ).result_rows
    if not rows:
        return None
    minutes, hours, days, seen_ms = (int(value) for value in rows[0])
    return State(minutes=minutes, hours=hours, days=days, seen_ms=seen_ms)


def write_state(client: Client, state: State) -> None:
    client.command(
        "INSERT INTO rollup_state (name, until_1m, until_1h, until_1d, seen, version)"
        f" SELECT 'inferences', toDateTime({state.minutes}), toDateTime({state.hours}), toDateTime({state.days}),"
        f" fromUnixTimestamp64Milli(toInt64({state.seen_ms})), {_VERSION}"
    )


def late_minutes(client: Client, state: State, *, oldest: int) -> list[Stretch]:
    """Stretches of rolled up minutes that rows were inserted for since the last look."""
    since = f"fromUnixTimestamp64Milli(toInt64({state.seen_ms - SLACK_S * 1000}))"
    rolled = f"timestamp >= toDateTime64({oldest}, 9) AND timestamp < toDateTime64({state.minutes}, 9)"
    touched = client.query(
        "SELECT min(minute), max(minute), groupUniqArray(minute), count() > 0 FROM"
        f" (SELECT toUnixTimestamp(toStartOfMinute(timestamp)) AS minute FROM inferences"
        f" WHERE inserted_at >= {since} AND {rolled})"
    ).result_rows[0]
    first, last, minutes, any_late = touched
    if not any_late:
        return []
    reach = REACH_NS // _NS
    around = f"timestamp >= toDateTime64({first - reach}, 9) AND timestamp < toDateTime64({last + reach}, 9)"
    # The rest of the late rows' traces: which call a row belongs to depends on all of them.
    related = client.query(
        "SELECT DISTINCT toUnixTimestamp(toStartOfMinute(timestamp)) FROM inferences"
        f" WHERE {around} AND {rolled} AND trace_id IN"
        f" (SELECT trace_id FROM inferences WHERE inserted_at >= {since} AND {rolled})"
    ).result_rows
    late = {*(int(minute) for minute in minutes), *(int(row[0]) for row in related)}
    found = stretches(late, gap_s=GAP_S)
    return found if len(found) <= STRETCHES_MAX else stretches(late, gap_s=HOUR.seconds)


def stretches(minutes: Iterable[int], *, gap_s: int) -> list[Stretch]:
    """Minutes (their begins) as stretches; those with a gap of at most `gap_s` between them are one."""
    found: list[Stretch] = []
    for minute in sorted(minutes):
        if found and minute - found[-1][1] <= gap_s:
            found[-1] = (found[-1][0], minute + MINUTE.seconds)
        else:
            found.append((minute, minute + MINUTE.seconds))
    return found


def _roll_forward(context: Context, state: State, end: int) -> int:
    """From where the rollups end to `end`, both on one day."""
    rows = _roll_minutes(context, state.minutes, end)
    rows += _roll_hours(context, state.hours, HOUR.floor(end))
    return rows + _roll_days(context, state.days, DAY.floor(end))


def roll_late(context: Context, late: Sequence[Stretch], state: State) -> int:
    """Stretches that are rolled up already, day by day; then once each of the hours and days that they lie in, as far as they are."""
    rows = sum(_roll_minutes(context, *each) for each in _by_day(late))
    for start, end in _by_day(_widened(late, HOUR)):
        rows += _roll_hours(context, start, min(end, state.hours))
    for start, end in _by_day(_widened(late, DAY)):
        rows += _roll_days(context, start, min(end, state.days))
    return rows


def _widened(late: Sequence[Stretch], grain: Grain) -> list[Stretch]:
    """To whole periods; those that touch are one stretch."""
    found: list[Stretch] = []
    for start, end in sorted((grain.floor(start), grain.ceil(end)) for start, end in late):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def _by_day(late: Sequence[Stretch]) -> list[Stretch]:
    return [
        (max(start, day), min(end, day + DAY.seconds))
        for start, end in late
        for day in range(DAY.floor(start), end, DAY.seconds)
    ]


def _roll_minutes(context: Context, start: int, end: int) -> int:
    if start >= end or start < _oldest(context, context.settings.retention.minutes_days):
        return 0
    return _replace(context.client, MINUTE, start, end, _from_calls(context.client, MINUTE, start, end))


def _roll_hours(context: Context, start: int, end: int) -> int:
    if start >= end:
        return 0
    # Minutes that the retention took are not there to be added up, nor those of its oldest, broken day.
    from_minutes = start >= _oldest(context, context.settings.retention.minutes_days)
    made_of = _from(MINUTE, HOUR, start, end) if from_minutes else _from_calls(context.client, HOUR, start, end)
    return _replace(context.client, HOUR, start, end, made_of)


def _roll_days(context: Context, start: int, end: int) -> int:
    if start >= end:
        return 0
    return _replace(context.client, DAY, start, end, _from(HOUR, DAY, start, end))


def _replace(client: Client, grain: Grain, start: int, end: int, made_of: str) -> int:
    """Write a stretch of a rollup anew; what it had and has no more, with nothing in it."""
    names = list(ingredients())
    keys = ", ".join(KEYS)
    emptied = ", ".join(f"{nothing(name)} AS {name}" for name in names)
    # Filtered first: beside its replacement, `calls__n` would be the nothing of that name.
    filled = f"SELECT * FROM {grain.table} FINAL WHERE {_periods(start, end)} AND calls__n > 0"
    had = f"SELECT period AS begin, {keys}, {emptied} FROM ({filled})"
    written = f"SELECT count() FROM {grain.table} FINAL WHERE {_periods(start, end)} AND calls__n > 0"
    into = f"INSERT INTO {grain.table} (period, {keys}, version, {', '.join(names)})"
    if not int(client.query(written).result_rows[0][0]):
        client.command(f"{into} SELECT begin, {keys}, {_VERSION}, {', '.join(names)} FROM ({made_of})")
        return int(client.query(written).result_rows[0][0])
    client.command(
        f"{into} SELECT begin, {keys}, {_VERSION}, {merged_columns(names)}"
        f" FROM ({made_of} UNION ALL {had}) GROUP BY begin, {keys}"
    )
    return int(client.query(written).result_rows[0][0])


def _from_calls(client: Client, grain: Grain, start: int, end: int) -> str:
    inside = f"timestamp >= toDateTime64({start}, 9) AND timestamp < toDateTime64({end}, 9)"
    keys = (f"{_period('timestamp', grain)} AS begin", *KEYS)
    unit = not any_rows(client, f"inferences WHERE {inside} AND sample_weight != 1")
    return from_calls(calls_source(client, start * _NS, end * _NS), keys, unit=unit)


def _from(finer: Grain, grain: Grain, start: int, end: int) -> str:
    keys = ", ".join(KEYS)
    # Filtered first: in one SELECT, `calls__n` would be the sum of that name.
    made_of = f"SELECT * FROM {finer.table} FINAL WHERE {_periods(start, end)} AND calls__n > 0"
    return (
        f"SELECT {_period('period', grain)} AS begin, {keys}, {merged_columns(ingredients())}"
        f" FROM ({made_of}) GROUP BY begin, {keys}"
    )


def _period(column: str, grain: Grain) -> str:
    return f"toDateTime(intDiv(toUnixTimestamp({column}), {grain.seconds}) * {grain.seconds}, 'UTC')"


def _periods(start: int, end: int) -> str:
    return f"period >= toDateTime({start}) AND period < toDateTime({end})"


_VERSION: Final = "toUnixTimestamp64Milli(now64(3))"


def _first_call(client: Client, *, since: int = 0) -> int | None:
    """When the first call since then began, in Unix seconds."""
    later = f"timestamp >= toDateTime64({since}, 9)"
    rows = client.query(f"SELECT toUnixTimestamp(min(timestamp)), count() FROM inferences WHERE {later}").result_rows[0]
    return int(rows[0]) if rows[1] else None


def _oldest_fact(context: Context) -> int:
    return _oldest(context, context.settings.retention.facts_days)


def _oldest(context: Context, days: int) -> int:
    """Begin of the oldest day that a retention of so many days leaves whole, in Unix seconds."""
    today = datetime(context.now.year, context.now.month, context.now.day, tzinfo=UTC)
    return int(today.timestamp()) - (days - 1) * DAY.seconds
