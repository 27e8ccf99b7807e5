"""Logarithmic histograms: what rollups keep of a latency's distribution.

A value x > 0 lies in bucket ⌈log_γ x⌉ with γ = (1 + α) / (1 − α), and is read back as 2γ^i / (γ + 1), which is never
further than α from it, relatively (Masson, Rim and Lee, "DDSketch", VLDB 2019). Histograms add up exactly, in any order;
weights are sums like all others. Values of 0 or less share the lowest bucket and read 0.

A measure has two maps from bucket to number: Σw, and Σw(w − 1), which is empty where all weights are 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from monitor.kpis.estimators import LEVEL, Measure, Quantile, QuantileFound, W

ERROR: Final = 0.01  # α
GAMMA: Final = (1 + ERROR) / (1 - ERROR)
_LOG: Final = math.log(GAMMA)
_LOWEST: Final = -32768
_Z: Final = float(special.ndtri(0.5 + LEVEL / 2))

Asked = Mapping[Measure, Sequence[float]]


def bucket_sql(x: str) -> str:
    """SQL of the bucket (Int16) of a float."""
    return f"toInt16(if({x} > 0, greatest({_LOWEST + 1}, least(32767, ceil(log({x}) / {_LOG!r}))), {_LOWEST}))"


def bucket_value(bucket: int) -> float:
    """What values of this bucket read as."""
    return 0.0 if bucket <= _LOWEST else 2 * GAMMA**bucket / (GAMMA + 1)


def spread(buckets: Mapping[int, float], per_e: float) -> dict[int | None, float]:
    """Calls in bins of a logarithmic scale that are wider than buckets, with `per_e` bins for each factor of e.

    A bin's number is ⌊per_e · ln x⌋; None has the values of 0 or less. A bucket in which two bins meet is shared out as if its
    calls lay evenly on the scale, so the sum up to a bin's end is one up to a value within 1 % of it.
    """
    found: dict[int | None, float] = {}
    width = _LOG * per_e
    for bucket, weight in buckets.items():
        if bucket <= _LOWEST:
            found[None] = found.get(None, 0.0) + weight
            continue
        low = (bucket - 1) * width
        first = math.floor(low)
        inside = min(1.0, (first + 1 - low) / width)
        found[first] = found.get(first, 0.0) + weight * inside
        if inside < 1:
            found[first + 1] = found.get(first + 1, 0.0) + weight * (1 - inside)
    return found


def histogram_ingredients(measure: Measure) -> dict[str, str]:
    """Aggregates over calls: both maps of a measure."""
    bucket = bucket_sql(measure.number)
    return {
        f"{measure.name}__h": f"sumMapIf(map({bucket}, toFloat64({W})), {measure.condition})",
        f"{measure.name}__hx": f"sumMapIf(map({bucket}, {W} * ({W} - 1)), {measure.condition} AND {W} != 1)",
    }


def bucket_list(measure: Measure) -> str:
    """Aggregate over calls: the bucket of each, sorted. Of few calls that is found much faster than a map."""
    return f"arraySort(groupArrayIf({bucket_sql(measure.number)}, {measure.condition}))"


def counted(buckets: str) -> str:
    """SQL of the map Σw of a `bucket_list` where all weights are 1: a bucket's calls end where the next bucket begins."""
    ends = f"arrayFilter(i -> i = length({buckets}) OR {buckets}[i] != {buckets}[i + 1], arrayEnumerate({buckets}))"
    numbers = f"arrayPopFront(arrayDifference(arrayPushFront(arrayMap(i -> toInt64(i), {ends}), 0)))"
    return f"mapFromArrays(arrayCompact({buckets}), arrayMap(n -> toFloat64(n), {numbers}))"


def columns(asked: Asked) -> dict[str, str]:
    """What to read of both maps of each measure: buckets and weights, as arrays."""
    found = {}
    for measure in asked:
        for name in (f"{measure.name}__h", f"{measure.name}__hx"):
            found[f"{name}_buckets"] = f"mapKeys({name})"
            found[f"{name}_weights"] = f"mapValues({name})"
    return found


def read(row: Mapping[str, Any], asked: Asked, *, intervals: bool) -> dict[str, QuantileFound]:
    """Quantiles of one group from its `columns`, and from the range of its weights."""
    found = {}
    for measure, levels in asked.items():
        if not row[f"{measure.name}__n"]:
            continue
        histogram = Histogram.of(row, measure.name)
        for level in levels:
            point = histogram.quantile(level)
            low, high = histogram.interval(level) if intervals else (None, None)
            found[Quantile(of=measure, level=level).key] = QuantileFound(
                point=point,
                low=None if low is None else min(point, low),
                high=None if high is None else max(point, high),
                interval=intervals,
                error=ERROR,
            )
    return found


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """A histogram as arrays, in the order of the buckets.

    Parameters
    ----------
    buckets : ndarray of int, shape (k,)
    cumulated, squares : ndarray of float, shape (k,)
        Σw and Σw² of all values up to and with each bucket.
    n : int
        Values.
    weight : float, optional
        The one weight that all values have; None if they have several.
    """

    buckets: NDArray[np.int64]
    cumulated: NDArray[np.float64]
    squares: NDArray[np.float64]
    n: int
    weight: float | None

    @classmethod
    def of(cls, row: Mapping[str, Any], name: str) -> Histogram:
        """From the columns of one measure."""
        buckets = np.asarray(row[f"{name}__h_buckets"], dtype=np.int64)
        weights = np.asarray(row[f"{name}__h_weights"], dtype=np.float64)
        extra = dict(zip(row[f"{name}__hx_buckets"], row[f"{name}__hx_weights"], strict=True))
        order = np.argsort(buckets)
        buckets, weights = buckets[order], weights[order]
        squares = weights + np.array([extra.get(int(bucket), 0.0) for bucket in buckets]) if extra else weights
        low, high = row["calls__w_min"], row["calls__w_max"]
        return cls(
            buckets=buckets,
            cumulated=np.cumsum(weights),
            squares=np.cumsum(squares),
            n=int(row[f"{name}__n"]),
            weight=float(low) if low == high else None,
        )

    @property
    def total(self) -> float:
        return float(self.cumulated[-1])

    def quantile(self, level: float) -> float:
        """The quantile of this level; between values of equal weight, interpolated as over the values themselves."""
        if self.weight is None:
            return bucket_value(self._bucket(level * self.total))
        rank = level * (self.total / self.weight - 1)
        first = math.floor(rank)
        # Half a value further: sums of weights are floats.
        left, right = (bucket_value(self._bucket((each + 0.5) * self.weight)) for each in (first, first + 1))
        return left + (rank - first) * (right - left)

    def interval(self, level: float) -> tuple[float | None, float | None]:
        """Both ends with 95 % confidence; None where more values would be needed.

        The share of values below the point has a variance, and its bounds are looked up; an end is the far edge of its
        bucket. Between equal weights the bounds are the binomial ranks by the normal approximation with the skewness
        term of Cornish and Fisher, kept a rank wider; else they are Woodruff's, as over the values themselves.
        """
        spread = level * (1 - level)
        total, n = self.total, self.n
        if self.weight is None:
            below = float(self.squares[self._index(level * total)])
            variance = (1 - level) ** 2 * below + level**2 * (float(self.squares[-1]) - below)
            half = _Z * math.sqrt(max(0.0, variance)) / total
            low, high = (level - half) * total, (level + half) * total + total / n
            has_low, has_high = low > 0, high <= total
        else:
            skew = (_Z**2 - 1) * (1 - 2 * level) / 6
            first = math.floor(n * level - _Z * math.sqrt(n * spread) + skew)
            last = math.ceil(n * level + _Z * math.sqrt(n * spread) + skew) + 1
            low, high = (first - 0.5) * self.weight, (last - 0.5) * self.weight
            has_low, has_high = first >= 1, last <= n
        return (
            _edge(self._bucket(low) - 1) if has_low else None,
            _edge(self._bucket(high)) if has_high else None,
        )

    def _bucket(self, weight: float) -> int:
        return int(self.buckets[self._index(weight)])

    def _index(self, weight: float) -> int:
        """Of the first bucket with which more than this weight is reached."""
        return min(int(np.searchsorted(self.cumulated, weight, side="right")), len(self.buckets) - 1)


def _edge(bucket: int) -> float:
    return 0.0 if bucket <= _LOWEST else float(GAMMA**bucket)
