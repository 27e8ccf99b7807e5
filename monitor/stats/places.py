"""A latency at many places (nodes, regions): each against all others, without being fooled by their number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import special

from monitor.stats.compare import VALUES_MIN, log_ratio
from monitor.stats.hot_nodes import LogSums
from monitor.stats.intervals import LEVEL

DISCOVERIES: Final = 0.05


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One place against all others together.

    Parameters
    ----------
    place : str
    ratio : float
        Of geometric means, place / others: 1.2 is a fifth slower. NaN with too few calls.
    low, high : float
        Interval of it, for this place alone.
    n : int
        Calls of the place.
    q_value : float
        Smallest share of false discoveries at which this place is called different; NaN with too few calls.
    different : bool
    """

    place: str
    ratio: float
    low: float
    high: float
    n: int
    q_value: float
    different: bool


def differences(
    places: Mapping[str, LogSums], *, level: float = LEVEL, discoveries: float = DISCOVERIES
) -> list[Difference]:
    """Each place against all others, the slowest first; those with too few calls last.

    Parameters
    ----------
    places : mapping
        Name -> weighted sums of the logarithm of the latency.
    level : float
        Confidence of each single interval.
    discoveries : float
        Wanted share of false ones among the places called different.

    Returns
    -------
    list of Difference
        By Welch's two-sided tests, adjusted after Benjamini and Hochberg. With two places both say the same.

    References
    ----------
    Y. Benjamini, Y. Hochberg (1995), Controlling the false discovery rate.
    """
    from scipy import stats  # here, as it takes longer than all else at a start

    found = {name: _against(name, places, level) for name in places}
    p_values = {name: p for name, (_, p) in found.items() if not math.isnan(p)}
    adjusted = stats.false_discovery_control(list(p_values.values())) if p_values else np.array([])
    q_values = dict(zip(p_values, map(float, adjusted), strict=True))
    rows = []
    for name, ((ratio, low, high), _) in found.items():
        q = q_values.get(name, math.nan)
        rows.append(
            Difference(
                place=name, ratio=ratio, low=low, high=high, n=places[name].n, q_value=q, different=q <= discoveries
            )
        )
    return sorted(rows, key=lambda row: (math.isnan(row.ratio), -row.ratio, row.place))


def _against(name: str, places: Mapping[str, LogSums], level: float) -> tuple[tuple[float, float, float], float]:
    mine, others = places[name], LogSums()
    for other, sums in places.items():
        if other != name:
            others = others.plus(sums)
    unknown = (math.nan, math.nan, math.nan), math.nan
    if min(mine.n, others.n) < VALUES_MIN:
        return unknown
    ratio = log_ratio(others, mine, level=level)
    if ratio.value is None or ratio.low is None or ratio.high is None:
        return unknown
    a, b = mine.variance / mine.effective_n, others.variance / others.effective_n
    df = (a + b) ** 2 / (a**2 / (mine.effective_n - 1) + b**2 / (others.effective_n - 1))
    t = abs(math.log(ratio.value)) / math.sqrt(a + b)
    return (ratio.value, ratio.low, ratio.high), 2 * float(special.stdtr(df, -t))
