"""The states of an instance: a pure function of where it stood, what was seen, and what time it is.

```
             breach                    held for `for`
 inactive ───────────▶ pending ───────────────────────▶ firing ◀──┐ breach
     ▲                    │ not a breach                 │        │
     ├────────────────────┘                              │ clear  │
     │        clear for `keep_firing_for`                ▼        │
     └───────────────────────────────────────────── recovering ───┘
```

`no_data` and `error` are reached as `firing` is, where a rule asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from alerts.model import ALARMING, State
from alerts.reading import Seen
from alerts.rules import Timing

# So many evaluations in a row without a group end its alert.
MISSED_MAX: Final = 2
# So long the word is kept that an alert has ended.
RESOLVED_KEPT_S: Final = 900.0

_TARGET: Final = {Seen.BREACH: State.FIRING, Seen.NO_DATA: State.NO_DATA, Seen.ERROR: State.ERROR}


@dataclass(frozen=True, kw_only=True)
class Track:
    """Where an instance stands.

    Parameters
    ----------
    state : State
    since : datetime
        When this state began.
    active_at : datetime, optional
        Since when the condition holds; names the episode.
    fired_at, resolved_at : datetime, optional
        When the last alert began and ended.
    recovering_at : datetime, optional
        Since when the condition is over, while the alert goes on.
    quiet_since : datetime, optional
        Since when there is too little data to judge.
    missed : int
        Evaluations in a row that had no such group.
    reason : str
        Why it stands so, where the state does not say it.
    """

    state: State
    since: datetime
    active_at: datetime | None = None
    fired_at: datetime | None = None
    resolved_at: datetime | None = None
    recovering_at: datetime | None = None
    quiet_since: datetime | None = None
    missed: int = 0
    reason: str = ""

    @property
    def alarming(self) -> bool:
        return self.state in ALARMING

    def over(self, now: datetime) -> bool:
        """Whether there is nothing to keep: inactive, and the word of its end is out."""
        if self.state is not State.INACTIVE:
            return False
        return self.resolved_at is None or now - self.resolved_at >= timedelta(seconds=RESOLVED_KEPT_S)


def step(track: Track | None, seen: Seen, now: datetime, timing: Timing) -> Track:
    """Where the instance stands now.

    Parameters
    ----------
    track : Track, optional
        Where it stood; None for one that nothing is known of.
    seen : Seen
    now : datetime
        Time of the evaluation, not before that of the one before.
    timing : Timing
        The rule's clocks, as they are now: one that was raised meanwhile counts at once.
    """
    track = track or Track(state=State.INACTIVE, since=now)
    if seen in _TARGET:
        return _holds(track, _TARGET[seen], now, timing)
    if track.state is State.INACTIVE:
        return track
    if track.state is State.PENDING:
        return _to(replace(track, active_at=None), State.INACTIVE, now)
    return _not_holds(track, seen, now, timing)


def _holds(track: Track, target: State, now: datetime, timing: Timing) -> Track:
    wait = timedelta(seconds=timing.for_s)
    track = replace(track, missed=0, quiet_since=None, recovering_at=None, reason="")
    if track.state is State.INACTIVE:
        track = replace(track, active_at=now)
    active_at = track.active_at or now
    if now - active_at < wait:
        # Also of one that fired, when `for` was raised since: its alert ends.
        if track.alarming:
            track = replace(track, resolved_at=now, reason="for_raised")
        return _to(replace(track, active_at=active_at), State.PENDING, now)
    if not track.alarming:
        track = replace(track, fired_at=now)
    return _to(replace(track, active_at=active_at, resolved_at=None), target, now)


def _not_holds(track: Track, seen: Seen, now: datetime, timing: Timing) -> Track:
    """Of one that alarms."""
    if seen is Seen.MISSING:
        track = replace(track, missed=track.missed + 1, quiet_since=None)
        return _ending(track, "missing_series", now, timing) if track.missed >= MISSED_MAX else track
    track = replace(track, missed=0)
    if seen is Seen.TOO_FEW:
        quiet_since = track.quiet_since or now
        track = replace(track, quiet_since=quiet_since)
        long = now - quiet_since >= timedelta(seconds=timing.quiet_s)
        return _ending(track, "too_few_samples", now, timing) if long else track
    track = replace(track, quiet_since=None)
    # What had no data, or failed, and has data now and no breach, is over: there is no threshold to be near to.
    plain = track.state in (State.NO_DATA, State.ERROR)
    if seen is Seen.BETWEEN and not plain:
        return _to(replace(track, recovering_at=None, reason=""), State.FIRING, now)
    if plain:
        return _resolved(track, "", now)
    return _ending(track, "", now, timing)


def _ending(track: Track, reason: str, now: datetime, timing: Timing) -> Track:
    recovering_at = track.recovering_at or now
    if now - recovering_at >= timedelta(seconds=timing.keep_firing_for_s):
        return _resolved(track, reason, now)
    return _to(replace(track, recovering_at=recovering_at, reason=reason), State.RECOVERING, now)


def _resolved(track: Track, reason: str, now: datetime) -> Track:
    ended = replace(track, resolved_at=now, recovering_at=None, quiet_since=None, missed=0, reason=reason)
    return _to(ended, State.INACTIVE, now)


def _to(track: Track, state: State, now: datetime) -> Track:
    return track if track.state is state else replace(track, state=state, since=now)
