"""The jobs `kpis` and `accuracy`: what each KPI was, minute by minute, kept for charts, reports and alerts.

Each value is over the KPI's own window (an hour, or a day for accuracy), which ends at a closed minute: two minutes ago
or more, so that the last calls have arrived. KPIs of windows longer than an hour move slowly: they are kept every ten
minutes. Ends that were missed are made up, oldest first, so many in a run; of a
pause of more than a day only the last day is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from monitor.jobs.job import Context, Job, Outcome
from monitor.jobs.rollup import GRACE_S
from monitor.kpis import KpiValue, Window, evaluate, parse_duration
from monitor.kpis.kpi import Kpi
from monitor.kpis.registry import known
from monitor.store import Client

# Beside the whole.
SPLIT: Final = ("service", "model")
GROUPS_MAX: Final = 50
MADE_UP_MAX: Final = 30
SLOW_S: Final = 600
REACH: Final = timedelta(days=1)
_COLUMNS: Final = (
    "window_end",
    "window_s",
    "name",
    "unit",
    "grp",
    "value",
    "low",
    "high",
    "n",
    "method",
    "note",
    "version",
)


def run_kpis(context: Context) -> Outcome:
    """All KPIs but those of accuracy, each minute, and every ten minutes where their windows are long."""
    kpis = [kpi for kpi in known(context.client, ()).values() if kpi.family != "accuracy"]
    return _run(context, kpis, every_s=60)


def run_accuracy(context: Context) -> Outcome:
    """Those of accuracy, every ten minutes: a label makes no hurry."""
    kpis = [kpi for kpi in known(context.client, ()).values() if kpi.family == "accuracy"]
    return _run(context, kpis, every_s=SLOW_S)


KPIS: Final = Job(name="kpis", meaning="Keeps what each KPI was, minute by minute.", every_s=60, run=run_kpis)
ACCURACY: Final = Job(
    name="accuracy",
    meaning="Keeps what the KPIs of accuracy were, every ten minutes.",
    every_s=SLOW_S,
    run=run_accuracy,
)


def _run(context: Context, kpis: Sequence[Kpi], *, every_s: int) -> Outcome:
    rows = 0
    ends = _missing_ends(context, kpis, every_s)
    for end in ends[:MADE_UP_MAX]:
        if context.stop.is_set():
            break
        rows += _keep(context.client, kpis, end)
    left = len(ends) - MADE_UP_MAX
    return Outcome(rows=rows, note=f"left for the next runs: {left} windows" if left > 0 else "")


def _missing_ends(context: Context, kpis: Sequence[Kpi], every_s: int) -> list[datetime]:
    """Ends of windows since the last one that is kept, oldest first."""
    newest = int(context.now.timestamp() - GRACE_S) // every_s * every_s
    names = [kpi.name for kpi in kpis]
    kept = context.client.query(
        "SELECT toUnixTimestamp(max(window_end)) FROM kpi_results WHERE has({names:Array(String)}, name)",
        parameters={"names": names},
    ).result_rows[0][0]
    oldest = max(int(kept or newest - every_s), newest - int(REACH.total_seconds()))
    return [datetime.fromtimestamp(end, UTC) for end in range(oldest + every_s, newest + 1, every_s)]


def _keep(client: Client, kpis: Sequence[Kpi], end: datetime) -> int:
    """Compute and write all values of the windows that end here."""
    values: list[tuple[int, KpiValue]] = []
    kpis = [kpi for kpi in kpis if int(end.timestamp()) % (SLOW_S if _slow(kpi) else 1) == 0]
    for length in dict.fromkeys(kpi.window for kpi in kpis):
        names = [kpi.name for kpi in kpis if kpi.window == length]
        window = Window(end - parse_duration(length), end)
        whole = evaluate(client, names, window=window)
        # Without a call there is nothing to split.
        split = (
            evaluate(client, names, window=window, by=SPLIT, groups_max=GROUPS_MAX) if any(v.n for v in whole) else []
        )
        values += [(round(window.seconds), value) for value in (*whole, *_known(split))]
    version = int(client.query("SELECT toUnixTimestamp64Milli(now64(3))").result_rows[0][0])
    client.insert(
        "kpi_results", [_row(end, window_s, value, version) for window_s, value in values], column_names=_COLUMNS
    )
    return len(values)


def _slow(kpi: Kpi) -> bool:
    return parse_duration(kpi.window) > timedelta(hours=1)


def _known(values: Iterable[KpiValue]) -> Iterable[KpiValue]:
    """Groups that have a value; a KPI that cannot be split says so once, for the whole, where it has its value."""
    return (value for value in values if value.group and value.value is not None)


def _row(end: datetime, window_s: int, value: KpiValue, version: int) -> list[object]:
    return [
        end, window_s, value.name, value.unit, value.group, value.value, value.low, value.high, value.n, value.method,
        value.note, version,
    ]  # fmt: skip
