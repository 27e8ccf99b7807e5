"""The job `minutes`: adds up by the minute, for the last hours, what the job `hours` does by the hour of what is said of calls.

It is for windows of less than a day over many calls; where the last hour had few, it does nothing, and calls are read. Each
run adds up, for each product, the minutes that have passed since, and again those that late spans, judgements or events came
for: a call that takes long is told of when it ends, so these are the last few minutes of most runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Final

from monitor.jobs.hours import SAID, VISIBLE_S, Late, Product
from monitor.jobs.job import Context, Job, Outcome
from monitor.kpis.coverage import EXACT_SAID, calls_before
from monitor.kpis.hours import HOUR_S, MINUTE_S, Hours, State, read_states, replace_hours, write_states
from monitor.kpis.source_hours import KEPT, made_of, minutes_of
from monitor.kpis.sources.sessions import sessions_made_of
from monitor.kpis.units import SESSION_MINUTES, USER_MINUTES, users_made_of
from monitor.store import Client

# Six hours, and as many before them to compare with, with some minutes to spare.
REACH_S: Final = 13 * HOUR_S
# Late minutes that are no further apart are added up again in one statement, with those between.
_GAP_S: Final = 600
_Made = Callable[[Client, int, int], str]


def run(context: Context) -> Outcome:
    """Add up the minutes that passed, and those that something came late for."""
    client = context.client
    until = (int(context.now.timestamp()) - VISIBLE_S) // MINUTE_S * MINUTE_S
    if calls_before(client, until, timedelta(hours=1)) <= EXACT_SAID:
        return Outcome(note="calls are few: pages read them")
    since = until - REACH_S
    # By the store's own clock, as the times of insert are.
    looked_ms = int(client.query("SELECT toUnixTimestamp64Milli(now64(3))").result_rows[0][0])
    states = read_states(client)
    looked = Late(client=client, oldest=since, closed=until, period_s=MINUTE_S)
    rows, done = 0, {}
    for product in PRODUCTS:
        state = states.get(product.name)
        if state is None or state.rule != product.rule or state.until < since:
            state = State(rule=product.rule, since=since, until=since, seen_ms=looked_ms)
        late = looked.of(product, state)
        for start, end in stretches([*late, *range(state.until, until, MINUTE_S)]):
            if context.stop.is_set():
                break
            rows += product.write(client, start, end)
        else:
            state = replace(state, since=max(state.since, since), until=max(until, state.until), seen_ms=looked_ms)
            done[product.name] = state
    # At once: each is a part of a small table, and the newest of them says where pages end.
    write_states(client, done)
    return Outcome(rows=rows)


def stretches(minutes: Iterable[int]) -> list[tuple[int, int]]:
    """Minutes (their begins, Unix seconds) as half-open stretches of at most an hour; near ones are one, with those between."""
    found: list[tuple[int, int]] = []
    for minute in sorted(set(minutes)):
        end = minute + MINUTE_S
        if found and minute - found[-1][1] <= _GAP_S and end - found[-1][0] <= HOUR_S:
            found[-1] = (found[-1][0], end)
        else:
            found.append((minute, end))
    return found


def _writes(hours: Hours, made: _Made) -> Callable[[Client, int, int], int]:
    def write(client: Client, start: int, end: int) -> int:
        return replace_hours(client, hours, made(client, start, end), start, end)

    return write


def _source(name: str) -> _Made:
    return lambda client, start, end: made_of(client, name, start, end, MINUTE_S)


_KINDS: Final[tuple[tuple[Hours, str, _Made], ...]] = (
    *((minutes_of(name), SAID.get(name, "evaluations"), _source(name)) for name in KEPT),
    (USER_MINUTES, "", lambda client, start, end: users_made_of(client, start, end, MINUTE_S)),
    (SESSION_MINUTES, "engagement_events", lambda client, start, end: sessions_made_of(client, start, end, MINUTE_S)),
)
PRODUCTS: Final = tuple(
    Product(name=hours.name, rule=hours.rule, facts="inferences", said=said, write=_writes(hours, made))
    for hours, said, made in _KINDS
)
MINUTES: Final = Job(
    name="minutes",
    meaning="Adds up feedback, judgements, users and sessions of the last hours by the minute, where calls are many.",
    every_s=60,
    run=run,
)
