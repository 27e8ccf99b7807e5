"""Plan: the cheapest way to serve the load, measured or stated, within objectives."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

import pandas as pd
import streamlit as st

from dashboards import address, states, store
from dashboards.data import Where
from dashboards.filters import View
from dashboards.memory import remembered
from dashboards.wording import NOTHING
from monitor.errors import BadInput
from monitor.kpis import Window
from monitor.plan import choose_model, load_from_store, models_seen, read_catalogue
from monitor.plan.choose import plain
from monitor.stats.plan import KINDS, ROUTINGS, Load, Objectives, Plan, PlanReport, stated_load
from monitor.stats.plan import plan as make_plan

USAGES: Final = {"measured": "What was measured", "stated": "A stated usage"}
ROUTING_WORDS: Final = {"shared": "one shared queue", "random": "at random"}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Everything that the plan depends on beside the measured calls."""

    usage: str
    model: str
    growth: float
    uncertainty: float
    ttft_s: float
    tpot_s: float | None
    attainment: float
    routing: Literal["shared", "random"]
    only: tuple[str, ...]
    requests_per_day: float = 0.0
    input_tokens: float = 0.0
    output_tokens: float = 0.0
    peak: float = 2.0
    hours: int = 24


@remembered(ttl_s=300, entries_max=30, words="Weighing GPUs, clouds and APIs against the load …")
def planned(url: str, asked: Asked, window: Window, where: Where) -> tuple[str, PlanReport]:
    """The model that is planned for, and the plans."""
    offers = read_catalogue()
    if asked.usage == "stated":
        model = choose_model(offers, asked.model, {})
        load: Load = stated_load(
            requests_per_day=asked.requests_per_day,
            input_tokens=asked.input_tokens,
            output_tokens=asked.output_tokens,
            peak=asked.peak,
            hours=asked.hours,
            level_error=asked.uncertainty,
        )
    else:
        model, load = _measured(offers, asked, window, dict(where))
    objectives = Objectives(
        ttft_s=asked.ttft_s, tpot_s=asked.tpot_s, attainment=asked.attainment, routing=asked.routing
    )
    return model, make_plan(load.scaled(asked.growth), offers.only(model=model, kinds=list(asked.only)), objectives)


def _measured(offers: Any, asked: Asked, window: Window, where: dict[str, tuple[str, ...]]) -> tuple[str, Load]:
    with store.reading() as client:
        seen = models_seen(client, window, where=where)
        model = choose_model(offers, asked.model, seen)
        same = tuple(name for name in seen if plain(name) == plain(model))
        # Of the model's own calls, if there are such and no filter says otherwise.
        condition = {"model": same} if same and not where else where
        return model, load_from_store(client, window, where=condition, level_error=asked.uncertainty)


def inputs(models: list[str]) -> Asked:
    """Widgets; what they say is in the address."""
    with st.container(horizontal=True, vertical_alignment="bottom", key="plan-choices"):
        usage = address.buttons(
            "Plan for", list(USAGES), name="usage", default="measured", said=lambda each: USAGES[each]
        )
        # A stated usage has no model that was seen.
        options = models if usage == "stated" else ["", *models]
        model = address.menu(
            "Model", options, name="for", default=options[0], said=lambda each: each or "as measured", width=260
        )
    stated: dict[str, Any] = {}
    if usage == "stated":
        with st.container(horizontal=True, vertical_alignment="bottom", key="stated"):
            for name, title, default, step in (
                ("requests_per_day", "Requests a day", 100_000.0, 10_000.0),
                ("input_tokens", "Tokens of a prompt", 1000.0, 100.0),
                ("output_tokens", "Tokens of an answer", 250.0, 50.0),
                ("peak", "Busiest hour over mean", 2.0, 0.1),
            ):
                low = 1.0 if name in ("peak", "requests_per_day") else 0.0
                stated[name] = float(
                    st.number_input(
                        title, min_value=low, value=default, step=step, key=name, bind="query-params", width=170
                    )
                )
            stated["hours"] = int(
                st.number_input(
                    "Hours a day", min_value=1, max_value=24, value=24, key="hours", bind="query-params", width=120
                )
            )
    left, middle, right = st.columns(3)
    with left:
        growth = st.slider("Times the load", 0.1, 20.0, 1.0, 0.1, key="growth", bind="query-params", format="%.1f×")
        default = 20 if usage == "stated" else 0
        unsure = st.slider(
            "The load may be wrong by", 0, 80, default, 5, key=f"unsure-{usage}", bind="query-params", format="±%d %%"
        )
    with middle:
        ttft = st.slider("First token within, s", 0.2, 10.0, 2.0, 0.1, key="ttft", bind="query-params")
        tpot = st.slider("Each further token within, ms (0: any)", 0, 200, 0, 5, key="tpot", bind="query-params")
    with right:
        share = st.slider("Of requests in time, %", 50.0, 99.9, 95.0, 0.1, key="attainment", bind="query-params")
        routing = address.menu(
            "Requests find a replica by",
            list(ROUTINGS),
            name="routing",
            default=ROUTINGS[0],
            said=lambda each: ROUTING_WORDS.get(each, each),
            width=220,
        )
    kinds = st.pills(
        "Only offers of these kinds", list(KINDS), selection_mode="multi", key="only", bind="query-params",
        format_func=lambda each: str(each).replace("_", " "),
    )  # fmt: skip
    return Asked(
        usage=usage,
        model=model,
        growth=float(growth),
        uncertainty=unsure / 100,
        ttft_s=float(ttft),
        tpot_s=tpot / 1000 if tpot else None,
        attainment=share / 100,
        routing="random" if routing == "random" else "shared",
        only=tuple(str(each) for each in kinds or ()),
        **stated,
    )


def report(model: str, found: PlanReport) -> None:
    """Verdict, plans, hours, break-even, notes."""
    load = found.load
    st.caption(
        f"{model}, {load.requests_per_day:,.0f} requests a day, {load.mean_input_tokens:,.0f} tokens in and"
        f" {load.mean_output_tokens:,.0f} out, busiest {load.slot_s / 60:g} minutes {load.peak_factor:.1f} times the mean"
        + (f"; measured from {load.calls:,} calls." if load.source == "measured" else "; stated.")
    )
    with st.container(border=True, key="plan-verdict"):
        st.markdown(f"#### {found.verdict[:1].upper()}{found.verdict[1:]}")
        if found.chosen is not None:
            first, second, third, fourth = st.columns(4)
            usd = found.chosen.usd
            first.metric("A month", f"${usd.value:,.0f}", help="95 % interval below")
            first.caption(f"95 %: ${usd.low:,.0f} to ${usd.high:,.0f}")
            second.metric("A million tokens", f"${found.chosen.usd_per_million_tokens:.2f}")
            third.metric("In time", f"{found.chosen.attainment:.1%}")
            third.caption(f"worst stretch {found.chosen.attainment_worst:.1%}")
            fourth.metric("Where", found.chosen.deployment.replace("_", " "))
    _plans(found)
    if found.chosen is not None and found.chosen.engine:
        _hours(found.chosen)
    if found.break_even:
        _break_even(found)
    for note in (*found.notes, f"Prices as of {found.as_of}; give your own with `monitor plan --catalogue FILE`."):
        st.caption(f"Note: {note}")


def _plans(found: PlanReport) -> None:
    frame = pd.DataFrame(
        [
            {
                "Plan": plan.name,
                "Replica": plan.engine or NOTHING,
                "Where": plan.deployment.replace("_", " "),
                "$ a month": plan.usd.value,
                "from": plan.usd.low,
                "to": plan.usd.high,
                "$/M tokens": plan.usd_per_million_tokens,
                "In time, %": 100 * plan.attainment,
                "Worst stretch, %": 100 * plan.attainment_worst,
                "Busy, %": 100 * plan.utilisation,
                "Meets": plan.meets,
                "Why": plan.why or ("chosen: the cheapest that meets the objectives" if plan is found.chosen else ""),
            }
            for plan in found.plans
        ]
    )
    number = st.column_config.NumberColumn
    dollars = {name: number(format="dollar", step=1) for name in ("$ a month", "from", "to")}
    shares = {name: number(format="%.1f") for name in ("In time, %", "Worst stretch, %", "Busy, %")}
    st.dataframe(
        frame, hide_index=True, key="plans", alt="All plans, the chosen one first", height=min(14, len(frame) + 1) * 35 + 3,
        column_config={**dollars, **shares, "$/M tokens": number(format="%.3f")},
    )  # fmt: skip
    st.download_button(
        "Download the table (CSV)", frame.to_csv(index=False), "plans.csv", "text/csv", icon=":material/download:"
    )


def _hours(plan: Plan) -> None:
    with st.expander(f"{plan.name} by hour of the day (UTC)"):
        frame = pd.DataFrame(
            [
                {
                    "Hour": row.hour,
                    "Requests/s": round(row.requests_per_s, 3),
                    "Replicas fixed": row.replicas_fixed,
                    "Added, mean": round(row.replicas_added_mean, 2),
                    "Added, most": row.replicas_added_max,
                    "To the API, %": round(100 * row.api_share, 1),
                }
                for row in plan.by_hour
            ]
        )
        st.dataframe(frame, hide_index=True, key="plan-hours", alt="What runs by hour of the day")


def _break_even(found: PlanReport) -> None:
    st.subheader("Break-even", anchor=False)
    frame = pd.DataFrame(
        [
            {
                "Between": f"{row.first} and {row.second}",
                "Requests a day": ", ".join(f"{each:,.0f}" for each in row.requests_per_day)
                or f"none from {row.low:,.0f} to {row.high:,.0f}",
                "Cheaper below": row.cheaper_below,
                "Cheaper above": row.cheaper_above,
            }
            for row in found.break_even
        ]
    )
    st.dataframe(frame, hide_index=True, key="break-even", alt="Loads at which two plans cost the same")


def page() -> None:
    """Draw the page."""
    view: View = st.session_state["view"]
    asked = inputs(list(read_catalogue().models))
    try:
        window = view.window()
        model, found = planned(
            store.store_url(), asked, _stable(window), view.where if asked.usage == "measured" else ()
        )
    except (BadInput, ValueError) as error:
        with st.container(border=True, key="no-plan"):
            st.subheader("No plan", anchor=False)
            text = _without_options(str(error))
            st.markdown(
                states.sentence(BadInput(text)) if isinstance(error, BadInput) else f"{text[:1].upper()}{text[1:]}."
            )
            if asked.usage == "measured":
                st.caption("Take a longer time range, or state the usage.")
        return
    report(model, found)


def _without_options(text: str) -> str:
    """What is wrong, without what to do about it on a command line."""
    clauses = [clause.removesuffix(" with --model") for clause in text.split("; ")]
    return "; ".join(clause for clause in clauses if "--" not in clause)


def _stable(window: Window) -> Window:
    """In steps of ten minutes, so that moving a slider does not measure the load anew."""
    start, end = (
        datetime.fromtimestamp(int(each.timestamp()) // 600 * 600, each.tzinfo) for each in (window.start, window.end)
    )
    return Window(start, end) if end > start else window


page()
