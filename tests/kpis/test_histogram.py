"""Histograms against the values that they are made of: quantiles within 1 %, intervals that hold the exact ones', sums in any order."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.kpis.histogram import ERROR, GAMMA, Histogram, bucket_sql, bucket_value
from monitor.stats.intervals import quantile_ranks
from monitor.store import Client

LOWEST = -32768
LEVELS = (0.0, 0.01, 0.5, 0.9, 0.95, 0.99, 1.0)
latencies = st.floats(1e-6, 1e5) | st.sampled_from([0.0, 1.0, 0.25, 2.0])
weights = st.sampled_from([1.0, 2.0, 20.0, 0.5])


def bucket(value: float) -> int:
    return LOWEST if value <= 0 else math.ceil(math.log(value) / math.log(GAMMA))


def histogram(values: Sequence[float], weight: Sequence[float] | None = None) -> Histogram:
    """As the store makes it: maps of sums, in any order."""
    each = [1.0] * len(values) if weight is None else weight
    h: dict[int, float] = {}
    hx: dict[int, float] = {}
    for value, w in zip(values, each, strict=True):
        h[bucket(value)] = h.get(bucket(value), 0.0) + w
        if w != 1:
            hx[bucket(value)] = hx.get(bucket(value), 0.0) + w * (w - 1)
    row = {
        "m__n": len(values), "calls__w_min": min(each), "calls__w_max": max(each),
        "m__h_buckets": list(h), "m__h_weights": list(h.values()),
        "m__hx_buckets": list(hx), "m__hx_weights": list(hx.values()),
    }  # fmt: skip
    return Histogram.of(row, "m")


@given(st.lists(latencies, min_size=1, max_size=300), st.sampled_from(LEVELS))
@settings(max_examples=300)
def test_a_quantile_is_within_the_stated_error(values: list[float], level: float) -> None:
    exact = float(np.quantile(values, level))
    assert histogram(values).quantile(level) == pytest.approx(exact, rel=ERROR * (1 + 1e-6), abs=1e-12)


@given(st.lists(latencies, min_size=1, max_size=300), st.sampled_from(LEVELS[1:-1]))
@settings(max_examples=300)
def test_an_interval_holds_the_exact_one(values: list[float], level: float) -> None:
    ordered = sorted(values)
    low, high = histogram(values).interval(level)
    exact = quantile_ranks(len(values), level)
    if low is not None and exact.low is not None:
        assert low <= ordered[exact.low - 1] * (1 + 1e-9)
    if high is not None and exact.high is not None:
        assert high >= ordered[exact.high - 1] * (1 - 1e-9)
    # Never an end where the exact one would need more values.
    assert low is None or exact.low is not None
    assert high is None or exact.high is not None


@given(st.lists(st.tuples(latencies, weights), min_size=1, max_size=200), st.sampled_from(LEVELS[1:-1]))
@settings(max_examples=200)
def test_with_weights_it_is_a_value_with_that_share_below(pairs: list[tuple[float, float]], level: float) -> None:
    pairs = sorted(pairs)
    values, each = [value for value, _ in pairs], [w for _, w in pairs]
    found = histogram(values, each)
    if found.weight is not None:
        return
    # Where the weights reach the level exactly, either neighbour is a quantile.
    reached = np.cumsum(each) / (level * sum(each))
    either = [values[int(np.argmax(reached > edge))] for edge in (1 - 1e-9, 1 + 1e-9)]
    assert any(found.quantile(level) == pytest.approx(value, rel=ERROR * (1 + 1e-6), abs=1e-12) for value in either)


def test_coverage_of_the_interval() -> None:
    """Of 4,000 samples of 500 latencies, the share whose interval holds the true p90; a bucket's edge makes it a little more."""
    g = np.random.default_rng(7)
    truth = float(np.exp(-1 + 0.6 * 1.2815515655446004))
    held = 0
    for _ in range(4000):
        low, high = histogram(list(g.lognormal(-1, 0.6, 500))).interval(0.9)
        held += low is not None and high is not None and low <= truth <= high
    assert 0.95 <= held / 4000 <= 0.985


def test_the_store_finds_the_same_buckets(store_client: Client) -> None:
    g = np.random.default_rng(3)
    values = [0.0, -1.0, 1.0, 1e-300, 1e300, *g.lognormal(-1, 2, 500).tolist()]
    query = f"SELECT arrayMap(x -> {bucket_sql('x')}, {{values:Array(Float64)}})"
    found = store_client.query(query, parameters={"values": values}).result_rows[0][0]
    for value, place in zip(values, found, strict=True):
        assert place == LOWEST if value <= 0 else abs(place) <= 32767
        if 1e-6 < value < 1e6:
            assert bucket_value(place) == pytest.approx(value, rel=ERROR * (1 + 1e-6))
