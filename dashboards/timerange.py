"""Stretches of time as they stand in an address: the last hour, or from one moment to another."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from monitor.errors import BadInput
from monitor.kpis import Window

CUSTOM: Final = "custom"
RANGES: Final = {
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
}
DAY: Final = timedelta(days=1)
HOUR_S: Final = 3600
MINUTE_S: Final = 60
DEFAULT: Final = "1h"
NAMES: Final = {
    "15m": "the last 15 minutes",
    "1h": "the last hour",
    "6h": "the last 6 hours",
    "24h": "the last 24 hours",
    "7d": "the last 7 days",
    CUSTOM: "this time",
}

# Steps of a chart, in seconds: those that divide minutes, hours and days evenly.
STEPS_S: Final = (
    1, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 604800, 2592000,
)  # fmt: skip
POINTS_MAX: Final = 90
POINTS_MIN: Final = 12


def last(name: str, *, now: datetime, step_s: int = 5, settled: datetime | None = None) -> Window:
    """The stretch of this name that ends now; "now" moves in steps, so that viewers of a page share the answers of the store.

    It begins on a whole minute, of a day and more on a whole hour, and is so much longer: what is added up already then
    answers for its begin, too. It ends when `settled` says, if it does, so that it answers for its end as well.
    """
    end = datetime.fromtimestamp(int(now.timestamp()) // step_s * step_s, UTC)
    length = RANGES[name]
    if settled is not None:
        end = min(end, settled)
    start = int((end - length).timestamp())
    return Window(datetime.fromtimestamp(start - start % (HOUR_S if length >= DAY else MINUTE_S), UTC), end)


def before(window: Window) -> Window:
    """The equally long stretch that ends where this one begins; of a day and more, begun on a whole hour, so up to an hour longer."""
    start = window.start - (window.end - window.start)
    if window.end - window.start >= DAY:
        start = start.replace(minute=0, second=0, microsecond=0)
    return Window(start, window.start)


def step_s(window: Window, *, calls: float, calls_wanted: float) -> int:
    """Length of a chart's steps: as short as leaves about `calls_wanted` calls in each, within 12 to 90 steps.

    Parameters
    ----------
    window : Window
        What is drawn.
    calls : float
        Calls in it (of one line of the chart).
    calls_wanted : float
        Calls that a step should have, for its number to mean something.

    Returns
    -------
    int
        Seconds.
    """
    points = min(POINTS_MAX, max(POINTS_MIN, calls / max(calls_wanted, 1)))
    wanted = window.seconds / points
    return next((step for step in STEPS_S if step >= wanted), STEPS_S[-1])


def aligned(window: Window, step: int) -> Window:
    """The window with its start moved back to a multiple of the step, so that steps stay where they are as time goes."""
    start = int(window.start.timestamp()) // step * step
    return Window(datetime.fromtimestamp(start, UTC), window.end)


def read_moment(text: str) -> datetime:
    """A moment in UTC from an address.

    Raises
    ------
    BadInput
        If it is none.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(f"`{text}` is no moment; write it as 2026-01-31T12:00:00Z") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def write_moment(moment: datetime) -> str:
    """The moment for an address, in UTC: the same in every viewer's zone."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def zone_of(name: str | None) -> ZoneInfo:
    """The viewer's zone; UTC where it is not known."""
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


def window_words(window: Window, zone: ZoneInfo) -> str:
    """`22 Nov 23:20 – 23 Nov 00:20, Europe/Berlin (UTC+01:00)`."""
    start, end = window.start.astimezone(zone), window.end.astimezone(zone)
    form = "%-d %b %H:%M" if start.year == end.year else "%-d %b %Y %H:%M"
    last_form = "%H:%M" if start.date() == end.date() else form
    offset = end.strftime("%z")
    shift = "" if zone.key == "UTC" else f" (UTC{offset[:3]}:{offset[3:]})"
    return f"{start.strftime(form)} – {end.strftime(last_form)}, {zone.key}{shift}"
