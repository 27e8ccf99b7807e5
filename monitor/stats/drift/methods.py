"""The effect sizes by name, each with its default threshold, its interval and its test, on counts and on values.

References
----------
As in `effects`, `limits` and `homogeneity`. Thresholds: 0.2 for PSI is the credit industry's (N. Siddiqi 2006); 0.1 for
the distances is what NannyML and Evidently ship. They are habits, not laws: set your own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
from scipy import stats

from monitor.stats import intervals
from monitor.stats.drift import effects, limits
from monitor.stats.drift.bins import Counts, moved, pooled_counts
from monitor.stats.drift.effects import Array
from monitor.stats.drift.homogeneity import homogeneity
from monitor.stats.drift.verdict import Drift
from monitor.stats.intervals import LEVEL


@dataclass(frozen=True, kw_only=True)
class Method:
    """An effect size.

    Parameters
    ----------
    name : str
        As users write it.
    threshold : float
        Default.
    bins : str
        How numbers are cut for it: `doane`, `quantile`, or `fine` for what depends on the order of values.
    divergence : str
        Of the three with an analytic interval, the one it is; else empty.
    rooted : bool
        Whether the effect is the divergence's root.
    """

    name: str
    threshold: float
    bins: str
    divergence: str = ""
    rooted: bool = False

    @property
    def ordered(self) -> bool:
        """Whether it needs values in order; categories have none."""
        return self.bins == "fine"


METHODS: Final[dict[str, Method]] = {
    each.name: each
    for each in (
        Method(name="jensen_shannon", threshold=0.1, bins="doane", divergence="js_divergence", rooted=True),
        Method(name="psi", threshold=0.2, bins="quantile", divergence="psi"),
        Method(name="chi_square", threshold=0.1, bins="doane", divergence="chi_square_per_row", rooted=True),
        Method(name="total_variation", threshold=0.1, bins="doane"),
        Method(name="ks", threshold=0.1, bins="fine"),
        Method(name="wasserstein", threshold=0.1, bins="fine"),
    )
}
DEFAULT: Final = "jensen_shannon"
SHARE_THRESHOLD: Final = 0.05
_PLAIN: Final[dict[str, Callable[[Array, Array], Array]]] = {
    "jensen_shannon": effects.jensen_shannon,
    "psi": effects.psi,
    "chi_square": effects.cramer_v,
    "total_variation": effects.total_variation,
    "ks": effects.ks,
}


def compare_counts(
    feature: str,
    counts: Counts,
    method: str = DEFAULT,
    *,
    threshold: float | None = None,
    level: float = LEVEL,
    seed: int = 1,
    points: Array | None = None,
    unit: float = 1.0,
) -> Drift:
    """Effect, interval and p-value from counts of the same bins on both sides, without a verdict (see `judge`).

    Parameters
    ----------
    feature : str
        Its name.
    counts : Counts
        Of both sides; for `ks` and `wasserstein` the bins are in the order of the values.
    method : str
        One of `METHODS`.
    threshold : float, optional
        Instead of the method's own.
    level : float
        Confidence, in (0, 1).
    seed : int
        Of the bootstrap, where there is one.
    points : array of shape (k,), ascending, optional
        Where the rows of each bin lie; `wasserstein` needs it.
    unit : float
        `wasserstein` is told in multiples of it: of the reference's standard deviation, as usual.

    Returns
    -------
    Drift
        No value where a side has no rows. Between bins `ks` is not seen, and `wasserstein` is that of the points: both
        are at most as large as on the values themselves, the less so the finer the bins are.
    """
    chosen = METHODS[method]
    limit = chosen.threshold if threshold is None else threshold
    n, m = counts.n_reference, counts.n_current
    blank = Drift(feature=feature, method=method, value=None, threshold=limit, n_reference=n, n_current=m)
    if not n or not m:
        return blank
    statistic = _statistic(method, points, unit)
    value = float(statistic(counts.reference, counts.current))
    if chosen.divergence:
        found = limits.divergence_interval(chosen.divergence, counts.reference, counts.current, level=level)
        interval, how = (_root(found) if chosen.rooted else found), "noncentral chi-square, delta method"
    else:
        slopes = _slopes(method, points, unit)
        interval = limits.distance_interval(statistic, slopes, counts.reference, counts.current, level=level, seed=seed)
        how = "delta method, bias by multinomial bootstrap"
    top = math.inf if method in ("psi", "wasserstein") else 1.0
    return replace(
        blank,
        value=value,
        low=min(interval.low, value),
        high=min(max(interval.high, value), top),
        p_value=float(homogeneity(counts.reference, counts.current).p_value),
        interval=how,
        test="chi-square",
        moved=() if chosen.ordered else moved(counts),
    )


def compare_values(
    feature: str,
    reference: Array,
    current: Array,
    method: str,
    *,
    threshold: float | None = None,
    level: float = LEVEL,
    seed: int = 1,
) -> Drift:
    """`ks` or `wasserstein` of values: the exact distance, its interval from fine bins, and Kolmogorov-Smirnov's p.

    Parameters
    ----------
    feature, method, threshold, level, seed
        As of `compare_counts`.
    reference, current : array, ascending
        Finite values.

    Notes
    -----
    `wasserstein` is divided by the reference's standard deviation (by 0.001 at least), as Evidently does. With many
    equal values p is too large, never too small.
    """
    chosen = METHODS[method]
    n, m = len(reference), len(current)
    if not n or not m:
        limit = chosen.threshold if threshold is None else threshold
        return Drift(feature=feature, method=method, value=None, threshold=limit, n_reference=n, n_current=m)
    unit = max(float(reference.std()), 0.001)
    counts, points = pooled_counts(reference, current)
    rough = compare_counts(
        feature, counts, method, threshold=threshold, level=level, seed=seed, points=points, unit=unit
    )
    exact = distances(reference, current)
    value = exact.ks if method == "ks" else exact.wasserstein / unit
    assert rough.value is not None
    assert rough.low is not None
    assert rough.high is not None
    more = value - rough.value  # what the bins do not see
    high = max(rough.high + more, value)
    return Drift(
        feature=feature,
        method=method,
        value=value,
        low=min(max(0.0, rough.low + more) if rough.low > 0 else 0.0, value),
        high=min(high, 1.0) if method == "ks" else high,
        p_value=ks_p_value(exact.ks, n, m),
        threshold=rough.threshold,
        n_reference=n,
        n_current=m,
        interval=rough.interval,
        test="kolmogorov-smirnov",
    )


def compare_shares(
    feature: str,
    reference: float,
    n_reference: float,
    current: float,
    n_current: float,
    *,
    threshold: float = SHARE_THRESHOLD,
    level: float = LEVEL,
) -> Drift:
    """How far a share (of missing values, of new categories) moved, in either direction.

    Parameters
    ----------
    feature : str
        Its name.
    reference, n_reference, current, n_current : float
        Rows that have it, of how many.

    Notes
    -----
    The interval of the difference is Newcombe's (1998) method 10, and then of its size; p is Fisher's exact, or that of
    chi-square where all four cells expect five rows.
    """
    blank = Drift(
        feature=feature,
        method="share_difference",
        value=None,
        threshold=threshold,
        n_reference=round(n_reference),
        n_current=round(n_current),
    )
    if not blank.n_reference or not blank.n_current:
        return blank
    p, q = reference / n_reference, current / n_current
    own, other = _wilson(reference, n_reference, level), _wilson(current, n_current, level)
    difference = q - p
    below = difference - math.hypot(q - other.low, own.high - p)
    above = difference + math.hypot(other.high - q, p - own.low)
    low = 0.0 if below <= 0 <= above else min(abs(below), abs(above))
    return replace(
        blank,
        value=abs(difference),
        low=min(low, abs(difference)),
        high=max(abs(below), abs(above)),
        p_value=_shares_p(reference, n_reference, current, n_current),
        interval="newcombe",
        test="fisher or chi-square",
        moved=(f"share {p:.3g} to {q:.3g}",) if difference else (),
    )


class Distances(NamedTuple):
    """Between two empirical distribution functions: the largest, and the area."""

    ks: float
    wasserstein: float


def distances(reference: Array, current: Array) -> Distances:
    """Of sorted values, both with rows; equal to scipy's `ks_2samp` and `wasserstein_distance`."""
    both = np.concatenate([reference, current])
    order = np.argsort(both, kind="stable")  # two runs that are in order: merged
    both = both[order]
    below = np.cumsum(order < len(reference))
    apart = below / len(reference) - (np.arange(1, len(both) + 1) - below) / len(current)
    steps = np.diff(both)
    # Among equal values the functions have not yet made their whole step.
    np.abs(apart, out=apart)
    return Distances(float(apart[:-1][steps > 0].max(initial=0.0)), float(apart[:-1] @ steps))


def ks_p_value(distance: float, n: int, m: int) -> float:
    """Asymptotic two-sided p of a Kolmogorov-Smirnov distance, as scipy's `ks_2samp(method="asymp")`."""
    small, large = sorted((float(n), float(m)))
    return float(np.clip(stats.distributions.kstwo.sf(distance, np.round(small * large / (small + large))), 0, 1))


def _shares_p(reference: float, n_reference: float, current: float, n_current: float) -> float:
    share = (reference + current) / (n_reference + n_current)
    if not 0 < share < 1:
        return 1.0
    if min(n_reference, n_current) * min(share, 1 - share) < 5:
        cells = np.rint([[reference, n_reference - reference], [current, n_current - current]])
        return float(stats.fisher_exact(cells).pvalue)
    yes, no = np.array([reference, n_reference - reference]), np.array([current, n_current - current])
    return float(homogeneity(yes, no).p_value)


def _statistic(method: str, points: Array | None, unit: float) -> limits.Statistic:
    if method != "wasserstein":
        return _PLAIN[method]
    if points is None:
        raise ValueError("wasserstein needs the points of the bins")
    return lambda reference, current: effects.wasserstein(reference, current, points) / unit


def _slopes(method: str, points: Array | None, unit: float) -> limits.Statistic:
    if method == "ks":
        return effects.ks_slopes
    if method == "total_variation":
        return effects.total_variation_slopes
    assert points is not None  # `_statistic` has asked for them
    return lambda reference, current: effects.wasserstein_slopes(reference, current, points) / unit


def _root(found: limits.Limits) -> limits.Limits:
    return limits.Limits(math.sqrt(found.low), math.sqrt(found.high))


def _wilson(successes: float, n: float, level: float) -> limits.Limits:
    low, high = intervals.wilson(successes, n, level=level)
    assert low is not None
    assert high is not None
    return limits.Limits(low, high)
