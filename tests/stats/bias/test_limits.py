"""Intervals and tests of bias against scipy, the scalar functions, and worked examples in print."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from monitor.stats import intervals as iv
from monitor.stats.bias import Sums, compare, limits


def one(*values: float) -> list[np.ndarray]:
    return [np.array([float(value)]) for value in values]


@pytest.mark.parametrize("level", [0.8, 0.95, 0.9999])
def test_limits_of_many_are_those_of_each(level: float) -> None:
    g = np.random.default_rng(1)
    n = np.array([0, 1, 1, 5, 5, 30, 1000, 10**7, 12.5])
    p = np.array([0.0, 0.0, 1.0, 0.0, 1.0, 0.4, 0.01, 0.3, 0.2])
    for many, each in ((limits.wilson, iv.wilson), (limits.clopper_pearson, iv.clopper_pearson)):
        found = many(p, n, level)
        wanted = [each(share * rows, rows, level=level) for share, rows in zip(p, n, strict=True)]
        assert np.column_stack(found) == pytest.approx(np.array(wanted, dtype=float), abs=1e-9)
    x, codes = g.normal(3, 2, 60), np.repeat([0, 1, 2], 20)
    w = g.choice([1.0, 4.0], 60)
    low, high = limits.student(Sums.of_rows(codes, 3, x, w), level)
    for i in range(3):
        wanted = iv.student_t(x[codes == i], w[codes == i], level=level)
        assert wanted is not None
        assert (low[i], high[i]) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize(
    ("a", "m", "b", "n", "low", "high"),
    # R. G. Newcombe (1998), Statistics in Medicine 17, table II, method 10.
    [(56, 70, 48, 80, 0.0524, 0.3339), (9, 10, 3, 10, 0.1705, 0.8090), (10, 10, 0, 10, 0.6075, 1.0)],
)
def test_newcombe_as_printed(a: int, m: int, b: int, n: int, low: float, high: float) -> None:
    p, rows, q, others = one(a / m, m, b / n, n)
    found = limits.mover_difference(p, limits.wilson(p, rows, 0.95), q, limits.wilson(q, others, 0.95))
    assert (found.low[0], found.high[0]) == pytest.approx((low, high), abs=5e-5)


def test_koopman_as_printed_and_as_defined() -> None:
    """36 of 40 against 16 of 80: 2.94 to 7.15 (Koopman 1984). At its ends the score test has p = 0.05."""
    low, high = limits.koopman(*one(36 / 40, 40, 16 / 80, 80), 0.95)
    assert (low[0], high[0]) == pytest.approx((2.94, 7.15), abs=0.006)
    for ratio in (low[0], high[0]):
        # The constrained maximum of the likelihood by search, instead of in closed form.
        q = np.linspace(1e-6, min(1, 1 / ratio) - 1e-6, 2_000_001)
        likelihood = 36 * np.log(ratio * q) + 4 * np.log1p(-ratio * q) + 16 * np.log(q) + 64 * np.log1p(-q)
        p0 = q[np.argmax(likelihood)]
        variance = ratio * p0 * (1 - ratio * p0) / 40 + ratio**2 * p0 * (1 - p0) / 80
        assert (36 / 40 - ratio * 16 / 80) ** 2 / variance == pytest.approx(stats.chi2.ppf(0.95, 1), rel=1e-3)


def test_koopman_and_donner_zou_meet_the_logarithmic_interval_of_large_samples() -> None:
    a, m, b, n = 30_000, 100_000, 52_000, 130_000
    wanted = stats.contingency.relative_risk(a, m, b, n).confidence_interval(0.95)
    p, rows, q, others = one(a / m, m, b / n, n)
    koopman = limits.koopman(p, rows, q, others, 0.95)
    mover = limits.mover_ratio(p, limits.wilson(p, rows, 0.95), q, limits.wilson(q, others, 0.95))
    for low, high in (koopman, mover):
        assert (low[0], high[0]) == pytest.approx((wanted.low, wanted.high), rel=1e-4)


def test_ratios_at_the_edge() -> None:
    p, n = np.array([0.0, 0.5, 0.0, 1.0]), np.full(4, 20.0)
    q = np.array([0.5, 0.0, 0.0, 1.0])
    low, high = limits.koopman(p, n, q, n, 0.95)
    assert low[0] == 0
    assert 0 < high[0] < 1
    assert low[1] > 1
    assert high[1] == np.inf
    assert (low[2], high[2]) == (0, np.inf)
    assert low[3] < 1 < high[3]
    mover = limits.mover_ratio(p, limits.wilson(p, n, 0.95), q, limits.wilson(q, n, 0.95))
    assert mover.low[0] == 0
    assert 0 < mover.high[0] < 1
    assert mover.high[1] == np.inf


def test_fieller_is_donner_and_zou_with_symmetric_limits() -> None:
    """Hand-worked: 4 ± 1 over 2 ± 0.5 solves (4 - 2 r)² = 1 + 0.25 r²."""
    four, two = one(4.0), one(2.0)
    found = limits.mover_ratio(four[0], limits.Limits(*one(3, 5)), two[0], limits.Limits(*one(1.5, 2.5)))
    roots = np.sort(np.roots([4 - 0.25, -16, 16 - 1]))
    assert (found.low[0], found.high[0]) == pytest.approx(tuple(roots))


def test_welch_is_scipys() -> None:
    g = np.random.default_rng(3)
    x, y = g.normal(1, 1, 12), g.normal(2, 4, 40)
    both = Sums.of_rows(np.repeat([0, 1], [12, 40]), 2, np.concatenate([x, y]))
    a, b = both.take(np.array([0])), both.take(np.array([1]))
    wanted = stats.ttest_ind(x, y, equal_var=False)
    interval = wanted.confidence_interval(0.9)
    found = limits.welch(a, b, 0.9)
    assert (found.low[0], found.high[0]) == pytest.approx((interval.low, interval.high))
    assert compare.welch_test(a, b)[0] == pytest.approx(wanted.pvalue)


@pytest.mark.parametrize(("a", "m", "b", "n"), [(30, 100, 45, 110), (2, 12, 300, 5000), (0, 8, 3, 9), (0, 50, 0, 70)])
def test_share_test_is_chi_square_or_fishers(a: int, m: int, b: int, n: int) -> None:
    table = np.array([[a, m - a], [b, n - b]])
    if a + b == 0:
        wanted = 1.0
    elif min(m, n) * (a + b) / (m + n) < 5:
        wanted = float(stats.fisher_exact(table).pvalue)
    else:
        wanted = float(stats.chi2_contingency(table, correction=False).pvalue)
    assert compare.share_test(*one(a / m, m, b / n, n))[0] == pytest.approx(wanted)


@pytest.mark.parametrize("groups", [2, 3, 10, 50])
def test_level_of_pairs_is_tukeys(groups: int) -> None:
    q = stats.studentized_range.ppf(0.95, groups, np.inf)
    assert 1 - compare.pair_level(groups, 0.95) == pytest.approx(2 * stats.norm.sf(q / np.sqrt(2)), rel=1e-4)


def test_false_discoveries_are_benjamini_and_hochbergs() -> None:
    p = np.array([0.01, np.nan, 0.04, 0.03, 0.5])
    found = compare.false_discovery(p)
    # By hand: 4 tests, sorted 0.01 · 4/1, then min(0.03 · 4/2, 0.04 · 4/3) = 0.0533…, 0.5.
    assert found[[0, 3, 2, 4]] == pytest.approx([0.04, 0.16 / 3, 0.16 / 3, 0.5])
    assert np.isnan(found[1])
