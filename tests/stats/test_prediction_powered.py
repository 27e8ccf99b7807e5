"""Prediction-powered estimates against their formulas on the rows themselves, and what must hold for any input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from monitor.stats import intervals as iv
from monitor.stats.label_sums import LabelledSums, PredictedSums, Stratum
from monitor.stats.prediction_powered import (
    PredictionPowered,
    labels_needed,
    prediction_powered_mean,
    prediction_powered_proportion,
)

UNIT = st.floats(0, 1, allow_subnormal=False)
ROWS = st.lists(st.tuples(UNIT, UNIT, st.floats(1, 50)), min_size=0, max_size=40)


def rows(seed: int, n: int = 60, rest: int = 500) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    truth = generator.random(n + rest) < 0.8
    score = np.clip(truth * 0.5 + generator.random(n + rest) * 0.5, 0, 1)
    return truth[:n].astype(float), score[:n], score[n:]


def stratum(y: np.ndarray, f: np.ndarray, rest: np.ndarray) -> Stratum:
    return Stratum(labelled=LabelledSums.of(y, f), predicted=PredictedSums.of(rest))


@pytest.mark.parametrize("seed", range(5))
def test_mean_is_the_published_estimator_with_the_best_lambda(seed: int) -> None:
    y, f, rest = rows(seed)

    def variance(power: float) -> float:
        return power**2 * rest.var(ddof=1) / len(rest) + (y - power * f).var(ddof=1) / len(y)

    found = prediction_powered_mean([stratum(y, f, rest)], bounds=(-5, 5))
    best = optimize.minimize_scalar(variance, bounds=(-5, 5), method="bounded", options={"xatol": 1e-10}).x
    assert found.power == pytest.approx(best, abs=1e-5)
    assert found.value == pytest.approx(best * rest.mean() + (y - best * f).mean(), abs=1e-6)
    assert found.spread is not None
    assert found.spread.variance(found.power or 0) == pytest.approx(variance(best), rel=1e-9)
    assert found.effective_n == pytest.approx(len(y) * (y.var(ddof=1) / len(y)) / variance(best))
    # The interval by hand: t with n - 2 degrees, and λ's own error.
    half = stats.t.ppf(0.975, len(y) - 2) * math.sqrt(variance(best) * (59 / 58) * (1 + 1 / 59))
    assert (found.high or 0) - (found.value or 0) == pytest.approx(half, rel=1e-9)
    assert (found.n_labelled, found.n_predicted) == (60, 500)
    assert (found.classical.low, found.classical.high) == pytest.approx(iv.student_t(y))


def test_worked_by_hand() -> None:
    # Ten labels of which the judge, always 0.5 off at most, sees the spread exactly; f = y / 2.
    y = np.array([0.0, 1.0] * 5)
    found = prediction_powered_mean([stratum(y, y / 2, np.array([0.0, 0.5, 0.5, 0.5] * 100))])
    # Optimum 2 · 400 / 410 is out of bounds, so λ = 1: 0.375 + mean(y - y / 2) = 0.625.
    assert found.power == 1
    assert found.value == pytest.approx(0.625)


def test_a_useless_judge_leaves_the_labels_alone() -> None:
    y = np.array([1.0] * 24 + [0.0] * 6)
    constant = prediction_powered_proportion([stratum(y, np.full(30, 0.7), np.full(400, 0.7))])
    contrary = prediction_powered_proportion([stratum(y, 1 - y, np.full(400, 0.7))])
    for found in (constant, contrary):
        assert found.power == 0
        assert (found.value, found.low, found.high) == pytest.approx((0.8, *iv.wilson(24, 30)))
        assert found.effective_n == pytest.approx(30)
        assert (found.classical.low, found.classical.high) == pytest.approx(iv.wilson(24, 30))


def test_a_good_judge_is_worth_labels_and_a_spotless_one_is_not_believed_blindly() -> None:
    y = np.array([1.0] * 80 + [0.0] * 20)
    found = prediction_powered_proportion([stratum(y, y, np.array([1.0] * 7000 + [0.0] * 3000))])
    assert found.value == pytest.approx(0.7, abs=0.01)
    assert found.effective_n is not None
    assert 300 < found.effective_n < 3000
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low > 2 * 1.96 * math.sqrt(0.21 / 10_000)


def test_strata_are_weighted_with_their_calls_not_their_labels() -> None:
    generator = np.random.default_rng(1)
    parts, y_means = [], []
    for p, n, rest in ((0.9, 400, 600), (0.5, 40, 8960)):
        y = (generator.random(n) < p).astype(float)
        parts.append(stratum(y, np.full(n, 0.5), np.full(rest, 0.5)))
        y_means.append(y.mean())
    found = prediction_powered_proportion(parts)
    assert found.value == pytest.approx(0.1 * y_means[0] + 0.9 * y_means[1])
    # Of calls without a score the sizes are told.
    told = [Stratum(labelled=part.labelled, calls=calls) for part, calls in zip(parts, (1, 3), strict=True)]
    assert prediction_powered_proportion(told).value == pytest.approx(0.25 * y_means[0] + 0.75 * y_means[1])


def test_strata_with_few_labels_are_joined_and_it_is_said() -> None:
    y, f, rest = rows(3)
    whole = prediction_powered_proportion([stratum(y, f, rest)])
    pieces = [
        stratum(y[:3], f[:3], rest[:100]),
        stratum(y[3:], f[3:], rest[100:400]),
        Stratum(predicted=PredictedSums.of(rest[400:])),
    ]
    joined = prediction_powered_proportion(pieces)
    assert joined.value == pytest.approx(whole.value)
    assert (joined.low, joined.high) == pytest.approx((whole.low, whole.high))
    assert joined.note.startswith("2 of 3 strata have fewer than 5 labels")
    assert joined.classical.note == joined.note


def test_too_few_labels_are_said() -> None:
    nothing = prediction_powered_proportion([Stratum(predicted=PredictedSums.of([0.5] * 100))])
    assert (nothing.value, nothing.note, nothing.n_predicted) == (None, "insufficient: no labels", 100)
    assert prediction_powered_mean([]).value is None
    few = prediction_powered_proportion([stratum(np.ones(9), np.ones(9), np.ones(100))])
    assert few.value is None
    assert few.note == "insufficient: 9 labels, 10 wanted"
    assert (few.classical.value, few.classical.low) == pytest.approx((1, iv.wilson(9, 9).low))
    one = prediction_powered_mean([stratum(np.ones(1), np.ones(1), np.ones(100))])
    assert (one.classical.value, one.classical.low) == (1, None)
    assert labels_needed(few).value is None
    same = prediction_powered_mean([stratum(np.full(20, 4.0), np.full(20, 4.0), np.full(100, 4.0))])
    assert (same.value, same.low, same.classical.low) == (4, None, None)


def test_values_out_of_range_are_refused() -> None:
    for y, f, rest in (([2.0], [1.0], [1.0]), ([1.0], [4.0], [1.0]), ([1.0], [1.0], [-1.0, 0.5])):
        with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
            prediction_powered_proportion([stratum(np.array(y), np.array(f), np.array(rest))])
    with pytest.raises(ValueError, match="one length"):
        LabelledSums.of([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="weights"):
        PredictedSums.of([1.0], [0.0])
    with pytest.raises(ValueError, match="finite"):
        PredictedSums.of([math.inf])


def test_labels_needed_are_enough_and_no_more() -> None:
    # Classical, by hand: (1.96 / 0.01)² · p(1 - p) with p = 80.5 / 101 (half a row of either kind added): 6215 labels.
    y = np.array([1.0] * 80 + [0.0] * 20)
    alone = prediction_powered_proportion([stratum(y, np.full(100, 0.5), np.full(20_000, 0.5))])
    assert labels_needed(alone).value == pytest.approx(6215 - 100, abs=1)
    generator = np.random.default_rng(4)
    truth = generator.random(200_000) < 0.8
    score = np.where(generator.random(200_000) < 0.1, ~truth, truth).astype(float)

    def estimate(n: int) -> PredictionPowered:
        return prediction_powered_proportion([stratum(truth[:n].astype(float), score[:n], score[n:])])

    more = labels_needed(estimate(2000), half_width=0.01).value
    assert more is not None
    assert 0 < more < 6147 - 2000
    reached = estimate(2000 + int(more))
    assert ((reached.high or 0) - (reached.low or 0)) / 2 == pytest.approx(0.01, rel=0.06)
    assert labels_needed(estimate(20_000), half_width=0.01).value == 0
    out_of_reach = labels_needed(prediction_powered_proportion([stratum(y, y, np.ones(50))]), half_width=0.001)
    assert out_of_reach.value is None
    assert "50 calls left" in out_of_reach.note
    with pytest.raises(ValueError, match="half_width"):
        labels_needed(alone, half_width=0)


@given(labelled=ROWS, rest=ROWS)
def test_any_rows_give_an_ordered_estimate_or_none(
    labelled: list[tuple[float, float, float]], rest: list[tuple[float, float, float]]
) -> None:
    y, f, w = np.array(labelled, dtype=float).reshape(-1, 3).T
    f_rest, _, w_rest = np.array(rest, dtype=float).reshape(-1, 3).T
    part = Stratum(labelled=LabelledSums.of(y, f, w), predicted=PredictedSums.of(f_rest, w_rest))
    found = prediction_powered_proportion([part])
    if len(y) < 10:
        assert found.value is None
        return
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    assert found.power is not None
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert 0 <= found.power <= 1
    # Any order, and any scale of the weights.
    again = Stratum(
        labelled=LabelledSums.of(y[::-1], f[::-1], w[::-1] * 3), predicted=PredictedSums.of(f_rest[::-1], w_rest * 3)
    )
    if len(set(w_rest)) <= 1:
        other = prediction_powered_proportion([again])
        assert (other.value, other.low, other.high) == pytest.approx((found.value, found.low, found.high), abs=1e-6)
    mean = prediction_powered_mean([part])
    assert mean.low is None or mean.low <= (mean.value or 0) <= (mean.high or 0)


@given(scale=st.floats(0.1, 1000), shift=st.floats(-10, 10))
def test_a_mean_moves_with_its_unit(scale: float, shift: float) -> None:
    y, f, rest = rows(7)
    plain = prediction_powered_mean([stratum(y, f, rest)])
    moved = prediction_powered_mean([stratum(y * scale + shift, f * scale + shift, rest * scale + shift)])
    for one, other in ((plain.value, moved.value), (plain.low, moved.low), (plain.high, moved.high)):
        assert one is not None
        assert other == pytest.approx(one * scale + shift, rel=1e-5, abs=1e-5)


def test_the_same_rows_twice_narrow_by_root_two_and_nan_rows_are_left_out() -> None:
    y, f, rest = rows(8, n=400, rest=4000)
    once = prediction_powered_proportion([stratum(y, f, rest)])
    twice = prediction_powered_proportion([stratum(np.tile(y, 2), np.tile(f, 2), np.tile(rest, 2))])
    assert twice.value == pytest.approx(once.value, abs=0.002)
    assert ((twice.high or 0) - (twice.low or 0)) / ((once.high or 0) - (once.low or 0)) == pytest.approx(
        0.707, rel=0.02
    )
    holes = stratum(np.append(y, [math.nan, 1.0]), np.append(f, [1.0, math.nan]), np.append(rest, math.nan))
    assert prediction_powered_proportion([holes]).value == once.value


def test_sums_of_unweighted_rows_are_those_of_arrays() -> None:
    y, f, rest = rows(9)
    by_sums = Stratum(
        labelled=LabelledSums.unweighted(n=60, y=y.sum(), f=f.sum(), yy=y @ y, yf=y @ f, ff=f @ f),
        predicted=PredictedSums.unweighted(n=500, f=rest.sum(), ff=rest @ rest),
    )
    found, other = prediction_powered_mean([by_sums]), prediction_powered_mean([stratum(y, f, rest)])
    assert (found.value, found.low, found.high) == pytest.approx((other.value, other.low, other.high))
