"""Users and sessions by the hour, and which of them are looked at where there are too many.

`user_hours` and `session_hours` have a row for each user (session), hour, and combination of the keys that a user's calls share;
where a call ran is not among these. `user_minutes` and `session_minutes` have the last hours by the minute. Users and sessions lie
in `BUCKETS` buckets by the hash of their id, and the tables are ordered by bucket: a question reads as many buckets as give it
about `UNITS_MAX` rows. That is a sample of users (sessions) in which each is whole, so shares and means of it are what they are,
with their own intervals, and numbers are scaled up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from monitor.kpis.coverage import whole_hours
from monitor.kpis.dimensions import where_sql
from monitor.kpis.hours import HOUR_S, Hours, State, ddl_columns, periods, read_states
from monitor.kpis.sources.question import Question, between
from monitor.store import Client
from monitor.store.calls import calls_source

BUCKETS: Final = 1024
UNITS_MAX: Final = 100_000
# What a row of the time before minutes counts: there are so many more, and the unit alone is read of them.
_BEFORE: Final = 0.1
# So many buckets tell how many rows there are in all.
_PROBED: Final = 16
UNIT_KEYS: Final = ("service", "environment", "deployment", "provider", "model", "variant", "release")
_NS: Final = 10**9

USER_HOURS: Final = Hours(
    name="users",
    table="user_hours",
    rule="1",
    keys=("bucket", "unit", *UNIT_KEYS),
    dimensions=UNIT_KEYS,
    columns={"rows__n": "UInt64", "kept__w_max": "Float64"},
)
SESSION_HOURS: Final = Hours(
    name="sessions",
    table="session_hours",
    rule="1",
    keys=("bucket", "unit", *UNIT_KEYS),
    dimensions=UNIT_KEYS,
    columns={
        "rows__n": "UInt64",
        "kept__w_max": "Float64",
        "turns": "Array(UInt64)",
        "begins_min": "Int64",
        "ends_max": "Int64",
        "abandoned_max": "UInt8",
    },
)

USER_MINUTES: Final = USER_HOURS.by_minute("user_minutes")
SESSION_MINUTES: Final = SESSION_HOURS.by_minute("session_minutes")


def unit_sql(column: str) -> str:
    """SQL of a user's or session's hash."""
    return f"cityHash64({column})"


def bucket_sql(unit: str) -> str:
    return f"toUInt16({unit} % {BUCKETS})"


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """The hours that are read from a table, and how many of its buckets; beyond them facts of the same units are read."""

    hours: Hours
    first: int
    last: int
    buckets: int

    @property
    def share(self) -> float:
        return self.buckets / BUCKETS

    def of_units(self, unit: str) -> str:
        """SQL: is the unit among those that are looked at?"""
        return "1" if self.buckets == BUCKETS else f"{bucket_sql(unit)} < {self.buckets}"

    def rows(self, start: int, end: int) -> str:
        """Sub-select of the table's rows of hours (Unix seconds) of these units."""
        return f"(SELECT * FROM {self.hours.table} FINAL WHERE bucket < {self.buckets} AND {self.hours.inside(start, end)})"


def sampled(
    client: Client, question: Question, hours: Hours, *, before: Hours | None = None, state: State | None = None
) -> Sampled | None:
    """What to read of a table for this question; None where facts are to answer.

    `before` is the table of which all of the time before the window is read as well; `state` how far the table reaches, if
    another than the job `hours` fills it.
    """
    whole = whole_hours(client, question, hours, state=state)
    if whole is None:
        return None
    first, last = whole
    read = [(hours, first, last, 1.0)]
    if before is not None:
        read.append((before, 0, first, 1.0 if before is hours else _BEFORE))
    probed = " + ".join(
        f"{weight} * (SELECT count() FROM {of.table} WHERE bucket < {_PROBED} AND {periods(start, end, of.column)})"
        for of, start, end, weight in read
    )
    found = float(client.query(f"SELECT {probed}").result_rows[0][0]) * BUCKETS / _PROBED
    buckets = BUCKETS if found <= UNITS_MAX else max(1, int(BUCKETS * UNITS_MAX / found))
    return Sampled(hours=hours, first=first, last=last, buckets=buckets)


@dataclass(frozen=True, kw_only=True)
class UserRows:
    """Rows of users: sub-select with `timestamp, user_id, sample_weight` and dimensions; SELECT of `user_id` seen before."""

    rows: str
    seen: str
    share: float


def user_rows(client: Client, question: Question, start_ns: int, end_ns: int, dimensions: tuple[str, ...]) -> UserRows:
    """Users with a call that meets the question's filter, begun in [start_ns, end_ns): of each hour, or of each call."""
    condition, _ = where_sql(question.where)
    asked = replace(question, start_ns=start_ns, end_ns=end_ns)
    found = next(
        (each for of in (USER_MINUTES, USER_HOURS) if (each := sampled(client, asked, of, before=USER_HOURS))), None
    )
    named = ", ".join(["timestamp", "user_id", "sample_weight", *dimensions])
    if found is None or not set(dimensions) <= set(UNIT_KEYS):
        calls = calls_source(client, start_ns, end_ns)
        rows = f"(SELECT {named} FROM {calls} WHERE user_id != '' AND {condition})"
        return UserRows(rows=rows, seen=seen_before(start_ns), share=1.0)
    unit = unit_sql("user_id")
    among = found.of_units(unit)
    first, last = found.first, found.last
    kept = ", ".join(
        ["toDateTime64(period, 9) AS timestamp", "unit AS user_id", "kept__w_max AS sample_weight", *dimensions]
    )
    pieces = [f"SELECT {kept} FROM {found.rows(first, last)} WHERE {condition}"] if first < last else []
    for begin, end in ((start_ns, first * _NS), (last * _NS, end_ns)):
        if begin < end:
            calls = calls_source(client, begin, end)
            facts = ", ".join(["timestamp", f"{unit} AS user_id", "sample_weight", *dimensions])
            own = f"SELECT * FROM {calls} WHERE user_id != '' AND {among} AND {condition}"
            pieces.append(f"SELECT {facts} FROM ({own})")
    seen = _seen_of(client, found, start_ns)
    return UserRows(rows=f"({' UNION ALL '.join(pieces)})", seen=seen, share=found.share)


def _seen_of(client: Client, found: Sampled, start_ns: int) -> str:
    """SELECT of those of the users looked at that the store knows from before."""
    states, start = read_states(client), start_ns // _NS
    closed, minutes = (states.get(hours.name) for hours in (USER_HOURS, USER_MINUTES))
    before = min(start // HOUR_S * HOUR_S, closed.until if closed and closed.rule == USER_HOURS.rule else 0)
    seen = [f"SELECT unit AS user_id FROM {replace(found, hours=USER_HOURS).rows(0, before)}"]
    if found.hours is USER_MINUTES and minutes and minutes.since <= before:
        seen.append(f"SELECT unit AS user_id FROM {found.rows(before, start)}")
    elif before * _NS < start_ns:
        unit, among = unit_sql("user_id"), found.of_units(unit_sql("user_id"))
        own = f"{between(before * _NS, start_ns)} AND user_id != '' AND {among}"
        seen.append(f"SELECT {unit} FROM inferences WHERE {own}")
    return f"SELECT user_id FROM ({' UNION ALL '.join(seen)})"


def seen_before(start_ns: int) -> str:
    """SELECT of users that the store knows from before."""
    return (
        "SELECT DISTINCT user_id FROM inferences"
        f" WHERE timestamp < fromUnixTimestamp64Nano(toInt64({start_ns})) AND user_id != ''"
    )


def users_made_of(client: Client, start: int, end: int, period_s: int = HOUR_S) -> str:
    """SELECT of the rows of `user_hours` of some hours (periods of so many seconds), from calls."""
    calls = calls_source(client, start * _NS, end * _NS)
    unit, keys = unit_sql("user_id"), ", ".join(UNIT_KEYS)
    return (
        f"SELECT {period_sql(period_s)} AS period, {bucket_sql('unit')} AS bucket, {unit} AS unit, {keys}, count() AS rows__n,"
        f" max(sample_weight) AS kept__w_max FROM {calls} WHERE user_id != '' GROUP BY period, unit, {keys}"
    )


def period_sql(period_s: int) -> str:
    return f"toDateTime(intDiv(toUnixTimestamp(timestamp), {period_s}) * {period_s}, 'UTC')"


def ddl() -> str:
    """CREATE TABLEs of the migration: `python -m monitor.kpis.units`."""
    return _ddl(USER_HOURS, SESSION_HOURS, partition="toYYYYMM(period)")


def ddl_minutes() -> str:
    """CREATE TABLEs of the migration that added minutes."""
    return _ddl(USER_MINUTES, SESSION_MINUTES, partition="toDate(period)")


def _ddl(*tables: Hours, partition: str) -> str:
    keys = "\n".join(f"    {key} LowCardinality(String)," for key in UNIT_KEYS)
    return "".join(
        f"""
CREATE TABLE IF NOT EXISTS {hours.table}
(
    bucket UInt16 CODEC(ZSTD(1)),
    period DateTime('UTC') CODEC(Delta(4), ZSTD(1)),
    unit UInt64 CODEC(ZSTD(1)),
{keys}
    version UInt64 CODEC(ZSTD(1)),
{ddl_columns(hours.columns)}
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY {partition}
ORDER BY (bucket, period, unit, {", ".join(UNIT_KEYS)})
SETTINGS index_granularity = 1024, ttl_only_drop_parts = 1;
"""
        for hours in tables
    )


if __name__ == "__main__":
    print(ddl() + ddl_minutes(), end="")
