"""How Inference Monitor itself does, for rules of the kind `health`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from alerts.conditions.plain import Health
from alerts.kept import RuleHealth
from alerts.rules import Rule
from monitor.store import Client

# A run that fails once is made up a minute later; who fails so often in a row does not come back by itself.
_FAILURES: Final = 3
_LOOK_BACK: Final = timedelta(days=2)
_WAITING_MAX: Final = timedelta(minutes=10)
_OUTBOX: Final = "alert_outbox"


def with_health(
    client: Client, rules: Sequence[Rule], health: Mapping[str, RuleHealth], *, now: datetime
) -> list[Rule]:
    """The rules, those of the kind `health` with what is not well now."""
    return [_looked_at(client, rule, health, now) if isinstance(rule.condition, Health) else rule for rule in rules]


def _looked_at(client: Client, rule: Rule, health: Mapping[str, RuleHealth], now: datetime) -> Rule:
    condition = rule.condition
    assert isinstance(condition, Health)
    if condition.of == "jobs":
        unwell = failing_jobs(client, now=now)
    elif condition.of == "rules":
        unwell = {name: each.reason for name, each in health.items() if each.health == "error" and name != rule.name}
    else:
        unwell = late_notifications(client, now=now)
    return replace(rule, condition=replace(condition, unwell=unwell))


def failing_jobs(client: Client, *, now: datetime) -> dict[str, str]:
    """Job -> why it fails, of those whose last three runs failed."""
    rows = client.query(
        "SELECT job, groupArray(state) AS states, any(error) FROM (SELECT job, state, error FROM job_runs FINAL"
        " WHERE state IN ('ok', 'failed') AND started_at > {since:DateTime64(6, 'UTC')}"
        " ORDER BY started_at DESC LIMIT {most:UInt8} BY job) GROUP BY job",
        parameters={"since": now - _LOOK_BACK, "most": _FAILURES},
    ).result_rows
    return {
        str(job): str(error)
        for job, states, error in rows
        if len(states) == _FAILURES and all(state == "failed" for state in states)
    }


def late_notifications(client: Client, *, now: datetime) -> dict[str, str]:
    """Receiver -> why, of those to whom something has waited for ten minutes; none without a table of them."""
    if not client.command(f"EXISTS TABLE {_OUTBOX}"):
        return {}
    rows = client.query(
        f"SELECT channel, count(), min(planned_at), anyLast(last_error) FROM {_OUTBOX} FINAL WHERE state = 'pending'"
        " AND planned_at < {late:DateTime64(6, 'UTC')} GROUP BY channel ORDER BY channel",
        parameters={"late": now - _WAITING_MAX},
    ).result_rows
    return {
        str(
            channel
        ): f"{count} messages wait, the oldest since {oldest:%Y-%m-%d %H:%M:%S} UTC{f': {error}' if error else ''}"
        for channel, count, oldest, error in rows
    }
