"""Additions to a base, each against another way of computing it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from monitor.stats.plan import Objectives, Unit, attainment, situation, unit_of
from monitor.stats.plan.situation import api_attainment
from monitor.stats.plan.tops import held, on_demand, per_token, serverless, spot
from tests.stats.plan.cases import ENGINE, GOAL, load, offer


def share(rate: float, count: int, goal: Objectives = GOAL, delay_s: float = 0.0) -> float:
    one = load(1.0)
    return float(
        attainment(
            rate,
            count,
            engine=ENGINE,
            prompt_nodes=one.prompt_nodes,
            output_tokens=200,
            objectives=goal,
            delay_s=delay_s,
        )
    )


def cost_of(running: tuple[int, ...], slot_s: float, start_s: float) -> float:
    starts = sum(max(0, running[i] - running[i - 1]) for i in range(len(running)))
    return sum(running) * slot_s + starts * start_s


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=6), st.sampled_from([0.0, 1.0, 1.5, 2.0, 3.2, 9.0]))
def test_held_is_the_cheapest_schedule(need: list[int], start_s: float) -> None:
    running = held(np.array(need), slot_s=1.0, start_s=start_s)
    assert (running >= need).all()
    choices = itertools.product(*(range(least, max(need) + 1) for least in need))
    assert cost_of(tuple(running.tolist()), 1.0, start_s) == pytest.approx(
        min(cost_of(c, 1.0, start_s) for c in choices)
    )


def test_on_demand_has_the_fewest_replicas_that_do() -> None:
    case = situation(load(8.0, 1.0, 4.0), ENGINE, GOAL)
    unit = unit_of(offer("on_demand", usd_per_hour=2.0, start_s=360.0), ENGINE)
    top = on_demand(case, 0, unit)
    for rate, count, in_time in zip((8.0, 1.0, 4.0), top.units.tolist(), top.in_time.tolist(), strict=True):
        assert share(rate, count) == pytest.approx(in_time)
        assert in_time >= 0.95
        assert share(rate, count - 1) < 0.95
    hours = top.units + np.maximum(top.units - np.roll(top.units, 1), 0) * 0.1
    assert top.usd == pytest.approx(2.0 * hours)


@pytest.mark.parametrize("base", [0, 1])
def test_spot_over_all_cases_of_who_is_there(base: int) -> None:
    deal = offer("spot", usd_per_hour=1.0, start_s=600.0, interruptions_per_hour=0.5, notice_s=2.0)
    case = situation(load(4.0), ENGINE, GOAL)
    top = spot(case, base, unit_of(deal, ENGINE))
    there = 1 / (1 + 0.5 * 600 / 3600)
    stay_s = 0.03 + 1000 / 8000 + 200 * 0.02
    kept = 1 - 0.5 / 3600 * (stay_s - 2.0)

    def expected(count: int) -> float:
        total = 0.0
        for alive in itertools.product((True, False), repeat=count):
            chance = math.prod(there if each else 1 - there for each in alive)
            total += chance * share(4.0, base + sum(alive))
        return total * (kept if count else 1.0)

    count = int(top.units[0])
    assert float(top.in_time[0]) == pytest.approx(expected(count))
    assert expected(count) >= 0.95
    assert expected(count - 1) < 0.95
    assert base + count > int(on_demand(case, base, unit_of(deal, ENGINE)).units[0]) + base


def test_serverless_cold_starts_as_simulated() -> None:
    """One replica, seldom asked: share of cold requests and paid seconds from a simulated life of it."""
    rate, start_s, idle_s = 0.004, 20.0, 120.0
    deal = offer("serverless", usd_per_hour=3600.0, start_s=start_s, idle_s=idle_s)
    goal = Objectives(ttft_s=1.0, attainment=0.3)
    top = serverless(situation(load(rate), ENGINE, goal), 0, unit_of(deal, ENGINE))
    assert top.units.tolist() == [1]
    rng, n = np.random.default_rng(7), 200_000
    arrivals = np.cumsum(rng.exponential(1 / rate, n))
    warm_until = arrivals + 0.155 + 200 * 0.02 + idle_s
    # The stay is constant, so the last arrival keeps it warm longest.
    cold = np.concatenate([[True], arrivals[1:] > warm_until[:-1]])
    warm_s = np.minimum(np.diff(arrivals), 0.155 + 4.0 + idle_s).sum() + cold.sum() * start_s
    assert float(top.in_time[0]) == pytest.approx((1 - cold.mean()) * share(rate, 1), abs=0.005)
    assert float(top.usd[0]) == pytest.approx(warm_s / arrivals[-1] * 3600, rel=0.01)


def test_serverless_is_paid_in_full_when_it_never_sleeps() -> None:
    deal = offer("serverless", usd_per_hour=2.0, start_s=5.0, idle_s=60.0)
    case = situation(load(6.0), ENGINE, GOAL)
    top = serverless(case, 0, unit_of(deal, ENGINE))
    assert float(top.usd[0]) == pytest.approx(2.0 * int(top.units[0]))
    assert top.units.tolist() == [case.enough]


def test_api_share_is_the_least_that_does() -> None:
    deal = offer(
        "per_token", model="m", usd_per_million_input=1.0, usd_per_million_output=3.0, ttft_p50_s=0.3, ttft_p95_s=0.8
    )
    rate = 8.0
    case = situation(load(rate, 0.5), ENGINE, GOAL)
    top = per_token(case, 1, deal)
    of_api = api_attainment(0.3, 0.8, 0.0, GOAL)

    def mixed(percent: int) -> float:
        # Rates are rounded up to a 256th of the highest.
        left = math.ceil(256 * (1 - percent / 100) - 1e-9) / 256 * rate
        return (1 - percent / 100) * share(left, 1) + percent / 100 * of_api

    best = next(percent for percent in range(101) if mixed(percent) >= 0.95)
    assert 0 < best < 100
    assert top.api_share.tolist() == pytest.approx([best / 100, 0.0])
    assert float(top.in_time[0]) == pytest.approx(mixed(best))
    assert top.usd == pytest.approx([best / 100 * rate * 3600 * (1000 * 1.0 + 200 * 3.0) / 1e6, 0.0])


def test_api_attainment_is_log_normal() -> None:
    sigma = math.log(1.4 / 0.5) / stats.norm.ppf(0.95)
    for t in (0.3, 0.5, 1.4, 3.0):
        assert api_attainment(0.5, 1.4, 0.0, Objectives(ttft_s=t)) == pytest.approx(
            stats.lognorm(sigma, scale=0.5).cdf(t)
        )
    assert api_attainment(0.5, 0.5, 0.0, Objectives(ttft_s=0.5)) == 1.0
    assert api_attainment(0.5, 0.5, 0.0, Objectives(ttft_s=0.4)) == 0.0
    assert api_attainment(0.1, 0.2, 0.05, Objectives(tpot_s=0.04)) == 0.0


@pytest.mark.parametrize(
    ("gpus", "needed", "unit"),
    [(1, 4, (1, 4)), (8, 4, (2, 1)), (8, 3, (2, 1)), (8, 8, (1, 1)), (8, 16, (1, 2)), (8, 12, (1, 2))],
)
def test_units_are_whole_instances(gpus: int, needed: int, unit: tuple[int, int]) -> None:
    from dataclasses import replace

    deal = offer("reserved", gpus=gpus)
    assert unit_of(deal, replace(ENGINE, gpus=needed)) == Unit(offer=deal, replicas=unit[0], instances=unit[1])


def test_longer_prompts_count_as_more_calls() -> None:
    even = load(4.0, 4.0)
    from dataclasses import replace

    long = replace(even, input_tps=even.input_tps * np.array([[0.5], [1.5]]))
    case = situation(long, ENGINE, GOAL)
    rates = case.grid_rps[case.level[:, 0]]
    work = [0.03 + tokens / 8000 + 200 / 1600 for tokens in (500, 1500)]
    assert rates == pytest.approx([4.0 * w / (0.03 + 1000 / 8000 + 200 / 1600) for w in work], rel=0.005)
