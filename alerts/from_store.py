"""Answers from the store: rules that ask the same are answered by one statement."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from alerts.ask import Answer, Answers, Ask, Group, Where
from monitor.errors import StoreAway
from monitor.kpis import DIMENSIONS, REGISTRY, KpiValue, Window, evaluate
from monitor.kpis.dimensions import BY_MAX
from monitor.store import Client
from monitor.store.client import error_code, is_transient, reason

logger = logging.getLogger(__name__)

# Windows shorter than this move with each evaluation, so nothing is gained by keeping what they were.
_KEPT_FROM_S: Final = 600.0
# So many filters that differ in a value alone are asked for as groups, in one statement.
_FOLDED_FROM: Final = 3
# Of its rows it is known that those of a filter are those of a group.
_FOLDED_SOURCE: Final = "calls"


@dataclass(frozen=True, kw_only=True)
class _Together:
    """What one statement answers; `folded` are dimensions that rules filter on, each by one value."""

    end: datetime
    window_s: float
    by: tuple[str, ...]
    intervals: bool
    where: Where = ()
    folded: tuple[str, ...] = ()


class StoreSource:
    """Asks the store, and keeps what long and past windows were while they are asked for again.

    Parameters
    ----------
    groups_max : int
        Groups of one rule, largest first.

    Attributes
    ----------
    statements : int
        How often `monitor.kpis.evaluate` was asked so far.
    """

    def __init__(self, *, groups_max: int) -> None:
        self.statements = 0
        self.client: Client | None = None
        self._groups_max = groups_max
        self._kept: dict[Ask, Answer] = {}

    def answer(self, asks: Iterable[Ask]) -> Answers:
        wanted = dict.fromkeys(asks)
        found = {ask: self._kept[ask] for ask in wanted if ask in self._kept}
        for together, mine in _folded(_together(ask for ask in wanted if ask not in found)).items():
            found |= self._ask(together, mine)
        return found

    def forget(self, used: Iterable[Ask]) -> None:
        """Keep what these asked for, as far as it will be the same; forget the rest."""
        kept = {ask: self._kept[ask] for ask in used if ask in self._kept}
        self._kept = kept

    def _ask(self, together: _Together, asks: Sequence[Ask]) -> dict[Ask, Answer]:
        """One that fails does not take the others with it."""
        names = list(dict.fromkeys(ask.kpi for ask in asks))
        try:
            values = self._evaluate(together, names, asks)
        except Exception as error:
            if isinstance(error, StoreAway) or (error_code(error) is None and is_transient(error)):
                raise  # the store is away: nothing can be evaluated, and all states stay as they are
            if len(asks) > 1:
                apart = [self._ask(replace(together, where=ask.where, folded=()), [ask]) for ask in asks]
                return {ask: answer for each in apart for ask, answer in each.items()}
            logger.debug("asking for %s", names, exc_info=error)
            return {asks[0]: Answer(values={}, error=reason(error))}
        found = self._apart(together, asks, values)
        self._kept |= {ask: answer for ask, answer in found.items() if ask.window_s >= _KEPT_FROM_S}
        return found

    def _evaluate(self, together: _Together, names: Sequence[str], asks: Sequence[Ask]) -> list[KpiValue]:
        assert self.client is not None, "a source is asked with a client"
        self.statements += 1
        where = dict(together.where)
        parts = 1
        for name in together.folded:
            where[name] = tuple(dict.fromkeys(dict(ask.where)[name][0] for ask in asks))
            parts *= len(where[name])
        return evaluate(
            self.client,
            names,
            window=Window(asks[0].start, asks[0].end),
            by=(*together.by, *together.folded),
            where=where,
            intervals=together.intervals,
            groups_max=self._groups_max * parts,
        )

    def _apart(self, together: _Together, asks: Sequence[Ask], values: Sequence[KpiValue]) -> dict[Ask, Answer]:
        """To each what it asked for."""
        by_name: dict[str, dict[Group, dict[Group, KpiValue]]] = {}
        every = (*together.by, *together.folded)
        for value in values:
            if len(value.group) != len(every):
                continue  # it says that there are no groups
            key = tuple(value.group[name] for name in together.folded)
            group = tuple(value.group[name] for name in together.by)
            by_name.setdefault(value.name, {}).setdefault(key, {})[group] = value
        found = {}
        for ask in asks:
            key = tuple(dict(ask.where)[name][0] for name in together.folded)
            mine = by_name.get(ask.kpi, {}).get(key, {})
            if not mine and not ask.by and together.folded:
                mine = {(): _nothing(ask)}
            cut = len(mine) >= self._groups_max
            note = f"more than {self._groups_max} groups: the smallest are not looked at" if cut else ""
            found[ask] = Answer(values=mine, note=note)
        return found


def _together(asks: Iterable[Ask]) -> dict[_Together, list[Ask]]:
    """Asks about the same window, split and filter."""
    found: dict[_Together, list[Ask]] = {}
    for ask in asks:
        key = _Together(end=ask.end, window_s=ask.window_s, by=ask.by, intervals=ask.intervals, where=ask.where)
        found.setdefault(key, []).append(ask)
    return found


def _folded(together: dict[_Together, list[Ask]]) -> dict[_Together, list[Ask]]:
    """The same, those put together whose filters differ in values alone: a filter on one value is a group."""
    kept: dict[_Together, list[Ask]] = {}
    folded: dict[_Together, list[tuple[_Together, list[Ask]]]] = {}
    for key, asks in together.items():
        if _can_fold(key, asks):
            names = tuple(name for name, _ in key.where)
            folded.setdefault(replace(key, where=(), folded=names), []).append((key, asks))
        else:
            kept[key] = asks
    for key, parts in folded.items():
        if len(parts) < _FOLDED_FROM:
            kept |= dict(parts)
        else:
            kept[key] = [ask for _, asks in parts for ask in asks]
    return kept


def _can_fold(key: _Together, asks: Sequence[Ask]) -> bool:
    names = [name for name, _ in key.where]
    return (
        bool(names)
        and len(names) + len(key.by) <= BY_MAX
        and all(len(values) == 1 for _, values in key.where)
        and all(name in DIMENSIONS and name not in key.by for name in names)
        and all(ask.kpi in REGISTRY and REGISTRY[ask.kpi].source == _FOLDED_SOURCE for ask in asks)
    )


def _nothing(ask: Ask) -> KpiValue:
    """The value of a window without rows."""
    kpi = REGISTRY[ask.kpi]
    return KpiValue(
        name=kpi.name,
        unit=kpi.unit,
        value=kpi.empty,
        low=None,
        high=None,
        n=0,
        start=ask.start,
        end=ask.end,
        method=kpi.estimator.method,
    )
