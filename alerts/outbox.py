"""What is to be told and what became of it, in the store: no process knows anything that a restart would forget.

A message to one channel on one group is number `seq` in the order of that group there. Its key is made of group, channel and
number, and the insert carries the key as its token: of two evaluators that plan the same number one has it.

To send it, a process begins an attempt: it adds a row to `alert_sends` with the token `key:attempt`, reads it back, and has
the attempt if the row is its own, as with the claims of jobs. What a process that was killed in the middle has begun stays
claimed for `CLAIM_S`; then the next attempt begins, and its message says that it is possibly repeated, unless the
notification log tells that the channel took the first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from alerts.dedup import Entry
from alerts.message import Message, from_json
from alerts.outcome import Delivery
from monitor.store import Client

# Longer than any attempt takes (see the channels' time-outs, at most 60 s for each step that waits).
CLAIM_S: Final = 180.0
# What was told longer ago is forgotten; repeats come within 5 days.
REACH: Final = timedelta(days=30)
State = Literal["pending", "sent", "failed", "retired", "cleared"]
_RANK: Final[Mapping[str, int]] = {"pending": 1, "failed": 7, "retired": 8, "sent": 9, "cleared": 9}
_COLUMNS: Final = (
    "key", "group_key", "channel", "seq", "planned_at", "why", "firing", "resolved", "known", "thread", "subject", "message",
    "target", "state", "attempts", "next_at", "settled_at", "last_error",
)  # fmt: skip
_LIGHT: Final = tuple(name for name in _COLUMNS if name not in ("message", "known"))


@dataclass(frozen=True, kw_only=True)
class Item:
    """A row of `alert_outbox`."""

    group_key: str
    channel: str
    seq: int
    planned_at: datetime
    why: str
    firing: tuple[str, ...] = ()
    resolved: tuple[str, ...] = ()
    known: str = ""
    thread: str = ""
    subject: str = ""
    message: str = ""
    target: str = ""
    state: State = "pending"
    attempts: int = 0
    next_at: datetime
    settled_at: datetime | None = None
    last_error: str = ""

    @property
    def key(self) -> str:
        text = json.dumps([self.group_key, self.channel, self.seq], ensure_ascii=False)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    @property
    def version(self) -> int:
        return self.attempts * 10 + (0 if not self.attempts and self.state == "pending" else _RANK[self.state])

    @property
    def receiver(self) -> str:
        return self.channel.rpartition("/")[0]

    def delivery(self, *, at: datetime, timeout_s: float | None, possibly_repeated: bool) -> Delivery:
        return Delivery(
            key=self.key,
            thread=self.thread,
            subject=self.subject,
            at=at,
            timeout_s=timeout_s,
            possibly_repeated=possibly_repeated,
        )

    def read(self) -> Message:
        return from_json(json.loads(self.message))


@dataclass(frozen=True, kw_only=True)
class Known:
    """What a channel knows of a group: the newest entry, and what is needed to go on from it."""

    entry: Entry
    seq: int
    thread: str
    subject: str
    instances: Mapping[str, Any] = field(default_factory=dict)


def entries(client: Client, now: datetime) -> dict[tuple[str, str], Known]:
    """(group, channel) -> what that channel knows of that group."""
    query = (
        "SELECT group_key, channel, max(seq), argMax(firing, seq), argMax(resolved, seq), argMax(known, seq),"
        " argMax(thread, seq), argMax(subject, seq), argMax(state, seq), toUnixTimestamp64Micro(maxIf(planned_at, state != 'cleared'))"
        " FROM alert_outbox FINAL WHERE planned_at > {since:DateTime64(6, 'UTC')} GROUP BY group_key, channel"
    )
    found = {}
    for row in client.query(query, parameters={"since": now - REACH}).result_rows:
        group_key, channel, seq, firing, resolved, known, thread, subject, state, at = row
        entry = Entry(
            firing=frozenset(firing),
            resolved=frozenset(resolved),
            at=_moment(at),
            pending=state == "pending",
            failed=state == "failed",
        )
        instances = json.loads(known) if known else {}
        found[group_key, channel] = Known(entry=entry, seq=seq, thread=thread, subject=subject, instances=instances)
    return found


def add(client: Client, item: Item) -> None:
    """Plan a message; who plans the same number again changes nothing."""
    _write(client, item)


def pending(client: Client, now: datetime) -> list[Item]:
    """All that waits, oldest first, without the messages themselves."""
    return _read(client, _LIGHT, "state = 'pending' AND planned_at > {since:DateTime64(6, 'UTC')}", since=now - REACH)


def whole(client: Client, item: Item) -> Item | None:
    """The same with its message, as it stands now; None if it waits no more."""
    found = _read(
        client,
        _COLUMNS,
        "key = {key:String} AND planned_at = fromUnixTimestamp64Micro({at:Int64}, 'UTC')",
        key=item.key,
        at=_micros(item.planned_at),
    )
    return next((each for each in found if each.state == "pending"), None)


@dataclass(frozen=True, kw_only=True)
class Begun:
    """An attempt that is this process's own."""

    attempt: int
    doubtful: bool  # an earlier one was begun, and nobody knows what became of it


def begin(client: Client, item: Item, *, holder: str, claim_s: float = CLAIM_S) -> Begun | None:
    """Take the next attempt of a message; None if another process has it."""
    query = (
        "SELECT attempt, holder, (toUnixTimestamp64Micro(now64(6)) - toUnixTimestamp64Micro(at)) / 1e6 FROM alert_sends"
        " WHERE key = {key:String} ORDER BY attempt DESC, at, holder LIMIT 1"
    )
    rows = client.query(query, parameters={"key": item.key}).result_rows
    last, _, age_s = rows[0] if rows else (0, "", 0.0)
    if last > item.attempts and age_s < claim_s:
        return None
    attempt = max(int(last), item.attempts) + 1
    client.insert(
        "alert_sends",
        [[item.key, attempt, holder]],
        column_names=["key", "attempt", "holder"],
        settings={"async_insert": 0, "insert_deduplication_token": f"{item.key}:{attempt}"},
    )
    rows = client.query(query, parameters={"key": item.key}).result_rows
    if not rows or (rows[0][0], rows[0][1]) != (attempt, holder):
        return None
    return Begun(attempt=attempt, doubtful=last > item.attempts)


def was_sent(client: Client, key: str) -> bool:
    """Whether the log says that a channel took it."""
    query = "SELECT count() FROM notifications WHERE key = {key:String}"
    return bool(client.query(query, parameters={"key": key}).result_rows[0][0])


def log(client: Client, item: Item, *, at: datetime, attempt: int, possibly_repeated: bool, detail: str) -> None:
    """Write that a channel took it."""
    row = {
        "sent_at": at,
        "key": item.key,
        "group_key": item.group_key,
        "channel": item.channel,
        "seq": item.seq,
        "why": item.why,
        "subject": item.subject,
        "firing": list(item.firing),
        "resolved": list(item.resolved),
        "attempt": attempt,
        "possibly_repeated": possibly_repeated,
        "detail": detail,
    }
    client.insert("notifications", [list(row.values())], column_names=list(row), settings={"async_insert": 0})


def settle(
    client: Client,
    item: Item,
    *,
    attempt: int,
    state: State,
    at: datetime,
    next_at: datetime | None = None,
    error: str = "",
) -> Item:
    """Write what became of an attempt."""
    settled = replace(
        item,
        attempts=attempt,
        state=state,
        settled_at=None if state == "pending" else at,
        next_at=next_at or item.next_at,
        last_error=error[:1000],
    )
    _write(client, settled)
    return settled


def retired_targets(client: Client, now: datetime) -> set[tuple[str, str]]:
    """(channel, target) of addresses that are gone."""
    query = (
        "SELECT DISTINCT channel, target FROM alert_outbox FINAL"
        " WHERE state = 'retired' AND planned_at > {since:DateTime64(6, 'UTC')}"
    )
    rows = client.query(query, parameters={"since": now - REACH}).result_rows
    return {(channel, target) for channel, target in rows}


def _write(client: Client, item: Item) -> None:
    row: dict[str, Any] = {"key": item.key, "version": item.version}
    row |= {name: getattr(item, name) for name in _COLUMNS if name != "key"}
    row["firing"], row["resolved"] = list(item.firing), list(item.resolved)
    client.insert(
        "alert_outbox",
        [list(row.values())],
        column_names=list(row),
        settings={"async_insert": 0, "insert_deduplication_token": f"{item.key}:{item.version}"},
    )


def _read(client: Client, columns: tuple[str, ...], condition: str, **parameters: Any) -> list[Item]:
    moments = ("planned_at", "next_at", "settled_at")
    selected = ", ".join(
        f"toUnixTimestamp64Micro({name}) AS {name}_us" if name in moments else name for name in columns
    )
    # Filtered after FINAL: an older version must not be found by a state that it no longer has.
    query = (
        f"SELECT {selected} FROM (SELECT * FROM alert_outbox FINAL) WHERE {condition} ORDER BY planned_at, channel, seq"
    )
    items = []
    for row in client.query(query, parameters=parameters).result_rows:
        values = dict(zip(columns, row, strict=True))
        values.pop("key")
        for name in moments:
            values[name] = None if values[name] is None else _moment(values[name])
        values["firing"], values["resolved"] = tuple(values["firing"]), tuple(values["resolved"])
        items.append(Item(**values))
    return items


def _micros(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _moment(micros: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
