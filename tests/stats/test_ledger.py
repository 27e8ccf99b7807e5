"""The ledger's arithmetic: parts that sum to the whole exactly, whatever the order, and unions of intervals."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.stats.ledger import SHARE, busy_share, node_hour, occupied_s, split_exactly

WEIGHTS = st.lists(st.integers(0, 10**15), min_size=1, max_size=60).filter(any)


@given(st.integers(0, 10**15), WEIGHTS)
def test_parts_sum_to_the_whole_and_stay_within_one_unit(total: int, weights: list[int]) -> None:
    ids = [f"{i:04d}" for i in range(len(weights))]
    parts = split_exactly(total, weights, ids)
    assert sum(parts) == total
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - Fraction(total * weight, sum(weights))) < 1
        assert part >= 0
        assert weight or not part


@given(st.integers(0, 10**9), WEIGHTS, st.randoms(use_true_random=False))
def test_order_does_not_matter(total: int, weights: list[int], random) -> None:  # type: ignore[no-untyped-def]
    ids = [f"{i:04d}" for i in range(len(weights))]
    parts = dict(zip(ids, split_exactly(total, weights, ids), strict=True))
    order = list(range(len(weights)))
    random.shuffle(order)
    shuffled = split_exactly(total, [weights[i] for i in order], [ids[i] for i in order])
    assert dict(zip([ids[i] for i in order], shuffled, strict=True)) == parts


@given(st.integers(0, 10**9), WEIGHTS, st.integers(1, 1000))
def test_the_scale_of_weights_does_not_matter(total: int, weights: list[int], factor: int) -> None:
    ids = [f"{i:04d}" for i in range(len(weights))]
    assert split_exactly(total, weights, ids) == split_exactly(total, [factor * each for each in weights], ids)


@given(st.integers(1, 20), st.integers(1, 20))
def test_a_sampled_request_bears_what_those_that_it_stands_for_would(copies: int, others: int) -> None:
    # One row of weight k takes what k rows of weight 1 take together, to less than a unit for each.
    ids = [f"{i:04d}" for i in range(copies + others)]
    whole = split_exactly(10**9, [7] * copies + [3] * others, ids)
    sampled = split_exactly(10**9, [7 * copies] + [3] * others, ids[: others + 1])
    assert abs(sum(whole[:copies]) - sampled[0]) <= copies


def test_what_cannot_be_split_is_refused() -> None:
    for total, weights, ids in (
        (-1, [1], ["a"]),
        (1, [0, 0], ["a", "b"]),
        (1, [], []),
        (1, [1, 2], ["a"]),
        (1, [-1, 2], ["a", "b"]),
    ):
        with pytest.raises(ValueError, match=r"split|need"):
            split_exactly(total, weights, ids)


@given(
    st.integers(0, 10**13), st.integers(0, 60), st.floats(0, 4000), st.booleans(), st.floats(1, 100), st.integers(0, 60)
)
def test_used_and_idle_make_the_cost(
    hourly: int, minutes: int, busy_s: float, works: bool, weight: float, up_to: int
) -> None:
    found = node_hour(
        hourly_nano=hourly, minutes=minutes, occupied_s=busy_s, works=works, weight=weight, minutes_max=up_to
    )
    assert found.used + found.idle == found.cost
    assert abs(found.cost - Fraction(hourly * min(minutes, up_to), 60)) <= Fraction(1, 2)
    assert found.used >= 0
    assert found.idle >= 0
    if not works or not busy_s:
        assert found.used == 0


def test_a_node_hour_by_hand() -> None:
    found = node_hour(hourly_nano=4_000_000_000, minutes=45, occupied_s=900, works=True)
    # Three dollars for 45 minutes, of which a third was used.
    assert (found.cost, found.used, found.idle, found.busy) == (3_000_000_000, 999_999_999, 2_000_000_001, 333_333_333)


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 60)), max_size=40))
def test_unions_of_intervals(intervals: list[tuple[int, int]]) -> None:
    covered = {second for start, length in intervals for second in range(start, start + length)}
    starts = np.array([start for start, _ in intervals], dtype=np.float64)
    ends = np.array([start + length for start, length in intervals], dtype=np.float64)
    assert occupied_s(starts, ends) == len(covered)


def test_sampled_requests_fill_gaps_as_poisson_ones_do() -> None:
    """The busy share of all requests, estimated from a quarter of them."""
    g = np.random.default_rng(3)
    estimates, truths = [], []
    for _ in range(300):
        n = g.poisson(400)
        starts = np.sort(g.uniform(0, 3600, n))
        ends = np.minimum(starts + g.gamma(2, 3, n), 3600)
        kept = g.random(n) < 0.25
        truths.append(occupied_s(starts, ends) / 3600)
        estimates.append(busy_share(occupied_s(starts[kept], ends[kept]), 3600, weight=4) / SHARE)
    # Without the correction the mean would be 0.15 instead of 0.48.
    assert np.mean(estimates) == pytest.approx(np.mean(truths), abs=0.015)
    assert np.mean(truths) == pytest.approx(1 - np.exp(-400 * 6 / 3600), abs=0.01)
