"""Counts of two windows of the store in the same bins: two statements for the reference, one for the current window.

What leaves the store is a few dozen numbers for each feature and step. Each call is one row, as everywhere
(`monitor.store.calls`); sampled calls count with their weight, and are worth Kish's effective number of rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import numpy as np

from monitor.drift.features import Feature, rows_of
from monitor.errors import BadInput
from monitor.kpis import Window
from monitor.kpis.dimensions import where_sql
from monitor.stats.drift import Counts, quantile_names
from monitor.stats.drift.effects import Array
from monitor.store import Client

CATEGORIES_MAX: Final = 50  # they travel in the request's address, of all features together
FINE_BINS: Final = 50
COARSE_BINS: Final = 10
OTHER: Final = "other categories"
CHUNKS_MAX: Final = 1000
_Conditions = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Bins:
    """A feature and its bins: inner edges of numbers, or the reference's most frequent categories."""

    feature: Feature
    edges: tuple[float, ...] = ()
    points: tuple[float, ...] = ()
    deviation: float = 1.0
    categories: tuple[str, ...] = ()
    complete: bool = True  # whether the reference has no other category

    @property
    def width(self) -> int:
        return len(self.edges) + 1 if self.feature.number else len(self.categories) + 1


@dataclass(frozen=True, kw_only=True)
class Side:
    """Effective rows of each bin, and without a value."""

    counts: Array
    missing: float


def count_windows(
    client: Client,
    reference: Window,
    current: Window,
    features: Sequence[Feature],
    where: _Conditions,
    step: timedelta | None,
) -> list[tuple[Bins, Side, list[Side]]]:
    """For each feature that the reference knows: its bins, the reference's rows in them, and the current ones by step.

    Parameters
    ----------
    client : Client
        Of a migrated store.
    reference, current : Window
        A call belongs to the window in which it began.
    features : sequence of Feature
        From `find_features`.
    where : mapping
        A checked filter, for both windows.
    step : timedelta, optional
        Length of the current window's steps; None is one step.

    Raises
    ------
    BadInput
        If there would be too many steps.
    """
    steps = _steps(current, step)
    bins = fit(client, reference, features, where)
    before = count(client, reference, bins, where, None)[0]
    after = count(client, current, bins, where, step)
    by_step = [after.get(at) or _none(bins) for at in range(steps)]
    return [(each, before[i], [sides[i] for sides in by_step]) for i, each in enumerate(bins)]


def counts_of(bins: Bins, reference: Side, current: Side, *, fine: bool = False) -> Counts:
    """Both sides in the feature's bins; of a number in tenths of the reference, or in all the bins that were counted."""
    if bins.feature.number and not fine:
        return _coarse(bins, reference, current)
    names = quantile_names(np.array(bins.edges)) if bins.feature.number else (*bins.categories, OTHER)
    return Counts(reference=reference.counts, current=current.counts, names=names)


def fit(
    client: Client, window: Window, features: Sequence[Feature], where: _Conditions, *, numbers: int = FINE_BINS
) -> list[Bins]:
    """Where the bins of each feature are: one statement; features that the window does not know are left out.

    Parameters
    ----------
    numbers : int
        Bins of a number, each with the same share of the window's calls.
    """
    columns = []
    levels = ", ".join(f"{i / numbers:g}" for i in range(numbers + 1))
    for i, feature in enumerate(features):
        if feature.number:
            columns += [f"quantiles({levels})({feature.sql}) AS q{i}", f"stddevPopStable({feature.sql}) AS d{i}"]
        else:
            weighed = f"sumMapIf(map({feature.sql}, sample_weight), {feature.sql} != '')"
            pairs = f"CAST({weighed}, 'Array(Tuple(String, Float64))')"
            top = f"arraySlice(arrayReverseSort(x -> (x.2, x.1), {pairs}), 1, {CATEGORIES_MAX + 1})"
            columns += [f"arrayMap(x -> x.1, {top}) AS q{i}", f"0 AS d{i}"]
    condition, parameters = where_sql(where)
    query = f"SELECT {', '.join(columns)} FROM {rows_of(client, window, features)} WHERE {condition}"
    row = client.query(query, parameters=parameters).result_rows[0] if features else ()
    bins = []
    for i, feature in enumerate(features):
        found, deviation = list(row[2 * i]), row[2 * i + 1]
        if feature.number:
            quantiles = np.array([np.nan if value is None else value for value in found], dtype=np.float64)
            if not len(quantiles) or not np.isfinite(quantiles).all():
                continue
            bins.append(_number_bins(feature, quantiles, float(deviation or 0.0)))
        elif found:
            kept = tuple(map(str, found[:CATEGORIES_MAX]))
            bins.append(Bins(feature=feature, categories=kept, complete=len(found) <= CATEGORIES_MAX))
    return bins


def _number_bins(feature: Feature, quantiles: Array, deviation: float) -> Bins:
    edges = np.unique(quantiles[1:-1])
    if edges[-1] == quantiles[-1]:
        # Many calls have the largest value (0, mostly): what is above it must not be counted with them.
        edges = np.append(edges, edges[-1] + 1e-9 * max(1.0, abs(edges[-1])))
    # Between edges, rows lie in the middle; beyond the last ones, half way to the reference's smallest and largest.
    ends = np.concatenate([[quantiles[0]], edges, [quantiles[-1]]])
    points = (ends[:-1] + ends[1:]) / 2
    return Bins(feature=feature, edges=tuple(edges.tolist()), points=tuple(points.tolist()), deviation=deviation)


def count(
    client: Client,
    window: Window,
    bins: Sequence[Bins],
    where: _Conditions,
    chunk: timedelta | None,
) -> dict[int, list[Side]]:
    """Effective rows in each bin of each feature, by step: one statement."""
    if not bins:
        return {0: []}
    step = (
        "0" if chunk is None else f"intDiv(toUnixTimestamp64Nano(timestamp) - {window.start_ns}, {_nanoseconds(chunk)})"
    )
    columns = [f"sumMap(map({bin_sql(each, i)}, sample_weight)) AS c{i}" for i, each in enumerate(bins)]
    condition, parameters = where_sql(where)
    all_parameters: dict[str, Any] = {**parameters, **bin_parameters(bins)}
    rows = rows_of(client, window, [each.feature for each in bins])
    query = (
        f"SELECT {step} AS step, sum(sample_weight) AS w, sum(sample_weight * sample_weight) AS ww, {', '.join(columns)}"
        f" FROM {rows} WHERE {condition} GROUP BY step"
    )
    found: dict[int, list[Side]] = {}
    for row in client.query(query, parameters=all_parameters).result_rows:
        w, ww = float(row[1]), float(row[2])
        found[int(row[0])] = [_side(each, row[3 + i], w / ww if ww else 1.0) for i, each in enumerate(bins)]
    return found if found else {0: _none(bins)}


def bin_parameters(bins: Sequence[Bins]) -> dict[str, list[str]]:
    """What the SQL of the bins wants beside its text."""
    return {f"categories_{i}": list(each.categories) for i, each in enumerate(bins) if not each.feature.number}


def bin_sql(bins: Bins, i: int) -> str:
    """Number of a row's bin; -1 without a value. `i` names its parameter."""
    value = bins.feature.sql
    if bins.feature.number:
        edges = ", ".join(repr(edge) for edge in bins.edges)
        # As numpy's searchsorted with side="right": an edge belongs to the bin above it.
        return f"if(isNull({value}) OR isNaN(assumeNotNull({value})), -1, toInt32(arrayCount(e -> e <= assumeNotNull({value}), [{edges}])))"
    # indexOf counts from 1, and says 0 for what is not there: that is the last bin.
    place = f"toInt32(indexOf({{categories_{i}:Array(String)}}, {value}))"
    return f"multiIf({value} = '', -1, {place} = 0, {len(bins.categories)}, {place} - 1)"


def _side(bins: Bins, counted: Mapping[int, float], per_row: float) -> Side:
    """Counts from the map that the store gives; weights become effective rows by one factor for all bins."""
    counts = np.zeros(bins.width)
    for at, weight in counted.items():
        if at >= 0:
            counts[at] = weight * per_row
    return Side(counts=counts, missing=float(counted.get(-1, 0.0)) * per_row)


def _coarse(bins: Bins, own: Side, other: Side, wanted: int = COARSE_BINS) -> Counts:
    """Neighbouring fine bins put together, until each has a tenth of the reference."""
    total = float(own.counts.sum())
    reached = np.cumsum(own.counts)
    starts = [0]
    for at in range(1, len(own.counts)):
        before = reached[at - 1] - (reached[starts[-1] - 1] if starts[-1] else 0.0)
        if before >= total / wanted * 0.999 and reached[-1] - reached[at - 1] > 0:
            starts.append(at)
    edges = np.array([bins.edges[at - 1] for at in starts[1:]])
    reference, current = (np.add.reduceat(side.counts, starts) for side in (own, other))
    return Counts(reference=reference, current=current, names=quantile_names(edges))


def _none(bins: Sequence[Bins]) -> list[Side]:
    return [Side(counts=np.zeros(each.width), missing=0.0) for each in bins]


def _steps(window: Window, chunk: timedelta | None) -> int:
    if chunk is None:
        return 1
    steps = -(-(window.end_ns - window.start_ns) // _nanoseconds(chunk))
    if steps > CHUNKS_MAX:
        raise BadInput(
            f"the current window has {steps} chunks of {chunk}; at most {CHUNKS_MAX} are compared, give longer ones"
        )
    return steps


def _nanoseconds(length: timedelta) -> int:
    return length // timedelta(microseconds=1) * 1000
