"""Tables of what is added up by the hour, and of late by the minute: how they are replaced, and how far they reach.

Such a table has a row for each hour (minute; `period`) and its other keys, and is read with FINAL: an hour that is added up again
replaces its rows, and what it had and has no more is written with nothing in it (`rows__n` 0). How a column adds up, its name
tells: `…_min` and `…_max` are the least and the most, maps and arrays are joined, all others are sums.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from monitor.kpis.dimensions import dimension_sql
from monitor.kpis.sources.question import Question
from monitor.store import Client
from monitor.store.flatten import literal

HOUR_S: Final = 3600
MINUTE_S: Final = 60
STATE: Final = "hour_state"
_NS: Final = 10**9
_VERSION: Final = "toUnixTimestamp64Milli(now64(3))"


@dataclass(frozen=True, kw_only=True)
class State:
    """Hours from `since` up to `until` (Unix seconds) are added up, with rows inserted up to `seen_ms`, by this rule.

    So is what began from `until` up to `mark`, as it was when it was looked at; 0 if none of it is. The rows of its hours say
    nothing of later calls, so they answer for windows that end at the mark.
    """

    rule: str
    since: int
    until: int
    seen_ms: int
    mark: int = 0


@dataclass(frozen=True, kw_only=True)
class Hours:
    """What is added up by the hour under one name.

    Parameters
    ----------
    name : str
        By which `hour_state` knows it.
    table : str
    rule : str
        What changes when the same rows would be added up to something else.
    keys : tuple of str
        Columns beside `period` that tell rows apart.
    dimensions : tuple of str
        Those of the keys that questions may split by and filter on.
    columns : mapping
        Name -> type of what is added up.
    scope : str
        SQL: which rows of the table are its own.
    counted : (str, str)
        Table and column that tell how much there is in some hours: little is read from the facts themselves.
    column : str
        That tells the hour.
    period_s : int
        Seconds of a period: an hour, or the minute of those that `by_minute` makes.
    """

    name: str
    table: str
    rule: str
    keys: tuple[str, ...]
    dimensions: tuple[str, ...]
    columns: Mapping[str, str]
    scope: str = "1"
    counted: tuple[str, str] = ("inferences_1h", "calls__n")
    column: str = "period"
    period_s: int = HOUR_S

    def by_minute(self, table: str) -> Hours:
        """The same, in another table, by the minute."""
        return replace(
            self, name=f"minutes:{self.name}", table=table, counted=("inferences_1m", "calls__n"), period_s=MINUTE_S
        )

    def inside(self, start: int, end: int) -> str:
        """SQL: rows of these hours (Unix seconds) that have something in them; to be filtered on before anything is named anew."""
        return f"{self.scope} AND {periods(start, end)} AND rows__n > 0"


def periods(start: int, end: int, column: str = "period") -> str:
    return f"{column} >= toDateTime({start}) AND {column} < toDateTime({end})"


def merged(name: str, kind: str) -> str:
    """SQL that adds up a column."""
    if kind.startswith("Map"):
        return f"sumMap({name})"
    if kind.startswith("Array"):
        return f"groupUniqArrayArray({name})"
    how = "min" if name.endswith("_min") else "max" if name.endswith("_max") else "sum"
    return f"{how}({name})"


def merged_list(columns: Mapping[str, str]) -> str:
    return ", ".join(f"{merged(name, kind)} AS {name}" for name, kind in columns.items())


def nothing(name: str, kind: str) -> str:
    """SQL of what changes nothing when it is added."""
    if name.endswith("_min"):
        return {"Float64": "inf", "Int64": "toInt64(9223372036854775807)", "UInt64": "toUInt64(18446744073709551615)"}[
            kind
        ]
    return f"defaultValueOfTypeName('{kind}')"


def read_states(client: Client) -> dict[str, State]:
    """Name -> how far it reaches."""
    rows = client.query(
        "SELECT name, rule, toUnixTimestamp(since), toUnixTimestamp(until), toUnixTimestamp64Milli(seen)"
        f" FROM {STATE} FINAL"
    ).result_rows
    return with_marks(
        {
            str(name): State(rule=str(rule), since=int(since), until=int(until), seen_ms=int(seen))
            for name, rule, since, until, seen in rows
        }
    )


def with_marks(states: Mapping[str, State]) -> dict[str, State]:
    """States with their marks, which are kept as states of their own (`open_name`): begin of the open hours, and mark."""
    found = {}
    for name, state in states.items():
        open_ = states.get(open_name(name))
        if open_ is not None and (open_.rule, open_.since) == (state.rule, state.until) and open_.until > open_.since:
            state = replace(state, mark=open_.until)
        found[name] = state
    return found


def open_name(name: str) -> str:
    """Under which the mark of a product is kept."""
    return f"open:{name}"


def newest_mark(client: Client) -> int | None:
    """Up to when (Unix seconds) the job `hours` added up the hours that are not over; None if it did not.

    Products that are behind, or that nobody adds up any more, have older marks; facts answer for them.
    """
    return max((state.mark for state in read_states(client).values() if state.mark), default=None)


def newest_minute(client: Client) -> int | None:
    """Up to when (Unix seconds) the job `minutes` added up; None if it did not. Products may be behind, as with marks."""
    states = read_states(client)
    return max((state.until for name, state in states.items() if name.startswith("minutes:")), default=None)


def write_state(client: Client, name: str, state: State) -> None:
    write_states(client, {name: state})


def write_states(client: Client, states: Mapping[str, State]) -> None:
    """Several in one insert."""
    rows = " UNION ALL ".join(
        f"SELECT {literal(name)}, {literal(state.rule)}, toDateTime({state.since}), toDateTime({state.until}),"
        f" fromUnixTimestamp64Milli(toInt64({state.seen_ms})), {_VERSION}"
        for name, state in states.items()
    )
    if rows:
        client.command(f"INSERT INTO {STATE} (name, rule, since, until, seen, version) {rows}")


def replace_hours(client: Client, hours: Hours, made_of: str, start: int, end: int) -> int:
    """Write a stretch of hours anew; returns their rows. `made_of` selects `period`, the keys and the columns."""
    if start >= end:
        return 0
    keys, names = ["period", *hours.keys], list(hours.columns)
    into = f"INSERT INTO {hours.table} ({', '.join([*keys, 'version', *names])})"
    count = f"SELECT count() FROM {hours.table} FINAL WHERE {hours.inside(start, end)}"
    if not int(client.query(count).result_rows[0][0]):
        client.command(f"{into} SELECT {', '.join([*keys, _VERSION, *names])} FROM ({made_of})")
        return int(client.query(count).result_rows[0][0])
    sums = merged_list(hours.columns)
    emptied = ", ".join(f"{nothing(name, kind)} AS {name}" for name, kind in hours.columns.items())
    had = f"SELECT * FROM {hours.table} FINAL WHERE {hours.inside(start, end)}"
    # Counts that are UInt64 on one side and Float64 on the other would have no common type.
    made = ", ".join(f"CAST({name}, '{kind}') AS {name}" for name, kind in hours.columns.items())
    rows = f"SELECT {', '.join(keys)}, {made} FROM ({made_of}) UNION ALL SELECT {', '.join(keys)}, {emptied} FROM ({had}) AS had"
    client.command(f"{into} SELECT {', '.join(keys)}, {_VERSION}, {sums} FROM ({rows}) GROUP BY {', '.join(keys)}")
    return int(client.query(count).result_rows[0][0])


def hour_keys(question: Question) -> list[str]:
    """SQL of the question's keys over rows of hours."""
    keys = [f"{dimension_sql(name)} AS {key}" for name, key in zip(question.by, question.group_keys, strict=True)]
    if question.step_ns:
        begin = f"toInt64(toUnixTimestamp(period)) * {_NS}"
        keys.append(f"intDiv({begin} - {question.origin_ns}, {question.step_ns}) AS step")
    return keys


def ddl_columns(columns: Mapping[str, str]) -> str:
    """Lines of a CREATE TABLE."""
    return ",\n".join(f"    {name} {kind} CODEC(ZSTD(1))" for name, kind in columns.items())
