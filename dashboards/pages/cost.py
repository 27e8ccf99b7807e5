"""Cost: what was spent, on what, how much of it for nothing, and where the month will end."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import pandas as pd
import streamlit as st

from dashboards import address, answers, budgets, charts, data, explore, facts, states
from dashboards.answers import ATTENTION, GOOD, UNKNOWN, Finding
from dashboards.explore import Chart
from dashboards.filters import View
from dashboards.tables import kpi_table, records
from dashboards.tiles import tiles
from dashboards.wording import count_text, dimension_label, escaped, finite, interval_text, value_text
from monitor.kpis import KpiValue, Window

HEADLINES: Final = (
    "cost.total",
    "cost.per_request",
    "cost.per_million_tokens",
    "cost.per_goodput_request",
    "cost.per_session",
    "cost.gpu_hour",
    "cost.idle_share",
    "cost.unpriced",
)
MONTH: Final = ("cost.forecast_month", "cost.budget_used")
CHARTS: Final = (
    Chart(title="Spent, each step", names=("cost.total",), slices=explore.SLICES[:7]),
    Chart(title="Cost of a request", names=("cost.per_request",), slices=explore.SLICES[:7]),
    Chart(title="Cost of a million tokens", names=("cost.per_million_tokens",), slices=explore.SLICES[:7]),
    Chart(
        title="Share of machines' cost that is idle", names=("cost.idle_share",), slices=("node", "region", "service")
    ),
)
SPLITS: Final = ("model", "variant", "node", "service", "provider", "region", "deployment", "release")
TABLE: Final = (
    "cost.total",
    "cost.per_request",
    "cost.per_million_tokens",
    "cost.per_goodput_request",
    "cost.unpriced",
)
HOUR_S: Final = 3600
DAY_S: Final = 86_400
IDLE_MAX: Final = 0.5
# Unpriced calls are worth a word from this share on.
UNPRICED_MIN: Final = 0.01


def answer(view: View) -> None:
    """Whether money is lost, and where the month ends."""
    window = view.window()
    found_values = {value.name: value for value in data.both(HEADLINES, window, where=view.where, also=MONTH)[0]}
    found_values |= {value.name: value for value in data.values(MONTH, window, where=view.where)}
    total, idle, forecast = (found_values[f"cost.{name}"] for name in ("total", "idle_share", "forecast_month"))
    found = budgets.findings(window.end)
    if total.value is None:
        words = (
            f"What this time cost is not known: {escaped(total.note) or 'no call has a price'}."
            " Set `prices.own` for models or `fleet` for machines in monitor.yaml; the job `cost` works every minute."
        )
        found.append(Finding(level=UNKNOWN, words=words))
    else:
        until = f", and the month will come to {_with_interval(forecast)}" if forecast.value is not None else ""
        found.append(
            Finding(level=GOOD, words=f"{value_text(total.value, total.unit)} was spent in {view.range_words}{until}.")
        )
    if idle.value is not None and idle.value > IDLE_MAX:
        words = f"{value_text(idle.value, '1')} of what machines cost was idle: see the ledger below for which."
        found.append(Finding(level=ATTENTION, words=words))
    unpriced = found_values["cost.unpriced"].value or 0.0
    calls = data.values(("traffic.requests",), window, where=view.where)[0].value or 0.0
    if total.value is not None and unpriced > UNPRICED_MIN * calls:
        words = f"{value_text(unpriced, 'call')} of {value_text(calls, 'call')} calls have no price, so they are in no figure here."
        found.append(Finding(level=ATTENTION, words=words))
    found += (
        answers.moved(view, ("cost.per_request",), among=HEADLINES, step_min_s=HOUR_S)[:1]
        if view.window().seconds > 2 * HOUR_S
        else []
    )
    answers.say(found, fine="")


def _with_interval(value: KpiValue) -> str:
    interval = interval_text(value.low, value.high, value.unit)
    return value_text(value.value, value.unit) + (f" (95 %: {interval})" if interval else "")


def headlines(view: View) -> None:
    tiles(view, HEADLINES, key="cost-headlines")


def month(view: View) -> None:
    """Budgets of the month with the forecast."""
    window = view.window()
    found = facts.budgets(window.end)
    st.subheader(f"{window.end:%B} (UTC)", anchor=False)
    forecast, _ = data.values(MONTH, window, where=view.where)
    if forecast.value is not None:
        st.markdown(f"The month will come to **{_with_interval(forecast)}**.", help=forecast.note or None)
    else:
        st.caption(f"No forecast: {forecast.note or 'too few hours have a cost'}.")
    if found.empty:
        st.caption("No budget is set (`budgets` in monitor.yaml).")
        return
    for budget in records(found):
        unit = str(budget.currency) or data.currency()
        share = budget.spent / budget.amount if budget.amount else 0.0
        st.progress(
            min(max(share, 0.0), 1.0),
            text=f"{escaped(str(budget.name))}: {value_text(budget.spent, unit)} of {value_text(budget.amount, unit)} spent ({share:.0%})",
        )
    frame = pd.DataFrame(
        {
            "Budget": found["name"],
            "Amount": [value_text(amount, data.currency()) for amount in found["amount"]],
            "Spent": [value_text(spent, data.currency()) for spent in found["spent"]],
            "Forecast": [value_text(expected, data.currency()) for expected in found["forecast"]],
            "95 % interval": [
                interval_text(finite(low), finite(high), data.currency()) or "too few hours"
                for low, high in zip(found["low"], found["high"], strict=True)
            ],
            "Note": found["note"],
        }
    )
    st.dataframe(
        frame, hide_index=True, key="budgets", alt="Budgets of the month: amount, spent, forecast with interval"
    )


def lines(view: View) -> None:
    """Over time; costs are kept by the hour, so a day is the least that is drawn."""
    window = view.window()
    if window.seconds < DAY_S:
        st.caption("Costs are kept by the hour, so at least the last day is drawn.")
        view = view.during(Window(window.end - timedelta(seconds=DAY_S), window.end))
    explore.draw(view, CHARTS, key="cost", calls=1e9, step_min_s=HOUR_S)


def groups(view: View, by: str) -> None:
    """By model, variant, node, …"""
    window = view.window()
    found = data.values(TABLE, window, by=(by,), where=view.where)
    st.subheader(f"By {dimension_label(by).lower()}", anchor=False)
    if not any(value.n for value in found):
        charts.nothing("No call of this time has a cost yet.", key="cost-groups")
        return
    whole = data.values(("cost.per_request",), window, where=view.where)[0]
    left, right = st.columns(2)
    with left:
        explore.group_bars([v for v in found if v.name == "cost.total"], by, key="cost-bars", view=view, window=window)
    with right:
        requests = [value for value in found if value.name == "cost.per_request"]
        explore.group_bars(requests, by, key="cost-request-bars", view=view, window=window, whole=whole)
    kpi_table(
        found, by=(by,), intervals=("cost.per_request", "cost.per_million_tokens"), n_of="cost.per_request", key="cost-table",
        alt=f"Cost of each {dimension_label(by).lower()}", link=lambda group: f"traces?{view.query(**group)}",
    )  # fmt: skip


def ledger(view: View) -> None:
    """Machines: what was paid, what of it was used."""
    st.subheader("Ledger of machines", anchor=False)
    window = view.window()
    start = window.start.replace(minute=0, second=0, microsecond=0)
    rows = facts.ledger(Window(start, window.end), view.where)
    if rows.empty:
        st.caption("No machine has a price by the hour (`fleet` in monitor.yaml), or none ran in this time.")
        return
    unit = data.currency()
    frame = pd.DataFrame(
        {
            "Node": rows["node"],
            "GPU": rows["gpu"],
            "Kind": rows["kind"],
            "Hours billed": rows["hours"].astype(float).round(2),
            f"Cost, {unit}": rows["cost"].astype(float).round(2),
            f"Idle, {unit}": rows["idle"].astype(float).round(2),
            "Idle, %": (
                100 * rows["idle"].astype(float) / rows["cost"].astype(float).where(lambda cost: cost > 0)
            ).round(1),
        }
    )
    st.dataframe(
        frame, hide_index=True, key="ledger", height=min(12, len(frame) + 1) * 35 + 3,
        alt="Each machine's billed hours, cost, and what of it was idle",
        column_config={"Idle, %": st.column_config.ProgressColumn(min_value=0, max_value=100, format="%.1f")},
    )  # fmt: skip
    st.caption(
        "Whole hours (UTC), the first from its beginning. Idle is what was billed while no request was on the machine."
    )


def users(view: View) -> None:
    """Who costs most."""
    rows = facts.dear_users(view.window(), view.where)
    if rows.empty:
        return
    st.subheader("Dearest users", anchor=False)
    unit = data.currency()
    frame = pd.DataFrame(
        {
            "User": rows["user"],
            f"Cost, {unit}": [float(f"{cost:.4g}") for cost in rows["cost"]],
            "Calls": rows["calls"].astype(float).round(),
            "Tokens": rows["tokens"].astype(float).round(),
            "Traces": [f"traces?{view.query(user=str(user))}" for user in rows["user"]],
        }
    )
    st.dataframe(
        frame, hide_index=True, key="users", height=min(12, len(frame) + 1) * 35 + 3, alt="Users whose calls cost most",
        column_config={"Traces": st.column_config.LinkColumn(display_text="open", width="small")},
    )  # fmt: skip


def unpriced(view: View) -> None:
    """Calls whose cost nobody knows, and why."""
    rows = facts.unpriced(view.window(), view.where)
    if rows.empty:
        return
    total = float(rows["calls"].sum())
    st.subheader(f"{count_text(round(total), 'call')} without a price", anchor=False)
    frame = rows.rename(
        columns={"provider": "Provider", "model": "Model", "node": "Node", "reason": "Why", "calls": "Calls"}
    )
    st.dataframe(
        frame,
        hide_index=True,
        key="unpriced",
        height=min(8, len(frame) + 1) * 35 + 3,
        alt="Calls without a price, and why",
    )


def page() -> None:
    """Draw the page."""
    if not states.something_arrived():
        return
    view: View = st.session_state["view"]
    for part in (answer, headlines, month, lines):
        states.panel(view, part)
    by = address.menu("Split by", SPLITS, name="by", default="model", said=dimension_label, width=170)
    states.panel(view, lambda seen: groups(seen, by))
    for part in (ledger, users, unpriced):
        states.panel(view, part)


page()
