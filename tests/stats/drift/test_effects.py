"""Effect sizes and tests against scipy, brute force and NannyML's printed numbers; and what must hold whatever the data."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial import distance

from monitor.stats.drift import (
    METHODS,
    CategoryBins,
    Counts,
    NumberBins,
    compare_counts,
    compare_shares,
    compare_values,
    effects,
    homogeneity,
    judge,
)
from monitor.stats.drift.bins import doane_edges, pooled_counts
from monitor.stats.drift.methods import distances, ks_p_value

# NannyML 0.13.1's Jensen-Shannon distances of `debt_to_income_ratio`, by chunk of 5,000 rows, as it prints them.
NANNYML = [
    "0.031661",
    "0.030011",
    "0.031129",
    "0.029464",
    "0.030809",
    "0.028681",
    "0.043628",
    "0.029253",
    "0.030628",
    "0.028330",
]
TABLES = st.integers(1, 12).flatmap(
    lambda k: st.tuples(*(st.lists(st.integers(0, 400), min_size=k, max_size=k) for _ in range(2)))
)
COUNTED = [name for name, method in METHODS.items() if not method.ordered]


@pytest.fixture(scope="module")
def car_loan() -> pd.DataFrame:
    return pd.read_csv(Path(__file__).parents[2] / "data" / "nannyml-car-loan" / "features.csv.gz")


def test_nannyml_to_its_printed_digits(car_loan: pd.DataFrame) -> None:
    by_chunk = dict(iter(car_loan.groupby("chunk")["debt_to_income_ratio"]))
    bins = NumberBins.fit(by_chunk[-1].to_numpy())
    found = [compare_counts("ratio", bins.count(by_chunk[i].to_numpy())) for i in range(10)]
    assert [f"{each.value:.6f}" for each in found] == NANNYML
    assert not any(each.drifted for each in judge(found))


@pytest.mark.parametrize("method", list(METHODS))
def test_the_known_drift_begins_at_chunk_five(car_loan: pd.DataFrame, method: str) -> None:
    by_chunk = {i: np.sort(values.to_numpy(dtype=float)) for i, values in car_loan.groupby("chunk")["car_value"]}
    if METHODS[method].ordered:
        found = [compare_values("car_value", by_chunk[-1], by_chunk[i], method) for i in range(10)]
    else:
        bins = NumberBins.fit(by_chunk[-1], METHODS[method].bins)
        found = [compare_counts("car_value", bins.count(by_chunk[i]), method) for i in range(10)]
    assert [each.drifted for each in judge(found)] == [False] * 5 + [True] * 5


def brute_psi(reference: list[int], current: list[int]) -> float:
    total = 0.0
    for a, b in zip(reference, current, strict=True):
        if a or b:
            p, q = (a or 0.5) / sum(reference), (b or 0.5) / sum(current)
            total += (q - p) * math.log(q / p)
    return total


@given(TABLES)
def test_effects_by_other_means(table: tuple[list[int], list[int]]) -> None:
    a, b = (np.array(side, dtype=float) for side in table)
    if not a.sum() or not b.sum():
        assert np.isnan(effects.total_variation(a, b))
        return
    p, q = a / a.sum(), b / b.sum()
    assert effects.psi(a, b) == pytest.approx(brute_psi(*table), abs=1e-12)
    # scipy's root of a difference of nearly equal numbers is good to 1e-8.
    assert effects.jensen_shannon(a, b) == pytest.approx(np.nan_to_num(distance.jensenshannon(p, q, base=2)), abs=2e-8)
    assert effects.total_variation(a, b) == pytest.approx(sum(max(0.0, x - y) for x, y in zip(p, q, strict=True)))
    both = (a + b) > 0
    if both.sum() > 1:
        chi2 = stats.chi2_contingency(np.array([a[both], b[both]]), correction=False).statistic
        assert effects.cramer_v(a, b) ** 2 * (a.sum() + b.sum()) == pytest.approx(chi2)
    values = [np.repeat(np.arange(len(a)), np.array(side)).astype(float) for side in table]
    if min(a.sum(), b.sum()) > 1:  # scipy divides by zero for one row
        assert effects.ks(a, b) == pytest.approx(stats.ks_2samp(*values, method="asymp").statistic, abs=1e-12)
    points = np.arange(len(a), dtype=float) ** 2
    expected = stats.wasserstein_distance(points, points, p, q)
    assert effects.wasserstein(a, b, points) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_distances_of_values_are_scipys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = np.sort(rng.normal(0, 1, 400).round(seed)), np.sort(rng.normal(0.1 * seed, 1, 300).round(seed))
    found = stats.ks_2samp(a, b, method="asymp")
    assert distances(a, b).ks == pytest.approx(found.statistic, abs=1e-12)
    assert ks_p_value(distances(a, b).ks, 400, 300) == pytest.approx(found.pvalue, rel=1e-9)
    assert distances(a, b).wasserstein == pytest.approx(stats.wasserstein_distance(a, b))
    told = compare_values("x", a, b, "wasserstein")
    assert told.value == pytest.approx(stats.wasserstein_distance(a, b) / a.std())
    assert compare_values("x", a, b, "ks").value == pytest.approx(found.statistic)
    counts, points = pooled_counts(a, b)
    assert (counts.n_reference, counts.n_current) == (400, 300)
    assert (np.diff(points) >= 0).all()
    # Within a bin nothing is seen: less than the true distance by at most the width of bins of under a hundredth of rows.
    rough = effects.wasserstein(counts.reference, counts.current, points)
    assert rough == pytest.approx(distances(a, b).wasserstein, abs=0.05)


@given(TABLES)
def test_homogeneity_is_scipys_where_no_cell_is_small(table: tuple[list[int], list[int]]) -> None:
    a, b = (np.array(side, dtype=float) + 12 for side in table)
    if len(a) < 2 or min(stats.contingency.expected_freq(np.array([a, b])).ravel()) < 5:
        return
    expected = stats.chi2_contingency(np.array([a, b]), correction=False)
    found = homogeneity(a, b)
    assert (found.statistic, found.df) == pytest.approx((expected.statistic, expected.dof), rel=1e-9, abs=1e-9)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-6)


def test_homogeneity_puts_small_cells_together() -> None:
    a, b = np.array([50.0, 40, 4, 3, 1]), np.array([45.0, 50, 2, 1, 2])
    found = homogeneity(a, b)
    merged = np.array([[50, 40, 8], [45, 50, 5]])  # 13 rows of 198: 6.4 expected on the smaller side
    assert found.statistic == pytest.approx(stats.chi2_contingency(merged, correction=False).statistic)
    found = homogeneity(a[:3], b[:3])  # the six expect fewer than five rows: they join the fullest cell
    merged = np.array([[54, 40], [47, 50]])
    assert found.statistic == pytest.approx(stats.chi2_contingency(merged, correction=False).statistic)
    nothing = homogeneity(np.array([3.0, 1]), np.array([1.0, 2]))
    assert (float(nothing.df), float(nothing.p_value)) == (0.0, 1.0)


def test_level_of_the_test_where_cells_are_small() -> None:
    rng = np.random.default_rng(1)
    shares = np.array([0.5, 0.3, 0.1, 0.05, *[0.005] * 10])
    p = homogeneity(rng.multinomial(400, shares, 20_000), rng.multinomial(150, shares, 20_000)).p_value
    for level in (0.05, 0.01, 0.001):
        wrong = float((p <= level).mean())
        assert wrong <= level + 3 * math.sqrt(level / 20_000), (level, wrong)


@given(TABLES)
def test_order_of_categories_and_of_sides_does_not_matter(table: tuple[list[int], list[int]]) -> None:
    a, b = (np.array(side, dtype=float) for side in table)
    order = np.random.default_rng(len(a)).permutation(len(a))
    for name in COUNTED:
        found, other = (compare_counts("x", counts(one, two), name) for one, two in ((a, b), (a[order], b[order])))
        turned = compare_counts("x", counts(b, a), name)
        assert (found.value is None) == (not a.sum() or not b.sum())
        if found.value is not None:
            assert found.value == pytest.approx(other.value, abs=1e-12) == pytest.approx(turned.value, abs=1e-12)
            assert found.p_value == pytest.approx(other.p_value)


def counts(a: np.ndarray, b: np.ndarray) -> Counts:
    return Counts(reference=a, current=b, names=tuple(map(str, range(len(a)))))


@given(TABLES)
def test_limits_hold_the_value_and_stay_in_range(table: tuple[list[int], list[int]]) -> None:
    a, b = (np.array(side, dtype=float) for side in table)
    for name in METHODS:
        found = compare_counts("x", counts(a, b), name, points=np.arange(len(a), dtype=float))
        if found.value is not None:
            assert found.low is not None
            assert found.high is not None
            assert 0 <= found.low <= found.value <= found.high
            if name not in ("psi", "wasserstein"):
                assert found.high <= 1


@pytest.mark.parametrize("method", list(METHODS))
@settings(max_examples=40)
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=60, max_size=200))
def test_identical_data_do_not_drift(method: str, given_values: list[float]) -> None:
    values = np.sort(np.array(given_values))
    if METHODS[method].ordered:
        found = compare_values("x", values, values, method)
    else:
        found = compare_counts("x", NumberBins.fit(values, METHODS[method].bins).count(values), method)
    (told,) = judge([found])
    assert (told.value, told.low, told.drifted) == (0.0, 0.0, False)
    assert told.p_value == pytest.approx(1.0)
    assert told.reason.startswith("effect below threshold")


@given(st.lists(st.floats(0.125, 1e3, width=32), min_size=60, max_size=150), st.sampled_from([0.5, 4.0, 1024.0]))
def test_quantile_bins_know_no_unit(given_values: list[float], factor: float) -> None:
    """Powers of two scale floats exactly; any increasing transformation keeps quantile bins."""
    a = np.array(given_values)
    b = np.roll(a, 7)[: len(a) // 2] * 1.25
    plain = NumberBins.fit(a, "quantile").count(b)
    scaled = NumberBins.fit(a * factor, "quantile").count(b * factor)
    assert plain.reference.tolist() == scaled.reference.tolist()
    assert plain.current.tolist() == scaled.current.tolist()


@pytest.mark.parametrize(
    "values",
    [np.zeros(100), np.repeat([0.0, 0.0, 0.0, 5.0], 50), np.arange(200.0), np.array([]), np.array([3.0])],
    ids=["constant", "ties", "distinct", "empty", "one"],
)
@pytest.mark.parametrize("kind", ["doane", "quantile"])
def test_every_row_is_in_one_bin(values: np.ndarray, kind: str) -> None:
    bins = NumberBins.fit(values, kind)
    other = np.array([-1e9, 0.0, 2.5, 1e9])
    found = bins.count(other)
    assert len(found.names) == len(found.reference) == len(found.current)
    assert found.n_reference == len(values)
    assert found.n_current == 4


@pytest.mark.parametrize("n", [1, 2, 3, 70, 5000])
def test_doane_is_numpys(n: int) -> None:
    rng = np.random.default_rng(n)
    for values in (rng.normal(5, 2, n), rng.lognormal(0, 2, n), rng.gamma(0.1, 1, n) * 1e9, np.full(n, 7.0)):
        assert doane_edges(values) == pytest.approx(np.histogram_bin_edges(values, bins="doane"), rel=1e-12)


def test_categories() -> None:
    reference = pd.Series(["a"] * 60 + ["b"] * 30 + ["c"] * 9 + ["d"])
    bins = CategoryBins.fit(reference, most=2)
    found, new = bins.count(pd.Series(["b", "b", "c", "x", "y"]))
    assert found.reference.tolist() == [60, 30, 10, 0]
    assert found.current.tolist() == [0, 2, 1, 2]
    assert (new, bins.seen_once) == (2, 1)


def test_new_categories_of_a_long_tail_are_no_drift() -> None:
    """Words of a natural language: every window has new ones. What counts is whether it has more than another would."""
    rng = np.random.default_rng(3)
    wrong = 0
    for _ in range(200):
        before, after = (pd.Series(rng.zipf(1.7, 500)) for _ in range(2))
        bins = CategoryBins.fit(before)
        found, new = bins.count(after)
        (told,) = judge([compare_shares("word.new", bins.seen_once, 500, new, found.n_current)])
        wrong += told.drifted
    assert wrong <= 4, wrong


def test_shares_by_hand() -> None:
    found = compare_shares("x.missing", 10, 1000, 200, 1000)
    assert found.value == pytest.approx(0.19)
    # Newcombe (1998), method 10, from Wilson's limits of 1 % (0.0054, 0.0183) and of 20 % (0.1764, 0.2259).
    assert (found.low, found.high) == pytest.approx((0.1650, 0.2163), abs=2e-4)
    assert judge([found])[0].drifted
    rare = compare_shares("x.missing", 0, 100, 3, 100)
    assert rare.p_value == pytest.approx(stats.fisher_exact([[0, 100], [3, 97]]).pvalue)
    assert rare.low == 0.0


def test_reasons() -> None:
    few = compare_counts("x", counts(np.array([10.0, 2]), np.array([3.0, 9])), "psi")
    small = compare_counts("x", counts(np.array([500.0, 500]), np.array([510.0, 490])), "psi")
    wide = compare_counts("x", counts(np.array([40.0, 20]), np.array([26.0, 34])), "psi")
    clear = compare_counts("x", counts(np.array([900.0, 100]), np.array([600.0, 400])), "psi")
    told = judge([few, small, wide, clear])
    assert [each.reason.split(":")[0] for each in told] == [
        "too few rows", "effect below threshold", "interval reaches below threshold", "drifted",
    ]  # fmt: skip
    assert [each.drifted for each in told] == [False, False, False, True]
    assert told[0].p_adjusted is None
    p = [each.p_value for each in (small, wide, clear)]
    assert [each.p_adjusted for each in told[1:]] == pytest.approx(stats.false_discovery_control(p).tolist())
    # A threshold of 0: effect and interval clear it, and only the adjusted p tells chance from drift.
    some = compare_counts("x", counts(np.array([500.0, 500]), np.array([555.0, 445])), "psi", threshold=0.0)
    none = compare_counts("y", counts(np.array([500.0, 500]), np.array([500.0, 500])), "psi", threshold=0.0)
    assert judge([some])[0].drifted
    assert judge([some, *[none] * 9])[0].reason.startswith("chance not excluded")
    with pytest.raises(KeyError):
        compare_counts("x", counts(np.ones(2), np.ones(2)), "nothing")
