"""The records: what a KPI is, and what a value of one is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from monitor.kpis.estimators import Estimator

Better = Literal["lower", "higher"]


@dataclass(frozen=True, kw_only=True)
class Kpi:
    """One declaration, used by the command line, jobs, alerts, pages, reports and the documentation alike.

    Parameters
    ----------
    name : str
        `family.name`, or `family.name.statistic`.
    unit : str
        `s`, `1` for a share, `call`, `token`, `call/s`, …
    meaning, formula : str
        For people: what it tells, and how it is computed from the columns of the facts.
    better : {"lower", "higher"}, optional
        None where more is neither good nor bad.
    source : str
        Which rows it is computed from: a name in `monitor.kpis.sources.SOURCES`, which also says by what it can be split.
    estimator : Estimator
        Its SQL aggregates, and how value and interval come out of them.
    window : str
        Stretch of time to look at when none is said.
    empty : float, optional
        Value of a window without a single row: 0 for counts, else None.
    period_s : float, optional
        It looks at the time of this length before the window's end, in seconds, wherever the window starts.
    rollup : mapping, optional
        The estimator's ingredients over rollup rows, by the same names; None if only facts can answer.
    """

    name: str
    unit: str
    meaning: str
    formula: str
    better: Better | None
    source: str
    estimator: Estimator
    window: str = "1h"
    empty: float | None = None
    period_s: float | None = None
    rollup: Mapping[str, str] | None = None

    @property
    def family(self) -> str:
        return self.name.partition(".")[0]


@dataclass(frozen=True, kw_only=True)
class KpiValue:
    """One number with what it takes to judge it.

    `value` is None where there is too little data, and `note` says so. `low` and `high` bound it with 95 % confidence;
    None is an open end, or, for both, a number that has no uncertainty or too little data. `n` counts the rows that it
    is computed from. `group` holds the value of each dimension that was asked for; it is empty for the whole, and for
    the one row that says that there is nothing to split.
    """

    name: str
    unit: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    group: dict[str, str] = field(default_factory=dict)
    start: datetime
    end: datetime
    method: str
    note: str = ""
