"""One evaluation of all rules: ask, judge, step each instance, say what changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from alerts.ask import Answers, Ask, Source
from alerts.conditions.band import Band
from alerts.kept import Event, Kept, Key, RuleHealth, by_rule
from alerts.model import ALARMING, Instance, State, fingerprint
from alerts.quantity import amount_text
from alerts.reading import Judged, Reading, Seen
from alerts.rules import Rule
from alerts.state import Track, step
from alerts.texts import render_annotation, render_label
from monitor.errors import BadInput

_ORDER: Final = (State.FIRING, State.ERROR, State.NO_DATA, State.RECOVERING, State.PENDING, State.INACTIVE)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What came of it.

    Attributes
    ----------
    kept : mapping
        All instances that are pending, alarming, or ended lately.
    gone : list of Kept
        Of which nothing is to be kept any more.
    events : list of Event
        Changes of state.
    health : mapping
        Rule -> how it did.
    """

    kept: Mapping[Key, Kept]
    gone: Sequence[Kept] = ()
    events: Sequence[Event] = ()
    health: Mapping[str, RuleHealth] = field(default_factory=dict)

    @property
    def told(self) -> list[Instance]:
        """What notification is given: all that alarms, and all that ended in the last 15 minutes."""
        return [told for kept in self.kept.values() if (told := _told(kept)) is not None]


def evaluate_rules(
    source: Source,
    rules: Sequence[Rule],
    kept: Mapping[Key, Kept],
    health: Mapping[str, RuleHealth],
    *,
    now: datetime,
    lateness_s: float,
    problems: Mapping[str, str] | None = None,
) -> Evaluation:
    """Evaluate rules once.

    Parameters
    ----------
    source : Source
        Who answers what the rules ask.
    rules : sequence of Rule
    kept, health : mapping
        What the evaluation before left.
    now : datetime
    lateness_s : float
        Windows end so long ago, in seconds.
    problems : mapping, optional
        Declared rule -> why it could not be made a rule; what is kept of it stays as it is.
    """
    asked = [ask for rule in rules for ask in rule.condition.asks(now, lateness_s)]
    answers = source.answer(asked)
    answers = {**answers, **_with_intervals(source, rules, answers, now, lateness_s)}
    source.forget(asked)
    before = by_rule(kept)
    found: dict[Key, Kept] = {}
    gone: list[Kept] = []
    events: list[Event] = []
    healthy: dict[str, RuleHealth] = {}
    for rule in rules:
        run = _Run(rule, before.pop(rule.name, ()), now)
        run.judge(answers, lateness_s)
        found |= run.found
        gone += run.gone
        events += run.events
        healthy[rule.name] = _health(rule.name, run, health.get(rule.name), now)
    broken = problems or {}
    for name, left in before.items():
        if name in broken:
            found |= {each.key: each for each in left}
            continue
        # The rule is there no more: its alerts end, and the word of it gets out.
        run = _Run(None, left, now)
        run.end_all()
        found |= run.found
        gone += run.gone
        events += run.events
    for name, why in broken.items():
        healthy[name] = _said(name, "inactive", "error", why, 0, health.get(name), now)
    return Evaluation(kept=found, gone=gone, events=events, health=healthy)


def _with_intervals(
    source: Source, rules: Sequence[Rule], answers: Answers, now: datetime, lateness_s: float
) -> Answers:
    """Answers again, with intervals, to what rules ask that will have something to tell: by far the fewest."""
    telling: dict[Ask, Ask] = {}
    for rule in rules:
        if not isinstance(rule.condition, Band) or rule.condition.of.intervals:
            continue
        ask = rule.condition.of.ask(now, lateness_s)
        if not answers[ask].error and any(rule.condition.is_beyond(value) for value in answers[ask].values.values()):
            telling[ask] = replace(ask, intervals=True)
    if not telling:
        return {}
    again = source.answer(telling.values())
    return {plain: again[ask] for plain, ask in telling.items() if not again[ask].error}


class _Run:
    """One rule at one evaluation."""

    def __init__(self, rule: Rule | None, before: Iterable[Kept], now: datetime) -> None:
        self.rule = rule
        self.now = now
        self.before = {tuple(sorted(each.instance.group.items())): each for each in before}
        self.all_before = dict(self.before)
        self.found: dict[Key, Kept] = {}
        self.gone: list[Kept] = []
        self.events: list[Event] = []
        self.error = ""
        self.note = ""
        self.groups = 0

    def judge(self, answers: Answers, lateness_s: float) -> None:
        assert self.rule is not None
        try:
            judged = self.rule.condition.judge(self.now, lateness_s, answers)
        except (BadInput, ArithmeticError, ValueError) as error:
            judged = Judged(error=str(error))
        self.note = judged.note
        if judged.error:
            self._fail(judged.error)
            return
        there = [reading for reading in judged.readings if reading.seen is not Seen.NO_DATA]
        self.groups = len(there)
        if not there and self.rule.condition.asks(self.now, lateness_s) and self.rule.no_data != "ok":
            self._no_data(judged.readings)
            return
        try:
            for reading in there:
                self._see(reading)
        except BadInput as error:  # of a template
            self._fail(str(error))
            return
        self._miss(Seen.CLEAR if judged.complete else Seen.MISSING)

    def end_all(self) -> None:
        """Of a rule that was removed or switched off."""
        for each in self.before.values():
            track = each.track
            if track.alarming:
                track = replace(
                    track, state=State.INACTIVE, since=self.now, resolved_at=self.now, reason="rule_removed"
                )
            elif track.state is State.PENDING:
                track = replace(track, state=State.INACTIVE, since=self.now, active_at=None)
            self._keep(each, each.instance, track)

    def _see(self, reading: Reading) -> None:
        assert self.rule is not None
        if reading.seen is not Seen.BREACH and not self.before:
            return  # by far the most: nothing is known, and nothing is wrong
        group = dict(zip(self.rule.by, reading.group, strict=True))
        old = self.before.pop(tuple(sorted(group.items())), None)
        if old is None and reading.seen is not Seen.BREACH:
            return
        track = step(old.track if old else None, reading.seen, self.now, self.rule.timing)
        self._keep(old, self._instance(reading, group, old), track)

    def _miss(self, seen: Seen = Seen.MISSING) -> None:
        """Of groups that were not there this time."""
        assert self.rule is not None
        for each in self.before.values():
            self._keep(each, each.instance, step(each.track, seen, self.now, self.rule.timing))

    def _no_data(self, readings: Sequence[Reading]) -> None:
        assert self.rule is not None
        if self.rule.no_data == "keep":
            self._leave()
            return
        reading = readings[0] if readings else Reading(group=(), seen=Seen.NO_DATA, start=self.now, end=self.now)
        self._whole(Seen.NO_DATA, "there is no data", reading)

    def _fail(self, error: str) -> None:
        """States stay as they are, unless the rule says otherwise."""
        assert self.rule is not None
        self.error = error
        # As if no group had been looked at yet, also where the third of five failed.
        self.before = dict(self.all_before)
        self.found, self.events, self.gone = {}, [], []
        if self.rule.error == "ok":
            self._miss()
        elif self.rule.error == "alert":
            self._whole(Seen.ERROR, error, Reading(group=(), seen=Seen.ERROR, start=self.now, end=self.now), keep=True)
        else:
            self._leave()

    def _whole(self, seen: Seen, why: str, reading: Reading, *, keep: bool = False) -> None:
        """One alert for the rule as a whole."""
        assert self.rule is not None
        old = self.before.pop((), None)
        track = replace(step(old.track if old else None, seen, self.now, self.rule.timing), reason=why)
        if keep:
            self._leave()
        else:
            self._miss()
        self._keep(old, self._instance(replace(reading, group=(), detail=why), {}, old), track)

    def _leave(self) -> None:
        for each in self.before.values():
            self._keep(each, each.instance, each.track)

    def _keep(self, old: Kept | None, instance: Instance, track: Track) -> None:
        told = replace(
            instance,
            state=track.state,
            active_at=track.active_at,
            fired_at=track.fired_at,
            resolved_at=track.resolved_at,
            reason=track.reason,
        )
        kept = Kept(instance=told, track=track)
        before = old.track.state if old else State.INACTIVE
        if before is not track.state:
            active_at = track.active_at or (old.track.active_at if old else None) or self.now
            self.events.append(Event(before=before, kept=kept, at=self.now, active_at=active_at))
        if track.over(self.now):
            self.gone += [kept] if old else []
        else:
            self.found[kept.key] = kept

    def _instance(self, reading: Reading, group: Mapping[str, str], old: Kept | None) -> Instance:
        rule = self.rule
        assert rule is not None
        if old is not None:
            labels: Mapping[str, str] = old.instance.labels  # identity is given once
        else:
            own = {
                name: render_label(text, dict(zip(rule.by, reading.group, strict=False)))
                for name, text in rule.labels.items()
            }
            labels = {"alertname": rule.name, "severity": rule.severity, **own, **group}
        facts = _facts(rule, reading, labels)
        annotations = {name: render_annotation(text, facts) for name, text in rule.annotations.items()}
        return Instance(
            rule=rule.name,
            labels=labels,
            group=dict(group),
            state=State.INACTIVE,
            evaluated_at=self.now,
            window_start=reading.start or self.now,
            window_end=reading.end or self.now,
            kpi=rule.kpi,
            unit=rule.condition.unit,
            value=reading.value,
            low=reading.low,
            high=reading.high,
            n=reading.n,
            condition=rule.words,
            threshold=reading.threshold,
            summary=annotations.get("summary") or _summary(rule, reading, group),
            severity=rule.severity,
            receivers=rule.receivers,
            runbook=rule.runbook,
            annotations=annotations,
            where={name: list(values) for name, values in rule.where.items()},
        )


def _facts(rule: Rule, reading: Reading, labels: Mapping[str, str]) -> dict[str, object]:
    """What texts of a rule can use; numbers as they are written everywhere."""
    unit = rule.condition.unit
    groups = dict.fromkeys(rule.by, "") | dict(labels)
    return groups | {
        "value": amount_text(reading.value, unit),
        "threshold": amount_text(reading.threshold, unit),
        "low": amount_text(reading.low, unit),
        "high": amount_text(reading.high, unit),
        "n": reading.n,
        "unit": unit,
        "kpi": rule.kpi,
        "rule": rule.name,
        "window": f"{rule.window_s:g} s",
        "condition": rule.words,
        "detail": reading.detail,
    }


def _summary(rule: Rule, reading: Reading, group: Mapping[str, str]) -> str:
    where = ", ".join(f"{name} {value or '(unknown)'}" for name, value in group.items())
    place = f" ({where})" if where else ""
    detail = f"; {reading.detail}" if reading.detail else ""
    if not rule.kpi:
        return f"{rule.condition.words}{place}{': ' + reading.detail if reading.detail else ''}"
    if reading.seen in (Seen.NO_DATA, Seen.ERROR):
        return f"{rule.kpi}: {reading.detail}{place}"
    return f"{rule.kpi} is {amount_text(reading.value, rule.condition.unit)}{place}: {rule.words}{detail}"


def _told(kept: Kept) -> Instance | None:
    instance, track = kept.instance, kept.track
    if track.alarming:
        return instance
    if track.resolved_at is None:
        return None
    # One that is pending anew has ended all the same.
    return replace(instance, state=State.INACTIVE)


def _health(name: str, run: _Run, old: RuleHealth | None, now: datetime) -> RuleHealth:
    states = [each.track.state for each in run.found.values()]
    worst = min(states, key=_ORDER.index, default=State.INACTIVE)
    return _said(name, worst, "error" if run.error else "ok", run.error or run.note, run.groups, old, now)


def _said(
    name: str, state: str, health: str, why: str, instances: int, old: RuleHealth | None, now: datetime
) -> RuleHealth:
    since = old.since if old is not None and old.health == health else now
    return RuleHealth(
        rule=name, state=str(state), health=health, reason=why, since=since, evaluated_at=now, instances=instances
    )


def alarming(instances: Iterable[Instance]) -> Iterator[Instance]:
    """Those of which people are told now."""
    return (instance for instance in instances if instance.state in ALARMING)


__all__ = ["Evaluation", "alarming", "evaluate_rules", "fingerprint"]
