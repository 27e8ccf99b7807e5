"""Whole tables: kinds of columns, missing values, chunks, and false alarms over many features."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from monitor.stats.drift import Options, compare, kind_of, left_out, ranked


def table(seed: int, n: int = 3000) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "id": np.arange(n) + n * seed,
            "key": [f"{rng.integers(2**60):x}" for _ in range(n)],
            "at": pd.date_range("2026-01-01", periods=n, freq="min").astype(str),
            "tokens": rng.integers(1, 4000, n),
            "ttft": np.where(rng.random(n) < 0.1, np.nan, rng.lognormal(-1, 0.6, n)),
            "retries": rng.integers(0, 4, n),
            "stream": rng.random(n) < 0.7,
            "finish": rng.choice(["stop", "length", None], n, p=[0.7, 0.2, 0.1]),
        }
    )


def test_kinds() -> None:
    before, after = table(0), table(1)
    kinds = {name: kind_of(before[name], after[name]) for name in before}
    assert kinds == {
        "id": "identifier",
        "key": "identifier",
        "at": "time",
        "tokens": "number",
        "ttft": "number",
        "retries": "number",
        "stream": "category",
        "finish": "category",
    }
    prompts = pd.Series([f"please answer question {i} now" for i in range(200)])
    assert kind_of(prompts) == "text"
    assert left_out(before, after.drop(columns="stream")) == {
        "id": "identifier",
        "key": "identifier",
        "at": "time",
        "stream": "on one side only",
    }


def test_quiet_then_each_change_is_named() -> None:
    before, after = table(0), table(1)
    methods = ("jensen_shannon", "psi", "ks", "wasserstein", "chi_square", "total_variation", "domain_classifier")
    quiet = compare(before, after, options=Options(methods=methods))
    assert {each.feature for each in quiet} == {
        "tokens", "ttft", "ttft.missing", "retries", "stream", "finish", "finish.missing", "(all features)",
    }  # fmt: skip
    assert not any(each.drifted for each in quiet)
    after["ttft"] *= 2
    after.loc[after.index[:900], "finish"] = "content_filter"
    after.loc[after.index[:1500], "retries"] = None
    loud = compare(before, after, options=Options(methods=methods))
    drifted = {(each.feature, each.method) for each in loud if each.drifted}
    assert {feature for feature, _ in drifted} == {
        "ttft", "finish", "finish.new", "retries.missing", "(all features)",
    }  # fmt: skip
    # Categories have no order: these two methods became the default one, once.
    assert {method for feature, method in drifted if feature == "finish"} == {
        "jensen_shannon", "psi", "chi_square", "total_variation",
    }  # fmt: skip
    first = ranked(loud)[0]
    assert first.drifted
    missing = next(each for each in loud if each.feature == "retries.missing")
    assert missing.value == pytest.approx(0.5)


def test_chunks_are_cut_in_order() -> None:
    before, after = table(0), table(1, n=2500)
    after.loc[after.index[2000:], "tokens"] += 3000
    found = compare(before, after, columns=["tokens"], chunk=1000)
    assert [(each.chunk, each.n_current, each.drifted) for each in found] == [
        (0, 1000, False),
        (1, 1000, False),
        (2, 500, True),
    ]


def test_no_current_rows_is_said() -> None:
    before = table(0, n=200)
    for chunk in (None, 10):
        found = compare(before, before.head(0), columns=["tokens", "finish"], chunk=chunk)
        assert {each.feature for each in found} >= {"tokens", "finish"}
        assert all(each.reason.startswith("too few rows") for each in found)


def test_false_discoveries_over_many_features() -> None:
    """With thresholds of 0 the test alone decides: tables without any drift, and any feature told as one."""
    runs, wrong = 60, 0
    rng = np.random.default_rng(7)
    options = Options(methods=("psi",), thresholds={"psi": 0.0})
    for _ in range(runs):
        before, after = (pd.DataFrame(rng.normal(0, 1, (300, 12))).add_prefix("x") for _ in range(2))
        wrong += any(each.drifted for each in compare(before, after, options=options))
    print(f"\n12 features, thresholds of 0: any false drift in {wrong} of {runs} tables")
    assert wrong <= 0.05 * runs + 3 * (0.05 * 0.95 * runs) ** 0.5


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([], dtype=float),
        pd.Series([np.nan] * 80),
        pd.Series([None] * 80, dtype=object),
        pd.Series([np.inf, -np.inf] * 40),
        pd.Series([1.0] * 80),
        pd.Series(["a"] * 80),
        pd.Series([True, False] * 40),
        pd.Series(pd.Categorical(["a", "b"] * 40)),
        pd.Series(pd.array([1, None, 3, 4] * 20, dtype="Int64")),
    ],
    ids=["empty", "nan", "none", "infinite", "constant", "one category", "bool", "categorical", "nullable"],
)
def test_odd_columns_do_not_drift_from_themselves(column: pd.Series) -> None:
    side = pd.DataFrame({"x": column})
    methods = ("jensen_shannon", "psi", "ks", "wasserstein", "chi_square", "total_variation")
    found = compare(side, side, columns=["x"], options=Options(methods=methods))
    assert found
    assert not any(each.drifted for each in found)
    assert all(each.value in (None, 0.0) for each in found)
    assert all(each.reason for each in found)


def test_what_is_no_number_is_missing() -> None:
    before, after = pd.DataFrame({"x": np.arange(100.0) % 7}), pd.DataFrame({"x": ["3"] * 50 + ["broken"] * 50})
    found = {each.feature: each for each in compare(before, after)}
    assert found["x"].n_current == 50
    assert found["x.missing"].value == pytest.approx(0.5)


def test_what_does_not_fit() -> None:
    before = table(0, n=100)
    with pytest.raises(ValueError, match="current table has no column `gone`"):
        compare(before.assign(gone=1), before, columns=["gone"])
    with pytest.raises(ValueError, match="at least one row"):
        compare(before, before, chunk=0)
    for wrong in ({"methods": ("nothing",)}, {"methods": ()}, {"alpha": 0.0}, {"thresholds": {"x": 1.0}}):
        with pytest.raises(ValueError):  # noqa: PT011
            Options(**wrong)
