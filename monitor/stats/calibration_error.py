"""Does a confidence of 0.8 come true 8 times in 10? Expected calibration error (ECE), freed from its upward bias.

The plain ECE is a mean of absolute differences, so chance alone makes it more than 0: a perfectly calibrated model
with 10 rows a bin shows about 0.1. Here the error is found for which the plain ECE that was measured is the typical
one, and its interval is of those errors for which it is not surprising.

References
----------
M. P. Naeini, G. Cooper, M. Hauskrecht (2015), Obtaining well calibrated probabilities using Bayesian binning (ECE).
R. Roelofs et al. (2022), Mitigating bias in calibration error estimation (equal-mass bins, the bias). J. Carpenter
(1999), Test inversion bootstrap confidence intervals.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from monitor.stats.intervals import LEVEL, Floats, Interval
from monitor.stats.result import Result, insufficient, within

Array = npt.NDArray[np.float64]

ROWS_MIN = 20
# As many bins as hold this many rows each, and no more than ten.
ROWS_PER_BIN = 20
BINS_MAX = 10
METHOD = "test-inversion-bootstrap"


@dataclass(frozen=True, kw_only=True)
class Bins:
    """Sums over the rows of each bin of confidence, shape (k,) each.

    Attributes
    ----------
    w, ww : array
        Σw and Σw²; the number of rows, both, without weights.
    right, confidence : array
        Σw over right answers; Σw · confidence.
    n : int
        Rows.
    """

    w: Array
    ww: Array
    right: Array
    confidence: Array
    n: int

    @classmethod
    def of(cls, confidence: Floats, right: Floats, weights: Floats | None = None, *, bins: int | None = None) -> Bins:
        """Bins of equal numbers of rows; rows of one confidence stay together.

        Parameters
        ----------
        confidence, right : array of shape (n,)
            Confidence in [0, 1]; right 0 or 1. Rows with a NaN are left out.
        weights : array of shape (n,), optional
        bins : int, optional
            At most so many; by default one for every `ROWS_PER_BIN` rows, up to `BINS_MAX`.
        """
        c, y = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
        w = np.ones_like(c) if weights is None else np.asarray(weights, dtype=np.float64)
        there = np.isfinite(c) & np.isfinite(y)
        c, y, w = c[there], y[there], w[there]
        if not (((c >= 0) & (c <= 1)).all() and np.isin(y, (0.0, 1.0)).all()):
            raise ValueError("confidence must lie in [0, 1], and right be 0 or 1")
        k = bins if bins is not None else min(BINS_MAX, max(1, len(c) // ROWS_PER_BIN))
        edges = np.unique(np.quantile(c, np.arange(1, k) / k)) if len(c) else np.empty(0)
        _, at = np.unique(np.searchsorted(edges, c, side="right"), return_inverse=True)
        return cls(
            w=_sums(at, w),
            ww=_sums(at, w * w),
            right=_sums(at, w * y),
            confidence=_sums(at, w * c),
            n=len(c),
        )


@dataclass(frozen=True, kw_only=True)
class CalibrationError(Result):
    """`value` is free of the bias; `plain` is the usual ECE, which has it. `overconfidence` has a sign."""

    plain: float | None = None
    overconfidence: float | None = None


def calibration_error(bins: Bins, *, seed: int = 1, draws: int = 1000, level: float = LEVEL) -> CalibrationError:
    """Mean absolute difference between confidence and share of right answers, over bins of confidence.

    Parameters
    ----------
    bins : Bins
        From `Bins.of`, or from a database that groups by its own edges.
    seed, draws : int
        Of the simulation; the result is repeatable.
    level : float
        Confidence, in (0, 1).

    Returns
    -------
    CalibrationError
        0 for perfect calibration; no value below `ROWS_MIN` rows. What differs within a bin and cancels there is not
        seen: the error between bins is at most the whole one.

    Notes
    -----
    Errors of the shape that was measured (less what chance adds to it), scaled by a common factor, are drawn again with
    the bins' own sampling error. The ends are the errors with which the measured ECE is the 97.5th and the 2.5th
    percentile, the value that with which it is the median. A lower end of 0 means that chance explains what was
    measured.
    """
    if bins.n < ROWS_MIN:
        return CalibrationError(**asdict(insufficient(f"{bins.n} rows, {ROWS_MIN} wanted", n=bins.n, method=METHOD)))
    share = bins.w / bins.w.sum()
    gap = bins.right / bins.w - bins.confidence / bins.w
    rows = bins.w**2 / bins.ww
    # Half a row more of either kind: a bin of right answers only may have a wrong one yet.
    smooth = (bins.right / bins.w * rows + 0.5) / (rows + 1)
    error = np.sqrt(smooth * (1 - smooth) / rows)
    noise = error * np.random.default_rng(seed).standard_normal((draws, len(share)))
    plain = float(share @ np.abs(gap))
    if plain <= 0:
        return CalibrationError(
            value=0.0, n=bins.n, method=METHOD, note="no difference in any bin", plain=0.0, overconfidence=0.0
        )

    uneven = _shape(gap, error, share)
    even = np.where(gap < 0, -1.0, 1.0)

    def error_at(probability: float, shape: Array) -> float:
        """Error with which the measured one is this percentile."""

        def percentile(size: float) -> float:
            scale = size / float(share @ np.abs(shape))
            drawn = np.sort(np.abs(scale * shape + noise) @ share)
            return float(np.interp(probability * (draws - 1), np.arange(draws), drawn))

        return _solve(percentile, plain)

    tail = (1 - level) / 2
    value = error_at(0.5, uneven)
    # Errors that are even over the bins have the least bias, and so the largest of them fits what was measured.
    low, high = error_at(1 - tail, uneven), (error_at(tail, uneven) + error_at(tail, even)) / 2
    found = within(value, Interval(min(low, value), max(high, value)), n=bins.n, method=METHOD)
    return CalibrationError(**asdict(found), plain=plain, overconfidence=-float(share @ gap))


def _shape(gap: Array, error: Array, share: Array) -> Array:
    """How gaps are spread over the bins, up to a factor: those measured, less the spread that chance adds.

    Shrunk towards their mean by the part of their variance that sampling explains (James and Stein); the raw gaps are
    too uneven, and would claim too much bias.
    """
    mean = float(share @ gap)
    spread = float(share @ (gap - mean) ** 2)
    kept = max(0.0, 1 - float(share @ error**2) / spread) if spread > 0 else 0.0
    shape = mean + kept * (gap - mean)
    return shape if float(share @ np.abs(shape)) > 0 else gap


def _solve(percentile: Callable[[float], float], target: float) -> float:
    """Error with which a percentile is the target; 0 where it is above already without any error."""
    from scipy import optimize  # here, as it takes long at a start

    if percentile(0.0) >= target:
        return 0.0
    high = 2 * target
    while percentile(high) < target:
        high *= 2
    return float(optimize.brentq(lambda size: percentile(size) - target, 0.0, high, xtol=1e-4))


def _sums(at: npt.NDArray[np.int64], values: Array) -> Array:
    return np.asarray(np.bincount(at, values), dtype=np.float64)
