"""Silences: what somebody wants to hear nothing of for a while."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal

from monitor.errors import BadInput
from monitor.settings.matchers import Matcher, all_hold, parse_matchers

Status = Literal["pending", "active", "expired"]
_TEXT_MAX: Final = 1000
_MATCHERS_MAX: Final = 20


@dataclass(frozen=True, kw_only=True)
class Silence:
    """Alerts that meet all matchers are not told from `starts_at` up to, and without, `ends_at`."""

    id: str
    matchers: tuple[Matcher, ...]
    starts_at: datetime
    ends_at: datetime
    created_by: str
    comment: str
    created_at: datetime
    updated_at: datetime

    def status(self, now: datetime) -> Status:
        return "pending" if now < self.starts_at else "active" if now < self.ends_at else "expired"

    def as_json(self, now: datetime) -> dict[str, Any]:
        moments = {
            name: getattr(self, name).isoformat() for name in ("starts_at", "ends_at", "created_at", "updated_at")
        }
        return {
            "id": self.id,
            "status": self.status(now),
            "matchers": [str(matcher) for matcher in self.matchers],
            "created_by": self.created_by,
            "comment": self.comment,
            **moments,
        }


def make(
    *,
    matchers: Iterable[str],
    starts_at: datetime | None,
    ends_at: datetime,
    created_by: str,
    comment: str,
    now: datetime,
    id: str | None = None,
) -> Silence:
    """A new silence, checked.

    Raises
    ------
    BadInput
        Without a matcher that asks for something, an author or a comment, with a time that is over or has no zone, or
        with a text that is too long.
    """
    try:
        parsed = parse_matchers(matchers)
    except ValueError as error:
        raise BadInput(str(error)) from None
    begin = now if starts_at is None else starts_at
    if begin.tzinfo is None or ends_at.tzinfo is None:
        raise BadInput("a silence's time has no time zone; write it as 2026-01-31T12:00:00Z")
    begin = max(begin, now)  # what was told is told
    if all(matcher.holds({}) for matcher in parsed):
        raise BadInput(
            "a silence needs a matcher that asks for a label, such as node=gpu-1; otherwise it would hold for all"
        )
    if len(parsed) > _MATCHERS_MAX:
        raise BadInput(f"a silence has at most {_MATCHERS_MAX} matchers, not {len(parsed)}")
    if ends_at <= begin:
        raise BadInput(f"the silence would be over already: it ends at {ends_at.isoformat()}")
    for what, text in (("comment", comment), ("author", created_by)):
        if not text.strip():
            raise BadInput(f"a silence needs {'a comment: why' if what == 'comment' else 'an author: who'}")
        if len(text) > _TEXT_MAX:
            raise BadInput(f"the silence's {what} has more than {_TEXT_MAX} characters")
    return Silence(
        id=id or secrets.token_hex(8),
        matchers=parsed,
        starts_at=begin,
        ends_at=ends_at,
        created_by=created_by.strip(),
        comment=comment.strip(),
        created_at=now,
        updated_at=now,
    )


def change(old: Silence, new: Silence, *, now: datetime) -> list[Silence]:
    """What to write when `old` is to become `new`: in place where that changes nothing of the past, else the old one ends.

    Raises
    ------
    BadInput
        If the old one is over: it is history.
    """
    status = old.status(now)
    if status == "expired":
        raise BadInput(f"the silence {old.id} is over and cannot be changed; make a new one")
    same = old.matchers == new.matchers
    in_place = same and (status == "pending" or new.starts_at <= now)
    if not in_place:
        return [expire(old, now=now), replace(new, id=secrets.token_hex(8))]
    starts_at = new.starts_at if status == "pending" else old.starts_at
    return [replace(new, id=old.id, starts_at=starts_at, created_at=old.created_at, updated_at=now)]


def expire(silence: Silence, *, now: datetime) -> Silence:
    """The same, ended now; one that had not begun never begins.

    Raises
    ------
    BadInput
        If it is over already.
    """
    if silence.status(now) == "expired":
        raise BadInput(f"the silence {silence.id} is over already")
    return replace(silence, starts_at=min(silence.starts_at, now), ends_at=now, updated_at=now)


def silenced(labels: Mapping[str, str], silences: Sequence[Silence], now: datetime) -> str | None:
    """Id of the first silence that keeps such an alert quiet now; None if there is none."""
    for silence in silences:
        if silence.status(now) == "active" and all_hold(silence.matchers, labels):
            return silence.id
    return None
