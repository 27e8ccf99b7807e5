"""Which parts of the calls explain an alert: the node, release or region that makes the number what it is.

For a KPI that is a mean of something over calls (a share, a rate of errors, a mean latency), V is its value over all calls
of the alert, v that of the calls of a slice, u that of all others, and f the slice's share of the calls. Then

- V - u = f (v - u) is what the slice adds: without it the value would be u (leave one out);
- slices are ranked by (v - u) √(f (1 - f)), which is, but for a factor that is the same for all, the correlation of "is of
  this slice" with the number. So a slow node stands before its region, in which other nodes are fast, and before a slow
  release of which there were three calls.

A slice whose v and u are less than `_SURE` standard errors apart is left out: among thirty slices, one stands out by chance.

A quantile is no mean; the share of calls beyond the threshold is, and stands for it. A total is no mean either: there a slice
adds what it grew by since the window before, or, where nothing was, its share.

The group that the alert is about is ranked among them, against all other calls that its rule is about. Of totals it comes
first; where its rule is about nothing else, against all calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from math import isfinite, sqrt
from typing import Any, Final, Literal

from alerts.message import number
from alerts.model import Instance
from monitor.kpis import Kpi, KpiValue, Window, check_where, evaluate
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
_GROUPS_MAX: Final = 200
# A slice that explains less than this much of what the first one does is not worth a line.
_LEAST: Final = 0.25
_SURE: Final = 3.0

Pairs = tuple[tuple[str, str], ...]
Filter = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Calls of one slice: how many rows, their weights, the weighted sums of the number and of its square, if known."""

    where: Pairs
    rows: float
    weight: float
    total: float
    squares: float | None = None


@dataclass(frozen=True, kw_only=True)
class Slice:
    """One part of the calls.

    Parameters
    ----------
    where : tuple of (str, str)
        Dimension and value, `cohort.NAME` for a cohort; several for a group of the alert's own by several.
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

    where: Pairs
    n: float
    share: float
    inside: float
    outside: float
    adds: float
    part: float
    score: float

    @property
    def dimension(self) -> str:
        return ", ".join(name for name, _ in self.where)

    @property
    def value(self) -> str:
        return ", ".join(value for _, value in self.where)

    @property
    def name(self) -> str:
        return ", ".join(f"{name.removeprefix('cohort.')} {value or '(unknown)'}" for name, value in self.where)


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
    window = _window(instance, kpi)
    upwards = instance.threshold is None or instance.value >= instance.threshold
    if kpi.source == "calls" and isinstance(kpi.estimator, Quantile | Mean | Share):
        return _of_calls(client, kpi, instance, window, upwards=upwards)
    return _of_groups(client, kpi, instance, window, upwards=upwards)


def _window(instance: Instance, kpi: Kpi) -> Window:
    if kpi.period_s is None:
        return Window(instance.window_start, instance.window_end)
    return Window.last(timedelta(seconds=kpi.period_s), now=instance.window_end)


def _of_calls(client: Client, kpi: Kpi, instance: Instance, window: Window, *, upwards: bool) -> Explanation:
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
    own = tuple(instance.group.items())
    inside, parameters = where_sql(check_where({key: [value] for key, value in own}))
    ruled, more = where_sql(check_where(instance.where), prefix="ruled")
    pairs = ", ".join(f"('{name}', toString({name}))" for name in DIMENSIONS)
    cohorts = "arrayMap((k, v) -> (concat('cohort.', toString(k)), toString(v)), mapKeys(cohorts), mapValues(cohorts))"
    rows = calls_source(client, window.start_ns, window.end_ns)
    # Calls of the rule that are not of the alert's group stand beside it, as one.
    query = (
        "SELECT slice.1 AS dimension, slice.2 AS value, count() AS n, sum(w) AS weight, sum(w * x) AS wx, sum(w * x * x) AS wxx FROM"
        f" (SELECT sample_weight AS w, {x} AS x,"
        f" arrayJoin(if({inside}, arrayConcat([('', '')], [{pairs}], {cohorts}), [('', 'others')])) AS slice"
        f" FROM {rows} WHERE ({ruled}) AND {among})"
        f" GROUP BY dimension, value HAVING n >= {_CALLS_MIN} OR dimension = '' ORDER BY n DESC LIMIT {_ROWS_MAX}"
    )
    found = [
        _Group(where=((name, value),), rows=int(n), weight=float(weight), total=float(wx), squares=float(wxx))
        for name, value, n, weight, wx, wxx in client.query(query, parameters={**parameters, **more}).result_rows
    ]
    apart = {each.where[0][1]: each for each in found if each.where[0][0] == ""}
    mine = apart.get("", _Group(where=own, rows=0, weight=0.0, total=0.0, squares=0.0))
    slices = _left_out([each for each in found if each.where[0][0]], mine, sign=sign)
    if own and mine.weight and "others" in apart:
        slices += _left_out([replace(mine, where=own)], _both(mine, apart["others"]), sign=sign)
    return Explanation(kind=kind, slices=_ranked(slices))


def _both(one: _Group, two: _Group) -> _Group:
    squares = None if one.squares is None or two.squares is None else one.squares + two.squares
    return _Group(
        where=(), rows=one.rows + two.rows, weight=one.weight + two.weight, total=one.total + two.total, squares=squares
    )


def _of_groups(client: Client, kpi: Kpi, instance: Instance, window: Window, *, upwards: bool) -> Explanation:
    """From the KPI of each group, for sources that are no calls; groups are weighed by their n."""
    ruled = check_where(instance.where)
    own = check_where({key: [value] for key, value in instance.group.items()})
    where = {**ruled, **own}
    names = [name for name in DIMENSIONS if name in SOURCES[kpi.source].dimensions and name not in where]
    splits = [_by(client, kpi, window, name, where) for name in names]
    before = Window(window.start - (window.end - window.start), window.start)
    beside = _beside(client, kpi, [window, before], ruled, own)
    if any(split.is_sum for split in splits):
        olds = [_by(client, kpi, before, name, where) for name in names]
        grown = [each for split, old in zip(splits, olds, strict=True) for each in _grown(split, old)]
        # Parts of the group, and the group as a part of all, are not of the same whole: the group first.
        group = tuple(_grown(*beside)) if beside else ()
        return Explanation(kind="total", slices=(*group, *_ranked(grown))[:SHOWN])
    sign = 1 if upwards else -1
    slices = [each for split in splits for each in split.left_out(sign=sign)]
    slices += beside[0].left_out(sign=sign) if beside else []
    return Explanation(kind="mean", slices=_ranked(slices))


@dataclass(frozen=True, kw_only=True)
class _Split:
    """The KPI of each group, and of the whole; `only`: the one group of them that may explain the alert."""

    whole: KpiValue
    values: Mapping[Pairs, KpiValue]
    only: Pairs = ()

    @property
    def is_sum(self) -> bool:
        """Whether groups add up to the whole."""
        values, whole = [each.value or 0.0 for each in self.values.values()], self.whole.value
        return len(values) > 1 and bool(whole) and abs(sum(values) - (whole or 0.0)) <= 0.01 * abs(whole or 0.0)

    @property
    def told(self) -> dict[Pairs, KpiValue]:
        return {where: each for where, each in self.values.items() if not self.only or where == self.only}

    def left_out(self, *, sign: int) -> list[Slice]:
        if self.whole.value is None:
            return []
        groups = [
            _Group(where=where, rows=each.n, weight=each.n, total=each.n * (each.value or 0.0))
            for where, each in self.told.items()
        ]
        n = self.whole.n
        return _left_out(groups, _Group(where=(), rows=n, weight=n, total=n * self.whole.value), sign=sign)


def _by(client: Client, kpi: Kpi, window: Window, name: str, where: Filter) -> _Split:
    asked: dict[str, Any] = {"window": window, "where": where, "intervals": False}
    whole = evaluate(client, [kpi.name], **asked)[0]
    groups = evaluate(client, [kpi.name], by=(name,), groups_max=_GROUPS_MAX, **asked)
    return _Split(
        whole=whole,
        values={((name, each.group[name]),): each for each in groups if each.value is not None and each.group},
    )


def _beside(client: Client, kpi: Kpi, windows: Sequence[Window], ruled: Filter, own: Filter) -> list[_Split]:
    """The alert's own group against the others of its rule, over each window; if the rule has no others, against all there are."""
    if not own:
        return []

    def value(where: Filter, window: Window) -> KpiValue:
        return evaluate(client, [kpi.name], window=window, where=where, intervals=False)[0]

    mine = [value({**ruled, **own}, window) for window in windows]
    whole = [value(ruled, window) for window in windows]
    if ruled and mine[0].n >= whole[0].n:
        whole = [value({}, window) for window in windows]
    name = tuple((key, values[0]) for key, values in own.items())
    return [
        _Split(
            whole=every,
            values={name: each, (): replace(every, value=(every.value or 0.0) - (each.value or 0.0))},
            only=name,
        )
        for each, every in zip(mine, whole, strict=True)
    ]


def _left_out(groups: Sequence[_Group], whole: _Group, *, sign: int) -> list[Slice]:
    """Each group against all others; a group that is everything has no others, and explains nothing."""
    slices = []
    for group in groups:
        rest = whole.weight - group.weight
        if group.weight <= 0 or rest <= 1e-9 * whole.weight:
            continue
        inside, outside, share = (
            group.total / group.weight,
            (whole.total - group.total) / rest,
            group.weight / whole.weight,
        )
        difference = sign * (inside - outside)
        if difference <= 0 or not isfinite(difference):
            continue
        score = difference * sqrt(share * (1 - share))
        if not _is_sure(score, whole):
            continue
        slices.append(
            Slice(
                where=group.where,
                n=group.weight,
                share=share,
                inside=inside,
                outside=outside,
                adds=whole.total / whole.weight - outside,
                part=group.total / whole.total if whole.total else 0.0,
                score=score,
            )
        )
    return slices


def _is_sure(score: float, whole: _Group) -> bool:
    """The difference in standard errors: with f the share, (v - u) / √(s² (1/nf + 1/n(1-f))) is score √n / s."""
    if whole.squares is None:
        return True  # the spread of such a KPI is not known here
    mean = whole.total / whole.weight
    variance = max(0.0, whole.squares / whole.weight - mean * mean)
    return score * sqrt(whole.rows) >= _SURE * sqrt(variance)


def _grown(now: _Split, before: _Split) -> list[Slice]:
    """What each group grew by since the window before; where nothing grew, what it has."""
    old = {where: each.value or 0.0 for where, each in before.values.items()}
    values = {where: each.value or 0.0 for where, each in now.values.items()}
    if len(values) < 2:
        return []
    total, grew = sum(values.values()), sum(value - old.get(where, 0.0) for where, value in values.items())
    of = grew if grew > 0 else total
    slices = []
    for where, each in now.told.items():
        value, was = values[where], old.get(where, 0.0)
        growth = value - was if grew > 0 else value
        if growth <= 0 or of <= 0 or value >= (1 - 1e-9) * total:
            continue
        slices.append(
            Slice(
                where=where,
                n=each.n,
                share=value / total,
                inside=value,
                outside=was,
                adds=growth,
                part=growth / of,
                score=growth / of,
            )
        )
    return slices


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
    name = each.name
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
