"""How often the intervals hold the true effect, and what chance alone looks like: seeded simulations."""

from __future__ import annotations

import math

import numpy as np
import pytest

from monitor.stats.drift import Counts, compare_counts, effects, limits
from monitor.stats.drift.methods import compare_values, distances

RUNS = 800
# Three standard errors of 800 runs beside the wished 93.5 to 96.5 %.
LOW, HIGH = 0.935 - 3 * math.sqrt(0.05 * 0.95 / RUNS), 0.965 + 3 * math.sqrt(0.05 * 0.95 / RUNS)


def tilted(k: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    p = np.ones(k) / k
    q = p * np.exp(shift * np.linspace(-1, 1, k))
    return p, q / q.sum()


@pytest.mark.parametrize("kind", ["psi", "js_divergence", "chi_square_per_row"])
@pytest.mark.parametrize(
    ("n", "m", "k", "shift"), [(200, 200, 2, 0.3), (1000, 300, 5, 0.5), (2000, 1000, 20, 0.5), (5000, 5000, 10, 0.2)]
)
def test_coverage_of_divergences(kind: str, n: int, m: int, k: int, shift: float) -> None:
    p, q = tilted(k, shift)
    truth = float(getattr(effects, kind)(p * n * 1e6, q * m * 1e6))
    rng = np.random.default_rng(k)
    held = 0
    for a, b in zip(rng.multinomial(n, p, RUNS).astype(float), rng.multinomial(m, q, RUNS).astype(float), strict=True):
        low, high = limits.divergence_interval(kind, a, b)
        held += low <= truth <= high
    print(f"\n{kind}, {n} and {m} rows, {k} bins, true {truth:.3f}: {held / RUNS:.1%} hold it")
    assert LOW <= held / RUNS <= HIGH, held / RUNS


@pytest.mark.parametrize("kind", ["psi", "js_divergence", "chi_square_per_row"])
@pytest.mark.parametrize("rows", [60, 500])
def test_chance_lifts_the_plain_effect_and_not_the_interval(kind: str, rows: int) -> None:
    """Of two samples of one distribution the plain effect is above zero, by what `null_bias` says; the low end is zero."""
    rng = np.random.default_rng(2)
    a, b = (rng.multinomial(rows, np.ones(8) / 8, RUNS).astype(float) for _ in range(2))
    plain = getattr(effects, kind)(a, b)
    bias = np.mean([limits.null_bias(kind, *both) for both in zip(a, b, strict=True)])
    # To first order in 1/n: PSI has logarithms of small shares, and more of it.
    assert plain.mean() == pytest.approx(bias, rel=0.15 if rows < 100 else 0.07)
    above = np.mean([limits.divergence_interval(kind, *both).low > 0 for both in zip(a, b, strict=True)])
    assert above <= 0.025 + 3 * math.sqrt(0.025 / RUNS) + 0.01


def test_coverage_of_distances() -> None:
    """Kolmogorov-Smirnov and Wasserstein of values, with the bootstrap of fine bins."""
    rng = np.random.default_rng(5)
    runs = 150
    # Normal distributions, one moved by d: KS is 2 Φ(d/2) − 1, and Wasserstein is d.
    d = 0.4
    truth = {"ks": math.erf(d / 2 / math.sqrt(2)), "wasserstein": d}
    held = dict.fromkeys(truth, 0)
    for _ in range(runs):
        a, b = np.sort(rng.normal(0, 1, 600)), np.sort(rng.normal(d, 1, 400))
        for method, true in truth.items():
            found = compare_values("x", a, b, method)
            assert found.low is not None
            assert found.high is not None
            unit = a.std() if method == "wasserstein" else 1.0
            held[method] += found.low * unit <= true <= found.high * unit
    band = 3 * math.sqrt(0.05 * 0.95 / runs)
    for method, times in held.items():
        print(f"\n{method}: {times / runs:.1%} of {runs} intervals hold the truth")
        assert 0.935 - band <= times / runs <= 0.965 + band, (method, times / runs)


@pytest.mark.parametrize(("n", "m", "k", "shift"), [(200, 200, 2, 0.3), (1000, 300, 5, 0.5), (2000, 1000, 20, 0.5)])
def test_coverage_of_total_variation(n: int, m: int, k: int, shift: float) -> None:
    p, q = tilted(k, shift)
    truth = float(effects.total_variation(p, q))
    rng = np.random.default_rng(k)
    held, runs = 0, 400
    for a, b in zip(rng.multinomial(n, p, runs).astype(float), rng.multinomial(m, q, runs).astype(float), strict=True):
        low, high = limits.distance_interval(effects.total_variation, effects.total_variation_slopes, a, b)
        held += low <= truth <= high
    print(f"\ntotal variation, {n} and {m} rows, {k} bins, true {truth:.3f}: {held / runs:.1%} hold it")
    band = 3 * math.sqrt(0.05 * 0.95 / runs)
    assert 0.935 - band <= held / runs <= 0.965 + band


@pytest.mark.parametrize("method", ["total_variation", "ks", "wasserstein"])
@pytest.mark.parametrize("rows", [60, 500])
def test_chance_does_not_lift_the_low_end_of_distances(method: str, rows: int) -> None:
    rng = np.random.default_rng(8)
    sides = [rng.multinomial(rows, np.ones(8) / 8, 300).astype(float) for _ in range(2)]
    names = tuple(map(str, range(8)))
    lows = [
        compare_counts("x", Counts(reference=a, current=b, names=names), method, points=np.arange(8.0), seed=seed).low
        for seed, (a, b) in enumerate(zip(*sides, strict=True))
    ]
    assert np.mean(np.array(lows) > 0) <= 0.025 + 3 * math.sqrt(0.025 / 300)


def test_dkw_is_wide_and_never_short() -> None:
    rng = np.random.default_rng(6)
    truth = math.erf(0.2 / math.sqrt(2))
    held = 0
    for _ in range(300):
        value = distances(np.sort(rng.normal(0, 1, 200)), np.sort(rng.normal(0.4, 1, 150))).ks
        low, high = limits.dkw(value, 200, 150)
        held += low <= truth <= high
    assert held >= 0.95 * 300
