"""How often a coming month's cost lies in its interval."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from monitor.stats.plan import Load, Recipe, Search, levels, measured_load, spread
from monitor.stats.plan.interval import typical
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


@pytest.mark.parametrize(("top", "seen", "spread_of_days"), [("on_demand", 7, 0.15), ("per_token", 14, 0.3)])
def test_coverage(top: str, seen: int, spread_of_days: float) -> None:
    """A fleet is fixed, its addition follows the need: costs of many days, of which a plan sees a few."""
    pool = many_days(4000, spread_of_days, seed=seen)
    api = offer(
        "per_token", model="m", usd_per_million_input=1, usd_per_million_output=2, ttft_p50_s=0.2, ttft_p95_s=0.5
    )
    deal = api if top == "per_token" else offer("on_demand", usd_per_hour=3.0, start_s=300.0)
    recipe = Recipe(engine=ENGINE, base=(offer("reserved", usd_per_hour=2.0),), top=deal)
    daily = Search(pool, GOAL).fleet(recipe, (2,)).usd.reshape(-1, 24).sum(axis=1)
    calls = pool.calls_rps.reshape(-1, 24)
    per_day = pool.calls_rps.mean()
    at = np.linspace(0.2, 4.0, 60)
    day = replace(load(*(day_shape(24, 2.5) * 24 * per_day)), prompt_nodes=pool.prompt_nodes)
    priced = np.array([Search(day.scaled(level), GOAL).fleet(recipe, (2,)).usd.sum() for level in at])
    rng, hits, months = np.random.default_rng(seen), 0, 2000
    for i in range(months):
        days = rng.choice(len(daily), seen + 30, replace=False)
        mine = load(*calls[days[:seen]].ravel(), block=np.repeat(np.arange(seen), 24))
        mean = mine.calls_rps.mean() / per_day
        drawn = levels(mine, seed=i)
        costs = drawn.month_costs(lambda level, mean=mean: np.interp(level * mean, at, priced), daily[days[:seen]])
        _, low, high = spread(float(daily[days[:seen]].mean()) * drawn.month_blocks, costs)
        hits += low <= daily[days[seen:]].mean() * drawn.month_blocks <= high
    # Between 93.5 and 96.5 %, within two standard errors of the simulation; 3,000 months gave 93.5 and 95.1 %.
    assert 0.925 <= hits / months <= 0.975


def test_where_cost_is_a_straight_line_it_is_the_prediction_interval_of_a_mean() -> None:
    """An API alone: Student's t for the mean of M further days (Hahn and Meeker 1991), for days that differ little."""
    rng, count = np.random.default_rng(3), 10
    rates = 1 + 0.05 * rng.standard_normal(count)
    some = load(*rates, slot_s=86_400.0, block=np.arange(count))
    drawn = levels(some, draws=40_000)
    got = spread(0.0, drawn.month_costs(lambda level: level * rates.mean(), rates) / drawn.month_blocks - rates.mean())
    half = stats.t.ppf(0.975, count - 1) * rates.std(ddof=1) * np.sqrt(1 / count + 1 / round(drawn.month_blocks))
    # The logarithm makes it a little longer above than below.
    assert got.high - got.low == pytest.approx(2 * half, rel=0.03)
    assert got.low == pytest.approx(-half, rel=0.1)


def test_a_stated_usage_has_the_error_of_its_level() -> None:
    some = load(1.0, 2.0, level_error=0.2)
    drawn = levels(some, draws=40_000)
    got = spread(10.0, drawn.month_costs(lambda level: level * 10.0, np.array([10.0])) / drawn.month_blocks)
    assert got == pytest.approx((10.0, 8.0, 12.0), rel=0.01)
    sure = levels(load(1.0, 2.0))
    assert sure.busy == 1.0
    assert spread(3.0, sure.month_costs(lambda level: level * 3.0, np.array([3.0])) / sure.month_blocks) == (
        3.0,
        3.0,
        3.0,
    )


def test_days_without_a_call_and_many_short_blocks() -> None:
    empty = levels(load(0.0, 1.0, 2.0, slot_s=86_400.0, block=np.arange(3)))
    assert np.isfinite(empty.drawn).all()
    assert (empty.nodes > 0).all()
    short = levels(load(*np.random.default_rng(0).uniform(1, 2, 12), slot_s=300.0, block=np.arange(12)))
    assert short.drawn.shape[1] == 64
    assert short.month_blocks == pytest.approx(365.25 / 12 * 288)


def test_typical_days_have_one_level_and_keep_their_shapes() -> None:
    some = load(1.0, 3.0, 4.0, 4.0, block=np.array([0, 0, 1, 1]))
    assert typical(some).calls_rps[:, 0] == pytest.approx([1.5, 4.5, 3.0, 3.0])
