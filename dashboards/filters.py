"""The filter bar. All of its state is in the address, so a copied link shows the same view to somebody else."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import parse_qsl, urlencode
from zoneinfo import ZoneInfo

import streamlit as st

from dashboards import address, data, timerange
from dashboards.data import Where
from dashboards.wording import DIMENSION_LABELS, UNKNOWN, escaped, group_text
from monitor.errors import BadInput
from monitor.kpis import Window

FILTERS: Final = (
    "service", "model", "node", "variant", "release", "region", "environment", "provider", "deployment", "experiment",
    "arm",
)  # fmt: skip
RANGE, LIVE = "range", "live"
REFRESH_S: Final = {"15m": 5, "1h": 10, "6h": 30, "24h": 60, "7d": 300}
# Values that were there before the window are still worth filtering on.
OPTIONS_REACH: Final = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class View:
    """What a page is to show: the time, the filter, and in which zone times are said."""

    range: str
    custom: Window | None
    where: Where
    zone: ZoneInfo
    live: bool
    # When it was looked at: all parts of a page tell of the same time, however long it takes to draw them.
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    # Where a range over many calls ends; None where calls are few: see `data.settled`.
    settled: datetime | None = None

    def window(self) -> Window:
        """The stretch of time as of when it was looked at."""
        return self.custom or timerange.last(
            self.range, now=self.now, step_s=min(REFRESH_S[self.range], data.FRESH_S), settled=self.settled
        )

    def anew(self) -> View:
        """The same view as of now."""
        now = datetime.now(UTC)
        length = timerange.RANGES[self.range] if self.custom is None else self.custom.end - self.custom.start
        return replace(self, now=now, settled=data.settled(now, length))

    def added_up_s(self, *, finest_s: int = 1) -> int:
        """Shortest step for charts of what is added up by the hour, or minute: so long over many calls, so that none is read."""
        if self.settled is None:
            return finest_s
        window = self.window()
        return timerange.HOUR_S if window.end - window.start >= timerange.DAY else timerange.MINUTE_S

    @property
    def refresh_s(self) -> int | None:
        """Seconds between looks at the store; None if what is shown cannot change, or should not."""
        return REFRESH_S[self.range] if self.live and self.custom is None else None

    @property
    def range_words(self) -> str:
        return timerange.NAMES[self.range]

    def during(self, window: Window) -> View:
        """The same view of another time."""
        return replace(self, range=timerange.CUSTOM, custom=window)

    def carried(self) -> list[tuple[str, str]]:
        """What a link to another page must carry."""
        return parse_qsl(self.query())

    def query(self, **more: str) -> str:
        """The view, and more, as the query part of a link."""
        pairs: list[tuple[str, str]] = []
        if self.custom is not None:
            ends = (timerange.write_moment(self.custom.start), timerange.write_moment(self.custom.end))
            pairs += [(RANGE, timerange.CUSTOM), ("start", ends[0]), ("end", ends[1])]
        elif self.range != timerange.DEFAULT:
            pairs.append((RANGE, self.range))
        if not self.live:
            pairs.append((LIVE, "false"))
        pairs += [(key, group_text(value)) for key, values in self.where if key not in more for value in values]
        pairs += [(key, group_text(value)) for key, value in more.items()]
        return urlencode(pairs)


def filter_bar() -> View:
    """Draw the bar and return what it says."""
    zone = timerange.zone_of(st.context.timezone)
    with st.container(horizontal=True, vertical_alignment="center", key="filter-bar"):
        name = address.buttons(
            "Time range",
            [*timerange.RANGES, timerange.CUSTOM],
            name=RANGE,
            default=timerange.DEFAULT,
            said=lambda name: "Custom" if name == timerange.CUSTOM else name,
            label_visibility="collapsed",
        )
        filters_place = st.container(width="content")
        live = address.switch(
            "Live",
            name=LIVE,
            default=True,
            disabled=name == timerange.CUSTOM,
            said="Look at the store again every few seconds.",
        )
    if name != timerange.CUSTOM:
        for end in ("start", "end"):
            address.write(end)
    custom = _custom_range(zone) if name == timerange.CUSTOM else None
    view = View(range=name, custom=custom, where=(), zone=zone, live=live).anew()
    with filters_place:
        where = _filters(view.window())
    view = replace(view, where=where)
    _say(view)
    return view


def _custom_range(zone: ZoneInfo) -> Window:
    """Two moments, chosen in the viewer's zone and kept in the address in UTC."""
    try:
        given = (st.query_params.get("start"), st.query_params.get("end"))
        fallback = timerange.last(timerange.DEFAULT, now=datetime.now(UTC))
        start = timerange.read_moment(given[0]) if given[0] else fallback.start
        end = timerange.read_moment(given[1]) if given[1] else fallback.end
    except BadInput as error:
        st.warning(f"The time in the address cannot be read: {error}. The last hour is shown instead.")
        start, end = fallback.start, fallback.end
    with st.container(horizontal=True, vertical_alignment="bottom", key="custom-range"):
        for word, key, moment in (("From", "start", start), ("To", "end", end)):
            widget = f"{key}-input"
            # Whole minutes, as the widget has them: otherwise it would seem to have been changed.
            address.put(widget, moment.astimezone(zone).replace(tzinfo=None, second=0, microsecond=0))
            st.datetime_input(
                f"{word} ({zone.key})",
                key=widget,
                step=timedelta(minutes=1),
                width=240,
                on_change=_keep_moment,
                args=(key, widget, zone.key),
            )
    try:
        window = Window(start, end)
    except BadInput:
        st.warning("The time range must end after it starts. The last hour is shown instead.")
        return fallback
    if not (given[0] and given[1]):
        # From here on the range stands still, and the address says so.
        address.write("start", timerange.write_moment(start))
        address.write("end", timerange.write_moment(end))
    return window


def _keep_moment(key: str, widget: str, zone: str) -> None:
    chosen = st.session_state.get(widget)
    if isinstance(chosen, datetime):
        address.write(key, timerange.write_moment(chosen.replace(tzinfo=ZoneInfo(zone))))


def _filters(window: Window) -> Where:
    wide = Window(min(window.start, window.end - OPTIONS_REACH), window.end)
    # Steps of a minute: options need not be asked for again with every look.
    minute = timedelta(minutes=1)
    end = datetime.fromtimestamp(-(-wide.end.timestamp() // 60) * 60, UTC)
    known = data.options(Window(end - (wide.end - wide.start) - minute, end), FILTERS)
    given = {name: _given(name) for name in FILTERS}
    active = sum(bool(values) for values in given.values())
    where: dict[str, tuple[str, ...]] = {}
    with st.popover(f"Filters · {active}" if active else "Filters", icon=":material/filter_alt:"):
        st.caption("Values of one filter add up; several filters must all hold.")
        columns = st.columns(2)
        shown = [name for name in FILTERS if given[name] or set(known[name]) - {""}]
        for place, name in enumerate(shown):
            # A value in the address stays, also when no call has it in this window.
            address.put(_key(name), given[name])
            with columns[place % 2]:
                chosen = st.multiselect(
                    DIMENSION_LABELS[name],
                    list(dict.fromkeys([*known[name], *given[name]])),
                    format_func=group_text,
                    key=_key(name),
                    on_change=_keep_filter,
                    args=(name,),
                    placeholder="any",
                )
            if chosen:
                where[name] = tuple(chosen)
        if not shown:
            st.caption("No calls yet, so there is nothing to filter on.")
        if active:
            st.button("Clear all filters", on_click=_clear, icon=":material/filter_alt_off:")
    return tuple(where.items())


def _key(name: str) -> str:
    # Not bound to the address by Streamlit: it takes what is bound out of the address while the popover, and so the
    # widget, has never been drawn.
    return f"filter-{name}"


def _keep_filter(name: str) -> None:
    address.write(name, *(group_text(value) for value in st.session_state.get(_key(name), [])))


def _given(name: str) -> list[str]:
    """What is chosen already, as the address has it."""
    return ["" if value == UNKNOWN else value for value in st.query_params.get_all(name)]


def _clear() -> None:
    for name in FILTERS:
        address.write(name)


def _say(view: View) -> None:
    """In words: which time, in whose zone, and what is filtered."""
    chips = [
        f":blue-badge[{DIMENSION_LABELS[key].lower()}: {' or '.join(escaped(group_text(value)) for value in values)}]"
        for key, values in view.where
    ]
    words = timerange.window_words(view.window(), view.zone)
    st.caption(" ".join([words, *(["· only", *chips] if chips else [])]))
