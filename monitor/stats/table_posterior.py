"""Interval of any statistic of a table of counts: its posterior under independent cells (Dirichlet).

For statistics whose analytic error fails at few rows (kappa of judges that agree nearly always has an estimated
error of 0), the posterior does not: a cell that was never seen may still be there.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from monitor.stats.intervals import LEVEL, Interval, kish_effective_n

Array = npt.NDArray[np.float64]

# Rows that the prior is worth, over all cells: simulated for kappa, 2 keep 30 rows at 95 %; 1 is too short by 2 points.
PRIOR_ROWS = 2.0


def posterior_interval(
    w: Array,
    ww: Array,
    statistic: Callable[[Array], Array],
    *,
    prior_rows: float = PRIOR_ROWS,
    seed: int = 1,
    draws: int = 2000,
    level: float = LEVEL,
) -> Interval | None:
    """Equal-tailed interval of a statistic of the cells' shares.

    Parameters
    ----------
    w, ww : array of shape (k, k)
        Σw and Σw² of each cell; counts, both, without weights. Weighted rows count as Kish's effective number.
    statistic : function
        From shares of shape (draws, k, k) to values of shape (draws,); NaN where it is not defined.
    prior_rows : float
        Spread evenly over the cells.
    seed, draws : int
        Make the result repeatable; number of simulated tables.
    level : float
        Confidence, in (0, 1).

    Returns
    -------
    Interval or None
        None without rows, or where the statistic is not defined in most tables.

    References
    ----------
    A. Gelman et al. (2013), Bayesian Data Analysis, section 3.4; W. Perks (1947) for the prior.
    """
    total = float(w.sum())
    if total <= 0:
        return None
    rows = kish_effective_n(total, float(ww.sum()))
    alpha = w.ravel() / total * rows + prior_rows / w.size
    shares = np.random.default_rng(seed).standard_gamma(alpha, size=(draws, w.size))
    shares /= shares.sum(axis=1, keepdims=True)
    found = statistic(shares.reshape(draws, *w.shape))
    found = found[np.isfinite(found)]
    if len(found) < draws / 2:
        return None
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))
