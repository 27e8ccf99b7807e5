"""Loss is a number: what came in, what became of it. `received = stored + rejected + waiting` holds at every moment."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Items of one signal (spans, log records, data points) since the process began.

    Attributes
    ----------
    received : int
        Items of accepted requests, and those found in the log at start.
    stored, waiting : int
        In ClickHouse; in the log and not there yet.
    rejected : mapping of reason to count
        Items that can never be stored.
    recovered : int
        Part of `received` that was found in the log at start.
    refused_requests : mapping of reason to count
        Requests that got an error: nothing of them was taken.
    repaired : mapping of reason to count
        Items stored with a change.
    retried_inserts : int
        Inserts that had to be tried again.
    """

    received: int
    stored: int
    waiting: int
    recovered: int
    requests: int
    retried_inserts: int
    rejected: Mapping[str, int]
    refused_requests: Mapping[str, int]
    repaired: Mapping[str, int]


@dataclass
class Stats:
    """Counters of one signal, shared by receivers and inserters."""

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _received: int = 0
    _stored: int = 0
    _waiting: int = 0
    _recovered: int = 0
    _requests: int = 0
    _retried: int = 0
    _rejected: Counter[str] = field(default_factory=Counter)
    _refused: Counter[str] = field(default_factory=Counter)
    _repaired: Counter[str] = field(default_factory=Counter)

    def accept(self, items: int, rejected: Mapping[str, int], repaired: Mapping[str, int]) -> None:
        with self._lock:
            self._requests += 1
            self._received += items + sum(rejected.values())
            self._waiting += items
            self._rejected.update(rejected)
            self._repaired.update(repaired)

    def undo_accept(self, items: int, rejected: Mapping[str, int], repaired: Mapping[str, int]) -> None:
        """The request could not be logged, so nothing of it was taken."""
        with self._lock:
            self._requests -= 1
            self._received -= items + sum(rejected.values())
            self._waiting -= items
            self._rejected.subtract(rejected)
            self._repaired.subtract(repaired)

    def refuse(self, reason: str) -> None:
        with self._lock:
            self._refused[reason] += 1

    def recover(self, items: int) -> None:
        with self._lock:
            self._received += items
            self._recovered += items
            self._waiting += items

    def store(self, items: int) -> None:
        with self._lock:
            self._waiting -= items
            self._stored += items

    def set_aside(self, items: int, reason: str) -> None:
        """ClickHouse can never take these."""
        with self._lock:
            self._waiting -= items
            self._rejected[reason] += items

    def retry(self) -> None:
        with self._lock:
            self._retried += 1

    def snapshot(self) -> Snapshot:
        with self._lock:
            return Snapshot(
                received=self._received,
                stored=self._stored,
                waiting=self._waiting,
                recovered=self._recovered,
                requests=self._requests,
                retried_inserts=self._retried,
                rejected=dict(self._rejected),
                refused_requests=dict(self._refused),
                repaired=dict(self._repaired),
            )


class Reasons:
    """How often something happened, by reason."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def count(self, reason: str) -> None:
        with self._lock:
            self._counts[reason] += 1

    def snapshot(self) -> dict[str, int]:
        with self._lock:
            return dict(self._counts)
