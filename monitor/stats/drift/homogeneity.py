"""Could both samples have come from one distribution? Pearson's chi-square for two rows of counts.

References
----------
K. Pearson (1911); W. G. Cochran (1954), Some methods for strengthening the common χ² tests, for cells that expect too
few rows: they are put together.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import special

from monitor.stats.drift.effects import Array

EXPECTED_MIN = 5.0  # Cochran: below five expected rows in a cell, the chi-square distribution is a poor guide


class Homogeneity(NamedTuple):
    """Statistic, degrees of freedom and p-value, each of shape (…)."""

    statistic: Array
    df: Array
    p_value: Array


def homogeneity(reference: Array, current: Array) -> Homogeneity:
    """Chi-square test of two rows of counts, vectorised over the leading axes.

    Parameters
    ----------
    reference, current : array of shape (…, k)
        Counts of the same bins. Weighted rows enter as their effective numbers.

    Returns
    -------
    Homogeneity
        Bins in which the smaller side expects fewer than five rows are put together into one cell; should that still
        expect too few, it joins the fullest one. p is 1 where fewer than two cells remain: nothing can be said.

    Notes
    -----
    Which cells are put together depends on the sums of both sides alone, so that the test's level is kept.
    """
    r, c = np.broadcast_arrays(np.asarray(reference, dtype=np.float64), np.asarray(current, dtype=np.float64))
    n, m = r.sum(axis=-1, keepdims=True), c.sum(axis=-1, keepdims=True)
    both = r + c
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = both * np.minimum(n, m) / (n + m)
        kept = expected >= EXPECTED_MIN
        apart, size = np.where(kept, c * n - r * m, 0.0), np.where(kept, both, 0.0)
        rest = np.where(kept, 0.0, c * n - r * m).sum(axis=-1)
        rest_size = np.where(kept, 0.0, both).sum(axis=-1)
        alone = rest_size * np.minimum(n, m)[..., 0] / (n + m)[..., 0] >= EXPECTED_MIN
        fullest = size.argmax(axis=-1)[..., None]
        _add_at(apart, fullest, np.where(alone, 0.0, rest))
        _add_at(size, fullest, np.where(alone, 0.0, rest_size))
        cells = np.where(kept, apart**2 / size, 0.0).sum(axis=-1) + np.where(alone, rest**2 / rest_size, 0.0)
        statistic = cells / (n * m)[..., 0]
    df = np.maximum(kept.sum(axis=-1) + alone - 1, 0).astype(np.float64)
    told = df > 0
    statistic = np.where(told, statistic, 0.0)
    p = np.where(told, special.chdtrc(np.maximum(df, 1.0), statistic), 1.0)
    return Homogeneity(statistic, df, np.asarray(p))


def _add_at(values: Array, at: np.ndarray[tuple[int, ...], np.dtype[np.intp]], more: Array) -> None:
    there = np.take_along_axis(values, at, axis=-1)
    np.put_along_axis(values, at, there + more[..., None], axis=-1)
