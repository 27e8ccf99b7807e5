"""Estimators of promises: the share of calls that were good, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from monitor.kpis.estimators import Estimate, Measure, Row, weighted_share
from monitor.stats import intervals

_WILSON: Final = (
    "Wilson's, of the share of good calls; for sampled calls with the effective number of calls from the share's own"
    " linearised variance"
)


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """SQL conditions over calls, three of them, as a call may be neither good nor bad.

    Parameters
    ----------
    key : str
        Name of the column that holds the outcome, and front of the names of ingredients; letters, digits and `_`.
    about : str
        Whether the objective is about the call.
    known : str
        Whether it can be told if the call was good; only asked where `about` holds.
    good : str
        Whether it was; only asked where `about` and `known` hold.
    unknown : str
        Completes the sentence "3 of 7 calls …", for those that are neither.
    """

    key: str
    about: str
    known: str
    good: str
    unknown: str

    @property
    def outcome(self) -> str:
        """SQL: 0 none that it is about, 1 cannot be told, 2 bad, 3 good. Told once, as the column `key`."""
        return f"multiIf(NOT ({self.about}), 0, NOT ({self.known}), 1, NOT ({self.good}), 2, 3)"

    @property
    def concerned(self) -> Measure:
        return Measure(name=f"{self.key}_about", value="1", among=f"{self.key} > 0")

    @property
    def judged(self) -> Measure:
        return Measure(name=f"{self.key}_known", value="1", among=f"{self.key} > 1")

    @property
    def hit(self) -> Measure:
        return Measure(name=f"{self.key}_good", value="1", among=f"{self.key} = 3")

    @property
    def ingredients(self) -> dict[str, str]:
        return {
            **self.concerned.pick("n"),
            **self.judged.pick("n", "w", "ww"),
            **self.hit.pick("n", "w", "ww"),
        }

    def share(self, row: Row, *, method: str) -> Estimate:
        """Weighted share of good calls among those that are good or bad, with Wilson's interval."""
        concerned, n = int(row[f"{self.concerned.name}__n"]), int(row[f"{self.judged.name}__n"])
        note = self._left_out(int(row["calls__n"]), concerned, n)
        if not n:
            return Estimate(value=None, method=method, note=note)
        weight, squares = row[f"{self.judged.name}__w"], row[f"{self.judged.name}__ww"]
        hits, hit_squares = row[f"{self.hit.name}__w"], row[f"{self.hit.name}__ww"]
        # Sums of a rolling period are differences of floats: nothing left may be a hair below nothing.
        found = weighted_share(weight, squares, max(0.0, hits), hit_squares)
        sampled = "" if row["calls__w_min"] == row["calls__w_max"] else f"sampled: worth {found.effective:.0f} calls"
        return Estimate(
            value=found.share, low=found.low, high=found.high, n=n, method=method, note=_joined(note, sampled)
        )

    def _left_out(self, calls: int, concerned: int, n: int) -> str:
        if not concerned:
            return f"it is about none of these {calls} calls"
        other = f"{calls - concerned} of {calls} calls are none that it is about" if calls > concerned else ""
        unknown = f"{concerned - n} of {concerned} calls {self.unknown}: neither good nor bad" if concerned > n else ""
        return _joined(other, unknown)


@dataclass(frozen=True, kw_only=True)
class Attainment:
    """Share of good calls; `bounds` adds to the note between what it lies if those that are neither were all bad or good."""

    of: Judgement
    bounds: bool = False

    @property
    def method(self) -> str:
        return "wilson"

    @property
    def interval(self) -> str:
        return _WILSON

    @property
    def ingredients(self) -> Mapping[str, str]:
        return self.of.ingredients | (self.of.concerned.pick("w") if self.bounds else {})

    def estimate(self, row: Row, *, seconds: float) -> Estimate:
        found = self.of.share(row, method=self.method)
        if not self.bounds or found.value is None:
            return found
        all_weight, weight = row[f"{self.of.concerned.name}__w"], row[f"{self.of.judged.name}__w"]
        if row[f"{self.of.concerned.name}__n"] == row[f"{self.of.judged.name}__n"]:
            return found
        good = row[f"{self.of.hit.name}__w"]
        low, high = good / all_weight, (good + all_weight - weight) / all_weight
        return replace(found, note=_joined(found.note, f"over all it lies between {low:.1%} and {high:.1%}"))


@dataclass(frozen=True, kw_only=True)
class BurnRate:
    """Speed at which the error budget is spent: bad share / (1 - target); 1 spends it exactly by the end of the period."""

    of: Judgement
    target: float

    @property
    def method(self) -> str:
        return "wilson"

    @property
    def interval(self) -> str:
        return f"{_WILSON}, carried over"

    @property
    def ingredients(self) -> Mapping[str, str]:
        return self.of.ingredients

    def estimate(self, row: Row, *, seconds: float) -> Estimate:
        return _carried(self.of.share(row, method=self.method), lambda share: (1 - share) / (1 - self.target))


@dataclass(frozen=True, kw_only=True)
class ErrorBudget:
    """Share of the error budget that is left: 1 untouched, 0 used up, below 0 overdrawn."""

    of: Judgement
    target: float

    @property
    def method(self) -> str:
        return "wilson"

    @property
    def interval(self) -> str:
        return f"{_WILSON}, carried over"

    @property
    def ingredients(self) -> Mapping[str, str]:
        return self.of.ingredients

    def estimate(self, row: Row, *, seconds: float) -> Estimate:
        return _carried(self.of.share(row, method=self.method), lambda share: 1 - (1 - share) / (1 - self.target))


@dataclass(frozen=True, kw_only=True)
class GoodPerGpuHour:
    """Good calls per hour that a GPU was there; needs the source's `gpu_hours`."""

    of: Judgement

    @property
    def method(self) -> str:
        return "poisson"

    @property
    def interval(self) -> str:
        return "Garwood's, for the expectation behind the number of good calls; GPU-hours are a count"

    @property
    def ingredients(self) -> Mapping[str, str]:
        return self.of.ingredients | {"gpu__hours": "any(gpu_hours)"}

    def estimate(self, row: Row, *, seconds: float) -> Estimate:
        found = self.of.share(row, method=self.method)
        hours = float(row["gpu__hours"])
        if found.value is None:
            return found
        if not hours:
            return replace(found, value=None, low=None, high=None, note=_joined("no GPU was reported", found.note))
        good = row[f"{self.of.hit.name}__w"]
        interval = intervals.weighted_poisson(good, row[f"{self.of.hit.name}__ww"])
        low, high = (None, None) if interval is None else (_over(interval.low, hours), _over(interval.high, hours))
        note = _joined(f"{hours:,.1f} GPU-hours", found.note)
        return Estimate(value=good / hours, low=low, high=high, n=found.n, method=self.method, note=note)


@dataclass(frozen=True, kw_only=True)
class GoodPerDollar:
    """Good calls per US dollar, over the calls whose cost is known: a ratio of two sums."""

    of: Judgement
    cost: str

    @property
    def method(self) -> str:
        return "ratio"

    @property
    def interval(self) -> str:
        return "normal, from the linearised variance of a ratio of two sums over calls that arrive independently"

    @property
    def ingredients(self) -> Mapping[str, str]:
        return {**self.of.ingredients, **cost_sums(self.of, self.cost)}

    def estimate(self, row: Row, *, seconds: float) -> Estimate:
        found = self.of.share(row, method=self.method)
        if found.value is None:
            return found
        priced, good = (measure.name for measure in _costed(self.of, self.cost))
        n, dollars = int(row[f"{priced}__n"]), float(row[f"{priced}__wx"])
        if not n or dollars <= 0:
            note = f"none of {found.n} calls reported a cost" if not n else "all of it was free of cost"
            return Estimate(value=None, n=n, method=self.method, note=_joined(note, found.note))
        ratio = row[f"{good}__w"] / dollars
        # Σ w² (g - R c)², with g = 1 for a good call and 0 for any other.
        variance = row[f"{good}__ww"] - 2 * ratio * row[f"{good}__wwx"] + ratio**2 * row[f"{priced}__wwxx"]
        interval = intervals.total_interval(ratio, max(0.0, variance) / dollars**2) if n > 1 else None
        low, high = (None, None) if interval is None else (interval.low, interval.high)
        unpriced = (
            f"{found.n - n} of {found.n} calls did not say what they cost; they are not in it" if n < found.n else ""
        )
        return Estimate(value=ratio, low=low, high=high, n=n, method=self.method, note=_joined(unpriced, found.note))


def cost_sums(of: Judgement, cost: str) -> dict[str, str]:
    """Ingredients over the calls whose cost is known, all and good ones."""
    priced, good = _costed(of, cost)
    return {**priced.pick("n", "wx", "wwx", "wwxx"), **good.pick("n", "w", "ww", "wwx")}


def _costed(of: Judgement, cost: str) -> tuple[Measure, Measure]:
    return (
        Measure(name=f"{of.key}_priced", value=cost, among=of.judged.among),
        Measure(name=f"{of.key}_priced_good", value=cost, among=of.hit.among),
    )


@dataclass(frozen=True, kw_only=True)
class NotAsked:
    """A KPI that has no value until something is configured."""

    why: str

    @property
    def method(self) -> str:
        return "none"

    @property
    def interval(self) -> str:
        return "none: there is no value"

    @property
    def ingredients(self) -> Mapping[str, str]:
        return {}

    def estimate(self, row: Row, *, seconds: float) -> Estimate:
        return Estimate(value=None, method=self.method, note=self.why)


def _carried(share: Estimate, to: Callable[[float], float]) -> Estimate:
    """A monotone function of a share, with its interval."""
    if share.value is None or share.low is None or share.high is None:
        return share
    low, high = sorted((to(share.low), to(share.high)))
    return replace(share, value=to(share.value), low=low, high=high)


def _over(value: float | None, by: float) -> float | None:
    return None if value is None else value / by


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
