"""Estimators over looks of the jobs `drift` and `bias`: counts of what they tell, and the largest of what they saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from monitor.kpis.estimators import Estimate

Row = Mapping[str, Any]
_NAMED: Final = 5


@dataclass(frozen=True, kw_only=True)
class Told:
    """How many things a job tells of; the note names them.

    Parameters
    ----------
    name : str
        Of the ingredients.
    what : str
        SQL of a thing's name.
    where, judged : str
        SQL: whether a look tells of it; whether it had enough to judge at all.
    """

    name: str
    what: str
    where: str
    judged: str

    @property
    def method(self) -> str:
        return "count"

    @property
    def interval(self) -> str:
        return "none: each of the verdicts that are counted has its own"

    @property
    def ingredients(self) -> Mapping[str, str]:
        return {
            f"{self.name}__told": f"arraySort(groupUniqArrayIf({self.what}, {self.where}))",
            f"{self.name}__judged": f"uniqExactIf({self.what}, {self.judged})",
            f"{self.name}__all": f"uniqExact({self.what})",
        }

    def estimate(self, row: Row, *, seconds: float) -> Estimate:
        told, judged, everything = (row[f"{self.name}__{part}"] for part in ("told", "judged", "all"))
        if not judged:
            return Estimate(
                value=None, method=self.method, note=f"insufficient: too few rows in each of {everything} looks"
            )
        notes = [", ".join(map(str, told[:_NAMED])) + (", …" if len(told) > _NAMED else "")] if told else []
        notes += [f"{everything - judged} of {everything} had too few rows"] if judged < everything else []
        return Estimate(value=float(len(told)), n=int(judged), method=self.method, note="; ".join(notes))


@dataclass(frozen=True, kw_only=True)
class Largest:
    """The number of that look which matters most: told before not told, then by `order`; the note says which it is.

    Parameters
    ----------
    name : str
        Of the ingredients.
    number, low, high, n : str
        SQL of value, interval and rows.
    order : str
        SQL: the look with the largest is taken, of those `among`.
    among, label : str
        SQL: which looks; what to say of the one.
    """

    name: str
    number: str
    order: str
    label: str
    among: str
    low: str = "CAST(NULL AS Nullable(Float64))"
    high: str = "CAST(NULL AS Nullable(Float64))"
    n: str = "n_current"

    @property
    def method(self) -> str:
        return "look"

    @property
    def interval(self) -> str:
        return "that of the look; which, its row says (`monitor drift`, `monitor bias`)"

    @property
    def ingredients(self) -> Mapping[str, str]:
        whole = f"({self.number}, {self.low}, {self.high}, toUInt64({self.n}), {self.label})"
        known = f"isNotNull({self.number}) AND ({self.among})"
        return {
            f"{self.name}__n": f"countIf({known})",
            f"{self.name}__why": f"anyIf({self.label}, {self.among})",
            f"{self.name}__largest": f"argMaxIf({whole}, {self.order}, {known})",
        }

    def estimate(self, row: Row, *, seconds: float) -> Estimate:
        looks = int(row[f"{self.name}__n"])
        if not looks:
            why = str(row[f"{self.name}__why"]) or "no such look"
            return Estimate(value=None, method=self.method, note=f"insufficient: {why}")
        value, low, high, n, label = row[f"{self.name}__largest"]
        most = f"of {looks}: " if looks > 1 else ""
        return Estimate(value=value, low=low, high=high, n=int(n), method=self.method, note=f"{most}{label}")
