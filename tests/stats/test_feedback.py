"""Feedback corrected for who answers: by hand, by scipy-free brute force, and how often its interval holds the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.stats.feedback import AnswerSums, joined, post_stratified
from monitor.stats.intervals import wilson

RUNS = 3000


def stratum(*key: str, calls: float, n: int, hits: int) -> AnswerSums:
    return AnswerSums(key=key, calls=calls, n=n, w=float(n), ww=float(n), hits=float(hits), hits_ww=float(hits))


def test_by_hand() -> None:
    found = post_stratified([stratum("a", calls=800, n=20, hits=15), stratum("b", calls=200, n=80, hits=20)])
    assert found.value == pytest.approx(0.8 * 0.75 + 0.2 * 0.25)
    assert found.raw.value == pytest.approx(35 / 100)
    assert (found.raw.low, found.raw.high) == pytest.approx(wilson(35, 100))
    assert found.n == 100


def test_one_stratum_is_the_raw_share() -> None:
    found = post_stratified([stratum("a", calls=500, n=40, hits=10)])
    assert found.value == found.raw.value == 0.25
    assert found.effective_n == pytest.approx(40)
    assert (found.low, found.high) == pytest.approx(wilson(10, 40))


def test_small_strata_join_their_neighbours() -> None:
    strata = [
        stratum("m", "short", calls=100, n=2, hits=1),
        stratum("m", "long", calls=50, n=30, hits=3),
        stratum("m", "huge", calls=10, n=3, hits=0),
        stratum("q", "short", calls=40, n=0, hits=0),
    ]
    found = {each.key: each for each in joined(strata, answers_min=5)}
    assert found["m",].calls == 110
    assert found["m",].n == 5
    # Nobody answered for the last model: its calls go where most answers are.
    assert found["m", "long"].calls == 90
    assert sum(each.calls for each in found.values()) == 200


def test_nothing_answered() -> None:
    found = post_stratified([stratum("a", calls=10, n=0, hits=0)])
    assert found.value is None
    assert "no call has an answer" in found.note
    assert post_stratified([]).value is None


@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, 4.0)], ids=["whole", "sampled"])
def test_coverage_where_answering_depends_on_a_stratum(weights: tuple[float, float]) -> None:
    """Long answers and failures are answered more often, and disliked more: raw misses, corrected holds."""
    g = np.random.default_rng(5)
    share = np.array([0.55, 0.25, 0.15, 0.05])
    up = np.array([0.9, 0.75, 0.5, 0.1])
    answers = np.array([0.03, 0.05, 0.12, 0.4])
    truth = float(share @ up)
    n = 4000
    calls = g.multinomial(n, share, size=RUNS)
    answered = g.binomial(calls, answers)
    liked = g.binomial(answered, up)
    # Within a stratum some calls stand for more than themselves, whatever was said.
    light_liked, light_not = g.binomial(liked, 0.5), g.binomial(answered - liked, 0.5)
    a, b = weights
    held = raw_held = 0
    for run in range(RUNS):
        strata = [
            AnswerSums(
                key=(str(h),),
                calls=float(calls[run, h] * (a + b) / 2),
                n=int(answered[run, h]),
                w=float(a * (light_liked + light_not)[run, h] + b * (answered - light_liked - light_not)[run, h]),
                ww=float(
                    a * a * (light_liked + light_not)[run, h] + b * b * (answered - light_liked - light_not)[run, h]
                ),
                hits=float(a * light_liked[run, h] + b * (liked - light_liked)[run, h]),
                hits_ww=float(a * a * light_liked[run, h] + b * b * (liked - light_liked)[run, h]),
            )
            for h in range(4)
        ]
        found = post_stratified(strata)
        assert found.low is not None
        assert found.high is not None
        assert found.raw.low is not None
        assert found.raw.high is not None
        held += found.low <= truth <= found.high
        raw_held += found.raw.low <= truth <= found.raw.high
    assert raw_held / RUNS < 0.05
    assert 0.935 <= held / RUNS <= 0.965


def test_coverage_with_many_small_strata() -> None:
    """Sixty strata, most with a handful of answers: joining them costs no more than a point."""
    g = np.random.default_rng(8)
    k = 60
    share = g.dirichlet(np.full(k, 0.7))
    level = np.arange(k) % 3
    up, answers = np.array([0.85, 0.7, 0.4])[level], np.array([0.04, 0.08, 0.25])[level]
    truth = float(share @ up)
    held = 0
    runs = 1000
    for _ in range(runs):
        calls = g.multinomial(6000, share)
        answered = g.binomial(calls, answers)
        liked = g.binomial(answered, up)
        strata = [
            stratum(str(level[h]), str(h), calls=float(calls[h]), n=int(answered[h]), hits=int(liked[h]))
            for h in range(k)
        ]
        found = post_stratified(strata)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= truth <= found.high
    assert 0.93 <= held / runs <= 0.97


_strata = st.lists(
    st.tuples(
        st.sampled_from("abc"), st.sampled_from("xyz"), st.integers(1, 500), st.integers(0, 30), st.integers(0, 30)
    ),
    min_size=1,
    max_size=9,
)


@given(_strata, st.randoms())
def test_order_and_scale_change_nothing(rows: list[tuple[str, str, int, int, int]], random: object) -> None:
    strata = [stratum(a, b, calls=float(c + n), n=n, hits=min(n, h)) for a, b, c, n, h in rows]
    found = post_stratified(strata)
    again = post_stratified(list(reversed(strata)))
    assert (again.value is None) == (found.value is None)
    if found.value is None:
        return
    assert again.value == pytest.approx(found.value)
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low <= found.value <= found.high <= 1
    # Only shares of the calls count, not how many there are.
    scaled = post_stratified(
        [
            AnswerSums(key=s.key, calls=s.calls * 7, n=s.n, w=s.w, ww=s.ww, hits=s.hits, hits_ww=s.hits_ww)
            for s in strata
        ]
    )
    assert scaled.value == pytest.approx(found.value)
    assert scaled.low == pytest.approx(found.low)


@pytest.mark.parametrize("good", [0.0, 1.0])
@given(calls=st.lists(st.floats(0.1, 1e9), min_size=1, max_size=9), weights=st.lists(st.floats(0.1, 50.0), min_size=5))
def test_all_agree(good: float, calls: list[float], weights: list[float]) -> None:
    """Shares of the calls, and sums of weights in another order, are off by a rounding; the answer is not."""
    n, w, ww = len(weights), sum(weights), sum(weight**2 for weight in weights)
    hits = good * sum(reversed(weights))
    found = post_stratified(
        AnswerSums(key=(str(index),), calls=each, n=n, w=w, ww=ww, hits=hits, hits_ww=good * ww)
        for index, each in enumerate(calls)
    )
    assert found.value == good
    shares = np.array(calls) / sum(calls)
    expected = (w**2 / ww) / np.sum(shares**2)  # independent strata: variances add up by the square of their shares
    assert found.effective_n == pytest.approx(expected)
    assert (found.low, found.high) == pytest.approx(wilson(good * expected, expected))
