"""How a number is spread: steps on a scale of ratios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from dashboards.theme import MUTED
from dashboards.wording import interval_text, scale_of, value_text


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
