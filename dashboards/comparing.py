"""What the page Compare asks of the store: two sides by all KPIs that matter, changes with their effect, fronts."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from dashboards import store
from dashboards.data import Where, currency
from dashboards.memory import remembered
from monitor.errors import MonitorError
from monitor.kpis import REGISTRY, KpiValue, Window, evaluate
from monitor.kpis.compare import Compared, Side, compare_sides
from monitor.stats import mover
from monitor.stats.result import Result
from monitor.store import Client
from monitor.store.changes import Change, changes_between

KPIS: Final = (
    "accuracy.correct", "accuracy.estimated", "latency.ttft.p50", "latency.ttft.p95", "latency.tpot.p95", "latency.e2e.p95",
    "traffic.error_rate", "cost.per_request", "cost.per_million_tokens", "safety.flagged_rate", "safety.refusal_rate",
    "engagement.thumbs_up", "engagement.regenerate_rate",
)  # fmt: skip
GOODPUT: Final = "objective.goodput"
EFFECT_KPIS: Final = (
    "latency.ttft.p95",
    "latency.e2e.p50",
    "traffic.error_rate",
    "accuracy.correct",
    "cost.per_request",
)
CHANGES_MAX: Final = 8
CHANGES_REACH: Final = timedelta(days=30)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One KPI on both sides; `change` is b − a for shares and b / a for the rest, `word` what it means."""

    name: str
    unit: str
    a: KpiValue | None
    b: KpiValue | None
    change: Result
    is_ratio: bool
    word: str


Group = tuple[str, datetime, datetime, Where]  # name, begin, end, filter


@remembered(ttl_s=30, entries_max=50, words="Comparing both sides …")
def compared(url: str, a: Group, b: Group, margin: float, latency: str) -> Compared:
    """The verdict on both sides."""
    with store.asking() as client:
        return compare_sides(client, _side(a), _side(b), margin=margin, latency=latency)


@remembered(ttl_s=30, entries_max=50, words="Comparing line by line …")
def line_by_line(url: str, a: Group, b: Group) -> list[Line]:
    """Both sides by all KPIs that matter."""
    with store.asking() as client:
        return lines(*_both(client, a, b))


@remembered(ttl_s=60, entries_max=20)
def changes(url: str, start: datetime, end: datetime) -> list[Change]:
    """Changes up to the end, from long before the start: what was changed last week may be compared today."""
    with store.asking() as client:
        return changes_between(client, min(start, end - CHANGES_REACH), end)[::-1]


@remembered(ttl_s=60, entries_max=50, words="Measuring what changed …")
def effect(url: str, before: Group, after: Group) -> list[Line]:
    """What a change did, from the same calls before and after it."""
    with store.asking() as client:
        return lines(_values(client, before, EFFECT_KPIS), _values(client, after, EFFECT_KPIS))


@remembered(ttl_s=30, entries_max=50)
def front(url: str, dimension: str, window: Window, where: Where, latency: str) -> dict[str, dict[str, KpiValue]]:
    """Group -> KPI -> value, of quality, a latency and cost."""
    with store.asking() as client:
        names = (
            "accuracy.correct",
            "accuracy.estimated",
            f"latency.{latency}.p50",
            "cost.per_request",
            "traffic.requests",
        )
        found: dict[str, dict[str, KpiValue]] = {}
        for value in evaluate(client, names, window=window, by=(dimension,), where=dict(where), groups_max=12):
            if value.group:
                found.setdefault(value.group[dimension], {})[value.name] = value
        return found


def lines(a: Mapping[str, KpiValue], b: Mapping[str, KpiValue]) -> list[Line]:
    """KPIs that one side at least has a value of."""
    found = []
    for name in dict.fromkeys([*a, *b]):
        one, two = a.get(name), b.get(name)
        if (one is None or one.value is None) and (two is None or two.value is None):
            continue
        unit = (one or two).unit.replace("currency", currency())  # type: ignore[union-attr]
        share = unit == "1"
        change = (mover.difference if share else mover.ratio)(_result(one), _result(two))
        better = REGISTRY[name].better if name in REGISTRY else "higher"
        found.append(
            Line(
                name=name, unit=unit, a=one, b=two, change=change, is_ratio=not share, word=_word(change, share, better)
            )
        )
    return found


def _word(change: Result, share: bool, better: str | None) -> str:
    if change.value is None:
        return "too little data"
    if change.low is None or change.high is None:
        return "no interval"
    nothing = 0.0 if share else 1.0
    if change.low <= nothing <= change.high:
        return "no difference shown"
    more = change.low > nothing
    if better is None:
        return "more" if more else "less"
    return "better" if more == (better == "higher") else "worse"


def _result(value: KpiValue | None) -> Result:
    if value is None:
        return Result(value=None, note="not measured")
    return Result(value=value.value, low=value.low, high=value.high, n=value.n, note=value.note)


def _both(client: Client, a: Group, b: Group) -> tuple[dict[str, KpiValue], dict[str, KpiValue]]:
    """Both sides by the same statements, where they differ in one dimension alone."""
    at, to = dict(a[3]), dict(b[3])
    differing = [key for key in at if at[key] != to.get(key)]
    if a[1:3] != b[1:3] or at.keys() != to.keys() or len(differing) != 1:
        return _values(client, a, KPIS), _values(client, b, KPIS)
    (by,) = differing
    (first,), (second,) = at[by], to[by]
    found: dict[str, dict[str, KpiValue]] = {first: {}, second: {}}
    where, window = {**at, by: (first, second)}, Window(a[1], a[2])
    values = evaluate(client, KPIS, window=window, by=(by,), where=where)
    with contextlib.suppress(MonitorError):  # without an objective there is no goodput
        values += evaluate(client, [GOODPUT], window=window, by=(by,), where=where)
    for each in values:
        if each.group:
            found[each.group[by]][each.name] = each
    return found[first], found[second]


def _values(client: Client, group: Group, names: Sequence[str]) -> dict[str, KpiValue]:
    _, start, end, where = group
    window = Window(start, end)
    found = {each.name: each for each in evaluate(client, names, window=window, where=dict(where)) if not each.group}
    try:
        good = evaluate(client, [GOODPUT], window=window, where=dict(where))
    except MonitorError:
        return found  # without an objective there is no goodput
    return found | {each.name: each for each in good if not each.group}


def _side(group: Group) -> Side:
    name, start, end, where = group
    return Side(name=name, window=Window(start, end), where=dict(where))
