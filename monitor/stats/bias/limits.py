"""Confidence limits of many groups at once, and differences and ratios of two of them.

The scalar functions of `monitor.stats.intervals` say the same, one number at a time; tests hold the two together.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import special

from monitor.stats.bias.sums import Array, Sums

_STEPS = 60  # halvings of an interval of logarithms: beyond the precision of the numbers
_LOG_RATIO_MAX = 40.0


class Limits(NamedTuple):
    """Lower and upper ends, arrays of one shape; NaN where there is none."""

    low: Array
    high: Array


def wilson(p: Array, n: Array, level: float) -> Limits:
    """Wilson's score interval of shares p of n rows (real numbers, if weighted); (0, 1) for n = 0."""
    z2 = float(special.ndtri((1 + level) / 2)) ** 2
    p = np.where(n > 0, p, 0.5)
    centre = (n * p + z2 / 2) / (n + z2)
    half = np.sqrt(z2 * (n * p * (1 - p) + z2 / 4)) / (n + z2)
    low = np.where(p <= 0, 0.0, np.minimum(np.maximum(centre - half, 0.0), p))
    high = np.where(p >= 1, 1.0, np.maximum(np.minimum(centre + half, 1.0), p))
    return Limits(np.where(n > 0, low, 0.0), np.where(n > 0, high, 1.0))


def clopper_pearson(p: Array, n: Array, level: float) -> Limits:
    """Exact interval of shares; never too short, whatever n and the level."""
    tail = (1 - level) / 2
    x = np.where(n > 0, p, 0.0) * n
    misses = np.maximum(n - x, 0.0)
    low = special.betaincinv(np.maximum(x, 1e-300), misses + 1, tail)
    high = special.betaincinv(x + 1, np.maximum(misses, 1e-300), 1 - tail)
    return Limits(np.where(x <= 0, 0.0, low), np.where(misses <= 0, 1.0, high))


def student(sums: Sums, level: float) -> Limits:
    """Student's interval of means; NaN below two rows."""
    with np.errstate(invalid="ignore"):
        df = np.where(sums.n >= 2, sums.kish_n - 1, np.nan)
        half = special.stdtrit(df, (1 + level) / 2) * sums.mean_error
    return Limits(sums.mean - half, sums.mean + half)


def mover_difference(a: Array, of_a: Limits, b: Array, of_b: Limits) -> Limits:
    """Interval of a - b from the limits of both: with Wilson's limits Newcombe's hybrid score interval.

    References
    ----------
    R. G. Newcombe (1998), Interval estimation for the difference between independent proportions, method 10;
    G. Y. Zou, A. Donner (2008), Construction of confidence limits about effect measures.
    """
    d = a - b
    return Limits(d - np.hypot(a - of_a.low, of_b.high - b), d + np.hypot(of_a.high - a, b - of_b.low))


def mover_ratio(a: Array, of_a: Limits, b: Array, of_b: Limits) -> Limits:
    """Interval of a / b, a and b not negative, from the limits of both; Fieller's, if these are symmetric.

    References
    ----------
    A. Donner, G. Y. Zou (2012), Closed-form confidence intervals for functions of the normal mean and standard deviation.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        low = _one_side(a, np.maximum(of_a.low, 0.0), b, of_b.high, -1.0)
        high = _one_side(a, of_a.high, b, np.maximum(of_b.low, 0.0), 1.0)
        high = np.where((of_b.low <= 0) | (b <= 0), np.inf, high)
    return Limits(np.where(a <= 0, 0.0, np.maximum(low, 0.0)), high)


def _one_side(a: Array, limit_a: Array, b: Array, limit_b: Array, sign: float) -> Array:
    numerator = limit_a * (2 * a - limit_a)
    denominator = limit_b * (2 * b - limit_b)
    root = np.sqrt(np.maximum((a * b) ** 2 - numerator * denominator, 0.0))
    # The same root of the quadratic, in the form that does not divide by a denominator that may be 0.
    stable = numerator / (a * b + root) if sign < 0 else (a * b + root) / denominator
    return np.asarray(stable)


def welch(a: Sums, b: Sums, level: float) -> Limits:
    """Welch's interval of the difference of two means, with Satterthwaite's degrees of freedom."""
    error, df = welch_error(a, b)
    half = special.stdtrit(df, (1 + level) / 2) * error
    return Limits(a.mean - b.mean - half, a.mean - b.mean + half)


def welch_error(a: Sums, b: Sums) -> tuple[Array, Array]:
    """Standard error of the difference, and its degrees of freedom; NaN where a side has fewer than two rows."""
    va, vb = a.mean_error**2, b.mean_error**2
    with np.errstate(divide="ignore", invalid="ignore"):
        df = (va + vb) ** 2 / (va**2 / (a.kish_n - 1) + vb**2 / (b.kish_n - 1))
    smallest = np.minimum(a.kish_n, b.kish_n) - 1
    return np.sqrt(va + vb), np.where(va + vb > 0, df, smallest)


def koopman(p1: Array, n1: Array, p0: Array, n0: Array, level: float) -> Limits:
    """Koopman's score interval of the ratio p1 / p0 of two shares; infinite above where p0 is 0.

    References
    ----------
    P. A. R. Koopman (1984), Confidence intervals for the ratio of two binomial proportions.
    """
    x1, x0 = p1 * n1, p0 * n0
    z2 = float(special.ndtri((1 + level) / 2)) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        point = np.log(np.where((x1 > 0) & (x0 > 0), p1 / np.where(p0 > 0, p0, 1.0), 1.0))
        low = _solve(x1, n1, x0, n0, z2, np.where(x0 > 0, point, _LOG_RATIO_MAX), -_LOG_RATIO_MAX)
        high = _solve(x1, n1, x0, n0, z2, np.where(x1 > 0, point, -_LOG_RATIO_MAX), _LOG_RATIO_MAX)
    nothing = (n1 <= 0) | (n0 <= 0) | ((x1 <= 0) & (x0 <= 0))
    return Limits(np.where((x1 <= 0) | nothing, 0.0, np.exp(low)), np.where((x0 <= 0) | nothing, np.inf, np.exp(high)))


def _solve(x1: Array, n1: Array, x0: Array, n0: Array, z2: float, inside: Array, outside: float) -> Array:
    """Logarithm of the ratio at which the score statistic reaches z², between one that is inside and one that is not."""
    a, b = np.array(inside, dtype=np.float64), np.full_like(x1, outside)
    for _ in range(_STEPS):
        middle = (a + b) / 2
        within = _score(np.exp(middle), x1, n1, x0, n0) < z2
        a, b = np.where(within, middle, a), np.where(within, b, middle)
    return np.asarray((a + b) / 2)


def _score(ratio: Array, x1: Array, n1: Array, x0: Array, n0: Array) -> Array:
    total = n1 + n0
    half = ratio * (n1 + x0) + x1 + n0
    root = np.sqrt(np.maximum(half**2 - 4 * ratio * total * (x1 + x0), 0.0))
    # The smaller root, without the difference of two nearly equal numbers.
    p0 = 2 * (x1 + x0) / (half + root)
    p1 = np.minimum(ratio * p0, 1.0)
    variance = p1 * (1 - p1) / n1 + ratio**2 * p0 * (1 - p0) / n0
    distance = x1 / n1 - ratio * x0 / n0
    return np.asarray(distance**2 / np.maximum(variance, 1e-300))
