"""Nodes side by side: what each carries against what random routing would give it."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboards import charts, facts
from dashboards.charts import Bar
from dashboards.filters import View
from dashboards.tables import records
from dashboards.theme import assigned
from dashboards.wording import escaped, group_text
from monitor.kpis.balance import HotOf

GROUPS_MAX = 6


def hot_words(each: HotOf) -> str:
    """A hot node in a sentence."""
    return (
        f"{escaped(each.hot.sentence)} ({escaped(each.service or 'no service')}, {escaped(each.model or 'no model')})."
    )


def draw_loads(view: View, *, key: str) -> None:
    """For each service and model, the nodes' shares of its calls; the table tells what they took."""
    loads = facts.node_loads(view.window(), view.where)
    groups = [((str(s), str(m)), mine) for (s, m), mine in loads.groupby(["service", "model"], sort=False)]
    several = [(names, mine) for names, mine in groups if len(mine) > 1]
    if not several:
        charts.nothing("Sharing a load takes two nodes of one service and model; there are none in this time.", key=key)
    for (service, model), mine in several[:GROUPS_MAX]:
        st.markdown(f"**{escaped(group_text(service))}, {escaped(group_text(model))}**")
        mine = mine.sort_values("share", ascending=False)
        colours = {group_text(node): colour for node, colour in assigned().of("node", list(mine["node"])).items()}
        charts.draw_bars(
            [
                Bar(group=group_text(row.node), value=row.share, n=int(row.calls), note=_band(row.band_low, row.band_high))
                for row in records(mine)
            ],
            unit="1", title="Share of calls", colours=colours, key=f"{key}-{service}-{model}",
            reference=("an even share", float(mine["even"].iloc[0])),
        )  # fmt: skip
    if len(several) > GROUPS_MAX:
        st.caption(f"{GROUPS_MAX} of {len(several)} services and models are drawn; all are in the table.")
    if len(loads):
        _table(loads, key=f"{key}-table")


def _band(low: float, high: float) -> str:
    return f"random routing: {low:.1%} to {high:.1%}"


def _table(loads: pd.DataFrame, *, key: str) -> None:
    frame = pd.DataFrame(
        {
            "Service": loads["service"],
            "Model": loads["model"],
            "Node": loads["node"],
            "Calls": loads["calls"].round(),
            "Share, %": (loads["share"] * 100).round(2),
            "Random routing, %": [
                f"{low:.1%}–{high:.1%}" for low, high in zip(loads["band_low"], loads["band_high"], strict=True)
            ],
            "TTFT, ms": (loads["ttft_s"] * 1000).round(1),
            "TPOT, ms": (loads["tpot_s"] * 1000).round(2),
            "End to end, s": loads["e2e_s"].round(3),
            "GPU, °C": loads["temperature_c"].round(1),
            "Throttled, %": (loads["throttled"] * 100).round(1),
        }
    )
    st.dataframe(
        frame, hide_index=True, key=key, height=min(12, len(frame) + 1) * 35 + 3,
        alt="Load, typical latencies, temperature and throttling of each node",
    )  # fmt: skip
    st.caption("Latencies are geometric means; random routing is the band in which a share lies by chance (95 %).")
