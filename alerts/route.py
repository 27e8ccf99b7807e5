"""Route and group: who is told of an alert, and together with which others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from alerts.model import Instance, fingerprint
from monitor.settings import ReceiverSettings, RoutingSettings
from monitor.settings.durations import seconds_of
from monitor.settings.matchers import all_hold, parse_matchers
from monitor.settings.routing import RouteSettings

ALL_LABELS: Final = "..."
# By rule: a mail for each rule, with its groups in it. Alertmanager's own default is one group of everything.
GROUP_BY: Final = ("alertname",)
# None: one evaluation sees all rules, so that a group is whole when it is first seen.
GROUP_WAIT_S: Final = 0.0
GROUP_INTERVAL_S: Final = 300.0
REPEAT_INTERVAL_S: Final = 4 * 3600.0


@dataclass(frozen=True, kw_only=True)
class Way:
    """Where an alert goes by one route, and how it is grouped there."""

    receiver: str
    group_by: tuple[str, ...] = GROUP_BY
    group_wait_s: float = GROUP_WAIT_S
    group_interval_s: float = GROUP_INTERVAL_S
    repeat_interval_s: float = REPEAT_INTERVAL_S

    def labels_of(self, instance: Instance) -> dict[str, str]:
        """The labels that tell this alert's group from others; a missing label is an empty one."""
        if ALL_LABELS in self.group_by:
            return dict(sorted(instance.labels.items()))
        return {name: instance.labels.get(name, "") for name in self.group_by}


@dataclass(frozen=True, kw_only=True)
class Group:
    """Alerts that are told together to one receiver."""

    key: str
    way: Way
    labels: Mapping[str, str]
    instances: tuple[Instance, ...]


def ways_of(instance: Instance, routing: RoutingSettings, receivers: Mapping[str, ReceiverSettings]) -> list[Way]:
    """All ways of an alert, each receiver once: by its own rule, and by the routes.

    The first route that fits is taken, and of its inner routes the first that fits; `continue` tries the next one as well.
    """
    found: dict[str, Way] = {}
    for names, settings in (
        *_taken(instance.labels, routing.routes, tuple(routing.receivers), ()),
        (tuple(instance.receivers), ()),
    ):
        for name in names:
            if name in receivers:
                found.setdefault(name, _way(name, (receivers[name], *settings)))
    return list(found.values())


Taken = tuple[tuple[str, ...], tuple[RouteSettings, ...]]


def _taken(
    labels: Mapping[str, str], routes: Sequence[RouteSettings], names: tuple[str, ...], above: tuple[RouteSettings, ...]
) -> list[Taken]:
    """Receivers, and the routes that led to them, outermost first."""
    found: list[Taken] = []
    for route in routes:
        if not all_hold(parse_matchers(route.matchers), labels):
            continue
        found += _taken(labels, route.routes, tuple(route.receivers) or names, (*above, route))
        if not route.continue_:
            break
    return found or [(names, above)]


def _way(receiver: str, settings: Sequence[ReceiverSettings | RouteSettings]) -> Way:
    """What is said last, counts: on the receiver, then from the outer route to the inner."""
    given: dict[str, object] = {}
    for each in settings:
        if each.group_by is not None:
            given["group_by"] = tuple(each.group_by)
        for key in ("group_wait", "group_interval", "repeat_interval"):
            if (text := getattr(each, key)) is not None:
                given[f"{key}_s"] = seconds_of(text)
    return Way(receiver=receiver, **given)  # type: ignore[arg-type]


def group(
    instances: Sequence[Instance], routing: RoutingSettings, receivers: Mapping[str, ReceiverSettings]
) -> list[Group]:
    """All groups, in the order in which their first alert comes."""
    found: dict[str, tuple[Way, dict[str, str], list[Instance]]] = {}
    for instance in instances:
        for way in ways_of(instance, routing, receivers):
            labels = way.labels_of(instance)
            key = group_key(way.receiver, labels)
            found.setdefault(key, (way, labels, []))[2].append(instance)
    return [
        Group(key=key, way=way, labels=labels, instances=tuple(members))
        for key, (way, labels, members) in found.items()
    ]


def group_key(receiver: str, labels: Mapping[str, str]) -> str:
    """`receiver:hash`: the same for the same labels, whatever else is in the group."""
    return f"{receiver}:{fingerprint(labels)}"
