"""From instances to messages: route, group, inhibit, silence, maintenance, wait, dedup, compose, outbox, send.

Each evaluation begins from what the store holds: nothing is kept in memory from one to the next, so that a restart at any
moment neither forgets nor repeats.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Literal

from alerts import chart, outbox, slices, suspects, trouble
from alerts.channels import Target, targets_of
from alerts.dedup import decide
from alerts.inhibit import inhibited
from alerts.looks import what_looks_say
from alerts.maintenance import maintained
from alerts.message import Explained, Message, compose, subject_of, with_chart
from alerts.model import Instance, State
from alerts.outbox import Item, Known
from alerts.route import Group, Way, group, group_key, ways_of
from alerts.send import Sender, Tally
from alerts.silence import Silence, silenced
from alerts.silence_store import read_silences
from monitor.jobs.job import Context
from monitor.settings import Settings
from monitor.store.client import reason

logger = logging.getLogger(__name__)

# Alerts of one message whose slices are looked for: each takes a query over its window.
EXPLAINED_MAX: Final = 3


@dataclass(frozen=True, kw_only=True)
class Suppressed:
    """Why an alert is not told: by what, and which one."""

    by: Literal["inhibited", "silenced", "maintenance"]
    which: str


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What one evaluation led to: messages planned, sent at once, and alerts that are kept quiet."""

    planned: int = 0
    tally: Tally = field(default_factory=Tally)
    suppressed: Mapping[str, Suppressed]


def plan(context: Context, instances: Sequence[Instance]) -> Planned:
    """Plan and send what this evaluation calls for.

    Parameters
    ----------
    context : Context
        Of the job `alerts`: store, settings, the time.
    instances : sequence of Instance
        All that alarm, and all that were resolved in the last 15 minutes. One that a channel knows to fire and that is in
        neither is told as resolved.
    """
    settings, client, now = context.settings, context.client, context.now
    silences = read_silences(client, now=now)
    quiet = suppressed(instances, settings, silences, now)
    targets = targets_of(settings.receivers)
    if not targets:
        return Planned(suppressed=quiet)
    known = outbox.entries(client, now)
    maker = _Maker(context=context, silences=silences)
    count = 0
    for each, target in _all(instances, settings, targets, known, now, context):
        item = _next(each, target, known.get((each.key, target.name)), quiet, settings, maker, now)
        if item is not None:
            outbox.add(client, item)
            count += item.state == "pending"
    tally = Sender(client=client, settings=settings, now=now, first=True, stop=context.stop).run() if count else Tally()
    return Planned(planned=count, tally=tally, suppressed=quiet)


def suppressed(
    instances: Sequence[Instance], settings: Settings, silences: Sequence[Silence], now: datetime
) -> dict[str, Suppressed]:
    """Fingerprint of each alert that is kept quiet -> why."""
    routing = settings.routing
    found = {
        fingerprint: Suppressed(by="inhibited", which=by)
        for fingerprint, by in inhibited(instances, routing.inhibit).items()
    }
    for instance in instances:
        if (which := silenced(instance.labels, silences, now)) is not None:
            found.setdefault(instance.fingerprint, Suppressed(by="silenced", which=which))
        elif (which := maintained(instance.labels, routing.maintenance, now)) is not None:
            found.setdefault(instance.fingerprint, Suppressed(by="maintenance", which=which))
    return found


def _all(
    instances: Sequence[Instance],
    settings: Settings,
    targets: Mapping[str, Target],
    known: Mapping[tuple[str, str], Known],
    now: datetime,
    context: Context,
) -> list[tuple[Group, Target]]:
    """Each group with each channel that it concerns: those of now, those that a channel knows, and channels that fail."""
    found: dict[tuple[str, str], tuple[Group, Target]] = {}
    for each in group(instances, settings.routing, settings.receivers):
        for target in targets.values():
            if target.receiver == each.way.receiver:
                found[each.key, target.name] = (each, target)
    for failing in trouble.troubles(context.client, targets, now):
        instance = trouble.instance_of(failing, now)
        for target in trouble.told_on(failing.channel, targets, settings.routing):
            labels = {"alertname": trouble.RULE, "channel": failing.channel}
            key = group_key(target.receiver, labels)
            way = Way(receiver=target.receiver)
            found[key, target.name] = (Group(key=key, way=way, labels=labels, instances=(instance,)), target)
    for (key, name), entry in known.items():
        if (key, name) not in found and entry.entry.firing and name in targets:
            way = _way_of(entry, targets[name].receiver, settings)
            found[key, name] = (Group(key=key, way=way, labels={}, instances=()), targets[name])
    return list(found.values())


def _way_of(entry: Known, receiver: str, settings: Settings) -> Way:
    """How a group is told whose alerts are all gone."""
    for values in entry.instances.values():
        for way in ways_of(_read_instance(values), settings.routing, settings.receivers):
            if way.receiver == receiver:
                return way
    return Way(receiver=receiver)


def _next(
    each: Group,
    target: Target,
    known: Known | None,
    quiet: Mapping[str, Suppressed],
    settings: Settings,
    maker: _Maker,
    now: datetime,
) -> Item | None:
    """The next message of a group to a channel; a row without one where only what the channel knows is to be corrected."""
    last = known.entry if known is not None else None
    before = last.firing if last is not None else frozenset()
    alarming = {one.fingerprint: one for one in each.instances if one.alarming}
    firing = {key: one for key, one in alarming.items() if key not in quiet}
    # A channel goes on to know what it was told, though it is kept quiet now.
    carried = {key: one for key, one in alarming.items() if key in quiet and key in before}
    over = {one.fingerprint: one for one in each.instances if not one.alarming}
    ended = sorted(before - set(alarming))
    resolved = {}
    for key in ended:
        one = over.get(key)
        if one is None and known is not None and key in known.instances:
            one = _vanished(known.instances[key], now)
        if one is not None and not maker.is_quiet(one, quiet):
            resolved[key] = one
    receiver = settings.receivers[target.receiver]
    verdict = decide(
        last,
        firing=set(firing) | set(carried),
        resolved=set(resolved),
        since=min((one.fired_at or one.evaluated_at for one in firing.values()), default=None),
        way=each.way,
        send_resolved=receiver.send_resolved,
        now=now,
    )
    told = resolved if receiver.send_resolved else {}
    if verdict.notify and (firing or (told and verdict.why != "repeat")):
        return _item(each, target, known, verdict.why, firing, carried, told, maker, now)
    untold = verdict.notify and verdict.why == "all_resolved"
    unheard = set(ended) if untold else set(ended) - set(resolved)
    if not unheard or (last is not None and last.pending):
        return None
    # Ended while it was kept quiet, or where ends are not told: it must be news when it begins again.
    left = before - unheard
    assert known is not None, "nothing was known to fire otherwise"
    return Item(
        group_key=each.key,
        channel=target.name,
        seq=known.seq + 1,
        planned_at=now,
        why="cleared",
        firing=tuple(sorted(left)),
        known=_dump({key: value for key, value in known.instances.items() if key in left}),
        thread=known.thread,
        subject=known.subject,
        target=target.fingerprint,
        state="cleared",
        next_at=now,
        settled_at=now,
    )


def _item(
    each: Group,
    target: Target,
    known: Known | None,
    why: str,
    firing: Mapping[str, Instance],
    carried: Mapping[str, Instance],
    resolved: Mapping[str, Instance],
    maker: _Maker,
    now: datetime,
) -> Item:
    goes_on = known is not None and known.entry.firing
    message = maker.message(each.key, list(firing.values()), list(resolved.values()), pictured=target.kind == "email")
    subject = (
        known.subject
        if known is not None and goes_on
        else subject_of(list(firing.values()) or list(resolved.values()), message.severity)
    )
    thread = known.thread if known is not None and goes_on else f"{each.key} {now.isoformat()}"
    stays = {**firing, **carried}
    return Item(
        group_key=each.key,
        channel=target.name,
        seq=(known.seq if known is not None else 0) + 1,
        planned_at=now,
        why=why,
        firing=tuple(sorted(stays)),
        resolved=tuple(sorted(resolved)),
        known=_dump({key: _write_instance(one) for key, one in stays.items()}),
        thread=thread,
        subject=subject,
        message=_dump(message.as_json()),
        target=target.fingerprint,
        next_at=now,
    )


@dataclass(kw_only=True)
class _Maker:
    """Makes messages; what explains a group is found out once, for all channels."""

    context: Context
    silences: Sequence[Silence]

    def is_quiet(self, instance: Instance, quiet: Mapping[str, Suppressed]) -> bool:
        """Whether nothing is to be said of it; one that vanished was not among those that were looked at."""
        settings, now = self.context.settings, self.context.now
        return instance.fingerprint in quiet or bool(suppressed([instance], settings, self.silences, now))

    def __post_init__(self) -> None:
        self._explained: dict[str, Explained] = {}
        self._charts: dict[str, str] = {}

    def message(self, key: str, firing: Sequence[Instance], resolved: Sequence[Instance], *, pictured: bool) -> Message:
        context = self.context
        first = compose(
            firing=firing,
            resolved=resolved,
            explained={},
            dashboard_url=context.settings.routing.dashboard_url,
            now=context.now,
        )
        by_key = {one.fingerprint: one for one in (*firing, *resolved)}
        shown = [by_key[told.fingerprint] for told in first.alerts]
        explained = {one.fingerprint: self._explain(one) for one in shown[:EXPLAINED_MAX] if one.alarming}
        message = compose(
            firing=firing,
            resolved=resolved,
            explained=explained,
            dashboard_url=context.settings.routing.dashboard_url,
            now=context.now,
        )
        picture = self._chart(shown[0]) if pictured and shown else ""
        return with_chart(message, picture, chart.words_of(shown[0])) if picture else message

    def _explain(self, instance: Instance) -> Explained:
        if instance.fingerprint not in self._explained:
            self._explained[instance.fingerprint] = explain(self.context, instance)
        return self._explained[instance.fingerprint]

    def _chart(self, instance: Instance) -> str:
        if instance.fingerprint not in self._charts:
            try:
                changes = suspects.suspects(self.context.client, instance)
                self._charts[instance.fingerprint] = chart.draw(self.context.client, instance, changes)
            except Exception as error:  # an alert without its picture is an alert
                logger.info("no chart of %s: %s", instance.rule, reason(error))
                self._charts[instance.fingerprint] = ""
        return self._charts[instance.fingerprint]


def explain(context: Context, instance: Instance) -> Explained:
    """Slices and changes in words; an alert is told without them where they cannot be found out."""
    lines: list[str] = []
    changes: list[str] = []
    try:
        lines = what_looks_say(context.client, instance)
        lines = lines or slices.in_words(slices.explain(context.client, instance), instance)
    except Exception as error:
        logger.info("no slices of %s: %s", instance.rule, reason(error))
    try:
        changes = [suspects.in_words(one, instance) for one in suspects.suspects(context.client, instance)]
    except Exception as error:
        logger.info("no changes before %s: %s", instance.rule, reason(error))
    return Explained(slices=lines, changes=changes)


def _vanished(values: Mapping[str, Any], now: datetime) -> Instance:
    """An alert that nothing more is said of, as it was last told."""
    return replace(_read_instance(values), state=State.INACTIVE, resolved_at=now, evaluated_at=now, reason="missing")


def _write_instance(instance: Instance) -> dict[str, Any]:
    return {
        key: value.isoformat() if isinstance(value, datetime) else dict(value) if isinstance(value, Mapping) else value
        for key, value in asdict(instance).items()
    }


def _read_instance(values: Mapping[str, Any]) -> Instance:
    moments = ("active_at", "fired_at", "resolved_at", "evaluated_at", "window_start", "window_end")
    read: dict[str, Any] = {
        key: datetime.fromisoformat(value) if key in moments and value else value for key, value in values.items()
    }
    return Instance(**{**read, "state": State(values["state"])})


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
