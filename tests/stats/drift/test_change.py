"""What a shift brings, and changes of estimates, against a second way of computing them."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from monitor.stats.drift import Drift
from monitor.stats.drift.change import change, size_of, whose
from monitor.stats.drift.contribution import BinOutcome, brought
from monitor.stats.result import Result


def outcome(rows: pd.DataFrame, k: int) -> BinOutcome:
    by = rows.groupby("bin")
    known = rows.dropna(subset="y").groupby("bin")
    return BinOutcome(
        mass=by["w"].sum().reindex(range(k), fill_value=0.0).to_numpy(float),
        known=known["w"].sum().reindex(range(k), fill_value=0.0).to_numpy(float),
        total=known.apply(lambda part: (part["w"] * part["y"]).sum()).reindex(range(k), fill_value=0.0).to_numpy(float),
    )


def random_rows(shares: list[float], *, seed: int, n: int = 2000) -> pd.DataFrame:
    g = np.random.default_rng(seed)
    rows = pd.DataFrame({"bin": g.choice(len(shares), n, p=shares), "w": g.choice([1.0, 3.0], n)})
    rows["y"] = np.where(g.random(n) < 0.2, np.nan, rows["bin"] * 2.0 + g.normal(0, 1, n))
    return rows


def test_what_a_shift_brings_is_the_difference_of_reweighted_means() -> None:
    before, after = random_rows([0.5, 0.3, 0.2], seed=1), random_rows([0.2, 0.3, 0.5], seed=2)
    found = brought(outcome(before, 3), outcome(after, 3))
    assert found is not None
    p, q = (rows.groupby("bin")["w"].sum() / rows["w"].sum() for rows in (before, after))
    known = before.dropna(subset="y")
    mean = known.groupby("bin").apply(lambda part: np.average(part["y"], weights=part["w"]))
    assert found[0] == pytest.approx(((q - p) * mean).sum())
    assert found[1] == pytest.approx(np.average(known["y"], weights=known["w"]))
    # Where only who asks has changed, that is all of the change.
    assert found[0] == pytest.approx(after["y"].mean() - before["y"].mean(), abs=0.25)


def test_bins_that_only_one_side_knows() -> None:
    def of(mass: list[float], known: list[float], total: list[float]) -> BinOutcome:
        return BinOutcome(mass=np.array(mass), known=np.array(known), total=np.array(total))

    before = of([10, 0], [10, 0], [20, 0])
    assert brought(before, of([5, 5], [5, 5], [10, 40])) == pytest.approx((0.5 * (8 - 2), 2.0))
    assert brought(before, of([5, 5], [5, 0], [10, 0])) == pytest.approx((0.0, 2.0))
    assert brought(of([10, 0], [0, 0], [0, 0]), before) is None
    assert brought(before, of([0, 0], [0, 0], [0, 0])) is None


def test_a_change_of_shares_is_newcombes() -> None:
    from monitor.stats.intervals import wilson

    def share(hits: int, n: int) -> Result:
        low, high = wilson(hits, n)
        return Result(value=hits / n, low=low, high=high, n=n)

    found = change("performance.accuracy", share(450, 500), share(380, 500), tolerance=0.05)
    assert found.value == pytest.approx(-0.14)
    assert found.low is not None
    assert found.high is not None
    assert found.low < -0.14 < found.high < -0.05
    assert found.p_value is not None
    table = [[450, 50], [380, 120]]
    assert math.log10(found.p_value) == pytest.approx(
        math.log10(stats.chi2_contingency(table, correction=False).pvalue), abs=1
    )
    size = size_of(found)
    assert (size.value, size.low, size.high) == pytest.approx((0.14, -found.high, -found.low))
    assert size_of(change("x", share(450, 500), share(452, 500), tolerance=0.05)).low == 0
    none = change("x", Result(value=None), share(3, 4), tolerance=0.05)
    assert (none.value, none.p_value) == (None, None)


@pytest.mark.parametrize(
    ("accuracy", "agreement", "verdicts", "words"),
    [
        (True, False, True, "model drift:"),
        (False, True, True, "judge drift:"),
        (True, True, True, "model drift and judge drift"),
        (None, None, True, "model or judge drift"),
        (False, False, True, "model drift, by the judge"),
        (False, False, False, ""),
        (None, None, None, ""),
    ],
)
def test_whose_drift_it_is(accuracy: bool | None, agreement: bool | None, verdicts: bool | None, words: str) -> None:
    def drift(told: bool | None) -> Drift | None:
        if told is None:
            return None
        return Drift(
            feature="x", method="difference", value=0.1, threshold=0.05, drifted=told, n_reference=9, n_current=9
        )

    said = whose(drift(accuracy), drift(agreement), drift(verdicts))
    assert said.startswith(words)
    assert bool(said) == bool(words)
