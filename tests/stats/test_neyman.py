"""Where the next label goes: against all ways of giving few labels out, and against labelling at random."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from monitor.stats.neyman import Labelling, half_width, next_labels, spreads


def test_the_greedy_way_is_the_best_of_all() -> None:
    """Each label where it helps most is, together, the best way to give them out: by trying all."""
    strata = [Labelling(share=s, labels=n, left=50, hits=h) for s, n, h in ((0.5, 9, 1), (0.3, 6, 3), (0.2, 4, 0))]
    found = spreads(strata)

    def variance(more: tuple[int, ...]) -> float:
        return sum((each.share * s) ** 2 / (each.labels + m) for each, s, m in zip(strata, found, more, strict=True))

    for budget in (1, 4, 9):
        steps = [step.stratum for step in next_labels(strata, budget)]
        ways = (more for more in itertools.product(range(budget + 1), repeat=3) if sum(more) == budget)
        best = min(variance(more) for more in ways)
        assert variance(tuple(steps.count(i) for i in range(3))) == pytest.approx(best)
    gains = [step.gain for step in next_labels(strata, 9)]
    assert gains == sorted(gains, reverse=True)
    assert gains[0] == pytest.approx(
        variance((0, 0, 0)) - min(variance(tuple(int(i == j) for j in range(3))) for i in range(3))
    )


def test_many_labels_go_as_neyman_says() -> None:
    strata = [
        Labelling(share=s, labels=1000, left=10**6, hits=1000 * p) for s, p in ((0.6, 0.1), (0.3, 0.5), (0.1, 0.3))
    ]
    steps = next_labels(strata, 60_000)
    got = np.array([1000 + sum(step.stratum == i for step in steps) for i in range(3)])
    wanted = np.array([0.6 * 0.3, 0.3 * 0.5, 0.1 * math.sqrt(0.21)])
    assert got / got.sum() == pytest.approx(wanted / wanted.sum(), abs=0.005)


def test_what_is_not_there_is_not_given_out() -> None:
    strata = [Labelling(share=0.9, labels=0, left=2, hits=0), Labelling(share=0.1, labels=0, left=3, hits=0)]
    assert sorted(step.stratum for step in next_labels(strata, 10)) == [0, 0, 1, 1, 1]
    assert next_labels([], 5) == []
    assert half_width([1.0], [0.5], [0]) == math.inf
    assert half_width([0.5, 0.5, 0.0], [0.2, 0.4, 9.0], [10, 20, 0]) == pytest.approx(1.959964 * math.sqrt(0.25 * 0.04 / 10 + 0.25 * 0.16 / 20))  # fmt: skip


def test_labelling_by_the_queue_shortens_the_interval_more_than_labelling_at_random() -> None:
    """6 hours, half of them with a judge that errs often; 216 labels in rounds of 24, each round as the queue says by then.

    The mean stays true (what is labelled is by lot within an hour), and its interval is shorter.
    """
    rng = np.random.default_rng(5)
    errors = np.array([0.02, 0.4] * 3)
    shares = np.full(6, 1 / 6)
    truth = float(shares @ errors)
    widths: dict[str, list[float]] = {"queue": [], "random": []}
    true: dict[str, list[float]] = {"queue": [], "random": []}
    deviations = list(np.sqrt(errors * (1 - errors)))
    off, held = [], 0
    for _ in range(300):
        labels, hits = np.full(6, 4), rng.binomial(4, errors)
        for _ in range(8):
            strata = [Labelling(share=s, labels=int(n), left=1000, hits=float(h)) for s, n, h in zip(shares, labels, hits, strict=True)]  # fmt: skip
            given = np.bincount([step.stratum for step in next_labels(strata, 24)], minlength=6)
            labels, hits = labels + given, hits + rng.binomial(given, errors)
        at_random = 4 + rng.multinomial(192, shares)
        for name, n, h in (("queue", labels, hits), ("random", at_random, rng.binomial(at_random, errors))):
            seen = spreads([Labelling(share=1 / 6, labels=int(a), left=1, hits=float(b)) for a, b in zip(n, h, strict=True)])  # fmt: skip
            widths[name].append(half_width(list(shares), seen, [int(each) for each in n]))
            true[name].append(half_width(list(shares), deviations, [int(each) for each in n]))
        found = float(shares @ (hits / labels))
        off.append(found - truth)
        held += abs(found - truth) <= widths["queue"][-1]
    assert np.mean(widths["queue"]) < 0.95 * np.mean(widths["random"])
    assert np.mean(true["queue"]) < 0.9 * np.mean(true["random"])
    assert abs(np.mean(off)) < 3 * np.std(off) / math.sqrt(300) + 0.004
    assert held / 300 >= 0.92
