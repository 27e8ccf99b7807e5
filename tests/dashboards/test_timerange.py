"""Time ranges: from an address to a window, and into steps of a chart."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from dashboards import timerange
from dashboards.filters import View
from monitor.errors import BadInput
from monitor.kpis import Window

NOON = datetime(2026, 3, 29, 12, 0, 3, 700_000, tzinfo=UTC)


def test_the_last_hour_ends_now_in_steps_that_viewers_share() -> None:
    window = timerange.last("1h", now=NOON)
    assert window.end == datetime(2026, 3, 29, 12, 0, 0, tzinfo=UTC)
    assert window.seconds == 3600
    assert timerange.last("1h", now=NOON + timedelta(seconds=1)) == window
    assert timerange.before(window).end == window.start


@pytest.mark.parametrize("name", list(timerange.RANGES))
def test_a_range_begins_on_a_whole_minute_or_hour_and_is_at_least_as_long_as_it_says(name: str) -> None:
    now = datetime(2026, 3, 29, 12, 34, 56, tzinfo=UTC)
    window = timerange.last(name, now=now)
    length = timerange.RANGES[name]
    whole = timedelta(hours=1) if length >= timedelta(days=1) else timedelta(minutes=1)
    assert (window.start - datetime(2026, 1, 1, tzinfo=UTC)) % whole == timedelta(0)
    assert length <= window.end - window.start < length + whole
    assert window.end == now - timedelta(seconds=1)


@pytest.mark.parametrize("name", list(timerange.RANGES))
def test_a_range_ends_where_is_added_up(name: str) -> None:
    now, mark = datetime(2026, 3, 29, 12, 34, 56, tzinfo=UTC), datetime(2026, 3, 29, 12, 29, tzinfo=UTC)
    window, live = timerange.last(name, now=now, settled=mark), timerange.last(name, now=now)
    assert window.end == mark
    long = name in ("24h", "7d")
    assert window.start == (live.start if long else mark - timerange.RANGES[name])
    assert timerange.last(name, now=now, settled=now + timedelta(minutes=1)) == live


@pytest.mark.parametrize(("name", "step_s"), [("15m", 60), ("6h", 60), ("24h", 3600), ("7d", 3600)])
def test_charts_have_steps_of_what_is_added_up(name: str, step_s: int) -> None:
    view = View(range=name, custom=None, where=(), zone=ZoneInfo("UTC"), live=True, now=NOON)
    assert view.added_up_s() == 1
    assert view.added_up_s(finest_s=60) == 60
    settled = replace(view, settled=NOON.replace(second=0, microsecond=0) - timedelta(minutes=1))
    assert settled.added_up_s() == step_s
    drawn = timerange.aligned(settled.window(), step_s)
    assert drawn.start.timestamp() % 60 == 0


@pytest.mark.parametrize(
    ("start", "end", "before"),
    [
        ((12, 34), (18, 50), (6, 18)),  # hours: just as long
        ((0, 0), (24, 10), (-25, 0)),  # a day and more: from a whole hour on
        ((0, 0), (24, 0), (-24, 0)),
        ((0, 20), (30, 0), (-30, 0)),
    ],
)
def test_the_time_before(start: tuple[int, int], end: tuple[int, int], before: tuple[int, int]) -> None:
    day = datetime(2026, 3, 20, tzinfo=UTC)
    (a, b, c) = (day + timedelta(hours=h, minutes=m) for h, m in (start, end, before))
    assert timerange.before(Window(a, b)) == Window(c, a)


@pytest.mark.parametrize("name", list(timerange.RANGES))
@pytest.mark.parametrize("calls", [0, 1, 500, 20_000, 10**9])
def test_steps_are_neither_too_many_nor_too_few(name: str, calls: int) -> None:
    window = timerange.last(name, now=NOON)
    step_s = timerange.step_s(window, calls=calls, calls_wanted=60)
    assert 6 <= window.seconds / step_s <= timerange.POINTS_MAX
    drawn = timerange.aligned(window, step_s)
    assert drawn.start.timestamp() % step_s == 0
    assert timedelta(0) <= window.start - drawn.start < timedelta(seconds=step_s)


def test_moments_are_the_same_in_every_zone() -> None:
    berlin = datetime(2026, 1, 31, 13, 0, tzinfo=ZoneInfo("Europe/Berlin"))
    assert timerange.write_moment(berlin) == "2026-01-31T12:00:00Z"
    assert timerange.read_moment("2026-01-31T12:00:00Z") == berlin
    assert timerange.read_moment("2026-01-31T12:00") == berlin, "without a zone it is UTC"
    with pytest.raises(BadInput, match="`soon` is no moment"):
        timerange.read_moment("soon")


@pytest.mark.parametrize(
    ("zone", "words"),
    [
        ("UTC", "29 Mar 00:30 – 02:30, UTC"),
        ("Europe/Berlin", "29 Mar 01:30 – 04:30, Europe/Berlin (UTC+02:00)"),  # an hour is skipped that night
        ("America/St_Johns", "28 Mar 22:00 – 29 Mar 00:00, America/St_Johns (UTC-02:30)"),
    ],
)
def test_a_window_is_said_in_the_viewers_zone(zone: str, words: str) -> None:
    window = Window(datetime(2026, 3, 29, 0, 30, tzinfo=UTC), datetime(2026, 3, 29, 2, 30, tzinfo=UTC))
    assert timerange.window_words(window, timerange.zone_of(zone)) == words


@pytest.mark.parametrize("name", [None, "", "Nowhere/Atall", "../etc/passwd"])
def test_an_unknown_zone_is_utc(name: str | None) -> None:
    assert timerange.zone_of(name).key == "UTC"


def test_a_view_as_a_link() -> None:
    where = (("node", ("gpu-1", "gpu-2")), ("region", ("",)))
    view = View(range="6h", custom=None, where=where, zone=ZoneInfo("UTC"), live=False)
    assert view.query(node="a&b") == "range=6h&live=false&region=%28unknown%29&node=a%26b"
    assert view.refresh_s is None
    window = Window(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
    custom = View(range="custom", custom=window, where=(), zone=ZoneInfo("UTC"), live=True)
    assert custom.query() == "range=custom&start=2026-01-01T00%3A00%3A00Z&end=2026-01-02T00%3A00%3A00Z"
    assert custom.refresh_s is None, "what is over does not change"
    assert View(range="1h", custom=None, where=(), zone=ZoneInfo("UTC"), live=True).query() == ""
