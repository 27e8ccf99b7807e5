"""Table `alert_marks`: what people say of alerts, and what it says of rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from monitor.errors import BadInput
from monitor.store import Client

Kind = Literal["ack", "verdict"]
_COLUMNS: Final = ("rule", "fingerprint", "active_at", "kind", "mark", "author", "comment", "at")
TEXT_MAX: Final = 1000


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One mark: of the kind `ack` (somebody is on it), or `verdict` (`true` or `false`: was it right to fire?)."""

    rule: str
    fingerprint: str
    active_at: datetime
    kind: Kind
    mark: str
    author: str
    comment: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Precision:
    """How often a rule fired, and how often that was right, of what was marked."""

    rule: str
    fired: int
    right: int
    wrong: int

    @property
    def share(self) -> float | None:
        """Right ones among those marked; None without a mark."""
        marked = self.right + self.wrong
        return self.right / marked if marked else None


def write_mark(
    client: Client,
    fingerprint: str,
    *,
    kind: Kind,
    mark: str,
    author: str,
    comment: str,
    now: datetime,
    active_at: datetime | None = None,
) -> Mark:
    """Mark the newest episode of an alert, or that which began at `active_at`; the front of its fingerprint is enough.

    Raises
    ------
    BadInput
        If there is no such alert, or several, or the mark is none.
    """
    if kind == "verdict" and mark not in ("true", "false"):
        raise BadInput(f"`{mark}` is no verdict; an alert was `true` (right to fire) or `false`")
    if len(author) > TEXT_MAX or len(comment) > TEXT_MAX:
        raise BadInput(f"author and comment have at most {TEXT_MAX} characters each")
    rule, whole, newest = _episode(client, fingerprint, active_at)
    written = Mark(
        rule=rule,
        fingerprint=whole,
        active_at=newest,
        kind=kind,
        mark=mark,
        author=author,
        comment=comment,
        at=now.astimezone(UTC),
    )
    row = [getattr(written, name) for name in _COLUMNS]
    client.insert("alert_marks", [row], column_names=list(_COLUMNS), settings={"async_insert": 0})
    return written


def read_marks(client: Client, *, kind: Kind) -> dict[tuple[str, datetime], Mark]:
    """Fingerprint and begin of the episode -> newest mark of this kind."""
    query = f"SELECT {', '.join(_COLUMNS)} FROM alert_marks FINAL WHERE kind = {{kind:String}}"
    marks = [
        _mark(dict(zip(_COLUMNS, row, strict=True)))
        for row in client.query(query, parameters={"kind": kind}).result_rows
    ]
    return {(mark.fingerprint, mark.active_at): mark for mark in marks}


def precision(client: Client, *, since: timedelta, now: datetime) -> list[Precision]:
    """Of each rule that fired in the time of this length, by name."""
    rows = client.query(
        "SELECT rule, uniqExact(fingerprint, active_at), uniqExactIf((fingerprint, active_at), verdict = 'true'),"
        " uniqExactIf((fingerprint, active_at), verdict = 'false') FROM"
        " (SELECT rule, fingerprint, active_at FROM alert_events FINAL WHERE state IN ('firing', 'no_data', 'error')"
        " AND at > {since:DateTime64(6, 'UTC')}) AS fired"
        " LEFT JOIN (SELECT fingerprint, active_at, mark AS verdict FROM alert_marks FINAL WHERE kind = 'verdict') AS marks"
        " USING (fingerprint, active_at) GROUP BY rule ORDER BY rule",
        parameters={"since": now - since},
    ).result_rows
    return [
        Precision(rule=str(rule), fired=int(fired), right=int(right), wrong=int(wrong))
        for rule, fired, right, wrong in rows
    ]


def _episode(client: Client, fingerprint: str, active_at: datetime | None) -> tuple[str, str, datetime]:
    if len(fingerprint) < 4 or not fingerprint.isalnum():
        raise BadInput(f"`{fingerprint}` is no fingerprint; `monitor alerts` shows them; four digits of one are enough")
    rows = client.query(
        "SELECT fingerprint, argMax(rule, at), argMax(active_at, at) FROM alert_events FINAL"
        " WHERE startsWith(fingerprint, {front:String})"
        " AND ({any:Bool} OR active_at = fromUnixTimestamp64Micro({began:Int64})) GROUP BY fingerprint LIMIT 2",
        parameters={
            "front": fingerprint,
            "any": active_at is None,
            "began": 0 if active_at is None else _microseconds(active_at),
        },
    ).result_rows
    if not rows:
        raise BadInput(
            f"there is no alert with the fingerprint `{fingerprint}`; `monitor alerts` shows which there are"
        )
    if len(rows) > 1:
        raise BadInput(f"several alerts have fingerprints that begin with `{fingerprint}`; give more of it")
    whole, rule, active_at = rows[0]
    return str(rule), str(whole), active_at.replace(tzinfo=UTC)


def _microseconds(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _mark(row: Mapping[str, Any]) -> Mark:
    times = {name: row[name].replace(tzinfo=UTC) for name in ("active_at", "at")}
    return Mark(**{**row, **times})
