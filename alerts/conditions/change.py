"""`change`: the window against the same time before."""

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

_DAY_S: Final = 86400.0
_SHIFTS_S: Final = {"last_week": 7 * _DAY_S, "yesterday": _DAY_S}
_WORDS: Final = {
    "last_week": "at the same time last week",
    "yesterday": "at the same time yesterday",
    "previous": "before",
}


@dataclass(frozen=True, kw_only=True)
class Change:
    """Fires when the value moved by more than `relative` (a share) or `absolute` (the KPI's unit), whichever is more.

    With `apart` the two 95 % intervals must lie apart as well. A group that was not there before is not judged.
    """

    of: Subject
    against: str
    direction: str
    relative: float = 0.0
    absolute: float = 0.0
    apart: bool = True

    @property
    def unit(self) -> str:
        return self.of.unit

    @property
    def shift_s(self) -> float:
        return _SHIFTS_S.get(self.against, self.of.window_s)

    @property
    def words(self) -> str:
        least = [f"{self.relative * 100:.4g} %"] if self.relative else []
        least += [amount_text(self.absolute, self.unit)] if self.absolute else []
        signs = self.of.signs(self.direction)
        way = "changed" if len(signs) > 1 else "up" if signs[0] > 0 else "down"
        more = f" by more than {' and '.join(least)}" if least else ""
        return f"{way}{more} from what it was {_WORDS[self.against]}{', beyond doubt' if self.apart else ''}"

    def asks(self, now: datetime, lateness_s: float) -> Sequence[Ask]:
        ask = self.of.ask(now, lateness_s)
        return [ask, ask.earlier(self.shift_s)]

    def judge(self, now: datetime, lateness_s: float, answers: Answers) -> Judged:
        ask, ago = self.asks(now, lateness_s)
        before = answers[ago].values
        readings = []
        for group, value in answers[ask].values.items():
            unjudged = self.of.unjudged(group, value)
            readings.append(unjudged or self._read(group, value, before.get(group)))
        return Judged(
            readings=readings,
            error=answers[ask].error or answers[ago].error,
            note=answers[ask].note or answers[ago].note,
        )

    def _read(self, group: tuple[str, ...], value: KpiValue, before: KpiValue | None) -> Reading:
        if before is None or self.of.unjudged(group, before) is not None or before.value is None:
            return reading(group, value, Seen.TOO_FEW, detail=f"too little data {_WORDS[self.against]} to compare with")
        assert value.value is not None
        margin = max(self.relative * abs(before.value), self.absolute)
        moved = value.value - before.value
        sign = 1 if moved >= 0 else -1
        detail = f"{amount_text(before.value, self.unit)} {_WORDS[self.against]}"
        breach = sign in self.of.signs(self.direction) and moved != 0 and abs(moved) > margin
        if breach and self.apart:
            low, high = self.of.ends(value)
            low_before, high_before = self.of.ends(before)
            breach = low > high_before if sign > 0 else high < low_before
        # Which way the threshold lies where both count: the one that the value is nearer to.
        way = sign if sign in self.of.signs(self.direction) else -sign
        return reading(
            group,
            value,
            Seen.BREACH if breach else Seen.CLEAR,
            threshold=before.value + way * margin,
            detail=detail,
        )
