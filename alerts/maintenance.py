"""Times in which alerts are not told, though they are evaluated and keep their states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from monitor.settings.matchers import all_hold, parse_matchers
from monitor.settings.routing import DAYS, MaintenanceSettings, minute_of_day


def maintained(labels: Mapping[str, str], windows: Sequence[MaintenanceSettings], now: datetime) -> str | None:
    """Name of the first window that keeps such an alert quiet now; None if there is none."""
    for index, window in enumerate(windows):
        if holds(window, now) and all_hold(parse_matchers(window.matchers), labels):
            return window.name or f"maintenance window {index + 1}"
    return None


def holds(window: MaintenanceSettings, now: datetime) -> bool:
    """Whether it is the window's time: by the clock on the wall of its zone, so that 22:00 stays 22:00 in summer.

    A window that goes past midnight belongs to the day on which it begins.
    """
    zone = ZoneInfo(window.zone)
    local = now.astimezone(zone)
    if window.starts is not None and local < _in_zone(window.starts, zone):
        return False
    if window.ends is not None and local >= _in_zone(window.ends, zone):
        return False
    begin, end = minute_of_day(window.from_), minute_of_day(window.until)
    minute = local.hour * 60 + local.minute
    if begin < end:
        return begin <= minute < end and _on(window, local)
    return (minute >= begin and _on(window, local)) or (minute < end and _on(window, local - timedelta(days=1)))


def _on(window: MaintenanceSettings, local: datetime) -> bool:
    return not window.days or DAYS[local.weekday()] in window.days


def _in_zone(moment: datetime, zone: ZoneInfo) -> datetime:
    return moment.replace(tzinfo=zone) if moment.tzinfo is None else moment
