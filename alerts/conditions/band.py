"""`above`, `below`, `outside`: a value against fixed bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from alerts.ask import Answers, Ask
from alerts.conditions.subject import Subject, reading
from alerts.quantity import amount_text
from alerts.reading import Judged, Reading, Seen
from monitor.kpis import KpiValue


@dataclass(frozen=True, kw_only=True)
class Band:
    """Fires below `low` or above `high`, and is over between `recover_low` and `recover_high`; infinite: no such bound.

    With `confident`, the 95 % interval must lie beyond the bound as a whole; an open end of it is no confidence.
    """

    of: Subject
    low: float = -math.inf
    high: float = math.inf
    recover_low: float = -math.inf
    recover_high: float = math.inf
    confident: bool = False

    @property
    def unit(self) -> str:
        return self.of.unit

    @property
    def words(self) -> str:
        if math.isinf(self.low):
            return f"above {amount_text(self.high, self.unit)}"
        if math.isinf(self.high):
            return f"below {amount_text(self.low, self.unit)}"
        return f"outside {amount_text(self.low, self.unit)} to {amount_text(self.high, self.unit)}"

    def asks(self, now: datetime, lateness_s: float) -> Sequence[Ask]:
        return [self.of.ask(now, lateness_s)]

    def is_beyond(self, value: KpiValue) -> bool:
        """Whether this value fires."""
        return value.value is not None and self.of.unjudged((), value) is None and self._beyond(value, value.value)

    def judge(self, now: datetime, lateness_s: float, answers: Answers) -> Judged:
        answer = answers[self.of.ask(now, lateness_s)]
        readings = [
            self.of.unjudged(group, value) or self._read(group, value) for group, value in answer.values.items()
        ]
        return Judged(readings=readings, error=answer.error, note=answer.note)

    def _read(self, group: tuple[str, ...], value: KpiValue) -> Reading:
        number = value.value
        assert number is not None
        threshold = self.high if number - self.high >= self.low - number else self.low
        if self._beyond(value, number):
            seen = Seen.BREACH
        else:
            seen = Seen.CLEAR if self.recover_low <= number <= self.recover_high else Seen.BETWEEN
        return reading(group, value, seen, threshold=threshold)

    def _beyond(self, value: KpiValue, number: float) -> bool:
        if not self.confident:
            return number > self.high or number < self.low
        least, most = self.of.ends(value)
        return least > self.high or most < self.low
