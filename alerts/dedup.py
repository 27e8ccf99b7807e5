"""Wait and dedup: whether a group is told now, given what the channel knows of it. The reason has a name."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from alerts.route import Way

Why = Literal["new", "more", "all_resolved", "resolved", "repeat", "nothing_new", "wait", "interval"]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What a channel knows of a group after the last message that was planned for it: fingerprints, and when."""

    firing: frozenset[str]
    resolved: frozenset[str] = frozenset()
    at: datetime
    pending: bool = False
    failed: bool = False


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether to tell, and why (not)."""

    notify: bool
    why: Why


def decide(
    last: Entry | None,
    *,
    firing: Collection[str],
    resolved: Collection[str],
    since: datetime | None,
    way: Way,
    send_resolved: bool,
    now: datetime,
) -> Verdict:
    """The decision of Alertmanager, for one group and one channel.

    Parameters
    ----------
    last : Entry, optional
        None if the group was never told here.
    firing, resolved : collection of str
        Fingerprints of its alerts that are to be told, as they stand now.
    since : datetime, optional
        When the first of the firing ones began to fire.
    way, send_resolved
        As configured.
    now : datetime

    Notes
    -----
    Alertmanager looks at a group at ticks that are `group_interval` apart. Here it is looked at in each evaluation, and
    what changed is told when `group_interval` has passed since the last message: never later than there, and never more
    often.
    """
    if last is None or not last.firing:  # a new group, or one that was over and begins again
        if not firing:
            return Verdict(notify=False, why="nothing_new")
        if since is not None and now < since + timedelta(seconds=way.group_wait_s):
            return Verdict(notify=False, why="wait")
        return Verdict(notify=True, why="new")
    why: Why | None = None
    if not set(firing) <= last.firing:
        why = "more"
    elif not firing:
        why = "all_resolved"
    elif send_resolved and not set(resolved) & last.firing <= last.resolved:
        why = "resolved"
    if why is not None:
        due = now >= last.at + timedelta(seconds=way.group_interval_s)
        return Verdict(notify=due, why=why if due else "interval")
    # What was given up is tried again with what is told next, or after the least time.
    if last.failed and now >= last.at + timedelta(seconds=way.group_interval_s):
        return Verdict(notify=True, why="repeat")
    # What waits to be sent needs no repetition.
    if not last.pending and now >= last.at + timedelta(seconds=way.repeat_interval_s):
        return Verdict(notify=True, why="repeat")
    return Verdict(notify=False, why="nothing_new")
