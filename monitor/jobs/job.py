"""What a scheduled job is: a name, an interval, and a function that may be run again at any time.

A job computes everything since its own watermark, never "the last hour": a run that was missed is made up by the next
one. It is idempotent: run twice, or by two processes at once, it leaves the same rows (tables that keep the newest
version of a key). It takes the time from its context alone, so that a test can say what time it is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from monitor.settings import Settings
from monitor.store import Client


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a run has at hand.

    Parameters
    ----------
    client : Client
        A handle of the store of its own, that may write.
    settings : Settings
    now : datetime
        Time of the run, in UTC.
    stop : threading.Event
        Set when the process ends: a run that takes long looks at it between two steps, and leaves the rest to the next.
    """

    client: Client
    settings: Settings
    now: datetime
    stop: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run did: rows written, and a remark for people (empty: nothing worth saying)."""

    rows: int = 0
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One declaration, used by the scheduler, the command line and the documentation alike.

    Parameters
    ----------
    name : str
        As in `monitor jobs run NAME` and in `jobs` of the configuration.
    meaning : str
        One sentence for people.
    every_s : float
        From one run to the next, unless configured otherwise.
    run : callable
        Raises what it cannot do; the scheduler records it, and no other job is stopped by it.
    """

    name: str
    meaning: str
    every_s: float
    run: Callable[[Context], Outcome]
