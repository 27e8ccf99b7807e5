"""Intervals against scipy, worked examples, and what must hold for any input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from monitor.stats import intervals as iv

LEVELS = st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99])
COUNTS = st.integers(0, 10**7)
PROBABILITIES = st.floats(0.001, 0.999)
VALUES = st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=1, max_size=60)


@st.composite
def shares(draw: st.DrawFn) -> tuple[int, int]:
    n = draw(st.integers(0, 10**7))
    return draw(st.integers(0, n)), n


@st.composite
def weighted_values(draw: st.DrawFn) -> tuple[list[float], list[float]]:
    values = draw(VALUES)
    weights = draw(st.lists(st.floats(1, 1000), min_size=len(values), max_size=len(values)))
    return values, weights


@pytest.mark.parametrize(("hits", "n"), [(0, 1), (1, 1), (0, 10), (3, 10), (10, 10), (499, 1000), (1, 10**6)])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_shares_as_scipy_has_them(hits: int, n: int, level: float) -> None:
    test = stats.binomtest(hits, n)
    assert iv.wilson(hits, n, level=level) == pytest.approx(test.proportion_ci(level, "wilson"), abs=1e-12)
    assert iv.clopper_pearson(hits, n, level=level) == pytest.approx(test.proportion_ci(level, "exact"), abs=1e-12)


def test_wilson_worked_by_hand() -> None:
    # 81 of 263 (Newcombe 1998, table I): 0.2553 to 0.3662.
    low, high = iv.wilson(81, 263)
    assert (round(low or 0, 4), round(high or 0, 4)) == (0.2553, 0.3662)


def test_garwood_table() -> None:
    # 95 % limits of a Poisson count as tabled for 0, 1, 5, 10 and 100 events.
    table = {0: (0.0, 3.689), 1: (0.0253, 5.572), 5: (1.623, 11.668), 10: (4.795, 18.390), 100: (81.364, 121.627)}
    for count, limits in table.items():
        assert iv.poisson(count) == pytest.approx(limits, abs=6e-4)


@given(count=COUNTS, level=LEVELS)
def test_poisson_inverts_the_poisson_tails(count: int, level: float) -> None:
    low, high = iv.poisson(count, level=level)
    assert low is not None
    assert high is not None
    assert low <= count <= high
    tail = (1 - level) / 2
    assert stats.poisson.cdf(count, high) == pytest.approx(tail, rel=1e-6)
    if count:
        assert stats.poisson.sf(count - 1, low) == pytest.approx(tail, rel=1e-6)


@given(share=shares(), level=LEVELS)
def test_shares_hold_their_point_and_stay_in_the_unit_interval(share: tuple[int, int], level: float) -> None:
    hits, n = share
    for interval in (iv.wilson(hits, n, level=level), iv.clopper_pearson(hits, n, level=level)):
        low, high = interval
        assert low is not None
        assert high is not None
        assert 0 <= low <= high <= 1
        if n:
            assert low <= hits / n <= high
        else:
            assert interval == (0, 1)


@given(share=shares(), factor=st.floats(1.01, 100), level=LEVELS)
def test_more_of_the_same_narrows_a_share(share: tuple[int, int], factor: float, level: float) -> None:
    hits, n = share
    if n:
        for method in (iv.wilson, iv.clopper_pearson):
            narrow, wide = method(hits * factor, n * factor, level=level), method(hits, n, level=level)
            assert _width(narrow) < _width(wide) + 1e-12


@given(n=st.floats(1e-9, 1e300), share=st.floats(0, 1))
def test_wilson_takes_any_effective_n(n: float, share: float) -> None:
    low, high = iv.wilson(min(n, n * share), n)
    assert low is not None
    assert high is not None
    assert 0 <= low <= high <= 1


@pytest.mark.parametrize(("hits", "n"), [(-1, 5), (6, 5), (math.nan, 5), (1, math.inf), (1, math.nan)])
def test_impossible_shares_are_refused(hits: float, n: float) -> None:
    for method in (iv.wilson, iv.clopper_pearson):
        with pytest.raises(ValueError, match="successes"):
            method(hits, n)


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0, 2.0, math.nan])
def test_impossible_levels_are_refused(level: float) -> None:
    for call in (
        lambda: iv.wilson(1, 2, level=level),
        lambda: iv.poisson(1, level=level),
        lambda: iv.quantile_ranks(10, 0.5, level=level),
        lambda: iv.mean_interval(0, 1, 5, level=level),
    ):
        with pytest.raises(ValueError, match="level"):
            call()


def test_weighted_poisson_is_garwood_for_sizes_of_one() -> None:
    assert iv.weighted_poisson(17, 17) == pytest.approx(iv.poisson(17))
    # Each event seen stands for four: as certain as 17 events, four times as many.
    assert iv.weighted_poisson(4 * 17, 16 * 17) == pytest.approx(np.array(iv.poisson(17), dtype=float) * 4)
    assert iv.weighted_poisson(0, 0) is None


@given(values=st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=50, unique=True), level=LEVELS)
def test_student_t_as_scipy_has_it(values: list[float], level: float) -> None:
    sample = np.array(values)
    expected = stats.t.interval(level, len(sample) - 1, loc=sample.mean(), scale=stats.sem(sample))
    if stats.sem(sample) > 1e-9:
        assert iv.student_t(values, level=level) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(weighted=weighted_values(), scale=st.floats(0.5, 50))
def test_weights_count_in_proportion(weighted: tuple[list[float], list[float]], scale: float) -> None:
    values, weights = weighted
    scaled = [weight * scale for weight in weights]
    plain, again = iv.student_t(values, weights), iv.student_t(values, scaled)
    assert (plain is None) == (again is None)
    if plain is not None:
        assert plain == pytest.approx(again, rel=1e-6, abs=1e-6)
    for p in (0.1, 0.5, 0.99):
        assert iv.weighted_quantile(values, weights, p) == pytest.approx(
            iv.weighted_quantile(values, scaled, p), rel=1e-6, abs=1e-6 * (max(values) - min(values)) + 1e-9
        )


def test_too_few_values_have_no_mean_interval() -> None:
    assert iv.student_t([]) is None
    assert iv.student_t([1.0]) is None
    assert iv.bootstrap_mean([1.0], seed=1) is None
    assert iv.mean_interval(1.0, math.nan, 10) is None
    # Two rows of which one stands for nearly everything are worth one.
    assert iv.student_t([1.0, 2.0], [1.0, 10_000.0]) is None
    assert math.isnan(iv.weighted_mean_standard_error(1.0, 0.0, 1))


def test_bootstrap_is_repeatable_and_near_student_t() -> None:
    values = np.random.default_rng(7).normal(10, 2, 400)
    first = iv.bootstrap_mean(values, seed=3)
    assert first == iv.bootstrap_mean(values, seed=3)
    assert first != iv.bootstrap_mean(values, seed=4)
    assert first == pytest.approx(iv.student_t(values), rel=0.01)
    weights = np.where(values > 10, 3.0, 1.0)
    weighted = iv.bootstrap_mean(values, weights, seed=3)
    assert weighted == pytest.approx(iv.student_t(values, weights), rel=0.01)


def test_bootstrap_of_many_values_runs_in_blocks() -> None:
    values = np.random.default_rng(1).exponential(size=200_000)
    low, high = iv.bootstrap_mean(values, seed=1, resamples=12) or (None, None)
    assert low is not None
    assert high is not None
    assert low < values.mean() < high


@given(n=st.integers(1, 10**9), p=PROBABILITIES, level=LEVELS)
def test_quantile_ranks_are_the_binomial_quantiles(n: int, p: float, level: float) -> None:
    tail = (1 - level) / 2
    ranks = iv.quantile_ranks(n, p, level=level)
    if ranks.low is not None:
        # As far up as the error allows: one rank higher would err more often.
        assert stats.binom.cdf(ranks.low - 1, n, p) <= tail + 1e-9 or ranks.low == stats.binom.ppf(tail, n, p)
        assert stats.binom.cdf(ranks.low, n, p) >= tail - 1e-9
    else:
        assert stats.binom.cdf(0, n, p) >= tail - 1e-9
    if ranks.high is not None:
        assert stats.binom.cdf(ranks.high - 1, n, p) >= 1 - tail - 1e-9
    else:
        assert stats.binom.cdf(n - 1, n, p) <= 1 - tail + 1e-9
    if ranks.low is not None and ranks.high is not None:
        assert ranks.low < ranks.high
        coverage = stats.binom.cdf(ranks.high - 1, n, p) - stats.binom.cdf(ranks.low - 1, n, p)
        assert coverage >= level - 1e-9


def test_quantile_ranks_worked_by_hand() -> None:
    # The median of six values: both extremes, since 1 - 2 / 2**6 = 0.969 and the next pair gives 0.781.
    assert iv.quantile_ranks(6, 0.5) == (1, 6)
    assert iv.quantile_ranks(5, 0.5) == (None, None)
    assert iv.quantile_ranks(0, 0.5) == (None, None)
    # 0.99**367 = 0.02501 is a little too often, 0.99**368 = 0.02476 is not.
    assert iv.quantile_ranks(367, 0.99).high is None
    assert iv.quantile_ranks(368, 0.99).high == 368


@pytest.mark.parametrize("p", [0.01, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999])
def test_least_n_for_both_ends(p: float) -> None:
    least = iv.quantile_n_min(p)
    assert None not in iv.quantile_ranks(least, p)
    assert None in iv.quantile_ranks(least - 1, p)


@pytest.mark.parametrize("p", [0.0, 1.0, -0.1, math.nan])
def test_quantile_probabilities_are_checked(p: float) -> None:
    with pytest.raises(ValueError, match="p must"):
        iv.quantile_ranks(10, p)
    with pytest.raises(ValueError, match="p must"):
        iv.quantile_n_min(p)
    with pytest.raises(ValueError, match="n must"):
        iv.quantile_ranks(-1, 0.5)


@given(values=VALUES, p=PROBABILITIES)
def test_equal_weights_give_the_usual_quantile(values: list[float], p: float) -> None:
    expected = float(np.quantile(values, p))
    for weight in (1.0, 3.7):
        found = iv.weighted_quantile(values, [weight] * len(values), p)
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-7)


@given(rows=st.lists(st.tuples(st.floats(-1e3, 1e3), st.integers(1, 9)), min_size=1, max_size=30), p=st.floats(0, 1))
def test_whole_weights_repeat_rows(rows: list[tuple[float, int]], p: float) -> None:
    rows = [*rows, (0.5, 1)]
    values, weights = [value for value, _ in rows], [weight for _, weight in rows]
    expected = float(np.quantile(np.repeat(values, weights), p))
    assert iv.weighted_quantile(values, [float(weight) for weight in weights], p) == pytest.approx(expected, abs=1e-7)


@given(weighted=weighted_values(), p=PROBABILITIES)
@settings(max_examples=200)
def test_weighted_quantile_and_its_interval_are_ordered(weighted: tuple[list[float], list[float]], p: float) -> None:
    values, weights = weighted
    point = iv.weighted_quantile(values, weights, p)
    assert min(values) <= point <= max(values)
    for end in iv.weighted_quantile_interval(values, weights, p):
        assert end is None or min(values) <= end <= max(values)
    low, high = iv.weighted_quantile_interval(values, weights, p)
    assert low is None or high is None or low <= high


def test_woodruff_with_equal_weights_is_near_the_exact_ranks() -> None:
    values = np.sort(np.random.default_rng(5).normal(size=2000))
    for p in (0.5, 0.9, 0.95, 0.99):
        exact, normal = iv.quantile_interval(values, p), iv.weighted_quantile_interval(values, np.full(2000, 2.5), p)
        for one, other in zip(exact, normal, strict=True):
            assert one is not None
            assert other is not None
            assert abs(np.searchsorted(values, one) - np.searchsorted(values, other)) <= 3


def test_quantile_interval_picks_the_ranks_whatever_the_order() -> None:
    values = np.random.default_rng(2).permutation(np.arange(1.0, 101.0))
    assert iv.quantile_interval(values, 0.5) == (40, 61)
    assert iv.quantile_interval(values, 0.99) == (97, None)
    assert iv.quantile_interval([], 0.5) == (None, None)


def test_effective_numbers() -> None:
    assert iv.kish_effective_n(10, 10) == 10
    assert iv.kish_effective_n(40, 160) == 10
    assert iv.kish_effective_n(0, 0) == 0
    assert iv.share_effective_n(0, 0, 0, 0) == 0
    # Unsampled: the number of rows, whatever the share.
    assert iv.share_effective_n(100, 100, 30, 30) == pytest.approx(100)
    assert iv.share_effective_n(400, 1600, 120, 480) == pytest.approx(100)
    # All 100 errors kept, 990 others each for 10: by hand 0.01 · 0.99 / ((100 · 0.99² + 99 000 · 0.01²) / 10 000²).
    found = iv.share_effective_n(10_000, 100 + 99_000, 100, 100)
    assert found == pytest.approx(0.0099 * 1e8 / (100 * 0.9801 + 99_000 * 0.0001))
    # No error seen, or nothing but errors: Kish's number.
    assert iv.share_effective_n(10, 20, 0, 0) == pytest.approx(5)
    assert iv.share_effective_n(10, 20, 10, 20) == pytest.approx(5)


@given(
    weights=st.lists(st.floats(1, 1e4), min_size=1, max_size=40),
    hits=st.lists(st.booleans(), min_size=40, max_size=40),
)
def test_effective_numbers_lie_between_one_and_the_population(weights: list[float], hits: list[bool]) -> None:
    w = np.array(weights)
    hit = np.array(hits[: len(w)])
    kish = iv.kish_effective_n(w.sum(), (w**2).sum())
    assert 1 - 1e-9 <= kish <= len(w) + 1e-6
    share_n = iv.share_effective_n(w.sum(), (w**2).sum(), w[hit].sum(), (w[hit] ** 2).sum())
    assert 0 < share_n <= w.sum() * (1 + 1e-6)


def test_horvitz_thompson_worked_by_hand() -> None:
    # Three rows kept with probabilities 1, 1/2 and 1/4: 0 + 2·1·3² + 4·3·5².
    assert iv.horvitz_thompson_variance([7, 3, 5], [1, 2, 4]) == 0 + 18 + 300
    assert iv.horvitz_thompson_variance([7, 3, 5], [1, 1, 1]) == 0
    low, high = iv.total_interval(33, 318, at_least=15)
    assert (low, high) == pytest.approx((15, 33 + 1.959964 * 318**0.5))
    assert iv.total_interval(33, 0) == (33, 33)


@pytest.mark.parametrize(
    ("values", "weights"),
    [([1.0, math.nan], [1.0, 1.0]), ([1.0], [0.0]), ([1.0], [-1.0]), ([1.0], [math.inf]), ([1.0, 2.0], [1.0])],
)
def test_unusable_rows_are_refused(values: list[float], weights: list[float]) -> None:
    with pytest.raises(ValueError, match="values"):
        iv.student_t(values, weights)


def test_weighted_quantile_needs_a_value() -> None:
    with pytest.raises(ValueError, match="weighted quantile"):
        iv.weighted_quantile([], [], 0.5)


def _width(interval: iv.Interval) -> float:
    assert interval.low is not None
    assert interval.high is not None
    return interval.high - interval.low
