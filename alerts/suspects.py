"""What was changed shortly before an alert began, and concerns its calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from alerts.model import Instance
from monitor.store import Client
from monitor.store.changes import Change, changes_between

BEFORE: Final = timedelta(hours=2)
SHOWN: Final = 5


def suspects(client: Client, instance: Instance) -> list[Change]:
    """Changes from two hours before the alert began until it was evaluated, the newest first."""
    began = instance.active_at or instance.window_start
    start = min(began, instance.window_start) - BEFORE
    found = changes_between(client, start, instance.evaluated_at + timedelta(seconds=1))
    return [change for change in reversed(found) if concerns(change.where, instance)][:SHOWN]


def concerns(where: Mapping[str, Sequence[str]], instance: Instance) -> bool:
    """Whether a change to these calls may touch the alert's: no dimension says that they are others."""
    for key, values in where.items():
        own = [instance.group[key]] if key in instance.group else list(instance.where.get(key, ()))
        if own and values and not set(own) & set(values):
            return False
    return True


def in_words(change: Change, instance: Instance) -> str:
    """`deploy 1.4 (deploy, by ci) 12 min before it began`."""
    began = instance.active_at or instance.window_start
    by = f", by {change.author}" if change.author else ""
    where = "".join(f", {key} {' or '.join(values)}" for key, values in change.where.items())
    link = f" {change.link}" if change.link else ""
    return f"{change.title} ({change.kind}{by}{where}) {_distance(change.timestamp, began)}{link}"


def _distance(moment: datetime, began: datetime) -> str:
    minutes = (began - moment).total_seconds() / 60
    words = "before" if minutes >= 0 else "after"
    length = f"{abs(minutes):.0f} min" if abs(minutes) < 120 else f"{abs(minutes) / 60:.1f} h"
    return f"{length} {words} it began"
