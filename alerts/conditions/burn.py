"""`objective`: the error budget burns too fast, over a long and a short window at once.

References
----------
Google, The Site Reliability Workbook, chapter "Alerting on SLOs".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal

from alerts.ask import Answers, Ask, Group
from alerts.conditions.subject import Subject, reading
from alerts.quantity import duration_text
from alerts.reading import Judged, Reading, Seen
from monitor.kpis import KpiValue

_H: Final = 3600.0
# Below so many bad calls in a window nobody is told: one or two failed calls of a quiet hour are no trend.
BAD_MIN: Final = 3
# Of the fastest burn that is possible, where a factor of the table would be faster than that.
REACHABLE_SHARE: Final = 0.8

# Severity, long window, share of the budget that it spends; the short window is a twelfth.
_MONTH: Final = (("page", 1, 0.02), ("page", 6, 0.05), ("ticket", 24, 0.10), ("ticket", 72, 0.10))
_WEEK: Final = (("page", 1, 0.10), ("page", 6, 0.20), ("ticket", 24, 0.40))


@dataclass(frozen=True, kw_only=True)
class BurnRow:
    """One pair of windows; `lowered` if the table's factor could never be reached."""

    severity: Literal["page", "ticket"]
    long_s: float
    short_s: float
    factor: float
    lowered: bool = False


def burn_rows(*, target: float, period_days: float) -> list[BurnRow]:
    """The pairs of windows for an objective, fastest first.

    The factor is the share of the budget times the period over the long window. Nothing burns faster than 1 / (1 - target),
    when every call is bad: a factor near or above it is lowered to `REACHABLE_SHARE` of it.
    """
    table = _MONTH if period_days >= 14 else _WEEK
    most = 1.0 / (1.0 - target)
    rows = []
    for severity, hours, share in table:
        if hours >= 24 * period_days:
            continue  # it would be longer than the period itself
        wanted = share * period_days * 24 / hours
        rows.append(
            BurnRow(
                severity=severity,  # type: ignore[arg-type]
                long_s=hours * _H,
                short_s=hours * _H / 12,
                factor=min(wanted, REACHABLE_SHARE * most),
                lowered=wanted > REACHABLE_SHARE * most,
            )
        )
    return rows


@dataclass(frozen=True, kw_only=True)
class Burn:
    """Fires when, for any row, both windows burn at its factor or faster, with at least `BAD_MIN` bad calls in the short one.

    A window without traffic burns nothing.
    """

    of: Subject
    rows: Sequence[BurnRow]
    target: float

    @property
    def unit(self) -> str:
        return "×"

    @property
    def words(self) -> str:
        pairs = [
            f"{row.factor:.3g} times over {duration_text(row.long_s)} and {duration_text(row.short_s)}"
            for row in self.rows
        ]
        return f"burning the error budget {', or '.join(pairs)}"

    def asks(self, now: datetime, lateness_s: float) -> Sequence[Ask]:
        return [ask for row in self.rows for ask in self._pair(row, now, lateness_s)]

    def _pair(self, row: BurnRow, now: datetime, lateness_s: float) -> tuple[Ask, Ask]:
        long = replace(self.of, window_s=row.long_s).ask(now, lateness_s)
        short = replace(self.of, window_s=row.short_s).ask(now, lateness_s)
        return long, short

    def judge(self, now: datetime, lateness_s: float, answers: Answers) -> Judged:
        errors = [answers[ask].error for ask in self.asks(now, lateness_s) if answers[ask].error]
        notes = [answers[ask].note for ask in self.asks(now, lateness_s) if answers[ask].note]
        found: dict[Group, Reading] = {}
        for row in self.rows:
            long, short = (answers[ask].values for ask in self._pair(row, now, lateness_s))
            for group, value in long.items():
                seen = self._read(group, value, short.get(group), row)
                if group not in found or (seen.seen is Seen.BREACH and found[group].seen is not Seen.BREACH):
                    found[group] = seen
        return Judged(readings=list(found.values()), error=errors[0] if errors else "", note=notes[0] if notes else "")

    def _read(self, group: Group, long: KpiValue, short: KpiValue | None, row: BurnRow) -> Reading:
        breach = self._fast(long, row.factor) and short is not None and self._fast(short, row.factor)
        near = short.value if short is not None and short.value is not None else 0.0
        detail = (
            f"over {duration_text(row.long_s)}; {near:.3g} over {duration_text(row.short_s)}"
            f"{'; the factor is lowered to what can be reached' if row.lowered else ''}"
        )
        return reading(group, long, Seen.BREACH if breach else Seen.CLEAR, threshold=row.factor, detail=detail)

    def _fast(self, value: KpiValue, factor: float) -> bool:
        if value.value is None or value.n < max(1, self.of.min_samples):
            return False
        bad = value.value * (1.0 - self.target) * value.n
        # What is counted is compared as counted: 2.9999999 is 3.
        return value.value >= factor * (1 - 1e-9) and bad >= BAD_MIN - 1e-6
