"""Confidence intervals for what a monitor shows: shares, counts, means, quantiles, of whole or sampled traffic.

All functions are pure. An interval holds the true value in at least about `level` of repeated measurements;
how well, per function and sample size, is simulated in `tests/stats/test_intervals_coverage.py`.

Sampled rows carry a weight: the number of calls that a row stands for. Weights enter in one of two ways: as
an *effective* number of rows (`kish_effective_n`, `share_effective_n`), which may be any real number, or
through the Horvitz-Thompson variance of a total.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

LEVEL = 0.95
# Smallest share of the variance of the extreme case that a measured variance may claim; guards a division.
_TINY = 1e-300

Floats = Sequence[float] | npt.NDArray[np.float64]


class Interval(NamedTuple):
    """Both ends of an interval, in the unit of the estimate; None is an end that the data cannot give."""

    low: float | None
    high: float | None


class Ranks(NamedTuple):
    """Ranks (1 = smallest) of the order statistics that bound a quantile; None where there is none."""

    low: int | None
    high: int | None


def wilson(successes: float, n: float, *, level: float = LEVEL) -> Interval:
    """Wilson score interval of a share.

    Parameters
    ----------
    successes, n : float
        0 <= successes <= n. Real numbers are allowed: for weighted rows, the effective number of rows, and
        the
        weighted share times it.
    level : float
        Confidence, in (0, 1).

    Returns
    -------
    Interval
        Within [0, 1]; (0, 1) for n = 0, since nothing is known.

    Raises
    ------
    ValueError
        If an argument is out of range.

    References
    ----------
    E. B. Wilson (1927), Probable inference, the law of succession, and statistical inference.

    Examples
    --------
    >>> low, high = wilson(8, 10)
    >>> round(low, 4), round(high, 4)
    (0.4902, 0.9433)
    """
    _check_share(successes, n, level)
    if n == 0:
        return Interval(0.0, 1.0)
    share = successes / n
    z2 = _z(level) ** 2
    centre = (successes + z2 / 2) / (n + z2)
    half = math.sqrt(z2) * math.sqrt(n * share * (1 - share) + z2 / 4) / (n + z2)
    # The ends are exact where the share is; rounding must not put them beyond it.
    low = 0.0 if successes == 0 else min(max(0.0, centre - half), share)
    high = 1.0 if successes == n else max(min(1.0, centre + half), share)
    return Interval(low, high)


def clopper_pearson(successes: float, n: float, *, level: float = LEVEL) -> Interval:
    """Exact (never too short) interval of a share, by inverting the binomial test.

    Parameters
    ----------
    successes, n : float
        0 <= successes <= n; real numbers are allowed, as in `wilson`.
    level : float
        Confidence, in (0, 1).

    Returns
    -------
    Interval
        Within [0, 1]; (0, 1) for n = 0.

    Raises
    ------
    ValueError
        If an argument is out of range.

    References
    ----------
    C. Clopper, E. S. Pearson (1934); for real arguments E. L. Korn, B. I. Graubard (1998).

    Examples
    --------
    >>> low, high = clopper_pearson(0, 10)
    >>> low, round(high, 4)
    (0.0, 0.3085)
    """
    _check_share(successes, n, level)
    tail = (1 - level) / 2
    failures = n - successes
    low = 0.0 if successes == 0 else float(special.betaincinv(successes, failures + 1, tail))
    high = 1.0 if failures == 0 else float(special.betaincinv(successes + 1, failures, 1 - tail))
    return Interval(low, high)


def poisson(count: float, *, level: float = LEVEL) -> Interval:
    """Garwood's exact interval of the expectation behind a count of independent events.

    Parameters
    ----------
    count : float
        Events seen, >= 0; real for a weighted count (see `weighted_poisson`).
    level : float
        Confidence, in (0, 1).

    Returns
    -------
    Interval
        From 0 upwards; never empty, also for a count of 0.

    Raises
    ------
    ValueError
        If an argument is out of range.

    References
    ----------
    F. Garwood (1936), Fiducial limits for the Poisson distribution.

    Examples
    --------
    >>> low, high = poisson(0)
    >>> low, round(high, 3)
    (0.0, 3.689)
    """
    _check_level(level)
    if not 0 <= count < math.inf:
        raise ValueError(f"count must be a number >= 0, not {count}")
    tail = (1 - level) / 2
    low = 0.0 if count == 0 else float(special.gammaincinv(count, tail))
    return Interval(low, float(special.gammaincinv(count + 1, 1 - tail)))


def weighted_poisson(total: float, sum_squares: float, *, level: float = LEVEL) -> Interval | None:
    """Interval of the expectation behind a sum over independently arriving events (compound Poisson).

    Parameters
    ----------
    total : float
        Sum of the events' sizes (weight, tokens, …), >= 0.
    sum_squares : float
        Sum of their squares: the variance of the total, if events arrive independently.
    level : float
        Confidence, in (0, 1).

    Returns
    -------
    Interval or None
        None for a total of 0: without an event, the size of one is unknown.

    Notes
    -----
    The total is scaled to the Poisson count that has its coefficient of variation, total² / sum_squares. With
    all
    sizes 1 this is Garwood's interval.
    """
    if total <= 0 or sum_squares <= 0:
        return None
    size = sum_squares / total
    low, high = poisson(total / size, level=level)
    assert low is not None
    assert high is not None
    return Interval(low * size, high * size)


def mean_interval(mean: float, standard_error: float, n: float, *, level: float = LEVEL) -> Interval | None:
    """Student's t interval of a mean.

    Parameters
    ----------
    mean, standard_error : float
        Estimate and its standard error, in the same unit.
    n : float
        Number of values (effective number, for weighted ones); n - 1 degrees of freedom.
    level : float
        Confidence, in (0, 1).

    Returns
    -------
    Interval or None
        None for n < 2 (no spread to judge by) or an error that is not a finite number.
    """
    _check_level(level)
    if n < 2 or not math.isfinite(standard_error):
        return None
    half = float(special.stdtrit(n - 1, (1 + level) / 2)) * standard_error
    return Interval(mean - half, mean + half)


def student_t(values: Floats, weights: Floats | None = None, *, level: float = LEVEL) -> Interval | None:
    """`mean_interval` of the (weighted) mean of values.

    Parameters
    ----------
    values : array of shape (n,)
    weights : array of shape (n,), optional
        Calls that each value stands for, > 0.
    level : float
        Confidence, in (0, 1).

    Returns
    -------
    Interval or None
        None for fewer than two (effective) values.
    """
    x, w = _arrays(values, weights)
    if len(x) == 0:
        return None
    mean = float(np.average(x, weights=w))
    n = kish_effective_n(float(w.sum()), float((w**2).sum()))
    error = weighted_mean_standard_error(float(w.sum()), float((w**2 * (x - mean) ** 2).sum()), len(x))
    return mean_interval(mean, error, n, level=level)


def bootstrap_mean(
    values: Floats, weights: Floats | None = None, *, seed: int, resamples: int = 2000, level: float = LEVEL
) -> Interval | None:
    """Percentile bootstrap interval of the (weighted) mean; for skewed values where Student's t is lopsided.

    Parameters
    ----------
    values : array of shape (n,)
    weights : array of shape (n,), optional
        Calls that each value stands for, > 0; rows are drawn with their weights.
    seed : int
        Makes the result repeatable.
    resamples : int
        Number of bootstrap samples.
    level : float
        Confidence, in (0, 1).

    Returns
    -------
    Interval or None
        None for fewer than two values.
    """
    _check_level(level)
    x, w = _arrays(values, weights)
    if len(x) < 2:
        return None
    generator = np.random.default_rng(seed)
    means = np.empty(resamples)
    # In blocks of about 8 MB of row numbers, so that memory does not grow with n times resamples.
    block = max(1, 1_000_000 // len(x))
    for start in range(0, resamples, block):
        rows = generator.integers(0, len(x), size=(min(block, resamples - start), len(x)))
        means[start : start + len(rows)] = (x[rows] * w[rows]).sum(axis=1) / w[rows].sum(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def quantile_ranks(n: int, p: float, *, level: float = LEVEL) -> Ranks:
    """Ranks of the order statistics between which a quantile lies, whatever the distribution.

    The number of values below the true quantile is binomial(n, p); each end leaves out at most (1 - level) /
    2.

    Parameters
    ----------
    n : int
        Number of independent values, >= 0.
    p : float
        Probability of the quantile, in (0, 1).
    level : float
        Confidence, in (0, 1).

    Returns
    -------
    Ranks
        An end is None when no value is far enough out: with 100 values nothing bounds the 99th percentile
        from above. The end that is left then still errs with at most (1 - level) / 2.

    Raises
    ------
    ValueError
        If an argument is out of range.

    References
    ----------
    H. A. David, H. N. Nagaraja (2003), Order Statistics, section 7.1.

    Examples
    --------
    >>> quantile_ranks(100, 0.5)
    Ranks(low=40, high=61)
    >>> quantile_ranks(100, 0.99)
    Ranks(low=97, high=None)
    """
    _check_level(level)
    if n < 0:
        raise ValueError(f"n must be >= 0, not {n}")
    if not 0 < p < 1:
        raise ValueError(f"p must lie in (0, 1), not {p}")
    if n == 0:
        return Ranks(None, None)
    tail = (1 - level) / 2
    low = _binomial_quantile(tail, n, p)
    high = _binomial_quantile(1 - tail, n, p) + 1
    return Ranks(low if low >= 1 else None, high if high <= n else None)


def _binomial_quantile(probability: float, n: int, p: float) -> int:
    """Smallest k with P(binomial(n, p) <= k) >= probability."""
    z = float(special.ndtri(probability))
    # Cornish and Fisher's expansion is off by two at most, at any n; the walk to the exact rank is short.
    guess = n * p + z * math.sqrt(n * p * (1 - p)) + (z * z - 1) * (1 - 2 * p) / 6
    k = min(n, max(0, math.floor(guess)))

    def below(count: int) -> float:
        return 1.0 if count >= n else float(special.betainc(n - count, count + 1, 1 - p))

    while k > 0 and below(k - 1) >= probability:
        k -= 1
    while below(k) < probability:
        k += 1
    return k


def quantile_n_min(p: float, *, level: float = LEVEL) -> int:
    """Smallest number of values with which `quantile_ranks` has both ends.

    Examples
    --------
    >>> quantile_n_min(0.99), quantile_n_min(0.5)
    (368, 6)
    """
    _check_level(level)
    if not 0 < p < 1:
        raise ValueError(f"p must lie in (0, 1), not {p}")
    # The largest (smallest) value fails as a bound with probability p**n ((1 - p)**n).
    n = max(1, math.ceil(math.log((1 - level) / 2) / math.log(max(p, 1 - p))) - 1)
    while None in quantile_ranks(n, p, level=level):
        n += 1
    return n


def quantile_interval(values: Floats, p: float, *, level: float = LEVEL) -> Interval:
    """Order-statistic interval of a quantile of unweighted values; an end is None as in `quantile_ranks`."""
    x = np.sort(np.asarray(values, dtype=np.float64))
    low, high = quantile_ranks(len(x), p, level=level)
    return Interval(
        None if low is None else float(x[low - 1]),
        None if high is None else float(x[high - 1]),
    )


def weighted_quantile(values: Floats, weights: Floats, p: float) -> float:
    """Quantile of rows that stand for `weights` calls each, interpolated linearly.

    The quantile of the values in which each row is repeated in proportion to its weight, the smallest weight
    being one copy: with equal weights the usual definition (`numpy.quantile`), with whole weights and a 1
    among them that of `numpy.repeat`; doubling all weights changes nothing.

    Parameters
    ----------
    values, weights : array of shape (n,)
        n >= 1, weights > 0.
    p : float
        Probability, in [0, 1].
    """
    x, w = _arrays(values, weights)
    if len(x) == 0 or not 0 <= p <= 1:
        raise ValueError("a weighted quantile needs a value, and p in [0, 1]")
    order = np.argsort(x, kind="stable")
    x, w = x[order], w[order]
    above = np.cumsum(w)
    unit = float(w.min())
    target = p * (above[-1] - unit)
    k = min(int(np.searchsorted(above, target, side="right")), len(x) - 1)
    into_gap = max(0.0, (target - (above[k] - unit)) / unit)
    following = x[min(k + 1, len(x) - 1)]
    return float(x[k] + into_gap * (following - x[k]))


def weighted_quantile_interval(values: Floats, weights: Floats, p: float, *, level: float = LEVEL) -> Interval:
    """Woodruff's interval of a weighted quantile, from the variance of the weighted share below it.

    With equal weights the normal approximation of `quantile_interval`.

    Parameters
    ----------
    values, weights : array of shape (n,)
        n >= 1, weights > 0.
    p : float
        Probability, in (0, 1).
    level : float
        Confidence, in (0, 1).

    Returns
    -------
    Interval
        An end is None when no row lies far enough out.

    References
    ----------
    R. S. Woodruff (1952), Confidence intervals for medians and other position measures.
    """
    _check_level(level)
    point = weighted_quantile(values, weights, p)
    x, w = _arrays(values, weights)
    order = np.argsort(x, kind="stable")
    x, w = x[order], w[order]
    above, total = np.cumsum(w), float(w.sum())
    half = _z(level) * math.sqrt(float((w**2 * ((x <= point) - p) ** 2).sum())) / total
    low = int(np.searchsorted(above, (p - half) * total, side="left"))
    # One rank (of average weight) further out, as the exact upper rank is; so ties in any order give one answer.
    high = int(np.searchsorted(above, (p + half) * total + total / len(x), side="left"))
    return Interval(
        float(x[low]) if p - half > 0 else None,
        float(x[high]) if high < len(x) else None,
    )


def kish_effective_n(sum_weights: float, sum_squared_weights: float) -> float:
    """Number of equally weighted rows that say as much on the average: (Σw)² / Σw²; 0 without rows.

    References
    ----------
    L. Kish (1965), Survey Sampling.
    """
    return sum_weights**2 / sum_squared_weights if sum_squared_weights > 0 else 0.0


def share_effective_n(
    sum_weights: float, sum_squared_weights: float, hit_weights: float, hit_squared_weights: float
) -> float:
    """Number of equally weighted rows that would give the weighted share with the same variance.

    Kish's number takes weights to be unrelated to the outcome. Where errors are all kept and the rest is
    sampled, they are not; this number is from the linearised variance of the share itself. Kish's for a share
    of 0 or 1, which shows no variance.

    Parameters
    ----------
    sum_weights, sum_squared_weights : float
        Σw and Σw² over all rows.
    hit_weights, hit_squared_weights : float
        The same over the rows that count as a hit.

    Returns
    -------
    float
        0 without rows; the number of rows, if all weights are equal.
    """
    if sum_weights <= 0:
        return 0.0
    share = hit_weights / sum_weights
    missed_squared_weights = max(0.0, sum_squared_weights - hit_squared_weights)
    variance = (hit_squared_weights * (1 - share) ** 2 + missed_squared_weights * share**2) / sum_weights**2
    if not 0 < share < 1 or variance < _TINY:
        return kish_effective_n(sum_weights, sum_squared_weights)
    return share * (1 - share) / variance


def weighted_mean_standard_error(sum_weights: float, sum_squared_weighted_deviations: float, n: int) -> float:
    """Standard error of a weighted mean, by linearisation; that of the plain mean if all weights are equal.

    Parameters
    ----------
    sum_weights : float
        Σw.
    sum_squared_weighted_deviations : float
        Σw²(x - mean)².
    n : int
        Number of rows; NaN is returned below 2.
    """
    if n < 2 or sum_weights <= 0:
        return math.nan
    return math.sqrt(max(0.0, sum_squared_weighted_deviations) * n / (n - 1)) / sum_weights


def horvitz_thompson_variance(values: Floats, weights: Floats) -> float:
    """Variance of the total Σwx that sampling has added: Σw(w - 1)x²; 0 when every row was kept.

    Parameters
    ----------
    values, weights : array of shape (n,)
        A row's weight is one over the probability with which it was kept, independently of the others (>= 1).

    References
    ----------
    D. G. Horvitz, D. J. Thompson (1952), A generalization of sampling without replacement from a finite
    universe.
    """
    x, w = _arrays(values, weights)
    return float((w * (w - 1) * x**2).sum())


def total_interval(total: float, variance: float, *, at_least: float = 0.0, level: float = LEVEL) -> Interval:
    """Normal interval of a Horvitz-Thompson total.

    Parameters
    ----------
    total, variance : float
        Estimate and `horvitz_thompson_variance`.
    at_least : float
        What was seen with own eyes (the unweighted sum): the truth cannot be less.
    level : float
        Confidence, in (0, 1).
    """
    _check_level(level)
    half = _z(level) * math.sqrt(max(0.0, variance))
    return Interval(min(total, max(at_least, total - half)), total + half)


def _arrays(values: Floats, weights: Floats | None) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    x = np.asarray(values, dtype=np.float64)
    w = np.ones_like(x) if weights is None else np.asarray(weights, dtype=np.float64)
    if x.ndim != 1 or x.shape != w.shape:
        raise ValueError(f"values and weights must be of one length, not {x.shape} and {w.shape}")
    if not (np.isfinite(x).all() and np.isfinite(w).all() and (w > 0).all()):
        raise ValueError("values must be finite numbers, and weights finite and above 0")
    return x, w


def _z(level: float) -> float:
    return float(special.ndtri((1 + level) / 2))


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1), not {level}")


def _check_share(successes: float, n: float, level: float) -> None:
    _check_level(level)
    if not 0 <= successes <= n < math.inf:
        raise ValueError(f"a share needs 0 <= successes <= n, not {successes} of {n}")
