"""Classification, agreement and calibration error against scikit-learn, scipy and worked cases."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

from monitor.stats import agreement as ag
from monitor.stats import intervals as iv
from monitor.stats.calibration_error import Bins, calibration_error
from monitor.stats.classification import classify, macro_f1_of
from monitor.stats.confusion import Confusion
from monitor.stats.result import Result

CLASSES = st.sampled_from(["refund", "order", "other"])
ROWS = st.lists(st.tuples(CLASSES, CLASSES, st.floats(1, 20)), min_size=0, max_size=60)


def table_of(rows: list[tuple[str, str, float]]) -> Confusion:
    return Confusion.of([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])


def ordered(found: Result) -> bool:
    if found.value is None or found.low is None or found.high is None:
        return True
    return found.low - 1e-9 <= found.value <= found.high + 1e-9


@given(rows=ROWS)
@settings(max_examples=30, deadline=None)
def test_scores_are_those_of_scikit_learn(rows: list[tuple[str, str, float]]) -> None:
    table = table_of(rows)
    found = classify(table)
    if not rows:
        assert found.accuracy.value is None
        assert found.macro_f1.value is None
        return
    label, answer, weight = zip(*rows, strict=True)
    assert found.accuracy.value == pytest.approx(metrics.accuracy_score(label, answer, sample_weight=weight))
    for average, result in (
        (metrics.precision_score, found.macro_precision),
        (metrics.recall_score, found.macro_recall),
        (metrics.f1_score, found.macro_f1),
    ):
        expected = average(label, answer, average="macro", sample_weight=weight, zero_division=np.nan)
        assert result.value == pytest.approx(expected)
    for name, each in found.classes.items():
        for score, result in (
            (metrics.precision_score, each.precision),
            (metrics.recall_score, each.recall),
            (metrics.f1_score, each.f1),
        ):
            expected = score(label, answer, labels=[name], average=None, sample_weight=weight, zero_division=np.nan)[0]
            assert (result.value is None) == bool(np.isnan(expected))
            if result.value is None:
                assert result.note.startswith("insufficient")
            else:
                assert result.value == pytest.approx(expected)
            assert ordered(result)
    if len(set(label)) > 1:
        expected = metrics.recall_score(
            label, answer, labels=sorted(set(label)), average="macro", sample_weight=weight, zero_division=0
        )
        assert found.balanced_accuracy.value == pytest.approx(expected)
    else:
        assert found.balanced_accuracy.note == "insufficient: labels of one class only"
    for result in (found.accuracy, found.balanced_accuracy, found.macro_precision, found.macro_f1):
        assert ordered(result)


@given(rows=ROWS)
@settings(max_examples=30, deadline=None)
def test_agreement_is_that_of_scikit_learn(rows: list[tuple[str, str, float]]) -> None:
    table = table_of(rows)
    kappa, raw = ag.cohen_kappa(table), ag.agreement(table)
    assert ordered(kappa)
    assert ordered(raw)
    if len({row[0] for row in rows} | {row[1] for row in rows}) < 2:
        assert kappa.value is None
        assert kappa.note.startswith("insufficient")
    else:
        label, verdict, weight = zip(*rows, strict=True)
        expected = metrics.cohen_kappa_score(label, verdict, sample_weight=weight)
        assert kappa.value == pytest.approx(expected, abs=1e-9)
        assert ag.kappa_of(table.w / table.w.sum()) == pytest.approx(expected, abs=1e-9)
        # Order of rows and scale of weights do not matter.
        turned = ag.cohen_kappa(table_of([(a, b, 2 * w) for a, b, w in rows[::-1]]))
        assert (turned.value, turned.low) == pytest.approx((kappa.value, kappa.low))


def test_intervals_worked_by_hand() -> None:
    # 30 hits, 10 false alarms, 20 missed, 40 rightly left alone.
    cells = [("yes", "yes", 30), ("no", "yes", 10), ("yes", "no", 20), ("no", "no", 40)]
    table = Confusion.from_sums([(label, answer, n, float(n), float(n)) for label, answer, n in cells])
    found = classify(table)
    yes = found.classes["yes"]
    assert (yes.precision.value, yes.precision.low, yes.precision.high) == pytest.approx((0.75, *iv.wilson(30, 40)))
    assert (yes.recall.value, yes.recall.low, yes.recall.high) == pytest.approx((0.6, *iv.wilson(30, 50)))
    low, high = iv.wilson(30, 60)
    assert low is not None
    assert high is not None
    assert (yes.f1.value, yes.f1.low, yes.f1.high) == pytest.approx((2 / 3, 2 * low / (1 + low), 2 * high / (1 + high)))
    assert (found.accuracy.value, found.accuracy.low) == pytest.approx((0.7, iv.wilson(70, 100).low))
    # Balanced accuracy: mean of 30/50 and 40/50, MOVER from their Wilson limits.
    a, b = iv.wilson(30, 50), iv.wilson(40, 50)
    below = math.hypot(0.6 - (a.low or 0), 0.8 - (b.low or 0)) / 2
    assert found.balanced_accuracy.low == pytest.approx(0.7 - below)
    # κ = (0.7 - 0.5) / (1 - 0.5): chance is 0.5 · 0.4 + 0.5 · 0.6.
    kappa = ag.cohen_kappa(table)
    assert kappa.value == pytest.approx(0.4)
    # Fleiss, Cohen and Everitt's (1969) large-sample error of this table, computed by brute force below.
    assert (kappa.high or 0) - (kappa.low or 0) == pytest.approx(2 * 1.96 * _kappa_error(table.w), rel=0.06)
    assert macro_f1_of(table.w / 100) == pytest.approx(found.macro_f1.value)


def _kappa_error(counts: np.ndarray) -> float:
    """By the delta method with numerical derivatives."""
    shares, n, step = counts / counts.sum(), counts.sum(), 1e-6
    slope = np.zeros_like(shares)
    for cell in np.ndindex(*shares.shape):
        up, down = shares.copy(), shares.copy()
        up[cell] += step
        down[cell] -= step
        slope[cell] = float(ag.kappa_of(up / up.sum()) - ag.kappa_of(down / down.sum())) / (2 * step)
    return math.sqrt(float((shares * slope**2).sum() - (shares * slope).sum() ** 2) / n)


def test_what_is_missing_is_said_and_no_zero_is_pretended() -> None:
    table = Confusion.of(["a", "a", None, "a"], ["a", "b", "a", math.nan])
    assert (table.n, table.missing) == (2, 2)
    found = classify(table)
    assert found.accuracy.value == 0.5
    assert found.accuracy.note == "2 rows without a label or an answer left out"
    assert found.classes["b"].recall.note == "insufficient: no label is b"
    assert found.classes["b"].precision.value == 0
    assert found.macro_recall.note == "not defined for b"
    assert "no interval below 100 rows" in found.macro_f1.note
    assert ag.agreement(Confusion.of([], [])).value is None
    assert ag.cohen_kappa(Confusion.of([], [])).value is None
    assert ag.cohen_kappa(Confusion.of(["a"], ["a"])).note == "insufficient: one class only"
    # 1, 1.0 and True are one class.
    assert Confusion.of([1, 0, True], [1.0, 0.0, 1]).classes == ("0", "1")
    with pytest.raises(ValueError, match="one length"):
        Confusion.of(["a"], [])
    with pytest.raises(ValueError, match="weights"):
        Confusion.of(["a"], ["a"], [0.0])
    with pytest.raises(ValueError, match="shape"):
        Confusion(classes=("a",), w=np.ones((2, 2)), ww=np.ones((1, 1)), n=1)
    with pytest.raises(ValueError, match="negative"):
        Confusion(classes=("a",), w=-np.ones((1, 1)), ww=np.ones((1, 1)), n=1)


@given(
    values=st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=0, max_size=50),
    scale=st.floats(0.01, 100),
)
@settings(deadline=None)
def test_correlations_are_those_of_scipy(values: list[tuple[int, int]], scale: float) -> None:
    y, f = np.array(values, dtype=float).reshape(-1, 2).T
    for ours, theirs in ((ag.pearson, stats.pearsonr), (ag.spearman, stats.spearmanr)):
        found = ours(y, f)
        if len(y) < 10 or np.ptp(y) == 0 or np.ptp(f) == 0:
            assert found.value is None
            assert found.note.startswith("insufficient")
            continue
        assert found.value == pytest.approx(theirs(y, f).statistic, abs=1e-9)
        assert ordered(found)
        moved = ours(y * scale + 3, f[:])
        assert moved.value == pytest.approx(found.value, abs=1e-6)
        if found.low is not None:
            assert found.low >= -1
            assert moved.low == pytest.approx(found.low, abs=1e-4)
        holes = ours(np.append(y, math.nan), np.append(f, 1.0))
        assert holes.value == pytest.approx(found.value)
        assert "1 rows without" in holes.note


def test_drift_is_newcombes_interval() -> None:
    # Newcombe (1998), method 10: 56/70 - 48/80 = 0.2, 0.0524 to 0.3339.
    def share(hits: int, n: int) -> Result:
        cells = [("a", "a", hits, float(hits), float(hits)), ("a", "b", n - hits, float(n - hits), float(n - hits))]
        return ag.agreement(Confusion.from_sums(cells))

    found = ag.difference(share(56, 70), share(48, 80))
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    back = ag.difference(share(48, 80), share(56, 70))
    assert (back.low, back.high) == pytest.approx((-0.3339, -0.0524), abs=5e-5)
    assert ag.difference(share(48, 80), Result(value=None)).note == "insufficient: no value in the reference window"
    assert ag.difference(Result(value=1.0), share(48, 80)).note == "no interval in one of the windows"


def test_plain_calibration_error_by_brute_force() -> None:
    generator = np.random.default_rng(1)
    confidence = generator.random(100)
    right = (generator.random(100) < confidence**2).astype(float)
    order = np.argsort(confidence)
    blocks = [order[k * 20 : (k + 1) * 20] for k in range(5)]
    expected = sum(abs(right[b].mean() - confidence[b].mean()) * len(b) / 100 for b in blocks)
    found = calibration_error(Bins.of(confidence, right))
    assert found.plain == pytest.approx(expected)
    assert found.overconfidence == pytest.approx(confidence.mean() - right.mean())
    assert found.low is not None
    assert found.low <= (found.value or 0) <= (found.high or 0)
    assert found == calibration_error(Bins.of(confidence, right))
    turned = calibration_error(Bins.of(confidence[::-1], right[::-1], np.full(100, 5.0)))
    assert (turned.value, turned.low, turned.high) == pytest.approx((found.value, found.low, found.high), abs=1e-3)


def test_perfect_calibration_is_not_called_an_error() -> None:
    generator = np.random.default_rng(2)
    found = []
    for _ in range(60):
        confidence = generator.random(200)
        found.append(calibration_error(Bins.of(confidence, (generator.random(200) < confidence) * 1.0), draws=300))
    # The plain figure is 0.08 of nothing but chance.
    assert np.mean([each.plain for each in found]) > 0.06
    assert np.median([each.value or 0 for each in found]) < 0.025
    assert np.mean([each.low == 0 for each in found]) > 0.9


@pytest.mark.parametrize(
    ("confidence", "right"),
    [
        ([0.5] * 40, [1.0, 0.0] * 20),
        ([1.0] * 40, [1.0] * 40),
        ([0.9] * 40, [0.0] * 40),
        ([0.0, 1.0] * 20, [0.0, 1.0] * 20),
    ],
    ids=["one value", "all right", "all wrong", "only the ends"],
)
def test_calibration_error_of_ties_and_of_one_class(confidence: list[float], right: list[float]) -> None:
    found = calibration_error(Bins.of(confidence, right))
    assert found.plain == pytest.approx(abs(np.mean(confidence) - np.mean(right)), abs=1e-12)
    assert ordered(found)


def test_calibration_error_of_too_few_rows_is_said() -> None:
    few = calibration_error(Bins.of([0.5] * 19 + [math.nan], [1.0] * 20))
    assert (few.value, few.note) == (None, "insufficient: 19 rows, 20 wanted")
    assert calibration_error(Bins.of([], [])).value is None
    with pytest.raises(ValueError, match="confidence"):
        Bins.of([1.5], [1.0])


@pytest.mark.parametrize("call", [ag.pearson, ag.spearman])
def test_a_perfect_line_has_no_interval(call: Callable[..., Result]) -> None:
    found = call(np.arange(20.0), np.arange(20.0))
    assert (found.value, found.low) == (pytest.approx(1), None)
    with pytest.raises(ValueError, match="one length"):
        call([1.0], [1.0, 2.0])
