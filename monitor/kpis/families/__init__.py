"""The families of KPIs, one module each.

A family declares what is always there in `KPIS`. What there is by configuration or by data (an objective, the name of a
score) it declares by a `Dynamic`.
"""

from __future__ import annotations

from typing import Final

from monitor.kpis.families import accuracy, cost, engagement, fleet, latency, looks, probes, safety, traffic
from monitor.kpis.families.dynamic import Dynamic
from monitor.kpis.families.objective import OBJECTIVES
from monitor.kpis.kpi import Kpi

DECLARED: Final[tuple[Kpi, ...]] = (
    *traffic.KPIS,
    *latency.KPIS,
    *accuracy.KPIS,
    *cost.KPIS,
    *safety.KPIS,
    *probes.KPIS,
    *engagement.KPIS,
    *fleet.KPIS,
    *looks.KPIS,
)
DYNAMIC: Final[tuple[Dynamic, ...]] = (OBJECTIVES, accuracy.SCORES)

__all__ = ["DECLARED", "DYNAMIC", "Dynamic"]
