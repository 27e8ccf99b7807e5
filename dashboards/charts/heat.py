"""Two ways of many cells: a latency over time, and cohorts by day."""

from __future__ import annotations

from typing import Any, Final

import altair as alt
import pandas as pd
import streamlit as st

from dashboards.charts.lines import milliseconds, time_axis
from dashboards.wording import interval_text, scale_of
from monitor.kpis import Window

# From a colour that is near neither ground to one that stands out on both.
_FEW, _MANY = "#BBD3EE", "#1B4F91"
_DAY_PX: Final = 26


def draw_latency_map(cells: pd.DataFrame, *, window: Window, step_s: float, title: str, key: str) -> None:
    """Calls by time and latency, on a scale of ratios; `cells` is what `latency_heatmap` gives, without latencies of 0."""
    zone = st.context.timezone or "UTC"
    scale = scale_of("s", [float(cells["high_s"].max())])
    frame = pd.DataFrame(
        {
            "ms": milliseconds(cells["time"]),
            "until": milliseconds(cells["time"]) + step_s * 1000,
            "low": cells["low_s"] * scale.factor,
            "high": cells["high_s"] * scale.factor,
            "calls": cells["calls"],
            "said": [f"{calls:,.0f}" for calls in cells["calls"]],
            "between": [interval_text(a, b, "s") for a, b in zip(cells["low_s"], cells["high_s"], strict=True)],
            "when": cells["time"].dt.tz_convert(zone).dt.strftime("%-d %b %H:%M"),
        }
    )
    y = alt.Y(
        "low:Q",
        title=f"{title}, {scale.suffix} (logarithmic)",
        scale=alt.Scale(type="log", domain=[float(frame["low"].min()), float(frame["high"].max())], nice=False),
        axis=alt.Axis(format="~r", tickCount=6, labelOverlap=True, grid=False),
    )
    chart = (
        alt.Chart(frame)
        .mark_rect(clip=True)
        .encode(
            x=time_axis(window),
            x2="until:T",
            y=y,
            y2="high:Q",
            color=alt.Color(
                "calls:Q",
                scale=alt.Scale(type="sqrt", range=[_FEW, _MANY], domainMin=0),
                legend=alt.Legend(title="Calls", orient="right", gradientLength=160, tickCount=4),
            ),
            tooltip=[
                alt.Tooltip("when:N", title="From"),
                alt.Tooltip("between:N", title=title),
                alt.Tooltip("said:N", title="Calls"),
            ],
        )
        .properties(height=280)
    )
    most = cells.sort_values("calls").iloc[-1]
    words = (
        f"Map of {title} over time: darker is more calls. Most calls took"
        f" {interval_text(float(most['low_s']), float(most['high_s']), 's')}; the slowest"
        f" {interval_text(float(cells['low_s'].max()), float(cells['high_s'].max()), 's')}."
    )
    st.altair_chart(chart, width="stretch", key=key, alt=words)


def draw_cohorts(cohorts: pd.DataFrame, *, key: str) -> None:
    """Who came back: a row for each cohort, a column for each day after; `cohorts` is what `monitor.kpis.retention` gives."""
    known = cohorts.dropna(subset=["share"])
    frame = pd.DataFrame(
        {
            "cohort": [f"{day:%-d %b} ({size:,})" for day, size in zip(known["cohort"], known["size"], strict=True)],
            "day": known["day"].astype("int32"),
            "percent": known["share"] * 100,
            "text": [f"{share:.0%}" for share in known["share"]],
            "between": [interval_text(a, b, "1") for a, b in zip(known["low"], known["high"], strict=True)],
            "users": [f"{users:,.0f}" for users in known["users"]],
        }
    )
    rows = list(dict.fromkeys(frame["cohort"]))
    y = alt.Y("cohort:N", title=None, sort=rows, axis=alt.Axis(labelLimit=150, ticks=False, domain=False))
    x = alt.X("day:O", title="Days after", axis=alt.Axis(orient="top", labelAngle=0, ticks=False, domain=False))
    base: Any = alt.Chart(frame).encode(
        x=x,
        y=y,
        tooltip=[
            alt.Tooltip("cohort:N", title="Cohort"),
            alt.Tooltip("day:O", title="Day"),
            alt.Tooltip("users:N", title="Came back"),
            alt.Tooltip("text:N", title="Share"),
            alt.Tooltip("between:N", title="95 %"),
        ],
    )
    cells = base.mark_rect(cornerRadius=2).encode(
        color=alt.Color("percent:Q", scale=alt.Scale(range=[_FEW, _MANY], domain=[0, 100]), legend=None)
    )
    text = base.mark_text(fontSize=11).encode(
        text="text:N", color=alt.condition("datum.percent > 45", alt.value("white"), alt.value("#1B2733"))
    )
    last = known[known["day"] == 1]
    mean = f" On the day after, {last['users'].sum() / last['size'].sum():.0%} of all came back." if len(last) else ""
    words = f"Share of users who came back, for {len(rows)} cohorts, by days after their first.{mean}"
    chart = alt.layer(cells, text).properties(height=len(rows) * _DAY_PX + 110)
    st.altair_chart(chart, width="stretch", key=key, alt=words)
