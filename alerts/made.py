"""Made series: answers that a test file gives, instead of a store."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from alerts.ask import Answer, Answers, Ask, Group
from monitor.errors import BadInput
from monitor.kpis import KpiValue

VALUES_MAX: Final = 100_000
_PART: Final = re.compile(
    r"(?P<gap>_)|(?P<start>-?\d+(?:\.\d+)?(?:e-?\d+)?)(?P<step>[+-]\d+(?:\.\d+)?)?", re.IGNORECASE
)


@dataclass(frozen=True, kw_only=True)
class Series:
    """Values of one KPI for one group; NaN is a gap.

    A value is what the KPI is over a rule's window that ends at its time, whatever the window is.
    """

    kpi: str
    group: Mapping[str, str] = field(default_factory=dict)
    start: datetime
    every_s: float
    values: Sequence[float]
    n: int = 1000
    margin: float | None = None

    def at(self, moment: datetime) -> float:
        """The value at or before this moment; NaN outside of the series."""
        index = math.floor((moment - self.start).total_seconds() / self.every_s)
        return self.values[index] if 0 <= index < len(self.values) else math.nan

    def rows(self, start: datetime, end: datetime) -> int:
        """Rows of all values in a stretch of time."""
        first = math.floor((start - self.start).total_seconds() / self.every_s) + 1
        last = math.floor((end - self.start).total_seconds() / self.every_s) + 1
        return self.n * sum(not math.isnan(value) for value in self.values[max(0, first) : max(0, last)])


class MadeSource:
    """Answers from series."""

    def __init__(self, series: Sequence[Series], units: Mapping[str, str]) -> None:
        self._series = series
        self._units = units

    def answer(self, asks: Iterable[Ask]) -> Answers:
        return {ask: Answer(values=self._values(ask)) for ask in asks}

    def forget(self, used: Iterable[Ask]) -> None:
        pass

    def _values(self, ask: Ask) -> dict[Group, KpiValue]:
        found: dict[Group, KpiValue] = {}
        for series in self._series:
            if series.kpi != ask.kpi or any(series.group.get(name, "") not in values for name, values in ask.where):
                continue
            value = series.at(ask.end)
            n = series.rows(ask.start, ask.end) if ask.spanning else series.n
            if (math.isnan(value) and not ask.spanning) or not n:
                continue
            group = tuple(series.group.get(name, "") for name in ask.by)
            if group in found:
                raise BadInput(f"two series of {ask.kpi} are the same group by {', '.join(ask.by) or 'nothing'}")
            found[group] = self._value(ask, series, value, n)
        return found

    def _value(self, ask: Ask, series: Series, value: float, n: int) -> KpiValue:
        return KpiValue(
            name=ask.kpi,
            unit=self._units.get(ask.kpi, ""),
            value=value,
            low=None if series.margin is None else value - series.margin,
            high=None if series.margin is None else value + series.margin,
            n=n,
            start=ask.start,
            end=ask.end,
            method="made",
        )


def read_values(text: str) -> list[float]:
    """`0.2x3 _x2 1+0.5x3` is 0.2 three times, two gaps, and 1, 1.5, 2.

    Raises
    ------
    BadInput
        Naming the part that is none.
    """
    found: list[float] = []
    for part in str(text).split():
        front, times, count = part.partition("x")
        match = _PART.fullmatch(front)
        if match is None or (times and not count.isdigit()):
            raise BadInput(f"`{part}` is no value; write 0.2, 0.2x20 (twenty times), 1+0.5x3 (1, 1.5, 2) or _x4 (gaps)")
        repeat = int(count) if times else 1
        if len(found) + repeat > VALUES_MAX:
            raise BadInput(f"a series has more than {VALUES_MAX:,} values")
        start = math.nan if match["gap"] else float(match["start"])
        found += [start + index * float(match["step"] or 0) for index in range(repeat)]
    return found


def later(moment: datetime, seconds: float) -> datetime:
    return moment + timedelta(seconds=seconds)
