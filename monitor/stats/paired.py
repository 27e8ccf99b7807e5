"""Differences within pairs: the same prompt with one group's term and with another's, answered by one model.

What differs between prompts (hard and easy ones) is the same on both sides of a pair and falls out, so far fewer answers
are needed than for two independent groups. A value is always *group less baseline*.

References
----------
Q. McNemar (1947), exact form; D. Bonett, R. Price (2012), Adjusted Wald confidence interval for a difference of binomial
proportions based on paired data. R. A. Fisher (1935), The Design of Experiments, III.21: signs by lot. S. Holm (1979).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import special

from monitor.stats.intervals import LEVEL, Interval, student_t

PAIRS_MIN: Final = 10
EXACT_MAX: Final = 14  # 2¹⁴ ways to give out the signs
LOTS: Final = 9999
ALPHA: Final = 0.05

Floats = Sequence[float] | npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """A difference within pairs; `value` None and a note where there are no pairs.

    Attributes
    ----------
    value, low, high : float or None
        Mean of group less baseline, and its interval.
    p_value, p_adjusted : float or None
        Of the test that the term makes no difference; the second after Holm's correction over a family.
    group_value, baseline_value : float or None
        Means of either side.
    n, n_differing : int
        Pairs, and those whose two sides differ.
    method, test : str
        How the interval and p were made.
    verdict : {"unequal", "within", "unclear", "insufficient", ""}
    reason : str
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    group_value: float | None = None
    baseline_value: float | None = None
    n: int = 0
    n_differing: int = 0
    method: str = ""
    test: str = ""
    verdict: str = ""
    reason: str = ""


def paired_shares(group: Floats, baseline: Floats, *, level: float = LEVEL) -> PairedDifference:
    """Difference of two shares over pairs of yes (1) and no (0).

    Parameters
    ----------
    group, baseline : array-like of shape (n,)
        Same length; entry i of both is of the same prompt.
    level : float

    Returns
    -------
    PairedDifference
        p is McNemar's exact one: of the pairs that differ, as many go either way.

    Raises
    ------
    ValueError
        If lengths differ or a value is neither 0 nor 1.

    Examples
    --------
    >>> found = paired_shares([1] * 9 + [0] * 11, [0] * 20)
    >>> found.value, round(found.p_value, 6), found.n_differing
    (0.45, 0.003906, 9)
    """
    g, b = _arrays(group, baseline)
    if not np.isin(g, (0, 1)).all() or not np.isin(b, (0, 1)).all():
        raise ValueError("shares are of ones and zeros")
    n = len(g)
    if not n:
        return PairedDifference(value=None, method="bonett-price", test="mcnemar exact")
    more, fewer = int(((g == 1) & (b == 0)).sum()), int(((g == 0) & (b == 1)).sum())
    return replace(
        _shares(more, fewer, n, level),
        group_value=float(g.mean()),
        baseline_value=float(b.mean()),
    )


def paired_means(group: Floats, baseline: Floats, *, level: float = LEVEL, seed: int = 1) -> PairedDifference:
    """Difference of two means over pairs of numbers.

    Parameters
    ----------
    group, baseline : array-like of shape (n,)
    level : float
    seed : int
        Of the lots that are drawn where there are more than 14 pairs that differ.

    Returns
    -------
    PairedDifference
        p by giving out the signs of the differences by lot (all ways where there are few); the interval is Student's.
    """
    g, b = _arrays(group, baseline)
    if not len(g):
        return PairedDifference(value=None, method="student-t", test="sign flip")
    d = g - b
    interval = student_t(d, level=level) if len(d) > 1 else None
    low, high = interval if interval is not None else Interval(None, None)
    p, test = sign_flip(d, seed=seed)
    return PairedDifference(
        value=float(d.mean()),
        low=low,
        high=high,
        p_value=p,
        group_value=float(g.mean()),
        baseline_value=float(b.mean()),
        n=len(d),
        n_differing=int((d != 0).sum()),
        method="student-t",
        test=test,
    )


def sign_flip(differences: Floats, *, seed: int = 1) -> tuple[float, str]:
    """Two-sided p that differences lie evenly around 0, and the name of the test.

    Where the term makes no difference, each difference is as likely the other way round. A difference of 0 has no sign and
    says nothing.
    """
    d = np.asarray(differences, dtype=np.float64)
    d = d[d != 0]
    if not len(d):
        return 1.0, "sign flip, exact"
    seen = abs(float(d.sum())) * (1 - 1e-12)  # sums of the same numbers in another order may round differently
    if len(d) <= EXACT_MAX:
        signs = 1 - 2 * ((np.arange(2 ** len(d))[:, None] >> np.arange(len(d))) & 1)
        return float((np.abs(signs @ d) >= seen).mean()), "sign flip, exact"
    rng = np.random.default_rng(seed)
    hits = 0
    for first in range(0, LOTS, 1000):  # a thousand at a time, whatever the number of pairs
        lots = 1 - 2 * rng.integers(0, 2, (min(1000, LOTS - first), len(d)), dtype=np.int8)
        hits += int((np.abs(lots @ d) >= seen).sum())
    return (1 + hits) / (LOTS + 1), f"sign flip, {LOTS} lots"


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted so that any false alarm in the whole family is as rare as alpha says (Holm's step-down)."""
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(p_values))
    so_far = 0.0
    for rank, i in enumerate(order):
        so_far = max(so_far, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = so_far
    return [float(p) for p in adjusted]


def judge_pairs(
    found: Sequence[PairedDifference], *, tolerance: float, alpha: float = ALPHA, pairs_min: int = PAIRS_MIN
) -> list[PairedDifference]:
    """Adjust the p-values of one look together, and give each difference its verdict.

    Parameters
    ----------
    found : sequence of PairedDifference
        All comparisons of one look, of whatever groups and scores.
    tolerance : float
        Largest difference, either way, that does not matter; in the scores' unit.
    alpha : float
        Chance of any false `unequal` in the family, at most.
    pairs_min : int
        With fewer pairs there is no verdict.

    Returns
    -------
    list of PairedDifference
        `unequal`: the whole interval lies beyond the tolerance, and the adjusted p is at most alpha. `within`: all of the
        interval lies inside of it. `unclear`: more pairs would tell. `insufficient`: too few pairs.
    """
    enough = [i for i, each in enumerate(found) if each.p_value is not None and each.n >= pairs_min]
    adjusted = dict(zip(enough, holm([found[i].p_value or 0.0 for i in enough]), strict=True))
    return [_verdict(each, adjusted.get(i), tolerance, alpha, pairs_min) for i, each in enumerate(found)]


def _verdict(
    each: PairedDifference, adjusted: float | None, tolerance: float, alpha: float, pairs_min: int
) -> PairedDifference:
    if adjusted is None or each.value is None or each.low is None or each.high is None:
        return replace(each, verdict="insufficient", reason=f"{each.n} pairs, {pairs_min} wanted")
    nearest = max(each.low, -each.high)  # of the interval, to 0; below 0 if it is in it
    told = f"difference {each.value:+.3g} [{each.low:+.3g}, {each.high:+.3g}], adjusted p {adjusted:.2g}"
    if nearest > tolerance and adjusted <= alpha:
        verdict, why = "unequal", f"all of the interval lies beyond the tolerance of {tolerance:g}"
    elif max(-each.low, each.high) <= tolerance:
        verdict, why = "within", f"all of the interval lies within the tolerance of {tolerance:g}"
    elif nearest > tolerance:
        verdict, why = "unclear", f"chance is not excluded at {alpha:g}"
    else:
        verdict, why = "unclear", f"the interval reaches the tolerance of {tolerance:g}; more prompts would tell"
    return replace(each, p_adjusted=adjusted, verdict=verdict, reason=f"{told}: {why}")


def _shares(more: int, fewer: int, n: int, level: float) -> PairedDifference:
    from scipy import stats  # here, as it takes longer than all else at a start

    differing = more + fewer
    p = float(stats.binomtest(more, differing, 0.5).pvalue) if differing else 1.0
    # One pair of each kind is added, so that 30 pairs that agree do not look sure.
    plus, minus, total = (more + 1) / (n + 2), (fewer + 1) / (n + 2), n + 2
    middle = plus - minus
    error = math.sqrt((plus + minus - middle**2) / total)
    half = float(special.ndtri((1 + level) / 2)) * error
    value = (more - fewer) / n
    return PairedDifference(
        value=value,
        low=max(-1.0, min(middle - half, value)),
        high=min(1.0, max(middle + half, value)),
        p_value=p,
        n=n,
        n_differing=differing,
        method="bonett-price",
        test="mcnemar exact",
    )


def _arrays(group: Floats, baseline: Floats) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    g, b = (np.asarray(each, dtype=np.float64) for each in (group, baseline))
    if g.shape != b.shape or g.ndim != 1:
        raise ValueError(f"pairs need two lists of one length, not {g.shape} and {b.shape}")
    known = np.isfinite(g) & np.isfinite(b)
    return g[known], b[known]
