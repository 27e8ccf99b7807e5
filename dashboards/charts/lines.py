"""Lines over time, with their intervals as bands. Colours of text and ground come from Streamlit's theme, so they suit light and dark.

Times are given to the browser as milliseconds since 1970; it writes them in the viewer's zone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import altair as alt
import pandas as pd
import streamlit as st

from dashboards.wording import Scale, interval_text, scale_of, value_text
from monitor.kpis import Window

HEIGHT: Final = 230
_DAY_S: Final = 86_400


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
    """

    frame: pd.DataFrame
    unit: str
    colours: Mapping[str, str]
    window: Window
    title: str
    step_s: float


def draw_lines(line: Line, *, key: str, height: int = HEIGHT) -> None:
    """Lines over time with their intervals as bands; says so if there is nothing to draw."""
    known = line.frame.dropna(subset=["value"])
    if known.empty:
        nothing("Too few calls in each step to draw this.", key=key)
        return
    scale = scale_of(line.unit, known["value"])
    st.altair_chart(_line_chart(line, scale, height), width="stretch", key=key, alt=_line_alt(line, known))


def nothing(words: str, *, key: str) -> None:
    """What stands where a chart would be."""
    with st.container(border=True, key=f"{key}-nothing"):
        st.caption(words)


def _line_chart(line: Line, scale: Scale, height: int) -> Any:
    frame = _prepared(line, scale)
    x = alt.X(
        "ms:T",
        title=None,
        scale=alt.Scale(domain=_domain(line.window)),
        axis=alt.Axis(format=_time_format(line.window), tickCount=6, labelOverlap=True, grid=False),
    )
    top = _top(frame)
    y = alt.Y(
        "shown:Q",
        title=scale.suffix or None,
        scale=alt.Scale(domain=[0, top], clamp=True, nice=True),
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
    return alt.layer(band, path, dots).properties(height=height)


def _prepared(line: Line, scale: Scale) -> pd.DataFrame:
    frame = line.frame.copy()
    frame["ms"] = _milliseconds(frame["time"])
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


def _top(frame: pd.DataFrame) -> float:
    """Upper end of the axis: every value fits; a band of a step with few calls may be cut, or it would flatten all."""
    values = float(frame["shown"].max())
    bands = float(frame["high_shown"].max()) if frame["high_shown"].notna().any() else values
    return max(min(max(bands, values), values * 2.5), 1e-9)


def _domain(window: Window) -> list[pd.Timestamp]:
    # As dates: Vega-Lite does not take plain numbers as the ends of a time axis.
    return [pd.Timestamp(window.start), pd.Timestamp(window.end)]


def _time_format(window: Window) -> str:
    if window.seconds <= 10 * 60:
        return "%H:%M:%S"
    return "%H:%M" if window.seconds <= 1.1 * _DAY_S else "%-d %b %H:%M"


def _milliseconds(times: pd.Series[Any]) -> pd.Series[Any]:
    # As floats: whole numbers of 64 bits reach the browser as BigInt, which Vega does not place on an axis.
    return times.astype("datetime64[ms, UTC]").astype("int64").astype("float64")


def _line_alt(line: Line, known: pd.DataFrame) -> str:
    parts = []
    for name in line.colours:
        values = known.loc[known["line"] == name, "value"]
        if len(values):
            low, high = value_text(float(values.min()), line.unit), value_text(float(values.max()), line.unit)
            parts.append(f"{name} from {low} to {high}, last {value_text(float(values.iloc[-1]), line.unit)}")
    return f"{line.title} over time. {'; '.join(parts)}."


def _none(value: Any) -> float | None:
    return None if math.isnan(value) else float(value)
