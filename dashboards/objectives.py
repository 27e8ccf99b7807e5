"""Objectives for people: what was promised, how far it is kept, and how fast its budget goes."""

from __future__ import annotations

from typing import Final

import streamlit as st

from dashboards import data, facts
from dashboards.answers import ATTENTION, BAD, Finding
from dashboards.filters import View
from dashboards.wording import MEASURES, escaped, interval_text, value_text
from monitor.kpis import KpiValue
from monitor.store.objectives import Objective

# A budget that is spent so many times faster than planned needs a look.
BURN_MIN: Final = 1.0


def values(view: View) -> dict[str, dict[str, KpiValue]]:
    """Objective -> `attainment`, `error_budget` and `burn_rate` over this time."""
    promised = facts.objectives()
    if not promised:
        return {}
    names = tuple(
        f"objective.{name}.{what}" for name in promised for what in ("attainment", "error_budget", "burn_rate")
    )
    found = {value.name: value for value in data.values(names, view.window(), where=view.where)}
    return {
        name: {what: found[f"objective.{name}.{what}"] for what in ("attainment", "error_budget", "burn_rate")}
        for name in promised
    }


def findings(view: View) -> list[Finding]:
    """Budgets that are used up, or are being used up too fast beyond chance."""
    promised, said = facts.objectives(), []
    for name, mine in values(view).items():
        budget, burn = mine["error_budget"], mine["burn_rate"]
        period = promised[name].period
        title = f"objective {escaped(name)} ({escaped(words(promised[name]))})"
        if budget.value is not None and budget.value < 0:
            said.append(
                Finding(
                    level=BAD,
                    words=f"The error budget of {title} is overdrawn over {period}: {value_text(budget.value, '1')} left.",
                )
            )
        elif burn.value is not None and burn.low is not None and burn.low > BURN_MIN:
            left = f"; {value_text(budget.value, '1')} of it are left" if budget.value is not None else ""
            said.append(
                Finding(
                    level=ATTENTION,
                    words=f"The error budget of {title} is spent {value_text(burn.value, '×')} as fast as it may be{left}.",
                )
            )
    return said


def words(objective: Objective) -> str:
    """What is promised, short: "TTFT ≤ 1 s for 95 %"."""
    target = value_text(objective.target, "1")
    if objective.kind == "latency":
        return f"{MEASURES[objective.latency]} ≤ {value_text(objective.threshold_s, 's')} for {target}"
    what = {"error": "no error", "cost": f"at most {objective.ceiling_usd:g} USD"}.get(
        objective.kind, objective.evaluation or "good"
    )
    return f"{what} for {target}"


def panel(view: View) -> None:
    """A box for each objective: attainment, budget left, speed."""
    promised, found = facts.objectives(), values(view)
    if not found:
        return
    st.subheader("Objectives", anchor=False)
    with st.grid("auto", min_column_width=260, gap="small", key="objectives"):
        for name, mine in found.items():
            with st.container(border=True, height="stretch", gap="xsmall", key=f"objective-{name}"):
                _box(promised[name], mine)


def _box(objective: Objective, mine: dict[str, KpiValue]) -> None:
    attained, budget, burn = mine["attainment"], mine["error_budget"], mine["burn_rate"]
    st.markdown(f"**{escaped(objective.name)}**", help=objective.description or None)
    st.caption(escaped(words(objective)))
    if attained.value is None:
        st.caption(f"Not known in this time: {escaped(attained.note or 'no such call')}.")
    else:
        between = interval_text(attained.low, attained.high, "1")
        colour, kept = _colour(attained, objective.target), value_text(attained.value, "1")
        st.markdown(f":{colour}[**{kept}**] kept{f', 95 %: {between}' if between else ''}; n = {attained.n:,}")
    if budget.value is not None:
        left = value_text(budget.value, "1")
        st.progress(min(max(budget.value, 0.0), 1.0), text=f"{left} of the budget of {objective.period} left")
    if burn.value is not None:
        st.caption(f"Burn rate {value_text(burn.value, '×')} in this time; 1 × spends the budget exactly.")


def _colour(attained: KpiValue, target: float) -> str:
    if attained.value is None or attained.value >= target:
        return "green"
    return "red" if attained.high is not None and attained.high < target else "orange"
