"""Calls at will, and evaluations by a clock that the test sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from alerts.evaluate import Evaluation
from alerts.evaluator import Evaluator
from monitor.settings import Settings
from monitor.store import Client

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def settings(*rules: Mapping[str, Any], defaults: bool = False, **sections: Any) -> Settings:
    """Settings with these rules, and without lateness: tests write calls at once."""
    alerting = {"defaults": defaults, "lateness": "0s", **sections.pop("alerting", {})}
    receivers = {"oncall": {"webhook": {"url": "http://127.0.0.1:9/"}}}
    return Settings.model_validate({"alerts": list(rules), "alerting": alerting, "receivers": receivers, **sections})


def calls(
    client: Client,
    start_s: float,
    end_s: float,
    *,
    every_s: float = 1.0,
    ttft_s: float = 0.2,
    error_share: float = 0.0,
    **columns: Any,
) -> None:
    """One call every so often, from `start_s` up to and without `end_s`; of errors, the share is kept to exactly."""
    fields = {"node": "gpu-1", "model": "llama", "service": "chat", **columns}
    rows, owed, count = [], 0.0, round((end_s - start_s) / every_s)
    for index in range(count):
        moment = at(start_s + index * every_s)
        owed += error_share
        failed = owed >= 1 - 1e-9
        owed -= 1.0 if failed else 0.0
        identity = f"{fields['node']}{moment.timestamp():.3f}"
        rows.append(
            [moment, identity, identity, "client", ttft_s, ttft_s + 1, "timeout" if failed else "", *fields.values()]
        )
    names = ["timestamp", "trace_id", "span_id", "role", "ttft_s", "duration_s", "error_type", *fields]
    client.insert("inferences", rows, column_names=names)


class Clock:
    """Evaluates at the given times; `restart`: by a new evaluator each time, as after a crash."""

    def __init__(self, client: Client, settings: Settings, *, restart: bool = False) -> None:
        self.client = client
        self.restart = restart
        self.settings = settings
        self.evaluator = Evaluator(settings)

    def evaluate(self, seconds: float) -> Evaluation:
        if self.restart:
            self.evaluator = Evaluator(self.settings)
        return self.evaluator.evaluate(self.client, now=at(seconds))

    def states(self, seconds: float) -> dict[tuple[str, ...], str]:
        """Rule and group values -> state, of all that is kept."""
        found = self.evaluate(seconds)
        return {
            (kept.instance.rule, *kept.instance.group.values()): str(kept.track.state) for kept in found.kept.values()
        }


def events(client: Client) -> Sequence[tuple[Any, ...]]:
    """Time in seconds, rule, group values, before, state, reason."""
    rows = client.query(
        "SELECT toUnixTimestamp64Micro(at), rule, mapValues(grp), before, state, reason FROM alert_events FINAL ORDER BY at, rule, grp"
    ).result_rows
    return [
        (micros / 1e6 - T0.timestamp(), rule, *group, before, state, reason)
        for micros, rule, group, before, state, reason in rows
    ]
