"""Exact quantiles with order-statistic intervals, in SQL.

For each measure the store sorts a group's values once. Of the sorted array only a handful of neighbours travel: the
two around each quantile, and eight around each end of its interval. The rank of an end is a binomial quantile, which
SQL cannot compute; Cornish and Fisher's expansion, which it can, is never off by more than two, so the eight values
hold the exact rank, and `read_quantiles` picks it. So points and intervals take one statement, whatever n is.

Rows with unequal weights take a second statement (`weighted_columns`): the array is sorted together with its
weights, and the interval is Woodruff's. `monitor.stats.intervals.weighted_quantile` defines what it computes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from scipy import special

from monitor.kpis.estimators import LEVEL, Measure, Quantile, QuantileFound, W
from monitor.stats.intervals import quantile_ranks

_Z: Final = float(special.ndtri((1 + LEVEL) / 2))
_REACH: Final = 3  # an end's rank is at most 2 beside the expansion, and one more for the upper end
_SLICE: Final = 2 * _REACH + 2


def by_measure(quantiles: Iterable[Quantile]) -> dict[Measure, list[float]]:
    """The levels that are asked of each measure."""
    levels: dict[Measure, set[float]] = {}
    for quantile in quantiles:
        levels.setdefault(quantile.of, set()).add(quantile.level)
    return {measure: sorted(found) for measure, found in levels.items()}


def array_ingredients(asked: Mapping[Measure, Sequence[float]]) -> dict[str, str]:
    """Aggregates: the sorted values of each measure."""
    return {
        f"{measure.name}__s": f"arraySort(groupArrayIf({measure.number}, {measure.condition}))" for measure in asked
    }


def array_columns(asked: Mapping[Measure, Sequence[float]], *, intervals: bool) -> dict[str, str]:
    """What to read from the sorted arrays: `[first rank, value, value, …]` per level and place."""
    columns = {}
    for measure, levels in asked.items():
        s = f"{measure.name}__s"
        for level in levels:
            key = _column(measure, level)
            columns[f"{key}_at"] = _slice(s, f"1 + floor((length({s}) - 1) * {level!r})", 2)
            if intervals:
                for end, z in (("low", -_Z), ("high", _Z)):
                    columns[f"{key}_{end}"] = _slice(s, f"{_expansion(s, level, z)} - {_REACH}", _SLICE)
    return columns


def read_quantiles(
    row: Mapping[str, Any], asked: Mapping[Measure, Sequence[float]], *, intervals: bool
) -> dict[str, QuantileFound]:
    """Quantiles of one group from its `array_columns`."""
    found = {}
    for measure, levels in asked.items():
        n = int(row[f"{measure.name}__n"])
        for level in levels:
            if n:
                key = _column(measure, level)
                point = _interpolated(row[f"{key}_at"], n, level)
                low = high = None
                if intervals:
                    ranks = quantile_ranks(n, level, level=LEVEL)
                    low = _end(row[f"{key}_low"], ranks.low)
                    high = _end(row[f"{key}_high"], ranks.high)
                found[Quantile(of=measure, level=level).key] = _around(point, low, high, interval=intervals)
    return found


def weighted_ingredients(asked: Mapping[Measure, Sequence[float]]) -> dict[str, str]:
    """Aggregates: the values and the weights of each measure, in one order."""
    ingredients = {}
    for measure in asked:
        values = f"groupArrayIf({measure.number}, {measure.condition})"
        weights = f"groupArrayIf({W}, {measure.condition})"
        ingredients[f"{measure.name}__s"] = f"arraySort({values})"
        ingredients[f"{measure.name}__sw"] = f"arraySort((w, x) -> x, {weights}, {values})"
    return ingredients


def weighted_columns(asked: Mapping[Measure, Sequence[float]], *, intervals: bool) -> dict[str, str]:
    """`[point, low, high]` per level, NaN where there is none; see the two functions of `monitor.stats.intervals`."""
    columns = {}
    for measure, levels in asked.items():
        s, sw = f"{measure.name}__s", f"{measure.name}__sw"
        above = f"{measure.name}__above"
        unit, total = f"arrayMin({sw})", f"{above}[-1]"
        for level in levels:
            key = _column(measure, level)
            target = f"{level!r} * ({total} - {unit})"
            k = f"least(length({s}), arrayFirstIndex(c -> c > {target}, {above}))"
            gap = f"greatest(0, ({target} - ({above}[{key}_k] - {unit})) / {unit})"
            following = f"{s}[least(length({s}), {key}_k + 1)]"
            columns[f"{key}_k"] = f"greatest(1, {k})"
            columns[f"{key}_point"] = f"{s}[{key}_k] + {gap} * ({following} - {s}[{key}_k])"
            if intervals:
                columns |= _woodruff(key, level, s, sw, above)
    return columns


def weighted_helpers(asked: Mapping[Measure, Sequence[float]]) -> dict[str, str]:
    """Cumulative weights, computed once for all levels of a measure."""
    helpers = {}
    for measure in asked:
        helpers[f"{measure.name}__above"] = f"arrayCumSum({measure.name}__sw)"
        helpers[f"{measure.name}__squares"] = f"arrayCumSum(arrayMap(w -> w * w, {measure.name}__sw))"
    return helpers


def read_weighted(
    row: Mapping[str, Any], asked: Mapping[Measure, Sequence[float]], *, intervals: bool
) -> dict[str, QuantileFound]:
    """Quantiles of one group from its `weighted_columns`."""
    found = {}
    for measure, levels in asked.items():
        for level in levels:
            key = _column(measure, level)
            ends = [_number(row[f"{key}_{end}"]) if intervals else None for end in ("low", "high")]
            found[Quantile(of=measure, level=level).key] = _around(
                float(row[f"{key}_point"]), ends[0], ends[1], interval=intervals
            )
    return found


def _woodruff(key: str, level: float, s: str, sw: str, above: str) -> dict[str, str]:
    squares = above.replace("__above", "__squares")
    total = f"{above}[-1]"
    # Values equal to the point, or below it. An array index of 0 reads 0, as it should here.
    below = f"{squares}[arrayLastIndex(x -> x <= {key}_point, {s})]"
    variance = f"({below} * {(1 - level) ** 2!r} + ({squares}[-1] - {below}) * {level**2!r})"
    low, high = f"({level!r} - {key}_half)", f"({level!r} + {key}_half)"
    rank_low = f"arrayFirstIndex(c -> c >= {low} * {total}, {above})"
    rank_high = f"arrayFirstIndex(c -> c >= {high} * {total} + {total} / length({s}), {above})"
    return {
        f"{key}_half": f"{_Z!r} * sqrt({variance}) / {total}",
        f"{key}_low": f"if({low} > 0, {s}[{rank_low}], nan)",
        f"{key}_high": f"if({rank_high} > 0, {s}[{rank_high}], nan)",
    }


def _expansion(s: str, level: float, z: float) -> str:
    n, spread = f"length({s})", level * (1 - level)
    return f"floor({n} * {level!r} + {z!r} * sqrt({n} * {spread!r}) + {(z * z - 1) * (1 - 2 * level) / 6!r})"


def _slice(s: str, first: str, length: int) -> str:
    first = f"greatest(1, toInt64({first}))"
    return f"arrayConcat([toFloat64({first})], arraySlice({s}, {first}, {length}))"


def _interpolated(found: Sequence[float], n: int, level: float) -> float:
    first, *values = found
    into_gap = min(1.0, max(0.0, (n - 1) * level - (first - 1)))
    left, right = values[0], values[-1]
    # numpy's own form: exact at both ends, and never beyond them.
    return left + (right - left) * into_gap if into_gap < 0.5 else right - (right - left) * (1 - into_gap)


def _end(found: Sequence[float], rank: int | None) -> float | None:
    return None if rank is None else float(found[1 + rank - int(found[0])])


def _around(point: float, low: float | None, high: float | None, *, interval: bool) -> QuantileFound:
    # With very few values the interpolated point may lie outside the two order statistics by part of a gap.
    return QuantileFound(
        point, None if low is None else min(low, point), None if high is None else max(high, point), interval
    )


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _column(measure: Measure, level: float) -> str:
    return f"{measure.name}__{level:g}".replace(".", "_")
