"""Answers from the store: rules that ask the same are answered by one statement."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Final

from alerts.ask import Answer, Answers, Ask, Where, by_group
from monitor.errors import BadInput, StoreAway
from monitor.kpis import KpiValue, Window, evaluate
from monitor.store import Client
from monitor.store.client import error_code, is_transient, reason

logger = logging.getLogger(__name__)

_Key = tuple[object, ...]
# Windows shorter than this move with each evaluation, so nothing is gained by keeping what they were.
_KEPT_FROM_S: Final = 600.0


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
        together: dict[_Key, list[Ask]] = {}
        for ask in wanted:
            if ask not in found:
                together.setdefault((ask.end, ask.window_s, ask.by, ask.where), []).append(ask)
        for mine in together.values():
            found |= self._ask(mine)
        self._kept = {ask: answer for ask, answer in found.items() if not answer.error and ask.window_s >= _KEPT_FROM_S}
        return found

    def _ask(self, asks: Sequence[Ask]) -> dict[Ask, Answer]:
        """All that are about the same window, split and filter; one that fails does not take the others with it."""
        names = list(dict.fromkeys(ask.kpi for ask in asks))
        try:
            values = self._evaluate(asks[0], names)
        except Exception as error:
            if isinstance(error, StoreAway) or (error_code(error) is None and is_transient(error)):
                raise  # the store is away: nothing can be evaluated, and all states stay as they are
            if len(asks) > 1:
                return {ask: answer for each in asks for ask, answer in self._ask([each]).items()}
            if not isinstance(error, BadInput):
                logger.debug("asking for %s", names, exc_info=error)
            return {asks[0]: Answer(values={}, error=reason(error))}
        by_name: dict[str, list[KpiValue]] = {name: [] for name in names}
        for value in values:
            by_name[value.name].append(value)
        return {ask: self._answer(ask, by_name[ask.kpi]) for ask in asks}

    def _evaluate(self, ask: Ask, names: Sequence[str]) -> list[KpiValue]:
        assert self.client is not None, "a source is asked with a client"
        self.statements += 1
        return evaluate(
            self.client,
            names,
            window=Window(ask.start, ask.end),
            by=ask.by,
            where=_filter(ask.where),
            groups_max=self._groups_max,
        )

    def _answer(self, ask: Ask, values: Sequence[KpiValue]) -> Answer:
        found = by_group(values, ask.by)
        cut = len(found) >= self._groups_max
        note = f"more than {self._groups_max} groups: the smallest are not looked at" if cut else ""
        return Answer(values=found, note=note)


def _filter(where: Where) -> dict[str, tuple[str, ...]]:
    return dict(where)
