"""Averages over time: coverage on AR(1), and what a plain t interval would have held."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import signal, stats

from monitor.stats.batch_means import BATCHES, batch_ratio, uncorrelated_batches
from monitor.stats.intervals import student_t

SAMPLES = 3200


def autoregressive(g: np.random.Generator, runs: int, phi: float) -> np.ndarray:
    """Stationary series of mean 0.6, shape (runs, SAMPLES)."""
    start = g.normal(0, 1 / np.sqrt(1 - phi**2), (runs, 1))
    noise = g.normal(0, 1, (runs, SAMPLES))
    noise[:, :1] = start
    return 0.6 + 0.1 * signal.lfilter([1.0], [1.0, -phi], noise, axis=1)


@pytest.mark.parametrize(("phi", "low", "high"), [(0.0, 0.935, 0.965), (0.9, 0.935, 0.965), (0.99, 0.88, 0.97)])
def test_coverage_on_an_autoregressive_series(phi: float, low: float, high: float) -> None:
    runs = 2500
    series = autoregressive(np.random.default_rng(3), runs, phi)
    means = series.reshape(runs, BATCHES, -1).mean(axis=2)
    held = naive = 0
    for run in range(runs):
        found = batch_ratio(means[run], np.ones(BATCHES), n=SAMPLES)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 0.6 <= found.high
        if run < 200 and phi == 0.9:
            plain = student_t(series[run])
            assert plain is not None
            assert plain.low is not None
            assert plain.high is not None
            naive += plain.low <= 0.6 <= plain.high
    assert low <= held / runs <= high
    # Taking neighbouring samples for independent would hold the truth in a third of the windows.
    assert naive / 200 < 0.6


def test_independent_batches_are_a_plain_t_interval() -> None:
    means = np.array([1.0, 4.0, 2.0, 5.0, 1.5, 4.2, 2.1, 3.9])
    found = batch_ratio(means, np.ones(8), n=80)
    low, high = stats.t.interval(0.95, 7, means.mean(), stats.sem(means))
    assert (found.value, found.low, found.high) == pytest.approx((means.mean(), low, high))


def test_a_ratio_of_sums() -> None:
    g = np.random.default_rng(2)
    held = 0
    for _ in range(1000):
        x = g.gamma(20, 1, BATCHES)
        y = 3 * x + g.normal(0, 4, BATCHES)
        found = batch_ratio(y, x, n=BATCHES)
        assert found.value == pytest.approx(y.sum() / x.sum())
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 3 <= found.high
    assert 0.93 <= held / 1000 <= 0.97


def test_a_drift_is_told() -> None:
    found = batch_ratio(np.linspace(0, 1, BATCHES), np.ones(BATCHES), n=3200)
    assert "still resemble" in found.note


def test_too_few_parts() -> None:
    found = batch_ratio([1.0, 2.0], [1.0, 1.0], n=2)
    assert found.value == 1.5
    assert found.low is None
    assert "an interval needs" in found.note
    assert batch_ratio([], [], n=0).value is None


def test_bounds() -> None:
    found = batch_ratio([0.0, 0.0, 0.0, 0.0, 0.1], np.ones(5), n=5, bounds=(0.0, 1.0))
    assert found.low == 0.0


@given(st.lists(st.floats(-1e3, 1e3), min_size=5, max_size=70))
def test_joining_loses_nothing(values: list[float]) -> None:
    array = np.array(values)
    joined, _ = uncorrelated_batches(array)
    assert joined.sum() == pytest.approx(array.sum(), abs=1e-6)
    assert len(joined) >= min(8, len(array))
