"""Overview: is it all right, since when, where, and what changed?"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import pandas as pd
import streamlit as st

from dashboards import answers, budgets, data, explore, facts, findings, navigation, states
from dashboards.answers import ATTENTION, BAD, UNKNOWN, Finding
from dashboards.explore import Chart
from dashboards.filters import View
from dashboards.objectives import findings as objective_findings
from dashboards.objectives import panel as objectives_panel
from dashboards.tables import kpi_table, records
from dashboards.tiles import say_compared, tiles
from dashboards.watch import about, concerns
from dashboards.wording import (
    change_text,
    count_text,
    differs,
    escaped,
    group_text,
    label,
    moment_text,
    short_unit,
    value_text,
)
from monitor.kpis import Window

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
WATCHED: Final = ("traffic.error_rate", "latency.ttft.p95", "latency.e2e.p95", "traffic.completeness")
CHARTS: Final = (
    Chart(title="Requests per second", names=("traffic.request_rate",)),
    Chart(title="Error rate", names=("traffic.error_rate",)),
    Chart(title="Time to first token (TTFT)", names=("latency.ttft.p50", "latency.ttft.p95")),
    Chart(title="Output tokens per second", names=("traffic.token_rate",)),
)
# Family -> its page, and what of it is shown at a glance.
FAMILIES: Final = {
    "Latency": ("latency", ("latency.ttft.p95", "latency.tpot.p95", "latency.e2e.p95")),
    "Accuracy": ("accuracy", ("accuracy.estimated", "accuracy.correct", "accuracy.judge_agreement")),
    "Cost": ("cost", ("cost.per_request", "cost.per_million_tokens", "cost.idle_share")),
    "Engagement": (
        "engagement",
        ("engagement.active_users", "engagement.thumbs_up_corrected", "engagement.abandon_rate"),
    ),
}
TABLE: Final = (
    "traffic.requests",
    "traffic.error_rate",
    "latency.ttft.p50",
    "latency.ttft.p95",
    "latency.tpot.p50",
    "latency.e2e.p95",
    "traffic.token_rate",
)
ALERTS_MAX: Final = 5
# Severities that somebody is woken for.
GRAVE: Final = ("page", "critical")
TABLE_BY: Final = ("model", "variant", "node")


def answer(view: View) -> None:
    """Whether it is all right, in a sentence."""
    window = view.window()
    if data.values(HEADLINES, window, where=view.where)[0].n == 0:
        states.nothing_in_range(view)
        return
    found = [
        *_firing(view),
        *objective_findings(view),
        *budgets.findings(view.window().end),
        *answers.moved(view, WATCHED, among=HEADLINES),
    ]
    hot = facts.hot_nodes(window, view.where)
    if hot:
        causes = dict.fromkeys(f"{escaped(each.hot.node)} ({each.hot.cause})" for each in hot)
        nodes = count_text(len({each.hot.node for each in hot}), "hot node")
        found.append(Finding(level=ATTENTION, words=f"{nodes}: {', '.join(list(causes)[:3])}. See the page Fleet."))
    if not facts.objectives():
        words = "No objective is set, so nobody said what is good enough; set `objectives` in monitor.yaml."
        found.append(Finding(level=UNKNOWN, words=words))
    answers.say(found, fine="Objectives are kept, and nothing got worse than in the time before.")


def _firing(view: View) -> list[Finding]:
    """Alerts that fire, in the words of their rules."""
    now = datetime.now(UTC)
    link = f"alerts?{view.query(show='now')}"
    rows = [
        row
        for row in records(findings.alerts_now())
        if row.state != "pending" and concerns(about(row.grp, row.where), view.where)
    ]
    found = [
        Finding(
            level=BAD if row.severity in GRAVE else ATTENTION,
            words=f"[Alert {escaped(str(row.rule))}]({link}), since {moment_text(row.since, view.zone, now=now)}:"
            f" {escaped(str(row.summary))}",
        )
        for row in rows[:ALERTS_MAX]
    ]
    if len(rows) > ALERTS_MAX:
        found.append(Finding(level=ATTENTION, words=f"[{len(rows) - ALERTS_MAX} more alerts]({link}) fire."))
    return found


def headlines(view: View) -> None:
    """The numbers of this time, and how they changed since the time before."""
    window = view.window()
    if data.values(HEADLINES, window, where=view.where)[0].n == 0:
        return
    now = tiles(view, HEADLINES, key="headlines")
    say_compared(now[0], data.both(HEADLINES, window, where=view.where)[1][0])


def money(view: View) -> None:
    """Cost of today against the budget."""
    now = datetime.now(UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    minute = now.replace(second=0, microsecond=0)
    if minute <= midnight:
        return
    today = data.values(
        ("cost.total", "cost.budget_used", "cost.forecast_month"), Window(midnight, minute), where=view.where
    )
    spent, used, forecast = today
    st.subheader("Cost", anchor=False)
    if spent.value is None and used.value is None:
        st.caption(f"Nothing is known of today's cost: {escaped(spent.note)}. Set `prices` or `fleet` in monitor.yaml.")
        return
    words = [f"**{value_text(spent.value, spent.unit)}** today (UTC)"]
    if forecast.value is not None:
        words.append(f"this month will come to {value_text(forecast.value, forecast.unit)}")
    st.markdown("; ".join(words) + ".")
    if used.value is not None:
        st.progress(
            min(max(used.value, 0.0), 1.0), text=f"{value_text(used.value, '1')} of the month's budget is spent"
        )
    else:
        st.caption("No budget is set (`budgets` in monitor.yaml).")
    navigation.link("cost", label="Where it goes", icon=":material/arrow_forward:", query=view.carried())


def changed(view: View) -> None:
    """What was changed from outside in this time."""
    st.subheader("What changed", anchor=False)
    found = facts.changes(view.window(), view.where)
    if not found:
        st.caption("No deploy, price or configuration was changed in this time.")
        return
    frame = pd.DataFrame(
        {
            "When": [change.timestamp for change in reversed(found)],
            "Kind": [change.kind for change in reversed(found)],
            "What": [change.title for change in reversed(found)],
            "Who": [change.author or change.source for change in reversed(found)],
            "Concerns": [_concerned(change.where) for change in reversed(found)],
        }
    )
    st.dataframe(
        frame, hide_index=True, key="changes", height=min(7, len(frame) + 1) * 35 + 3, alt="Changes in this time, the newest first",
        column_config={"When": st.column_config.DatetimeColumn(format="D MMM HH:mm", timezone=view.zone.key)},
    )  # fmt: skip


def _concerned(where: object) -> str:
    if not isinstance(where, dict) or not where:
        return "everything"
    return ", ".join(f"{key} {' or '.join(group_text(value) for value in values)}" for key, values in where.items())


def families(view: View) -> None:
    """The four families at a glance, each with the way to its page."""
    window = view.window()
    if data.values(HEADLINES, window, where=view.where)[0].n == 0:
        return
    names = tuple(name for _, mine in FAMILIES.values() for name in mine)
    now, then = ({value.name: value for value in each} for each in data.both(names, window, where=view.where))
    with st.grid(4, min_column_width=215, gap="small", key="families"):
        for family, (page, mine) in FAMILIES.items():
            with st.container(border=True, height="stretch", gap="xsmall", key=f"family-{page}"):
                navigation.link(page, label=f"**{family}**", query=view.carried())
                for name in mine:
                    value, before = now[name], then[name]
                    change = change_text(value, before)
                    colour = (
                        "gray"
                        if not differs(value, before)
                        else "orange"
                        if answers.is_worse(value, before)
                        else "green"
                    )
                    text = (
                        f"**{value_text(value.value, short_unit(value))}**" if value.value is not None else "not known"
                    )
                    st.markdown(
                        f"{label(name)}: {text}" + (f" :{colour}[{escaped(change)}]" if change else ""),
                        help=value.note or None,
                    )


def lines(view: View) -> None:
    """The same numbers over time."""
    calls = data.values(HEADLINES, view.window(), where=view.where)[0].n
    if calls:
        explore.draw(view, CHARTS, key="lines", calls=calls)


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
    # The answer looks at much, and the headlines are there at once: they need not wait for it.
    first, second, third = st.container(), st.container(), st.container()
    with third:
        states.panel(view, headlines)
    with first:
        states.panel(view, answer)
    with second:
        states.panel(view, objectives_panel)
    states.panel(view, families)
    with st.grid(2, min_column_width=380, gap="medium", key="money-and-changes"):
        with st.container():
            states.panel(view, money)
        with st.container():
            states.panel(view, changed)
    states.panel(view, lines)
    states.panel(view, table)


page()
