"""What rules want to know, and what answers them: the store, made series, or history."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from monitor.kpis import KpiValue

Where = tuple[tuple[str, tuple[str, ...]], ...]
Group = tuple[str, ...]

# A window moves in steps of this share of its length: of an hour, a minute is nothing, and the answer is good for as long.
_STEPS = 60


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One KPI over one window, by group; `intervals`: with those of quantiles, which cost as much again.

    `spanning`: of a time much longer than the rule's window, of which only the number of rows counts.
    """

    kpi: str
    end: datetime
    window_s: float
    by: tuple[str, ...] = ()
    where: Where = ()
    intervals: bool = False
    spanning: bool = False

    def earlier(self, seconds: float) -> Ask:
        """The same, so much before."""
        return replace(self, end=self.end - timedelta(seconds=seconds))

    @property
    def start(self) -> datetime:
        return self.end - timedelta(seconds=self.window_s)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Values by group, in the order of `by`; or why there are none."""

    values: Mapping[Group, KpiValue]
    error: str = ""
    note: str = ""


Answers = Mapping[Ask, Answer]


class Source(Protocol):
    """Who knows."""

    def answer(self, asks: Iterable[Ask]) -> Answers:
        """An answer to each."""

    def forget(self, used: Iterable[Ask]) -> None:
        """What is no more asked for can be forgotten."""


def closed_end(now: datetime, lateness_s: float, window_s: float) -> datetime:
    """End of the newest window of this length whose calls have arrived."""
    step = max(1, math.floor(window_s / _STEPS))
    return datetime.fromtimestamp(math.floor((now.timestamp() - lateness_s) / step) * step, UTC)
