"""From ended spans (or judgements) to the exporter: a bounded queue, one thread, and a count of all that came by.

`offered = dropped + exported + failed + waiting` holds at any time. A full queue drops its oldest span, so
that the newest number in the store tells how many were sent and the gaps below it how many were lost.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Generic, Protocol, TypeVar

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, set_value

from monitor.sdk.exporter import WorkerLog
from monitor.sdk.guard import log, swallow

# What is offered, and what the exporter takes of it.
Offered = TypeVar("Offered")
Sent = TypeVar("Sent")
Sent_contra = TypeVar("Sent_contra", contravariant=True)

# When the last export failed, the endpoint is most likely still away: do not hold up the exit of the process
# for it.
AWAY_EXIT_TIMEOUT_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What happened to all that was offered to the queue; every number up to `settled` was sent, or is lost.

    `left_out` are calls that sampling left out when they ended: they were never offered.
    """

    last_seq: int = 0
    settled: int = 0
    offered: int = 0
    dropped: int = 0
    exported: int = 0
    failed: int = 0
    waiting: int = 0
    left_out: int = 0


class Exporter(Protocol[Sent_contra]):
    """What OpenTelemetry's exporters of all signals have in common."""

    def export(self, batch: Sequence[Sent_contra], /) -> Enum: ...

    def shutdown(self) -> None: ...


class Report(Protocol):
    """Sends the counts somewhere; called in the pipeline's thread, and never while the endpoint seems to be away."""

    def send(self, counts: Counts) -> None: ...

    def shutdown(self) -> None: ...


class Pipeline(Generic[Offered, Sent]):
    """A bounded queue in front of an exporter. `offer` never waits, however slow or dead the endpoint is."""

    def __init__(
        self,
        make_exporter: Callable[[], Exporter[Sent]],
        prepare: Callable[[tuple[int, Offered]], Sent],
        *,
        queue_size: int,
        batch_size: int,
        interval_s: float,
        target: str,
        items: str = "spans",
        report: Report | None = None,
        report_s: float = 10.0,
    ) -> None:
        self._make_exporter = make_exporter
        self._report_counts = report
        self._report_s = report_s
        self._prepare = prepare
        self._queue_size = queue_size
        self._batch_size = batch_size
        self._interval_s = interval_s
        self._target = target
        self._items = items
        self._inherited: list[object] = []
        self._reset()

    def _reset(self) -> None:
        # Reentrant: a garbage collection inside the locked part may close a stream, which ends its span right
        # here.
        self._lock = threading.RLock()
        # A lock as a signal, not an Event: releasing one is a single step that cannot deadlock with itself
        # when a garbage collection ends a span inside it.
        self._wake = threading.Lock()
        self._wake.acquire()
        self._queue: deque[tuple[int, Offered]] = deque()
        self._flushes: deque[threading.Event] = deque()
        self._worker: threading.Thread | None = None
        self._exporter: Exporter[Sent] | None = None
        self._log = WorkerLog()
        self._stopping = False
        self._away = False
        self._reported = time.monotonic()
        self._seq = self._offered = self._dropped = self._exported = self._failed = self._in_flight = 0
        self._in_flight_first = self._left_out = 0

    def after_fork(self) -> None:
        """Begin anew in a forked child: queue, thread, exporter and counts belong to the parent."""
        # Kept for ever, because tearing down the parent's gRPC channel in the child may hang.
        self._inherited.append((self._exporter, self._worker, self._queue))
        self._log.release()
        self._reset()

    def leave_out(self) -> None:
        """Count a call that sampling leaves out."""
        with self._lock:
            self._left_out += 1

    def offer(self, item: Offered, *, numbered: bool) -> None:
        """Queue an ended span or a judgement; number it when it is an inference."""
        with self._lock:
            seq = 0
            if numbered:
                seq = self._seq = self._seq + 1
            self._offered += 1
            if self._stopping:
                self._dropped += 1
                return
            if len(self._queue) >= self._queue_size:
                self._queue.popleft()
                self._dropped += 1
            self._queue.append((seq, item))
            if self._worker is None:
                self._start_worker()
            full = len(self._queue) >= self._batch_size
        if full:
            self._signal()

    def flush(self, timeout_s: float) -> bool:
        """Send what is queued; True when all of it was delivered in time."""
        with self._lock:
            if self._worker is None or self._stopping:
                return self._dropped + self._failed == 0
            lost_before = self._dropped + self._failed
            done = threading.Event()
            self._flushes.append(done)
        self._signal()
        in_time = done.wait(timeout_s)
        with self._lock:
            return in_time and self._dropped + self._failed == lost_before

    def shutdown(self, timeout_s: float) -> None:
        """Send what is queued for at most about `timeout_s`, then stop for good."""
        with self._lock:
            if self._stopping:
                return
            self._stopping = True
            worker, away = self._worker, self._away
        self._signal()
        if worker is not None:
            worker.join(min(timeout_s, AWAY_EXIT_TIMEOUT_S) if away else timeout_s)
        self._give_up()
        exporter = self._exporter
        if exporter is not None:
            # Also ends the exporter's wait for its next try, if it is in one.
            exporter.shutdown()
        if self._report_counts is not None:
            self._report_counts.shutdown()
        if worker is not None and worker.is_alive():
            worker.join(0.2)

    def counts(self) -> Counts:
        """One consistent reading."""
        with self._lock:
            return Counts(
                last_seq=self._seq,
                settled=self._settled(),
                offered=self._offered,
                dropped=self._dropped,
                exported=self._exported,
                failed=self._failed,
                waiting=len(self._queue) + self._in_flight,
                left_out=self._left_out,
            )

    def _settled(self) -> int:
        pending = self._in_flight_first or next((seq for seq, _ in self._queue if seq), 0)
        return pending - 1 if pending else self._seq

    def _signal(self) -> None:
        if self._wake.locked():
            # Another thread being first is as good.
            with contextlib.suppress(RuntimeError):
                self._wake.release()

    def _give_up(self) -> None:
        with self._lock:
            self._dropped += len(self._queue)
            self._queue.clear()

    def _start_worker(self) -> None:
        self._worker = threading.Thread(target=self._run, name="monitor-export", daemon=True)
        try:
            self._worker.start()
        except RuntimeError:
            # No thread to be had (interpreter going down, limit reached): try again with the next span.
            self._worker = None
            return
        # Children of multiprocessing leave without atexit; their own exit hooks are registered late, hence
        # here.
        multiprocessing = sys.modules.get("multiprocessing.util")
        if multiprocessing is not None:
            multiprocessing.Finalize(None, self.flush, args=(AWAY_EXIT_TIMEOUT_S,), exitpriority=0)

    def _run(self) -> None:
        # Instrumentations of gRPC or HTTP must not trace our own export, which would never end.
        attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
        self._log.watch()
        try:
            while not self._stopping:
                self._wake.acquire(timeout=self._interval_s)
                self._export_queued()
                self._tell_counts(due=self._reported + self._report_s)
            self._export_queued()
            self._tell_counts(due=0.0)
        finally:
            self._log.release()

    def _export_queued(self) -> None:
        flushes = [self._flushes.popleft() for _ in range(len(self._flushes))]
        # What comes in meanwhile is for the next round, or a busy process would never finish a flush.
        left = len(self._queue)
        while left > 0:
            batch = self._take(min(left, self._batch_size))
            if not batch:
                break
            left -= len(batch)
            self._export(batch)
        for done in flushes:
            done.set()

    def _tell_counts(self, *, due: float) -> None:
        now = time.monotonic()
        if self._report_counts is None or self._away or now < due:
            return
        self._reported = now
        try:
            self._report_counts.send(self.counts())
        except Exception:
            swallow("reporting counts")

    def _take(self, count: int) -> list[tuple[int, Offered]]:
        with self._lock:
            batch = [self._queue.popleft() for _ in range(min(count, len(self._queue)))]
            self._in_flight = len(batch)
            self._in_flight_first = next((seq for seq, _ in batch if seq), 0)
            return batch

    def _export(self, batch: Sequence[tuple[int, Offered]]) -> None:
        sent = False
        try:
            if self._exporter is None:
                self._exporter = self._make_exporter()
            # Each signal has an enumeration of its own, with the same names; exporters of users may return nothing.
            result: Enum | None = self._exporter.export([self._prepare(item) for item in batch])
            sent = result is None or result.name != "FAILURE"
        except Exception as error:
            self._log.last_reason = f"{type(error).__name__}: {error}"
        with self._lock:
            self._in_flight = self._in_flight_first = 0
            if sent:
                self._exported += len(batch)
            else:
                self._failed += len(batch)
        try:
            self._report(sent, len(batch))
        except Exception:  # a user's log handler
            swallow("reporting an export")

    def _report(self, sent: bool, count: int) -> None:
        """Say once that the endpoint is away, and once that it is back."""
        if not sent and not self._away:
            log.warning(
                "monitor: %d %s could not be sent to %s (%s). Calls go on as before; losses are in "
                "monitor.sdk.stats(). Nothing more is said until sending works again.",
                count,
                self._items,
                self._target,
                self._log.last_reason or "no reason given",
            )
        elif sent and self._away:
            lost = self._failed + self._dropped
            log.info("monitor: sending to %s works again; %d %s were lost so far.", self._target, lost, self._items)
        self._away = not sent
