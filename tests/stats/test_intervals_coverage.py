"""How often intervals hold the truth, simulated: seeded, and bounded in time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from monitor.stats import intervals as iv

RUNS = 3000
# Three standard errors of a simulated coverage of 95 %: 3 · sqrt(0.95 · 0.05 / 3000).
SLACK = 0.012


def coverage(draw: Callable[[np.random.Generator], iv.Interval | None], truth: float, *, seed: int = 1) -> float:
    """Share of simulated intervals that hold the truth; an open end is infinite."""
    generator = np.random.default_rng(seed)
    held = 0
    for _ in range(RUNS):
        interval = draw(generator)
        low, high = (None, None) if interval is None else interval
        held += (low is None or low <= truth) and (high is None or truth <= high)
    return held / RUNS


@pytest.mark.parametrize(("n", "share"), [(20, 0.3), (100, 0.05), (1000, 0.01), (500, 0.5)])
def test_wilson_is_near_its_level_and_clopper_pearson_never_below(n: int, share: float) -> None:
    found = coverage(lambda g: iv.wilson(g.binomial(n, share), n), share)
    assert 0.93 <= found <= 0.985
    assert coverage(lambda g: iv.clopper_pearson(g.binomial(n, share), n), share) >= 0.95 - SLACK


@pytest.mark.parametrize("expected", [2.0, 30.0, 1000.0])
def test_garwood_never_below_its_level(expected: float) -> None:
    assert coverage(lambda g: iv.poisson(g.poisson(expected)), expected) >= 0.95 - SLACK


def test_compound_poisson_of_token_counts() -> None:
    def draw(generator: np.random.Generator) -> iv.Interval | None:
        sizes = generator.exponential(300, generator.poisson(200))
        return iv.weighted_poisson(float(sizes.sum()), float((sizes**2).sum()))

    assert 0.93 <= coverage(draw, 60_000) <= 0.97


@pytest.mark.parametrize("n", [2, 5, 50])
def test_student_t_on_normal_values(n: int) -> None:
    assert abs(coverage(lambda g: iv.student_t(g.normal(3, 2, n)), 3) - 0.95) <= SLACK


def test_means_of_skewed_latencies() -> None:
    truth = float(np.exp(0.5 * 0.6**2))
    student = coverage(lambda g: iv.student_t(g.lognormal(0, 0.6, 200)), truth)
    generator_seed = iter(range(10**6))
    bootstrap = coverage(
        lambda g: iv.bootstrap_mean(g.lognormal(0, 0.6, 200), seed=next(generator_seed), resamples=200), truth
    )
    assert 0.93 <= student <= 0.97
    assert 0.92 <= bootstrap <= 0.97


@pytest.mark.parametrize(("n", "p"), [(6, 0.5), (50, 0.9), (200, 0.95), (400, 0.99), (100, 0.99)])
def test_order_statistics_never_below_their_level(n: int, p: float) -> None:
    truth = float(-np.log1p(-p))
    assert coverage(lambda g: iv.quantile_interval(g.exponential(size=n), p), truth) >= 0.95 - SLACK


def test_sampling_that_keeps_all_errors() -> None:
    """1 % errors, each kept; the rest kept with probability 1/10 and weighted with 10."""

    def draw(generator: np.random.Generator) -> iv.Interval:
        errors = generator.binomial(20_000, 0.01)
        others = generator.binomial(20_000 - errors, 0.1)
        weight, squares = errors + 10 * others, errors + 100 * others
        effective = iv.share_effective_n(weight, squares, errors, errors)
        return iv.wilson(errors / weight * effective, effective)

    assert 0.93 <= coverage(draw, 0.01) <= 0.97


def test_totals_of_sampled_calls() -> None:
    """The total of one fixed population of calls, of which small ones are sampled."""
    sizes = np.random.default_rng(9).exponential(300, 2000)
    kept_with = np.where(sizes > 600, 1.0, 0.2)

    def draw(generator: np.random.Generator) -> iv.Interval:
        kept = generator.random(len(sizes)) < kept_with
        x, w = sizes[kept], 1 / kept_with[kept]
        return iv.total_interval(float((w * x).sum()), iv.horvitz_thompson_variance(x, w), at_least=float(x.sum()))

    assert 0.93 <= coverage(draw, float(sizes.sum())) <= 0.97


@pytest.mark.parametrize("p", [0.5, 0.95])
def test_weighted_quantiles_where_slow_calls_are_kept(p: float) -> None:
    """Calls over a threshold are all kept, others one in five."""
    truth = float(-np.log1p(-p))

    def draw(generator: np.random.Generator) -> iv.Interval:
        x = generator.exponential(size=1500)
        keep_with = np.where(x > 2, 1.0, 0.2)
        kept = generator.random(len(x)) < keep_with
        return iv.weighted_quantile_interval(x[kept], 1 / keep_with[kept], p)

    assert 0.93 <= coverage(draw, truth) <= 0.975


def test_weighted_mean_where_weights_follow_the_value() -> None:
    def draw(generator: np.random.Generator) -> iv.Interval | None:
        x = generator.exponential(size=1500)
        keep_with = np.where(x > 2, 1.0, 0.2)
        kept = generator.random(len(x)) < keep_with
        return iv.student_t(x[kept], 1 / keep_with[kept])

    assert 0.93 <= coverage(draw, 1.0) <= 0.97
