"""Accuracy from confidence: against realised accuracy, scikit-learn, and worked cases."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from monitor.stats import intervals
from monitor.stats.calibrated import (
    Calibration,
    Kind,
    Metric,
    Scored,
    calibrate,
    expected,
    expected_confusion,
    expected_roc_auc,
)
from monitor.stats.classification import classify
from monitor.stats.confusion import Confusion
from monitor.stats.ranking import roc_auc

CAR_LOAN = Path(__file__).parents[1] / "data" / "nannyml-car-loan" / "scores.csv.gz"
# Published by NannyML for the ten chunks.
ACCURACY = (0.9422, 0.9422, 0.9502, 0.9436, 0.9410, 0.9146, 0.9156, 0.9144, 0.9224, 0.9122)
ROC_AUC = (0.970962, 0.970248, 0.976282, 0.967721, 0.969886, 0.960050, 0.958530, 0.959041, 0.963094, 0.957556)


@pytest.fixture(scope="module")
def car_loan() -> pd.DataFrame:
    return pd.read_csv(CAR_LOAN)


def window_of(rows: pd.DataFrame) -> Scored:
    counts = rows.groupby(["y_pred_proba", "y_pred"], as_index=False)["rows"].sum()
    w = counts["rows"].to_numpy(dtype=float)
    return Scored(
        score=counts["y_pred_proba"].to_numpy(dtype=float),
        predicted=counts["y_pred"].to_numpy(dtype=float),
        w=w,
        ww=w,
        n=int(w.sum()),
    )


@pytest.mark.parametrize("chunk", range(10))
def test_realised_accuracy_and_roc_auc_to_the_published_digits(car_loan: pd.DataFrame, chunk: int) -> None:
    rows = car_loan[car_loan.chunk == chunk]
    cells = rows.groupby(["repaid", "y_pred"])["rows"].sum()
    table = Confusion.from_sums([(str(int(a)), str(int(b)), int(n), float(n), float(n)) for (a, b), n in cells.items()])
    found = classify(table)
    assert found.accuracy.n == 5000
    assert found.accuracy.value == pytest.approx(ACCURACY[chunk], abs=5e-5)
    area = roc_auc(rows.y_pred_proba.repeat(rows["rows"]), rows.repaid.repeat(rows["rows"]))
    assert area.value == pytest.approx(ROC_AUC[chunk], abs=5e-7)


@pytest.mark.parametrize("kind", ["isotonic", "binned"])
def test_expected_accuracy_is_near_what_the_late_labels_say(car_loan: pd.DataFrame, kind: Kind) -> None:
    reference = car_loan[car_loan.chunk == -1]
    calibration = calibrate(reference.y_pred_proba, reference.repaid, reference.rows, kind=kind)
    for chunk in range(10):
        window = window_of(car_loan[car_loan.chunk == chunk])
        # Three standard errors of the realised accuracy of 5000 calls are 0.011.
        found = expected("accuracy", calibration, window)
        assert found.value == pytest.approx(ACCURACY[chunk], abs=0.011)
        assert expected_roc_auc(calibration, window).value == pytest.approx(ROC_AUC[chunk], abs=0.006)
        assert found.n == 5000
        # The drift of chunk 5 is seen without a label.
        assert (found.value or 0) < 0.93 if chunk >= 5 else (found.value or 0) > 0.935


def test_a_curve_that_is_no_line_is_not_for_platt(car_loan: pd.DataFrame) -> None:
    reference = car_loan[car_loan.chunk == -1]
    platt = calibrate(reference.y_pred_proba, reference.repaid, reference.rows)
    off = [
        (expected("accuracy", platt, window_of(car_loan[car_loan.chunk == chunk])).value or 0) - ACCURACY[chunk]
        for chunk in range(10)
    ]
    assert max(off) < -0.009


def exact(probability: float = 0.5) -> Calibration:
    """Scores that are probabilities."""
    return Calibration(kind="platt", curve=np.array([0.0, 1.0]), covariance=np.zeros((2, 2)), n=1000)


def test_expected_cells_worked_by_hand() -> None:
    window = Scored.of([0.9, 0.6, 0.2, 0.1], [1, 1, 0, 0])
    found = expected_confusion(exact(), window)
    assert found is not None
    assert found.cells * 4 == pytest.approx([1.5, 0.5, 0.3, 1.7])
    answers: dict[Metric, float] = {"accuracy": 3.2 / 4, "precision": 1.5 / 2, "recall": 1.5 / 1.8, "f1": 3 / 3.8}
    for metric, value in answers.items():
        result = expected(metric, exact(), window)
        assert result.value == pytest.approx(value)
        assert result.low is not None
        assert result.high is not None
        assert result.low < value < result.high
    # Pairs by hand: Σ p_i (1 - p_j) over s_i > s_j, half for the row itself.
    s = np.array([0.9, 0.6, 0.2, 0.1])
    wins = sum(a * (1 - b) * (1.0 if a > b else 0.5 if a == b else 0.0) for a in s for b in s)
    assert expected_roc_auc(exact(), window).value == pytest.approx(wins / (s.sum() * (1 - s).sum()))


def test_a_confidence_is_a_window_of_yes_alone() -> None:
    found = expected("accuracy", exact(), Scored.of([0.9, 0.7, 0.8, math.nan]))
    assert found.value == pytest.approx(0.8)
    assert found.n == 3


def test_platt_is_the_logistic_regression_with_its_usual_errors() -> None:
    generator = np.random.default_rng(1)
    s = np.round(generator.random(400), 2)
    y = (generator.random(400) < s).astype(float)
    found = calibrate(s, y)
    assert found is not None
    x = np.log(np.clip(s, 1e-3, 1 - 1e-3) / (1 - np.clip(s, 1e-3, 1 - 1e-3)))
    fit = LogisticRegression(C=np.inf, tol=1e-10).fit(x[:, None], y)
    assert found.predict(s) == pytest.approx(fit.predict_proba(x[:, None])[:, 1], abs=1e-4)
    # The score equations hold: residuals are orthogonal to the design.
    residual = y - found.predict(s)
    assert abs(residual.sum()) < 1e-3
    assert abs(residual @ x) < 1e-3
    # Counted rows are the rows.
    counts = pd.DataFrame({"s": s, "y": y}).groupby(["s", "y"]).size().reset_index(name="n")
    again = calibrate(counts.s, counts.y, counts.n)
    assert again is not None
    assert again.covariance == pytest.approx(found.covariance, rel=1e-3)


@pytest.mark.parametrize("kind", ["platt", "binned", "isotonic"])
def test_grouped_rows_weights_and_order_do_not_matter(kind: Kind) -> None:
    generator = np.random.default_rng(2)
    s = np.round(generator.random(2000), 1)
    calibration = calibrate(s, (generator.random(2000) < s).astype(float), kind=kind)
    window = np.round(generator.random(500), 1)
    yes = (window > 0.4).astype(float)
    plain = expected("f1", calibration, Scored.of(window, yes))
    turned = expected("f1", calibration, Scored.of(window[::-1], yes[::-1]))
    heavy = expected("f1", calibration, Scored.of(window, yes, np.full(500, 7.0)))
    values, counts = np.unique(np.column_stack([window, yes]), axis=0, return_counts=True)
    w = counts.astype(float)
    grouped = expected("f1", calibration, Scored(score=values[:, 0], predicted=values[:, 1], w=w, ww=w, n=500))
    for other in (turned, heavy, grouped):
        assert other.value == pytest.approx(plain.value)
        if kind != "isotonic":
            assert (other.low, other.high) == pytest.approx((plain.low, plain.high))
    assert (plain.low is None) == (kind == "isotonic")


def test_area_by_brute_force_with_its_published_error() -> None:
    generator = np.random.default_rng(3)
    y = (generator.random(80) < 0.4).astype(float)
    s = np.round(y * 0.3 + generator.random(80), 1)
    over = (s[y == 1][:, None] > s[y == 0]) + 0.5 * (s[y == 1][:, None] == s[y == 0])
    found = roc_auc(s, y)
    assert found.value == pytest.approx(over.mean())
    # DeLong: variances of the rows' and of the columns' means of that table.
    variance = over.mean(axis=1).var() / len(over) + over.mean(axis=0).var() / over.shape[1]
    effective = over.mean() * (1 - over.mean()) / variance
    assert (found.low, found.high) == pytest.approx(intervals.wilson(over.mean() * effective, effective))
    heavy = roc_auc(np.append(s, math.nan), np.append(y, 1.0), np.full(81, 4.0))
    assert (heavy.value, heavy.low, heavy.n) == (pytest.approx(found.value), pytest.approx(found.low), 80)
    assert roc_auc([0.1, 0.2], [1, 1]).note == "insufficient: labels of one class only"
    assert roc_auc([], []).value is None
    assert roc_auc([0.1, 0.9], [0, 1]).note.endswith("no interval")
    with pytest.raises(ValueError, match="0 or 1"):
        roc_auc([0.1], [0.5])


def test_what_is_missing_is_said() -> None:
    assert calibrate([0.5] * 30, [1.0] * 30) is None
    assert calibrate([], []) is None
    window = Scored.of([0.5, 0.5])
    assert expected("accuracy", None, window).note.startswith("insufficient: fewer than 10 labelled rows")
    assert expected_roc_auc(None, window).value is None
    assert expected("accuracy", exact(), Scored.of([])).value is None
    assert expected_roc_auc(exact(), Scored.of([])).value is None
    nothing_answered = expected("precision", exact(), Scored.of([0.1, 0.2], [0, 0]))
    assert (nothing_answered.value, nothing_answered.note) == (
        None,
        "insufficient: precision has nothing to be a share of",
    )
    with pytest.raises(ValueError, match="0 or 1"):
        Scored.of([0.5], [2.0])
    with pytest.raises(ValueError, match="0 or 1"):
        calibrate([0.5], [0.5])
    with pytest.raises(ValueError, match="weights"):
        Scored.of([0.5], [1.0], [-1.0])
    with pytest.raises(ValueError, match="one length"):
        Scored.of([0.5], [1.0, 1.0])
