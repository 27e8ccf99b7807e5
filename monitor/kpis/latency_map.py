"""Latency as a picture: how many calls took how long, when. And which place is slower than the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from monitor.errors import BadInput
from monitor.kpis.dimensions import Where, check_by, check_where, refuse, where_sql
from monitor.kpis.estimators import Mean, Measure
from monitor.kpis.histogram import spread
from monitor.kpis.query import STEPS_MAX
from monitor.kpis.registry import REGISTRY
from monitor.kpis.rolled import Latencies, rolled_latencies
from monitor.kpis.source_hours import summed_select
from monitor.kpis.sources.balanced import read_log_sums, wait_sums
from monitor.kpis.sources.question import Question
from monitor.kpis.window import Window
from monitor.stats.places import Difference, differences
from monitor.store import Client
from monitor.store.calls import calls_source

if TYPE_CHECKING:
    import pandas as pd

LATENCIES: Final = ("ttft", "tpot", "e2e", "queue", "prefill", "decode")
PER_DOUBLING: Final = 4  # bins; a bin's ends are 19 % apart
_ZERO: Final = -(2**15)  # the bin of latencies of 0
_EVERYTHING: Final[Where] = {}


def latency_heatmap(
    client: Client,
    latency: str = "ttft",
    *,
    window: Window,
    step_s: float,
    per_doubling: int = PER_DOUBLING,
    where: Where = _EVERYTHING,
) -> pd.DataFrame:
    """Counts of calls by time and by the logarithm of a latency, ready for a chart.

    Parameters
    ----------
    client : Client
    latency : str
        `ttft`, `tpot`, `e2e`, `queue`, `prefill` or `decode`; of the same calls as `latency.<name>`.
    window : Window
    step_s : float
        Width of a column in seconds; columns begin at the window's start.
    per_doubling : int
        Bins for each doubling of the latency, 1 to 16.
    where : mapping
        As in `evaluate`.

    Returns
    -------
    pandas.DataFrame
        One row per cell that is not empty: `time` (UTC, begin of the column), `low_s`, `high_s` (ends of the bin, low ≤ x <
        high; 0 and 0 for a latency of 0), `n` (stored calls), `calls` (Σ sample_weight). Sorted by time and bin. Over many
        calls it comes from rollups where they can answer: ends of bins are then within 1 % of what they say.

    Raises
    ------
    BadInput
        If the latency, the filter or the number of columns does not fit.
    """
    import pandas as pd  # heavy, and not needed for values

    measure = measure_of(latency)
    step_ns, length_ns = round(step_s * 1e9), window.end_ns - window.start_ns
    if step_ns <= 0 or -(-length_ns // step_ns) > STEPS_MAX:
        raise BadInput(f"columns of {step_s:g} s over {window.seconds:g} s are too many; at most {STEPS_MAX} are drawn")
    if not 1 <= per_doubling <= 16:
        raise BadInput(f"a doubling has 1 to 16 bins, not {per_doubling}")
    question = Question(
        start_ns=window.start_ns, end_ns=window.end_ns, where=check_where(where), step_ns=step_ns, groups_max=1
    )
    rolled = rolled_latencies(client, measure, question)
    found = _of_calls(client, question, measure, per_doubling) if rolled is None else _of_buckets(rolled, per_doubling)
    ends = [
        (0.0, 0.0) if cell.bin == _ZERO else tuple(2 ** ((cell.bin + i) / per_doubling) for i in (0, 1))
        for cell in found
    ]
    return pd.DataFrame(
        {
            "time": pd.to_datetime([window.start_ns + cell.step * step_ns for cell in found], utc=True, unit="ns"),
            "low_s": [low for low, _ in ends],
            "high_s": [high for _, high in ends],
            "n": [cell.n for cell in found],
            "calls": [cell.calls for cell in found],
        }
    ).astype({"low_s": "float64", "high_s": "float64", "n": "int64", "calls": "float64"})


class _Cell(NamedTuple):
    step: int
    bin: int
    n: int
    calls: float


def _of_calls(client: Client, question: Question, measure: Measure, per_doubling: int) -> list[_Cell]:
    condition, parameters = where_sql(question.where)
    x = measure.number
    bin_ = f"toInt32(if({x} > 0, floor(log2({x}) * {per_doubling}), {_ZERO}))"
    rows = client.query(
        f"SELECT {', '.join(question.key_columns)}, {bin_} AS bin, count() AS n, sum(sample_weight) AS calls"
        f" FROM {calls_source(client, question.start_ns, question.end_ns)}"
        f" WHERE {measure.condition} AND {condition} GROUP BY step, bin ORDER BY step, bin",
        parameters=parameters,
    ).result_rows
    return [_Cell(int(step), int(bin_), int(n), float(calls)) for step, bin_, n, calls in rows]


def _of_buckets(rolled: Sequence[Latencies], per_doubling: int) -> list[_Cell]:
    cells = [
        _Cell(int(each.keys[0]), _ZERO if place is None else place, round(calls), calls)
        for each in rolled
        for place, calls in spread(each.buckets, per_doubling / math.log(2)).items()
    ]
    return sorted(cell for cell in cells if cell.n)


@dataclass(frozen=True, kw_only=True)
class Places:
    """A latency compared over nodes, regions or another dimension: each against all others together."""

    latency: str
    dimension: str
    differences: list[Difference]
    note: str = ""


def compare_places(
    client: Client,
    latency: str = "ttft",
    *,
    window: Window,
    dimension: str = "node",
    where: Where = _EVERYTHING,
    level: float = 0.95,
    discoveries: float = 0.05,
) -> Places:
    """Is a node, or a region, slower or faster than the others?

    Parameters
    ----------
    client, window, where
        As in `evaluate`.
    latency : str
        As in `latency_heatmap`.
    dimension : str
        `node`, `region`, or any dimension of KPIs; places without a name are left out.
    level : float
        Confidence of each interval.
    discoveries : float
        Among the places called different, the share that may be called so by chance (Benjamini and Hochberg).

    Returns
    -------
    Places
        Ratios of geometric means, the slowest first.
    """
    measure = measure_of(latency)
    (name,) = check_by([dimension])
    filters = check_where(where)
    question = Question(start_ns=window.start_ns, end_ns=window.end_ns, by=(name,), where=filters, groups_max=1)
    source, sums = wait_sums(latency, measure)
    select = f"SELECT * FROM ({summed_select(client, source, question, sums)}) WHERE g0 != '' ORDER BY g0"
    rows = client.query(select, parameters=where_sql(filters)[1]).named_results()
    places = {str(row.pop("g0")): read_log_sums(row) for row in map(dict, rows)}
    found = differences(places, level=level, discoveries=discoveries)
    note = (
        ""
        if len(places) > 1
        else f"insufficient: a comparison needs calls of 2 {dimension}s, and there are {len(places)}"
    )
    return Places(latency=latency, dimension=dimension, differences=found, note=note)


def measure_of(latency: str) -> Measure:
    """The number that `latency.<name>` is about, and of which calls.

    Raises
    ------
    BadInput
        If there is no such latency.
    """
    if latency not in LATENCIES:
        refuse("latency", latency, LATENCIES)
    estimator = REGISTRY[f"latency.{latency}.mean"].estimator
    assert isinstance(estimator, Mean)
    return estimator.of


def slowest(places: Places) -> Sequence[str]:
    """Names of the places that are slower, beyond chance."""
    return [each.place for each in places.differences if each.different and each.ratio > 1]


__all__ = ["LATENCIES", "Places", "compare_places", "latency_heatmap", "measure_of", "slowest"]
