"""The collector's own numbers as a Prometheus page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from collectors.stats import Snapshot

PREFIX: Final = "monitor_collector"


class _Page:
    def __init__(self) -> None:
        self._families: dict[str, list[str]] = {}

    def add(self, name: str, kind: str, meaning: str, value: int, labels: Mapping[str, str] | None = None) -> None:
        family = self._families.setdefault(
            name, [f"# HELP {PREFIX}_{name} {meaning}", f"# TYPE {PREFIX}_{name} {kind}"]
        )
        inside = ",".join(f'{key}="{text}"' for key, text in (labels or {}).items())
        family.append(f"{PREFIX}_{name}{{{inside}}} {value}" if inside else f"{PREFIX}_{name} {value}")

    def text(self) -> str:
        return "\n".join(line for family in self._families.values() for line in family) + "\n"


# Prefix of each signal's items -> the words for them.
_ITEMS: Final = {"spans": "Spans", "log_records": "Log records", "data_points": "Metric data points"}


def render_metrics(
    snapshots: Mapping[str, tuple[str, Snapshot]], waiting_bytes: int, closed_connections: Mapping[str, int]
) -> str:
    """Text exposition format 0.0.4; `snapshots` is signal -> (name of its items, its numbers)."""
    page = _Page()
    for items, snapshot in snapshots.values():
        what = _ITEMS[items]
        page.add(
            f"{items}_received_total",
            "counter",
            f"{what} of accepted requests, and those recovered from the log.",
            snapshot.received,
        )
        page.add(f"{items}_stored_total", "counter", f"{what} in ClickHouse.", snapshot.stored)
        page.add(
            f"{items}_waiting", "gauge", f"{what} in the write-ahead log that are not stored yet.", snapshot.waiting
        )
        page.add(
            f"{items}_recovered_total", "counter", f"{what} found in the write-ahead log at start.", snapshot.recovered
        )
        for reason, count in sorted(snapshot.rejected.items()):
            page.add(
                f"{items}_rejected_total", "counter", f"{what} that can never be stored.", count, {"reason": reason}
            )
        for reason, count in sorted(snapshot.repaired.items()):
            page.add(f"{items}_repaired_total", "counter", f"{what} stored with a change.", count, {"reason": reason})
    for signal, (_, snapshot) in snapshots.items():
        page.add("requests_total", "counter", "Accepted requests.", snapshot.requests, {"signal": signal})
        for reason, count in sorted(snapshot.refused_requests.items()):
            page.add(
                "requests_refused_total",
                "counter",
                "Requests of which nothing was taken.",
                count,
                {"signal": signal, "reason": reason},
            )
        page.add(
            "insert_retries_total",
            "counter",
            "Inserts that had to be tried again.",
            snapshot.retried_inserts,
            {"signal": signal},
        )
    for reason, count in sorted(closed_connections.items()):
        page.add(
            "connections_closed_total", "counter", "HTTP connections closed for a limit.", count, {"reason": reason}
        )
    page.add("wal_bytes", "gauge", "Bytes in the write-ahead logs.", waiting_bytes)
    return page.text()
