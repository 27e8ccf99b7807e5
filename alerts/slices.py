"""Which parts of the calls explain an alert: the node, release or region that makes the number what it is.

For a KPI that is a mean of something over calls (a share, a rate of errors, a mean latency), V is its value over all calls
of the alert, v that of the calls of a slice, u that of all others, and f the slice's share of the calls. Then

- V - u = f (v - u) is what the slice adds: without it the value would be u (leave one out);
- slices are ranked by (v - u) √(f (1 - f)), which is, but for a factor that is the same for all, the correlation of "is of
  this slice" with the number. So a slow node stands before its region, in which other nodes are fast, and before a slow
  release of which there were three calls.

A quantile is no mean; the share of calls beyond the threshold is, and stands for it. A total is no mean either: there a slice
adds what it grew by since the window before, or, where nothing was, its share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import isfinite, sqrt
from typing import Final, Literal

from alerts.message import number
from alerts.model import Instance
from monitor.kpis import Kpi, Window, check_where, evaluate
from monitor.kpis.dimensions import where_sql
from monitor.kpis.estimators import Mean, Quantile, Share
from monitor.kpis.registry import known, resolve
from monitor.kpis.sources import SOURCES
from monitor.store import Client
from monitor.store.calls import calls_source

# In this order where two explain the same, as the only node of a region and the region do: the narrower first.
DIMENSIONS: Final = ("node", "release", "variant", "model", "provider", "region", "service", "deployment")
SHOWN: Final = 4
_CALLS_MIN: Final = 5
_ROWS_MAX: Final = 3000
# A slice that explains less than this much of what the first one does is not worth a line.
_LEAST: Final = 0.25


@dataclass(frozen=True, kw_only=True)
class Slice:
    """One part of the calls.

    Parameters
    ----------
    dimension, value : str
        `cohort.NAME` for a cohort.
    n : float
        Calls in it (sampled away ones included).
    share : float
        Its share of all calls of the alert, f.
    inside, outside : float
        The number in it and in all others: v and u. For totals: now, and in the window before.
    adds : float
        V - u; for totals what it grew by.
    part : float
        Share of what is wrong that lies in it: of the calls beyond the threshold, of the errors, of the growth.
    score : float
        What slices are ranked by.
    """

    dimension: str
    value: str
    n: float
    share: float
    inside: float
    outside: float
    adds: float
    part: float
    score: float


Kind = Literal["beyond", "share", "mean", "total"]


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Slices, the most important first, and what their numbers are."""

    kind: Kind
    slices: tuple[Slice, ...]


def explain(client: Client, instance: Instance) -> Explanation:
    """The slices that explain an alert on a KPI; none where nothing stands out, or the KPI cannot be split.

    Raises
    ------
    BadInput
        If the KPI or a dimension of the alert is unknown.
    """
    if not instance.kpi or instance.value is None:
        return Explanation(kind="mean", slices=())
    kpi = resolve([instance.kpi], known(client, [instance.kpi]))[0]
    where = check_where({**instance.where, **{key: [value] for key, value in instance.group.items()}})
    window = _window(instance, kpi)
    upwards = instance.threshold is None or instance.value >= instance.threshold
    if kpi.source == "calls" and isinstance(kpi.estimator, Quantile | Mean | Share):
        return _of_calls(client, kpi, instance, window, where, upwards=upwards)
    return _of_groups(client, kpi, window, where, upwards=upwards)


def _window(instance: Instance, kpi: Kpi) -> Window:
    if kpi.period_s is None:
        return Window(instance.window_start, instance.window_end)
    return Window.last(timedelta(seconds=kpi.period_s), now=instance.window_end)


def _of_calls(
    client: Client, kpi: Kpi, instance: Instance, window: Window, where: Mapping[str, tuple[str, ...]], *, upwards: bool
) -> Explanation:
    """From the calls themselves, all dimensions and cohorts in one statement."""
    estimator = kpi.estimator
    kind: Kind
    if isinstance(estimator, Quantile):
        limit = instance.threshold if instance.threshold is not None else instance.value
        assert limit is not None, "asked for an alert with a value alone"
        # Fewer beyond it than the threshold allows would be no reason to fire, so this share is what is wrong.
        x = f"toFloat64({estimator.of.number} {'>' if upwards else '<'} {limit!r})"
        among, kind, sign = estimator.of.condition, "beyond", 1
    elif isinstance(estimator, Mean):
        x, among, kind, sign = estimator.of.number, estimator.of.condition, "mean", 1 if upwards else -1
    else:
        assert isinstance(estimator, Share), "no other comes here"
        x, among, kind, sign = f"toFloat64({estimator.hit.condition})", "1", "share", 1 if upwards else -1
    condition, parameters = where_sql(where)
    pairs = ", ".join(f"('{name}', toString({name}))" for name in DIMENSIONS)
    cohorts = "arrayMap((k, v) -> (concat('cohort.', toString(k)), toString(v)), mapKeys(cohorts), mapValues(cohorts))"
    rows = calls_source(client, window.start_ns, window.end_ns)
    query = (
        "SELECT slice.1 AS dimension, slice.2 AS value, count() AS n, sum(w) AS weight, sum(w * x) AS wx FROM"
        f" (SELECT sample_weight AS w, {x} AS x, arrayJoin(arrayConcat([('', ''), {pairs}], {cohorts})) AS slice"
        f" FROM {rows} WHERE ({condition}) AND {among})"
        f" GROUP BY dimension, value HAVING n >= {_CALLS_MIN} OR dimension = '' ORDER BY n DESC LIMIT {_ROWS_MAX}"
    )
    found = client.query(query, parameters=parameters).result_rows
    whole = next(((float(weight), float(wx)) for name, _, _, weight, wx in found if name == ""), (0.0, 0.0))
    groups = [(name, value, float(weight), float(wx)) for name, value, _, weight, wx in found if name]
    return Explanation(kind=kind, slices=_ranked(_left_out(groups, *whole, sign=sign)))


def _of_groups(
    client: Client, kpi: Kpi, window: Window, where: Mapping[str, tuple[str, ...]], *, upwards: bool
) -> Explanation:
    """From the KPI of each group, for sources that are no calls; groups are weighed by their n."""
    whole = evaluate(client, [kpi.name], window=window, where=where, intervals=False)[0]
    if whole.value is None:
        return Explanation(kind="mean", slices=())
    names = [name for name in DIMENSIONS if name in SOURCES[kpi.source].dimensions and name not in where]
    found = {
        name: [
            value
            for value in evaluate(
                client, [kpi.name], window=window, by=[name], where=where, intervals=False, groups_max=50
            )
            if value.value is not None and value.group
        ]
        for name in names
    }
    groups = [
        (name, each.group[name], float(each.n), float(each.value or 0.0)) for name in names for each in found[name]
    ]
    several = next((values for values in found.values() if len(values) > 1), [])
    sum_of_groups = sum(each.value or 0.0 for each in several)
    if several and whole.value and abs(sum_of_groups - whole.value) <= 0.01 * abs(whole.value):
        return Explanation(kind="total", slices=_grown(client, kpi, window, where, groups, whole.value))
    means = [(name, value, n, n * v) for name, value, n, v in groups]
    sign = 1 if upwards else -1
    return Explanation(kind="mean", slices=_ranked(_left_out(means, whole.n, whole.n * whole.value, sign=sign)))


def _left_out(
    groups: Sequence[tuple[str, str, float, float]], weight: float, total: float, *, sign: int
) -> list[Slice]:
    """Each group against all others; a group that is everything has no others, and explains nothing."""
    slices = []
    for dimension, value, w, wx in groups:
        rest = weight - w
        if w <= 0 or rest <= 1e-9 * weight:
            continue
        inside, outside, share = wx / w, (total - wx) / rest, w / weight
        difference = sign * (inside - outside)
        if difference <= 0 or not isfinite(difference):
            continue
        slices.append(
            Slice(
                dimension=dimension,
                value=value,
                n=w,
                share=share,
                inside=inside,
                outside=outside,
                adds=total / weight - outside,
                part=wx / total if total else 0.0,
                score=difference * sqrt(share * (1 - share)),
            )
        )
    return slices


def _grown(
    client: Client,
    kpi: Kpi,
    window: Window,
    where: Mapping[str, tuple[str, ...]],
    groups: Sequence[tuple[str, str, float, float]],
    total: float,
) -> tuple[Slice, ...]:
    before = Window(window.start - (window.end - window.start), window.start)
    names = list(dict.fromkeys(name for name, _, _, _ in groups))
    old: dict[tuple[str, str], float] = {}
    for name in names:
        for each in evaluate(
            client, [kpi.name], window=before, by=[name], where=where, intervals=False, groups_max=200
        ):
            if each.value is not None and each.group:
                old[name, each.group[name]] = each.value
    grew = {name: sum(v - old.get((name, value), 0.0) for key, value, _, v in groups if key == name) for name in names}
    slices = []
    for name, value, n, v in groups:
        if sum(key == name for key, _, _, _ in groups) < 2:
            continue
        was = old.get((name, value), 0.0)
        growth = v - was if grew[name] > 0 else v
        of = grew[name] if grew[name] > 0 else total
        if growth <= 0:
            continue
        share = v / total if total else 0.0
        slices.append(
            Slice(
                dimension=name,
                value=value,
                n=n,
                share=share,
                inside=v,
                outside=was,
                adds=growth,
                part=growth / of,
                score=growth / of,
            )
        )
    return _ranked(slices)


def _ranked(slices: Sequence[Slice]) -> tuple[Slice, ...]:
    """The first few, each dimension twice at most, without those that matter little beside the first."""
    order = {name: place for place, name in enumerate(DIMENSIONS)}
    best = max((each.score for each in slices), default=0.0)
    if best <= 0:
        return ()
    ranked = sorted(
        slices, key=lambda each: (-round(each.score / best, 2), order.get(each.dimension, len(order)), each.value)
    )
    shown: list[Slice] = []
    for each in ranked:
        twice = sum(other.dimension == each.dimension for other in shown) >= 2
        if len(shown) < SHOWN and each.score >= _LEAST * best and not twice:
            shown.append(each)
    return tuple(shown)


def in_words(explanation: Explanation, instance: Instance) -> list[str]:
    """A line for each slice."""
    return [_line(each, explanation.kind, instance) for each in explanation.slices]


def _line(each: Slice, kind: Kind, instance: Instance) -> str:
    name = f"{each.dimension.removeprefix('cohort.')} {each.value or '(unknown)'}"
    if kind == "beyond":
        limit = instance.threshold if instance.threshold is not None else instance.value
        assert instance.value is not None, "asked for an alert with a value alone"
        assert limit is not None, "the value itself where there is none"
        side = "above" if instance.value >= limit else "below"
        return (
            f"{name}: {_percent(each.inside)} of its calls are {side} {number(instance, limit)}, elsewhere"
            f" {_percent(each.outside)}; it has {_percent(each.share)} of the calls and {_percent(each.part)} of those"
        )
    if kind == "total":
        return (
            f"{name}: {number(instance, each.inside)}, {_percent(each.share)} of all; in the same time before"
            f" {number(instance, each.outside)} ({_percent(each.part)} of the growth)"
        )
    return (
        f"{name}: {number(instance, each.inside)}, elsewhere {number(instance, each.outside)};"
        f" it has {_percent(each.share)} of the calls"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if 0 < share < 0.1 else f"{100 * share:.0f} %"
