"""Fleets at other levels of the load: what they will cost, and how they will do."""

from __future__ import annotations

import numpy as np

from monitor.stats.plan.engine import Objectives
from monitor.stats.plan.fleet import Fleet, Search
from monitor.stats.plan.interval import Spread, levels, spread, typical
from monitor.stats.plan.load import Floats, Load


class Outlook:
    """Prices fleets at the levels that a coming month may have. The base stays as planned, the addition follows."""

    def __init__(self, load: Load, objectives: Objectives) -> None:
        self.levels = levels(load)
        self.nodes = self.levels.nodes
        day = typical(load)
        self._searches = [Search(day.scaled(node), objectives) for node in self.nodes.tolist()]
        self._busy = Search(day.scaled(max(self.levels.busy, 1e-6)), objectives)
        self._months: dict[int, Floats] = {}

    def cost(self, fleet: Fleet) -> Spread:
        """Monthly cost with its interval."""
        return spread(fleet.usd_per_month, self._month_costs(fleet))

    def difference(self, fleet: Fleet, other: Fleet) -> Spread:
        """Cost above another fleet's. Both meet the same days, so it is surer than either cost."""
        months = self._month_costs(fleet) - self._month_costs(other)
        return spread(fleet.usd_per_month - other.usd_per_month, months)

    def busy_in_time(self, fleet: Fleet) -> float:
        """Share in time on a day as busy as one in forty."""
        return self._busy.fleet(fleet.recipe, fleet.units).in_time

    def _month_costs(self, fleet: Fleet) -> Floats:
        if id(fleet) not in self._months:
            blocks = np.unique(fleet.load.block)
            priced = [search.fleet(fleet.recipe, fleet.units).usd.sum() / len(blocks) for search in self._searches]
            seen = np.array([fleet.usd[fleet.load.block == block].sum() for block in blocks])
            self._months[id(fleet)] = self.levels.month_costs(
                lambda level: np.interp(level, self.nodes, np.array(priced)), seen
            )
        return self._months[id(fleet)]
