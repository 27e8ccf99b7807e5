"""What is usual: a robust band from the same time of earlier days or weeks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# A normal distribution's standard deviation over its median absolute deviation.
MAD_TO_SIGMA = 1.4826022185056018
# What repeats to the last digit would make any change infinitely odd: values are taken to vary by at least this share.
LEAST_SPREAD_SHARE = 0.02


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The usual value, and how far values lie from it, as a standard deviation."""

    center: float
    spread: float

    def distance(self, value: float) -> float:
        """How many standard deviations the value lies above (or, negative, below) the usual one; NaN without spread."""
        if self.spread > 0:
            return (value - self.center) / self.spread
        return 0.0 if value == self.center else math.nan

    def bounds(self, limit: float) -> tuple[float, float]:
        """Where the distance is `-limit` and `limit`."""
        return self.center - limit * self.spread, self.center + limit * self.spread


def baseline(history: Sequence[float], *, error: float = 0.0) -> Baseline:
    """Median and robust spread of earlier values.

    Parameters
    ----------
    history : sequence of float, shape (n,)
        Values at the same time of earlier days or weeks, n >= 2, finite.
    error : float
        Standard error of one such value: what is measured from few calls varies by chance alone. In the same unit.

    Returns
    -------
    Baseline
        The spread is the root of the squares' sum of the error and the larger of the median absolute deviation (scaled to a
        standard deviation, and for n values by n / (n - 0.8), as few values lie closer together than many) and 2 % of the
        median.

    Raises
    ------
    ValueError
        If there are fewer than two values, or one is not finite.

    References
    ----------
    Croux and Rousseeuw, "Time-efficient algorithms for two highly robust estimators of scale" (1992), for n / (n - 0.8).

    Examples
    --------
    >>> usual = baseline([100.0, 104.0, 96.0, 101.0, 99.0, 1000.0])
    >>> round(usual.center, 1), round(usual.distance(150.0), 1)
    (100.5, 11.3)
    """
    values = np.asarray(history, dtype=float)
    if values.size < 2 or not np.isfinite(values).all():
        raise ValueError(f"a baseline needs two or more finite values, not {values.size} with {values.tolist()[:3]} …")
    center = float(np.median(values))
    n = values.size
    mad = float(np.median(np.abs(values - center))) * MAD_TO_SIGMA * n / (n - 0.8)
    spread = max(mad, LEAST_SPREAD_SHARE * abs(center))
    return Baseline(center=center, spread=math.hypot(spread, error))
