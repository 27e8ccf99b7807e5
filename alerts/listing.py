"""Alerts and rules as they stand, for people and programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from alerts.kept import Kept, RuleHealth, read_health, read_kept
from alerts.marks import Mark, read_marks
from alerts.model import State
from alerts.quantity import amount_text
from monitor.store import Client

_ORDER = (State.FIRING, State.ERROR, State.NO_DATA, State.RECOVERING, State.PENDING, State.INACTIVE)


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One instance, with who is on it."""

    kept: Kept
    ack: Mark | None

    def as_json(self) -> dict[str, Any]:
        """Plain data; times in ISO 8601, UTC."""
        instance, track = self.kept.instance, self.kept.track
        return {
            "fingerprint": instance.fingerprint,
            "rule": instance.rule,
            "state": str(track.state),
            "resolved": track.state is State.INACTIVE,
            "severity": instance.severity,
            "labels": dict(instance.labels),
            "group": dict(instance.group),
            "where": {key: list(values) for key, values in instance.where.items()},
            "since": _iso(track.since),
            "active_at": _iso(track.active_at),
            "fired_at": _iso(track.fired_at),
            "resolved_at": _iso(track.resolved_at),
            "evaluated_at": _iso(instance.evaluated_at),
            "window_start": _iso(instance.window_start),
            "window_end": _iso(instance.window_end),
            "kpi": instance.kpi,
            "unit": instance.unit,
            "value": instance.value,
            "low": instance.low,
            "high": instance.high,
            "n": instance.n,
            "threshold": instance.threshold,
            "condition": instance.condition,
            "summary": instance.summary,
            "reason": instance.reason,
            "receivers": list(instance.receivers),
            "runbook": instance.runbook,
            "annotations": dict(instance.annotations),
            "acknowledged_by": self.ack.author if self.ack else None,
            "acknowledged_at": _iso(self.ack.at) if self.ack else None,
        }

    @property
    def value_text(self) -> str:
        return amount_text(self.kept.instance.value, self.kept.instance.unit)

    @property
    def threshold_text(self) -> str:
        return amount_text(self.kept.instance.threshold, self.kept.instance.unit)


def listed(client: Client) -> list[Listed]:
    """What alarms first, then what is pending, then what ended lately; newest first."""
    acks = read_marks(client, kind="ack")
    found = [_with_ack(kept, acks) for kept in read_kept(client).values()]
    return sorted(
        found, key=lambda each: (_ORDER.index(each.kept.track.state), -each.kept.track.since.timestamp(), each.kept.key)
    )


def rules_json(client: Client) -> list[dict[str, Any]]:
    """Each rule's state and health, by name."""
    return [_rule_json(health) for _, health in sorted(read_health(client).items())]


def counts(found: Sequence[Listed]) -> dict[str, int]:
    """How many instances are in each state, of those that are in any."""
    states = [str(each.kept.track.state) for each in found]
    return {state: states.count(state) for state in dict.fromkeys(states)}


def _with_ack(kept: Kept, acks: dict[tuple[str, datetime], Mark]) -> Listed:
    active_at = kept.track.active_at
    ack = acks.get((kept.instance.fingerprint, active_at)) if active_at is not None else None
    return Listed(kept=kept, ack=ack)


def _rule_json(health: RuleHealth) -> dict[str, Any]:
    return {
        "rule": health.rule,
        "state": health.state,
        "health": health.health,
        "reason": health.reason,
        "since": _iso(health.since),
        "evaluated_at": _iso(health.evaluated_at),
        "instances": health.instances,
    }


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment is not None else None
