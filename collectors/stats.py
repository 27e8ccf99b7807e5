"""Loss is a number: what came in, what became of it. `received = stored + rejected + waiting` holds at every moment."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Spans since the process began.

    Attributes
    ----------
    received : int
        Spans of accepted requests, and those found in the log at start.
    stored, waiting : int
        In ClickHouse; in the log and not there yet.
    rejected : mapping of reason to count
        Spans that can never be stored.
    recovered : int
        Part of `received` that was found in the log at start.
    refused_requests : mapping of reason to count
        Requests that got an error: nothing of them was taken.
    repaired : mapping of reason to count
        Spans stored with a change.
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
    """Counters shared by receivers and inserters."""

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

    def accept(self, spans: int, rejected: Mapping[str, int], repaired: Mapping[str, int]) -> None:
        with self._lock:
            self._requests += 1
            self._received += spans + sum(rejected.values())
            self._waiting += spans
            self._rejected.update(rejected)
            self._repaired.update(repaired)

    def undo_accept(self, spans: int, rejected: Mapping[str, int], repaired: Mapping[str, int], reason: str) -> None:
        """The request could not be logged, so nothing of it was taken."""
        with self._lock:
            self._requests -= 1
            self._received -= spans + sum(rejected.values())
            self._waiting -= spans
            self._rejected.subtract(rejected)
            self._repaired.subtract(repaired)
            self._refused[reason] += 1

    def refuse(self, reason: str) -> None:
        with self._lock:
            self._refused[reason] += 1

    def recover(self, spans: int) -> None:
        with self._lock:
            self._received += spans
            self._recovered += spans
            self._waiting += spans

    def store(self, spans: int) -> None:
        with self._lock:
            self._waiting -= spans
            self._stored += spans

    def set_aside(self, spans: int, reason: str) -> None:
        """ClickHouse can never take these."""
        with self._lock:
            self._waiting -= spans
            self._rejected[reason] += spans

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
