"""Where the next label shortens the interval most: Neyman's allocation, one label at a time.

A mean over strata with shares W of the calls, spreads s and n labels each has the variance Σ W² s² / n. One label more in a
stratum takes W² s² / (n (n + 1)) from it; the next label goes where that is most. Labels that are all given out so are
distributed as W · s, which J. Neyman (1934) showed to be best; W. Cochran (1977), Sampling Techniques, 5.5.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from scipy import special

from monitor.stats.intervals import LEVEL

PRIOR: Final = 2.0  # labels' worth of what all strata together show, in each stratum's spread


@dataclass(frozen=True, kw_only=True)
class Labelling:
    """A stratum as it is labelled so far.

    Attributes
    ----------
    share : float
        Of all calls that the mean is over.
    labels : int
    left : int
        Calls that could still be labelled.
    hits : float
        Labels that differ from what is expected: where a judge speaks, those that it got wrong; else the wrong answers.
    """

    share: float
    labels: int
    left: int
    hits: float


@dataclass(frozen=True, kw_only=True)
class Step:
    """The next label: in which stratum, and by how much it makes the variance of the mean smaller."""

    stratum: int
    gain: float


def spreads(strata: Sequence[Labelling]) -> list[float]:
    """Standard deviation in each stratum, drawn towards that of all, since few labels may all agree."""
    labels, hits = sum(each.labels for each in strata), sum(each.hits for each in strata)
    overall = (hits + 0.5) / (labels + 1)
    rates = [(each.hits + PRIOR * overall) / (each.labels + PRIOR) for each in strata]
    return [math.sqrt(rate * (1 - rate)) for rate in rates]


def next_labels(strata: Sequence[Labelling], budget: int) -> list[Step]:
    """So many labels, one after the other, each where it helps most; fewer if there are not so many calls left.

    A stratum without a label counts as having half of one: what it would take from the variance has no limit, and it comes
    first where its share and spread are alike.

    Examples
    --------
    >>> sure, unsure = (Labelling(share=0.5, labels=50, left=500, hits=h) for h in (0, 25))
    >>> [step.stratum for step in next_labels([sure, unsure], 3)]
    [1, 1, 1]
    """
    found = spreads(strata)
    given = [0] * len(strata)

    def gain(i: int) -> float:
        n = max(0.5, float(strata[i].labels + given[i]))
        return (strata[i].share * found[i]) ** 2 / (n * (n + 1))

    waiting = [(-gain(i), i) for i in range(len(strata)) if strata[i].left > 0]
    heapq.heapify(waiting)
    steps: list[Step] = []
    while waiting and len(steps) < budget:
        negative, i = heapq.heappop(waiting)
        steps.append(Step(stratum=i, gain=-negative))
        given[i] += 1
        if given[i] < strata[i].left:
            heapq.heappush(waiting, (-gain(i), i))
    return steps


def half_width(
    shares: Sequence[float], deviations: Sequence[float], labels: Sequence[int], *, level: float = LEVEL
) -> float:
    """Half of the interval of the stratified mean, normal; infinite where a stratum with a share has no label."""
    variance = 0.0
    for share, deviation, n in zip(shares, deviations, labels, strict=True):
        if share > 0 and n == 0:
            return math.inf
        variance += (share * deviation) ** 2 / n if share > 0 else 0.0
    return float(special.ndtri((1 + level) / 2)) * math.sqrt(variance)
