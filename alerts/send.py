"""Send what is due: every channel by itself, each group's messages in order, with retries that wait longer and longer."""

from __future__ import annotations

import logging
import os
import random
import secrets
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from alerts import outbox
from alerts.channels import Target, targets_of
from alerts.outbox import CLAIM_S, Item
from alerts.outcome import Refused, Retired, TryLater
from monitor.errors import MonitorError
from monitor.settings import Settings
from monitor.settings.durations import seconds_of
from monitor.store import Client
from monitor.store.client import reason

logger = logging.getLogger(__name__)

FIRST_WAIT_S: Final = 5.0
LONGEST_WAIT_S: Final = 300.0
# The first try belongs to the evaluation, which must not be held up by a channel that hangs.
FIRST_TIMEOUT_S: Final = 5.0
FIRST_ITEMS_MAX: Final = 5
ITEMS_MAX: Final = 30
# A channel that failed so often in one run is left alone until the next.
_FAILURES_MAX: Final = 2
_PARALLEL: Final = 8


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What a run did."""

    sent: int = 0
    later: int = 0
    failed: int = 0


@dataclass(kw_only=True)
class Sender:
    """One run of sending.

    Parameters
    ----------
    client : Client
    settings : Settings
    now : datetime
        Time of the run.
    first : bool
        Only what was never tried, with short time-outs.
    stop : threading.Event
    claim_s : float
        Silence after which the attempt of another process counts as dead.
    after_sent : callable, optional
        Called between a channel's word and the log: where a test kills the process.
    """

    client: Client
    settings: Settings
    now: datetime
    first: bool = False
    stop: threading.Event = field(default_factory=threading.Event)
    claim_s: float = CLAIM_S
    after_sent: Callable[[], None] | None = None
    jitter: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        self._holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._lock = threading.Lock()  # of the client: a handle is one conversation
        self._begun = time.monotonic()

    def run(self) -> Tally:
        """Send what is due; what cannot be sent now stays for a later run."""
        waiting = outbox.pending(self.client, self.now)
        if not waiting:
            return Tally()
        targets = targets_of(self.settings.receivers)
        retired = outbox.retired_targets(self.client, self.now)
        queues: dict[str, list[Item]] = {}
        for item in waiting:
            queues.setdefault(item.channel, []).append(item)
        with ThreadPoolExecutor(max_workers=min(_PARALLEL, len(queues)), thread_name_prefix="notify") as pool:
            futures = [
                pool.submit(self._channel, targets.get(name), queue, retired) for name, queue in sorted(queues.items())
            ]
            tallies = [future.result() for future in futures]
        return Tally(
            sent=sum(each.sent for each in tallies),
            later=sum(each.later for each in tallies),
            failed=sum(each.failed for each in tallies),
        )

    def _channel(self, target: Target | None, queue: list[Item], retired: set[tuple[str, str]]) -> Tally:
        """One channel's queue, in order; a group's next message waits for the one before it."""
        counts = {"sent": 0, "later": 0, "failed": 0}
        held: set[str] = set()
        failures = tried = 0
        for again in (False, True):
            if again and (not counts["sent"] or self.first):
                break  # nothing says that the channel answers again
            for item in queue:
                full = tried >= (FIRST_ITEMS_MAX if self.first else ITEMS_MAX)
                if self.stop.is_set() or failures >= _FAILURES_MAX or full:
                    break
                due = item.next_at <= self.now or again
                if item.group_key in held or not due or (self.first and item.attempts):
                    held.add(item.group_key)
                    continue
                if tried and target is not None and target.spacing_s:
                    time.sleep(target.spacing_s)
                tried += 1
                became = self._item(target, item, retired)
                if became in counts:
                    counts[became] += 1
                failures += became == "later"
                if became in ("later", "taken"):
                    held.add(item.group_key)
            queue = [item for item in queue if item.group_key in held and item.attempts]
            held = set()
        return Tally(**counts)

    def _item(self, target: Target | None, item: Item, retired: set[tuple[str, str]]) -> str:
        try:
            return self._attempt(target, item, retired)
        except Exception as error:  # the store is away, or an error of ours: the message stays where it is
            logger.warning("a message for %s stays in the outbox: %s", item.channel, reason(error))
            return "later"

    def _attempt(self, target: Target | None, item: Item, retired: set[tuple[str, str]]) -> str:
        with self._lock:
            begun = outbox.begin(self.client, item, holder=self._holder, claim_s=self.claim_s)
            if begun is None:
                return "taken"
            if (begun.doubtful or item.attempts) and outbox.was_sent(self.client, item.key):
                self._settle(item, begun.attempt, "sent")
                return "sent"
            full = outbox.whole(self.client, item)
        if full is None:
            return "taken"
        gone = self._impossible(target, full, retired)
        if gone is not None:
            with self._lock:
                self._settle(full, begun.attempt, *gone)
            return "failed"
        assert target is not None, "said above"
        repeated = begun.doubtful or full.last_error.startswith(_DOUBT)
        timeout_s = FIRST_TIMEOUT_S if self.first else None
        delivery = full.delivery(at=self._time(), timeout_s=timeout_s, possibly_repeated=repeated)
        try:
            detail = target.send(full.read(), delivery)
        except Exception as error:
            with self._lock:
                return self._not_sent(full, begun.attempt, error, repeated=repeated, retired=retired)
        if self.after_sent is not None:
            self.after_sent()
        with self._lock:
            outbox.log(
                self.client,
                full,
                at=self._time(),
                attempt=begun.attempt,
                possibly_repeated=repeated,
                detail=detail,
            )
            self._settle(full, begun.attempt, "sent")
        if detail:
            logger.warning("%s took a message, but: %s", item.channel, detail)
        return "sent"

    def _impossible(
        self, target: Target | None, item: Item, retired: set[tuple[str, str]]
    ) -> tuple[outbox.State, str] | None:
        """Why it is of no use to try."""
        if target is None:
            return "failed", "the configuration has no such channel any more"
        if (target.name, target.fingerprint) in retired:
            return "retired", "the address is gone, as said before; set a new one"
        limit_s = seconds_of(self.settings.routing.give_up_after)
        if (self.now - item.planned_at).total_seconds() > limit_s:
            return "failed", f"given up after {self.settings.routing.give_up_after}: {item.last_error}"
        return None

    def _not_sent(
        self, item: Item, attempt: int, error: Exception, *, repeated: bool, retired: set[tuple[str, str]]
    ) -> str:
        if not isinstance(error, MonitorError):
            logger.exception("sending through %s failed unexpectedly", item.channel)
        # Texts of errors that are not ours may hold an address, which is a secret.
        words = str(error) if isinstance(error, MonitorError) else type(error).__name__
        if isinstance(error, Retired):
            retired.add((item.channel, item.target))
        if isinstance(error, Refused):
            self._settle(item, attempt, "retired" if isinstance(error, Retired) else "failed", words)
            logger.warning("%s will not take a message: %s", item.channel, words)
            return "failed"
        doubtful = repeated or (isinstance(error, TryLater) and error.doubtful)
        asked_s = error.retry_after_s if isinstance(error, TryLater) else None
        wait_s = max(backoff_s(attempt, self.jitter()), asked_s or 0.0)
        next_at = self._time() + timedelta(seconds=wait_s)
        self._settle(item, attempt, "pending", f"{_DOUBT if doubtful else ''}{words}", next_at)
        logger.info("%s: %s; again in %.0f s", item.channel, words, wait_s)
        return "later"

    def _settle(
        self, item: Item, attempt: int, state: outbox.State, error: str = "", next_at: datetime | None = None
    ) -> None:
        outbox.settle(self.client, item, attempt=attempt, state=state, at=self._time(), next_at=next_at, error=error)

    def _time(self) -> datetime:
        """The time of the run, and what went by since."""
        return self.now + timedelta(seconds=time.monotonic() - self._begun)


# Before the reason of an attempt of which nobody knows whether it arrived.
_DOUBT: Final = "possibly sent: "


def backoff_s(attempt: int, chance: float) -> float:
    """Wait after the attempt of this number: twice as long each time, shortened by chance by up to a half."""
    longest = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(attempt - 1, 20))
    return float(longest * (1 - chance / 2))
