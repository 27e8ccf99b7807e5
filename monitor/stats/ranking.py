"""Area under the ROC curve: how often a right row scores higher than a wrong one (0.5 as by lot, 1 always).

References
----------
E. R. DeLong, D. M. DeLong, D. L. Clarke-Pearson (1988), Comparing the areas under two or more correlated receiver
operating characteristic curves (the variance; here for weighted rows and for rows that are positive with a probability).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from monitor.stats import intervals
from monitor.stats.intervals import LEVEL, Floats
from monitor.stats.result import Result, insufficient, within

Array = npt.NDArray[np.float64]


class Area(NamedTuple):
    """The area, and its derivatives by each row's probability and by its weight, shape (n,)."""

    value: float
    by_probability: Array
    by_row: Array


def area(score: Array, probability: Array, w: Array) -> Area | None:
    """Of rows that are positive with a probability (0 or 1 where the label is known); None with one class only."""
    from sklearn.metrics import roc_auc_score  # here, as it takes long at a start

    p = probability
    positive, negative = float(w @ p), float(w @ (1 - p))
    if not (len(score) and positive > 0 and negative > 0):
        return None
    both = np.concatenate([np.ones_like(p), np.zeros_like(p)])
    value = float(roc_auc_score(both, np.tile(score, 2), sample_weight=np.concatenate([w * p, w * (1 - p)])))
    value = min(max(value, 0.0), 1.0)
    below, above = _below_and_above(score, w * (1 - p), w * p)
    pairs = positive * negative
    return Area(
        value=value,
        by_probability=w * ((below - above) / pairs - value / positive + value / negative),
        by_row=(p * below + (1 - p) * above) / pairs - value * (p / positive + (1 - p) / negative),
    )


def roc_auc(score: Floats, label: Floats, weights: Floats | None = None, *, level: float = LEVEL) -> Result:
    """Area under the ROC curve of labelled rows.

    Parameters
    ----------
    score, label : array of shape (n,)
        label 1 or 0; rows with a NaN are left out.
    weights : array of shape (n,), optional
        Calls that each row stands for.
    level : float
        Confidence, in (0, 1).

    Returns
    -------
    Result
        No value with labels of one class. The interval is Wilson's at the effective number of rows from DeLong's
        variance; none where each right row scores above each wrong one.
    """
    s, y = np.asarray(score, dtype=np.float64), np.asarray(label, dtype=np.float64)
    w = np.ones_like(s) if weights is None else np.asarray(weights, dtype=np.float64)
    there = np.isfinite(s) & np.isfinite(y)
    s, y, w = s[there], y[there], w[there]
    if not np.isin(y, (0.0, 1.0)).all():
        raise ValueError("labels must be 0 or 1")
    found = area(s, y, w)
    if found is None:
        return insufficient("labels of one class only" if len(s) else "no rows", n=len(s), method="delong")
    variance = float(w**2 @ found.by_row**2)
    if not 0 < found.value < 1 or variance <= 0:
        return Result(value=found.value, n=len(s), method="delong", note="no overlap of the classes: no interval")
    effective = found.value * (1 - found.value) / variance
    interval = intervals.wilson(found.value * effective, effective, level=level)
    return within(found.value, interval, n=len(s), method="delong")


def _below_and_above(score: Array, negative: Array, positive: Array) -> tuple[Array, Array]:
    """Negative mass below each row's score and positive mass above it; that of its own score counts half."""
    _, at = np.unique(score, return_inverse=True)
    n, p = np.bincount(at, negative), np.bincount(at, positive)
    below = np.cumsum(n) - n / 2
    above = p.sum() - np.cumsum(p) + p / 2
    return below[at], above[at]
