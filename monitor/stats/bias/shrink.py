"""What the groups have in common: how much they truly differ, values drawn towards each other, and the luck in a largest gap."""

from __future__ import annotations

from typing import Final

import numpy as np

from monitor.stats.bias.measures import Measure
from monitor.stats.bias.sums import Array

DRAWS: Final = 1000
_SEED: Final = 20240229


def noise(measure: Measure) -> Array:
    """Variance of each group's value that chance alone gives; of a share from the share of all, so that 0 of 5 has one too."""
    n = np.maximum(measure.effective_n, 1e-300)
    if measure.kind == "mean":
        own = measure.sums.mean_error**2
        # A group of one or two rows tells nothing of its spread; the groups' common one is used below ten.
        few = ~(measure.sums.n >= 10)
        common = _common_variance(measure)
        return np.where(few, common / n, np.nan_to_num(own, nan=common))
    total = measure.sums.w.sum()
    p = float(np.clip(measure.sums.wx.sum() / total, 0, 1)) if total > 0 else 0.0
    return np.asarray(p * (1 - p) / n)


def _common_variance(measure: Measure) -> float:
    sums = measure.sums
    there = sums.n >= 2
    if not there.any():
        return 0.0
    spread = (sums.mean_error**2 * sums.kish_n)[there]
    return float(np.average(spread, weights=sums.n[there] - 1))


def between_variance(values: Array, variances: Array) -> tuple[float, float]:
    """Mean of the groups, and variance of their true values around it; 0 where chance explains what is seen.

    References
    ----------
    R. DerSimonian, N. Laird (1986), Meta-analysis in clinical trials.
    """
    if len(values) == 0:
        return float("nan"), 0.0
    positive = variances > 0
    if not positive.all():
        return float(values.mean()), float(values.var(ddof=1)) if len(values) > 1 else 0.0
    w = 1 / variances
    mean = float((w * values).sum() / w.sum())
    excess = float((w * (values - mean) ** 2).sum()) - (len(values) - 1)
    scale = float(w.sum() - (w**2).sum() / w.sum())
    tau2 = max(0.0, excess / scale) if scale > 0 else 0.0
    if tau2 > 0:  # with what the groups truly differ by, small groups count more in the mean
        w = 1 / (variances + tau2)
        mean = float((w * values).sum() / w.sum())
    return mean, tau2


def shrunk(measure: Measure) -> Array:
    """Each group's value, drawn towards that of all by as much as chance may have moved it (empirical Bayes).

    NaN for groups without rows.

    References
    ----------
    B. Efron, C. Morris (1975), Data analysis using Stein's estimator and its generalizations.
    """
    found = np.full(len(measure.sums), np.nan)
    there = np.isfinite(measure.value) & (measure.sums.n > 0)
    if there.any():
        values, variances = measure.value[there], noise(measure)[there]
        mean, tau2 = between_variance(values, variances)
        found[there] = mean + _kept(tau2, variances) * (values - mean)
    return found


def _kept(tau2: float, variances: Array) -> Array:
    return np.where(variances > 0, tau2 / np.where(variances > 0, tau2 + variances, 1.0), 1.0)


def range_excess(measure: Measure, *, draws: int = DRAWS) -> float:
    """By how much the largest gap between groups overstates the true one, on average.

    Parameters
    ----------
    measure : Measure
        Of the groups that are compared, at least two.
    draws : int
        Bootstrap samples.

    Returns
    -------
    float
        To be taken off the gap; it is not negative.

    Notes
    -----
    A parametric bootstrap from values that are as far apart as the true ones seem to be: the measured ones, drawn together
    until their variance is `between_variance` (T. A. Louis 1984). The measured ones themselves are too far apart, which
    would take off too little; shrunk ones are too near, which would take off too much.
    """
    order = np.lexsort((measure.effective_n, measure.value))  # so that the order of the groups changes nothing
    values, variances = measure.value[order], noise(measure)[order]
    n = np.maximum(np.round(measure.effective_n[order]), 1).astype(np.int64)
    mean, tau2 = between_variance(values, variances)
    truth = mean + np.sqrt(_kept(tau2, variances)) * (values - mean)
    generator = np.random.default_rng(_SEED)
    if measure.kind == "share":
        truth = np.clip(truth, 0.0, 1.0)
        drawn = generator.binomial(n, truth, size=(draws, len(n))) / n
    else:
        drawn = truth + np.sqrt(variances) * generator.standard_normal((draws, len(n)))
    return max(0.0, float(np.ptp(drawn, axis=1).mean() - np.ptp(truth)))
