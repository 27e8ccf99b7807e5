"""Bytes of requests that are in memory, over all connections: bounded, whatever the senders do."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from monitor.errors import Retryable


class Busy(Retryable):
    """Too many bytes are being taken in at this moment."""

    reason = "busy"


class Inflight:
    """Shared by all receivers and the threads that inflate for them."""

    def __init__(self, limit: int) -> None:
        self.bytes = 0
        self._limit = limit
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def hold(self) -> Iterator[Held]:
        """Count the bytes of one request until the end of the `with`."""
        held = Held(self)
        try:
            yield held
        finally:
            with self._lock:
                self.bytes -= held.bytes

    def take(self, size: int, held: Held) -> None:
        with self._lock:
            # A request that is alone is never refused: it has a limit of its own, and would be refused each time it is
            # sent again.
            alone = self.bytes == held.bytes
            if not alone and self.bytes + size > self._limit:
                raise Busy(f"more than {self._limit} bytes of requests are being taken in; send again shortly")
            self.bytes += size
            held.bytes += size


class Held:
    """What one request holds."""

    def __init__(self, inflight: Inflight) -> None:
        self._inflight = inflight
        self.bytes = 0

    def grow(self, size: int) -> None:
        """Hold this many more.

        Raises
        ------
        Busy
            If that is over the limit of all requests together.
        """
        self._inflight.take(size, self)
