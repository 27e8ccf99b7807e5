"""Values, differences and ratios equal fairlearn's to 1e-9."""

from __future__ import annotations

from pathlib import Path

import fairlearn.metrics as fl
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, precision_score

from monitor.stats.bias import BiasReport, Options, assess, families_of_rows

METRICS = {
    "accuracy": accuracy_score,
    "selection_rate": fl.selection_rate,
    "true_positive_rate": fl.true_positive_rate,
    "false_positive_rate": fl.false_positive_rate,
    "precision": precision_score,
}
PLAIN = Options(min_n=1)


def same(report: BiasReport, label: np.ndarray, said: np.ndarray, group: np.ndarray, w: np.ndarray | None) -> None:
    params = None if w is None else {name: {"sample_weight": w} for name in METRICS}
    frame = fl.MetricFrame(metrics=METRICS, y_true=label, y_pred=said, sensitive_features=group, sample_params=params)
    values = {(each.metric, each.group): each.value for each in report.values if each.by == "group"}
    for name in METRICS:
        for key, wanted in frame.by_group[name].items():
            assert values[name, str(key)] == pytest.approx(wanted, abs=1e-9)
    gaps = {(gap.of, gap.gap): gap.value for gap in report.gaps if gap.metric != "equalized_odds"}
    for name in METRICS:
        assert gaps[name, "difference"] == pytest.approx(frame.difference()[name], abs=1e-9)
        assert gaps[name, "ratio"] == pytest.approx(frame.ratio()[name], abs=1e-9)
    named = {(gap.metric, gap.gap): gap.value for gap in report.gaps}
    given = {"sensitive_features": group, "sample_weight": w}
    for name in ("demographic_parity", "equal_opportunity", "equalized_odds"):
        for kind in ("difference", "ratio"):
            wanted = getattr(fl, f"{name}_{kind}")(label, said, **given)
            assert named[name, kind] == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize(("seed", "groups", "weighted"), [(1, 2, False), (2, 5, False), (3, 30, False), (4, 4, True)])
def test_random_rows(seed: int, groups: int, weighted: bool) -> None:
    g = np.random.default_rng(seed)
    n = 200 * groups
    group = np.array([f"g{i}" for i in g.integers(0, groups, n)])
    label = (g.random(n) < 0.4).astype(int)
    said = np.where(g.random(n) < g.uniform(0.6, 0.95), label, 1 - label)
    w = g.choice([1.0, 2.5, 10.0], n) if weighted else None
    report = assess(families_of_rows({"group": group}, label=label, prediction=said, weights=w), PLAIN)
    same(report, label, said, group, w)


def test_car_loans(shared_folder: Path) -> None:
    """NannyML's car loans, real size: groups are chunks of time, weights the number of rows that each line stands for."""
    rows = pd.read_csv(shared_folder / "nannyml-car-loan" / "scores.csv.gz")
    group, w = rows["chunk"].astype(str).to_numpy(), rows["rows"].to_numpy(dtype=float)
    label, said = rows["repaid"].to_numpy(dtype=int), rows["y_pred"].to_numpy(dtype=int)
    report = assess(families_of_rows({"group": group}, label=label, prediction=said, weights=w), PLAIN)
    same(report, label, said, group, w)


def test_where_fairlearn_says_zero_we_say_insufficient() -> None:
    """Eight rows; b has no positives: fairlearn finds an equal-opportunity difference of 1."""
    group = np.array(list("aaaabbbb"))
    label, said = np.array([1, 1, 0, 0, 0, 0, 0, 0]), np.array([1, 1, 0, 0, 0, 0, 0, 0])
    assert fl.equal_opportunity_difference(label, said, sensitive_features=group) == 1.0
    report = assess(families_of_rows({"group": group}, label=label, prediction=said), PLAIN)
    mine = {each.group: each for each in report.values if each.metric == "true_positive_rate"}
    assert (mine["a"].value, mine["b"].value, mine["b"].sufficient) == (1.0, None, False)
    assert mine["b"].note == "insufficient: 0 positive labels, 1 wanted"
    verdicts = {gap.verdict for gap in report.gaps if gap.metric in ("equal_opportunity", "equalized_odds")}
    assert verdicts == {"insufficient"}
