"""Sends requests in the background; while the receiver is away they wait, up to a limit, oldest dropped first."""

from __future__ import annotations

import logging
import random
import threading
from collections import deque
from dataclasses import dataclass, replace
from typing import Final

from collectors.transport import Answer, Transport

logger = logging.getLogger(__name__)

MAX_WAITING_BYTES: Final = 64 * 1024 * 1024  # about twenty minutes of eight GPUs at one reading a second
MAX_REQUEST_BYTES: Final = 1024 * 1024
TIMEOUT_S: Final = 10.0
FIRST_WAIT_S: Final = 0.5
LONGEST_WAIT_S: Final = 30.0


@dataclass(frozen=True, kw_only=True)
class Sent:
    """Samples by what became of them; `taken == accepted + refused + dropped + waiting`, always."""

    taken: int = 0
    accepted: int = 0
    refused: int = 0
    dropped: int = 0
    waiting: int = 0


class Sender:
    """Takes serialised requests, one a sample, and sends them in order from a thread of its own.

    Parameters
    ----------
    transport : Transport
        Of metrics; closed by `close`.
    endpoint : str
        Its address, for messages.
    max_waiting_bytes : int
        Most bytes that wait; beyond it the oldest samples are dropped, and counted.
    longest_wait_s : float
        Longest pause between two attempts, which begin half a second apart.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        endpoint: str,
        max_waiting_bytes: int = MAX_WAITING_BYTES,
        longest_wait_s: float = LONGEST_WAIT_S,
    ) -> None:
        self._transport = transport
        self._endpoint = endpoint
        self._max_waiting_bytes = max_waiting_bytes
        self._longest_wait_s = longest_wait_s
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        # What is on its way: it is sent again as it is, so that a receiver which had taken it knows it.
        self._batch: list[bytes] = []
        self._counts = Sent()
        self._changed = threading.Condition()
        self._closing = False
        self._give_up = threading.Event()
        self._trouble = ""
        self._thread = threading.Thread(target=self._run, name="gpu-send", daemon=True)
        self._thread.start()

    @property
    def sent(self) -> Sent:
        with self._changed:
            return replace(self._counts, waiting=len(self._waiting) + len(self._batch))

    def put(self, body: bytes) -> None:
        """Hand over one sample's request; never blocks."""
        with self._changed:
            self._waiting.append(body)
            self._waiting_bytes += len(body)
            dropped = 0
            while self._waiting_bytes > self._max_waiting_bytes and len(self._waiting) > 1:
                self._waiting_bytes -= len(self._waiting.popleft())
                dropped += 1
            self._counts = replace(self._counts, taken=self._counts.taken + 1, dropped=self._counts.dropped + dropped)
            first = dropped and self._counts.dropped == dropped
            self._changed.notify()
        if first:
            logger.warning("%s has been away for so long that the oldest GPU samples are dropped now", self._endpoint)

    def close(self, timeout_s: float = 5.0) -> Sent:
        """Send what waits, for at most this long, and end; returns what became of all."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_s)
        self._give_up.set()
        self._thread.join(TIMEOUT_S + 1)
        self._transport.close()
        left = self.sent
        if left.waiting:
            logger.warning("%d GPU samples were not sent: %s", left.waiting, self._trouble or "no time was left")
        return left

    def _run(self) -> None:
        tries = 0
        while (body := self._next()) is not None:
            answer = self._transport.export(body, TIMEOUT_S)
            self._say(answer)
            if answer.verdict in ("accepted", "refused"):
                tries = 0
                self._done(accepted=answer.verdict == "accepted")
                continue
            # A token or an address may be put right while we wait; nothing is given up for it.
            if self._give_up.wait(_wait_s(answer, tries, self._longest_wait_s)):
                return
            tries += 1

    def _next(self) -> bytes | None:
        """The request to send: the one that was not taken, else the oldest samples that fit into one; None at the end."""
        with self._changed:
            while not self._waiting and not self._batch:
                if self._closing:
                    return None
                self._changed.wait()
            if not self._batch:
                size = 0
                while self._waiting and (not self._batch or size + len(self._waiting[0]) <= MAX_REQUEST_BYTES):
                    self._batch.append(self._waiting.popleft())
                    size += len(self._batch[-1])
                self._waiting_bytes -= size
            # Serialised messages of one type, one after the other, are the message with the contents of all.
            return b"".join(self._batch)

    def _done(self, *, accepted: bool) -> None:
        with self._changed:
            count, self._batch = len(self._batch), []
            if accepted:
                self._counts = replace(self._counts, accepted=self._counts.accepted + count)
            else:
                self._counts = replace(self._counts, refused=self._counts.refused + count)

    def _say(self, answer: Answer) -> None:
        """Each change is said once."""
        trouble = "" if answer.verdict == "accepted" and not answer.rejected_items else answer.reason or answer.verdict
        if trouble == self._trouble:
            return
        before, self._trouble = self._trouble, trouble
        if not trouble:
            logger.info("%s takes GPU samples again; %d wait", self._endpoint, self.sent.waiting)
        elif answer.verdict in ("retry", "closed"):
            if not before:
                hint = "check the address, the protocol and the token; " if answer.verdict == "closed" else ""
                logger.warning(
                    "%s takes no GPU samples (%s); %sthey wait, and are sent when it does",
                    self._endpoint, trouble, hint,
                )  # fmt: skip
        else:
            logger.warning("%s refused GPU samples for good: %s", self._endpoint, trouble)


def _wait_s(answer: Answer, tries: int, longest_s: float) -> float:
    if answer.retry_after_s is not None:
        return min(answer.retry_after_s, longest_s)
    return float(min(FIRST_WAIT_S * 2.0 ** min(tries, 10), longest_s)) * random.uniform(0.8, 1.2)
