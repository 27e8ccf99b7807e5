"""Overview: is it all right, since when, where?"""

from __future__ import annotations

from typing import Final

import pandas as pd
import streamlit as st

from dashboards import charts, data, states, timerange
from dashboards.filters import View
from dashboards.tables import kpi_table, say_evidence
from dashboards.theme import KPI_COLOURS, STATISTICS
from dashboards.wording import change_text, differs, help_text, label, value_text
from monitor.kpis import REGISTRY, KpiValue, Window

HEADLINES: Final = (
    "traffic.requests",
    "traffic.request_rate",
    "traffic.error_rate",
    "traffic.cancelled_rate",
    "latency.ttft.p50",
    "latency.ttft.p95",
    "latency.tpot.p50",
    "latency.e2e.p95",
    "traffic.token_rate",
    "traffic.completeness",
)
LINES: Final = (
    "traffic.request_rate",
    "traffic.error_rate",
    "latency.ttft.p50",
    "latency.ttft.p95",
    "traffic.token_rate",
)
TABLE: Final = (
    "traffic.requests",
    "traffic.error_rate",
    "latency.ttft.p50",
    "latency.ttft.p95",
    "latency.tpot.p50",
    "latency.e2e.p95",
    "traffic.token_rate",
)
TABLE_BY: Final = ("model", "variant", "node")
# Enough for a p95 with both ends of its interval.
CALLS_A_STEP: Final = 80


def headlines(view: View) -> None:
    """The numbers of this time, and how they changed since the time before."""
    window = view.window()
    now = data.values(HEADLINES, window, where=view.where)
    then = data.values(HEADLINES, timerange.before(window), where=view.where)
    if now[0].n == 0:
        states.nothing_in_range(view)
        return
    with st.grid("auto", min_column_width=165, gap="small", key="headlines"):
        for value, before in zip(now, then, strict=True):
            _card(value, before)
    if then[0].n:
        words = "Changes are against the equally long time before; grey where the two intervals overlap."
    else:
        words = "No call began in the equally long time before, so there is nothing to compare with."
    st.caption(words)


def _card(value: KpiValue, before: KpiValue) -> None:
    better = REGISTRY[value.name].better
    telling = better is not None and differs(value, before)
    change = change_text(value, before)
    with st.container(border=True, height="stretch", gap="xsmall", key=f"kpi-{value.name.replace('.', '-')}"):
        st.metric(
            label(value.name),
            value_text(value.value, value.unit),
            delta=change or None,
            delta_color=("inverse" if better == "lower" else "normal") if telling else "off",
            delta_arrow="off" if change.startswith("0 ") else "auto",
            help=help_text(value.name),
        )
        say_evidence(value)


def lines(view: View) -> None:
    """The same numbers over time."""
    window = view.window()
    calls = data.values(("traffic.requests",), window, where=view.where)[0].n
    if calls == 0:
        return
    step_s = timerange.step_s(window, calls=calls, calls_wanted=CALLS_A_STEP)
    window = timerange.aligned(window, step_s)
    frame = data.lines(LINES, window, step_s=step_s, where=view.where)
    with st.grid(2, min_column_width=380, gap="small", key="lines"):
        for title, names in (
            ("Requests per second", ("traffic.request_rate",)),
            ("Error rate", ("traffic.error_rate",)),
            ("Time to first token (TTFT)", ("latency.ttft.p50", "latency.ttft.p95")),
            ("Output tokens per second", ("traffic.token_rate",)),
        ):
            with st.container(key=f"chart-{names[0].replace('.', '-')}"):
                st.markdown(f"**{title}**")
                _chart(title, names, frame, window, step_s)
    st.caption(
        f"Steps of {_step_words(step_s)}; bands are 95 % intervals. A call counts in the step in which it began."
    )


def _chart(title: str, names: tuple[str, ...], frame: pd.DataFrame, window: Window, step_s: int) -> None:
    mine = frame[frame["name"].isin(names)].copy()
    mine["line"] = [name.rpartition(".")[2] if len(names) > 1 else label(name) for name in mine["name"]]
    colours = {
        (name.rpartition(".")[2] if len(names) > 1 else label(name)): (
            KPI_COLOURS.get(name) or STATISTICS[name.rpartition(".")[2]]
        )
        for name in names
    }
    charts.draw_lines(
        charts.Line(
            frame=mine, unit=REGISTRY[names[0]].unit, colours=colours, window=window, title=title, step_s=step_s
        ),
        key=f"line-{names[0].replace('.', '-')}",
    )


def _step_words(step_s: int) -> str:
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if step_s % size == 0:
            count = step_s // size
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return f"{step_s} second{'s' if step_s > 1 else ''}"


def table(view: View) -> None:
    """Where: by model, variant and node."""
    found = data.values(TABLE, view.window(), by=TABLE_BY, where=view.where)
    if found[0].n == 0:
        return
    st.subheader("By model, variant and node", anchor=False)
    kpi_table(
        found,
        by=TABLE_BY,
        intervals=("traffic.error_rate", "latency.ttft.p95"),
        n_of="latency.ttft.p95",
        key="by-place",
        alt="Traffic, errors and latency of each model, variant and node",
        link=lambda group: f"traces?{view.query(**group)}",
    )


def page() -> None:
    """Draw the page."""
    if not states.something_arrived():
        return
    view: View = st.session_state["view"]
    for part in (headlines, lines, table):
        states.panel(view, part)


page()
