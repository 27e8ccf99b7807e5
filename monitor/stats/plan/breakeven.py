"""The load at which two ways cost the same."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

SCALES: Final = tuple(float(scale) for scale in np.geomspace(1 / 64, 64, 25))
TOLERANCE: Final = 0.005

Cost = Callable[[float], float]


@dataclass(frozen=True, kw_only=True)
class BreakEven:
    """Two plans, and where their costs cross.

    Parameters
    ----------
    first, second : str
        Names of the recipes.
    requests_per_day : tuple of float
        Loads at which they cost the same, from low to high; costs of GPUs have steps, so there may be several. Empty
        if one is cheaper over the whole range.
    cheaper_below, cheaper_above : str
        Which is cheaper below the first and above the last of these.
    low, high : float
        The range that was looked at, in requests per day.
    """

    first: str
    second: str
    requests_per_day: tuple[float, ...]
    cheaper_below: str
    cheaper_above: str
    low: float
    high: float


def break_even(
    first: tuple[str, Cost], second: tuple[str, Cost], *, requests_per_day: float, scales: Sequence[float] = SCALES
) -> BreakEven | None:
    """Find where two costs cross as the load is scaled up and down, its shape kept.

    Parameters
    ----------
    first, second : (str, callable)
        Name, and the cost of a month at a scale of the load; NaN where there is none.
    requests_per_day : float
        Load at scale 1.
    scales : sequence of float
        Ascending; a crossing is looked for between neighbours at which the order differs, by bisection to half a
        percent of the load. Two crossings between the same neighbours are not seen.

    Returns
    -------
    BreakEven or None
        None if the two are not both known at two scales at least.
    """

    def gap(scale: float) -> float:
        return first[1](scale) - second[1](scale)

    known = [(scale, value) for scale in scales if math.isfinite(value := gap(scale))]
    if len(known) < 2:
        return None
    crossings = [
        _bisect(gap, a, b) * requests_per_day
        for (a, at_a), (b, at_b) in itertools.pairwise(known)
        if (at_a > 0) != (at_b > 0)
    ]
    names = (second[0], first[0])
    return BreakEven(
        first=first[0],
        second=second[0],
        requests_per_day=tuple(crossings),
        cheaper_below=names[known[0][1] <= 0],
        cheaper_above=names[known[-1][1] <= 0],
        low=known[0][0] * requests_per_day,
        high=known[-1][0] * requests_per_day,
    )


def _bisect(gap: Cost, low: float, high: float) -> float:
    """Where the sign changes; costs have jumps, so the place is all that can be asked for, and not a zero."""
    above = gap(low) > 0
    while high / low > 1 + TOLERANCE:
        middle = math.sqrt(low * high)
        value = gap(middle)
        if not math.isfinite(value):
            break
        low, high = (middle, high) if (value > 0) == above else (low, middle)
    return math.sqrt(low * high)
