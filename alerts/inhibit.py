"""Inhibit: alerts that are not told while another one fires that makes them superfluous."""

from __future__ import annotations

from collections.abc import Sequence

from alerts.model import Instance
from monitor.settings.matchers import all_hold, parse_matchers
from monitor.settings.routing import InhibitSettings


def inhibited(instances: Sequence[Instance], rules: Sequence[InhibitSettings]) -> dict[str, str]:
    """Fingerprint of each alert that is kept quiet -> that of the alert that does it.

    As in Alertmanager: a label that is missing equals an empty one; an alert that fits both sides is not kept quiet by
    one that does as well, so never by itself.
    """
    found: dict[str, str] = {}
    for rule in rules:
        source, target = parse_matchers(rule.source), parse_matchers(rule.target)
        sources: dict[tuple[str, ...], list[tuple[Instance, bool]]] = {}
        for instance in instances:
            if instance.alarming and all_hold(source, instance.labels):
                equal = tuple(instance.labels.get(name, "") for name in rule.equal)
                sources.setdefault(equal, []).append((instance, all_hold(target, instance.labels)))
        for instance in instances:
            if not all_hold(target, instance.labels):
                continue
            two_sided = all_hold(source, instance.labels)
            for other, also_target in sources.get(tuple(instance.labels.get(name, "") for name in rule.equal), []):
                if other.fingerprint != instance.fingerprint and not (two_sided and also_target):
                    found.setdefault(instance.fingerprint, other.fingerprint)
                    break
    return found
