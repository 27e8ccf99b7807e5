"""The job `hours`: adds up, hour by hour, what KPIs of feedback, judgements, nodes, users, sessions, emitters and GPUs need.

An hour is closed when `GRACE_S` have passed since its end; of those after it, what began up to a mark is added up anew with
each run, so that windows that end there need no facts (of emitters, whose numbers are given when calls end, and of GPUs,
which have minutes, it is not; of objectives it is). Each run adds up, for each product, the hours that have closed
since, and again those that late spans, judgements or events came for. An hour is replaced as a whole, so a run may stop
anywhere and be run again. A product that an upgrade changed is made anew, from the oldest hour on.

Samples of GPUs do not say when they came: their last hours are added up again when an hour closes, and all of a day once
it is over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from monitor.jobs import objectives
from monitor.jobs.job import Context, Job, Outcome
from monitor.kpis import emitters, gpu_periods
from monitor.kpis.grains import DAY
from monitor.kpis.hours import HOUR_S, State, open_name, read_states, replace_hours, write_state
from monitor.kpis.objective_counts import steps_of
from monitor.kpis.source_hours import KEPT, hours_of, made_of
from monitor.kpis.sources.gpus import gpu_minutes_sql
from monitor.kpis.sources.sessions import sessions_made_of
from monitor.kpis.units import SESSION_HOURS, USER_HOURS, users_made_of
from monitor.store import Client
from monitor.store.client import any_rows

GRACE_S: Final = 300
# Of the hours that are not over, what began up to a whole minute is added up, once it had time to arrive.
VISIBLE_S: Final = 30
MARK_S: Final = 60
SLACK_MS: Final = 120_000  # rows become visible some time after they are stamped
TELL_MS: Final = 3_600_000
_GPU_LATE_S: Final = 3 * HOUR_S


@dataclass(frozen=True, kw_only=True)
class Product:
    """What is added up under one name.

    Parameters
    ----------
    name, rule : str
        As `hour_state` knows it.
    facts : str
        Table whose rows say from when on there is something.
    said : str
        Table of what is said of calls, if any: what comes late there makes their hours anew, as late spans do.
    write : callable
        Client and a stretch of hours (Unix seconds, at most a day) to the rows that were written. It begins on a whole hour.
    open_too : bool
        Whether hours that are not over are added up, too; then `write` must look at nothing that began after the stretch.
    """

    name: str
    rule: str
    facts: str
    said: str
    write: Callable[[Client, int, int], int]
    open_too: bool = True


def run(context: Context) -> Outcome:
    """Add up what has closed, what came late, and what there is of the hours that are not over."""
    client = context.client
    now = int(context.now.timestamp())
    closed, mark = (now - GRACE_S) // HOUR_S * HOUR_S, (now - VISIBLE_S) // MARK_S * MARK_S
    # By the store's own clock, as the times of insert are.
    looked_ms = int(client.query("SELECT toUnixTimestamp64Milli(now64(3))").result_rows[0][0])
    states = read_states(client)
    looked = Late(client=client, oldest=oldest(context), closed=closed)
    rows, notes = 0, []
    for product in PRODUCTS:
        if context.stop.is_set():
            break
        state = states.get(product.name)
        if state is None or state.rule != product.rule:
            first = _first(client, product.facts, oldest(context))
            if first is None or first >= closed:
                continue
            since = DAY.floor(first)
            state = State(rule=product.rule, since=since, until=since, seen_ms=looked_ms)
            late: list[int] = []
        else:
            late = looked.of(product, state)
        rows += sum(product.write(client, start, end) for start, end in steps_of(late))
        if late:
            notes.append(f"{product.name}: {len(late)} late hours")
        # Where nothing was late, the same may be looked at again.
        tell = bool(late) or looked_ms - state.seen_ms > TELL_MS
        state = replace(state, seen_ms=looked_ms)
        if tell:
            write_state(client, product.name, state)
        while state.until < closed and not context.stop.is_set():
            end = min(closed, DAY.floor(state.until) + DAY.seconds)
            rows += product.write(client, state.until, end)
            state = replace(state, until=end)
            write_state(client, product.name, state)
        if product.open_too and state.until == closed:
            rows += _add_up_open(client, product, state, mark)
    if not context.stop.is_set():
        rows += objectives.add_up_open(client, closed, mark)
    return Outcome(rows=rows, note="; ".join(notes))


def _add_up_open(client: Client, product: Product, state: State, mark: int) -> int:
    open_ = replace(state, since=state.until)
    # Until the rows are there, there is no mark.
    write_state(client, open_name(product.name), open_)
    rows = product.write(client, state.until, mark)
    write_state(client, open_name(product.name), replace(open_, until=mark))
    return rows


HOURS: Final = Job(
    name="hours",
    meaning="Adds up feedback, judgements, users, sessions, emitters and GPUs by the hour.",
    every_s=300,
    run=run,
)


@dataclass(frozen=True, kw_only=True)
class Late:
    """Finds the hours (or minutes) that are added up and have to be again. Products that reach equally far are looked for at once."""

    client: Client
    oldest: int
    closed: int
    period_s: int = HOUR_S
    known: dict[tuple[str, int, int, int], set[int]] = field(default_factory=dict)

    def of(self, product: Product, state: State) -> list[int]:
        """Begins of the hours (minutes) of a product, in Unix seconds."""
        first = max(state.since, self.oldest)
        if first >= state.until:
            return []
        if product.facts != "inferences":
            return self._of_samples(first, state.until)
        return self.of_calls(product.said, state)

    def of_calls(self, said: str, state: State) -> list[int]:
        """The same of sums over calls, and over what a table says of them, if any."""
        first, found = max(state.since, self.oldest), set[int]()
        if first >= state.until:
            return []
        for table in ("inferences", *([said] if said else [])):
            key = (table, first, state.until, state.seen_ms)
            if key not in self.known:
                self.known[key] = self._look(*key)
            found |= self.known[key]
        return sorted(found)

    def _of_samples(self, first: int, until: int) -> list[int]:
        if self.closed <= until:
            return []
        begun = DAY.floor(until - 1)
        since = begun if DAY.floor(self.closed) > begun else until - _GPU_LATE_S
        return list(range(max(first, since), until, HOUR_S))

    def _look(self, table: str, first: int, until: int, seen_ms: int) -> set[int]:
        inserted = f"inserted_at >= fromUnixTimestamp64Milli(toInt64({seen_ms - SLACK_MS}))"
        rolled = f"timestamp >= toDateTime64({first}, 9) AND timestamp < toDateTime64({until}, 9)"
        if table == "inferences":
            late = f"{rolled} AND trace_id IN (SELECT trace_id FROM inferences WHERE {inserted} AND {rolled})"
            return self._periods("inferences", late)
        if not any_rows(self.client, f"{table} WHERE {inserted}"):
            return set()
        # Most of what is said is said of calls that are not added up yet.
        newest = f"timestamp >= toDateTime64({until - HOUR_S}, 9)"
        fresh = f"SELECT trace_id FROM inferences WHERE {newest}"
        judged = f"SELECT trace_id FROM {table} WHERE {inserted} AND trace_id != ''"
        answers = f"SELECT response_id FROM {table} WHERE {inserted} AND trace_id = '' AND response_id != ''"
        found = self._periods("inferences", f"{newest} AND {rolled} AND trace_id IN ({judged})")
        found |= self._periods("inferences", f"{rolled} AND trace_id IN ({judged} AND trace_id NOT IN ({fresh}))")
        found |= self._periods("inferences", f"{rolled} AND request_id IN ({answers})")
        if table == "engagement_events":  # of sessions alone
            found |= self._periods(table, f"{inserted} AND {rolled} AND trace_id = '' AND session_id != ''")
        return found

    def _periods(self, table: str, condition: str) -> set[int]:
        begin = f"intDiv(toUnixTimestamp(timestamp), {self.period_s}) * {self.period_s}"
        query = f"SELECT DISTINCT {begin} FROM {table} WHERE {condition}"
        return {int(row[0]) for row in self.client.query(query).result_rows}


def _sources(name: str) -> Callable[[Client, int, int], int]:
    def write(client: Client, start: int, end: int) -> int:
        return replace_hours(client, hours_of(name), made_of(client, name, start, end), start, end)

    return write


def _users(client: Client, start: int, end: int) -> int:
    return replace_hours(client, USER_HOURS, users_made_of(client, start, end), start, end)


def _sessions(client: Client, start: int, end: int) -> int:
    return replace_hours(client, SESSION_HOURS, sessions_made_of(client, start, end), start, end)


def _emitters(client: Client, start: int, end: int) -> int:
    rows = replace_hours(client, emitters.EMITTER_HOURS, emitters.hours_made_of(start, end), start, end)
    return rows + replace_hours(client, emitters.EMITTER_ENDS, emitters.ends_made_of(start, end), start, end)


def _gpus(client: Client, start: int, end: int) -> int:
    rows = replace_hours(client, gpu_periods.GPU_MINUTES, gpu_minutes_sql(start, end), start, end)
    return rows + replace_hours(client, gpu_periods.GPU_HOURS, gpu_periods.hours_made_of(start, end), start, end)


def _first(client: Client, table: str, oldest: int) -> int | None:
    """When the first row that is kept was, in Unix seconds."""
    kept = f"timestamp >= toDateTime64({oldest}, 9)"
    rows = client.query(f"SELECT toUnixTimestamp(min(timestamp)), count() FROM {table} WHERE {kept}").result_rows[0]
    return int(rows[0]) if rows[1] else None


def oldest(context: Context) -> int:
    """Begin of the oldest day that the retention of facts leaves whole, in Unix seconds."""
    today = int(datetime(context.now.year, context.now.month, context.now.day, tzinfo=UTC).timestamp())
    return today - (context.settings.retention.facts_days - 1) * DAY.seconds


# Source -> table of what is said of its calls; evaluations of all others.
SAID: Final = {"engaged": "engagement_events", "reported": "engagement_events", "node_sums": ""}
PRODUCTS: Final = (
    *(
        Product(
            name=name,
            rule=hours_of(name).rule,
            facts="inferences",
            said=SAID.get(name, "evaluations"),
            write=_sources(name),
        )
        for name in KEPT
    ),
    Product(name=USER_HOURS.name, rule=USER_HOURS.rule, facts="inferences", said="", write=_users),
    Product(
        name=SESSION_HOURS.name, rule=SESSION_HOURS.rule, facts="inferences", said="engagement_events", write=_sessions
    ),
    Product(
        name="emitters", rule=emitters.EMITTER_HOURS.rule, facts="inferences", said="", write=_emitters, open_too=False
    ),
    Product(name="gpus", rule=gpu_periods.GPU_HOURS.rule, facts="gpu_samples", said="", write=_gpus, open_too=False),
)
