"""How a latency is distributed: counts in bins of equal ratio, made by the store."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pandas as pd

from monitor.kpis import DIMENSIONS, REGISTRY, Window, check_where
from monitor.kpis.dimensions import dimension_sql, where_sql
from monitor.kpis.estimators import Measure, Quantile
from monitor.kpis.histogram import spread
from monitor.kpis.rolled import Latencies, rolled_latencies
from monitor.kpis.sources import Question
from monitor.store import Client
from monitor.store.calls import calls_source

BINS_PER_DECADE: Final = 16
# Latencies from a microsecond to a million seconds.
_BIN_MIN, _BIN_MAX = -6 * BINS_PER_DECADE, 6 * BINS_PER_DECADE


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Shares of calls by latency.

    Parameters
    ----------
    bins : pandas.DataFrame
        `group, low, high` (s, the bin's edges), `share` (of the group's calls, from 0 to 1); every bin between a group's
        first and last is there.
    totals : dict
        Group -> number of calls, the largest first.
    zeros : dict
        Group -> share of calls that took no time at all; a scale of ratios has no place for them.
    left_out : int
        Groups that are not in `bins`, since there are too many.

    Over many calls it comes from rollups where they can answer: edges of bins are then within 1 % of what they say.
    """

    bins: pd.DataFrame
    totals: dict[str, int]
    zeros: dict[str, float]
    left_out: int


def measure_of(name: str) -> Measure:
    """The latency of this short name, as the registry has it."""
    estimator = REGISTRY[f"latency.{name}.p50"].estimator
    assert isinstance(estimator, Quantile), "every latency has quantiles"
    return estimator.of


def read_histogram(
    client: Client,
    measure: str,
    window: Window,
    *,
    by: str = "",
    where: Mapping[str, str | Sequence[str]],
    groups_max: int,
) -> Histogram:
    """Histogram of a latency over one window, by a dimension if one is given."""
    assert not by or by in DIMENSIONS, f"{by} is no dimension"
    of = measure_of(measure)
    question = Question(
        start_ns=window.start_ns,
        end_ns=window.end_ns,
        by=(by,) if by else (),
        where=check_where(where),
        groups_max=groups_max,
    )
    rolled = rolled_latencies(client, of, question)
    if rolled is not None:
        return _histogram([row for each in rolled for row in _of_buckets(each)], groups_max)
    condition, parameters = where_sql(question.where)
    rows = calls_source(client, window.start_ns, window.end_ns)
    group = dimension_sql(by) if by else "''"
    place = f"toInt32(greatest({_BIN_MIN}, least({_BIN_MAX}, floor(log10(x) * {BINS_PER_DECADE}))))"
    result = client.query(
        f"""SELECT grp, if(x > 0, {place}, NULL) AS place, sum(w) AS weight, count() AS calls
FROM (SELECT {group} AS grp, {of.number} AS x, sample_weight AS w FROM {rows} WHERE {condition} AND {of.condition})
GROUP BY grp, place ORDER BY grp, place""",
        parameters=parameters,
    )
    return _histogram(result.result_rows, groups_max)


def _of_buckets(each: Latencies) -> list[tuple[str, int | None, float, float]]:
    """Rows as the statement over calls has them."""
    group = str(each.keys[0]) if each.keys else ""
    return [
        (group, None if place is None else max(_BIN_MIN, min(_BIN_MAX, place)), calls, calls)
        for place, calls in spread(each.buckets, BINS_PER_DECADE / math.log(10)).items()
    ]


def _histogram(rows: Sequence[Sequence[object]], groups_max: int) -> Histogram:
    frame = pd.DataFrame(rows, columns=["group", "place", "weight", "calls"])
    sizes = frame.groupby("group")["calls"].sum().sort_values(ascending=False)
    kept = [str(group) for group in sizes.index[:groups_max]]
    records: list[tuple[str, float, float, float]] = []
    zeros: dict[str, float] = {}
    for group in kept:
        mine = frame[frame["group"] == group]
        total = float(mine["weight"].sum())
        zeros[group] = float(mine.loc[mine["place"].isna(), "weight"].sum()) / total
        placed = mine.dropna()
        sums = placed.groupby("place")["weight"].sum()
        shares = {int(place): float(weight) / total for place, weight in zip(sums.index, sums.to_numpy(), strict=True)}
        for place in range(min(shares), max(shares) + 1) if shares else ():
            low, high = 10 ** (place / BINS_PER_DECADE), 10 ** ((place + 1) / BINS_PER_DECADE)
            records.append((group, low, high, shares.get(place, 0.0)))
    return Histogram(
        bins=pd.DataFrame.from_records(records, columns=["group", "low", "high", "share"]),
        totals={group: round(sizes[group]) for group in kept},
        zeros=zeros,
        left_out=len(sizes) - len(kept),
    )
