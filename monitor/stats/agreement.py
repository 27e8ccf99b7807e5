"""How well a judge agrees with labels, and whether that changes.

References
----------
J. Cohen (1960), A coefficient of agreement for nominal scales. D. G. Bonett, T. A. Wright (2000), Sample size
requirements for estimating Pearson, Kendall and Spearman correlations. G. Y. Zou, A. Donner (2008), Construction of
confidence limits about effect measures (differences).
"""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from monitor.stats import intervals
from monitor.stats.confusion import Confusion
from monitor.stats.intervals import LEVEL, Floats, Interval
from monitor.stats.result import Result, insufficient, within
from monitor.stats.table_posterior import Array, posterior_interval

# Fisher's transform needs more than three rows; ten keep its error near its level.
CORRELATION_ROWS_MIN = 10


def agreement(table: Confusion, *, level: float = LEVEL) -> Result:
    """Share of rows on which judge and label say the same, with Wilson's interval.

    Parameters
    ----------
    table : Confusion
        Of labels against the judge's verdicts.
    level : float
        Confidence, in (0, 1).
    """
    if table.n == 0:
        return insufficient("no rows with both a label and a verdict", method="wilson")
    same, same_squared = float(np.trace(table.w)), float(np.trace(table.ww))
    total, total_squared = float(table.w.sum()), float(table.ww.sum())
    effective = intervals.share_effective_n(total, total_squared, same, same_squared)
    share = min(1.0, same / total)
    return within(share, intervals.wilson(share * effective, effective, level=level), n=table.n, method="wilson")


def cohen_kappa(table: Confusion, *, level: float = LEVEL, seed: int = 1) -> Result:
    """Agreement beyond chance: 1 all the same, 0 as if drawn by lot, below 0 worse than that.

    Parameters
    ----------
    table : Confusion
        Of labels against the judge's verdicts.
    level : float
        Confidence, in (0, 1).
    seed : int
        Of the interval's simulation (`posterior_interval`).

    Returns
    -------
    Result
        No value where both sides know one class only: agreement by chance is then complete.

    Notes
    -----
    With few rows of a rare class kappa is low even for a judge with few errors; look at raw agreement as well.
    """
    method = "dirichlet-posterior"
    if table.n == 0:
        return insufficient("no rows with both a label and a verdict", method=method)
    used = (table.w.sum(axis=0) > 0) | (table.w.sum(axis=1) > 0)
    if used.sum() < 2:
        return insufficient("one class only", n=table.n, method=method)
    w, ww = table.w[np.ix_(used, used)], table.ww[np.ix_(used, used)]
    value = float(kappa_of(w / w.sum()))
    interval = posterior_interval(w, ww, kappa_of, seed=seed, level=level)
    return within(value, around(value, interval), n=table.n, method=method)


def kappa_of(shares: Array) -> Array:
    """Kappa of tables of shares, shape (…, k, k)."""
    observed = np.trace(shares, axis1=-2, axis2=-1)
    expected = (shares.sum(axis=-1) * shares.sum(axis=-2)).sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((observed - expected) / (1 - expected), dtype=np.float64)


def pearson(labels: Floats, scores: Floats, *, level: float = LEVEL) -> Result:
    """Linear correlation of labels and scores, whatever their distribution.

    Parameters
    ----------
    labels, scores : array of shape (n,)
        Rows with a NaN are left out.
    level : float
        Confidence, in (0, 1).

    Returns
    -------
    Result
        No value below `CORRELATION_ROWS_MIN` rows, or where one side is constant.

    Notes
    -----
    Fisher's transform, with the variance of the influence function in place of 1 / (n - 3), which holds for normal
    values only (labels are often 0 or 1), and Student's quantile.
    """
    y, f, missing = _pairs(labels, scores)
    if problem := _no_correlation(y, f):
        return insufficient(problem, n=len(y), method="fisher-z")
    value = min(max(float(np.corrcoef(y, f)[0, 1]), -1.0), 1.0)
    if abs(value) > 1 - 1e-12:
        return within(value, None, n=len(y), method="fisher-z", notes=["all on one line: no interval", missing])
    a, b = (y - y.mean()) / y.std(), (f - f.mean()) / f.std()
    influence = a * b - value / 2 * (a**2 + b**2)
    error = float(influence.std(ddof=2)) / (1 - value**2) / math.sqrt(len(y))
    half = float(special.stdtrit(len(y) - 2, (1 + level) / 2)) * error
    return within(value, _fisher(value, half), n=len(y), method="fisher-z", notes=[missing])


def spearman(labels: Floats, scores: Floats, *, level: float = LEVEL) -> Result:
    """Correlation of the ranks: does a higher score go with a higher label?

    As `pearson`. The interval is Bonett and Wright's, Fisher's transform with variance (1 + r²/2) / (n - 3); many
    ties, or an r beyond 0.95, make it too short.
    """
    from scipy import stats  # here, as it takes longer than all else at a start

    y, f, missing = _pairs(labels, scores)
    if problem := _no_correlation(y, f):
        return insufficient(problem, n=len(y), method="bonett-wright")
    value = float(stats.spearmanr(y, f).statistic)
    if abs(value) > 1 - 1e-12:
        return within(value, None, n=len(y), method="bonett-wright", notes=["all in one order: no interval", missing])
    half = float(special.ndtri((1 + level) / 2)) * math.sqrt((1 + value**2 / 2) / (len(y) - 3))
    return within(value, _fisher(value, half), n=len(y), method="bonett-wright", notes=[missing])


def difference(current: Result, reference: Result) -> Result:
    """Change of any estimate between two windows without a row in common: current less reference.

    Parameters
    ----------
    current, reference : Result
        With intervals of one level; the difference has that level.

    Returns
    -------
    Result
        n is that of the smaller window. An interval that leaves 0 out is a drift that chance does not explain.

    Notes
    -----
    MOVER: each side of the interval is the root of the sum of the squared distances of the limits that make it; for
    two Wilson intervals this is R. G. Newcombe's (1998) method 10.
    """
    n, method = min(current.n, reference.n), "mover"
    if current.value is None or reference.value is None:
        which = "current" if current.value is None else "reference"
        return insufficient(f"no value in the {which} window", n=n, method=method)
    value = current.value - reference.value
    if None in (current.low, current.high, reference.low, reference.high):
        return Result(value=value, n=n, method=method, note="no interval in one of the windows")
    assert current.low is not None
    assert current.high is not None
    assert reference.low is not None
    assert reference.high is not None
    below = math.hypot(current.value - current.low, reference.high - reference.value)
    above = math.hypot(current.high - current.value, reference.value - reference.low)
    return within(value, Interval(value - below, value + above), n=n, method=method)


def _pairs(labels: Floats, scores: Floats) -> tuple[Array, Array, str]:
    y, f = np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if y.ndim != 1 or y.shape != f.shape:
        raise ValueError(f"labels and scores must be of one length, not {y.shape} and {f.shape}")
    there = np.isfinite(y) & np.isfinite(f)
    missing = int((~there).sum())
    return y[there], f[there], f"{missing} rows without a label or a score left out" if missing else ""


def _no_correlation(y: Array, f: Array) -> str:
    if len(y) < CORRELATION_ROWS_MIN:
        return f"{len(y)} rows with both, {CORRELATION_ROWS_MIN} wanted"
    for name, x in (("labels", y), ("scores", f)):
        if np.ptp(x) <= 1e-12 * np.abs(x).max():
            return f"all {name} are the same"
    return ""


def _fisher(value: float, half: float) -> Interval:
    z = math.atanh(value)
    return Interval(math.tanh(z - half), math.tanh(z + half))


def around(value: float, interval: Interval | None) -> Interval | None:
    """An interval that holds its estimate."""
    if interval is None or interval.low is None or interval.high is None:
        return interval
    return Interval(min(interval.low, value), max(interval.high, value))
