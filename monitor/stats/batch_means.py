"""Averages over time of what is measured again and again: neighbouring samples are alike, so they are no independent values.

The window is cut into batches. Batches much longer than the memory of the process have nearly independent means, whose
spread tells the error of the whole average (method of batch means). As long as neighbouring batches still resemble each
other they are joined in pairs.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from monitor.stats.intervals import LEVEL, Floats, Interval, mean_interval
from monitor.stats.result import Result, insufficient

METHOD: Final = "batch-means"
BATCHES: Final = 32
_BATCHES_MIN: Final = 8  # fewer are not joined further: their spread would say too little
_INTERVAL_MIN: Final = 5
_Z_CORRELATED: Final = 1.2816  # one-sided 10 %: joining in vain costs little, not joining costs coverage


def batch_ratio(
    numerators: Floats,
    denominators: Floats,
    *,
    n: int,
    bounds: tuple[float, float] = (-math.inf, math.inf),
    level: float = LEVEL,
) -> Result:
    """Σy / Σx over batches in the order of time, with an interval that knows of autocorrelation.

    Parameters
    ----------
    numerators, denominators : array of shape (b,)
        Sums of each batch; for a plain average the batch means and ones. Batches without a measurement are left out by
        the caller, x > 0 in sum.
    n : int
        Measurements in all, for the record.
    bounds : (float, float)
        What the ratio cannot be below or above.
    level : float
        Confidence.

    Returns
    -------
    Result
        Without an interval for fewer than 5 batches, with a note that tells so. A note also tells where even the longest
        batches resemble their neighbours: then the interval is too short.

    References
    ----------
    A. M. Law, W. D. Kelton, Simulation Modeling and Analysis, chapter 9; G. S. Fishman, L. S. Yarberry (1997), An
    implementation of the batch means method; for the ratio W. G. Cochran, Sampling Techniques, section 2.11.
    """
    y, x = np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)
    total = float(x.sum())
    if len(y) == 0 or total <= 0:
        return insufficient("nothing was measured", n=n, method=METHOD)
    ratio = float(y.sum()) / total
    if len(y) < _INTERVAL_MIN:
        note = f"an interval needs measurements in {_INTERVAL_MIN} of {BATCHES} parts of the window"
        return Result(value=ratio, n=n, method=METHOD, note=note)
    residuals, correlated = uncorrelated_batches(y - ratio * x)
    count = len(residuals)
    error = math.sqrt(count / (count - 1) * float((residuals**2).sum())) / total
    interval = mean_interval(ratio, error, count, level=level)
    low, high = _clipped(interval, bounds)
    note = "neighbouring parts of the window still resemble each other: the interval is too short" if correlated else ""
    return Result(value=ratio, low=low, high=high, n=n, method=METHOD, note=note)


def uncorrelated_batches(sums: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], bool]:
    """Neighbours joined in pairs while they resemble each other; and whether they still do.

    Parameters
    ----------
    sums : ndarray of shape (b,)
        Of mean 0.
    """
    while (correlated := _correlated(sums)) and len(sums) // 2 >= _BATCHES_MIN:
        if len(sums) % 2:
            # The odd one goes to its neighbour, so that nothing is lost.
            sums = np.append(sums[:-2], sums[-2] + sums[-1])
        sums = sums.reshape(-1, 2).sum(axis=1)
    return sums, correlated


def _correlated(sums: npt.NDArray[np.float64]) -> bool:
    variance = float((sums**2).sum())
    if variance <= 0 or len(sums) < _INTERVAL_MIN:
        return False
    # Of independent batches around their own mean it is −1/b on average, with a standard deviation near 1/√b.
    first = float((sums[1:] * sums[:-1]).sum()) / variance + 1 / len(sums)
    return first > _Z_CORRELATED / math.sqrt(len(sums))


def _clipped(interval: Interval | None, bounds: tuple[float, float]) -> tuple[float | None, float | None]:
    if interval is None or interval.low is None or interval.high is None:
        return None, None
    return max(bounds[0], interval.low), min(bounds[1], interval.high)
