"""The largest gap between groups, with an interval that counts how many groups it was picked from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from monitor.stats.bias.compare import each_level, pair_level
from monitor.stats.bias.limits import (
    Limits,
    clopper_pearson,
    koopman,
    mover_difference,
    mover_ratio,
    student,
    welch,
    wilson,
)
from monitor.stats.bias.measures import Measure
from monitor.stats.bias.shrink import expected_range

GapKind = Literal["difference", "ratio", "worst_group"]
_BLOCK: Final = 512  # groups whose pairs are looked at together: 2 MB a table at 512 groups


@dataclass(frozen=True, kw_only=True)
class Found:
    """A gap of one measure; `lowest` and `highest` are the places of the groups that make it.

    `corrected` is the value without what the picking of extremes adds to it, or None.
    """

    value: float | None
    low: float | None
    high: float | None
    lowest: int
    highest: int
    corrected: float | None = None


def difference_gap(measure: Measure, *, level: float) -> Found:
    """Largest less smallest value of at least two groups.

    Two groups: Newcombe's interval, or Welch's. More: the largest of the lower ends, and the largest of the upper ends, of
    intervals that hold for all pairs at once, made of exact limits (means: Student's) of each group at Tukey's level.
    """
    v = measure.value
    highest, lowest = int(np.argmax(v)), int(np.argmin(v))
    value = float(v[highest] - v[lowest])
    if len(v) == 2:
        pair = _pair_difference(measure, highest, lowest, level)
        low, high = max(0.0, pair[0]), max(pair[1], -pair[0])
    else:
        low, high = _all_differences(v, group_limits(measure, pair_level(len(v), level)))
    if measure.kind == "share":
        high = min(high, 1.0)
    corrected = min(value, expected_range(measure))
    return Found(
        value=value,
        low=_finite(min(low, value)),
        high=_finite(high),
        lowest=lowest,
        highest=highest,
        corrected=corrected,
    )


def ratio_gap(measure: Measure, *, level: float) -> Found:
    """Smallest over largest value: 1 is no gap. No value where the largest is 0, or a value is negative.

    Two groups: Koopman's score interval (means: Fieller's). More: as the difference, by Donner and Zou's ratio.
    """
    v = measure.value
    highest, lowest = int(np.argmax(v)), int(np.argmin(v))
    if v[lowest] < 0 or v[highest] <= 0:
        return Found(value=None, low=None, high=None, lowest=lowest, highest=highest)
    value = float(v[lowest] / v[highest])
    if len(v) == 2:
        low, high = _pair_ratio(measure, lowest, highest, level)
        low, high = min(low, 1 / high if high > 0 else 0.0), min(1.0, high)
    else:
        low, high = _all_ratios(v, group_limits(measure, pair_level(len(v), level)))
    return Found(value=value, low=_finite(low), high=_finite(max(high, value)), lowest=lowest, highest=highest)


def worst_group_gap(measure: Measure, keep: np.ndarray[tuple[int], np.dtype[np.bool_]], *, level: float) -> Found:
    """How much worse the group that is worst off fares than all other rows together; the interval holds for all groups at once.

    Parameters
    ----------
    measure : Measure
        Of all groups, as the rest has the small ones too.
    keep : array of bool
        The groups that are large enough to be named.
    level : float
    """
    sign = -1.0 if measure.better == "higher" else 1.0
    rest = Measure(name="", kind=measure.kind, better=measure.better, sums=measure.sums.rest())
    there = np.flatnonzero(keep & (rest.sums.n > (1 if measure.kind == "mean" else 0)))
    if len(there) == 0:
        return Found(value=None, low=None, high=None, lowest=0, highest=0)
    # Of two groups, each is the other's rest: one comparison.
    each = each_level(1 if len(measure.sums) == 2 else len(there), level)
    if measure.kind == "mean":
        found = welch(measure.sums, rest.sums, each)
    elif len(measure.sums) == 2:
        found = mover_difference(
            measure.value,
            wilson(measure.value, measure.effective_n, each),
            rest.value,
            wilson(rest.value, rest.effective_n, each),
        )
    else:
        found = mover_difference(measure.value, group_limits(measure, each), rest.value, group_limits(rest, each))
    d = sign * (measure.value - rest.value)[there]
    low, high = (found.low, found.high) if sign > 0 else (-found.high, -found.low)
    worst = int(there[np.argmax(d)])
    return Found(
        value=float(d.max()),
        low=_finite(float(np.nanmax(low[there], initial=-np.inf))),
        high=_finite(float(np.nanmax(high[there], initial=-np.inf))),
        lowest=worst,
        highest=worst,
    )


def group_limits(measure: Measure, level: float) -> Limits:
    """Limits of each group that keep their level also where it is far out: exact ones, or Student's."""
    if measure.kind == "mean":
        return student(measure.sums, level)
    return clopper_pearson(measure.value, measure.effective_n, level)


def _pair_difference(measure: Measure, first: int, second: int, level: float) -> tuple[float, float]:
    a, b = (measure.sums.take(np.array([i])) for i in (first, second))
    if measure.kind == "mean":
        found = welch(a, b, level)
    else:
        found = mover_difference(a.share, wilson(a.share, a.share_n, level), b.share, wilson(b.share, b.share_n, level))
    return float(found.low[0]), float(found.high[0])


def _pair_ratio(measure: Measure, first: int, second: int, level: float) -> tuple[float, float]:
    a, b = (measure.sums.take(np.array([i])) for i in (first, second))
    if measure.kind == "mean":
        found = mover_ratio(a.mean, student(a, level), b.mean, student(b, level))
    else:
        found = koopman(a.share, a.share_n, b.share, b.share_n, level)
    return float(found.low[0]), float(found.high[0])


def _all_differences(v: np.ndarray[tuple[int], np.dtype[np.float64]], of: Limits) -> tuple[float, float]:
    below, above = v - of.low, of.high - v
    low = high = 0.0
    for start in range(0, len(v), _BLOCK):
        rows = slice(start, start + _BLOCK)
        d = v[rows, None] - v[None, :]
        low = max(low, float(np.nanmax(d - np.hypot(below[rows, None], above[None, :]), initial=0.0)))
        high = max(high, float(np.nanmax(d + np.hypot(above[rows, None], below[None, :]), initial=0.0)))
    return low, high


def _all_ratios(v: np.ndarray[tuple[int], np.dtype[np.float64]], of: Limits) -> tuple[float, float]:
    low = high = np.inf
    for start in range(0, len(v), _BLOCK):
        rows = slice(start, start + _BLOCK)
        part = Limits(of.low[rows, None], of.high[rows, None])
        found = mover_ratio(v[rows, None], part, v[None, :], Limits(of.low[None, :], of.high[None, :]))
        low = min(low, float(np.nanmin(found.low, initial=np.inf)))
        high = min(high, float(np.nanmin(found.high, initial=np.inf)))
    return min(low, 1.0), min(high, 1.0)


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
