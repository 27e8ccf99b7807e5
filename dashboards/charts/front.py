"""Quality against latency with cost: which groups no other beats in all three."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt
import pandas as pd
import streamlit as st

from dashboards.theme import MUTED
from dashboards.wording import interval_text, scale_of, value_text


@dataclass(frozen=True, kw_only=True)
class Point:
    """A group; intervals are (low, high), with None for what is not known. `cost` may be unknown."""

    name: str
    colour: str
    quality: float
    quality_ends: tuple[float | None, float | None]
    latency: float
    latency_ends: tuple[float | None, float | None]
    cost: float | None
    cost_unit: str
    n: int


def on_front(points: Sequence[Point]) -> set[str]:
    """Names of the points that no other beats: none is as good in everything and better in something."""
    return {one.name for one in points if not any(_beats(other, one) for other in points if other is not one)}


def _beats(one: Point, other: Point) -> bool:
    # A point without a cost is beaten by the other two alone.
    pairs = [(one.quality, other.quality), (-one.latency, -other.latency)]
    if one.cost is not None and other.cost is not None:
        pairs.append((-one.cost, -other.cost))
    return all(x >= y for x, y in pairs) and any(x > y for x, y in pairs)


def draw_front(points: Sequence[Point], *, latency: str, quality: str, key: str, height: int = 340) -> None:
    """Points with both intervals; those on the front are filled, and larger ones are dearer."""
    best = on_front(points)
    scale = scale_of("s", [point.latency for point in points])
    frame = pd.DataFrame(
        [
            {
                "name": point.name,
                "x": point.latency * scale.factor,
                "x_low": _or(point.latency_ends[0], point.latency) * scale.factor,
                "x_high": _or(point.latency_ends[1], point.latency) * scale.factor,
                "y": point.quality * 100,
                "y_low": _or(point.quality_ends[0], point.quality) * 100,
                "y_high": _or(point.quality_ends[1], point.quality) * 100,
                "cost": point.cost if point.cost is not None else 0.0,
                "best": point.name in best,
                "quality_text": f"{value_text(point.quality, '1')} ({interval_text(*point.quality_ends, '1')})",
                "latency_text": f"{value_text(point.latency, 's')} ({interval_text(*point.latency_ends, 's')})",
                "cost_text": value_text(point.cost, point.cost_unit),
                "calls": f"{point.n:,}",
            }
            for point in points
        ]
    )
    colours = {point.name: point.colour for point in points}
    x = alt.X("x:Q", title=f"{latency}, {scale.suffix} (left is better)", scale=alt.Scale(zero=False, padding=24))
    y = alt.Y("y:Q", title=f"{quality}, % (up is better)", scale=alt.Scale(zero=False, padding=24))
    colour = alt.Color("name:N", scale=alt.Scale(domain=list(colours), range=list(colours.values())), legend=None)
    said = [
        ("name", "Group"),
        ("quality_text", quality),
        ("latency_text", latency),
        ("cost_text", "Cost"),
        ("calls", "n"),
    ]
    tooltip = [alt.Tooltip(f"{name}:N", title=title) for name, title in said]
    base = alt.Chart(frame)
    step = (
        base.transform_filter("datum.best")
        .mark_line(color=MUTED, strokeDash=[3, 3], strokeWidth=1)
        .encode(x=x, y=y, order="x:Q")
    )
    across = base.mark_rule(strokeWidth=1.5, opacity=0.7).encode(x=alt.X("x_low:Q"), x2="x_high:Q", y=y, color=colour)
    upright = base.mark_rule(strokeWidth=1.5, opacity=0.7).encode(x=x, y=alt.Y("y_low:Q"), y2="y_high:Q", color=colour)
    size = alt.Size("cost:Q", scale=alt.Scale(range=[90, 420], zero=True), legend=None)
    beaten = base.transform_filter("!datum.best").mark_point(strokeWidth=2)
    best_ones = base.transform_filter("datum.best").mark_point(filled=True, opacity=0.9)
    dots = [each.encode(x=x, y=y, color=colour, size=size, tooltip=tooltip) for each in (beaten, best_ones)]
    names = base.mark_text(align="left", dx=12, dy=-10, fontSize=12, color=MUTED).encode(x=x, y=y, text="name:N")
    words = ", ".join(sorted(best))
    st.altair_chart(
        alt.layer(step, across, upright, *dots, names).properties(height=height), width="stretch", key=key,
        alt=f"{quality} against {latency} of {len(points)} groups. No other group beats: {words}.",
    )  # fmt: skip


def _or(value: float | None, other: float) -> float:
    return other if value is None else value
