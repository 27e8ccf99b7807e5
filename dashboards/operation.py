"""How the monitor itself does: how late calls come, what waits, how large the store is and will be."""

from __future__ import annotations

import contextlib
import os
import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import pandas as pd

from dashboards.data import Where, kept
from dashboards.memory import remembered
from monitor.kpis import Window
from monitor.kpis.dimensions import where_sql
from monitor.store import Client

# Set by `monitor.serve.dashboard` for its child, where a collector runs beside it.
API_URL_VARIABLE: Final = "INFERENCE_MONITOR_API_URL"
ANSWER_S: Final = 3.0
LAG_REACH: Final = timedelta(hours=1)
_METRIC: Final = re.compile(r"^monitor_collector_(\w+)(?:\{(.*)\})? (\S+)$")


@dataclass(frozen=True, kw_only=True)
class Lag:
    """From a call's end to its row: seconds; None without calls."""

    p50_s: float | None
    p95_s: float | None
    n: int


@kept
def ingest_lag(client: Client, window: Window, where: Where = ()) -> Lag:
    """Of calls of the window's last hour."""
    condition, parameters = where_sql(dict(where))
    start_ns = max(window.start_ns, window.end_ns - int(LAG_REACH.total_seconds() * 1e9))
    late = "toFloat64(toUnixTimestamp64Milli(inserted_at)) / 1000 - toUnixTimestamp64Nano(timestamp) / 1e9 - duration_s"
    rows = client.query(
        f"SELECT quantiles(0.5, 0.95)({late}), count() FROM inferences WHERE timestamp >= fromUnixTimestamp64Nano({{since:Int64}})"
        f" AND timestamp < fromUnixTimestamp64Nano({{until:Int64}}) AND isNotNull(duration_s) AND {condition}",
        parameters={**parameters, "since": start_ns, "until": window.end_ns},
    ).result_rows
    (p50, p95), n = rows[0]
    return Lag(p50_s=float(p50), p95_s=float(p95), n=int(n)) if n else Lag(p50_s=None, p95_s=None, n=0)


@kept
def table_sizes(client: Client) -> pd.DataFrame:
    """Tables of the store, the largest first: `table, rows, bytes, oldest, newest`."""
    rows = client.query(
        "SELECT table, sum(rows), sum(bytes_on_disk) AS size, min(if(min_time > 0, min_time, NULL)), max(if(max_time > 0, max_time, NULL))"
        " FROM system.parts WHERE active AND database = currentDatabase() GROUP BY table ORDER BY size DESC, table"
    ).result_rows
    frame = pd.DataFrame(rows, columns=["table", "rows", "bytes", "oldest", "newest"])
    for name in ("oldest", "newest"):
        frame[name] = pd.to_datetime(frame[name], utc=True)
    return frame.astype({"rows": "int64", "bytes": "int64"})


@kept
def daily_bytes(client: Client) -> pd.DataFrame:
    """Bytes on disk by the day (UTC) of what is in them, of tables that are kept by the day, for the last 31 days: `day, bytes`."""
    rows = client.query(
        "SELECT toDate(max_time) AS day, sum(bytes_on_disk) FROM system.parts WHERE active AND database = currentDatabase()"
        " AND max_time > now() - INTERVAL 31 DAY AND toDate(min_time) = toDate(max_time) GROUP BY day ORDER BY day"
    ).result_rows
    frame = pd.DataFrame(rows, columns=["day", "bytes"])
    return frame.astype({"bytes": "float64"})


@kept
def free_bytes(client: Client) -> int | None:
    """Free space of the fullest disk of the store; None where nobody tells."""
    rows = client.query("SELECT min(free_space) FROM system.disks WHERE total_space > 0").result_rows
    return int(rows[0][0]) if rows and rows[0][0] else None


@kept
def schema_version(client: Client) -> tuple[int, str]:
    """Number and name of the newest migration."""
    rows = client.query("SELECT version, name FROM schema_migrations FINAL ORDER BY version DESC LIMIT 1").result_rows
    return (int(rows[0][0]), str(rows[0][1])) if rows else (0, "none")


@kept
def server_version(client: Client) -> str:
    return str(client.command("SELECT version()"))


@remembered(ttl_s=5, entries_max=4)
def collector_numbers() -> dict[str, dict[str, float]] | None:
    """Name -> labels -> value of the collector's own numbers; None where it cannot be asked."""
    address = os.environ.get(API_URL_VARIABLE, "")
    if not address:
        return None
    with contextlib.suppress(urllib.error.URLError, OSError, ValueError):
        with urllib.request.urlopen(f"{address}/metrics", timeout=ANSWER_S) as answer:
            return read_numbers(answer.read().decode())
    return None


def read_numbers(text: str) -> dict[str, dict[str, float]]:
    """Samples of a Prometheus page, without those of others."""
    found: dict[str, dict[str, float]] = {}
    for line in text.splitlines():
        if match := _METRIC.match(line):
            name, labels, value = match.groups()
            found.setdefault(name, {})[labels or ""] = float(value)
    return found


def growth(days: pd.DataFrame) -> float | None:
    """Bytes a day: the mean of the last seven days that are over and have data; None before one is over."""
    over = days.iloc[:-1].tail(7)
    return float(over["bytes"].mean()) if len(over) else None


def size_text(size: float) -> str:
    """`5.98 MB`."""
    for limit, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= limit:
            return f"{size / limit:.3g} {unit}"
    return f"{size:.0f} B"
