"""The whole plan: what must hold for any load and catalogue, and cases worked by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.stats.plan import (
    BreakEven,
    Catalogue,
    Objectives,
    PlanReport,
    Recipe,
    Search,
    break_even,
    owned_usd_per_hour,
    plan,
    recipes,
    stated_load,
)
from monitor.stats.plan.outlook import Outlook
from tests.stats.plan.cases import ENGINE, GOAL, load, offer

API = offer(
    "per_token", name="api", model="m", usd_per_million_input=0.5, usd_per_million_output=1.0, ttft_p50_s=0.3,
    ttft_p95_s=0.8,
)  # fmt: skip
OFFERS = (
    offer("owned", gpus=4, usd_per_hour=3.6),
    offer("reserved", usd_per_hour=1.2),
    offer("on_demand", usd_per_hour=2.0, start_s=300.0),
    offer("spot", usd_per_hour=0.9, start_s=600.0, interruptions_per_hour=0.1, notice_s=30.0),
    offer("serverless", usd_per_hour=3.5, start_s=20.0, idle_s=60.0),
    API,
)
CATALOGUE = Catalogue(engines=(ENGINE,), offers=OFFERS)


def quick(requests: float, objectives: Objectives = GOAL, offers: tuple = OFFERS) -> PlanReport:
    some = stated_load(requests_per_day=requests, input_tokens=1000, output_tokens=200, peak=2.5)
    return plan(some, replace(CATALOGUE, offers=offers), objectives, break_evens=False)


def cost(requests: float, objectives: Objectives, offers: tuple) -> float:
    """Of the cheapest fleet that meets the objectives."""
    some = stated_load(requests_per_day=requests, input_tokens=1000, output_tokens=200, peak=2.5)
    search = Search(some, objectives)
    fleets = [search.best(recipe) for recipe in recipes(replace(CATALOGUE, offers=offers))]
    return min((fleet.usd_per_month for fleet in fleets if fleet is not None and fleet.meets), default=math.inf)


@settings(max_examples=25, deadline=None)
@given(
    requests=st.floats(100, 6e5),
    more=st.floats(1.0, 3.0),
    ttft=st.floats(0.3, 3.0),
    share=st.floats(0.6, 0.99),
    kept=st.sets(st.integers(0, 5), min_size=1),
)
def test_monotone(requests: float, more: float, ttft: float, share: float, kept: set[int]) -> None:
    goal = Objectives(ttft_s=ttft, attainment=share)
    offers = tuple(OFFERS[i] for i in sorted(kept))
    here = cost(requests, goal, offers)
    slack = 1e-9 * (0 if math.isinf(here) else here)
    # More load is never cheaper; neither are stricter objectives, nor fewer offers, nor higher prices.
    assert cost(requests * more, goal, offers) >= here - slack
    assert cost(requests, replace(goal, ttft_s=ttft * more), offers) <= here + slack
    assert cost(requests, replace(goal, attainment=share * 0.9), offers) <= here + slack
    assert cost(requests, goal, OFFERS) <= here + slack
    dearer = tuple(replace(deal, usd_per_hour=deal.usd_per_hour * more) for deal in offers)
    assert cost(requests, goal, dearer) >= here - slack


def test_what_is_said_of_each_plan() -> None:
    report = quick(300_000)
    assert report.chosen is report.plans[0]
    assert report.chosen.dearer is None
    assert "the cheapest that meets" in report.chosen.why
    assert report.chosen.name in report.verdict
    order = [(not each.meets, each.usd.value if each.meets else 0) for each in report.plans]
    assert order == sorted(order)
    for each in report.plans:
        assert each.usd.low <= each.usd.value <= each.usd.high
        assert sum(part.usd_per_month for part in each.parts) == pytest.approx(each.usd.value)
        tokens = 300_000 * 1200 * 365.25 / 12
        assert each.usd_per_million_tokens == pytest.approx(each.usd.value / tokens * 1e6)
        assert each.attainment_worst <= each.attainment + 1e-12
        assert each.meets is (each.attainment_worst >= 0.95 - 1e-9)
        assert 0 <= each.attainment_busy <= 1
        if each.meets and each is not report.chosen:
            assert each.dearer is not None
            assert each.dearer.value == pytest.approx(each.usd.value - report.chosen.usd.value)
            assert "dearer" in each.why
        if not each.meets:
            assert "misses the objective" in each.why
        if each.engine:
            assert 0 < each.utilisation <= 1
        assert len(each.by_hour) == 24
    places = {each.kinds: each.deployment for each in report.plans}
    assert places[("owned",)] == "on_premises"
    assert places[("reserved",)] == places[("reserved", "per_token")] == "cloud"
    assert {places[kinds] for kinds in places if "owned" in kinds and len(kinds) > 1} == {"hybrid"}
    assert places[("per_token",)] == "api"


def test_a_base_alone_costs_the_same_whatever_comes_and_then_fails() -> None:
    report = quick(300_000, offers=(OFFERS[1],))
    (only,) = report.plans
    assert only.usd.low == only.usd.value == only.usd.high
    assert only.attainment_busy < only.attainment


def test_the_same_days_make_a_difference_surer_than_both_costs() -> None:
    rng = np.random.default_rng(0)
    rates = np.repeat(np.exp(0.4 * rng.standard_normal(10)), 24) * 4
    some = load(*rates, block=np.repeat(np.arange(10), 24))
    twin = replace(
        API, name="twin", usd_per_million_input=API.usd_per_million_input * 1.05, usd_per_million_output=1.05
    )
    report = plan(some, Catalogue(engines=(), offers=(API,)), GOAL, break_evens=False)
    outlook = Outlook(some, GOAL)
    first, second = (Search(some, GOAL).best(Recipe(engine=None, top=deal)) for deal in (API, twin))
    assert first is not None
    assert second is not None
    assert outlook.cost(first) == report.plans[0].usd
    assert outlook.cost(second).low < outlook.cost(first).high  # the costs overlap
    assert outlook.difference(second, first).low > 0  # and yet it is sure which is dearer


def test_no_plan_meets() -> None:
    report = quick(1000, Objectives(ttft_s=0.05, attainment=0.99), offers=(OFFERS[1], API))
    assert report.chosen is None
    assert "no plan meets" in report.verdict
    assert any("even without load" in note for note in report.notes)
    with pytest.raises(ValueError, match="nothing that can serve"):
        quick(1000, Objectives(ttft_s=0.05, attainment=0.99), offers=(OFFERS[1],))


@pytest.mark.parametrize(
    ("catalogue", "said"),
    [
        (replace(CATALOGUE, engines=(ENGINE, replace(ENGINE, model="n"))), "several models"),
        (replace(CATALOGUE, engines=(), offers=OFFERS[:3]), "neither an API nor GPUs"),
    ],
)
def test_catalogues_that_cannot_serve(catalogue: Catalogue, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        plan(load(1.0), catalogue, GOAL)


def test_break_even_by_hand() -> None:
    """An API at $0.50 and $1.00 a million against one reserved replica at $1.2 an hour, which is enough for far more."""
    some = load(1e-3)
    report = plan(some, Catalogue(engines=(ENGINE,), offers=(OFFERS[1], API)), GOAL)
    (found,) = report.break_even
    per_call = (1000 * 0.5 + 200 * 1.0) / 1e6
    # Looked at from a 64th to 64 times the load: 86.4 requests a day.
    assert found.low == pytest.approx(86.4 / 64)
    assert found.high == pytest.approx(86.4 * 64)
    assert found.requests_per_day == ()
    assert found.cheaper_below == found.cheaper_above == "API"
    report = plan(load(0.05), Catalogue(engines=(ENGINE,), offers=(OFFERS[1], API)), GOAL)
    (found,) = report.break_even
    assert found.requests_per_day[0] == pytest.approx(1.2 * 24 / per_call, rel=0.005)
    assert (found.cheaper_below, found.cheaper_above) == ("API", "reserved")


def test_break_even_of_lines_and_steps() -> None:
    def line(scale: float) -> float:
        return 10 * scale

    def steps(scale: float) -> float:
        return 25.0 * math.ceil(scale / 3)

    found = break_even(("line", line), ("steps", steps), requests_per_day=100.0)
    assert isinstance(found, BreakEven)
    # The line is at 25 at 2.5; a second step begins at 3 and is met at 5, a third at 6, met at 7.5, a fourth at 9.
    assert found.requests_per_day[0] == pytest.approx(250, rel=0.005)
    assert (found.cheaper_below, found.cheaper_above) == ("line", "steps")
    for load_found in found.requests_per_day:
        a, b = load_found / 100 * 0.99, load_found / 100 * 1.01
        assert (line(a) - steps(a) > 0) != (line(b) - steps(b) > 0)
    assert break_even(("a", line), ("b", lambda scale: math.nan), requests_per_day=1.0) is None


def test_owned_by_hand() -> None:
    # (240000 - 40000) / (4 x 12) = 4166.67, + 1000 + 500 = 5666.67 a month over 730.5 h; 10 kW x 1.5 x 0.2 = 3 an hour.
    hourly = owned_usd_per_hour(
        capex_usd=240_000, residual_usd=40_000, years=4, power_kw=10, pue=1.5, usd_per_kwh=0.2, staff_usd_per_month=1000,
        other_usd_per_month=500,
    )  # fmt: skip
    assert hourly == pytest.approx(5666.6667 / 730.5 + 3)
    with pytest.raises(ValueError, match="years"):
        owned_usd_per_hour(capex_usd=1, years=0)
