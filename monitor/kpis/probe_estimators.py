"""Estimators over what probes found: it is computed by then, and only looked up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from monitor.kpis.estimators import Estimate

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Unequal:
    """How many comparisons are unequal."""

    @property
    def method(self) -> str:
        return "verdicts"

    @property
    def interval(self) -> str:
        return "none: each verdict has its own interval and p-value in `probe_results`"

    @property
    def ingredients(self) -> Mapping[str, str]:
        return {
            "probes__unequal": "countIf(verdict = 'unequal')",
            "probes__judged": "countIf(verdict != 'insufficient')",
        }

    def estimate(self, row: Row, *, seconds: float) -> Estimate:
        judged = int(row["probes__judged"])
        if not judged:
            return Estimate(value=None, method=self.method, note="no comparison has enough pairs to be judged")
        return Estimate(value=float(row["probes__unequal"]), n=judged, method=self.method)


@dataclass(frozen=True, kw_only=True)
class LookedUp:
    """The number of one row of `probe_results`, with its interval."""

    what: str

    @property
    def method(self) -> str:
        return f"as of {self.what}"

    @property
    def interval(self) -> str:
        return "the one that was computed with it (`method` in `probe_results`; docs/probes.md)"

    @property
    def ingredients(self) -> Mapping[str, str]:
        one = ("value", "low", "high", "n", "reason")
        return {f"probes__{name}": f"any({name})" for name in one} | {"probes__method": "any(toString(method))"}

    def estimate(self, row: Row, *, seconds: float) -> Estimate:
        if int(row["calls__n"]) > 1:
            note = f"{row['calls__n']} numbers of {self.what}; split by metric and cohort (and model)"
            return Estimate(value=None, method=self.method, note=note)
        return Estimate(
            value=row["probes__value"],
            low=row["probes__low"],
            high=row["probes__high"],
            n=int(row["probes__n"]),
            method=str(row["probes__method"]),
            note=str(row["probes__reason"]),
        )
