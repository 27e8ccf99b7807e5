"""Paired differences: against scipy and counting by hand, and in simulations of fair and unfair models."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from monitor.stats.paired import holm, judge_pairs, paired_means, paired_shares, sign_flip

RUNS = 1500


def test_shares_by_hand() -> None:
    group, baseline = [1] * 12 + [0] * 28, [0] * 9 + [1] * 5 + [0] * 26
    found = paired_shares(group, baseline)
    more, fewer = 9, 2  # rows 0…8 and 12, 13
    assert (found.n, found.n_differing, found.value) == (40, 11, pytest.approx(7 / 40))
    assert found.p_value == pytest.approx(stats.binomtest(more, more + fewer).pvalue)
    plus, minus = (more + 1) / 42, (fewer + 1) / 42
    half = stats.norm.ppf(0.975) * np.sqrt((plus + minus - (plus - minus) ** 2) / 42)
    assert (found.low, found.high) == pytest.approx((plus - minus - half, plus - minus + half))
    assert (found.group_value, found.baseline_value) == (12 / 40, 5 / 40)


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=1, max_size=9))
def test_signs_by_all_ways(pairs: list[tuple[int, int]]) -> None:
    d = [a - b for a, b in pairs]
    seen = abs(sum(d))
    ways = [
        abs(sum(s * x for s, x in zip(signs, d, strict=True))) >= seen
        for signs in itertools.product((1, -1), repeat=len(d))
    ]
    p, _ = sign_flip([float(x) for x in d])
    assert p == pytest.approx(np.mean(ways))
    swapped, _ = sign_flip([float(-x) for x in d])
    assert swapped == pytest.approx(p)


def test_many_signs_are_those_of_scipy() -> None:
    d = np.random.default_rng(1).normal(0.3, 1, 60)
    p, test = sign_flip(d)
    other = stats.permutation_test((d,), lambda x, axis: np.abs(x.mean(axis=axis)), permutation_type="samples", n_resamples=9999, vectorized=True, random_state=2, alternative="greater")  # fmt: skip
    assert test == "sign flip, 9999 lots"
    assert p == pytest.approx(other.pvalue, abs=0.01)


def test_means_by_scipy() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(1, 1, 25), rng.normal(0, 1, 25)
    found = paired_means(a, b)
    interval = stats.ttest_rel(a, b).confidence_interval()
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert paired_means([2.0, float("nan")], [1.0, 1.0]).n == 1


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_nothing_and_nonsense() -> None:
    (none,) = judge_pairs([paired_shares([], [])], tolerance=0.05)
    assert (none.value, none.verdict, none.reason) == (None, "insufficient", "0 pairs, 10 wanted")
    assert paired_means([], []).value is None
    with pytest.raises(ValueError, match="ones and zeros"):
        paired_shares([0.5], [1.0])
    with pytest.raises(ValueError, match="two lists of one length"):
        paired_means([1.0], [1.0, 2.0])


@pytest.mark.parametrize(
    ("more", "n", "tolerance", "verdict"),
    [(0, 40, 0.2, "within"), (0, 40, 0.05, "unclear"), (30, 40, 0.05, "unequal"), (4, 40, 0.05, "unclear"), (5, 5, 0.05, "insufficient")],
)  # fmt: skip
def test_verdicts(more: int, n: int, tolerance: float, verdict: str) -> None:
    (found,) = judge_pairs([paired_shares([1] * more + [0] * (n - more), [0] * n)], tolerance=tolerance)
    assert found.verdict == verdict


def answers(rng: np.random.Generator, pairs: int, base: float, more: float) -> tuple[Any, Any]:
    """Refusals of pairs: prompts differ in how likely each is refused, the group's by `more` on average."""
    hard = rng.beta(2 * base, 2 * (1 - base), pairs)
    return (rng.random(pairs) < np.clip(hard + more, 0, 1)).astype(float), (rng.random(pairs) < hard).astype(float)


@pytest.mark.parametrize("pairs", [20, 60, 200])
def test_false_alarms_and_coverage_of_shares(pairs: int) -> None:
    """Four groups and no difference, no tolerance: at most 5 % of looks alarm; and the interval holds 0."""
    rng = np.random.default_rng(pairs)
    alarms, held = 0, 0
    for _ in range(RUNS // 4):
        looks = [paired_shares(*answers(rng, pairs, 0.2, 0.0)) for _ in range(4)]
        alarms += any(each.verdict == "unequal" for each in judge_pairs(looks, tolerance=0.0))
        held += sum((each.low or 0.0) <= 0 <= (each.high or 0.0) for each in looks)
    assert alarms / (RUNS // 4) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / (RUNS // 4))
    assert 0.935 <= held / (RUNS // 4 * 4) <= 0.99  # McNemar's and this interval are careful where few pairs differ


@pytest.mark.parametrize("pairs", [20, 60, 200])
def test_coverage_of_shares_with_a_difference(pairs: int) -> None:
    rng = np.random.default_rng(pairs + 1)
    held = 0
    for _ in range(RUNS):
        found = paired_shares(*answers(rng, pairs, 0.3, 0.0))
        held += (found.low or 0.0) <= 0.0 <= (found.high or 0.0)
    shifted = 0
    for _ in range(RUNS):
        truth = rng.random(pairs)
        group, base = (truth < 0.6).astype(float), ((truth < 0.45) | (truth > 0.9)).astype(float)
        found = paired_shares(group, base)  # 0.6 and 0.55: 0.15 differ one way, 0.1 the other
        shifted += (found.low or 0.0) <= 0.05 <= (found.high or 0.0)
    for share in (held / RUNS, shifted / RUNS):
        assert 0.935 <= share <= 0.985


@pytest.mark.parametrize("shape", ["normal", "skewed"])
def test_false_alarms_and_coverage_of_means(shape: str) -> None:
    rng = np.random.default_rng(7)
    alarms, held = 0, 0
    for _ in range(RUNS // 3):
        prompt = rng.normal(0, 2, 30)  # what differs between prompts falls out
        noise = rng.normal(0, 1, (2, 30)) if shape == "normal" else rng.exponential(1, (2, 30))
        found = paired_means(prompt + noise[0], prompt + noise[1])
        alarms += (found.p_value or 0.0) <= 0.05
        held += (found.low or 0.0) <= 0 <= (found.high or 0.0)
    assert alarms / (RUNS // 3) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / (RUNS // 3))
    assert 0.93 <= held / (RUNS // 3) <= 0.97


@pytest.mark.parametrize(("more", "pairs", "found_in"), [(0.3, 60, 0.75), (0.3, 120, 0.95), (0.5, 40, 0.9)])
def test_power(more: float, pairs: int, found_in: float) -> None:
    """An unfair group of three, tolerance 0.05: how often one look finds it, and blames no other."""
    rng = np.random.default_rng(11)
    hits = wrong = 0
    for _ in range(200):
        looks = [paired_shares(*answers(rng, pairs, 0.1, extra)) for extra in (more, 0.0, 0.0)]
        judged = judge_pairs(looks, tolerance=0.05)
        hits += judged[0].verdict == "unequal"
        wrong += any(each.verdict == "unequal" for each in judged[1:])
    assert hits / 200 >= found_in
    assert wrong / 200 <= 0.05
