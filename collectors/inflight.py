"""Bytes of requests that are in memory, over all connections: bounded, whatever the senders do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from collectors.stats import Stats
from monitor.errors import Retryable


class Busy(Retryable):
    """Too many bytes are being taken in at this moment."""


class Inflight:
    """For one event loop."""

    def __init__(self, limit: int, stats: Stats) -> None:
        self.bytes = 0
        self._limit = limit
        self._stats = stats

    @contextlib.contextmanager
    def hold(self) -> Iterator[Held]:
        """Count the bytes of one request until the end of the `with`."""
        held = Held(self)
        try:
            yield held
        finally:
            self.bytes -= held.bytes

    def fits(self, size: int) -> bool:
        return self.bytes + size <= self._limit

    def refuse(self) -> Busy:
        self._stats.refuse("busy")
        return Busy(f"more than {self._limit} bytes of requests are being taken in; send again shortly")


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
            If that is over the limit. A request that is alone is never refused: it has a limit of its own, and would
            be refused each time it is sent again.
        """
        alone = self._inflight.bytes == self.bytes
        if not alone and not self._inflight.fits(size):
            raise self._inflight.refuse()
        self.bytes += size
        self._inflight.bytes += size
