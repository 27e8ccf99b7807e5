"""`absent`: a group that was there and from which nothing comes any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from alerts.ask import Answers, Ask, closed_end
from alerts.conditions.subject import Subject
from alerts.quantity import duration_text
from alerts.reading import Judged, Reading, Seen


@dataclass(frozen=True, kw_only=True)
class Absent:
    """Fires for each group that was seen within `within_s`, and not in the window.

    With `expected`, silence must mean something: the group's share of all rows before, of those that came now, makes at
    least so many. Of a quiet night it does not.
    """

    of: Subject
    within_s: float
    expected: float = 0.0

    @property
    def unit(self) -> str:
        return "call" if self.of.kpi.startswith("traffic.") else "1"

    @property
    def words(self) -> str:
        return f"nothing for {duration_text(self.of.window_s)}, after data in the last {duration_text(self.within_s)}"

    def asks(self, now: datetime, lateness_s: float) -> Sequence[Ask]:
        ask = self.of.ask(now, lateness_s)
        end = closed_end(now, lateness_s, self.within_s)
        return [ask, replace(ask, end=end, window_s=self.within_s, spanning=True)]

    def judge(self, now: datetime, lateness_s: float, answers: Answers) -> Judged:
        ask, long = self.asks(now, lateness_s)
        now_n = {group: value.n for group, value in answers[ask].values.items()}
        before_n = {group: value.n for group, value in answers[long].values.items() if value.n}
        came, all_before = sum(now_n.values()), sum(before_n.values())
        readings = []
        for group in before_n | {group: n for group, n in now_n.items() if n}:
            n, before = now_n.get(group, 0), before_n.get(group, 0)
            due = came * before / all_before if all_before else 0.0
            silent = n == 0 and due >= self.expected
            readings.append(
                Reading(
                    group=group,
                    # Too little came of all to say that its silence means something.
                    seen=Seen.BREACH if silent else Seen.TOO_FEW if n == 0 else Seen.CLEAR,
                    value=float(n),
                    n=before,
                    threshold=1.0,
                    start=ask.start,
                    end=ask.end,
                    detail=f"{before} in the last {duration_text(self.within_s)}",
                )
            )
        return Judged(
            readings=readings,
            error=answers[ask].error or answers[long].error,
            note=answers[ask].note or answers[long].note,
        )
