"""The job `minutes`: adds up objectives, and what is said of calls, by the minute, as `objectives` and `hours` do by the hour.

It is for windows of less than a day over many calls; where the last hour had few, it does nothing, and calls are read. Each
run adds up, for each product, the minutes that have passed since, and again those that late spans, judgements or events came
for: a call that takes long is told of when it ends, so these are the last few minutes of most runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Final

from monitor.jobs.hours import SAID, VISIBLE_S, Late, Product
from monitor.jobs.job import Context, Job, Outcome
from monitor.jobs.objectives import replace_counts, write_reach
from monitor.kpis.attainment import Judgement
from monitor.kpis.conditions import judgements
from monitor.kpis.coverage import EXACT_SAID, calls_before
from monitor.kpis.hours import HOUR_S, MINUTE_S, Hours, State, read_states, replace_hours, write_states
from monitor.kpis.objective_counts import MINUTES_TABLE, minutes_name, rule_of
from monitor.kpis.objective_counts import read_states as read_objective_states
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
    states = read_states(client)
    if calls_before(client, until, timedelta(hours=1)) <= EXACT_SAID:
        _forget(client, states)
        return Outcome(note="calls are few: pages read them")
    since = until - REACH_S
    # By the store's own clock, as the times of insert are.
    looked_ms = int(client.query("SELECT toUnixTimestamp64Milli(now64(3))").result_rows[0][0])
    looked = Late(client=client, oldest=since, closed=until, period_s=MINUTE_S)
    rows, done = 0, {}
    for product in PRODUCTS:
        new = State(rule=product.rule, since=since, until=since, seen_ms=looked_ms)
        state = _still(states.get(product.name), new)
        for start, end in stretches([*looked.of(product, state), *range(state.until, until, MINUTE_S)]):
            if context.stop.is_set():
                return Outcome(rows=rows, note="stopped")
            rows += product.write(client, start, end)
        done[product.name] = _brought_up(state, since, until, looked_ms)
    rows += _objectives(context, looked, since, until, looked_ms)
    # Last, and at once: the newest of them says where pages end.
    write_states(client, done)
    return Outcome(rows=rows)


def _forget(client: Client, states: Mapping[str, State]) -> None:
    """Have nothing answered by minutes that nobody brings up to date: what is said late of their calls would be missing."""
    nothing = State(rule="", since=0, until=0, seen_ms=0)
    if any(product.name in states and states[product.name].until for product in PRODUCTS):
        known = judgements(client)
        if known:
            write_reach(client, nothing, known, of=minutes_name)
        write_states(client, {product.name: replace(nothing, rule=product.rule) for product in PRODUCTS})


def _still(state: State | None, new: State) -> State:
    """How far something reaches; anew if it is by another rule, or too far behind."""
    return new if state is None or state.rule != new.rule or state.until < new.since else state


def _brought_up(state: State, since: int, until: int, seen_ms: int) -> State:
    return replace(state, since=max(state.since, since), until=max(state.until, until), seen_ms=seen_ms)


def _objectives(context: Context, looked: Late, since: int, until: int, seen_ms: int) -> int:
    """The same of objectives; those that reach equally far in one statement."""
    client, rows = context.client, 0
    states = read_objective_states(client)
    groups: dict[State, dict[str, Judgement]] = {}
    for name, judgement in judgements(client).items():
        new = State(rule=rule_of(judgement), since=since, until=since, seen_ms=seen_ms)
        state = _still(states.get(minutes_name(name)), new)
        groups.setdefault(replace(state, rule=""), {})[name] = judgement
    for state, mine in groups.items():
        late = looked.of_calls("evaluations", state)
        for start, end in stretches([*late, *range(state.until, until, MINUTE_S)]):
            if context.stop.is_set():
                return rows
            rows += replace_counts(client, mine, start, end, table=MINUTES_TABLE, period_s=MINUTE_S)
        write_reach(client, _brought_up(state, since, until, seen_ms), mine, of=minutes_name)
    return rows


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
    meaning="Adds up feedback, judgements, users, sessions and objectives of the last hours by the minute, where calls are many.",
    every_s=60,
    run=run,
)
