"""The job `cost`: what calls cost by the token, what machines cost by the hour, and what the month comes to.

API calls are priced by their tokens, calls on machines of one's own get their share of the machine's hours; no call gets
both. Which of the two a call is, its `pricing` says: `per_token`, or on_demand, reserved, spot, serverless, owned. A call
that says nothing belongs to its node if `fleet` has a rate for that, unless its `deployment` is `api`.

An hour is computed as a whole, from facts to `cost_results`, and again when spans of it arrive late; what the run before
wrote and this one does not is taken away. Each row says with which prices (`book`) it was made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from monitor.errors import BadInput, ConfigError
from monitor.jobs import cost_nodes
from monitor.jobs.cost_nodes import HOUR, NODE_COLUMNS
from monitor.jobs.cost_sql import (
    EXACT,
    forget_sql,
    hours_between,
    insert_calls_sql,
    insert_hours_sql,
    insert_sessions_sql,
    models_sql,
    stamps_between,
)  # fmt: skip
from monitor.jobs.job import Context, Job, Outcome
from monitor.jobs.price_book import PRICE_COLUMNS, PriceBook, row_values
from monitor.kpis.sources.cost import HISTORY, HOURLY, SESSIONS_SINCE, month_of
from monitor.kpis.units import UNIT_KEYS
from monitor.settings import Budget, Settings
from monitor.stats.forecast import HOUR_S, month_end_of
from monitor.stats.pricing import NANO
from monitor.store import Client
from monitor.store.calls import calls_source
from monitor.store.client import any_rows

CHUNK_HOURS: Final = 24
CHUNK_ROWS: Final = 250_000  # the shares of half a million calls took 1.6 GiB while they were computed
# An insert takes its time before its rows can be seen; what came within this before a run is looked at again.
OVERLAP: Final = timedelta(minutes=15)
_STATE: Final = "watermark"
_FACTS: Final = "facts:"  # and an hour's begin in Unix seconds
_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "node_hours": ("hour", "node"),
    "call_costs": ("timestamp", "model", "trace_id", "span_id"),
    "cost_results": ("hour", *HOURLY, "kind"),
    "session_costs": ("bucket", "hour", "unit", *UNIT_KEYS),
}


@dataclass(frozen=True, kw_only=True)
class Costing:
    """How hours are costed: the prices of tokens, the rates of nodes, and the name of both."""

    settings: Settings
    book: PriceBook

    @classmethod
    def of(cls, settings: Settings) -> Costing:
        """From the configuration.

        Raises
        ------
        ConfigError
            If an amount is in a currency without a rate.
        """
        cost_nodes.check_rates(settings)
        return cls(settings=settings, book=PriceBook(settings.prices))

    @property
    def version(self) -> str:
        fleet = self.settings.fleet
        return f"{self.book.version}, {cost_nodes.ledger_version(fleet)}" if fleet else self.book.version

    @property
    def usd_nano(self) -> int:
        """Nano-units of our currency for a dollar, in which emitters report costs; -1 without a rate."""
        try:
            return int(self.settings.prices.rate("USD") * NANO)
        except ValueError:
            return -1


def run(context: Context) -> Outcome:
    """Cost all hours that are new, open, or have new facts since the last run."""
    client, costing = context.client, Costing.of(context.settings)
    _check_budgets(context.settings.budgets)
    began_ns = _server_ns(client)
    watermark_ns = _watermark(client)
    _note_sessions(client, context.now)
    rows = done = 0
    changed = _changed_hours(client, watermark_ns)
    dirty = _dirty_hours(client, costing, changed, watermark_ns, context.now)
    for start, end in chunks(dirty):
        if context.stop.is_set():
            return Outcome(rows=rows, note=f"stopped after {done} of {len(dirty)} hours")
        rows += cost_hours(client, costing, start, end, now=context.now)
        done += (end - start) // HOUR
    known_until = _floor(context.now)
    told = {_STATE: began_ns, "known_until": _seconds(known_until)} | {
        f"{_FACTS}{_seconds(hour)}": facts for hour, facts in changed.items()
    }
    client.insert(
        "cost_state",
        [[name, value, began_ns] for name, value in told.items()],
        column_names=["name", "value", "version"],
    )
    rows += write_budgets(client, context.settings, known_until=known_until, now=context.now)
    return Outcome(rows=rows, note=f"{done} hours" if done else "")


def reprice(
    client: Client, settings: Settings, *, since: datetime, until: datetime, now: datetime
) -> tuple[str, int, int]:
    """Cost a past period again with the prices and rates of these settings.

    Parameters
    ----------
    since, until : datetime
        Whole hours are costed, from the one that holds `since` up to the one that holds the last moment before `until`.
    now : datetime
        Time of the run; the hour that it is in is costed as far as it has come.

    Returns
    -------
    (str, int, int)
        Version of the prices, and the cost of the period in nano-units before and after. With the same version and the
        same facts it is the same, however often it is done.

    Raises
    ------
    BadInput
        If calls of the period are no longer kept, or it ends before it begins.
    """
    if until <= since:
        raise BadInput(f"the period must end after its begin {since:%Y-%m-%d %H:%M}, not at {until:%Y-%m-%d %H:%M}")
    costing = Costing.of(settings)
    start, end = _floor(since), -(-(until - _EPOCH) // HOUR) * HOUR + _EPOCH
    before = period_cost(client, start, end)
    counted = _rows_by_hour(client, hours_condition=stamps_between(_seconds(start), _seconds(end)))
    _refuse_forgotten(client, start, end, counted)
    hours = {start + i * HOUR: 0 for i in range((end - start) // HOUR)} | counted
    for first, last in chunks(hours):
        cost_hours(client, costing, first, last, now=now)
    return costing.version, before, period_cost(client, start, end)


def _refuse_forgotten(client: Client, start: datetime, end: datetime, counted: Mapping[datetime, int]) -> None:
    """What retention has taken cannot be costed again: its costs would be lost, not changed."""
    inside = hours_between(_seconds(start), _seconds(end))
    query = f"SELECT DISTINCT hour FROM cost_results FINAL WHERE requests > 0 AND {inside}"
    gone = [hour for (found,) in client.query(query).result_rows if (hour := _utc(found)) not in counted]
    if gone:
        raise BadInput(
            f"calls of {max(gone):%Y-%m-%d %H:%M} and before are no longer kept (`retention.facts_days`), so that they cannot be"
            f" costed again; begin after that"
        )


def period_cost(client: Client, start: datetime, end: datetime) -> int:
    """Cost of all hours of a period in nano-units."""
    inside = hours_between(_seconds(start), _seconds(end))
    return int(client.query(f"SELECT sum(toInt128(cost)) FROM cost_results FINAL WHERE {inside}").result_rows[0][0])


def cost_hours(client: Client, costing: Costing, start: datetime, end: datetime, *, now: datetime) -> int:
    """Cost the hours of [start, end) from facts to results; returns the rows of `cost_results`."""
    start_s, end_s = _seconds(start), _seconds(end)
    hours, stamps = hours_between(start_s, end_s), stamps_between(start_s, end_s)
    calls = calls_source(client, start_s * NANO, end_s * NANO)
    version = _server_ns(client) // 1000
    settings, book, currency = costing.settings, costing.version, costing.settings.prices.currency
    parameters = {"book": book, "currency": currency, "version": version, "usd": costing.usd_nano}

    _write_prices(client, costing, calls, start, end, version)
    entries = []
    if settings.fleet:
        seen = cost_nodes.seen_nodes(client, calls, stamps)
        entries = cost_nodes.ledger(seen, settings, start=start, end=end, now=now)
    if entries:
        rows = cost_nodes.values(entries, currency=currency, book=book, version=version)
        client.insert("node_hours", rows, column_names=list(NODE_COLUMNS))
    _forget(client, "node_hours", hours, version)
    client.command(insert_calls_sql(calls, hours), parameters=parameters, settings=EXACT)
    _forget(client, "call_costs", stamps, version)
    client.command(insert_hours_sql(hours, stamps), parameters={"version": version})
    _forget(client, "cost_results", hours, version)
    client.command(insert_sessions_sql(stamps), parameters={"version": version})
    _forget(client, "session_costs", hours, version)
    return int(client.query(f"SELECT count() FROM cost_results FINAL WHERE {hours}").result_rows[0][0])


def _changed_hours(client: Client, watermark_ns: int | None) -> dict[datetime, int]:
    """Hours whose facts are others than when they were last costed, with a hash of how many there are and when the last came."""
    overlap_ns = OVERLAP // timedelta(microseconds=1) * 1000
    since = (
        "1" if watermark_ns is None else f"inserted_at >= fromUnixTimestamp64Nano(toInt64({watermark_ns - overlap_ns}))"
    )
    # Hours that were done after their last fact came need nothing: a first run that was stopped goes on where it was.
    came = f"""SELECT facts.hour FROM
        (SELECT toStartOfHour(timestamp, 'UTC') AS hour, max(inserted_at) AS came FROM inferences WHERE {since} GROUP BY hour) AS facts
        LEFT JOIN (SELECT hour, max(version) AS version FROM cost_results GROUP BY hour) AS results ON results.hour = facts.hour
        WHERE toUnixTimestamp64Milli(facts.came) * 1000 >= toInt64(ifNull(results.version, 0)) - {overlap_ns // 1000}"""
    hours = [_utc(hour) for (hour,) in client.query(came).result_rows]
    if not hours:
        return {}
    state = f"SELECT name, value FROM cost_state FINAL WHERE startsWith(name, '{_FACTS}')"
    seen = {name: int(value) for name, value in client.query(state).result_rows}
    hashed = f"""SELECT toStartOfHour(timestamp, 'UTC') AS hour, toInt64(bitShiftRight(cityHash64(count(), max(inserted_at)), 1))
        FROM inferences WHERE {stamps_between(_seconds(min(hours)), _seconds(max(hours) + HOUR))} GROUP BY hour"""
    found = {_utc(hour): int(facts) for hour, facts in client.query(hashed).result_rows}
    return {hour: facts for hour in hours if (facts := found.get(hour, 0)) != seen.get(f"{_FACTS}{_seconds(hour)}")}


def _dirty_hours(
    client: Client, costing: Costing, changed: Mapping[datetime, int], watermark_ns: int | None, now: datetime
) -> dict[datetime, int]:
    """Hours to be costed, with the number of their facts."""
    # What came late may belong to a call that began in the hour before, or be the call that rows of the next are part of.
    found = {hour + step for hour in changed for step in (-HOUR, timedelta(0), HOUR)}
    opened = set(_open_hours(client, costing.settings, watermark_ns, now)) if costing.settings.fleet else set()
    if not found | opened:
        return {}
    inside = stamps_between(_seconds(min(found | opened)), _seconds(max(found | opened) + HOUR))
    counted = _rows_by_hour(client, hours_condition=inside)
    # An hour without a fact has nothing new; if it has costs, its facts were too old to be kept.
    return {hour: counted.get(hour, 0) for hour in found | opened if hour in counted or hour in opened}


def chunks(hours: Mapping[datetime, int]) -> Iterator[tuple[datetime, datetime]]:
    """Stretches of adjoining hours that are costed at once, each of at most so many hours and facts."""
    start: datetime | None = None
    end, rows = _EPOCH, 0
    for hour in sorted(hours):
        if start is not None and (hour != end or end - start >= CHUNK_HOURS * HOUR or rows + hours[hour] > CHUNK_ROWS):
            yield start, end
            start = None
        if start is None:
            start, rows = hour, 0
        end, rows = hour + HOUR, rows + hours[hour]
    if start is not None:
        yield start, end


def write_budgets(client: Client, settings: Settings, *, known_until: datetime, now: datetime) -> int:
    """Say how much of each budget of the month is spent, and what the month comes to; returns the rows."""
    version = _server_ns(client) // 1000
    month_start, month_end = month_of(now)
    rows = []
    for budget in settings.budgets:
        costs = _hourly_costs(client, budget, month_start - HISTORY, now)
        spent, forecast = month_end_of(
            costs,
            month_start_s=_seconds(month_start),
            month_end_s=_seconds(month_end),
            known_until_s=_seconds(known_until),
        )
        spent = sum(cost for hour, cost in costs if hour >= _seconds(month_start))
        rows.append([
            month_start.date(), budget.name, *(budget.where.get(name, "") for name in HOURLY), now,
            int(budget.amount * NANO), round(spent * NANO), forecast.value, forecast.low, forecast.high, forecast.n,
            forecast.method, forecast.note, settings.prices.currency, version, 0,
        ])  # fmt: skip
    if rows:
        client.insert("cost_budgets", rows, column_names=_BUDGET_COLUMNS)
    month = f"month = toDate('{month_start:%Y-%m-%d}')"
    client.command(forget_sql("cost_budgets", month, ("month", "name")), parameters={"version": version})
    return len(rows)


_BUDGET_COLUMNS: Final = [
    "month", "name", *HOURLY, "at", "amount", "spent", "forecast", "low", "high", "n", "method", "note", "currency", "version",
    "deleted",
]  # fmt: skip


def _hourly_costs(client: Client, budget: Budget, start: datetime, end: datetime) -> list[tuple[int, float]]:
    inside = hours_between(_seconds(start), _seconds(end) + 1)
    conditions = "".join(f" AND {name} = {{{name}:String}}" for name in budget.where)
    query = f"SELECT toUnixTimestamp(hour), sum(cost) / {NANO} FROM cost_results FINAL WHERE {inside}{conditions} GROUP BY hour"
    return [(int(hour), float(cost)) for hour, cost in client.query(query, parameters=dict(budget.where)).result_rows]


def _check_budgets(budgets: Iterable[Budget]) -> None:
    names: set[str] = set()
    for budget in budgets:
        unknown = [name for name in budget.where if name not in HOURLY]
        if unknown:
            raise ConfigError(
                f"the budget `{budget.name}` has `{unknown[0]}` in `where`; known are {', '.join(HOURLY)}"
            )
        if budget.name in names:
            raise ConfigError(f"there are two budgets `{budget.name}`; give each a name of its own")
        names.add(budget.name)


def _write_prices(client: Client, costing: Costing, calls: str, start: datetime, end: datetime, version: int) -> None:
    rows: list[Any] = []
    for provider, model, _, _ in client.query(models_sql(calls)).result_rows:
        for row in costing.book.rows(provider, model, start, end):
            rows += row_values(costing.version, row, version)
    if rows:
        client.insert("prices", rows, column_names=list(PRICE_COLUMNS))


def _forget(client: Client, table: str, inside: str, version: int) -> None:
    client.command(forget_sql(table, inside, _KEYS[table]), parameters={"version": version})


def _open_hours(client: Client, settings: Settings, watermark_ns: int | None, now: datetime) -> Iterator[datetime]:
    """Hours for which nodes are paid though no call may tell: since the last run, or since there is anything to know."""
    if watermark_ns is not None:
        hour = _floor(_EPOCH + timedelta(microseconds=watermark_ns // 1000)) - HOUR
    else:
        hour = _floor(_first(client, settings, now))
    while hour <= now:
        yield hour
        hour += HOUR


def _first(client: Client, settings: Settings, now: datetime) -> datetime:
    oldest = now - timedelta(days=settings.retention.facts_days)
    begins = [
        datetime(entry.valid_from.year, entry.valid_from.month, entry.valid_from.day, tzinfo=UTC)
        for entry in settings.fleet
        if entry.always and entry.valid_from is not None
    ]
    for table in ("inferences", "gpu_samples"):
        count, first = client.query(f"SELECT count(), min(timestamp) FROM {table}").result_rows[0]
        begins += [_utc(first)] if count else []
    return min(now, max(oldest, min(begins, default=now)))


def _rows_by_hour(client: Client, *, hours_condition: str) -> dict[datetime, int]:
    query = (
        f"SELECT toStartOfHour(timestamp, 'UTC') AS hour, count() FROM inferences WHERE {hours_condition} GROUP BY hour"
    )
    return {_utc(hour): int(count) for hour, count in client.query(query).result_rows}


def _watermark(client: Client) -> int | None:
    rows = client.query(f"SELECT value FROM cost_state FINAL WHERE name = '{_STATE}'").result_rows
    return int(rows[0][0]) if rows else None


def _note_sessions(client: Client, now: datetime) -> None:
    """Note once from which hour on sessions' costs are there: not of hours that an earlier release has costed."""
    if client.query(f"SELECT 1 FROM cost_state FINAL WHERE name = '{SESSIONS_SINCE}'").result_rows:
        return
    since = _seconds(_floor(now) + HOUR) if any_rows(client, "cost_results") else 0
    client.insert("cost_state", [[SESSIONS_SINCE, since, 1]], column_names=["name", "value", "version"])


def _server_ns(client: Client) -> int:
    return int(client.query("SELECT toUnixTimestamp64Nano(now64(9))").result_rows[0][0])


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _floor(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _seconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(seconds=1)


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


COST: Final = Job(
    name="cost",
    meaning="Prices calls by their tokens, shares out what machines cost, and forecasts the month.",
    every_s=float(HOUR_S),
    run=run,
)
