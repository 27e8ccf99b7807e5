"""Within which a month's cost will lie."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy import special

from monitor.stats.plan.load import MONTH_S, Floats, Load


class Spread(NamedTuple):
    """A month's cost with both ends of its 95 % interval, in US dollars."""

    value: float
    low: float
    high: float


def month_half_width(usd: Floats, load: Load, *, by_use_usd: float = 0.0, level: float = 0.95) -> float:
    """Half of the interval for a coming month's cost, as far as it comes from how days differ and from chance.

    Parameters
    ----------
    usd : array of float, shape (slots,)
        Cost of each slot of the load.
    load : Load
        Its blocks (days) are taken as drawn independently from one distribution.
    by_use_usd : float
        Part of the month's cost that is paid per request or second of use; only used where there is one block.
    level : float
        Confidence, in (0, 1).

    Returns
    -------
    float
        US dollars. With D blocks seen and M in a month: t(D - 1) s sqrt(M + M^2 / D), s the standard deviation of a
        block's cost: the prediction interval of the sum of M further blocks. With one block (a stated usage) only
        chance is left: what is paid by use varies as the sum over independent requests with the prompts' spread.

    References
    ----------
    G. J. Hahn, W. Q. Meeker (1991), Statistical Intervals, section 4.8 (mean of m future observations).
    """
    blocks = np.unique(load.block)
    totals = np.array([usd[load.block == block].sum() for block in blocks])
    count = len(totals)
    future = MONTH_S / (load.seconds / count)
    if count < 2:
        nodes = load.prompt_nodes
        squares = 1 + float(nodes.var() / max(nodes.mean(), 1e-300) ** 2)
        calls = load.requests_per_day * MONTH_S / 86_400
        return float(special.ndtri((1 + level) / 2)) * by_use_usd * math.sqrt(squares / calls)
    t = float(special.stdtrit(count - 1, (1 + level) / 2))
    return t * float(totals.std(ddof=1)) * math.sqrt(future + future**2 / count)


def month_spread(value: float, half_width: float, at_low: float, at_high: float, *, floor: float = 0.0) -> Spread:
    """Put chance and the error of the level together, as independent.

    Parameters
    ----------
    value, half_width : float
        A month's cost, and what chance adds to both sides.
    at_low, at_high : float
        The same fleet's cost if the load is at the low or the high end of its level's interval.
    floor : float
        Least that can be paid.
    """
    low = value - math.hypot(half_width, max(0.0, value - at_low))
    high = value + math.hypot(half_width, max(0.0, at_high - value))
    return Spread(value, max(low, min(floor, value)), high)
