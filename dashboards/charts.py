"""Charts in Altair. Colours of text and ground come from Streamlit's theme, so they suit light and dark.

Times are given to the browser as milliseconds since 1970; it writes them in the viewer's zone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import altair as alt
import pandas as pd
import streamlit as st

from dashboards.theme import ERROR, MUTED
from dashboards.wording import Scale, digits, interval_text, scale_of, value_text
from monitor.kpis import Window

HEIGHT: Final = 230
AROUND_WATERFALL: Final = 150
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


def draw_histogram(
    bins: pd.DataFrame,
    *,
    colours: Mapping[str, str],
    marks: Sequence[tuple[str, float]],
    title: str,
    key: str,
    height: int = 260,
) -> None:
    """Share of calls by latency on a scale of ratios; one line of steps for each `group`.

    `marks` are latencies (s) to point out.
    """
    scale = scale_of("s", [float(bins.sort_values("share")["high"].iloc[-1])])
    low, high = _visible(bins)
    frame = bins[(bins["high"] > low) & (bins["low"] < high)].copy()
    frame["from"], frame["to"] = frame["low"] * scale.factor, frame["high"] * scale.factor
    frame["percent"] = frame["share"] * 100
    frame["floor"] = 0.0  # without its foot a bar that has both sides is drawn as a dash
    frame["between"] = [interval_text(a, b, "s") for a, b in zip(frame["low"], frame["high"], strict=True)]
    frame["said"] = [value_text(share, "1") for share in frame["share"]]
    # No comma grouping: numbers on this axis reach from 0.1 to 100,000.
    x = alt.X(
        "from:Q",
        title=f"{title}, {scale.suffix} (logarithmic)",
        scale=alt.Scale(type="log", domain=[low * scale.factor, high * scale.factor], nice=False),
        axis=alt.Axis(format="~r", tickCount=8, labelOverlap=True, grid=False),
    )
    y = alt.Y(
        "percent:Q",
        title="% of calls",
        scale=alt.Scale(domain=[0, float(frame["percent"].max()) * 1.05], nice=False),
        axis=alt.Axis(tickCount=5),
    )
    legend = None if len(colours) == 1 else alt.Legend(title=None, orient="top", columns=4, labelLimit=180)
    colour = alt.Color("group:N", scale=alt.Scale(domain=list(colours), range=list(colours.values())), legend=legend)
    tooltip = [
        alt.Tooltip("group:N", title="Of"),
        alt.Tooltip("between:N", title=title),
        alt.Tooltip("said:N", title="Calls"),
    ]
    base = alt.Chart(frame)
    if len(colours) == 1:
        bars = base.mark_bar(opacity=0.75).encode(x=x, x2="to:Q", y=y, y2="floor:Q", color=colour, tooltip=tooltip)
        layers: list[Any] = [bars]
    else:
        layers = [
            base.mark_line(interpolate="step-after", strokeWidth=2, clip=True).encode(x=x, y=y, color=colour),
            base.mark_bar(opacity=0).encode(x=x, x2="to:Q", y=y, y2="floor:Q", tooltip=tooltip),
        ]
    layers += _marks([(name, value * scale.factor) for name, value in marks if low < value < high])
    said = ", ".join(f"{name} {value_text(value, 's')}" for name, value in marks)
    alt_text = f"Distribution of {title} of {', '.join(colours)}. {said}"
    st.altair_chart(alt.layer(*layers).properties(height=height), width="stretch", key=key, alt=alt_text)


def _visible(bins: pd.DataFrame) -> tuple[float, float]:
    """Ends of the axis: bins with a thousandth of a group's calls or more, and one on either side."""
    heavy = bins[bins["share"] >= 0.001]
    heavy = bins if heavy.empty else heavy
    ratio = float((bins["high"] / bins["low"]).iloc[0])
    return float(heavy["low"].min()) / ratio, float(heavy["high"].max()) * ratio


def _marks(marks: Sequence[tuple[str, float]]) -> list[Any]:
    if not marks:
        return []
    frame = pd.DataFrame(marks, columns=["name", "at"])
    rule = alt.Chart(frame).mark_rule(strokeDash=[4, 3], strokeWidth=1.5, color=MUTED).encode(x="at:Q")
    text = alt.Chart(frame).mark_text(align="center", dy=-5, baseline="bottom", color=MUTED, fontSize=12)
    return [rule, text.encode(x="at:Q", y=alt.value(0), text="name:N")]


def draw_waterfall(frame: pd.DataFrame, *, colours: Mapping[str, str], unit: Scale, key: str) -> str | None:
    """Bars of a trace's spans, top to bottom in their order; returns the id of a bar that was clicked.

    `frame` has `place` (0, 1, …), `span_id, label, service, from, to` (in the unit), `first_token` (or NaN), `failed,
    selected, took, started`.
    """
    rows = len(frame)
    longest = max(float(frame["to"].max()), 1e-9)
    y = alt.Y(
        "place:O",
        title=None,
        sort=None,
        axis=alt.Axis(
            labelExpr=f"{_labels(frame)}[datum.value]", labelLimit=320, labelAlign="left", labelPadding=325, ticks=False,
            domain=False, grid=False, labelOverlap=False,
        ),
    )  # fmt: skip
    x = alt.X(
        "from:Q",
        title=f"since the start, {unit.suffix}",
        scale=alt.Scale(domain=[0, longest * 1.02], nice=False),
        axis=alt.Axis(orient="top", format="~r", tickCount=6),
    )
    colour = alt.Color(
        "service:N",
        scale=alt.Scale(domain=list(colours), range=list(colours.values())),
        legend=alt.Legend(title=None, orient="bottom", columns=4, labelLimit=200),
    )
    tooltip = [
        alt.Tooltip("name:N", title="Span"),
        alt.Tooltip("service:N", title="Service"),
        alt.Tooltip("started:N", title="Starts at"),
        alt.Tooltip("took:N", title="Takes"),
        alt.Tooltip("first:N", title="First token after"),
        alt.Tooltip("state:N", title="State"),
    ]
    pick = alt.selection_point(name="pick", fields=["span_id"], on="click", clear=False)
    # 32 bits: whole numbers of 64 reach the browser as BigInt, and all of them would share one row.
    base = alt.Chart(frame.assign(place=frame["place"].astype("int32")))
    bars = base.mark_bar(height=14, cornerRadius=2, minBandSize=3, cursor="pointer").encode(
        x=x,
        x2="to:Q",
        y=y,
        color=colour,
        stroke=alt.condition("datum.failed", alt.value(ERROR), alt.value("transparent")),
        strokeWidth=alt.value(2),
        opacity=alt.condition("datum.selected || datum.none_selected", alt.value(1), alt.value(0.55)),
        tooltip=tooltip,
    )
    layers: list[Any] = [bars.add_params(pick)]
    failed = base.transform_filter("datum.failed").mark_text(
        text="✕", align="left", dx=5, fontSize=13, fontWeight="bold", color=ERROR
    )
    layers.append(failed.encode(x=alt.X("to:Q"), y=y))
    first = base.transform_filter("isValid(datum.first_token)").mark_tick(
        thickness=3, size=20, color="#F2B705", opacity=1
    )
    layers.append(first.encode(x=alt.X("first_token:Q"), y=y, tooltip=tooltip))
    # Streamlit fits axis and legend into the height that is asked for.
    chart = alt.layer(*layers).properties(height=rows * 24 + AROUND_WATERFALL)
    alt_text = (
        f"Waterfall of {rows} spans in {len(colours)} services, {digits(longest)} {unit.suffix} long,"
        f" {int(frame['failed'].sum())} of them failed. The same spans are in the table below."
    )
    picked = st.altair_chart(chart, width="stretch", key=key, on_select="rerun", alt=alt_text)
    selection: Any = picked
    points = selection.get("selection", {}).get("pick", [])
    return str(points[0]["span_id"]) if points else None


def _labels(frame: pd.DataFrame) -> str:
    # Vega looks labels up by place, since two spans may have the same name.
    texts = (text.replace("\\", "\\\\").replace("'", "\\'") for text in frame["label"])
    return "[" + ", ".join(f"'{text}'" for text in texts) + "]"


def _none(value: Any) -> float | None:
    return None if math.isnan(value) else float(value)
