"""The collector's own numbers as a Prometheus page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from collectors.stats import Snapshot

PREFIX: Final = "monitor_collector"


def render_metrics(snapshot: Snapshot, waiting_bytes: int) -> str:
    """Text exposition format 0.0.4."""
    lines: list[str] = []

    def add(name: str, kind: str, meaning: str, values: Mapping[str, int] | int, label: str = "reason") -> None:
        lines.extend([f"# HELP {PREFIX}_{name} {meaning}", f"# TYPE {PREFIX}_{name} {kind}"])
        if isinstance(values, int):
            lines.append(f"{PREFIX}_{name} {values}")
        else:
            lines.extend(f'{PREFIX}_{name}{{{label}="{key}"}} {value}' for key, value in sorted(values.items()))

    add(
        "spans_received_total",
        "counter",
        "Spans of accepted requests, and those recovered from the log.",
        snapshot.received,
    )
    add("spans_stored_total", "counter", "Spans in ClickHouse.", snapshot.stored)
    add("spans_rejected_total", "counter", "Spans that can never be stored.", snapshot.rejected)
    add("spans_waiting", "gauge", "Spans in the write-ahead log that are not stored yet.", snapshot.waiting)
    add("spans_recovered_total", "counter", "Spans found in the write-ahead log at start.", snapshot.recovered)
    add("spans_repaired_total", "counter", "Spans stored with a change.", snapshot.repaired)
    add("requests_total", "counter", "Accepted requests.", snapshot.requests)
    add("requests_refused_total", "counter", "Requests of which nothing was taken.", snapshot.refused_requests)
    add("insert_retries_total", "counter", "Inserts that had to be tried again.", snapshot.retried_inserts)
    add("wal_bytes", "gauge", "Bytes in the write-ahead log.", waiting_bytes)
    return "\n".join(lines) + "\n"
