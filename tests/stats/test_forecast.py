"""Month-end forecasts: hand-worked cases, and intervals that cover as often as they say where their assumptions hold."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from monitor.stats.forecast import month_end

HOURS = np.arange(168)
PROFILE = 5 + 3 * np.sin(2 * np.pi * HOURS / 24) - 2.5 * (HOURS >= 120)


def test_seasonal_repeats_each_hour_of_the_week() -> None:
    found = month_end(50.0, np.tile(PROFILE, 4), 30)
    assert found.method == "seasonal"
    assert found.value == pytest.approx(50 + PROFILE[:30].sum())
    assert found.low == pytest.approx(found.value)
    assert found.n == 4 * 168


def test_daily_rate_by_hand() -> None:
    days = np.array([10.0, 14.0, 12.0, 16.0])
    found = month_end(7.0, np.repeat(days / 24, 24), 48)
    assert found.method == "daily-rate"
    assert found.value == pytest.approx(7 + 2 * 13)
    reach = stats.t.ppf(0.975, 3) * np.sqrt(days.var(ddof=1) * (2 + 4 / 4))
    assert (found.low, found.high) == (pytest.approx(max(7, 33 - reach)), pytest.approx(33 + reach))


def test_few_hours_are_said() -> None:
    assert month_end(1.0, np.ones(5), 10).value is None
    found = month_end(1.0, np.ones(6), 10)
    assert (found.value, found.method) == (11.0, "hourly-rate")
    assert "6 hours" in found.note
    assert month_end(42.0, np.ones(5), 0).value == 42.0
    with pytest.raises(ValueError, match="finite"):
        month_end(1.0, np.array([np.nan]), 10)


def test_scale_and_lower_bound() -> None:
    g = np.random.default_rng(1)
    history = g.gamma(0.3, 5, 24 * 4)
    one, thousand = month_end(10, history, 400), month_end(10_000, history * 1000, 400)
    assert thousand.value == pytest.approx(1000 * one.value)
    assert thousand.high == pytest.approx(1000 * one.high)
    assert one.low >= 10


def seasonal_days(g: np.random.Generator, weeks: int) -> np.ndarray:
    """Each day has a shock of its own that lasts all day, and each hour one more."""
    days = g.normal(0, 0.4, (weeks * 7, 1)).repeat(24, axis=1).reshape(-1)
    return np.tile(PROFILE, weeks) + days + g.normal(0, 0.5, weeks * 168)


def skewed_hours(g: np.random.Generator, weeks: int) -> np.ndarray:
    return np.tile(PROFILE, weeks) * 0 + g.gamma(2, 2.5, weeks * 168)


@pytest.mark.parametrize(
    ("draw", "known", "left"),
    [
        (seasonal_days, 4 * 168, 400),
        (seasonal_days, 8 * 168, 100),
        (seasonal_days, 3 * 168, 24),
        (skewed_hours, 5 * 24, 500),
        (skewed_hours, 12 * 24, 60),
        (skewed_hours, 48, 200),
    ],
    ids=["4 weeks", "8 weeks", "3 weeks", "5 days", "12 days", "48 hours"],
)
def test_intervals_cover(draw, known: int, left: int) -> None:  # type: ignore[no-untyped-def]
    g = np.random.default_rng(20260301)
    runs, covered = 4000, 0
    for _ in range(runs):
        costs = draw(g, (known + left) // 168 + 1)
        truth = costs[known : known + left].sum()
        found = month_end(0.0, costs[:known], left)
        covered += found.low <= truth <= found.high
    assert 0.935 <= covered / runs <= 0.965
