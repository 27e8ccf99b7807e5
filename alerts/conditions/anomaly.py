"""`anomaly`: the window against the same time of many earlier days or weeks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from alerts.ask import Answers, Ask
from alerts.conditions.subject import Subject, reading
from alerts.quantity import amount_text
from alerts.reading import Judged, Reading, Seen
from monitor.kpis import KpiValue
from monitor.stats.baseline import baseline

_SEASONS_S: Final = {"day": 86400.0, "week": 7 * 86400.0}
# A 95 % interval is so many standard errors wide.
_WIDTH: Final = 2 * 1.959963984540054
# Windows of the past move in steps: they are asked for once in so many seconds at most.
_STEP_S: Final = 60


@dataclass(frozen=True, kw_only=True)
class Anomaly:
    """Fires when the value is `limit` robust standard deviations away from the median of the same time before."""

    of: Subject
    season: str
    history: int
    least_history: int
    limit: float
    direction: str

    @property
    def unit(self) -> str:
        return self.of.unit

    @property
    def words(self) -> str:
        return f"unlike the same time of the last {self.history} {self.season}s (more than {self.limit:g} standard deviations off)"

    def asks(self, now: datetime, lateness_s: float) -> Sequence[Ask]:
        return [self.of.ask(now, lateness_s), *self._past(now, lateness_s)]

    def _past(self, now: datetime, lateness_s: float) -> list[Ask]:
        ask = self.of.ask(now, lateness_s)
        step_s = max(_STEP_S, self.of.window_s / 10)
        ask = ask.earlier(ask.end.timestamp() % step_s)
        return [ask.earlier(_SEASONS_S[self.season] * count) for count in range(1, self.history + 1)]

    def judge(self, now: datetime, lateness_s: float, answers: Answers) -> Judged:
        ask = self.of.ask(now, lateness_s)
        past = [answers[each] for each in self._past(now, lateness_s)]
        readings = []
        for group, value in answers[ask].values.items():
            unjudged = self.of.unjudged(group, value)
            before = [each.values[group] for each in past if group in each.values]
            readings.append(unjudged or self._read(group, value, before))
        errors = [each.error for each in (answers[ask], *past) if each.error]
        return Judged(readings=readings, error=errors[0] if errors else "", note=answers[ask].note)

    def _read(self, group: tuple[str, ...], value: KpiValue, before: Sequence[KpiValue]) -> Reading:
        known = [each for each in before if self.of.unjudged(group, each) is None]
        if len(known) < self.least_history:
            why = f"{len(known)} of {self.least_history} earlier {self.season}s have enough data"
            return reading(group, value, Seen.TOO_FEW, detail=why)
        usual = baseline([each.value for each in known if each.value is not None], error=_error(value))
        assert value.value is not None
        distance = usual.distance(value.value)
        signs = self.of.signs(self.direction)
        breach = (1 in signs and distance > self.limit) or (-1 in signs and distance < -self.limit)
        low, high = usual.bounds(self.limit)
        nearer = high if value.value >= usual.center else low
        detail = f"usual: {amount_text(usual.center, self.unit)}, {amount_text(low, self.unit)} to {amount_text(high, self.unit)}"
        return reading(group, value, Seen.BREACH if breach else Seen.CLEAR, threshold=nearer, detail=detail)


def _error(value: KpiValue) -> float:
    if value.low is None or value.high is None:
        return 0.0
    return (value.high - value.low) / _WIDTH
