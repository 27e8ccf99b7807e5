"""What most conditions are about: one KPI, over a window, by group."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime

from alerts.ask import Ask, Group, Where, closed_end
from alerts.reading import Reading, Seen
from monitor.kpis import KpiValue

# Of so many samples every KPI that has an interval gives one.
_SURE = 30


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The KPI as the rule asks for it.

    Parameters
    ----------
    empty : bool
        Whether a window without a row has a value, as counts have.
    min_samples : int
        Below it nothing is judged.
    better : str, optional
        `lower` or `higher`, as the KPI says.
    intervals : bool
        Whether what is judged needs intervals of quantiles.
    """

    kpi: str
    unit: str
    window_s: float
    by: tuple[str, ...] = ()
    where: Where = ()
    min_samples: int = 0
    empty: bool = False
    better: str | None = None
    intervals: bool = False

    def ask(self, now: datetime, lateness_s: float) -> Ask:
        end = closed_end(now, lateness_s, self.window_s)
        return Ask(
            kpi=self.kpi,
            end=end,
            window_s=self.window_s,
            by=self.by,
            where=self.where,
            intervals=self.intervals,
        )

    def signs(self, direction: str) -> tuple[int, ...]:
        """Which ways count: 1 up, -1 down."""
        if direction == "worse" and self.better is not None:
            return (1,) if self.better == "lower" else (-1,)
        return {"up": (1,), "down": (-1,)}.get(direction, (1, -1))

    def ends(self, value: KpiValue) -> tuple[float, float]:
        """The 95 % interval; an open end is infinite, and a number without uncertainty, such as a count, is what it is."""
        assert value.value is not None
        exact = value.low is None and value.high is None and (self.empty or value.n >= _SURE)
        if exact:
            return value.value, value.value
        return -math.inf if value.low is None else value.low, math.inf if value.high is None else value.high

    def unjudged(self, group: Group, value: KpiValue) -> Reading | None:
        """Of a value that says too little: no data, or too few samples; None if it can be judged."""
        if value.n == 0 and not (self.empty and not self.by):
            return reading(group, value, Seen.NO_DATA)
        if value.value is None or value.n < self.min_samples:
            why = value.note if value.value is None else f"{value.n} of {self.min_samples} samples"
            return reading(group, value, Seen.TOO_FEW, detail=why)
        return None


def reading(group: Group, value: KpiValue, seen: Seen, *, threshold: float | None = None, detail: str = "") -> Reading:
    """The value, as seen."""
    return Reading(
        group=group,
        seen=seen,
        value=value.value,
        low=value.low,
        high=value.high,
        n=value.n,
        threshold=threshold,
        start=value.start,
        end=value.end,
        detail=detail,
    )
