"""Accuracy without labels, from a model's own confidence: confidence-based performance estimation (CBPE).

Where a score says with which probability an answer is right, the expected number of right answers is the sum of
these probabilities. Scores seldom are probabilities as they come, so they are calibrated on a labelled reference
first. Of a classifier, the expected confusion matrix follows, and from it precision, recall and F1.

It holds as long as the link from score to truth is that of the reference: it sees a shift in *what* is asked, and
is blind to a change in what the right answer is (concept drift).

References
----------
NannyML documentation, "Confidence-based performance estimation (CBPE)". J. C. Platt (1999), Probabilistic outputs
for support vector machines. B. Zadrozny, C. Elkan (2002), Transforming classifier scores into accurate multiclass
probability estimates (isotonic).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import special

from monitor.stats import intervals, ranking
from monitor.stats.intervals import LEVEL, Floats
from monitor.stats.result import Result, insufficient, within

Array = npt.NDArray[np.float64]
Metric = Literal["accuracy", "precision", "recall", "f1"]
Kind = Literal["platt", "binned", "isotonic"]

# Of each class of label: below, a calibration is a guess.
LABELS_MIN = 10
# Bins of a binned calibration: at most so many, of so many labels at least.
BINS_MAX = 40
LABELS_PER_BIN = 50
METHOD = "cbpe"
_NO_CALIBRATION = f"fewer than {LABELS_MIN} labelled rows of either kind to calibrate on"
# Scores of exactly 0 or 1 have no logit.
_LOGIT_EDGE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Rows of a window, or distinct values of them: a database groups by (score, predicted) in one pass.

    Attributes
    ----------
    score : array of shape (m,)
        Of the positive class, or the confidence that the answer is right.
    predicted : array of shape (m,)
        1 where the positive class was answered, 0 where not; all 1 where the score is a confidence.
    w, ww : array of shape (m,)
        Σw and Σw² of the rows that have these values; for unweighted rows their number, both.
    n : int
        Rows.
    """

    score: Array
    predicted: Array
    w: Array
    ww: Array
    n: int

    @classmethod
    def of(cls, score: Floats, predicted: Floats | None = None, weights: Floats | None = None) -> Scored:
        """From one value a row; rows with a NaN are left out."""
        s = np.asarray(score, dtype=np.float64)
        p = np.ones_like(s) if predicted is None else np.asarray(predicted, dtype=np.float64)
        w = np.ones_like(s) if weights is None else np.asarray(weights, dtype=np.float64)
        if not s.shape == p.shape == w.shape or s.ndim != 1:
            raise ValueError(f"scores, predictions and weights must be of one length: {s.shape}, {p.shape}, {w.shape}")
        there = np.isfinite(s) & np.isfinite(p)
        return cls(score=s[there], predicted=p[there], w=w[there], ww=w[there] ** 2, n=int(there.sum()))

    def __post_init__(self) -> None:
        if not np.isin(self.predicted, (0.0, 1.0)).all():
            raise ValueError("predictions must be 0 or 1")
        if not ((self.w > 0).all() and np.isfinite(self.w).all()):
            raise ValueError("weights must be finite and above 0")


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """From score to probability, and what is not sure about it.

    Attributes
    ----------
    kind : str
        `platt` or `isotonic`.
    curve : object
        Platt: intercept and slope over the logit of the score, shape (2,). Binned: edges and shares. Isotonic:
        scikit-learn's fit.
    covariance : array of shape (p, p) or None
        Of Platt's two numbers, or of the bins' shares; None for isotonic.
    n : int
        Labelled rows.
    """

    kind: Kind
    curve: Any
    covariance: Array | None
    n: int

    def predict(self, score: Floats) -> Array:
        """Probability that belongs to each score; beyond the reference's scores, that of the last one."""
        s = np.asarray(score, dtype=np.float64)
        if self.kind == "binned":
            edges, shares = self.curve
            return np.asarray(shares[np.searchsorted(edges, s, side="right")], dtype=np.float64)
        if self.kind == "isotonic":
            return np.asarray(self.curve.predict(s), dtype=np.float64)
        return np.asarray(special.expit(self.curve[0] + self.curve[1] * _logit(s)), dtype=np.float64)

    def error_of(self, row_slopes: Array, score: Array) -> Array | None:
        """Covariance of sums Σ slope · probability, for slopes of shape (n, k); None where it is not known."""
        if self.covariance is None:
            return None
        if self.kind == "binned":
            edges, shares = self.curve
            by_parameter = np.eye(len(shares))[np.searchsorted(edges, score, side="right")]
            slope = row_slopes.T @ by_parameter
            return np.asarray(slope @ self.covariance @ slope.T, dtype=np.float64)
        p = self.predict(score)
        by_parameter = (p * (1 - p))[:, None] * np.column_stack([np.ones_like(score), _logit(score)])
        slope = row_slopes.T @ by_parameter
        return np.asarray(slope @ self.covariance @ slope.T, dtype=np.float64)


def calibrate(
    score: Floats, label: Floats, weights: Floats | None = None, *, kind: Kind = "platt"
) -> Calibration | None:
    """Learn what scores are worth from a labelled reference.

    Parameters
    ----------
    score, label : array of shape (n,)
        label 1 where the positive class (or: right), 0 where not; NaN rows are left out. Binned rows may come as one
        row each with the number of rows as weight.
    weights : array of shape (n,), optional
        Rows of the reference that each stands for: whole numbers of independent rows.
    kind : str
        `platt` fits two numbers, a line over the logit of a score in [0, 1]; it does with few labels, and its error is
        known. `binned` takes the share of right ones in each of up to `BINS_MAX` bins of equal numbers of labels: near
        enough for any curve, its error is known, and it wants thousands of labels. `isotonic` learns any rising curve,
        but follows chance as well: with some hundred labels it makes scores look surer than they are (about a point of
        accuracy at 300), so no interval is given with it.

    Returns
    -------
    Calibration or None
        None with fewer than `LABELS_MIN` rows of either label.
    """
    s, y = np.asarray(score, dtype=np.float64), np.asarray(label, dtype=np.float64)
    w = np.ones_like(s) if weights is None else np.asarray(weights, dtype=np.float64)
    there = np.isfinite(s) & np.isfinite(y)
    s, y, w = s[there], y[there], w[there]
    if not np.isin(y, (0.0, 1.0)).all():
        raise ValueError("labels must be 0 or 1")
    if min(float(w[y == 1].sum()), float(w[y == 0].sum())) < LABELS_MIN:
        return None
    return {"platt": _platt, "binned": _binned, "isotonic": _isotonic}[kind](s, y, w)


def _binned(s: Array, y: Array, w: Array) -> Calibration:
    bins = min(BINS_MAX, max(1, int(w.sum()) // LABELS_PER_BIN))
    scores, at = np.unique(s, return_inverse=True)
    above = np.cumsum(np.bincount(at, w))
    # Rows of one score stay together: a bin begins with the score that crosses its share of the rows.
    bin_of = np.minimum((above - 1e-9) / above[-1] * bins, bins - 1).astype(np.int64)
    edges = scores[1:][np.diff(bin_of) > 0]
    block = np.searchsorted(edges, s, side="right")
    rows, hits = np.bincount(block, w), np.bincount(block, w * y)
    # Half a row more of either kind, for the error: a bin of nothing but hits may have a miss yet.
    smooth = (hits + 0.5) / (rows + 1)
    covariance = np.diag(smooth * (1 - smooth) / rows)
    return Calibration(kind="binned", curve=(edges, hits / rows), covariance=covariance, n=round(float(w.sum())))


def _isotonic(s: Array, y: Array, w: Array) -> Calibration:
    from sklearn.isotonic import IsotonicRegression  # here, as it takes long at a start

    fit = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(s, y, sample_weight=w)
    return Calibration(kind="isotonic", curve=fit, covariance=None, n=round(float(w.sum())))


def _platt(s: Array, y: Array, w: Array) -> Calibration:
    from sklearn.linear_model import LogisticRegression  # here, as it takes long at a start

    x = _logit(s)
    fit = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-8).fit(x[:, None], y, sample_weight=w)
    coefficients = np.array([float(fit.intercept_[0]), float(fit.coef_[0, 0])])
    p = special.expit(coefficients[0] + coefficients[1] * x)
    design = np.column_stack([np.ones_like(x), x])
    information = design.T @ (design * (w * p * (1 - p))[:, None])
    return Calibration(
        kind="platt", curve=coefficients, covariance=np.linalg.pinv(information), n=round(float(w.sum()))
    )


@dataclass(frozen=True, kw_only=True)
class ExpectedConfusion:
    """Expected shares of the four cells, and their covariance.

    Attributes
    ----------
    cells : array of shape (4,)
        Shares of all calls: true positive, false positive, false negative, true negative; their sum is 1.
    covariance : array of shape (4, 4) or None
        From the calibration's labels and from the window's rows; None with isotonic calibration.
    n, n_labelled : int
        Rows of the window; of the reference.
    """

    cells: Array
    covariance: Array | None
    n: int
    n_labelled: int


def expected_confusion(calibration: Calibration, window: Scored) -> ExpectedConfusion | None:
    """Expected confusion matrix of a window; None without rows."""
    total = float(window.w.sum())
    if window.n == 0 or total <= 0:
        return None
    p, yes = calibration.predict(window.score), window.predicted
    # Each row falls into the cells of its answer, in the proportion of its probability.
    share = np.column_stack([p * yes, (1 - p) * yes, p * (1 - yes), (1 - p) * (1 - yes)])
    cells = window.w @ share / total
    away = share - cells
    correction = window.n / (window.n - 1) if window.n > 1 else 1.0
    from_rows = away.T @ (away * window.ww[:, None]) / total**2 * correction
    sign = np.column_stack([yes, -yes, 1 - yes, yes - 1])
    from_labels = calibration.error_of(sign * window.w[:, None] / total, window.score)
    covariance = None if from_labels is None else from_rows + from_labels
    return ExpectedConfusion(cells=cells, covariance=covariance, n=window.n, n_labelled=calibration.n)


def expected(metric: Metric, calibration: Calibration | None, window: Scored, *, level: float = LEVEL) -> Result:
    """Expected accuracy, precision, recall or F1 of a window without labels.

    Parameters
    ----------
    metric : str
        `accuracy`, `precision`, `recall` or `f1`.
    calibration : Calibration or None
        Of `calibrate`; None is answered with what was missing.
    window : Scored
    level : float
        Confidence, in (0, 1).

    Returns
    -------
    Result
        n counts the window's rows. The interval is of the expectation over calls such as these, with the error that
        the reference's finite number of labels leaves: Wilson's at the effective number of rows from the delta
        method. It does not allow for a reference that is no longer true.
    """
    if calibration is None:
        return insufficient(_NO_CALIBRATION, n=window.n, method=METHOD)
    confusion = expected_confusion(calibration, window)
    if confusion is None:
        return insufficient("no rows with a score", method=METHOD)
    hits, among = _PARTS[metric]
    top, bottom = float(hits @ confusion.cells), float(among @ confusion.cells)
    if bottom <= 0:
        return insufficient(f"{metric} has nothing to be a share of", n=window.n, method=METHOD)
    value = min(max(top / bottom, 0.0), 1.0)
    # A ratio's gradient.
    slope = (hits - value * among) / bottom
    variance = None if confusion.covariance is None else float(slope @ confusion.covariance @ slope)
    return _result(value, variance, n=window.n, level=level)


# Over (true positive, false positive, false negative, true negative): what counts, and among what.
_PARTS = {
    "accuracy": (np.array([1.0, 0, 0, 1]), np.array([1.0, 1, 1, 1])),
    "precision": (np.array([1.0, 0, 0, 0]), np.array([1.0, 1, 0, 0])),
    "recall": (np.array([1.0, 0, 0, 0]), np.array([1.0, 0, 1, 0])),
    "f1": (np.array([2.0, 0, 0, 0]), np.array([2.0, 1, 1, 0])),
}


def expected_roc_auc(calibration: Calibration | None, window: Scored, *, level: float = LEVEL) -> Result:
    """Expected area under the ROC curve: that of a window in which each row is positive with its probability.

    Parameters and result as in `expected`; `predicted` is not looked at.
    """
    if calibration is None:
        return insufficient(_NO_CALIBRATION, n=window.n, method=METHOD)
    found = ranking.area(window.score, calibration.predict(window.score), window.w)
    if found is None:
        return insufficient("only one class is expected", n=window.n, method=METHOD)
    from_labels = calibration.error_of(found.by_probability[:, None], window.score)
    variance = None if from_labels is None else float(from_labels[0, 0] + window.ww @ found.by_row**2)
    return _result(found.value, variance, n=window.n, level=level)


def _result(value: float, variance: float | None, *, n: int, level: float) -> Result:
    if variance is None:
        return Result(value=value, n=n, method=METHOD, note="no interval with isotonic calibration")
    if not 0 < value < 1 or variance <= 0:
        return Result(value=value, n=n, method=METHOD, note="all scores say the same: no interval")
    effective = value * (1 - value) / variance
    return within(value, intervals.wilson(value * effective, effective, level=level), n=n, method=METHOD)


def _logit(score: Array) -> Array:
    clipped = np.clip(score, _LOGIT_EDGE, 1 - _LOGIT_EDGE)
    return np.asarray(special.logit(clipped), dtype=np.float64)
