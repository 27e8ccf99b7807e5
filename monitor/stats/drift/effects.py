"""Effect sizes between two distributions over the same bins: how far apart, whatever the number of rows.

Every function takes counts (not shares) of the reference and of the current side, of shape (…, k), and is vectorised
over the leading axes. 0 means the same shares; all are symmetric but for the order in which PSI is usually written.

References
----------
J. Lin (1991), Divergence measures based on the Shannon entropy; D. M. Endres, J. E. Schindelin (2003), A new metric for
probability distributions (its root). B. Yurdakul (2018), Statistical properties of population stability index.
H. Cramér (1946), Mathematical Methods of Statistics, 21.9 (V). L. N. Wasserstein (1969); S. S. Vallender (1974), for
the distance on a line as the area between two distribution functions.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import special

Array = npt.NDArray[np.float64]


def shares(counts: Array) -> Array:
    """Counts as shares of their sum; NaN without rows."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(counts / counts.sum(axis=-1, keepdims=True), dtype=np.float64)


def psi(reference: Array, current: Array) -> Array:
    """Population stability index: Σ (q − p) · ln(q / p), in nats; no upper end.

    A bin that is empty on one side counts there as half a row, since the logarithm of 0 would be infinite; a bin that is
    empty on both sides adds nothing.
    """
    n, m = reference.sum(axis=-1, keepdims=True), current.sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        p = np.where(reference > 0, reference, 0.5) / n
        q = np.where(current > 0, current, 0.5) / m
        terms = (q - p) * np.log(q / p)
    # `terms` is NaN where a side has no rows, and stays so.
    return np.asarray(np.where((reference > 0) | (current > 0) | np.isnan(terms), terms, 0.0).sum(axis=-1))


def js_divergence(reference: Array, current: Array) -> Array:
    """Jensen-Shannon divergence in bits, from 0 to 1 (no overlap)."""
    p, q = shares(reference), shares(current)
    middle = (p + q) / 2
    total = (special.rel_entr(p, middle) + special.rel_entr(q, middle)).sum(axis=-1) / 2
    return np.asarray(np.clip(total / math.log(2), 0.0, 1.0))


def jensen_shannon(reference: Array, current: Array) -> Array:
    """Jensen-Shannon distance: the root of the divergence in bits, from 0 to 1."""
    return np.asarray(np.sqrt(js_divergence(reference, current)))


def chi_square_per_row(reference: Array, current: Array) -> Array:
    """Pearson's chi-square of the 2 x k table over its number of rows: the square of Cramér's V."""
    n, m = reference.sum(axis=-1, keepdims=True), current.sum(axis=-1, keepdims=True)
    both = reference + current
    with np.errstate(invalid="ignore", divide="ignore"):
        terms = (current * n - reference * m) ** 2 / (n * m * both)
    terms = np.where((both > 0) | (n == 0) | (m == 0), terms, 0.0)
    with np.errstate(invalid="ignore"):
        return np.asarray(terms.sum(axis=-1) / (n + m)[..., 0])


def cramer_v(reference: Array, current: Array) -> Array:
    """Cramér's V of the 2 x k table, from 0 to 1; depends a little on the ratio of the two numbers of rows."""
    return np.asarray(np.sqrt(chi_square_per_row(reference, current)))


def total_variation(reference: Array, current: Array) -> Array:
    """Share of rows that would have to be in another bin: ½ Σ |q − p|, from 0 to 1."""
    return np.asarray(np.abs(shares(reference) - shares(current)).sum(axis=-1) / 2)


def ks(reference: Array, current: Array) -> Array:
    """Kolmogorov-Smirnov: largest difference of the distribution functions at the ends of the bins, which are in order."""
    return np.asarray(np.abs(np.cumsum(shares(current) - shares(reference), axis=-1)).max(axis=-1))


def wasserstein(reference: Array, current: Array, points: Array) -> Array:
    """Area between the distribution functions, each bin's rows at its point (k ascending values); in the unit of these."""
    apart = np.abs(np.cumsum(shares(current) - shares(reference), axis=-1))[..., :-1]
    return np.asarray(apart @ np.diff(points))


def total_variation_slopes(reference: Array, current: Array) -> Array:
    """What a row of each bin adds to total variation, up to a constant: ± ½."""
    return np.asarray(np.sign(shares(current) - shares(reference)) / 2)


def ks_slopes(reference: Array, current: Array) -> Array:
    """1 up to the bin after which the distribution functions differ most, and 0 from there."""
    at = int(np.abs(np.cumsum(shares(current) - shares(reference))).argmax())
    return (np.arange(len(reference)) <= at).astype(np.float64)


def wasserstein_slopes(reference: Array, current: Array, points: Array) -> Array:
    """Signed distance from each bin's point to the last one, as far as the distribution functions differ in one sense."""
    sign = np.sign(np.cumsum(shares(current) - shares(reference)))[:-1]
    steps = np.append(sign * np.diff(points), 0.0)
    return np.asarray(np.cumsum(steps[::-1])[::-1])
