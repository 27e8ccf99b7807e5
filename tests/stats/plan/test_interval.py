"""How often a coming month's cost lies in its interval."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from monitor.stats.plan import Load, Recipe, Search, measured_load, month_half_width, month_spread
from monitor.stats.plan.load import day_shape
from tests.stats.plan.cases import ENGINE, GOAL, load, offer


def many_days(days: int, spread: float, seed: int) -> Load:
    """Days of the same shape and of a level that differs from day to day, with Poisson counts."""
    rng = np.random.default_rng(seed)
    level = np.exp(spread * rng.standard_normal(days) - spread**2 / 2)
    expected = level[:, None] * day_shape(24, 2.5)[None] * 250_000
    counts = rng.poisson(expected).ravel().astype(float)
    return measured_load(
        step_s=3600.0,
        calls=counts,
        input_tokens=counts * 1000,
        output_tokens=counts * 200,
        prompt_nodes=[500, 1000, 1500],
    )


@pytest.mark.parametrize("top", ["on_demand", "per_token"])
@pytest.mark.parametrize(("seen", "spread"), [(7, 0.15), (14, 0.3)])
def test_coverage(top: str, seen: int, spread: float) -> None:
    """A fleet is fixed, its addition follows the need: costs of many days, of which a plan sees a few."""
    pool = many_days(4000, spread, seed=seen)
    deal = (
        offer("per_token", model="m", usd_per_million_input=1, usd_per_million_output=2, ttft_p50_s=0.2, ttft_p95_s=0.5)
        if top == "per_token"
        else offer("on_demand", usd_per_hour=3.0, start_s=300.0)
    )
    recipe = Recipe(engine=ENGINE, base=(offer("reserved", usd_per_hour=2.0),), top=deal)
    daily = Search(pool, GOAL).fleet(recipe, (2,)).usd.reshape(-1, 24)
    rng, hits, months = np.random.default_rng(1), 0, 2000
    for _ in range(months):
        days = rng.choice(len(daily), seen + 30, replace=False)
        mine = daily[days[:seen]]
        plan_load = load(*np.ones(24 * seen), block=np.repeat(np.arange(seen), 24))
        value = mine.sum() / seen * (365.25 / 12)
        half = month_half_width(mine.ravel(), plan_load)
        truth = daily[days[seen:]].sum() / 30 * (365.25 / 12)
        hits += abs(truth - value) <= half
    assert 0.935 <= hits / months <= 0.965 + 0.01 * (spread > 0.2)


def test_interval_by_hand() -> None:
    # Days of 10, 12 and 17 dollars: mean 13, s^2 = 13; t(2) = 4.3027; M = 30.4375.
    usd = np.array([10.0, 12.0, 17.0])
    some = load(1.0, 1.0, 1.0, slot_s=86_400.0, block=np.arange(3))
    expected = 4.302653 * np.sqrt(13) * np.sqrt(30.4375 + 30.4375**2 / 3)
    assert month_half_width(usd, some) == pytest.approx(expected, rel=1e-6)


def test_a_stated_usage_has_chance_by_use_and_its_level() -> None:
    some = load(1.0, 2.0)
    assert month_half_width(np.array([5.0, 5.0]), some) == 0.0
    calls = 1.5 * 365.25 / 12 * 86_400
    squares = 1 + some.prompt_nodes.var() / some.prompt_nodes.mean() ** 2
    by_use = month_half_width(np.array([5.0, 5.0]), some, by_use_usd=1e4)
    assert by_use == pytest.approx(1.959964 * 1e4 * np.sqrt(squares / calls), rel=1e-6)
    assert month_spread(100.0, 3.0, 96.0, 104.0) == pytest.approx((100.0, 95.0, 105.0))
    assert month_spread(100.0, 300.0, 96.0, 104.0).low == 0.0


def test_more_days_make_it_shorter() -> None:
    pool = many_days(56, 0.2, seed=2)
    deal = offer("per_token", model="m", usd_per_million_input=1.0)
    usd = Search(pool, GOAL).fleet(Recipe(engine=None, top=deal), ()).usd
    half = [
        month_half_width(
            usd[: 24 * days],
            replace(
                pool, calls_rps=pool.calls_rps[: 24 * days], input_tps=pool.input_tps[: 24 * days],
                output_tps=pool.output_tps[: 24 * days], block=pool.block[: 24 * days],
            ),
        )
        for days in (3, 7, 56)
    ]  # fmt: skip
    assert half[0] > half[1] > half[2]
