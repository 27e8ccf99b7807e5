"""Two windows of the store: ClickHouse counts, and the counts are compared.

Two passes over the reference (where its bins are, then its counts) and one over the current window; what leaves the store
is a few hundred numbers for each feature and chunk. Each call is one row, as everywhere (`monitor.store.calls`); sampled
calls count with their weight, and are worth Kish's effective number of rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np

from monitor.errors import BadInput
from monitor.kpis import Window, check_where, parse_duration
from monitor.kpis.dimensions import Where, dimension_sql, refuse, where_sql
from monitor.stats.drift import (
    DEFAULT,
    DOMAIN,
    METHODS,
    Counts,
    Drift,
    Options,
    compare_counts,
    compare_shares,
    judge,
    quantile_names,
)
from monitor.stats.drift.effects import Array
from monitor.stats.drift.tables import DEFAULTS
from monitor.store import Client
from monitor.store.calls import calls_source

NUMBERS: Final = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cached_tokens": "cached_tokens",
    "reasoning_tokens": "reasoning_tokens",
    "ttft": "ttft_s",
    "tpot": "tpot_s",
    "e2e": "duration_s",
    "queue": "queue_s",
    "cost": "cost_usd",
}
CATEGORIES: Final = (
    "finish_reason", "error_type", "model", "provider", "operation", "variant", "release", "region", "stream", "cancelled",
)  # fmt: skip
COHORT: Final = "cohort."
COHORTS_MAX: Final = 20
CATEGORIES_MAX: Final = 100
FINE_BINS: Final = 50
OTHER: Final = "other categories"
CHUNKS_MAX: Final = 1000
_NO_FILTER: Final[Where] = {}


def parse_window(text: str, *, now: datetime | None = None) -> Window:
    """`7d` (the last seven days), `7d..1d` (from seven days ago to one day ago), or `START/END` in ISO 8601.

    Raises
    ------
    BadInput
        If it is none of these, or ends before it starts.
    """
    now = datetime.now(UTC) if now is None else now
    if "/" in text:
        ends = text.split("/")
        try:
            start, end = (datetime.fromisoformat(part) for part in ends)
        except ValueError:
            raise BadInput(
                f"`{text}` is no window; write START/END as 2026-11-01T00:00Z/2026-11-02T00:00Z, or 7d..1d"
            ) from None
        return Window(start, end)
    if not re.fullmatch(r"[0-9.a-z]+", text):
        raise BadInput(
            f"`{text}` is neither a file nor a window; write 7d..1d, START/END, or name a CSV or Parquet file"
        )
    first, dots, last = text.partition("..")
    length = parse_duration(first)
    ended = timedelta(0) if not dots or last in ("", "now", "0s") else parse_duration(last)
    if ended >= length:
        raise BadInput(f"the window `{text}` must begin before it ends; write the earlier time first, as 7d..1d")
    return Window(now - length, now - ended)


@dataclass(frozen=True, kw_only=True)
class Feature:
    """Something that each call has: a number, or a category.

    Parameters
    ----------
    name : str
        As users write it.
    sql : str
        Its value: Nullable(Float64), or a string in which '' is unknown.
    number : bool
        Which of the two.
    """

    name: str
    sql: str
    number: bool


def compare_windows(
    client: Client,
    reference: Window,
    current: Window,
    *,
    columns: Sequence[str] = (),
    chunk: timedelta | None = None,
    where: Where = _NO_FILTER,
    options: Options = DEFAULTS,
) -> list[Drift]:
    """Every feature of two windows, with verdicts that hold for all of them together.

    Parameters
    ----------
    client : Client
        Of a migrated store.
    reference, current : Window
        A call belongs to the window in which it began.
    columns : sequence of str
        Features: of `NUMBERS`, `CATEGORIES`, or `cohort.KEY`; none means all that the reference knows.
    chunk : timedelta, optional
        The current window in steps of this length.
    where : mapping
        Filter, as of KPIs; for both windows.
    options : Options
        As of `monitor.stats.drift.compare`; the domain classifier needs rows, and is for files only.

    Raises
    ------
    BadInput
        If a feature or filter is unknown, or there would be too many chunks.
    """
    if DOMAIN in options.methods:
        raise BadInput(f"{DOMAIN} needs rows, and windows are counted in the store; export both to files for it")
    steps = _steps(current, chunk)
    checked = check_where(where)
    features = _features(client, reference, columns, checked)
    bins = _fit(client, reference, features, checked)
    before = _count(client, reference, bins, checked, None)[0]
    after = _count(client, current, bins, checked, chunk)
    found: list[Drift] = []
    for one, other_sides in zip(
        bins, zip(*(after.get(step, _none(bins)) for step in range(steps)), strict=True), strict=True
    ):
        own = before[bins.index(one)]
        for step, other in enumerate(other_sides):
            for each in _compared(one, own, other, options):
                found.append(each if chunk is None else replace(each, chunk=step))
    return judge(found, alpha=options.alpha, rows_min=options.rows_min)


@dataclass(frozen=True, kw_only=True)
class _Bins:
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
class _Side:
    """Effective rows of each bin, and without a value."""

    counts: Array
    missing: float


def _features(
    client: Client, window: Window, wanted: Sequence[str], where: Mapping[str, tuple[str, ...]]
) -> list[Feature]:
    known = {name: Feature(name=name, sql=f"toFloat64({column})", number=True) for name, column in NUMBERS.items()}
    known |= {name: Feature(name=name, sql=dimension_sql(name), number=False) for name in CATEGORIES}
    condition, parameters = where_sql(where)
    keys = client.query(
        f"SELECT arrayJoin(mapKeys(cohorts)) AS name, count() AS calls FROM {_calls(client, window)} WHERE {condition}"
        f" GROUP BY name ORDER BY calls DESC, name LIMIT {COHORTS_MAX}",
        parameters=parameters,
    ).result_rows
    found = [COHORT + str(key) for key, _ in keys]
    known |= {name: _cohort(name) for name in found}
    chosen = list(dict.fromkeys(wanted)) or list(known)
    for name in chosen:
        if name not in known and not name.startswith(COHORT):
            refuse("feature", name, list(known))
    return [known.get(name) or _cohort(name) for name in chosen]


def _cohort(name: str) -> Feature:
    return Feature(name=name, sql=f"cohorts[{_quoted(name.removeprefix(COHORT))}]", number=False)


def _fit(
    client: Client, window: Window, features: Sequence[Feature], where: Mapping[str, tuple[str, ...]]
) -> list[_Bins]:
    """Where the bins of each feature are, from the reference: one statement; features that it does not know are left out."""
    columns = []
    levels = ", ".join(f"{i / FINE_BINS:g}" for i in range(FINE_BINS + 1))
    for i, feature in enumerate(features):
        if feature.number:
            columns += [f"quantiles({levels})({feature.sql}) AS q{i}", f"stddevPopStable({feature.sql}) AS d{i}"]
        else:
            weighed = f"sumMapIf(map({feature.sql}, sample_weight), {feature.sql} != '')"
            pairs = f"CAST({weighed}, 'Array(Tuple(String, Float64))')"
            top = f"arraySlice(arrayReverseSort(x -> (x.2, x.1), {pairs}), 1, {CATEGORIES_MAX + 1})"
            columns += [f"arrayMap(x -> x.1, {top}) AS q{i}", f"0 AS d{i}"]
    condition, parameters = where_sql(where)
    query = f"SELECT {', '.join(columns)} FROM {_calls(client, window)} WHERE {condition}"
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
            bins.append(_Bins(feature=feature, categories=kept, complete=len(found) <= CATEGORIES_MAX))
    return bins


def _number_bins(feature: Feature, quantiles: Array, deviation: float) -> _Bins:
    edges = np.unique(quantiles[1:-1])
    # Between edges, rows lie in the middle; beyond the last ones, half way to the reference's smallest and largest.
    ends = np.concatenate([[quantiles[0]], edges, [quantiles[-1]]])
    points = (ends[:-1] + ends[1:]) / 2
    return _Bins(feature=feature, edges=tuple(edges.tolist()), points=tuple(points.tolist()), deviation=deviation)


def _count(
    client: Client,
    window: Window,
    bins: Sequence[_Bins],
    where: Mapping[str, tuple[str, ...]],
    chunk: timedelta | None,
) -> dict[int, list[_Side]]:
    """Effective rows in each bin of each feature, by step: one statement."""
    if not bins:
        return {0: []}
    step = (
        "0" if chunk is None else f"intDiv(toUnixTimestamp64Nano(timestamp) - {window.start_ns}, {_nanoseconds(chunk)})"
    )
    columns = [f"sumMap(map({_bin_sql(each, i)}, sample_weight)) AS c{i}" for i, each in enumerate(bins)]
    condition, parameters = where_sql(where)
    all_parameters: dict[str, Any] = {**parameters}
    for i, each in enumerate(bins):
        if not each.feature.number:
            all_parameters[f"categories_{i}"] = list(each.categories)
    query = (
        f"SELECT {step} AS step, sum(sample_weight) AS w, sum(sample_weight * sample_weight) AS ww, {', '.join(columns)}"
        f" FROM {_calls(client, window)} WHERE {condition} GROUP BY step"
    )
    found: dict[int, list[_Side]] = {}
    for row in client.query(query, parameters=all_parameters).result_rows:
        w, ww = float(row[1]), float(row[2])
        found[int(row[0])] = [_side(each, row[3 + i], w / ww if ww else 1.0) for i, each in enumerate(bins)]
    return found if found else {0: _none(bins)}


def _bin_sql(bins: _Bins, i: int) -> str:
    """Number of a row's bin; -1 without a value."""
    value = bins.feature.sql
    if bins.feature.number:
        edges = ", ".join(repr(edge) for edge in bins.edges)
        # As numpy's searchsorted with side="right": an edge belongs to the bin above it.
        return f"if(isNull({value}) OR isNaN(assumeNotNull({value})), -1, toInt32(arrayCount(e -> e <= assumeNotNull({value}), [{edges}])))"
    # indexOf counts from 1, and says 0 for what is not there: that is the last bin.
    place = f"toInt32(indexOf({{categories_{i}:Array(String)}}, {value}))"
    return f"multiIf({value} = '', -1, {place} = 0, {len(bins.categories)}, {place} - 1)"


def _side(bins: _Bins, counted: Mapping[int, float], per_row: float) -> _Side:
    """Counts from the map that the store gives; weights become effective rows by one factor for all bins."""
    counts = np.zeros(bins.width)
    for at, weight in counted.items():
        if at >= 0:
            counts[at] = weight * per_row
    return _Side(counts=counts, missing=float(counted.get(-1, 0.0)) * per_row)


def _compared(bins: _Bins, own: _Side, other: _Side, options: Options) -> list[Drift]:
    name, numeric = bins.feature.name, bins.feature.number
    names = quantile_names(np.array(bins.edges)) if numeric else (*bins.categories, OTHER)
    fine = Counts(reference=own.counts, current=other.counts, names=names)
    coarse = _coarse(bins, own, other) if numeric else fine
    found = []
    methods = [each if numeric or not METHODS[each].ordered else DEFAULT for each in options.methods]
    for method in dict.fromkeys(methods):
        found.append(
            compare_counts(
                name,
                fine if METHODS[method].ordered else coarse,
                method,
                threshold=options.thresholds.get(method),
                level=options.level,
                seed=options.seed,
                points=np.array(bins.points) if numeric else None,
                unit=max(bins.deviation, 0.001),
            )
        )
    if not numeric and bins.complete and other.counts[-1]:
        n, m = float(own.counts.sum()), float(other.counts.sum())
        found.append(compare_shares(f"{name}.new", 0.0, n, float(other.counts[-1]), m, level=options.level))
    if own.missing or other.missing:
        n, m = float(own.counts.sum()) + own.missing, float(other.counts.sum()) + other.missing
        found.append(compare_shares(f"{name}.missing", own.missing, n, other.missing, m, level=options.level))
    return found


def _coarse(bins: _Bins, own: _Side, other: _Side, wanted: int = 10) -> Counts:
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


def _none(bins: Sequence[_Bins]) -> list[_Side]:
    return [_Side(counts=np.zeros(each.width), missing=0.0) for each in bins]


def _steps(window: Window, chunk: timedelta | None) -> int:
    if chunk is None:
        return 1
    steps = -(-(window.end_ns - window.start_ns) // _nanoseconds(chunk))
    if steps > CHUNKS_MAX:
        raise BadInput(
            f"the current window has {steps} chunks of {chunk}; at most {CHUNKS_MAX} are compared, give longer ones"
        )
    return steps


def _calls(client: Client, window: Window) -> str:
    return calls_source(client, window.start_ns, window.end_ns)


def _nanoseconds(length: timedelta) -> int:
    return length // timedelta(microseconds=1) * 1000


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
