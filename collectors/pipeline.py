"""The write path put together: one lane for each signal, within limits that they share."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from collectors.inflight import Inflight
from collectors.lane import Lane
from collectors.otlp.signals import SIGNALS
from collectors.stats import Reasons
from collectors.wal import Budget
from collectors.writer import Inserter
from monitor.settings import Settings
from monitor.store.client import connect
from monitor.store.flatten import FlattenOptions
from monitor.store.segments import SegmentInserter

CLOSE_TIMEOUT_S = 20.0


class Pipeline:
    """One collector's way from requests to rows.

    Parameters
    ----------
    open_inserter : callable, optional
        Makes an inserter for the signal of this name, in the thread that will use it; by default into the store.
    """

    def __init__(self, settings: Settings, *, open_inserter: Callable[[str], Inserter] | None = None) -> None:
        section = settings.collectors
        self.inflight = Inflight(section.max_inflight_bytes)
        self.closed_connections = Reasons()
        self._budget = Budget(section.max_wal_bytes)
        options = FlattenOptions.from_settings(settings)
        url = settings.store_url

        def open_store(signal: str) -> Inserter:
            return SegmentInserter(connect(url, timeout_s=section.insert_timeout_s), url, options, signal)

        opener = open_inserter or open_store
        self.lanes: Mapping[str, Lane] = {
            signal.name: Lane(
                signal,
                settings,
                inflight=self.inflight,
                budget=self._budget,
                open_inserter=lambda name=signal.name: opener(name),  # type: ignore[misc]
            )
            for signal in SIGNALS
        }

    def start(self) -> int:
        """Recover the logs and begin to accept; returns the number of items recovered."""
        return sum(lane.start() for lane in self.lanes.values())

    def trouble(self) -> str | None:
        """Why the pipeline is not well, in words; None if it is."""
        for lane in self.lanes.values():
            if (trouble := lane.log_trouble()) is not None:
                return trouble
            if lane.last_error is not None:
                return f"ClickHouse does not take {lane.signal.items.replace('_', ' ')}: {lane.last_error}"
        if self._budget.taken > 0.9 * self._budget.limit:
            return f"the write-ahead log holds {self._budget.taken} of {self._budget.limit} bytes"
        return None

    @property
    def waiting(self) -> int:
        """Items of all signals that are in the log and not in ClickHouse yet."""
        return sum(lane.stats.snapshot().waiting for lane in self.lanes.values())

    @property
    def waiting_bytes(self) -> int:
        return self._budget.taken

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Log and insert all that was accepted; whether all of it is stored. What is not stays in the log."""
        for lane in self.lanes.values():
            lane.stop_accepting()
        deadline = time.monotonic() + timeout_s
        stored = [lane.close(max(0.0, deadline - time.monotonic())) for lane in self.lanes.values()]
        return all(stored)
