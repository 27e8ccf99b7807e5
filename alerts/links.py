"""Addresses of the dashboard's pages, with time and filter set: the query is that of its filter bar."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlencode

from alerts.model import Instance

# Family of KPIs -> page; all others are on the first one.
PAGES: Final = {
    **{
        family: family for family in ("latency", "accuracy", "cost", "engagement", "safety", "drift", "fleet", "alerts")
    },
    "bias": "safety",
}
# What the filter bar can filter on.
FILTERS: Final = (
    "service", "model", "node", "variant", "release", "region", "environment", "provider", "deployment", "experiment",
    "arm",
)  # fmt: skip
_UNKNOWN: Final = "(unknown)"
_BEFORE: Final = timedelta(minutes=30)
_AFTER: Final = timedelta(minutes=10)


def page_link(dashboard_url: str, kpi: str, instance: Instance | None = None) -> str:
    """The page on which a KPI is seen, from half an hour before the alert began; empty without a dashboard."""
    if not dashboard_url:
        return ""
    page = PAGES.get(kpi.partition(".")[0], "")
    pairs: list[tuple[str, str]] = []
    if instance is not None:
        start = min(instance.window_start, instance.active_at or instance.window_start) - _BEFORE
        end = (instance.resolved_at or instance.window_end) + _AFTER
        pairs = [("range", "custom"), ("start", _moment(start)), ("end", _moment(end))]
        filters = {**instance.where, **{key: [value] for key, value in instance.group.items()}}
        pairs += [(key, value or _UNKNOWN) for key, values in filters.items() if key in FILTERS for value in values]
    query = urlencode(pairs)
    return f"{dashboard_url}/{page}" + (f"?{query}" if query else "")


def silence_link(dashboard_url: str, labels: Mapping[str, str]) -> str:
    """The page on which such alerts can be silenced, with matchers for all labels but the severity."""
    if not dashboard_url:
        return ""
    pairs = [("silence", f"{key}={value}") for key, value in labels.items() if key != "severity"]
    return f"{dashboard_url}/alerts?{urlencode(pairs)}"


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
