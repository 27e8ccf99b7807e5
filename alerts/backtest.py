"""`monitor alerts backtest`: what rules would have done, replayed over history.

Each rule is evaluated once in each of its windows rather than every 15 seconds, over the same values that a chart shows. What fires
within a window and is over before its end is therefore not seen, and times are right to a window.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np

from alerts.ask import Answer, Answers, Ask, Group
from alerts.conditions.absent import Absent
from alerts.conditions.anomaly import Anomaly
from alerts.conditions.burn import Burn
from alerts.conditions.change import Change
from alerts.conditions.plain import Always, Health
from alerts.evaluate import evaluate_rules
from alerts.kept import Event, Kept, Key
from alerts.rules import Rule
from monitor.errors import BadInput
from monitor.kpis import KpiValue, Window, series
from monitor.kpis.query import STEPS_MAX
from monitor.store import Client

_WEEK_S: Final = 7 * 86400.0
_SEASON_S: Final = {"day": 86400.0, "week": _WEEK_S}
# So many begins of a shift are tried, and each is waited for so long.
SHIFTS: Final = 20
SHIFT_WAIT_S: Final = 86400.0
_SHIFT: Final = re.compile(r"(\d+(?:\.\d+)?)x|([+-]\d+(?:\.\d+)?)")


@dataclass(frozen=True, kw_only=True)
class Shift:
    """A change that is laid over history: values times `factor`, plus `added` (in the KPI's unit)."""

    factor: float = 1.0
    added: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Spell:
    """One alert that would have been: of which group, from when to when; `goes_on`: it had no end yet."""

    group: Mapping[str, str]
    start: datetime
    end: datetime
    goes_on: bool = True


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What a rule would have done.

    Attributes
    ----------
    fired : int
        Alerts that would have begun.
    seconds : float
        For how long in all, and `longest_s` the longest of them.
    a_week : float
        Alerts a week.
    looked_s : float
        Length of the history.
    delays_s : list of float or None
        With a shift: from its begin to the alert, for each begin that was tried; None: not within a day.
    spells : list of Spell
        Each alert, in the order in which they end.
    skipped : str
        Why the rule cannot be replayed; empty if it was.
    """

    rule: str
    severity: str
    fired: int = 0
    seconds: float = 0.0
    longest_s: float = 0.0
    a_week: float = 0.0
    looked_s: float = 0.0
    groups: Mapping[str, int] = field(default_factory=dict)
    delays_s: Sequence[float | None] = ()
    spells: Sequence[Spell] = ()
    skipped: str = ""

    @property
    def delay_s(self) -> float | None:
        """Median of the delays, where more than half of the shifts were seen."""
        waits = [math.inf if delay is None else delay for delay in self.delays_s]
        middle = statistics.median(waits) if waits else math.inf
        return middle if math.isfinite(middle) else None

    @property
    def seen_share(self) -> float | None:
        """Share of the shifts that were told within a day."""
        return sum(delay is not None for delay in self.delays_s) / len(self.delays_s) if self.delays_s else None


def read_shift(text: str) -> Shift:
    """`1.5x`, or `+0.2` in the KPI's unit.

    Raises
    ------
    BadInput
        If it is neither.
    """
    match = _SHIFT.fullmatch(text.strip())
    if match is None:
        raise BadInput(f"`{text}` is no shift; write 1.5x (times), or +0.2 or -0.2 (in the KPI's unit)")
    return Shift(factor=float(match[1])) if match[1] else Shift(added=float(match[2]))


def backtest(client: Client, rule: Rule, *, since: timedelta, now: datetime, shift: Shift | None = None) -> Replay:
    """Replay one rule over the time of this length up to now."""
    if isinstance(rule.condition, Always | Health):
        return Replay(rule=rule.name, severity=rule.severity, skipped="there is no history of what it is about")
    step_s = _step_s(rule)
    end_s = math.floor(now.timestamp() / step_s) * step_s
    steps = math.floor(since.total_seconds() / step_s)
    if steps < 1:
        raise BadInput(
            f"the rule `{rule.name}` has a window of {step_s:g} s; look back further than {since.total_seconds():g} s"
        )
    begin_s = end_s - steps * step_s
    history = _read(client, rule, begin_s - _back_s(rule), end_s, step_s)
    moments = [datetime.fromtimestamp(begin_s + step_s * count, UTC) for count in range(1, steps + 1)]
    events = _replay(history, rule, moments)
    without = [event.at for event in events if event.kept.track.alarming]
    delays = _delays(history, rule, moments, shift, without) if shift is not None else ()
    return _result(rule, events, moments[-1], steps * step_s, delays)


class History:
    """Steps of one KPI by group, as `monitor.kpis.series` gives them; answers what a rule asks at their ends."""

    def __init__(self, by: Sequence[str], begin_s: float, step_s: float, steps: int) -> None:
        self.by = tuple(by)
        self.begin_s = begin_s
        self.step_s = step_s
        self.steps = steps
        self.values: dict[Group, np.ndarray[Any, np.dtype[np.float64]]] = {}  # value, low, high, n by step
        self.unit = ""
        self.shift: Shift | None = None
        self.shift_from: int = steps

    def answer(self, asks: Iterable[Ask]) -> Answers:
        return {ask: Answer(values=self._answer(ask)) for ask in asks}

    def forget(self, used: Iterable[Ask]) -> None:
        pass

    def _answer(self, ask: Ask) -> dict[Group, KpiValue]:
        last = round((ask.end.timestamp() - self.begin_s) / self.step_s)
        first = last - max(1, round(ask.window_s / self.step_s))
        if first < 0 or last > self.steps:
            return {}
        found = {}
        for group, table in self.values.items():
            value = self._value(ask, table, first, last)
            if value is not None:
                found[group] = value
        return found

    def _value(self, ask: Ask, table: np.ndarray[Any, np.dtype[np.float64]], first: int, last: int) -> KpiValue | None:
        rows = table[first:last]
        n = int(rows[:, 3].sum())
        if not n and self.by:
            return None
        if last - first == 1:
            value, low, high = (float(each) for each in rows[0, :3])
        else:
            # Of a ratio, such as a burn rate, the mean by rows is that of the whole.
            known = rows[~np.isnan(rows[:, 0])]
            weight = known[:, 3].sum()
            value = float((known[:, 0] * known[:, 3]).sum() / weight) if weight else math.nan
            low = high = math.nan
        if self.shift is not None and last > self.shift_from:
            share = min(1.0, (last - self.shift_from) / (last - first))
            moved = [self.shift.factor * each + self.shift.added for each in (value, low, high)]
            value, low, high = (old + share * (new - old) for old, new in zip((value, low, high), moved, strict=True))
        return KpiValue(
            name=ask.kpi,
            unit=self.unit,
            value=None if math.isnan(value) else value,
            low=None if math.isnan(low) else low,
            high=None if math.isnan(high) else high,
            n=n,
            start=ask.start,
            end=ask.end,
            method="history",
        )


def _read(client: Client, rule: Rule, begin_s: float, end_s: float, step_s: float) -> History:
    steps = round((end_s - begin_s) / step_s)
    history = History(rule.by, begin_s, step_s, steps)
    condition: Any = rule.condition
    history.unit = condition.unit
    for first in range(0, steps, STEPS_MAX):
        last = min(steps, first + STEPS_MAX)
        window = Window(
            datetime.fromtimestamp(begin_s + first * step_s, UTC), datetime.fromtimestamp(begin_s + last * step_s, UTC)
        )
        frame = series(
            client, [rule.kpi], window=window, step_s=step_s, by=rule.by, where=dict(rule.where), intervals=condition.of.intervals,
            groups_max=1000,
        )  # fmt: skip
        groups = frame.groupby(list(rule.by), sort=False) if rule.by else [((), frame)]
        for key, part in groups:
            table = history.values.setdefault(tuple(str(each) for each in key), _empty(steps))
            table[first:last] = part[["value", "low", "high", "n"]].to_numpy(dtype=float)
    return history


def _empty(steps: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    table = np.full((steps, 4), np.nan)
    table[:, 3] = 0.0
    return table


def _replay(history: History, rule: Rule, moments: Iterable[datetime], *, until_fired: bool = False) -> list[Event]:
    kept: Mapping[Key, Kept] = {}
    events: list[Event] = []
    for now in moments:
        found = evaluate_rules(history, [rule], kept, {}, now=now, lateness_s=0.0)
        kept = found.kept
        events += found.events
    return events


def _delays(
    history: History, rule: Rule, moments: Sequence[datetime], shift: Shift, without: Sequence[datetime]
) -> list[float | None]:
    """From the begin of the shift to the alert, for begins that are spread over the history."""
    wait = max(1, round(SHIFT_WAIT_S / history.step_s))
    warm = max(1, math.ceil((rule.timing.for_s + rule.window_s) / history.step_s))
    last = max(1, len(moments) - 1 - min(wait, len(moments) // 2))
    found: list[float | None] = []
    for place in sorted({round(each) for each in np.linspace(min(warm, last), last, SHIFTS)}):
        begun = moments[place]
        history.shift, history.shift_from = shift, round((begun.timestamp() - history.begin_s) / history.step_s)
        events = _replay(history, rule, moments[max(0, place - warm) : place + 1 + wait])
        if _alarmed(events, begun):
            continue  # of what is told already, a shift says nothing
        fired = min((event.at for event in events if event.kept.track.alarming and event.at > begun), default=None)
        # What would have fired without the shift is not owed to it.
        own = min((each for each in without if each > begun), default=None)
        if own is not None and (fired is None or own <= fired):
            continue
        found.append((fired - begun).total_seconds() if fired else None)
    history.shift = None
    return found


def _alarmed(events: Iterable[Event], at: datetime) -> bool:
    """Whether anything alarmed at this moment."""
    states = {event.kept.key: event.kept.track.alarming for event in events if event.at <= at}
    return any(states.values())


def _result(
    rule: Rule, events: Sequence[Event], end: datetime, looked_s: float, delays: Sequence[float | None]
) -> Replay:
    begun: dict[Key, Spell] = {}
    spells: list[Spell] = []
    groups: dict[str, int] = {}
    for event in events:
        key, group = event.kept.key, event.kept.instance.group
        if event.kept.track.alarming and key not in begun:
            begun[key] = Spell(group=dict(group), start=event.at, end=end)
            name = ", ".join(group.values())
            groups[name] = groups.get(name, 0) + 1
        elif not event.kept.track.alarming and key in begun:
            spells.append(replace(begun.pop(key), end=event.at, goes_on=False))
    spells += begun.values()
    lengths = [(spell.end - spell.start).total_seconds() for spell in spells]
    return Replay(
        rule=rule.name,
        severity=rule.severity,
        fired=len(lengths),
        seconds=sum(lengths),
        longest_s=max(lengths, default=0.0),
        a_week=len(lengths) * _WEEK_S / looked_s,
        looked_s=looked_s,
        groups=dict(sorted(groups.items(), key=lambda item: -item[1])),
        delays_s=delays,
        spells=spells,
    )


def _step_s(rule: Rule) -> float:
    if isinstance(rule.condition, Burn):
        return min(row.short_s for row in rule.condition.rows)
    return rule.window_s


def _back_s(rule: Rule) -> float:
    """How much earlier a rule looks, in whole steps."""
    condition, step_s = rule.condition, _step_s(rule)
    back = 0.0
    if isinstance(condition, Change):
        back = condition.shift_s
    elif isinstance(condition, Anomaly):
        back = _SEASON_S[condition.season] * condition.history
    elif isinstance(condition, Absent):
        back = condition.within_s
    elif isinstance(condition, Burn):
        back = max(row.long_s for row in condition.rows)
    return math.ceil(back / step_s) * step_s


__all__ = ["History", "Replay", "Shift", "Spell", "backtest", "read_shift"]
