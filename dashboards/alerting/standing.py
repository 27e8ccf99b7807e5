"""What the store knows of alerts beside their states: silences, marks, health of rules, what was sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import pandas as pd

from dashboards.data import kept
from monitor.kpis import Window
from monitor.settings.matchers import all_hold, parse_matchers
from monitor.store import Client

ROWS_MAX: Final = 500


@dataclass(frozen=True, kw_only=True)
class Silence:
    """Alerts that meet all matchers are not told from `starts_at` to `ends_at`."""

    id: str
    matchers: tuple[str, ...]
    starts_at: datetime
    ends_at: datetime
    created_by: str
    comment: str

    def status(self, now: datetime) -> str:
        """`pending`, `active` or `expired`."""
        return "pending" if now < self.starts_at else "active" if now < self.ends_at else "expired"

    def holds(self, labels: Mapping[str, str]) -> bool:
        return all_hold(parse_matchers(self.matchers), labels)


@dataclass(frozen=True, kw_only=True)
class Said:
    """What somebody said of an alert: `mark` is `true` or `false` of a verdict, and empty of an acknowledgement."""

    mark: str
    author: str
    comment: str
    at: datetime


@kept
def silences(client: Client) -> list[Silence]:
    """Those that hold, will hold, or ended in the last week; those that end last come first."""
    rows = client.query(
        "SELECT id, matchers, starts_at, ends_at, created_by, comment FROM silences FINAL"
        f" WHERE ends_at > now() - INTERVAL 7 DAY ORDER BY ends_at DESC, id LIMIT {ROWS_MAX}"
    ).result_rows
    return [
        Silence(
            id=id,
            matchers=tuple(matchers),
            starts_at=starts_at.replace(tzinfo=UTC),
            ends_at=ends_at.replace(tzinfo=UTC),
            created_by=created_by,
            comment=comment,
        )
        for id, matchers, starts_at, ends_at, created_by, comment in rows
    ]


def silence_of(labels: Mapping[str, str], known: list[Silence], now: datetime) -> Silence | None:
    """The one that keeps such an alert quiet now."""
    return next((each for each in known if each.status(now) == "active" and each.holds(labels)), None)


@kept
def marks(client: Client, kind: str) -> dict[tuple[str, datetime], Said]:
    """Fingerprint and begin of an alert -> the newest mark of this kind, `ack` or `verdict`."""
    rows = client.query(
        "SELECT fingerprint, active_at, mark, author, comment, at FROM alert_marks FINAL WHERE kind = {kind:String}"
        " AND active_at > now() - INTERVAL 120 DAY LIMIT 20000",
        parameters={"kind": kind},
    ).result_rows
    return {
        (str(fingerprint), active_at.replace(tzinfo=UTC)): Said(
            mark=str(mark), author=author, comment=comment, at=at.replace(tzinfo=UTC)
        )
        for fingerprint, active_at, mark, author, comment, at in rows
    }


@kept
def health(client: Client) -> pd.DataFrame:
    """How rules did when they were evaluated last: `rule, state, health, reason, since, evaluated_at, instances`."""
    columns = ["rule", "state", "health", "reason", "since", "evaluated_at", "instances"]
    rows = client.query(f"SELECT {', '.join(columns)} FROM alert_health FINAL ORDER BY rule LIMIT 5000").result_rows
    frame = pd.DataFrame(rows, columns=columns)
    for name in ("since", "evaluated_at"):
        frame[name] = pd.to_datetime(frame[name], utc=True)
    return frame


@kept
def sent(client: Client, window: Window) -> pd.DataFrame:
    """Messages that channels took: `sent_at, channel, why, subject, firing, resolved, attempt, possibly_repeated`."""
    columns = ["sent_at", "channel", "why", "subject", "firing", "resolved", "attempt", "possibly_repeated"]
    rows = client.query(
        "SELECT sent_at, channel, why, subject, length(firing), length(resolved), attempt, possibly_repeated"
        " FROM notifications FINAL WHERE sent_at >= {start:DateTime64(6, 'UTC')} AND sent_at < {end:DateTime64(6, 'UTC')}"
        f" ORDER BY sent_at DESC LIMIT {ROWS_MAX}",
        parameters={"start": window.start, "end": window.end},
    ).result_rows
    frame = pd.DataFrame(rows, columns=columns)
    frame["sent_at"] = pd.to_datetime(frame["sent_at"], utc=True)
    return frame


@kept
def unsent(client: Client, window: Window) -> pd.DataFrame:
    """Messages that wait, and those given up in the window: `planned_at, channel, subject, state, attempts, next_at, last_error`."""
    columns = ["planned_at", "channel", "subject", "state", "attempts", "next_at", "last_error"]
    rows = client.query(
        f"SELECT {', '.join(columns)} FROM alert_outbox FINAL WHERE state = 'pending' OR (state IN ('failed', 'retired')"
        " AND planned_at >= {start:DateTime64(6, 'UTC')} AND planned_at < {end:DateTime64(6, 'UTC')})"
        f" ORDER BY state = 'pending' DESC, planned_at DESC LIMIT {ROWS_MAX}",
        parameters={"start": window.start, "end": window.end},
    ).result_rows
    frame = pd.DataFrame(rows, columns=columns)
    for name in ("planned_at", "next_at"):
        frame[name] = pd.to_datetime(frame[name], utc=True)
    return frame
