"""Conditions that ask for no KPI: `always`, and `health` of Inference Monitor itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from alerts.ask import Answers, Ask
from alerts.reading import Judged, Reading, Seen

_WHAT: Final = {
    "jobs": "a scheduled job fails again and again",
    "rules": "an alert rule cannot be evaluated",
    "notifications": "notifications do not get out",
}


@dataclass(frozen=True, kw_only=True)
class Always:
    """Fires always."""

    words: str = "always firing: proof that alerts are evaluated"
    unit: str = ""

    def asks(self, now: datetime, lateness_s: float) -> Sequence[Ask]:
        return []

    def judge(self, now: datetime, lateness_s: float, answers: Answers) -> Judged:
        return Judged(readings=[Reading(group=(), seen=Seen.BREACH, start=now, end=now)])


@dataclass(frozen=True, kw_only=True)
class Health:
    """Fires for each part that is not well; what that is, is found out before (`alerts.health`)."""

    of: str
    by: tuple[str, ...]
    unwell: Mapping[str, str] = field(default_factory=dict)
    unit: str = ""

    @property
    def words(self) -> str:
        return _WHAT[self.of]

    def asks(self, now: datetime, lateness_s: float) -> Sequence[Ask]:
        return []

    def judge(self, now: datetime, lateness_s: float, answers: Answers) -> Judged:
        readings = [
            Reading(group=(name,), seen=Seen.BREACH, start=now, end=now, detail=why)
            for name, why in self.unwell.items()
        ]
        return Judged(readings=readings, complete=True)
