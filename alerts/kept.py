"""Tables `alert_state`, `alert_events`, `alert_health`: what is kept of alerts from one evaluation to the next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from alerts.model import Instance, State
from alerts.state import Track
from monitor.store import Client

Key = tuple[str, str]  # rule, fingerprint


@dataclass(frozen=True, kw_only=True)
class Kept:
    """An instance, and its clocks."""

    instance: Instance
    track: Track

    @property
    def key(self) -> Key:
        return self.instance.rule, self.instance.fingerprint


@dataclass(frozen=True, kw_only=True)
class Event:
    """A change of state."""

    before: State
    kept: Kept
    at: datetime
    active_at: datetime


@dataclass(frozen=True, kw_only=True)
class RuleHealth:
    """How a rule did: `ok`, `error` or `waiting`, with a reason; `state` is that of its worst instance."""

    rule: str
    state: str
    health: str
    reason: str
    since: datetime
    evaluated_at: datetime
    instances: int


_TRACK: Final = ("since", "active_at", "fired_at", "recovering_at", "quiet_since", "resolved_at", "missed", "reason")
_TIMES: Final = (
    "since", "active_at", "fired_at", "recovering_at", "quiet_since", "resolved_at", "evaluated_at", "window_start", "window_end",
)  # fmt: skip
_SAID: Final = (
    "kpi", "unit", "value", "low", "high", "n", "condition", "threshold", "summary", "severity",
)  # fmt: skip
_MORE: Final = ("receivers", "runbook", "annotations")
_STATE_COLUMNS: Final = (
    "rule", "fingerprint", "state", "labels", "grp", "where", *_TRACK, "evaluated_at", "window_start", "window_end", *_SAID,
    *_MORE,
)  # fmt: skip
_EVENT_COLUMNS: Final = (
    "at", "rule", "fingerprint", "before", "state", "active_at", "severity", "labels", "grp", "where", "kpi", "unit",
    "value", "low", "high", "n", "threshold", "condition", "summary", "reason",
)  # fmt: skip
_HEALTH_COLUMNS: Final = ("rule", "state", "health", "reason", "since", "evaluated_at", "instances")


def read_kept(client: Client) -> dict[Key, Kept]:
    """All instances that anything is kept of."""
    columns = ", ".join(f"`{name}`" for name in _STATE_COLUMNS)
    rows = client.query(f"SELECT {columns} FROM alert_state FINAL").result_rows
    found = (_kept(dict(zip(_STATE_COLUMNS, row, strict=True))) for row in rows)
    return {kept.key: kept for kept in found}


def write_kept(client: Client, kept: Iterable[Kept], gone: Iterable[Kept], *, version: int) -> None:
    """Write instances as they stand; of those that are `gone` nothing is kept."""
    rows = [[*_state_row(each), version, deleted] for each, deleted in _marked(kept, gone)]
    _insert(client, "alert_state", rows, (*_STATE_COLUMNS, "version", "deleted"))


def write_events(client: Client, events: Sequence[Event]) -> None:
    """Append changes of state; again with the same time, rule, instance and state it is the same change."""
    _insert(client, "alert_events", [_event_row(event) for event in events], _EVENT_COLUMNS)


def read_health(client: Client) -> dict[str, RuleHealth]:
    """Rule -> how it did at its last evaluation."""
    rows = client.query(f"SELECT {', '.join(_HEALTH_COLUMNS)} FROM alert_health FINAL").result_rows
    found = (_timed(dict(zip(_HEALTH_COLUMNS, row, strict=True))) for row in rows)
    return {values["rule"]: RuleHealth(**values) for values in found}


def next_version(client: Client, now: datetime) -> int:
    """Of rows that are written now: more than all before, also where another process's clock was ahead of this one's."""
    newest = int(client.query("SELECT max(version) FROM alert_health").result_rows[0][0] or 0)
    return max(int(now.timestamp() * 1000), newest + 1)


def write_health(client: Client, health: Iterable[RuleHealth], gone: Iterable[RuleHealth], *, version: int) -> None:
    rows = [
        [*(getattr(each, name) for name in _HEALTH_COLUMNS), version, deleted]
        for each, deleted in [*((each, 0) for each in health), *((each, 1) for each in gone)]
    ]
    _insert(client, "alert_health", rows, (*_HEALTH_COLUMNS, "version", "deleted"))


def _marked(kept: Iterable[Kept], gone: Iterable[Kept]) -> list[tuple[Kept, int]]:
    return [*((each, 0) for each in kept), *((each, 1) for each in gone)]


def _insert(client: Client, table: str, rows: Sequence[Sequence[Any]], columns: Sequence[str]) -> None:
    if rows:
        client.insert(table, rows, column_names=list(columns), settings={"async_insert": 0})


def _state_row(kept: Kept) -> list[Any]:
    instance, track = kept.instance, kept.track
    return [
        instance.rule,
        instance.fingerprint,
        str(track.state),
        dict(instance.labels),
        dict(instance.group),
        {key: list(values) for key, values in instance.where.items()},
        *(getattr(track, name) for name in _TRACK),
        instance.evaluated_at,
        instance.window_start,
        instance.window_end,
        *(getattr(instance, name) for name in _SAID),
        list(instance.receivers),
        instance.runbook,
        dict(instance.annotations),
    ]


def _event_row(event: Event) -> list[Any]:
    instance = event.kept.instance
    return [
        event.at,
        instance.rule,
        instance.fingerprint,
        str(event.before),
        str(event.kept.track.state),
        event.active_at,
        instance.severity,
        dict(instance.labels),
        dict(instance.group),
        {key: list(values) for key, values in instance.where.items()},
        instance.kpi,
        instance.unit,
        instance.value,
        instance.low,
        instance.high,
        instance.n,
        instance.threshold,
        instance.condition,
        instance.summary,
        event.kept.track.reason,
    ]


def _kept(row: dict[str, Any]) -> Kept:
    values = _timed(row)
    state = State(values["state"])
    track = Track(state=state, **{name: values[name] for name in _TRACK})
    instance = Instance(
        rule=values["rule"],
        labels=values["labels"],
        group=values["grp"],
        state=state,
        active_at=track.active_at,
        fired_at=track.fired_at,
        resolved_at=track.resolved_at,
        evaluated_at=values["evaluated_at"],
        window_start=values["window_start"],
        window_end=values["window_end"],
        reason=track.reason,
        where=values["where"],
        **{name: values[name] for name in (*_SAID, *_MORE)},
    )
    return Kept(instance=instance, track=track)


def _timed(row: dict[str, Any]) -> dict[str, Any]:
    """Times with their zone."""
    return row | {
        name: row[name].replace(tzinfo=UTC)
        if isinstance(row[name], datetime) and row[name].tzinfo is None
        else row[name]
        for name in _TIMES
        if name in row
    }


def by_rule(kept: Mapping[Key, Kept]) -> dict[str, list[Kept]]:
    """Instances of each rule."""
    found: dict[str, list[Kept]] = {}
    for each in kept.values():
        found.setdefault(each.instance.rule, []).append(each)
    return found
