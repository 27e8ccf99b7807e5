"""How costs and their intervals come out of sums; see `monitor.kpis.sources.cost` for the sums."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from monitor.kpis.estimators import Estimate, Row
from monitor.stats import intervals
from monitor.stats.forecast import month_end_of

_CURRENCY: Final = {"cost__currencies": "arraySort(groupUniqArrayIf(currency, currency != ''))"}
_COMMON: Final = {
    **_CURRENCY,
    "cost__n": "sum(requests)",
    "cost__unpriced": "sum(unpriced)",
    "cost__sum": "sum(cost)",
    "cost__idle": "sumIf(cost, kind = 'idle')",
}


@dataclass(frozen=True, kw_only=True)
class CostTotal:
    """Sum of all costs."""

    @property
    def method(self) -> str:
        return "exact"

    @property
    def interval(self) -> str:
        return (
            "none where every call is stored, and for machines; for sampled calls normal, with the Horvitz-Thompson variance"
            " Σw(w − 1)c²"
        )

    @property
    def ingredients(self) -> Mapping[str, str]:
        return {**_COMMON, "cost__sampled": "sum(sampled)"}

    def estimate(self, row: Row, *, seconds: float) -> Estimate:
        refused = _refused(row, self.method)
        if refused is not None:
            return refused
        total, n, note = float(row["cost__sum"]), _priced(row), _note(row)
        # Σ of (1 − 1/w) over weights of 1 is 0 exactly.
        if row["cost__sampled"] <= 0:
            return Estimate(value=total, n=n, method=self.method, note=note)
        low, high = intervals.total_interval(total, float(row["cost__sampled"]))
        return Estimate(value=total, low=low, high=high, n=n, method="horvitz-thompson", note=note)


@dataclass(frozen=True, kw_only=True)
class CostPer:
    """All costs over requests or tokens, of the calls that have a cost.

    `scale` is what the denominator is counted in; `linear` and `square` are the sums w²cd and w²d² of its unit d.
    """

    of: str
    linear: str
    square: str
    scale: float
    what: str

    @property
    def method(self) -> str:
        return "delta"

    @property
    def interval(self) -> str:
        return (
            "Student's t with the linearised variance of a ratio, Σw²(c − R·d)² over the calls; the cost of idle machines is"
            " taken as known"
        )

    @property
    def ingredients(self) -> Mapping[str, str]:
        names = {self.of, self.linear, self.square, "wwcc", "weight", "ww"}
        return {**_COMMON, **{f"cost__{name}": f"sum({name})" for name in sorted(names)}}

    def estimate(self, row: Row, *, seconds: float) -> Estimate:
        refused = _refused(row, self.method)
        if refused is not None:
            return refused
        count = float(row[f"cost__{self.of}"]) / self.scale
        note, n = _note(row), _priced(row)
        if count <= 0:
            return Estimate(value=None, n=n, method=self.method, note=_join(f"no {self.what} with a cost", note))
        idle, total = float(row["cost__idle"]), float(row["cost__sum"])
        value = total / count
        if n < 2:
            return Estimate(value=value, n=n, method=self.method, note=_join("an interval needs 2 calls", note))
        ratio = (total - idle) / (count * self.scale)
        spread = row["cost__wwcc"] - 2 * ratio * row[f"cost__{self.linear}"] + ratio**2 * row[f"cost__{self.square}"]
        error = math.sqrt(max(float(spread), 0.0) * n / (n - 1)) / count
        effective = intervals.kish_effective_n(float(row["cost__weight"]), float(row["cost__ww"]))
        found = intervals.mean_interval(value, error, effective)
        low, high = (None, None) if found is None or found.low is None else (max(found.low, idle / count), found.high)
        said = f"{idle / total:.0%} of it is idle time of machines" if idle > 0.005 * total else ""
        return Estimate(value=value, low=low, high=high, n=n, method=self.method, note=_join(said, note))


@dataclass(frozen=True, kw_only=True)
class CostPerSession:
    """Mean of the sessions' costs."""

    @property
    def method(self) -> str:
        return "student-t"

    @property
    def interval(self) -> str:
        return "Student's t over sessions, not below 0"

    @property
    def ingredients(self) -> Mapping[str, str]:
        return {
            **_CURRENCY,
            "session__n": "count()",
            "session__c": "sum(cost)",
            "session__cc": "sum(cost * cost)",
            "session__unknown": "countIf(unpriced = requests)",
            "session__partly": "countIf(unpriced > 0 AND unpriced < requests)",
            "session__w": "max(weight_max)",
            "unit__share": "max(unit_share)",
        }

    def estimate(self, row: Row, *, seconds: float) -> Estimate:
        mixed = _mixed(row, self.method)
        if mixed is not None:
            return mixed
        n = int(row["session__n"]) - int(row["session__unknown"])
        if not n:
            return Estimate(value=None, method=self.method, note=f"none of {row['session__n']} sessions has a price")
        mean = float(row["session__c"]) / n
        parts = [_currency(row)]
        if row["session__unknown"]:
            parts.append(f"{row['session__unknown']} sessions are unpriced; they are not in it")
        if row["session__partly"]:
            parts.append(f"{row['session__partly']} sessions are priced in part")
        if row["session__w"] > 1:
            parts.append("sampled: sessions of which no call was kept are missing")
        if (share := float(row["unit__share"])) < 1:
            parts.append(f"from a sample of 1 in {1 / share:.3g}")
        note = _join(*parts)
        if n < 2:
            return Estimate(value=mean, n=n, method=self.method, note=_join("an interval needs 2 sessions", note))
        variance = max(0.0, (float(row["session__cc"]) - n * mean**2) / (n - 1))
        found = intervals.mean_interval(mean, math.sqrt(variance / n), n)
        low, high = (None, None) if found is None or found.low is None else (max(0.0, found.low), found.high)
        return Estimate(value=mean, low=low, high=high, n=n, method=self.method, note=note)


@dataclass(frozen=True, kw_only=True)
class CostPerGood:
    """All costs over the requests that were good."""

    @property
    def method(self) -> str:
        return "poisson"

    @property
    def interval(self) -> str:
        return "Garwood's of the number of good requests, turned over; the costs are taken as known"

    @property
    def ingredients(self) -> Mapping[str, str]:
        return {
            **_CURRENCY,
            "good__requests": "sum(requests)",
            "good__w": "sum(good)",
            "good__n": "sum(good_n)",
            "good__cost": "sum(cost)",
            "good__unpriced": "sum(unpriced)",
        }

    def estimate(self, row: Row, *, seconds: float) -> Estimate:
        mixed = _mixed(row, self.method)
        if mixed is not None:
            return mixed
        cost, good, n = float(row["good__cost"]), float(row["good__w"]), int(row["good__n"])
        if not row["cost__currencies"]:
            return Estimate(value=None, method=self.method, note="no cost in this window")
        if not n:
            return Estimate(value=None, method=self.method, note=f"none of {row['good__requests']} calls was good")
        unpriced = (
            f"{row['good__unpriced']} calls are unpriced; their cost is not in it" if row["good__unpriced"] else ""
        )
        found = intervals.poisson(n)
        factor = good / n
        low = None if found.high is None else cost / (found.high * factor)
        high = cost / (found.low * factor) if found.low else None
        return Estimate(
            value=cost / good, low=low, high=high, n=n, method=self.method, note=_join(_currency(row), unpriced)
        )


@dataclass(frozen=True, kw_only=True)
class OfLedger:
    """A ratio of two sums over the hours of nodes: a census, without an interval."""

    top: str
    bottom: str
    name: str
    share: bool = False

    @property
    def method(self) -> str:
        return "census"

    @property
    def interval(self) -> str:
        return "none: it is a count of all, not a sample"

    @property
    def ingredients(self) -> Mapping[str, str]:
        return {**_CURRENCY, f"{self.name}__top": f"sum({self.top})", f"{self.name}__bottom": f"sum({self.bottom})"}

    def estimate(self, row: Row, *, seconds: float) -> Estimate:
        mixed = _mixed(row, self.method)
        if mixed is not None and not self.share:
            return mixed
        top, bottom, n = float(row[f"{self.name}__top"]), float(row[f"{self.name}__bottom"]), int(row["calls__n"])
        if not bottom:
            return Estimate(value=None, n=n, method=self.method, note="nothing was billed in this window")
        return Estimate(value=top / bottom, n=n, method=self.method, note="" if self.share else _currency(row))


@dataclass(frozen=True, kw_only=True)
class Unpriced:
    """Calls without a cost."""

    @property
    def method(self) -> str:
        return "exact"

    @property
    def interval(self) -> str:
        return "none: it is a count of all, not a sample"

    @property
    def ingredients(self) -> Mapping[str, str]:
        return {"cost__n": "sum(requests)", "cost__unpriced_calls": "sum(unpriced_calls)"}

    def estimate(self, row: Row, *, seconds: float) -> Estimate:
        return Estimate(value=float(row["cost__unpriced_calls"]), n=int(row["cost__n"]), method=self.method)


@dataclass(frozen=True, kw_only=True)
class MonthEnd:
    """Cost of the month at its end."""

    @property
    def method(self) -> str:
        return "forecast"

    @property
    def interval(self) -> str:
        return (
            "Student's t around a forecast from past hours, see `monitor.stats.forecast`; `seasonal` from three weeks on,"
            " `daily-rate` from three days on, else `hourly-rate`"
        )

    @property
    def ingredients(self) -> Mapping[str, str]:
        return {
            **_CURRENCY,
            "month__costs": "groupArray((hour_s, cost))",
            "month__start": "any(month_start)",
            "month__end": "any(month_end)",
            "month__until": "any(known_until)",
        }

    def estimate(self, row: Row, *, seconds: float) -> Estimate:
        mixed = _mixed(row, self.method)
        if mixed is not None:
            return mixed
        _, found = month_end_of(
            [(int(hour), float(cost)) for hour, cost in row["month__costs"]],
            month_start_s=int(row["month__start"]),
            month_end_s=int(row["month__end"]),
            known_until_s=int(row["month__until"]),
        )
        note = _join(_currency(row), found.note)
        return Estimate(value=found.value, low=found.low, high=found.high, n=found.n, method=found.method, note=note)


@dataclass(frozen=True, kw_only=True)
class BudgetUsed:
    """Share of the budget that is spent; of several, the one that is spent most."""

    @property
    def method(self) -> str:
        return "census"

    @property
    def interval(self) -> str:
        return "none: it is what was spent; what the month comes to has an interval, see `cost.forecast_month`"

    @property
    def ingredients(self) -> Mapping[str, str]:
        return {"budget__all": "arrayReverseSort(groupArray((spent / amount, name, at, forecast / (amount / 1e9))))"}

    def estimate(self, row: Row, *, seconds: float) -> Estimate:
        budgets: list[Any] = list(row["budget__all"])
        used, name, at, forecast = budgets[0]
        said = [f"budget `{name}` as of {at:%Y-%m-%d %H:%M}"]
        if forecast is not None:
            said.append(f"on its way to {forecast:.0%} at the month's end")
        if len(budgets) > 1:
            said.append(f"the most used of {len(budgets)}")
        return Estimate(value=float(used), n=len(budgets), method=self.method, note="; ".join(said))


def _priced(row: Row) -> int:
    return int(row["cost__n"]) - int(row["cost__unpriced"])


def _refused(row: Row, method: str) -> Estimate | None:
    """What is said instead of a number where nothing has a price."""
    mixed = _mixed(row, method)
    if mixed is not None:
        return mixed
    if not _priced(row) and row["cost__unpriced"] and not row["cost__idle"]:
        return Estimate(value=None, method=method, note=f"none of {row['cost__unpriced']} calls has a price")
    return None


def _mixed(row: Row, method: str) -> Estimate | None:
    names = list(row["cost__currencies"])
    if len(names) < 2:
        return None
    note = f"costs are in {' and '.join(names)}; cost the period again in one: `monitor cost reprice`"
    return Estimate(value=None, method=method, note=note)


def _note(row: Row) -> str:
    unpriced = row["cost__unpriced"]
    said = f"{unpriced} of {row['cost__n']} calls are unpriced; they are not in it" if unpriced else ""
    return _join(_currency(row), said)


def _currency(row: Row) -> str:
    return "".join(row["cost__currencies"])


def _join(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
