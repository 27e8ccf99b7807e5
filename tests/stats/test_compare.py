"""Variant comparison: by published examples and scipy, and how often its verdicts are wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from monitor.stats.compare import Arm, ShareSums, ValueSums, compare_arms, log_ratio, mean_ratio, share_difference
from monitor.stats.hot_nodes import LogSums


def right(hits: int, n: int) -> ShareSums:
    return ShareSums(n=n, w=n, ww=n, hits=hits, hits_ww=hits)


def logs(values: np.ndarray) -> LogSums:
    x = np.log(values)
    return LogSums(n=len(x), w=len(x), ww=len(x), wx=float(x.sum()), wxx=float((x**2).sum()))


def values(x: np.ndarray) -> ValueSums:
    total, squares = float(x.sum()), float((x**2).sum())
    return ValueSums(n=len(x), w=len(x), ww=len(x), wx=total, wwx=total, wwxx=squares)


def test_newcombes_published_example() -> None:
    found = share_difference(right(48, 80), right(56, 70))
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_latency_is_welchs_test_on_logarithms() -> None:
    g = np.random.default_rng(1)
    a, b = g.lognormal(0, 0.5, 80), g.lognormal(-0.3, 0.7, 50)
    found = log_ratio(logs(a), logs(b))
    truth = stats.ttest_ind(np.log(b), np.log(a), equal_var=False).confidence_interval(0.95)
    assert found.value == pytest.approx(stats.gmean(b) / stats.gmean(a))
    assert (found.low, found.high) == pytest.approx((math.exp(truth.low), math.exp(truth.high)))


def test_coverage_of_the_ratio_of_means() -> None:
    g = np.random.default_rng(2)
    held = 0
    for _ in range(2000):
        found = mean_ratio(values(g.gamma(2, 1, 200)), values(g.gamma(2, 0.7, 150)))
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 0.7 <= found.high
    assert 0.935 <= held / 2000 <= 0.965


def arms(hits: tuple[int, int], n: int, *, faster: float = 1.0, dearer: float = 1.0) -> tuple[Arm, Arm]:
    g = np.random.default_rng(3)
    return (
        Arm(name="fp16", quality=right(hits[0], n), latency=logs(g.lognormal(0, 0.4, 400)), cost=values(g.gamma(9, 1, 400))),
        Arm(
            name="fp8",
            quality=right(hits[1], n),
            latency=logs(g.lognormal(math.log(faster), 0.4, 400)),
            cost=values(g.gamma(9, dearer, 400)),
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("a_and_b", "verdict"),
    [
        (arms((3600, 3592), 4000, faster=0.7), "non-inferior and faster"),
        (arms((3600, 3592), 4000, faster=0.7, dearer=0.5), "non-inferior and faster and cheaper"),
        (arms((3600, 3592), 4000, faster=1.3, dearer=0.5), "non-inferior and cheaper, but slower"),
        (arms((3600, 3592), 4000), "non-inferior, no gain shown"),
        (arms((1800, 1600), 2000, faster=0.7), "inferior by 10.0%, more than the margin of 2.0%"),
        (arms((180, 178), 200), "inconclusive: needs about"),
        (arms((180, 176), 200), "inconclusive: the difference is just the margin"),
        (arms((4, 4), 5), "insufficient: each side needs 10 judged calls; there are 5 and 5"),
    ],
)
def test_verdicts(a_and_b: tuple[Arm, Arm], verdict: str) -> None:
    assert compare_arms(*a_and_b).verdict.startswith(verdict)


def test_so_many_more_labels_settle_it() -> None:
    found = compare_arms(*arms((180, 180), 200))
    assert found.more is not None
    factor = (400 + found.more) / 400
    again = compare_arms(*arms((round(180 * factor * 1.02), round(180 * factor * 1.02)), round(200 * factor * 1.02)))
    assert again.quality == "non-inferior"
    before = compare_arms(*arms((round(180 * factor * 0.9), round(180 * factor * 0.9)), round(200 * factor * 0.9)))
    assert before.quality == "inconclusive"


def test_an_inferior_variant_passes_as_rarely_as_said() -> None:
    """At the margin itself 2.5 % pass; a clearly worse one never does."""
    g = np.random.default_rng(4)
    passed = 0
    runs = 4000
    for hits_a, hits_b in zip(g.binomial(1500, 0.90, runs), g.binomial(1500, 0.88, runs), strict=True):
        a, b = Arm(name="a", quality=right(hits_a, 1500)), Arm(name="b", quality=right(hits_b, 1500))
        passed += compare_arms(a, b).quality == "non-inferior"
    assert 0.015 <= passed / runs <= 0.035


def test_the_margin_is_checked() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        compare_arms(Arm(name="a"), Arm(name="b"), margin=0)
