"""Charts of KPIs over time, and the way down from them: a moment's groups, and their calls on the page Traces.

What was clicked stands in the address (`look`, `at`, `slice`), so a copied link shows it to somebody else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pandas as pd
import streamlit as st

from dashboards import address, charts, data, navigation, timerange
from dashboards.charts import Bar
from dashboards.filters import FILTERS, View
from dashboards.tables import kpi_table
from dashboards.theme import assigned, colour_of
from dashboards.watch import watched
from dashboards.wording import (
    DIMENSION_LABELS,
    dimension_label,
    finite,
    group_text,
    interval_text,
    label,
    moment_text,
    value_text,
)
from monitor.errors import BadInput
from monitor.kpis import KpiValue, Window

LOOK, AT, SLICE = "look", "at", "slice"
SLICES: Final = ("node", "model", "variant", "release", "region", "service", "provider", "experiment", "arm")
# Enough for a p95 with both ends of its interval.
CALLS_A_STEP: Final = 80


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One chart of a grid: KPIs of one unit, or one KPI split by a dimension.

    Parameters
    ----------
    names : tuple of str
        KPIs; one if `by` is given.
    by : str
        Dimension whose groups get a line each.
    slices : tuple of str
        Dimensions that a moment can be taken apart by; empty where the KPI cannot be split.
    """

    title: str
    names: tuple[str, ...]
    by: str = ""
    slices: tuple[str, ...] = SLICES


def draw(
    view: View,
    wanted: Sequence[Chart],
    *,
    key: str,
    calls: float,
    calls_wanted: float = CALLS_A_STEP,
    step_min_s: int = 1,
) -> None:
    """Draw a grid of charts and what was clicked in them.

    Parameters
    ----------
    calls : float
        Rows that the KPIs rest on in this time; steps are as short as leaves about `calls_wanted` in each.
    step_min_s : int
        Shortest step that makes sense: an hour for what is kept by the hour.
    """
    window = view.window()
    step_s = max(step_min_s, timerange.step_s(window, calls=calls, calls_wanted=calls_wanted))
    window = timerange.aligned(window, step_s)
    frames: dict[Chart, pd.DataFrame] = {}
    for by in dict.fromkeys(chart.by for chart in wanted):
        names = tuple(dict.fromkeys(name for chart in wanted if chart.by == by for name in chart.names))
        frame = data.lines(names, window, step_s=step_s, by=(by,) if by else (), where=view.where)
        frames |= {chart: frame[frame["name"].isin(chart.names)].copy() for chart in wanted if chart.by == by}
    with st.grid(2 if len(wanted) > 1 else 1, min_column_width=380, gap="small", key=key):
        for chart in wanted:
            with st.container(key=f"chart-{_key(chart)}"):
                st.markdown(f"**{chart.title}**")
                _line(view, chart, frames[chart], window, step_s, key=f"line-{key}-{_key(chart)}")
    words = f"Steps of {step_words(step_s)}; bands are 95 % intervals. Click a point to take its moment apart."
    marked = watched((), window, view.where).markers
    st.caption(words + (" Grey flags are changes from outside." if marked else ""))
    notes = dict.fromkeys(
        note for frame in frames.values() for note in frame.attrs.get("notes", []) if " largest of " in note
    )
    for note in notes:
        st.caption(f"Shown are {note}.")
    looked_at(view, wanted, step_s)
    with st.expander("As a table, to read, download, or choose a moment by keyboard"):
        _table(view, frames, key=f"table-{key}")


def _key(chart: Chart) -> str:
    return f"{chart.names[0]}-{chart.by}".replace(".", "-").rstrip("-")


def _line(view: View, chart: Chart, frame: pd.DataFrame, window: Window, step_s: int, *, key: str) -> None:
    if chart.by:
        values = list(dict.fromkeys(frame[chart.by]))
        frame["line"] = [group_text(value) for value in frame[chart.by]]
        colours = {group_text(value): colour for value, colour in assigned().of(chart.by, values).items()}
    else:
        said = {name: _line_name(name, chart.names) for name in chart.names}
        frame["line"] = [said[name] for name in frame["name"]]
        colours = {said[name]: colour_of(name) for name in chart.names}
    if frame.empty:
        charts.nothing("Nothing was measured in this time.", key=key)
        return

    def picked(at: datetime, line: str) -> None:
        name = next((name for name in chart.names if _line_name(name, chart.names) == line), chart.names[0])
        look(name, at)

    charts.draw_lines(
        charts.Line(
            frame=frame,
            unit=data.unit_of(chart.names[0]),
            colours=colours,
            window=window,
            title=chart.title,
            step_s=step_s,
            watched=watched(chart.names, window, view.where),
        ),
        key=key,
        on_pick=picked if chart.slices else None,
    )


def _line_name(name: str, names: Sequence[str]) -> str:
    statistics = {other.rpartition(".")[0] for other in names}
    return (
        name.rpartition(".")[2]
        if len(names) > 1 and len(statistics) == 1 and name.startswith("latency.")
        else label(name)
    )


def look(name: str, at: datetime) -> None:
    """Take this moment of a KPI apart from now on."""
    address.write(LOOK, name)
    address.write(AT, timerange.write_moment(at.astimezone(UTC)))
    address.write(SLICE)


def _leave() -> None:
    for name in (LOOK, AT, SLICE):
        address.write(name)


def looked_at(view: View, wanted: Sequence[Chart], step_s: int) -> None:
    """The moment that was chosen: its groups, and the way to their calls."""
    name, given = st.query_params.get(LOOK, ""), st.query_params.get(AT, "")
    chart = next((chart for chart in wanted if name in chart.names and chart.slices), None)
    if chart is None or not given:
        return
    try:
        start = timerange.read_moment(given)
    except BadInput:
        return
    window = Window(start, start + timedelta(seconds=step_s))
    with st.container(border=True, key="looked-at"):
        _one_moment(view, chart, name, window, step_s)


def _one_moment(view: View, chart: Chart, name: str, window: Window, step_s: int) -> None:
    whole = data.values((name,), window, where=view.where)[0]
    now = datetime.now(UTC)
    start, end = (moment_text(moment, view.zone, now=now) for moment in (window.start, window.end))
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        interval = interval_text(whole.low, whole.high, whole.unit)
        st.markdown(
            f"**{label(name)}, {start} – {end}: {value_text(whole.value, whole.unit)}**"
            + (f" (95 %: {interval}; n = {whole.n:,})" if interval else f" (n = {whole.n:,})")
        )
        st.button("Close", on_click=_leave, icon=":material/close:", key="leave-moment", type="tertiary")
    by = address.buttons(
        "Taken apart by",
        chart.slices,
        name=SLICE,
        default=_telling_slice(view, chart, name, window),
        said=dimension_label,
    )
    found = data.values((name,), window, by=(by,), where=view.where)
    group_bars(found, by, whole=whole, key="slices", view=view, window=window)
    kpi_table(
        found, by=(by,), intervals=(name,), n_of=name, key="slices-table",
        alt=f"{label(name)} of each {dimension_label(by).lower()} in this moment",
        link=lambda group: traces_link(view, window, group),
    )  # fmt: skip
    with st.container(horizontal=True, key="from-moment"):
        navigation.link(
            "traces", label="All calls of this moment", icon=":material/search:", query=_traces_query(view, window, {})
        )
        drafted = [*view.carried(), ("show", "draft"), ("kpi", name)]
        navigation.link("alerts", label="Draft an alert on it", icon=":material/notification_add:", query=drafted)


def _telling_slice(view: View, chart: Chart, name: str, window: Window) -> str:
    """The dimension with the most values that have a name, of the first few: what has one value explains nothing."""
    known = data.options(
        Window(window.start - timedelta(hours=1), window.end), tuple(d for d in chart.slices if d in FILTERS)
    )
    filtered = {key for key, _ in view.where}
    return next(
        (name for name in chart.slices if name not in filtered and len(set(known.get(name, [])) - {""}) > 1),
        chart.slices[0],
    )


def group_bars(
    found: Sequence[KpiValue], by: str, *, key: str, view: View, window: Window, whole: KpiValue | None = None
) -> None:
    """Bars of a KPI by the groups of a dimension; a click leads to the group's calls."""
    known = [value for value in found if value.value is not None]
    if not known:
        note = next((value.note for value in found if value.note), "nothing was measured")
        charts.nothing(f"No group has a value: {note}.", key=key)
        return
    name = known[0].name
    known.sort(key=lambda value: -(value.value or 0))
    groups = [value.group.get(by, "") for value in known]
    colours = {group_text(value): colour for value, colour in assigned().of(by, groups).items()}

    def picked(group: str) -> None:
        st.session_state[f"{key}-picked"] = group

    charts.draw_bars(
        [
            Bar(
                group=group_text(group),
                value=value.value or 0.0,
                low=value.low,
                high=value.high,
                n=value.n,
                note=value.note,
            )
            for group, value in zip(groups, known, strict=True)
        ],
        unit=known[0].unit,
        title=label(name),
        colours=colours,
        key=key,
        reference=("of all", whole.value) if whole is not None and whole.value is not None else None,
        on_pick=picked if by in DIMENSION_LABELS and by in FILTERS else None,
    )
    chosen = st.session_state.get(f"{key}-picked")
    if chosen in {group_text(group) for group in groups}:
        group = next(group for group in groups if group_text(group) == chosen)
        navigation.link(
            "traces", label=f"Calls of {dimension_label(by).lower()} {chosen}", icon=":material/search:",
            query=_traces_query(view, window, {by: group}),
        )  # fmt: skip
    missing = len(found) - len(known)
    if missing:
        st.caption(f"{missing} of {len(found)} groups have too little data for a value.")


def traces_link(view: View, window: Window, group: dict[str, str] | Any) -> str:
    """Address of the calls of a group in a time, beside this page."""
    more = {key: value for key, value in dict(group).items() if key in FILTERS}
    return f"traces?{view.during(window).query(**more)}"


def _traces_query(view: View, window: Window, group: dict[str, str]) -> list[tuple[str, str]]:
    narrowed = view.during(window)
    pairs = [pair for pair in narrowed.carried() if pair[0] not in group]
    return [*pairs, *((key, group_text(value)) for key, value in group.items())]


def _table(view: View, frames: dict[Chart, pd.DataFrame], *, key: str) -> None:
    parts = []
    for chart, frame in frames.items():
        mine = frame[frame["n"] > 0]
        if mine.empty:
            continue
        unit = data.unit_of(chart.names[0])
        parts.append(
            pd.DataFrame(
                {
                    "From": mine["time"],
                    "KPI": [label(name) for name in mine["name"]],
                    "Of": [group_text(value) for value in mine[chart.by]] if chart.by else "all",
                    "Value": [value_text(finite(value), unit) for value in mine["value"]],
                    "95 % interval": [
                        interval_text(finite(a), finite(b), unit)
                        for a, b in zip(mine["low"], mine["high"], strict=True)
                    ],
                    "n": mine["n"],
                    "name": mine["name"],
                }
            )
        )
    if not parts:
        st.caption("No step has a value.")
        return
    frame = pd.concat(parts, ignore_index=True)
    frame["From"] = frame["From"].dt.tz_convert(view.zone.key)

    def picked() -> None:
        rows = st.session_state[key]["selection"]["rows"]
        if rows and rows[0] < len(frame):
            row = frame.iloc[rows[0]]
            look(str(row["name"]), row["From"].to_pydatetime())

    st.dataframe(
        frame.drop(columns="name"), hide_index=True, key=key, height=min(9, len(frame) + 1) * 35 + 3,
        column_config={"From": st.column_config.DatetimeColumn(format="D MMM HH:mm:ss", timezone=view.zone.key)},
        on_select=picked, selection_mode="single-row", alt="The values of the charts above; selecting a row takes its moment apart",
    )  # fmt: skip


def step_words(step_s: int) -> str:
    """`5 minutes`."""
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if step_s % size == 0:
            count = step_s // size
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return f"{step_s} second{'s' if step_s > 1 else ''}"
