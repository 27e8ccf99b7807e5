"""The domain classifier: quiet on one distribution, and naming what moved."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from monitor.stats.drift import compare_tables, compare_texts, judge
from monitor.stats.drift.domain import _cross_validated, _p_value, looks_like_text

WORDS = [f"word{i}" for i in range(300)]


def texts(rng: np.random.Generator, n: int, *, extra: float = 0.0) -> pd.Series:
    weights = 1 / np.arange(1, 301)
    rows = [list(rng.choice(WORDS, 12, p=weights / weights.sum())) for _ in range(n)]
    for row in rows:
        if rng.random() < extra:
            row[3] = "refund"
    return pd.Series([" ".join(row) for row in rows])


def test_words_that_moved_and_examples() -> None:
    rng = np.random.default_rng(1)
    before, after = texts(rng, 600), texts(rng, 600, extra=0.5)
    found = compare_texts("prompt", before, after)
    (told,) = judge([found])
    assert told.drifted
    assert told.moved[0] == "+refund"
    assert len(found.current_rows) == len(found.reference_rows) == 3
    assert all("refund" in after[row] for row in found.current_rows)
    assert not any("refund" in before[row] for row in found.reference_rows)
    assert looks_like_text(before)
    assert not looks_like_text(pd.Series(["stop", "length"] * 100))


@pytest.mark.parametrize(("rows", "words", "runs"), [(80, 200, 100), (300, 20, 60)])
def test_false_alarms_at_most_nominal(rows: int, words: int, runs: int) -> None:
    rng = np.random.default_rng(2)
    share = np.minimum(0.9, 3 / np.arange(1, words + 1))
    side = np.repeat([0, 1], rows)
    wrong = 0
    for seed in range(runs):
        matrix = sparse.csr_matrix((rng.random((2 * rows, words)) < share).astype(float))
        value, error, _ = _cross_validated(matrix, side, seed)
        wrong += _p_value(value, error) <= 0.05
    print(f"\ndomain classifier, {rows} rows a side, {words} words: p <= 0.05 in {wrong} of {runs} stable pairs")
    assert wrong <= 0.05 * runs + 3 * (0.05 * 0.95 * runs) ** 0.5


def table(rng: np.random.Generator, n: int, *, rho: float = 0.0, slow: float = 0.0) -> pd.DataFrame:
    x = rng.normal(0, 1, n)
    return pd.DataFrame(
        {
            "input_tokens": x,
            "output_tokens": rho * x + np.sqrt(1 - rho**2) * rng.normal(0, 1, n),
            "ttft": rng.lognormal(slow, 0.5, n),
            "finish": rng.choice(["stop", "length"], n),
        }
    )


def test_features_that_moved() -> None:
    rng = np.random.default_rng(3)
    found = compare_tables("all", table(rng, 1500), table(rng, 1500, slow=0.6))
    assert judge([found])[0].drifted
    assert found.moved[0].lstrip("+−").startswith("ttft")


def test_a_pair_that_moves_while_each_alone_does_not() -> None:
    rng = np.random.default_rng(4)
    found = compare_tables("all", table(rng, 1500), table(rng, 1500, rho=0.8))
    assert judge([found])[0].drifted
    assert found.moved[0] == "+output_tokens with input_tokens"


def test_permutations_agree_with_delong() -> None:
    rng = np.random.default_rng(5)
    before, after = table(rng, 200), table(rng, 200, slow=0.1)
    quick = compare_tables("all", before, after)
    exact = compare_tables("all", before, after, permutations=60)
    assert quick.value == exact.value
    assert exact.test == "60 permutations"
    assert quick.p_value is not None
    assert exact.p_value == pytest.approx(quick.p_value, abs=0.15)


def test_sampling_and_edges() -> None:
    rng = np.random.default_rng(6)
    before, after = texts(rng, 300), texts(rng, 300)
    found = compare_texts("prompt", before, after, rows_max=100)
    assert (found.n_reference, found.n_current) == (300, 300)
    assert found.note == "trained on 100 and 100 sampled rows"
    again = compare_texts("prompt", before, after, rows_max=100)
    assert found == again
    few = compare_texts("prompt", before[:4], after[:4])
    assert few.value is None
    assert judge([few])[0].reason.startswith("too few rows")
    nothing = compare_texts("prompt", pd.Series([""] * 60), pd.Series([""] * 60))
    assert (nothing.value, nothing.p_value) == (0.5, 1.0)
    same = pd.DataFrame({"x": np.ones(60), "y": [None] * 60})
    assert not judge([compare_tables("all", same, same)])[0].drifted
