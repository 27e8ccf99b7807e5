"""Imbalance and hot nodes: by scipy, and by simulated routers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from monitor.stats.balance import Spread, imbalance
from monitor.stats.hot_nodes import LogSums, NodeSums, hot_nodes


def spread(*load: float) -> Spread:
    return Spread(load=load, effective_n=sum(load))


def test_chi_square_is_scipys() -> None:
    found = imbalance([spread(120, 90, 105)])
    truth = stats.chisquare([120, 90, 105])
    assert found.p_value == pytest.approx(truth.pvalue)
    assert found.value == pytest.approx(math.sqrt(max(0.0, truth.statistic - 2) / 315))
    assert found.n == 315
    assert found.nodes == 3


@pytest.mark.parametrize("load", [(100, 140), (9000, 7000), (60_000, 5_000)])
def test_interval_of_two_nodes_inverts_the_noncentral_distribution(load: tuple[int, ...]) -> None:
    found = imbalance([spread(*load)])
    n, df = sum(load), len(load) - 1
    x = stats.chisquare(load).statistic
    assert found.low is not None
    assert found.high is not None
    assert stats.ncx2.cdf(x, df, found.low**2 * n) == pytest.approx(0.975, abs=2e-3)
    assert stats.ncx2.cdf(x, df, found.high**2 * n) == pytest.approx(0.025, abs=2e-3)


def test_random_routing_is_even_as_often_as_it_should_be() -> None:
    g = np.random.default_rng(4)
    runs = 4000
    held = outside = 0
    for load in g.multinomial(600, [1 / 6] * 6, size=runs):
        found = imbalance([spread(*map(float, load))])
        assert found.low is not None
        assert found.band is not None
        held += found.low == 0.0
        # The index leaves the band exactly when the interval leaves 0.
        outside += math.sqrt(max(0.0, stats.chisquare(load).statistic - 5) / 600) > found.band
    assert 0.965 <= held / runs <= 0.985
    assert outside == runs - held


def test_coverage_of_a_stated_skew() -> None:
    g = np.random.default_rng(6)
    shares = np.array([0.3, 0.15, 0.2, 0.2, 0.15])
    truth = float(shares.std() / shares.mean())
    runs = 3000
    held = 0
    for load in g.multinomial(500, shares, size=runs):
        found = imbalance([spread(*map(float, load))])
        assert found.low is not None
        assert found.high is not None
        held += found.low <= truth <= found.high
    assert 0.935 <= held / runs <= 0.965


def test_groups_that_are_too_small_say_so() -> None:
    assert imbalance([spread(3, 3)]).value is None
    assert "insufficient" in imbalance([spread(500)]).note
    one = imbalance([spread(180, 60, 60)])
    assert imbalance([spread(180, 60, 60), spread(2, 1)]).value == one.value


def test_two_groups_are_pooled_by_their_calls() -> None:
    a, b = spread(180, 60, 60), spread(100, 101)
    x = a.chi_square + b.chi_square
    assert imbalance([a, b]).value == pytest.approx(math.sqrt((x - 3) / 501))


@given(st.lists(st.integers(5, 5000), min_size=2, max_size=12))
def test_order_does_not_matter_and_the_value_lies_within(load: list[int]) -> None:
    found = imbalance([spread(*load)])
    again = imbalance([spread(*reversed(load))])
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    assert again.value == pytest.approx(found.value, abs=1e-9)
    assert found.low <= found.value + 1e-9
    assert found.value <= found.high + 1e-9


def sums(values: np.ndarray) -> LogSums:
    x = np.log(values)
    n = float(len(x))
    return LogSums(n=len(x), w=n, ww=n, wx=float(x.sum()), wxx=float((x**2).sum()))


def cluster(
    g: np.random.Generator,
    shares: np.ndarray,
    *,
    n: int = 800,
    slower: float = 1.0,
    prompts: float = 1.0,
    temperature: float = 60.0,
    throttled: float = 0.0,
) -> list[NodeSums]:
    """Nodes of which the first is changed."""
    load = g.multinomial(n, shares)
    found = []
    for i, calls in enumerate(load):
        first = i == 0
        found.append(
            NodeSums(
                node=f"gpu-{i}",
                load=float(calls),
                load_ww=float(calls),
                waits=(
                    ("ttft", sums(g.lognormal(-1 + (math.log(slower) if first else 0), 0.6, calls))),
                    ("tpot", sums(g.lognormal(-4, 0.3, calls))),
                ),
                prompts=sums(g.lognormal(6 + (math.log(prompts) if first else 0), 0.8, calls)),
                temperature_c=temperature if first else 60.0,
                throttled=throttled if first else 0.0,
            )
        )
    return found


EVEN = np.full(5, 0.2)


def test_no_more_false_alarms_than_said() -> None:
    g = np.random.default_rng(12)
    # Few calls a node: chance alone makes differences of a tenth.
    runs = 1500
    alarms = sum(bool(hot_nodes(cluster(g, EVEN, n=150))) for _ in range(runs))
    assert 0.02 <= alarms / runs <= 0.062


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"slower": 1.5}, "slower at equal traffic"),
        ({"slower": 1.5, "prompts": 2.0}, "longer prompts"),
        ({"slower": 1.5, "temperature": 74.0}, "hotter GPU"),
        ({"slower": 1.5, "throttled": 0.4}, "throttled GPU"),
    ],
)
def test_causes_of_a_slow_node(change: dict[str, float], cause: str) -> None:
    g = np.random.default_rng(13)
    right = 0
    for _ in range(60):
        found = hot_nodes(cluster(g, EVEN, **change))
        right += [hot.node for hot in found] == ["gpu-0"] and found[0].cause == cause
    assert right >= 54


def test_a_stated_skew_is_found() -> None:
    g = np.random.default_rng(14)
    shares = np.array([0.32, 0.17, 0.17, 0.17, 0.17])
    found = [hot_nodes(cluster(g, shares)) for _ in range(100)]
    told = [each[0] for each in found if each and each[0].node == "gpu-0"]
    assert len(told) >= 97
    assert all(hot.cause == "more traffic" for hot in told)
    assert np.mean([hot.ratio for hot in told]) == pytest.approx(1.6, abs=0.05)
    assert "times its even share of calls, likely more traffic" in told[0].sentence


def test_what_is_too_small_to_act_on_is_no_alarm() -> None:
    g = np.random.default_rng(15)
    assert not hot_nodes(cluster(g, np.array([0.21, 0.1975, 0.1975, 0.1975, 0.1975]), n=40_000, slower=1.05))


def test_one_node_or_no_calls() -> None:
    assert hot_nodes([]) == []
    assert hot_nodes([NodeSums(node="a", load=100, load_ww=100)]) == []
    assert hot_nodes([NodeSums(node="a", load=3, load_ww=3), NodeSums(node="b", load=0, load_ww=0)]) == []
