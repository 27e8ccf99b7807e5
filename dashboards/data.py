"""Questions to the store, each bounded, and its answer kept for some seconds and shared by all viewers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import pandas as pd

from dashboards import timerange, traces_query
from dashboards.distribution import Histogram, read_histogram
from dashboards.memory import Memory, remembered
from dashboards.store import asking, reading, store_url
from monitor.errors import MonitorError
from monitor.kpis import REGISTRY, KpiValue, Window, coverage, evaluate, series
from monitor.kpis.registry import known
from monitor.kpis.sources.cost import currency_of
from monitor.store import Client

P = ParamSpec("P")
T = TypeVar("T")
# Of (key, values) pairs: hashable, unlike a dict.
Where = tuple[tuple[str, tuple[str, ...]], ...]

FRESH_S: Final = 10
# Statements of panels that run beside each other, for all viewers: an embedded store has four places.
_POOL: Final = ThreadPoolExecutor(3, thread_name_prefix="ask")
ENTRIES_MAX: Final = 200
VALUES_MAX: Final = 2000
# KPIs that grow with the time that they are over (users do too, but less: most come back).
TOTALS: Final = (
    "traffic.requests", "traffic.input_tokens", "traffic.output_tokens", "traffic.errors", "cost.total", "cost.unpriced",
    "safety.user_reports", "engagement.sessions", "engagement.new_users",
)  # fmt: skip
LINES_MAX: Final = 8
ROWS_MAX: Final = 200
_VALUES: Final = Memory(ttl_s=FRESH_S, entries_max=VALUES_MAX)


@dataclass(frozen=True, kw_only=True)
class Arrivals:
    """What is in the store at all: when the newest call and span began; None if there is none."""

    newest_call: datetime | None
    newest_span: datetime | None


_FORGET: Final[list[Callable[[], None]]] = []


def forget() -> None:
    """Ask the store anew from here on: somebody has changed what it holds."""
    for clear in _FORGET:
        clear()
    _VALUES.clear()


def kept(question: Callable[Concatenate[Client, P], T]) -> Callable[P, T]:
    """The question without its client: asked of the dashboard's store, its answer kept for some seconds."""

    @remembered(ttl_s=FRESH_S, entries_max=ENTRIES_MAX, name=f"{question.__module__}.{question.__qualname__}")
    def answer(url: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        with asking() as client:
            return question(client, *args, **kwargs)

    _FORGET.append(answer.clear)

    @functools.wraps(question)
    def ask(*args: P.args, **kwargs: P.kwargs) -> T:
        return answer(store_url(), args, kwargs)

    return ask


def values(
    names: tuple[str, ...], window: Window, *, by: tuple[str, ...] = (), where: Where = (), intervals: bool = True
) -> list[KpiValue]:
    """`monitor.kpis.evaluate`, kept for some seconds by name: what panels share is asked once, whatever else they ask for."""
    return _values([(names, window)], by=by, where=where, intervals=intervals)[0]


def both(
    names: tuple[str, ...], window: Window, *, where: Where = (), also: tuple[str, ...] = ()
) -> tuple[list[KpiValue], list[KpiValue]]:
    """Values of a window and of the time before it, asked beside each other. Where that is longer, totals are cut down.

    Names in `also` are asked of the window alone, and remembered for whoever asks for them next.
    """
    earlier = timerange.before(window)
    asked = [((*names, *also), window), (names, earlier)]
    now, then = _values(asked, by=(), where=where, intervals=True)
    now = now[: len(names)]
    share = window.seconds / earlier.seconds
    cut = then if share == 1 else [_cut_down(value, share) if value.name in TOTALS else value for value in then]
    return now, cut


def _cut_down(value: KpiValue, share: float) -> KpiValue:
    value_, low, high = (None if end is None else end * share for end in (value.value, value.low, value.high))
    return replace(value, value=value_, low=low, high=high)


def settled(now: datetime, length: timedelta) -> datetime | None:
    """Up to when a window so long is answered by what is added up; None where calls are to be read, or the store is away."""
    try:
        return _settled(store_url(), now.replace(second=0, microsecond=0), length)
    except MonitorError:
        return None


def lines(
    names: tuple[str, ...], window: Window, *, step_s: int, by: tuple[str, ...] = (), where: Where = ()
) -> pd.DataFrame:
    """`monitor.kpis.series`, kept for some seconds; of groups, only as many as can be told apart by colour."""
    return _lines(store_url(), names, window.start, window.end, step_s, by, where)


def histogram(measure: str, window: Window, *, by: str = "", where: Where = ()) -> Histogram:
    """How a latency is distributed."""
    return _histogram(store_url(), measure, window.start, window.end, by, where)


def arrivals() -> Arrivals:
    """When the newest call and span began."""
    return _arrivals(store_url())


def options(window: Window, dimensions: tuple[str, ...]) -> dict[str, list[str]]:
    """The values that each dimension has, for filters."""
    return _options(store_url(), window.start, window.end, dimensions)


@remembered(ttl_s=FRESH_S, entries_max=ENTRIES_MAX)
def _settled(url: str, now: datetime, length: timedelta) -> datetime | None:
    with asking() as client:
        if length >= timerange.DAY:
            return coverage.settled(client, now=now, reach=timerange.DAY)
        return coverage.settled_minute(client, now=now, reach=length)


def _values(
    wanted: Sequence[tuple[tuple[str, ...], Window]], *, by: tuple[str, ...], where: Where, intervals: bool
) -> list[list[KpiValue]]:
    """For each window, in the order of its names; what is not known is asked, sources and windows beside each other."""
    found, asked = [], []
    for names, window in wanted:
        place = (store_url(), window.start, window.end, by, where, intervals)
        known: dict[str, list[KpiValue] | None] = {name: _VALUES.get((*place, name)) for name in names}
        found.append((names, known))
        # Each source is a statement of its own anyway.
        kinds: dict[str, list[str]] = {}
        for name in dict.fromkeys(names):
            if known[name] is None:
                kinds.setdefault(REGISTRY[name].source if name in REGISTRY else "", []).append(name)
        asked += [(window, tuple(mine), place, known) for mine in kinds.values()]
    if asked:
        with asking() as client:

            def ask(window: Window, mine: tuple[str, ...]) -> list[KpiValue]:
                return evaluate(
                    client, mine, window=window, by=by, where=dict(where), intervals=intervals, groups_max=ROWS_MAX
                )

            windows_, mines = [each[0] for each in asked], [each[1] for each in asked]
            several = len(asked) > 1
            answers = list(_POOL.map(ask, windows_, mines) if several else map(ask, windows_, mines))
        for (_, mine, place, known), answer in zip(asked, answers, strict=True):
            by_name: dict[str, list[KpiValue] | None] = {name: [] for name in mine}
            for value in answer:
                if "currency" in value.unit:
                    value = replace(value, unit=value.unit.replace("currency", currency()))
                by_name[value.name] = [*(by_name[value.name] or []), value]
            for name in mine:
                _VALUES.put((*place, name), by_name[name])
            known |= by_name
    return [[value for name in names for value in known[name] or ()] for names, known in found]


def unit_of(name: str) -> str:
    """A KPI's unit, with the currency's code in it; KPIs that only the store knows are shares or are said otherwise."""
    unit = REGISTRY[name].unit if name in REGISTRY else _made_unit(name)
    return unit.replace("currency", currency())


def _made_unit(name: str) -> str:
    return "×" if name.endswith(".burn_rate") else "score" if name.startswith("accuracy.score.") else "1"


@kept
def currency(client: Client) -> str:
    """Code of the currency that costs are told in."""
    return currency_of(client)


@kept
def described(client: Client, front: str) -> dict[str, str]:
    """Name -> what it means, of the KPIs of a front (`objective`); those made by the store's content too."""
    start = f"{front.rstrip('.')}."
    return {
        name: f"{kpi.meaning}\n\n`{name}` = {kpi.formula}"
        for name, kpi in known(client, [front]).items()
        if name.startswith(start)
    }


@remembered(ttl_s=FRESH_S, entries_max=ENTRIES_MAX)
def _lines(
    url: str, names: tuple[str, ...], start: datetime, end: datetime, step_s: int, by: tuple[str, ...], where: Where
) -> pd.DataFrame:
    with asking() as client:
        window = Window(start, end)
        return series(client, names, window=window, step_s=step_s, by=by, where=dict(where), groups_max=LINES_MAX)


@remembered(ttl_s=FRESH_S, entries_max=ENTRIES_MAX)
def _histogram(url: str, measure: str, start: datetime, end: datetime, by: str, where: Where) -> Histogram:
    with asking() as client:
        return read_histogram(client, measure, Window(start, end), by=by, where=dict(where), groups_max=LINES_MAX)


@remembered(ttl_s=2, entries_max=4)
def _arrivals(url: str) -> Arrivals:
    with reading() as client:
        call, span = traces_query.newest(client)
        return Arrivals(newest_call=_utc(call), newest_span=_utc(span))


@remembered(ttl_s=30, entries_max=ENTRIES_MAX)
def _options(url: str, start: datetime, end: datetime, dimensions: tuple[str, ...]) -> dict[str, list[str]]:
    with asking() as client:
        return traces_query.dimension_values(client, Window(start, end), dimensions)


def _utc(ns: int | None) -> datetime | None:
    return None if ns is None else datetime.fromtimestamp(ns / 1e9, UTC)
