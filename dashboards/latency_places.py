"""Where calls are slow: the map of a latency over time, and places against each other."""

from __future__ import annotations

from typing import Final

import pandas as pd
import streamlit as st

from dashboards import address, charts, data, facts, timerange
from dashboards.charts import Bar
from dashboards.filters import FILTERS, View
from dashboards.theme import assigned
from dashboards.wording import MEASURES, dimension_label, group_text

PLACES: Final = ("node", "region", "variant", "model", "release", "provider", "service")
# A map's columns are narrow: it needs few calls in each to show where they lie.
CALLS_A_COLUMN: Final = 30


def draw_map(view: View, measure: str) -> None:
    """Calls by time and latency."""
    window = view.window()
    whole = data.values((f"latency.{measure}.p50",), window, where=view.where)[0]
    st.subheader(f"Map of {MEASURES[measure]}", anchor=False)
    step_s = timerange.step_s(window, calls=whole.n, calls_wanted=CALLS_A_COLUMN)
    window = timerange.aligned(window, step_s)
    cells = facts.latency_map(measure, window, float(step_s), view.where) if whole.n else pd.DataFrame({"low_s": []})
    cells = cells[cells["low_s"] > 0]
    if len(cells) < 2:
        charts.nothing("Too few calls to draw a map.", key="latency-map")
        return
    charts.draw_latency_map(cells, window=window, step_s=float(step_s), title=MEASURES[measure], key="latency-map")
    st.caption(
        "Two stripes are two kinds of calls (two variants, cached and not); a stripe that rises is a queue that grows."
    )


def draw_places(view: View, measure: str) -> None:
    """Each node, region, variant … against all others together."""
    st.subheader("Who is slower", anchor=False)
    dimension = address.buttons("Compared", PLACES, name="places", default="node", said=dimension_label)
    found = facts.places(measure, view.window(), dimension, view.where)
    known = [each for each in found.differences if each.ratio == each.ratio]
    if found.note or not known:
        charts.nothing(f"Nothing to compare: {found.note or 'too few calls'}.", key="places")
        return
    colours = {group_text(v): c for v, c in assigned().of(dimension, [each.place for each in known]).items()}
    charts.draw_bars(
        [Bar(group=group_text(each.place), value=each.ratio, low=each.low, high=each.high, n=each.n) for each in known],
        unit="×", title=f"{MEASURES[measure]}, times that of the others", colours=colours, key="places", reference=("no difference", 1.0),
    )  # fmt: skip
    frame = pd.DataFrame(
        {
            dimension_label(dimension): [group_text(each.place) for each in found.differences],
            "Times the others": [round(each.ratio, 3) for each in found.differences],
            "95 % interval": [f"{each.low:.3f} to {each.high:.3f}" for each in found.differences],
            "Verdict": [_verdict(each.different, each.ratio) for each in found.differences],
            "n": [each.n for each in found.differences],
            "Traces": [_link(view, dimension, each.place) for each in found.differences],
        }
    )
    st.dataframe(
        frame, hide_index=True, key="places-table", height=min(10, len(frame) + 1) * 35 + 3,
        alt=f"{MEASURES[measure]} of each {dimension_label(dimension).lower()} against the others",
        column_config={"Traces": st.column_config.LinkColumn(display_text="open", width="small")},
    )  # fmt: skip
    st.caption(
        "Ratios of geometric means; of the places called slower or faster, at most one in twenty is so by chance."
    )


def _verdict(different: bool, ratio: float) -> str:
    if not different:
        return "no difference shown"
    return "slower" if ratio > 1 else "faster"


def _link(view: View, dimension: str, place: str) -> str:
    return f"traces?{view.query(**{dimension: place})}" if dimension in FILTERS else f"traces?{view.query()}"
