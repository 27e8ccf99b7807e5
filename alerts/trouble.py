"""Channels that fail, as alerts of their own, told on other channels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from alerts.channels import Target
from alerts.model import Instance, State
from monitor.settings import RoutingSettings
from monitor.store import Client

RULE: Final = "notification-channel-failing"
# A message that waits so long is no hiccup.
LATE: Final = timedelta(minutes=2)
_RECENT: Final = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """One channel that fails: since when, why, and how many messages wait or are lost."""

    channel: str
    since: datetime
    reason: str
    waiting: int
    given_up: int


def troubles(client: Client, targets: Mapping[str, Target], now: datetime) -> list[Trouble]:
    """Channels whose oldest message waits for two minutes, that refused one since they last took one, that are gone, or that
    took the last one for some of the recipients alone."""
    query = (
        "SELECT channel, countIf(state = 'pending' AND attempts > 0 AND planned_at < {late:DateTime64(6, 'UTC')}) AS late_n,"
        " countIf(state = 'pending') AS waiting, maxIf(settled_at, state = 'sent') AS took_at,"
        " groupArrayIf((settled_at, toUnixTimestamp64Micro(planned_at), last_error, state, target), state IN ('failed', 'retired'))"
        " AS bad,"
        " toUnixTimestamp64Micro(minIf(planned_at, state = 'pending')),"
        " argMaxIf(last_error, planned_at, state = 'pending' AND attempts > 0)"
        " FROM (SELECT * FROM alert_outbox FINAL) WHERE planned_at > {since:DateTime64(6, 'UTC')} GROUP BY channel"
    )
    parameters = {"late": now - LATE, "since": now - _RECENT * 30}
    found = []
    partly = _partly(client, now)
    for channel, late, waiting, took_at, bad, oldest, error in client.query(query, parameters=parameters).result_rows:
        if channel not in targets:
            continue
        fingerprint = targets[channel].fingerprint
        lost = [
            each
            for each in bad
            if (each[3] == "retired" and each[4] == fingerprint)
            or (each[3] == "failed" and (took_at is None or each[0] > took_at) and _aware(each[0]) > now - _RECENT)
        ]
        if late or lost:
            since = min([*([oldest] if late else []), *(each[1] for each in lost)])
            words = lost[-1][2] if lost else error
            found.append(
                Trouble(channel=channel, since=_moment(since), reason=words, waiting=waiting, given_up=len(lost))
            )
        elif channel in partly:
            at, words = partly[channel]
            found.append(Trouble(channel=channel, since=at, reason=words, waiting=waiting, given_up=0))
    return found


def _partly(client: Client, now: datetime) -> dict[str, tuple[datetime, str]]:
    """Channels that took the last message for some of the recipients alone."""
    query = (
        "SELECT channel, toUnixTimestamp64Micro(max(sent_at)), argMax(detail, sent_at) AS said FROM notifications"
        " WHERE sent_at > {since:DateTime64(6, 'UTC')} GROUP BY channel HAVING said != ''"
    )
    rows = client.query(query, parameters={"since": now - _RECENT}).result_rows
    return {channel: (_moment(at), said) for channel, at, said in rows}


def instance_of(trouble: Trouble, now: datetime) -> Instance:
    """The alert that says so."""
    lost = f", {trouble.given_up} given up" if trouble.given_up else ""
    labels = {"alertname": RULE, "severity": "page", "channel": trouble.channel}
    return Instance(
        rule=RULE,
        labels=labels,
        group={"channel": trouble.channel},
        state=State.FIRING,
        active_at=trouble.since,
        fired_at=trouble.since,
        evaluated_at=now,
        window_start=min(trouble.since, now - timedelta(seconds=1)),
        window_end=now,
        condition="a message waits for 2 min, or is refused",
        summary=f"Alerts do not get through by {trouble.channel}: {trouble.reason} ({trouble.waiting} waiting{lost})",
        severity="page",
    )


def told_on(channel: str, targets: Mapping[str, Target], routing: RoutingSettings) -> list[Target]:
    """Where it is told that this channel fails: the fallback, else the receiver's other channels, else any other."""
    others = [target for target in targets.values() if target.name != channel]
    receiver = channel.rpartition("/")[0]
    for names in (routing.fallback, [receiver]):
        chosen = [target for target in others if target.receiver in names]
        if chosen:
            return chosen
    return others[:1]


def _moment(micros: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)


def _aware(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
