"""Each group against the rest of the rows: difference, interval, p-value; and what many comparisons demand."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from scipy import optimize, special, stats

from monitor.stats.bias.limits import Limits, mover_difference, welch, welch_error, wilson
from monitor.stats.bias.measures import Measure
from monitor.stats.bias.sums import Array, Bools, Sums

EXPECTED_MIN: Final = 5.0  # of a cell; below, the test is exact (Cochran 1954)


class Comparison(NamedTuple):
    """Group less rest; arrays of one entry per group, NaN where a side has no rows."""

    difference: Array
    limits: Limits
    p_value: Array


def against_rest(measure: Measure, *, level: float, tested: Bools | None = None) -> Comparison:
    """Compare each group with all other rows together; only groups of `tested` (all, if left out) get a p-value.

    Shares: Newcombe's hybrid score interval; score test, Fisher's exact one where fewer than 5 hits or misses are expected.
    Means: Welch's interval and test.
    """
    own, rest = measure.sums, measure.sums.rest()
    chosen = np.ones(len(own), dtype=bool) if tested is None else tested
    if measure.kind == "mean":
        limits = welch(own, rest, level)
        return Comparison(own.mean - rest.mean, limits, np.where(chosen, welch_test(own, rest), np.nan))
    a, b = own.share, rest.share
    limits = mover_difference(a, wilson(a, own.share_n, level), b, wilson(b, rest.share_n, level))
    there = (own.n > 0) & (rest.n > 0)
    found = Limits(np.where(there, limits.low, np.nan), np.where(there, limits.high, np.nan))
    return Comparison(a - b, found, share_test(a, np.where(chosen, own.share_n, 0.0), b, rest.share_n))


def share_test(p1: Array, n1: Array, p0: Array, n0: Array) -> Array:
    """p-value, two-sided, of two shares being one; NaN where a side is empty."""
    with np.errstate(divide="ignore", invalid="ignore"):
        pooled = (np.nan_to_num(p1) * n1 + np.nan_to_num(p0) * n0) / (n1 + n0)
        z = (p1 - p0) / np.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n0))
    found = np.where((pooled <= 0) | (pooled >= 1), 1.0, 2 * special.ndtr(-np.abs(z)))
    found = np.where((n1 > 0) & (n0 > 0), found, np.nan)
    expected = np.minimum(n1, n0) * np.minimum(pooled, 1 - pooled)
    for i in np.flatnonzero(np.isfinite(found) & (expected < EXPECTED_MIN) & (expected > 0)):
        table = [[_cells(p1[i], n1[i])[k], _cells(p0[i], n0[i])[k]] for k in (0, 1)]
        found[i] = float(stats.fisher_exact(np.array(table)).pvalue)
    return found


def _cells(p: float, n: float) -> tuple[int, int]:
    rows = max(1, round(n))
    hits = min(rows, round(p * rows))
    return hits, rows - hits


def welch_test(a: Sums, b: Sums) -> Array:
    """p-value, two-sided, of two means being one; NaN below two rows a side."""
    error, df = welch_error(a, b)
    d = a.mean - b.mean
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(error > 0, np.abs(d) / error, np.where(d == 0, 0.0, np.inf))
    return np.where(np.isfinite(error), 2 * special.stdtr(df, -t), np.nan)


def false_discovery(p_values: Array) -> Array:
    """Benjamini and Hochberg's adjusted p-values; NaN stays, and does not count."""
    found = np.full(np.shape(p_values), np.nan)
    there = np.isfinite(p_values)
    if there.any():
        found[there] = stats.false_discovery_control(np.clip(p_values[there], 0.0, 1.0), method="bh")
    return found


@lru_cache(maxsize=1024)
def pair_level(groups: int, level: float) -> float:
    """Level of each pair's interval with which those of all pairs of `groups` groups hold at once (Tukey's).

    The quantile of the studentised range, as the level of a normal interval: `level` itself for two groups.

    References
    ----------
    J. W. Tukey (1953), The problem of multiple comparisons; C. Y. Kramer (1956), for unequal sizes.
    """
    if groups <= 2:
        return level
    nodes, weights = np.polynomial.legendre.leggauss(256)
    z = 9.0 * nodes  # beyond, the normal density is below 1e-18
    density = 9.0 * weights * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)

    def missing(q: float) -> float:
        inside = special.ndtr(z + q) - special.ndtr(z)
        return float(groups * (density * inside ** (groups - 1)).sum()) - level

    q = float(optimize.brentq(missing, 0.0, 20.0, xtol=1e-10))
    return 1 - 2 * float(special.ndtr(-q / math.sqrt(2)))


def each_level(comparisons: int, level: float) -> float:
    """Level of each of several intervals that hold at once (Bonferroni)."""
    return 1 - (1 - level) / max(1, comparisons)
