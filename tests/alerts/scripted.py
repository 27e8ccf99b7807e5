"""A scripted clock for the pipeline: what alarms at which second, and what is told by then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from alerts.model import Instance, State
from alerts.pipeline import Planned, plan
from alerts.send import Sender, Tally
from monitor.jobs.job import Context
from monitor.settings import Settings
from monitor.store import Client

START = datetime(2026, 5, 6, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def alert(
    rule: str = "slow",
    *,
    since: float = 0,
    over: float | None = None,
    severity: str = "page",
    now: float = 0,
    receivers: Sequence[str] = (),
    **group: str,
) -> Instance:
    """One that fires since so many seconds, or was over at `over`."""
    more: dict[str, Any] = {"severity": severity}
    return Instance(
        rule=rule,
        labels={"alertname": rule, "severity": severity, **group},
        group=group,
        state=State.FIRING if over is None else State.INACTIVE,
        active_at=at(since),
        fired_at=at(since),
        resolved_at=None if over is None else at(over),
        evaluated_at=at(now),
        window_start=at(now - 300),
        window_end=at(now),
        kpi="latency.ttft.p95",
        unit="s",
        value=0.9,
        low=0.8,
        high=1.0,
        n=1234,
        condition="above 0.5 s for 1m",
        threshold=0.5,
        summary=f"{rule} is slow",
        receivers=receivers,
        **more,
    )


class Script:
    """One store, one configuration; each step is a process of its own, which remembers nothing."""

    def __init__(self, client: Client, receivers: Mapping[str, Any], routing: Mapping[str, Any] | None = None) -> None:
        self.client = client
        names = list(receivers)
        self.settings = Settings(receivers=receivers, routing=routing or {"receivers": names[:1]})

    def evaluate(self, seconds: float, *instances: Instance) -> Planned:
        return plan(Context(client=self.client, settings=self.settings, now=at(seconds)), list(instances))

    def notify(self, seconds: float, **options: Any) -> Tally:
        options.setdefault("claim_s", 0.0)
        options.setdefault("jitter", lambda: 0.0)
        return Sender(client=self.client, settings=self.settings, now=at(seconds), **options).run()
