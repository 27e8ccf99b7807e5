"""Which earlier looks a look is held against."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from monitor.drift.plan import DAY_S, SEASONS, WEEK_S, Plan
from monitor.stats.drift.effects import Array


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Counts that a look is held against.

    Parameters
    ----------
    name : str
        For people: `same hours of 3 weeks`, `7 days before`, `pinned`.
    effect : array of shape (k,)
        What the effect is the distance from; the last number is of calls without a value.
    pool : array of shape (k,)
        What the test is against: all earlier looks that are like this one, so that its p-value is independent of theirs.
    start_s, end_s : int or None
        A window that stands for it, where single calls are asked for.
    """

    name: str
    effect: Array
    pool: Array
    start_s: int | None
    end_s: int | None


class History:
    """Counts of earlier looks at one feature, by begin (Unix s), found by hour of the week and of the day."""

    def __init__(self, plan: Plan, counts: Mapping[int, Array]) -> None:
        self.counts = counts
        self._week: dict[int, list[int]] = {}
        self._day: dict[tuple[int, bool], list[int]] = {}
        for start in sorted(counts):
            self._week.setdefault(plan.week_slot(start), []).append(start)
            self._day.setdefault(_kind_of_day(plan, start), []).append(start)
        self._all = sorted(counts)
        self._plan = plan

    def same_of_week(self, start_s: int) -> list[int]:
        return _before(self._week.get(self._plan.week_slot(start_s), []), start_s)

    def same_of_day(self, start_s: int) -> list[int]:
        return _before(self._day.get(_kind_of_day(self._plan, start_s), []), start_s)

    def before(self, start_s: int) -> list[int]:
        return _before(self._all, start_s)

    def sum(self, starts: Sequence[int], none: Array) -> Array:
        return np.sum([self.counts[start] for start in starts], axis=0) if starts else none


def reference_of(plan: Plan, start_s: int, earlier: History, pinned: Array | None, width: int) -> Reference:
    """What the look that begins at `start_s` is held against.

    Parameters
    ----------
    earlier : History
        Looks that are not earlier are passed over.
    pinned : array, optional
        Counts of the pinned reference.
    width : int
        Length of the counts.
    """
    none = np.zeros(width)
    if plan.reference == "pinned":
        assert plan.pinned is not None
        own = none if pinned is None else pinned
        start, end = (int(each.timestamp()) for each in (plan.pinned.start, plan.pinned.end))
        since = [at for at in earlier.before(start_s) if at >= end]
        return Reference(name="pinned", effect=own, pool=own + earlier.sum(since, none), start_s=start, end_s=end)
    if plan.reference == "previous":
        before = earlier.before(start_s)
        near = [at for at in before if at >= start_s - plan.rolling_s]
        return Reference(
            name="previous",
            effect=earlier.sum(near, none),
            pool=earlier.sum(before, none),
            start_s=start_s - plan.rolling_s,
            end_s=start_s,
        )
    like = earlier.same_of_week(start_s)
    effect = earlier.sum(like[-SEASONS:], none)
    if like and float(effect.sum()) >= plan.rows_min:
        return _seasonal(plan, f"same hours of {len(like[-SEASONS:])} weeks", like, effect, earlier.sum(like, none))
    # In the first week there are no such hours, and those of the days before are the next best.
    days = [at for at in earlier.same_of_day(start_s) if at >= start_s - WEEK_S]
    effect = earlier.sum(days, none)
    return _seasonal(plan, "same hours of the days before" if days else "none yet", days, effect, effect)


def _seasonal(plan: Plan, name: str, like: Sequence[int], effect: Array, pool: Array) -> Reference:
    start = like[-1] if like else None
    return Reference(
        name=name, effect=effect, pool=pool, start_s=start, end_s=None if start is None else start + plan.window_s
    )


def _kind_of_day(plan: Plan, start_s: int) -> tuple[int, bool]:
    """Hour of the day, and whether it is on a weekend (in UTC): nobody takes a Saturday for a Friday."""
    return plan.day_slot(start_s), plan.week_slot(start_s) * plan.window_s >= 5 * DAY_S


def _before(starts: list[int], start_s: int) -> list[int]:
    return starts[: bisect_left(starts, start_s)]
