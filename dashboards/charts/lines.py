"""Lines over time, with their intervals as bands. Colours of text and ground come from Streamlit's theme, so they suit light and dark.

Times are given to the browser as milliseconds since 1970; it writes them in the viewer's zone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import altair as alt
import pandas as pd
import streamlit as st

from dashboards.theme import CHANGE, ERROR, FIRING
from dashboards.wording import Scale, interval_text, scale_of, value_text
from monitor.kpis import Window

HEIGHT: Final = 230
_DAY_S: Final = 86_400
# An axis has to have some length.
_NOTHING: Final = 1e-9


@dataclass(frozen=True, kw_only=True)
class Marker:
    """Something that happened outside: a deploy, a new price."""

    at: datetime
    title: str


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """Where a rule begins to mind; in the unit of the chart's values."""

    value: float
    rule: str


@dataclass(frozen=True, kw_only=True)
class Firing:
    """A time in which a rule fired."""

    start: datetime
    end: datetime
    rule: str


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What a line chart shows beside its lines."""

    markers: Sequence[Marker] = ()
    thresholds: Sequence[Threshold] = ()
    firing: Sequence[Firing] = ()


NOTHING_WATCHED: Final = Watched()


@dataclass(frozen=True, kw_only=True)
class Line:
    """What a line chart shows.

    Parameters
    ----------
    frame : pandas.DataFrame
        `time` (UTC), `line` (which line a value belongs to), `value, low, high, n` in the KPI's unit. NaN breaks a line.
    unit : str
        Of the values, as in the KPI registry.
    colours : mapping
        Line -> colour, in the order of the legend.
    watched : Watched
        Changes, thresholds and firing times to draw with the lines.
    reach : bool
        Whether the axis reaches to every threshold, however far it is from the lines.
    """

    frame: pd.DataFrame
    unit: str
    colours: Mapping[str, str]
    window: Window
    title: str
    step_s: float
    watched: Watched = NOTHING_WATCHED
    reach: bool = False


Picked = Callable[[datetime, str], None]


def draw_lines(line: Line, *, key: str, height: int = HEIGHT, on_pick: Picked | None = None) -> None:
    """Lines over time with their intervals as bands; says so if there is nothing to draw.

    `on_pick` is called with the step and the line when somebody clicks a point.
    """
    known = line.frame.dropna(subset=["value"])
    if known.empty:
        nothing("Too few calls in each step to draw this.", key=key)
        return
    scale = scale_of(line.unit, known["value"])
    chart, words = _line_chart(line, scale, height, pick=on_pick is not None), _line_alt(line, known)
    if on_pick is None:
        st.altair_chart(chart, width="stretch", key=key, alt=words)
        return

    def picked() -> None:
        points = st.session_state[key].get("selection", {}).get("pick", [])
        if points:
            on_pick(pd.Timestamp(int(points[0]["ms"]), unit="ms", tz="UTC").to_pydatetime(), str(points[0]["line"]))

    st.altair_chart(chart, width="stretch", key=key, alt=words, on_select=picked)


def nothing(words: str, *, key: str) -> None:
    """What stands where a chart would be."""
    with st.container(border=True, key=f"{key}-nothing"):
        st.caption(words)


def _line_chart(line: Line, scale: Scale, height: int, *, pick: bool) -> Any:
    frame = _prepared(line, scale)
    x = time_axis(line.window)
    low, top = _ends(frame)
    # A band of a few calls that leaves the chart would look like a time in which a rule fired; its ends are in the tooltip.
    frame.loc[frame["high_shown"] > top, ["low_shown", "high_shown"]] = None
    # Thresholds far above everything would flatten the lines; the words under the chart tell of them.
    thresholds = [each for each in line.watched.thresholds if line.reach or each.value * scale.factor <= 2 * top]
    top = max([top, *(each.value * scale.factor * 1.05 for each in thresholds)])
    low = min([low, *(each.value * scale.factor * 1.05 for each in thresholds)])
    # Where all is 0, an axis of its own size would have labels of a thousand-millionth.
    top = 1.0 if low == 0 and top <= _NOTHING else top
    y = alt.Y(
        "shown:Q",
        title=scale.suffix or None,
        scale=alt.Scale(domain=[low, top], clamp=True, nice=True),
        axis=alt.Axis(format=scale.axis, tickCount=5),
    )
    legend = (
        None
        if len(line.colours) == 1
        else alt.Legend(title=None, orient="top", columns=4, labelLimit=180, symbolOpacity=1)
    )
    colour = alt.Color(
        "line:N", scale=alt.Scale(domain=list(line.colours), range=list(line.colours.values())), legend=legend
    )
    tooltip = [alt.Tooltip(f"{name}:N", title=title) for name, title in _tooltips(line)]
    base = alt.Chart(frame).encode(x=x, color=colour)
    # A step without an interval breaks the band, as one without a value breaks the line.
    band = base.mark_area(opacity=0.2, clip=True, invalid="break-paths-filter-domains").encode(
        y=alt.Y("low_shown:Q", title=scale.suffix or None), y2="high_shown:Q"
    )
    path = base.mark_line(strokeWidth=2, clip=True).encode(y=y)
    # A value between two gaps has no line to be seen by; all other dots are only there to be pointed at.
    dots = base.mark_point(filled=True, size=70, clip=True).encode(
        y=y, opacity=alt.condition("datum.alone", alt.value(1), alt.value(0)), tooltip=tooltip
    )
    if pick:
        dots = dots.add_params(
            alt.selection_point(name="pick", fields=["ms", "line"], on="click", nearest=True, clear=False)
        )
    behind = _firing_layers(line.watched.firing, x)
    front = [*_threshold_layers(thresholds, scale), *_marker_layers(line.watched.markers, line)]
    return alt.layer(*behind, band, path, *front, dots).properties(height=height)


def time_axis(window: Window) -> Any:
    """The axis of `ms` over the window, in the viewer's zone."""
    return alt.X(
        "ms:T",
        title=None,
        scale=alt.Scale(domain=_domain(window)),
        axis=alt.Axis(format=_time_format(window), tickCount=6, labelOverlap=True, grid=False),
    )


def _firing_layers(firing: Sequence[Firing], x: Any) -> list[Any]:
    if not firing:
        return []
    frame = pd.DataFrame(
        {
            "ms": milliseconds(pd.Series(pd.to_datetime([each.start for each in firing], utc=True))),
            "until": milliseconds(pd.Series(pd.to_datetime([each.end for each in firing], utc=True))),
            "rule": [each.rule for each in firing],
        }
    )
    shade = alt.Chart(frame).mark_rect(color=FIRING, opacity=0.13, clip=True)
    return [shade.encode(x=x, x2="until:T", tooltip=[alt.Tooltip("rule:N", title="Firing")])]


def _threshold_layers(thresholds: Sequence[Threshold], scale: Scale) -> list[Any]:
    if not thresholds:
        return []
    frame = pd.DataFrame(
        {"at": [each.value * scale.factor for each in thresholds], "rule": [each.rule for each in thresholds]}
    )
    rule = alt.Chart(frame).mark_rule(color=ERROR, strokeDash=[6, 4], strokeWidth=1.5, clip=True)
    text = alt.Chart(frame).mark_text(align="left", baseline="bottom", dx=3, dy=-2, color=ERROR, fontSize=11)
    return [
        rule.encode(y="at:Q", tooltip=[alt.Tooltip("rule:N", title="Rule")]),
        text.encode(x=alt.value(0), y="at:Q", text="rule:N"),
    ]


def _marker_layers(markers: Sequence[Marker], line: Line) -> list[Any]:
    inside = [each for each in markers if line.window.start <= each.at < line.window.end]
    if not inside:
        return []
    zone = st.context.timezone or "UTC"
    times = pd.Series(pd.to_datetime([each.at for each in inside], utc=True))
    frame = pd.DataFrame(
        {
            "ms": milliseconds(times),
            "title": [each.title for each in inside],
            "when": times.dt.tz_convert(zone).dt.strftime("%-d %b %H:%M"),
        }
    )
    tooltip = [alt.Tooltip("when:N", title="Changed"), alt.Tooltip("title:N", title="What")]
    base = alt.Chart(frame).encode(x="ms:T", tooltip=tooltip)
    rule = base.mark_rule(color=CHANGE, strokeWidth=1.5, strokeDash=[2, 3])
    flag = base.mark_point(shape="triangle-down", filled=True, size=90, color=CHANGE, opacity=1).encode(y=alt.value(4))
    return [rule, flag]


def _prepared(line: Line, scale: Scale) -> pd.DataFrame:
    frame = line.frame.copy()
    frame["ms"] = milliseconds(frame["time"])
    for name, shown in (("value", "shown"), ("low", "low_shown"), ("high", "high_shown")):
        frame[shown] = frame[name] * scale.factor
    # A band needs both ends.
    half_open = frame["low"].isna() | frame["high"].isna()
    frame.loc[half_open, ["low_shown", "high_shown"]] = None
    missing = frame["value"].isna()
    before = missing.groupby(frame["line"]).shift(1, fill_value=True)
    after = missing.groupby(frame["line"]).shift(-1, fill_value=True)
    frame["alone"] = ~missing & before & after
    frame["said"] = [value_text(_none(value), line.unit) for value in frame["value"]]
    frame["between"] = [
        interval_text(_none(low), _none(high), line.unit) or "too few for an interval"
        for low, high in zip(frame["low"], frame["high"], strict=True)
    ]
    frame["calls"] = [f"{n:,}" for n in frame["n"]]
    zone = st.context.timezone or "UTC"
    form = "%-d %b %H:%M:%S" if line.step_s < 60 else "%-d %b %H:%M"
    frame["when"] = frame["time"].dt.tz_convert(zone).dt.strftime(form)
    kept = ["ms", "line", "shown", "low_shown", "high_shown", "alone", "said", "between", "calls", "when"]
    return frame[kept]


def _tooltips(line: Line) -> list[tuple[str, str]]:
    first = [("line", "Of")] if len(line.colours) > 1 else []
    return [*first, ("when", "From"), ("said", line.title), ("between", "95 %"), ("calls", "n")]


def _ends(frame: pd.DataFrame) -> tuple[float, float]:
    """Ends of the axis: every value fits; a band of a step with few calls may be cut, or it would flatten all."""
    values, lowest = float(frame["shown"].max()), float(frame["shown"].min())
    bands = float(frame["high_shown"].max()) if frame["high_shown"].notna().any() else values
    top = max(min(max(bands, values), values * 2.5), _NOTHING) if values > 0 else max(values, _NOTHING)
    return min(0.0, lowest * 1.1), top


def _domain(window: Window) -> list[pd.Timestamp]:
    # As dates: Vega-Lite does not take plain numbers as the ends of a time axis.
    return [pd.Timestamp(window.start), pd.Timestamp(window.end)]


def _time_format(window: Window) -> str:
    if window.seconds <= 10 * 60:
        return "%H:%M:%S"
    return "%H:%M" if window.seconds <= 1.1 * _DAY_S else "%-d %b %H:%M"


def milliseconds(times: pd.Series[Any]) -> pd.Series[Any]:
    # As floats: whole numbers of 64 bits reach the browser as BigInt, which Vega does not place on an axis.
    return times.astype("datetime64[ms, UTC]").astype("int64").astype("float64")


def _line_alt(line: Line, known: pd.DataFrame) -> str:
    parts = []
    for name in line.colours:
        values = known.loc[known["line"] == name, "value"]
        if len(values):
            low, high = value_text(float(values.min()), line.unit), value_text(float(values.max()), line.unit)
            parts.append(f"{name} from {low} to {high}, last {value_text(float(values.iloc[-1]), line.unit)}")
    words = [f"{line.title} over time", "; ".join(parts)]
    words += [f"changed: {each.title}" for each in itertools.islice(line.watched.markers, 5)]
    words += [f"threshold of {each.rule}: {value_text(each.value, line.unit)}" for each in line.watched.thresholds]
    words += [f"firing: {name}" for name in dict.fromkeys(each.rule for each in line.watched.firing)]
    return ". ".join(words) + "."


def _none(value: Any) -> float | None:
    return None if math.isnan(value) else float(value)
