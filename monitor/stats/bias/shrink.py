"""What the groups have in common: how much they truly differ, values drawn towards each other, and the luck in a largest gap."""

from __future__ import annotations

from typing import Final

import numpy as np

from monitor.stats.bias.measures import Measure
from monitor.stats.bias.sums import Array

GRID: Final = 60  # values that a group may truly have, from the smallest measured to the largest
ROUNDS: Final = 100


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


def expected_range(measure: Measure) -> float:
    """The largest gap between the groups' true values that is to be expected behind the measured ones.

    The largest of many measured gaps is on average too large, as it is the groups with most luck, good and bad, that
    make it. This is the mean of the gap of what the groups may truly be.

    Parameters
    ----------
    measure : Measure
        Of the groups that are compared, at least two, each with rows.

    Returns
    -------
    float
        Between 0 and the measured gap.

    Notes
    -----
    The distribution of the groups' true values is estimated without assuming its shape, by maximum likelihood on a grid
    (expectation maximisation, stopped early, which keeps it smooth); with it each group has a posterior, and the mean
    of the largest and of the smallest follow from the products of their distribution functions.

    References
    ----------
    J. Kiefer, J. Wolfowitz (1956), Consistency of the maximum likelihood estimator in the presence of infinitely many
    incidental parameters; N. Laird (1978), Nonparametric maximum likelihood estimation of a mixing distribution.
    """
    values = measure.value
    grid = np.linspace(values.min(), values.max(), GRID)
    if grid[0] == grid[-1]:
        return 0.0
    likelihood = _likelihood(measure, grid)
    prior = np.full(GRID, 1 / GRID)
    for _ in range(ROUNDS):
        prior = prior * (likelihood / (likelihood @ prior)[:, None]).mean(axis=0)
    posterior = likelihood * prior
    below = np.clip((posterior / posterior.sum(axis=1, keepdims=True)).cumsum(axis=1), 0.0, 1.0)
    # The mean of the largest less that of the smallest: the sum of P(smallest <= t < largest) over the steps of the grid.
    between = 1 - below.prod(axis=0) - (1 - below).prod(axis=0)
    return float((np.diff(grid) * between[:-1]).sum())


def _likelihood(measure: Measure, grid: Array) -> Array:
    """Of each group (rows) at each true value (columns), up to a factor for each group."""
    values = measure.value[:, None]
    if measure.kind == "share":
        n = measure.effective_n[:, None]
        p = np.clip(grid, 1e-9, 1 - 1e-9)
        logs = n * values * np.log(p) + n * (1 - values) * np.log1p(-p)
    else:
        # A group of the same value throughout shows no noise, but has some: no less than a step of the grid.
        variances = np.maximum(noise(measure), (grid[1] - grid[0]) ** 2)
        logs = -((values - grid) ** 2) / (2 * variances[:, None])
    return np.asarray(np.exp(logs - logs.max(axis=1, keepdims=True)))
