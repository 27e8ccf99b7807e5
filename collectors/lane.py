"""One signal's way from request to rows: check, log, acknowledge, insert."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future

from collectors.inflight import Inflight
from collectors.otlp.arrivals import Arrivals, make_note, request_key
from collectors.otlp.checked import Checked, Limits
from collectors.otlp.ids import span_ids
from collectors.otlp.signals import Signal
from collectors.stats import Stats
from collectors.wal import Budget, Segment, WriteAheadLog
from collectors.writer import Inserter, Writer
from monitor.errors import MonitorError
from monitor.settings import Settings
from monitor.store.segments import is_data_error

logger = logging.getLogger(__name__)

# A request this big takes long enough to check that other senders would feel it.
CHECK_ASIDE_BYTES = 4 * 1024 * 1024
# Nobody waits for metrics to the second, and a small insert costs as much as a big one.
METRICS_AGE_FACTOR = 5


class Lane:
    """`accept` is for one event loop; the rest happens in threads of its own."""

    def __init__(
        self,
        signal: Signal,
        settings: Settings,
        *,
        inflight: Inflight,
        budget: Budget,
        open_inserter: Callable[[], Inserter],
    ) -> None:
        section = settings.collectors
        self.signal = signal
        self.stats = Stats()
        self.inflight = inflight
        self._limits = Limits.from_settings(settings)
        self._arrivals = Arrivals()
        self._hinted = False
        main = signal.name == "traces"
        self._writer = Writer(
            threads=section.inserters if main else 1,
            open_inserter=open_inserter,
            is_data_error=is_data_error,
            forget=self._forget,
            took=lambda seconds, items: self._log.pace(seconds, items),
            span_ids=span_ids if main else None,
            normalise=signal.normalise,
            set_aside=settings.data / "set-aside",
            stats=self.stats,
        )
        self._log = WriteAheadLog(
            settings.wal_dir / signal.name,
            segment_items=section.segment_spans,
            segment_bytes=section.segment_bytes,
            segment_age_s=section.segment_age_s * (METRICS_AGE_FACTOR if signal.name == "metrics" else 1),
            budget=budget,
            on_segment=self._writer.submit,
            on_recovered=self._arrivals.recover,
        )

    def _forget(self, segment: Segment) -> None:
        self._log.forget(segment)

    def start(self) -> int:
        """Recover the log and begin to accept; returns the number of items recovered."""
        recovered = self._log.start()
        items = sum(segment.items for segment in recovered)
        if items:
            logger.info(
                "recovered %d %s in %d segments from the write-ahead log",
                items,
                self.signal.items.replace("_", " "),
                len(recovered),
            )
            self.stats.recover(items)
        self._writer.start()
        return items

    async def accept(self, body: bytes) -> Checked:
        """Take one serialised request; returns once it is on disk.

        Raises
        ------
        BadInput
            `Malformed` if it is no request of this signal; `TooBig` if it alone is more than the log may hold.
        Retryable
            `Busy`, `LogFull`, `LogBroken`: nothing of it was taken, and it may be sent again.
        """
        with self.inflight.hold() as held:
            held.grow(len(body))
            key, arrival_ns = request_key(body), time.time_ns()
            now_ns = self._arrivals.first_ns(key, arrival_ns)
            checked = await self._check(body, now_ns, arrival_ns)
            if checked.items:
                # Shielded: once appended it will be stored, even if the client goes away before the answer.
                await asyncio.shield(asyncio.wrap_future(self._append(checked, make_note(key, now_ns))))
            else:
                self.stats.accept(0, checked.rejected, checked.repaired)
                self._hint_empty(body, checked)
        return checked

    async def _check(self, body: bytes, now_ns: int, arrival_ns: int) -> Checked:
        if len(body) > CHECK_ASIDE_BYTES:
            return await asyncio.to_thread(self.signal.check, body, self._limits, now_ns, arrival_ns)
        return self.signal.check(body, self._limits, now_ns, arrival_ns)

    def _hint_empty(self, body: bytes, checked: Checked) -> None:
        """Say once that a sender's requests hold bytes but no items: OTLP before 1.0 looks like that."""
        if len(body) > 2 and not checked.rejected and not self._hinted:
            self._hinted = True
            logger.warning(
                "a request of %d bytes holds no %s that OTLP 1.x knows; is the sender very old, or is it another signal?",
                len(body),
                self.signal.items.replace("_", " "),
            )

    def _append(self, checked: Checked, note: bytes) -> Future[None]:
        counts = (checked.items, checked.rejected, checked.repaired)
        # Counted first, so that no moment shows more stored than received.
        self.stats.accept(*counts)
        try:
            logged = self._log.append(checked.body, checked.items, note)
        except MonitorError:
            self.stats.undo_accept(*counts)
            raise
        logged.add_done_callback(lambda done: self.stats.undo_accept(*counts) if done.exception() else None)
        return logged

    @property
    def last_error(self) -> str | None:
        """Why the latest insert failed; None once one succeeded."""
        return self._writer.last_error

    def log_trouble(self) -> str | None:
        """Why nothing can be logged, in words; None if it can."""
        return self._log.trouble()

    def stop_accepting(self) -> None:
        """Write all that was accepted to disk and hand it on."""
        self._log.close()

    def close(self, timeout_s: float) -> bool:
        """Insert all that was accepted; whether all of it is stored. What is not stays in the log."""
        return self._writer.close(timeout_s)
