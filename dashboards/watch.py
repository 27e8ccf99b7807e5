"""What charts show beside their lines: changes from outside, thresholds of rules, and when those fired."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pandas as pd

from dashboards import facts, findings
from dashboards.charts import Firing, Marker, Threshold, Watched
from dashboards.data import Where
from dashboards.tables import records
from monitor.kpis import Window

MARKERS_MAX: Final = 40


def watched(names: Sequence[str], window: Window, where: Where) -> Watched:
    """For a chart of these KPIs over this time."""
    found = facts.changes(window, where)[-MARKERS_MAX:]
    return Watched(
        markers=[Marker(at=change.timestamp, title=f"{change.kind}: {change.title}") for change in found],
        thresholds=thresholds(names),
        firing=firing(names, window),
    )


def thresholds(names: Sequence[str], known: pd.DataFrame | None = None) -> list[Threshold]:
    """Thresholds of the rules that watch one of these KPIs."""
    rows = findings.thresholds() if known is None else known
    return [Threshold(value=float(row.threshold), rule=str(row.rule)) for row in records(rows) if row.kpi in names]


def firing(names: Sequence[str], window: Window, known: pd.DataFrame | None = None) -> list[Firing]:
    """Times in which such a rule fired."""
    rows = findings.firing(window) if known is None else known
    return [
        Firing(
            start=max(row.start.to_pydatetime(), window.start),
            end=window.end if pd.isna(row.end) else min(row.end.to_pydatetime(), window.end),
            rule=str(row.rule),
        )
        for row in records(rows)
        if row.kpi in names
    ]
