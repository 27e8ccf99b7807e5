"""Fleet: are the machines well used and evenly loaded, and which one is not?"""

from __future__ import annotations

from typing import Final

import pandas as pd
import streamlit as st

from dashboards import answers, data, explore, facts, states, timerange
from dashboards.answers import ATTENTION, UNKNOWN, Finding
from dashboards.explore import Chart
from dashboards.filters import View
from dashboards.loads import draw_loads, hot_words
from dashboards.tables import kpi_table
from dashboards.tiles import tiles
from dashboards.wording import count_text
from monitor.kpis.balance import HotOf

HEADLINES: Final = (
    "fleet.gpu_utilization",
    "fleet.gpu_memory",
    "fleet.power",
    "fleet.energy_per_token",
    "fleet.energy_per_request",
    "fleet.imbalance",
    "fleet.hot_node",
)
GPU_SLICES: Final = ("node", "region", "environment")
CHARTS: Final = (
    Chart(title="GPU busy, by node", names=("fleet.gpu_utilization",), by="node", slices=("node", "gpu", "region")),
    Chart(title="GPU memory in use, by node", names=("fleet.gpu_memory",), by="node", slices=("node", "gpu", "region")),
    Chart(title="Power of a GPU, by node", names=("fleet.power",), by="node", slices=("node", "gpu", "region")),
    Chart(title="Energy per output token", names=("fleet.energy_per_token",), slices=GPU_SLICES),
)
TABLE: Final = ("fleet.gpu_utilization", "fleet.gpu_memory", "fleet.power")
READINGS_A_STEP: Final = 60
# Busier than this there is no room for a burst; emptier, most of what is paid for stands still.
FULL, EMPTY = 0.9, 0.2
MEMORY_FULL: Final = 0.95


def answer(view: View) -> None:
    """Whether a machine needs somebody."""
    found = [Finding(level=ATTENTION, words=hot_words(each)) for each in facts.hot_nodes(view.window(), view.where)[:5]]
    busy, memory, *_ = data.values(HEADLINES, view.window(), where=view.where)
    if busy.value is None:
        words = "No GPU was reported in this time: start `monitor gpu` on each node, or send OpenTelemetry's hardware metrics."
        found.append(Finding(level=UNKNOWN, words=words))
    elif busy.low is not None and busy.low > FULL:
        found.append(Finding(level=ATTENTION, words=f"GPUs are {busy.value:.0%} busy: there is no room for a burst."))
    elif busy.high is not None and busy.high < EMPTY:
        found.append(
            Finding(
                level=ATTENTION,
                words=f"GPUs are {busy.value:.0%} busy: most of what they cost buys nothing. See the page Cost.",
            )
        )
    if memory.value is not None and memory.value > MEMORY_FULL:
        found.append(Finding(level=ATTENTION, words=f"GPU memory is {memory.value:.0%} full on average."))
    answers.say(found, fine="Calls are spread evenly, and no node is slower than its peers.")


def headlines(view: View) -> None:
    tiles(view, HEADLINES, key="fleet-headlines")


def lines(view: View) -> None:
    """Use, memory, power and energy over time."""
    window = view.window()
    n = data.values(HEADLINES, window, where=view.where)[0].n
    if n:
        step_min_s = view.added_up_s(finest_s=timerange.MINUTE_S)
        explore.draw(view, CHARTS, key="fleet", calls=n, calls_wanted=READINGS_A_STEP, step_min_s=step_min_s)


def nodes(view: View) -> None:
    """Each node's use, memory and power."""
    found = data.values(TABLE, view.window(), by=("node",), where=view.where)
    if not any(value.n for value in found):
        return
    st.subheader("By node", anchor=False)
    kpi_table(
        found, by=("node",), intervals=TABLE, n_of=TABLE[0], key="fleet-nodes", n_help="Readings of the node's GPUs",
        alt="Use, memory and power of the GPUs of each node",
        link=lambda group: f"traces?{view.query(**group)}",
    )  # fmt: skip


def balance(view: View) -> None:
    """Who carries how much, against what random routing would give."""
    st.subheader("Load by node", anchor=False)
    draw_loads(view, key="loads")


def hot(view: View) -> None:
    """Hot nodes with the likely cause."""
    found = facts.hot_nodes(view.window(), view.where)
    if found:
        st.subheader(count_text(len(found), "hot node"), anchor=False)
        st.dataframe(_hot_rows(found), hide_index=True, key="hot-nodes", alt="Hot nodes and their likely causes")


def _hot_rows(found: list[HotOf]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Node": [each.hot.node for each in found],
            "Service": [each.service for each in found],
            "Model": [each.model for each in found],
            "Symptom": [each.hot.symptom for each in found],
            "Times its peers": [round(each.hot.ratio, 2) for each in found],
            "Likely cause": [each.hot.cause for each in found],
            "p": [f"{each.hot.p_value:.2g}" for each in found],
        }
    )


def page() -> None:
    """Draw the page."""
    if not states.something_arrived():
        return
    view: View = st.session_state["view"]
    for part in (answer, headlines, hot, lines, nodes, balance):
        states.panel(view, part)


page()
