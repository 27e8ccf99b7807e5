"""How a number and its interval come out of aggregates.

An estimator names the aggregates (`ingredients`) that it needs of a group of rows and turns them into an estimate. It
does not know where they come from: exact facts today, the same sums and counts of a rollup as well. Each ingredient
has one name wherever it is used, so that KPIs asked for together share it.

Weights: w is `sample_weight`, the calls that a row stands for. `n` always counts rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from monitor.stats import intervals

LEVEL: Final = intervals.LEVEL
W: Final = "sample_weight"

# Of every group: rows, and what their weights are.
POPULATION: Final = {
    "calls__n": "count()",
    "calls__w": f"sum({W})",
    "calls__ww": f"sum({W} * {W})",
    "calls__w_min": f"min({W})",
    "calls__w_max": f"max({W})",
}

Row = Mapping[str, Any]


def at_weight_one(sql: str) -> str:
    """SQL of an ingredient where all weights are 1: less to be multiplied, and the same sum under several names is one."""
    plain = sql.replace(f"{W} * ", "")
    for one in (f"sumIf({W}, ", "sumIf(toFloat64(assumeNotNull(1)), "):
        if plain.startswith(one):
            return f"toFloat64(countIf({plain.removeprefix(one)})"
    return {f"sum({W})": "toFloat64(count())", f"min({W})": "toFloat64(1)", f"max({W})": "toFloat64(1)"}.get(
        plain, plain
    )


class QuantileFound(NamedTuple):
    """A quantile as read from the store; `interval` says whether its ends were looked for.

    `error` is how far the point may be from the exact one, relatively: 0 from calls, more from histograms.
    """

    point: float
    low: float | None
    high: float | None
    interval: bool
    error: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its interval; None is what the data cannot give, and `note` says why."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    method: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A number of each call: SQL over the calls, and which calls have it at all.

    `missing` completes the sentence "no call …" for a window in which none has it.
    """

    name: str
    value: str
    among: str = "1"
    missing: str = ""

    @property
    def condition(self) -> str:
        """SQL: is the value there, a number, and to be counted?"""
        return f"(isNotNull({self.value}) AND isFinite(assumeNotNull({self.value})) AND {self.among})"

    @property
    def number(self) -> str:
        """SQL of the value as a float; only to be used where `condition` holds."""
        return f"toFloat64(assumeNotNull({self.value}))"

    @property
    def sums(self) -> dict[str, str]:
        x, c = self.number, self.condition
        return {
            f"{self.name}__n": f"countIf({c})",
            f"{self.name}__w": f"sumIf({W}, {c})",
            f"{self.name}__ww": f"sumIf({W} * {W}, {c})",
            f"{self.name}__x": f"sumIf({x}, {c})",
            f"{self.name}__wx": f"sumIf({W} * {x}, {c})",
            f"{self.name}__wwx": f"sumIf({W} * {W} * {x}, {c})",
            f"{self.name}__wxx": f"sumIf({W} * {x} * {x}, {c})",
            f"{self.name}__wwxx": f"sumIf({W} * {W} * {x} * {x}, {c})",
        }

    def pick(self, *sums: str) -> dict[str, str]:
        return {f"{self.name}__{name}": self.sums[f"{self.name}__{name}"] for name in sums}


class Estimator(Protocol):
    """What a KPI needs: ingredients in, an estimate out."""

    @property
    def method(self) -> str:
        """Name of the interval's method, as shown beside a value."""

    @property
    def interval(self) -> str:
        """A sentence on the interval, for the documentation."""

    @property
    def ingredients(self) -> Mapping[str, str]:
        """Name -> SQL aggregate over the source's rows."""

    def estimate(self, row: Row, *, seconds: float) -> Estimate:
        """Estimate from one group's ingredients, of at least one row, over a window of so many seconds."""


@dataclass(frozen=True, kw_only=True)
class Total:
    """Sum of a measure over all calls, sampled away ones included: Σwx."""

    of: Measure

    @property
    def method(self) -> str:
        return "exact"

    @property
    def interval(self) -> str:
        return (
            "none where every call is stored; for sampled calls normal, with the Horvitz-Thompson variance Σw(w − 1)x²"
        )

    @property
    def ingredients(self) -> Mapping[str, str]:
        return self.of.pick("n", "x", "wx", "wxx", "wwxx")

    def estimate(self, row: Row, *, seconds: float) -> Estimate:
        total, n, note = _total(row, self.of)
        if total is None:
            return Estimate(value=None, n=n, method=self.method, note=note)
        name = self.of.name
        variance = row[f"{name}__wwxx"] - row[f"{name}__wxx"]
        if row["calls__w_max"] == 1 or variance <= 0:
            return Estimate(value=total, n=n, method=self.method, note=note)
        low, high = intervals.total_interval(total, variance, at_least=row[f"{name}__x"])
        return Estimate(value=total, low=low, high=high, n=n, method="horvitz-thompson", note=note)


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A total per second of the window."""

    of: Measure

    @property
    def method(self) -> str:
        return "poisson"

    @property
    def interval(self) -> str:
        return (
            "Garwood's, for the expectation behind the count, as if calls arrived independently (bursts make the truth"
            " wider); for sums, scaled to the calls' sizes"
        )

    @property
    def ingredients(self) -> Mapping[str, str]:
        return self.of.pick("n", "wx", "wwxx")

    def estimate(self, row: Row, *, seconds: float) -> Estimate:
        total, n, note = _total(row, self.of)
        if total is None:
            return Estimate(value=None, n=n, method=self.method, note=note)
        interval = intervals.weighted_poisson(total, row[f"{self.of.name}__wwxx"])
        low, high = (None, None) if interval is None else (_over(interval.low, seconds), _over(interval.high, seconds))
        return Estimate(value=total / seconds, low=low, high=high, n=n, method=self.method, note=note)


@dataclass(frozen=True, kw_only=True)
class Share:
    """Weighted share of all calls for which something is true; `hit` has the value 1 where it is."""

    hit: Measure

    @property
    def method(self) -> str:
        return "wilson"

    @property
    def interval(self) -> str:
        return "Wilson's; for sampled calls with the effective number of calls from the share's own linearised variance"

    @property
    def ingredients(self) -> Mapping[str, str]:
        return self.hit.pick("n", "w", "ww")

    def estimate(self, row: Row, *, seconds: float) -> Estimate:
        hit = self.hit.name
        found = weighted_share(row["calls__w"], row["calls__ww"], row[f"{hit}__w"], row[f"{hit}__ww"])
        return Estimate(
            value=found.share,
            low=found.low,
            high=found.high,
            n=row["calls__n"],
            method=self.method,
            note=_sampled(row, found.effective),
        )


@dataclass(frozen=True, kw_only=True)
class Mean:
    """Weighted mean of a measure; `bounded` where it cannot be below 0."""

    of: Measure
    bounded: bool = True

    @property
    def method(self) -> str:
        return "student-t"

    @property
    def interval(self) -> str:
        bound = " (not below 0)" if self.bounded else ""
        return f"Student's t{bound}; for sampled calls with the linearised variance and Kish's effective n"

    @property
    def ingredients(self) -> Mapping[str, str]:
        return self.of.pick("n", "w", "ww", "wx", "wwx", "wwxx")

    def estimate(self, row: Row, *, seconds: float) -> Estimate:
        name = self.of.name
        n, weight = row[f"{name}__n"], row[f"{name}__w"]
        if n == 0:
            return Estimate(value=None, method=self.method, note=none_of(row, self.of))
        mean = row[f"{name}__wx"] / weight
        deviations = row[f"{name}__wwxx"] - 2 * mean * row[f"{name}__wwx"] + mean**2 * row[f"{name}__ww"]
        error = intervals.weighted_mean_standard_error(weight, deviations, n)
        effective = intervals.kish_effective_n(weight, row[f"{name}__ww"])
        interval = intervals.mean_interval(mean, error, effective)
        if interval is None or interval.low is None:
            note = "an interval needs 2 calls"
            return Estimate(value=mean, n=n, method=self.method, note=note)
        low = max(0.0, interval.low) if self.bounded else interval.low
        return Estimate(value=mean, low=low, high=interval.high, n=n, method=self.method, note=_sampled(row, effective))


@dataclass(frozen=True, kw_only=True)
class Quantile:
    """Exact quantile of a measure, interpolated linearly between neighbours."""

    of: Measure
    level: float

    @property
    def method(self) -> str:
        return "order-statistics"

    @property
    def interval(self) -> str:
        return (
            "between two order statistics with exact binomial ranks, whatever the distribution; an end that would need"
            " more calls is left open; for sampled calls Woodruff's; over many calls from histograms with buckets of 1 %"
            " (method `histogram`), each end moved out to the edge of its bucket"
        )

    @property
    def ingredients(self) -> Mapping[str, str]:
        # The quantile itself is not a sum; `monitor.kpis.quantiles` adds it under `key`, with its interval.
        return self.of.pick("n", "w", "ww")

    @property
    def key(self) -> str:
        return f"{self.of.name}__q{self.level:g}"

    def estimate(self, row: Row, *, seconds: float) -> Estimate:
        name = self.of.name
        n = row[f"{name}__n"]
        if n == 0:
            return Estimate(value=None, method=self.method, note=none_of(row, self.of))
        found: QuantileFound = row[self.key]
        point, low, high = found.point, found.low, found.high
        weighted = row["calls__w_min"] != row["calls__w_max"]
        notes = [self._open_end(low, high)] if found.interval else []
        if weighted:
            notes.append(_sampled(row, intervals.kish_effective_n(row[f"{name}__w"], row[f"{name}__ww"])))
        if found.error:
            notes.append(f"from rollups: within {found.error:.0%}")
        return Estimate(
            value=point,
            low=low,
            high=high,
            n=n,
            method="histogram" if found.error else "woodruff" if weighted else self.method,
            note="; ".join(note for note in notes if note),
        )

    def _open_end(self, low: float | None, high: float | None) -> str:
        if low is not None and high is not None:
            return ""
        ends = " and ".join(end for end, value in (("lower", low), ("upper", high)) if value is None)
        return f"too few calls for the {ends} end; both need {intervals.quantile_n_min(self.level)}"


@dataclass(frozen=True, kw_only=True)
class Completeness:
    """Numbered calls that are stored, over those that their emitters numbered."""

    @property
    def method(self) -> str:
        return "census"

    @property
    def interval(self) -> str:
        return "none: it is a count of all, not a sample"

    @property
    def ingredients(self) -> Mapping[str, str]:
        return {"seq__stored": "sum(stored)", "seq__sent": "sum(sent)"}

    def estimate(self, row: Row, *, seconds: float) -> Estimate:
        stored, sent = int(row["seq__stored"]), int(row["seq__sent"])
        # Never 0: a group is there because a numbered call is.
        lost = sent - stored
        return Estimate(
            value=stored / sent, n=sent, method=self.method, note=f"{lost} of {sent} calls are missing" if lost else ""
        )


class WeightedShare(NamedTuple):
    """A share, Wilson's interval, and the number of calls of equal weight that would have this variance."""

    share: float
    low: float | None
    high: float | None
    effective: float


def weighted_share(weight: float, squares: float, hits: float, hit_squares: float) -> WeightedShare:
    """Share of the weight that hits have, from Σw, Σw² of all and of the hits."""
    # Two sums of floats in different orders: a share of all must not come out as 1.0000000000000002.
    share = min(1.0, hits / weight)
    effective = intervals.share_effective_n(weight, squares, hits, hit_squares)
    low, high = intervals.wilson(min(effective, share * effective), effective)
    return WeightedShare(share, low, high, effective)


def _total(row: Row, of: Measure) -> tuple[float | None, int, str]:
    """Total, n and note; None where calls were made and none says how much."""
    calls, known = row["calls__n"], row[f"{of.name}__n"]
    total = float(row[f"{of.name}__wx"])
    if not of.missing:
        # A count of calls: each of them was looked at.
        return total, calls, ""
    if not known:
        return None, 0, none_of(row, of)
    unknown = calls - known
    return total, known, f"{unknown} of {calls} calls did not say; they are not in it" if unknown else ""


def none_of(row: Row, of: Measure) -> str:
    return f"none of {row['calls__n']} calls {of.missing}"


def _sampled(row: Row, effective: float) -> str:
    return f"sampled: worth {effective:.0f} calls" if row["calls__w_min"] != row["calls__w_max"] else ""


def _over(value: float | None, seconds: float) -> float | None:
    return None if value is None else value / seconds
