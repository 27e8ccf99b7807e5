"""Whose turn a job is: what any kind of lease offers, when a job is due, and the lease of a store with one process."""

from __future__ import annotations

import math
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Literal, Protocol

from monitor.jobs.runs import Run, newest_run
from monitor.store import Client

State = Literal["running", "ok", "failed", "abandoned"]

# A run that failed is tried again after this long, or when its next one is due.
RETRY_S: Final = 60.0
# Processes wake up for a job together, as far apart as their clocks are: what began this much early belongs to the turn.
TOLERANCE_S: Final = 2.0


@dataclass(frozen=True, kw_only=True)
class Last:
    """The newest turn of a job, of whichever process.

    Attributes
    ----------
    round : int
        Grows by each turn.
    since_claim_s, since_sign_s : float
        Age of its begin, and of the last sign of life (or of its end), by one clock: the store's.
    """

    round: int
    holder: str
    state: State
    since_claim_s: float
    since_sign_s: float


@dataclass(kw_only=True)
class Turn:
    """A turn that this process has.

    Attributes
    ----------
    valid_until : float
        `time.monotonic()` until which nobody else can have taken over; grows by each renewal.
    """

    job: str
    round: int
    holder: str
    valid_until: float = math.inf
    claimed_ms: int = 0
    step: int = 0

    @property
    def token(self) -> str:
        """Which turn it is; rows that a run leaves can carry it."""
        return f"{self.job}:{self.round}"


class Lease(Protocol):
    """How processes share jobs. All may raise what the store says."""

    lease_s: float

    def last(self, job: str) -> Last | None:
        """The newest turn; None if there never was one."""

    def take(self, job: str, after: Last | None) -> Turn | None:
        """The turn after that one; None if another process has it."""

    def renew(self, turn: Turn) -> bool:
        """A sign of life; False if the turn is lost."""

    def end(self, turn: Turn, state: State) -> None:
        """Give the turn back."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Whether to run now, and if not, when to look again before the next interval begins (None: not before)."""

    run: bool
    why: Literal["due", "taken over", "not due", "busy", "failed lately", "stopping"]
    again_s: float | None = None


def decide(last: Last | None, *, job: str, every_s: float, lease_s: float, now: datetime) -> Decision:
    """Whether a job is to be run by whoever asks.

    Time is cut into intervals of `every_s`, the same for all processes, and a job has one run in each. Ages are used and
    not times, so that only the clocks of processes are compared, and these with a tolerance.
    """
    if last is None:
        return Decision(run=True, why="due")
    if last.state == "running":
        left_s = lease_s - last.since_sign_s
        if left_s >= 0:
            return Decision(run=False, why="busy", again_s=left_s + 0.05 if left_s < math.inf else None)
        return Decision(run=True, why="taken over")
    if last.state == "abandoned":
        return Decision(run=True, why="taken over")
    now_s = now.timestamp()
    if slot(job, every_s, now_s) > slot(job, every_s, now_s - last.since_claim_s):
        return Decision(run=True, why="due")
    if last.state == "failed":
        left_s = RETRY_S - last.since_sign_s
        return (
            Decision(run=True, why="due") if left_s <= 0 else Decision(run=False, why="failed lately", again_s=left_s)
        )
    return Decision(run=False, why="not due")


def slot(job: str, every_s: float, at_s: float) -> int:
    """Number of the interval in which this time lies."""
    return math.floor((at_s - offset_s(job, every_s) + min(every_s / 4, TOLERANCE_S)) / every_s)


def offset_s(job: str, every_s: float) -> float:
    """Where in its interval a job runs: the same in each process, and spread, so that not all jobs begin at once."""
    return zlib.crc32(job.encode()) % 1000 / 1000 * min(every_s / 10, 5.0)


@dataclass
class LocalLease:
    """Of the embedded store, which one process has: every turn is free, and what was before is in `job_runs`."""

    connect: Callable[[], Client]
    holder: str
    lease_s: float = math.inf
    _turns: dict[str, tuple[State, float, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def last(self, job: str) -> Last | None:
        with self._lock:
            if job not in self._turns:
                run = self._before(job)
                if run is None:
                    return None
                ended_at = run.ended_at or run.started_at
                # Still running there, and no process but this one: it was killed.
                state: State = "abandoned" if run.state == "running" else run.state
                self._turns[job] = (state, run.started_at.timestamp(), ended_at.timestamp())
            state, claimed_s, seen_s = self._turns[job]
        now_s = time.time()
        return Last(
            round=round(claimed_s * 1000),
            holder=self.holder,
            state=state,
            since_claim_s=now_s - claimed_s,
            since_sign_s=now_s - seen_s,
        )

    def _before(self, job: str) -> Run | None:
        client = self.connect()
        try:
            return newest_run(client, job)
        finally:
            client.close()

    def take(self, job: str, after: Last | None) -> Turn | None:
        now_s = time.time()
        with self._lock:
            held = self._turns.get(job)
            if held is not None and held[0] == "running":
                return None
            self._turns[job] = ("running", now_s, now_s)
        return Turn(job=job, round=round(now_s * 1000), holder=self.holder)

    def renew(self, turn: Turn) -> bool:
        return True

    def end(self, turn: Turn, state: State) -> None:
        with self._lock:
            _, claimed_s, _ = self._turns[turn.job]
            self._turns[turn.job] = (state, claimed_s, time.time())


def utc_now() -> datetime:
    return datetime.now(UTC)
