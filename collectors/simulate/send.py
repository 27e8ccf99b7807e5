"""Sends batches, several requests in flight; tries again what may be tried again; counts every span."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Final

from collectors.simulate.spans import Batch
from collectors.transport import Answer, Transport
from monitor.errors import MonitorError

REQUEST_TIMEOUT_S: Final = 10.0
BACKOFF_FIRST_S: Final = 0.1
BACKOFF_MAX_S: Final = 5.0


@dataclass(frozen=True, kw_only=True)
class ReplayResult:
    """What became of the spans that were sent: `sent == acknowledged + rejected + unacknowledged`, always.

    Parameters
    ----------
    sent : int
        Spans handed over for sending.
    acknowledged : int
        Spans that the receiver accepted.
    rejected : int
        Spans that the receiver refused for good; `reasons` says why.
    unacknowledged : int
        Spans whose fate is not known: the receiver did not accept them within the patience, or sending was
        stopped.
    calls : int
        Model calls among the spans sent.
    retried : int
        Requests sent again.
    seconds : float
        From the first request to the last answer.
    reasons : mapping of str to int
        Spans rejected or unacknowledged, by what the receiver said.
    """

    sent: int = 0
    acknowledged: int = 0
    rejected: int = 0
    unacknowledged: int = 0
    calls: int = 0
    retried: int = 0
    seconds: float = 0.0
    reasons: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: ReplayResult) -> ReplayResult:
        return ReplayResult(
            sent=self.sent + other.sent,
            acknowledged=self.acknowledged + other.acknowledged,
            rejected=self.rejected + other.rejected,
            unacknowledged=self.unacknowledged + other.unacknowledged,
            calls=self.calls + other.calls,
            retried=self.retried + other.retried,
            seconds=self.seconds + other.seconds,
            reasons=Counter(self.reasons) + Counter(other.reasons),
        )


class ReplayFailed(MonitorError):
    """Sending had to end early; `result` holds what became of the spans sent so far."""

    def __init__(self, message: str, result: ReplayResult) -> None:
        super().__init__(message)
        self.result = result


class Sender:
    """Takes batches and sends them from `in_flight` threads. Use it in a `with` block, then read `result`.

    Parameters
    ----------
    transport : Transport
        Where to.
    endpoint : str
        The address, for messages.
    in_flight : int
        Requests under way at once; as many more wait in a queue, then `put` blocks.
    patience_s : float
        How long one request is tried again. When it runs out, sending ends with `ReplayFailed`.
    stop : threading.Event
        Ends all waiting once set.
    on_batch : callable, optional
        Called with (batch, spans accepted) after each final answer, by one thread at a time.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        endpoint: str,
        in_flight: int,
        patience_s: float,
        stop: threading.Event,
        on_batch: Callable[[Batch, int], None] | None = None,
    ) -> None:
        assert in_flight >= 1, "at least one request must be in flight"
        self._transport = transport
        self._endpoint = endpoint
        self._patience_s = patience_s
        self._stop = stop
        self._ended = threading.Event()
        self._on_batch = on_batch
        self._lock = threading.Lock()
        self._reasons: Counter[str] = Counter()
        self._counts = ReplayResult()
        self._failure = ""
        self._crash: BaseException | None = None
        self._queue: queue.Queue[Batch | None] = queue.Queue(maxsize=in_flight)
        self._began_s = time.monotonic()
        self._threads = [
            threading.Thread(target=self._work, name=f"replay-{n + 1}", daemon=True) for n in range(in_flight)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Sender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._ended.set()  # whoever leaves in a hurry (Ctrl-C) does not want to see patience run out first
        self.close()
        if error is None:
            self.check()

    @property
    def result(self) -> ReplayResult:
        with self._lock:
            return replace(self._counts, reasons=dict(self._reasons), seconds=time.monotonic() - self._began_s)

    def put(self, batch: Batch) -> None:
        """Hand over one batch; blocks while the queue is full.

        Raises
        ------
        ReplayFailed
            If sending has ended; this batch was then not sent and is not counted.
        """
        while not self._ended.is_set():
            try:
                self._queue.put(batch, timeout=0.1)
                return
            except queue.Full:
                continue
        self.check()

    def close(self) -> None:
        """Wait until everything handed over has its final answer."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def check(self) -> None:
        """Raise what ended the sending, if anything did."""
        if self._crash is not None:
            raise self._crash
        if self._failure:
            raise ReplayFailed(self._failure, self.result)

    def _work(self) -> None:
        while (batch := self._queue.get()) is not None:
            try:
                self._deliver(batch)
            except BaseException as error:  # a callback failed: the caller must see it, not a thread that has died
                self._crash = error
                self._ended.set()

    def _deliver(self, batch: Batch) -> None:
        if self._ended.is_set():
            self._count(batch, Answer(verdict="retry", reason="not sent, because sending had ended"))
            return
        deadline_s = time.monotonic() + self._patience_s
        tries = 0
        while True:
            answer = self._transport.export(batch.body, REQUEST_TIMEOUT_S)
            if answer.verdict != "retry":
                break
            wait_s = _wait_s(answer, tries)
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not self._wait(min(wait_s, left_s)):
                break
            tries += 1
            with self._lock:
                self._counts = replace(self._counts, retried=self._counts.retried + 1)
        self._count(batch, answer)

    def _wait(self, seconds: float) -> bool:
        """Wait; False as soon as sending has ended or was stopped."""
        until_s = time.monotonic() + seconds
        while not self._stop.is_set() and not self._ended.is_set():
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                return True
            self._stop.wait(min(left_s, 0.1))
        return False

    def _count(self, batch: Batch, answer: Answer) -> None:
        lost = answer.verdict != "accepted"
        rejected = batch.spans if lost else min(answer.rejected_items, batch.spans)
        accepted = batch.spans - rejected
        unknown = rejected if answer.verdict == "retry" else 0
        with self._lock:
            now = self._counts
            self._counts = replace(
                now,
                sent=now.sent + batch.spans,
                calls=now.calls + batch.calls,
                acknowledged=now.acknowledged + accepted,
                rejected=now.rejected + rejected - unknown,
                unacknowledged=now.unacknowledged + unknown,
            )
            if rejected:
                self._reasons[answer.reason or "no reason given"] += rejected
            self._end_if_pointless(answer)
            if self._on_batch is not None:
                self._on_batch(batch, accepted)

    def _end_if_pointless(self, answer: Answer) -> None:
        if self._ended.is_set() or self._stop.is_set() or answer.verdict not in ("closed", "retry"):
            return
        if answer.verdict == "closed":
            hint = "check the address, the protocol (grpc or http) and the token"
            self._failure = f"{self._endpoint} takes no traces from us ({answer.reason}); {hint}."
        else:
            self._failure = (
                f"{self._endpoint} did not accept a request within {self._patience_s:g} s ({answer.reason}); "
                "check that it runs and has room, then replay again."
            )
        self._ended.set()


def _wait_s(answer: Answer, tries: int) -> float:
    """What the receiver asked for, else doubling waits, spread so that senders do not return all at once."""
    if answer.retry_after_s is not None:
        return answer.retry_after_s
    wait_s: float = min(BACKOFF_FIRST_S * 2.0 ** min(tries, 10), BACKOFF_MAX_S)
    return wait_s * random.uniform(0.8, 1.2)
