"""The bars of a trace's spans, top to bottom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import altair as alt
import pandas as pd
import streamlit as st

from dashboards.theme import ERROR
from dashboards.wording import Scale, digits

AROUND_WATERFALL: Final = 150


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
