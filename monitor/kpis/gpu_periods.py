"""What GPUs did, minute by minute and hour by hour: the tables `gpu_1m` and `gpu_1h`, and what to read of them.

A row is what a GPU (or an instance of one) told in a period: sums over time of its readings, energy cut at the period's
ends, temperature, and in which minutes of the hour it was there at all (a bit for each).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from monitor.kpis.coverage import Part, cover, reach_of, whole_hours
from monitor.kpis.grains import HOUR, MINUTE, Grain
from monitor.kpis.hours import HOUR_S, Hours, ddl_columns, merged_list, periods
from monitor.kpis.sources.question import Question
from monitor.stats.batch_means import BATCHES
from monitor.store import Client

_NS: Final = 10**9
_KEYS: Final = ("node", "gpu", "parent", "environment", "region")
_COLUMNS: Final = {
    "rows__n": "UInt64",
    "samples__n": "UInt64",
    **{f"{reading}__{sum_}": "Float64" for reading in ("busy", "memory") for sum_ in ("n", "s", "x")},
    "stretches__n": "Float64",
    "energy__s": "Float64",
    "energy__j": "Float64",
    "temperature__n": "UInt64",
    "temperature__x": "Float64",
    "throttled__n": "UInt64",
    "throttled__x": "UInt64",
    "minutes": "UInt64",
}


def _hours(table: str) -> Hours:
    return Hours(
        name="gpus",
        table=table,
        rule="1",
        keys=_KEYS,
        dimensions=("environment", "region", "node", "gpu"),
        columns=_COLUMNS,
        counted=("gpu_1h", "samples__n"),
    )


GPU_MINUTES: Final = _hours("gpu_1m")
GPU_HOURS: Final = _hours("gpu_1h")


@dataclass(frozen=True, kw_only=True)
class Periods:
    """Periods from `first` up to `last` (Unix seconds), read from the table of one grain."""

    hours: Hours
    grain: Grain
    first: int
    last: int

    @property
    def rows(self) -> str:
        """Sub-select of the table's rows."""
        return f"(SELECT * FROM {self.hours.table} FINAL WHERE {self.hours.inside(self.first, self.last)})"

    @property
    def middle(self) -> str:
        """SQL of the middle of a row's period."""
        return middle_sql(self.grain)

    def ends(self, question: Question) -> list[tuple[int, int]]:
        """What samples must answer: the rest of the window, in Unix ns."""
        ends = ((question.start_ns, self.first * _NS), (self.last * _NS, question.end_ns))
        return [(start, end) for start, end in ends if start < end]


def middle_sql(grain: Grain) -> str:
    """SQL of the middle of a period of this grain."""
    return f"toDateTime64(period, 9) + {grain.seconds // 2}"


def calls_by_period(client: Client, question: Question) -> list[Part]:
    """What to read calls from: rollups where they have them, as calls may be many where samples are few; else the calls."""
    found = _periods(client, question, replace(GPU_HOURS, counted=Hours.counted))
    reaches = [] if found is None else [each for each in reach_of(client) if each.grain in (found.grain, MINUTE)]
    return cover(question.start_ns, question.end_ns, reaches)


def periods_of(client: Client, question: Question) -> Periods | None:
    """Hours where they are short beside the parts that the window is cut into for its interval, else minutes; None: samples."""
    return _periods(client, question, GPU_HOURS)


def _periods(client: Client, question: Question, of: Hours) -> Periods | None:
    whole = whole_hours(client, question, of)
    if whole is None:
        return None
    first, last = whole
    part_s = (question.step_ns or question.end_ns - question.start_ns) / _NS / BATCHES
    hourly = part_s >= HOUR_S or _oldest_minute(client) > first
    hours, grain = (GPU_HOURS, HOUR) if hourly else (GPU_MINUTES, MINUTE)
    return Periods(hours=hours, grain=grain, first=first, last=last)


def _oldest_minute(client: Client) -> int:
    return int(client.query(f"SELECT toUnixTimestamp(min(period)) FROM {GPU_MINUTES.table}").result_rows[0][0])


def hours_made_of(start: int, end: int) -> str:
    """SELECT of the rows of `gpu_1h`, from minutes."""
    keys = ", ".join(_KEYS)
    hour = f"toDateTime(intDiv(toUnixTimestamp(period), {HOUR_S}) * {HOUR_S}, 'UTC')"
    rows = f"SELECT * FROM {GPU_MINUTES.table} FINAL WHERE {GPU_MINUTES.inside(start, end)}"
    sums = merged_list(_COLUMNS)
    hours = f"SELECT {hour} AS begin, {keys}, {sums} FROM ({rows}) AS by_minute GROUP BY begin, {keys}"
    return f"SELECT begin AS period, * EXCEPT begin FROM ({hours})"


def ddl() -> str:
    """CREATE TABLEs of the migration: `python -m monitor.kpis.gpu_periods`."""
    keys = "\n".join(f"    {key} LowCardinality(String)," for key in _KEYS)
    return "".join(
        f"""
CREATE TABLE IF NOT EXISTS {hours.table}
(
    period DateTime('UTC') CODEC(Delta(4), ZSTD(1)),
{keys}
    version UInt64 CODEC(ZSTD(1)),
{ddl_columns(hours.columns)}
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY {partition}
ORDER BY (period, {", ".join(_KEYS)})
SETTINGS index_granularity = 1024, ttl_only_drop_parts = 1;
"""
        for hours, partition in ((GPU_MINUTES, MINUTE.partition), (GPU_HOURS, HOUR.partition))
    )


__all__ = ["GPU_HOURS", "GPU_MINUTES", "Periods", "calls_by_period", "ddl", "hours_made_of", "periods", "periods_of"]

if __name__ == "__main__":
    print(ddl(), end="")
