"""Within which a month's cost will lie: what is not known of the load, carried through what a fleet costs at each level.

Costs of days are no bell curve: an addition that is needed on two days of ten costs nothing on the other eight. So the
levels of the days are drawn, and each draw is priced.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
from scipy import special

from monitor.stats.plan.load import MONTH_S, Floats, Load

DRAWS: Final = 1000
NODES: Final = 12  # levels at which a fleet is priced; in between, costs are taken as straight lines
NEXT_TO_NONE: Final = 0.05
BLOCKS_DRAWN: Final = 64  # of a month; more blocks than these even out, so that their mean is enough


class Spread(NamedTuple):
    """A month's cost with both ends of its 95 % interval, in US dollars."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Levels:
    """What the levels of a coming month's days may be, in the mean day's.

    Parameters
    ----------
    seen : array of float, shape (blocks,)
        Levels of the measured days (blocks).
    drawn : array of float, shape (draws, days)
        One possible month a row.
    month_blocks : float
        Blocks in a month; each drawn day stands for `month_blocks / days`.
    other : array of float, shape (draws,)
        Draws of Student's t, for the part of a day's cost that its level does not explain.
    """

    seen: Floats
    drawn: Floats
    month_blocks: float
    other: Floats

    @property
    def nodes(self) -> Floats:
        """Levels at which fleets are to be priced."""
        both = np.concatenate([self.drawn.ravel(), self.seen])
        low, high = np.quantile(both, [0.001, 0.999])
        return np.unique(np.linspace(max(low, 1e-6), max(high, 1e-6), NODES))

    @property
    def busy(self) -> float:
        """Level that one day in forty exceeds."""
        return float(np.quantile(self.drawn, 0.975))

    def month_costs(self, cost: Callable[[Floats], Floats], seen_usd: Floats) -> Floats:
        """Cost of each drawn month.

        Parameters
        ----------
        cost : callable
            Cost of a day at each of these levels, in US dollars.
        seen_usd : array of float, shape (blocks,)
            What the measured days cost. What their levels do not explain of it (shapes, hours) is taken as normal,
            with a mean that is known from these days and a month's days that each have their own.
        """
        rest = seen_usd - cost(self.seen)
        count = len(rest)
        scatter = rest.std(ddof=1) * math.sqrt(1 / count + 1 / self.month_blocks) if count > 1 else 0.0
        return np.asarray((cost(self.drawn).mean(axis=1) + rest.mean() + scatter * self.other) * self.month_blocks)


def levels(load: Load, *, seed: int = 0, draws: int = DRAWS) -> Levels:
    """Draw the levels of coming months.

    The logarithms of the days' calls are taken as independent and normal; where a day has next to none (below a
    twentieth of the mean), the square roots are. Each draw takes a mean and a variance from what the seen days leave
    open (the posterior under the usual flat prior: the variance times D - 1 over chi-square, the mean with that
    variance over D), and then the days of a month from these. The whole month is moved by the load's `level_error`.
    With one block nothing is known of how days differ.
    """
    rng = np.random.default_rng(seed)
    blocks = np.unique(load.block)
    count = len(blocks)
    calls = np.array([load.calls_rps[load.block == block].sum() for block in blocks])
    month_blocks = MONTH_S / (load.seconds / count)
    days = max(1, round(month_blocks)) if month_blocks <= BLOCKS_DRAWN else BLOCKS_DRAWN
    seen = calls / calls.mean()
    into, back = (np.log, np.exp) if seen.min() > NEXT_TO_NONE else (np.sqrt, _squared)
    scaled = into(seen)
    if count > 1:
        sigma = scaled.std(ddof=1) * np.sqrt((count - 1) / rng.chisquare(count - 1, (draws, 1)))
        centre = scaled.mean() + sigma / math.sqrt(count) * rng.standard_normal((draws, 1))
        normal = rng.standard_normal((draws, days))
        if month_blocks > BLOCKS_DRAWN:
            normal = special.ndtri((np.arange(days)[None] + 0.5) / days)
        drawn = back(centre + sigma * normal)
    else:
        drawn = np.ones((draws, 1))
    other = rng.standard_t(count - 1, draws) if count > 1 else np.zeros(draws)
    whole = 1 + load.level_error / 1.959964 * rng.standard_normal((draws, 1))
    return Levels(seen=seen, drawn=drawn * np.maximum(whole, 0.0), month_blocks=month_blocks, other=other)


def _squared(root: Floats) -> Floats:
    return np.asarray(np.maximum(root, 0.0) ** 2)


def typical(load: Load) -> Load:
    """The load with all its days (blocks) at the mean level, each with its own shape."""
    per_slot = load.calls_rps.sum(axis=1)
    totals = np.bincount(load.block, weights=per_slot)[load.block]
    mean = per_slot.sum() / len(np.unique(load.block))
    # A day without a call has no shape; it stays.
    factor = np.where(totals > 0, mean / np.where(totals > 0, totals, 1.0), 1.0)[:, None]
    return replace(
        load, calls_rps=load.calls_rps * factor, input_tps=load.input_tps * factor, output_tps=load.output_tps * factor
    )


def spread(value: float, month_costs: Floats, *, level: float = 0.95) -> Spread:
    """The interval that holds this share of the drawn months, and the value."""
    low, high = np.quantile(month_costs, [(1 - level) / 2, (1 + level) / 2])
    return Spread(value, min(float(low), value), max(float(high), value))
