"""Always-valid intervals: false alarms under continuous looking, simulated; the formula against its integral."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats

from monitor.stats.anytime import always_p, always_valid
from monitor.stats.compare import Arm, ShareSums, compare_arms


def test_the_ratio_is_the_integral_that_it_stands_for() -> None:
    value, variance, scale = 0.7, 0.04, 0.5

    def ratio(effect: float) -> float:
        one = stats.norm.pdf(value, effect, math.sqrt(variance)) / stats.norm.pdf(value, 0, math.sqrt(variance))
        return float(one * stats.norm.pdf(effect, 0, scale))

    mixed, _ = integrate.quad(ratio, -5, 5)
    assert always_p(value, variance, scale=scale) == pytest.approx(1 / mixed, rel=1e-6)
    low, high = always_valid(value, variance, scale=scale)
    assert low is not None
    assert high is not None
    # At its ends the mixture is just 1/alpha.
    assert always_p(value - low, variance, scale=scale) == pytest.approx(0.05, rel=1e-9)
    assert (high - value) == pytest.approx(value - low)


@pytest.mark.parametrize("scale", [0.02, 0.1])
def test_looking_all_the_time_errs_no_more_than_the_level(scale: float) -> None:
    """2,000 comparisons of equal shares, looked at after each 50 calls of 10,000; arms fill at different rates."""
    g = np.random.default_rng(11)
    runs, looks, step = 2000, 200, 50
    sides = [(g.binomial(n, 0.7, (runs, looks)).cumsum(axis=1), np.arange(1, looks + 1) * n) for n in (step, step // 2)]
    (hits_a, n_a), (hits_b, n_b) = sides
    share_a, share_b = hits_a / n_a, hits_b / n_b
    variance = share_a * (1 - share_a) / n_a + share_b * (1 - share_b) / n_b
    difference = share_b - share_a
    half = np.sqrt(
        variance * (variance + scale**2) / scale**2 * (np.log((variance + scale**2) / variance) + 2 * math.log(20))
    )
    begun = np.arange(looks) >= 1  # the normal approximation needs some calls
    errs = ((np.abs(difference) > half) & begun).any(axis=1).mean()
    once = ((np.abs(difference) > 1.96 * np.sqrt(variance)) & begun).any(axis=1).mean()
    assert errs <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)
    assert once > 0.3, "the premise: intervals for one look do err, when looked at again and again"
    # The function says what the arrays say.
    low, high = always_valid(difference[0, 20], variance[0, 20], scale=scale)
    assert low == pytest.approx(difference[0, 20] - half[0, 20])
    assert high == pytest.approx(difference[0, 20] + half[0, 20])


def test_a_comparison_tells_both() -> None:
    def arm(name: str, n: int, hits: int) -> Arm:
        return Arm(name=name, quality=ShareSums(n=n, w=n, ww=n, hits=hits, hits_ww=hits))

    found = compare_arms(arm("a", 4000, 3200), arm("b", 4000, 3200))
    assert found.quality == "non-inferior"
    assert found.always.quality == "inconclusive", "looking often costs labels"
    once, always = found.quality_difference, found.always.quality_difference
    assert always.low is not None
    assert once.low is not None
    assert always.low < once.low
    assert compare_arms(arm("a", 40000, 32000), arm("b", 40000, 32000)).always.quality == "non-inferior"
    assert compare_arms(arm("a", 4, 3), arm("b", 4, 3)).always.quality == "insufficient"
