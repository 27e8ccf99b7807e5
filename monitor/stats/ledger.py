"""The ledger of GPU time: what a node cost in an hour is what its requests used, and what nobody used, to the last unit.

A node is paid by the hour, whether requests come or not. Its price splits in three steps, in whole nano-units:

1. cost = hourly price × minutes billed / 60.
2. used = cost × share of the billed time in which at least one request was on the node; the rest is idle.
3. used is shared over the requests in proportion to what they took of the node: the time in which the engine read their
   prompts and wrote their answers, where all have it; else their tokens; else how long they were there. Largest
   remainders get the units that rounding leaves over, so that the parts always sum to the whole.

A sampled request counts for the `sample_weight` requests that it stands for.

References
----------
Balinski & Young, Fair Representation (1982), chapter 3: Hamilton's method (largest remainders) stays within quota.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

MINUTES: Final = 60
SHARE: Final = 10**9  # shares are whole billionths, so that each machine rounds them alike


def split_exactly(total: int, weights: Sequence[int], ids: Sequence[str]) -> list[int]:
    """Whole parts of a whole, in proportion to weights; they sum to the total exactly.

    Parameters
    ----------
    total : int
        Not negative.
    weights : sequence of int
        Not negative, at least one above 0.
    ids : sequence of str
        One for each weight; the smaller one gets the unit where two remainders are equal, whatever the order.

    Returns
    -------
    list of int
        In the order of the weights; each within one unit of total × weight / Σ weights.

    Raises
    ------
    ValueError
        If the total or a weight is negative, all weights are 0, or there is not one id each.

    Examples
    --------
    >>> split_exactly(100, [1, 1, 1], ["a", "b", "c"])
    [34, 33, 33]
    """
    if total < 0 or any(weight < 0 for weight in weights) or not sum(weights):
        raise ValueError("a total of at least 0 is split by weights of at least 0, one of them above it")
    if len(ids) != len(weights):
        raise ValueError(f"{len(weights)} weights need as many ids, not {len(ids)}")
    whole = sum(weights)
    parts = [total * weight // whole for weight in weights]
    left = total - sum(parts)
    order = sorted(range(len(parts)), key=lambda i: (-(total * weights[i] % whole), ids[i]))
    for i in order[:left]:
        parts[i] += 1
    return parts


def busy_share(occupied_s: float, billed_s: float, *, weight: float = 1.0) -> int:
    """Share of the billed time in which a request was on the node, in billionths.

    Parameters
    ----------
    occupied_s : float
        Time in which at least one stored request was on the node.
    billed_s : float
        Time that is paid for; not below 0.
    weight : float
        Requests that one stored request stands for, on average over their time. Above 1, those that were sampled away
        fill gaps too: with requests coming independently (Poisson), the idle share of all is that of the stored ones to
        the power of the weight, as the number of requests on a node with any durations is Poisson (M/G/∞).

    Returns
    -------
    int
        0 to 10⁹; 0 if nothing is billed.

    Examples
    --------
    >>> busy_share(900, 3600), busy_share(900, 3600, weight=2)
    (250000000, 437500000)
    """
    if billed_s <= 0:
        return 0
    idle = 1 - min(1.0, max(0.0, occupied_s / billed_s))
    left: float = idle ** max(weight, 1.0)
    return SHARE - round(left * SHARE)


@dataclass(frozen=True, kw_only=True)
class NodeHour:
    """What one node cost in one hour, in nano-units: `cost = used + idle`, always."""

    minutes: int
    cost: int
    used: int
    idle: int
    busy: int


def node_hour(
    *, hourly_nano: int, minutes: int, occupied_s: float, works: bool, weight: float = 1.0, minutes_max: int = MINUTES
) -> NodeHour:
    """Cost of a node in one hour, and how much of it was used.

    Parameters
    ----------
    hourly_nano : int
        Price of a full hour in nano-units.
    minutes : int
        Minutes billed, 0 to 60.
    occupied_s : float
        Time in which at least one stored request was on the node.
    works : bool
        Whether any request can bear a part; without one, all is idle.
    weight : float
        As in `busy_share`.
    minutes_max : int
        Minutes of an hour that is not over yet; more are not billed.
    """
    minutes = max(0, min(minutes, minutes_max))
    cost = (2 * hourly_nano * minutes + MINUTES) // (2 * MINUTES)
    busy = busy_share(occupied_s, minutes * 60, weight=weight) if works else 0
    used = (2 * cost * busy + SHARE) // (2 * SHARE)
    return NodeHour(minutes=minutes, cost=cost, used=used, idle=cost - used, busy=busy)


def occupied_s(starts_s: npt.NDArray[np.float64], ends_s: npt.NDArray[np.float64]) -> float:
    """Length of the union of intervals, in seconds; intervals that end before they begin are empty.

    Examples
    --------
    >>> occupied_s(np.array([0.0, 1.0, 5.0]), np.array([2.0, 3.0, 6.0]))
    4.0
    """
    order = np.argsort(starts_s, kind="stable")
    starts, ends = starts_s[order], np.maximum(ends_s[order], starts_s[order])
    if not len(starts):
        return 0.0
    reached = np.maximum.accumulate(ends)
    begins = np.maximum(starts[1:], reached[:-1])
    return math.fsum([ends[0] - starts[0], *np.maximum(ends[1:] - begins, 0.0)])
