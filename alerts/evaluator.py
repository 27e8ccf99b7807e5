"""Evaluates all rules against a store, as often as it is asked to; what it knows of alerts is in the store alone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from alerts.book import Book, known_from_store, make_book
from alerts.evaluate import Evaluation, evaluate_rules
from alerts.from_store import StoreSource
from alerts.health import with_health
from alerts.kept import next_version, read_health, read_kept, write_events, write_health, write_kept
from alerts.stored_rules import stored_rules
from monitor.kpis import parse_duration
from monitor.settings import Settings
from monitor.store import Client


class Evaluator:
    """One process's evaluation of one store. A new one goes on where another stopped."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.source = StoreSource(groups_max=settings.alerting.groups_max)
        self.lateness_s = _seconds(settings.alerting.lateness)

    def book(self, client: Client) -> Book:
        """All rules as they are now."""
        stored = {name: version.definition for name, version in stored_rules(client).items()}
        known = known_from_store(client, _names(self.settings, stored), every_s=every_s(self.settings))
        return make_book(self.settings, known, stored)

    def evaluate(self, client: Client, *, now: datetime) -> Evaluation:
        """Evaluate once, and write what came of it.

        States are written before anybody is told: who is killed in between evaluates again, and tells then.
        """
        book = self.book(client)
        kept, health = read_kept(client), read_health(client)
        self.source.client = client
        found = evaluate_rules(
            self.source,
            with_health(client, book.rules, health, now=now),
            kept,
            health,
            now=now,
            lateness_s=self.lateness_s,
            problems=book.broken,
        )
        # Events first: an event that is there twice is one; one that is not there is lost.
        write_events(client, found.events)
        version = next_version(client, now)
        changed = [each for key, each in found.kept.items() if kept.get(key) != each]
        write_kept(client, changed, found.gone, version=version)
        gone = [each for name, each in health.items() if name not in found.health]
        write_health(client, found.health.values(), gone, version=version)
        return found


def every_s(settings: Settings) -> float:
    """From one evaluation to the next, as configured."""
    given = settings.jobs.intervals.get("alerts")
    return _seconds(given) if given else 15.0


def _names(settings: Settings, stored: Mapping[str, Mapping[str, Any]]) -> list[str]:
    names = [rule.kpi for rule in settings.alerts] + [str(each.get("kpi", "")) for each in stored.values()]
    return [name for name in names if name]


def _seconds(text: str) -> float:
    return parse_duration(text).total_seconds() if text not in ("0", "0s") else 0.0
