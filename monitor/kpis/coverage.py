"""Which table answers which part of a window: the one place that chooses between calls and rollups.

A window with few calls is read from the calls, whatever its length, and its numbers are exact. Else each part of it is
read from the coarsest rollup whose periods lie in it whole, and what is not rolled up yet, from the calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from monitor.kpis.dimensions import Where, check_where, where_sql
from monitor.kpis.grains import GRAINS, HOUR, KEYS, MINUTE, Grain
from monitor.kpis.hours import MINUTE_S, Hours, State, newest_mark, newest_minute, periods, read_states
from monitor.kpis.sources.question import Question
from monitor.kpis.window import Window
from monitor.store import Client

# So many calls are read exactly in less time than a page may take.
EXACT_CALLS: Final = 200_000
# As many of what was said of them: each takes a look at several tables.
EXACT_SAID: Final = 20_000
# Jobs that add up run every five minutes (the minutes, each); where they are late by more, calls are read.
SETTLED_MAX_S: Final = 900
MINUTES_SETTLED_MAX_S: Final = 300
_S: Final = 10**9


@dataclass(frozen=True, kw_only=True)
class Reach:
    """From when to when a rollup table has rows of every period, in Unix seconds; `since` is when its first row is."""

    grain: Grain
    since: int
    until: int


@dataclass(frozen=True, kw_only=True)
class Part:
    """A stretch of a window, in Unix nanoseconds, and the rollup that answers it; None means the calls."""

    start_ns: int
    end_ns: int
    grain: Grain | None


def parts_of(client: Client, question: Question) -> list[Part] | None:
    """Parts of the question's window in order; None where the calls are to answer all of it."""
    grains = [grain for grain in GRAINS if _steps_fit(grain, question)]
    if not grains or question.end_ns - question.start_ns < 2 * MINUTE.seconds * _S:
        return None
    reaches = [reach for reach in reach_of(client) if reach.grain in grains]
    parts = cover(question.start_ns, question.end_ns, reaches)
    if all(part.grain is None for part in parts) or _calls(client, question, parts) <= EXACT_CALLS:
        return None
    return parts


def whole_hours(
    client: Client, question: Question, hours: Hours, *, state: State | None = None
) -> tuple[int, int] | None:
    """The hours of the window, in Unix seconds, that are added up by this name; None where facts are to answer all.

    They are whole ones, but for the last where the window ends at the mark, up to which it is added up: that hour's rows
    are then of the window alone. Of what is added up by the minute it is all of the window, or none.
    """
    if hours.period_s == MINUTE_S:
        return _whole_minutes(client, question, hours)
    if not {*question.by, *question.where} <= set(hours.dimensions) or not _steps_fit(HOUR, question):
        return None
    state = read_states(client).get(hours.name) if state is None else state
    if state is None or state.rule != hours.rule:
        return None
    first = max(HOUR.ceil(-(-question.start_ns // _S)), state.since)
    last = min(HOUR.floor(question.end_ns // _S), state.until)
    if question.end_ns == state.mark * _S:
        last = HOUR.ceil(state.mark)
    if first >= last:
        return None
    return (first, last) if _counted(client, question, hours, first, last) > EXACT_CALLS else None


def _whole_minutes(client: Client, question: Question, minutes: Hours) -> tuple[int, int] | None:
    """The window, in Unix seconds, if all of it is added up by the minute under this name; None if not, or if calls are few."""
    if not {*question.by, *question.where} <= set(minutes.dimensions) or not _steps_fit(MINUTE, question):
        return None
    ragged = question.start_ns % (MINUTE_S * _S) or question.end_ns % (MINUTE_S * _S)
    state = None if ragged else read_states(client).get(minutes.name)
    first, last = question.start_ns // _S, question.end_ns // _S
    if state is None or state.rule != minutes.rule or first < state.since or last > state.until:
        return None
    return (first, last) if _counted(client, question, minutes, first, last) > EXACT_SAID else None


def settled_minute(client: Client, *, now: datetime, reach: timedelta) -> datetime | None:
    """The newest moment at which a window of less than a day may end and need no calls; None as of `settled`."""
    until = newest_minute(client)
    if until is None or not 0 <= now.timestamp() - until <= MINUTES_SETTLED_MAX_S:
        return None
    return datetime.fromtimestamp(until, UTC) if calls_before(client, until, reach) > EXACT_SAID else None


def calls_before(client: Client, until: int, reach: timedelta) -> int:
    """Calls that are rolled up by the minute, of so long before a moment (Unix seconds)."""
    inside = periods(int(until - reach.total_seconds()), until)
    return int(client.query(f"SELECT sum(calls__n) FROM {MINUTE.table} FINAL WHERE {inside}").result_rows[0][0])


def settled(client: Client, *, now: datetime, reach: timedelta) -> datetime | None:
    """The newest moment at which a window may end and need no calls; None where calls are few, or nothing is added up of late.

    `reach` is how long windows are, at least: if that time has few calls, they are read anyway.
    """
    mark = newest_mark(client)
    if mark is None or not 0 <= now.timestamp() - mark <= SETTLED_MAX_S:
        return None
    hours = periods(int(mark - reach.total_seconds()), mark)
    calls = client.query(f"SELECT sum(calls__n) FROM {HOUR.table} FINAL WHERE {hours}").result_rows[0][0]
    return datetime.fromtimestamp(mark, UTC) if int(calls) > EXACT_CALLS else None


def newest_calls(client: Client, window: Window, where: Where, *, calls: int) -> Window:
    """The end of a window, from the whole minute on since which it has so many calls.

    All of it, if it has fewer, or if the filter asks for what rollups do not know. Minutes that are not rolled up yet are
    counted by their calls.
    """
    if not set(where) <= set(KEYS):
        return window
    for reach in sorted(reach_of(client), key=lambda reach: -reach.grain.seconds):
        # Of days, the hours tell more; of all minutes, only those of the hours that have so many.
        if reach.grain in (HOUR, MINUTE) and reach.until * _S > window.start_ns:
            window = _since(client, reach, window, where, calls)
    return window


def _since(client: Client, reach: Reach, window: Window, where: Where, calls: int) -> Window:
    condition, parameters = where_sql(check_where(where))
    newer = (
        f"timestamp >= toDateTime64({reach.until}, 9) AND timestamp < fromUnixTimestamp64Nano(toInt64({window.end_ns}))"
    )
    raw = client.query(f"SELECT count() FROM inferences WHERE {newer} AND {condition}", parameters=parameters)
    left = calls - int(raw.result_rows[0][0])
    rolled = client.query(
        f"SELECT toUnixTimestamp(period), sum(calls__n) FROM {reach.grain.table} FINAL"
        f" WHERE {periods(reach.grain.floor(window.start_ns // _S), window.end_ns // _S)} AND {condition}"
        " GROUP BY period ORDER BY period DESC",
        parameters=parameters,
    ).result_rows
    start = reach.until
    for period, n in rolled:
        if left <= 0:
            break
        start, left = int(period), left - int(n)
    return window if left > 0 else Window(max(window.start, datetime.fromtimestamp(start, UTC)), window.end)


def reach_of(client: Client) -> list[Reach]:
    """How far each rollup reaches; empty before the first was made."""
    until = client.query(
        "SELECT toUnixTimestamp(until_1m), toUnixTimestamp(until_1h), toUnixTimestamp(until_1d)"
        " FROM rollup_state FINAL WHERE name = 'inferences'"
    ).result_rows
    if not until:
        return []
    # The oldest row of a table; read from the parts' own minima.
    since = client.query(
        "SELECT " + ", ".join(f"(SELECT toUnixTimestamp(min(period)) FROM {grain.table})" for grain in GRAINS)
    ).result_rows[0]
    return [
        Reach(grain=grain, since=int(first), until=int(last))
        for grain, first, last in zip(GRAINS, since, until[0], strict=True)
        if first and last > first
    ]


def cover(start_ns: int, end_ns: int, reaches: Sequence[Reach]) -> list[Part]:
    """The window cut into parts, each answered by the coarsest rollup that can; neighbours of one kind are one part."""
    if start_ns >= end_ns:
        return []
    coarsest = max(reaches, key=lambda reach: reach.grain.seconds, default=None)
    if coarsest is None:
        return [Part(start_ns=start_ns, end_ns=end_ns, grain=None)]
    finer = [reach for reach in reaches if reach is not coarsest]
    grain = coarsest.grain
    first = max(grain.ceil(-(-start_ns // _S)), grain.ceil(coarsest.since)) * _S
    last = min(grain.floor(end_ns // _S), grain.floor(coarsest.until)) * _S
    if first >= last:
        return cover(start_ns, end_ns, finer)
    middle = Part(start_ns=first, end_ns=last, grain=grain)
    return _joined([*cover(start_ns, first, finer), middle, *cover(last, end_ns, finer)])


def period_between(part: Part) -> str:
    """Condition on `period` for a part that a rollup answers."""
    return f"period >= toDateTime({part.start_ns // _S}) AND period < toDateTime({part.end_ns // _S})"


def _joined(parts: Sequence[Part]) -> list[Part]:
    joined: list[Part] = []
    for part in parts:
        if joined and joined[-1].grain is part.grain and joined[-1].end_ns == part.start_ns:
            joined[-1] = replace(joined[-1], end_ns=part.end_ns)
        else:
            joined.append(part)
    return joined


def _counted(client: Client, question: Question, hours: Hours, first: int, last: int) -> int:
    """How much there is in some periods."""
    condition, parameters = where_sql(question.where)
    table, column = hours.counted
    count = f"SELECT sum({column}) FROM {table} FINAL WHERE {periods(first, last)} AND {condition}"
    return int(client.query(count, parameters=parameters).result_rows[0][0])


def _steps_fit(grain: Grain, question: Question) -> bool:
    """Whether no period of this grain lies in two steps."""
    if question.step_ns is None:
        return True
    return question.start_ns % (grain.seconds * _S) == 0 and question.step_ns % (grain.seconds * _S) == 0


def _calls(client: Client, question: Question, parts: Sequence[Part]) -> int:
    """Stored calls of the parts that rollups answer."""
    condition, parameters = where_sql(question.where)
    counts = [
        f"(SELECT sum(calls__n) FROM {part.grain.table} FINAL WHERE {period_between(part)} AND {condition})"
        for part in parts
        if part.grain is not None
    ]
    return int(client.query(f"SELECT {' + '.join(counts)}", parameters=parameters).result_rows[0][0])
