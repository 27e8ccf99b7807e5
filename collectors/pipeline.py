"""The write path put together: check, log, acknowledge, insert. Receivers call `Pipeline.accept`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future

from collectors.inflight import Inflight
from collectors.otlp.check import Checked, Limits, Malformed, check_traces, normalise_traces
from collectors.stats import Stats
from collectors.wal import LogFull, WriteAheadLog
from collectors.writer import Inserter, Writer
from monitor.errors import MonitorError
from monitor.settings import Settings
from monitor.store.client import connect
from monitor.store.flatten import FlattenOptions
from monitor.store.segments import SegmentInserter, is_data_error

logger = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 20.0
# A request this big takes long enough to check that other senders would feel it.
CHECK_ASIDE_BYTES = 4 * 1024 * 1024


class Pipeline:
    """One collector's way from request to rows.

    `accept` is for one event loop; the rest happens in threads of its own.
    """

    def __init__(self, settings: Settings, *, open_inserter: Callable[[], Inserter] | None = None) -> None:
        section = settings.collectors
        self.stats = Stats()
        self._limits = Limits.from_settings(settings)
        self.inflight = Inflight(section.max_inflight_bytes, self.stats)
        self._hinted = False
        self._max_wal = section.max_wal_bytes
        options = FlattenOptions.from_settings(settings)
        url = settings.store_url
        self._writer = Writer(
            threads=section.inserters,
            open_inserter=open_inserter or (lambda: SegmentInserter(connect(url, timeout_s=60), url, options)),
            is_data_error=is_data_error,
            forget=lambda segment: self._log.forget(segment),
            normalise=normalise_traces,
            set_aside=settings.data / "set-aside",
            stats=self.stats,
        )
        self._log = WriteAheadLog(
            settings.wal_dir / "traces",
            segment_spans=section.segment_spans,
            segment_bytes=section.segment_bytes,
            segment_age_s=section.segment_age_s,
            max_bytes=section.max_wal_bytes,
            on_segment=self._writer.submit,
        )

    def start(self) -> int:
        """Recover the log and begin to accept; returns the number of spans recovered."""
        recovered = self._log.start()
        spans = sum(segment.spans for segment in recovered)
        if spans:
            logger.info("recovered %d spans in %d segments from the write-ahead log", spans, len(recovered))
            self.stats.recover(spans)
        self._writer.start()
        return spans

    async def accept(self, body: bytes) -> Checked:
        """Take one serialised trace request; returns once it is on disk.

        Raises
        ------
        BadInput
            `Malformed` if it is no trace request; or if it alone is more than the log may hold.
        Retryable
            `Busy`, `LogFull`, `LogBroken`: nothing of it was taken, and it may be sent again.
        """
        with self.inflight.hold() as held:
            held.grow(len(body))
            checked = await self._check(body)
            if checked.spans:
                # Shielded: once appended it will be stored, even if the client goes away before the answer.
                await asyncio.shield(asyncio.wrap_future(self._append(checked)))
            else:
                self.stats.accept(0, checked.rejected, checked.repaired)
                self._hint_empty(body, checked)
        return checked

    async def _check(self, body: bytes) -> Checked:
        now_ns = time.time_ns()
        try:
            if len(body) > CHECK_ASIDE_BYTES:
                return await asyncio.to_thread(check_traces, body, self._limits, now_ns)
            return check_traces(body, self._limits, now_ns)
        except Malformed:
            self.stats.refuse("malformed")
            raise

    def _hint_empty(self, body: bytes, checked: Checked) -> None:
        """Say once that a sender's requests hold bytes but no spans: OTLP before 1.0 looks like that."""
        if len(body) > 2 and not checked.rejected and not self._hinted:
            self._hinted = True
            logger.warning(
                "a request of %d bytes holds no spans that OTLP 1.x knows; is the sender very old, or is it another signal?",
                len(body),
            )

    def _append(self, checked: Checked) -> Future[None]:
        counts = (checked.spans, checked.rejected, checked.repaired)
        # Counted first, so that no moment shows more stored than received.
        self.stats.accept(*counts)
        try:
            logged = self._log.append(checked.body, checked.spans)
        except MonitorError as error:
            self.stats.undo_accept(*counts, reason="log_full" if isinstance(error, LogFull) else "too_large")
            raise
        logged.add_done_callback(
            lambda done: self.stats.undo_accept(*counts, reason="log_broken") if done.exception() else None
        )
        return logged

    def trouble(self) -> str | None:
        """Why the pipeline is not well, in words; None if it is."""
        if self._writer.last_error is not None:
            return f"ClickHouse does not take spans: {self._writer.last_error}"
        if self._log.waiting_bytes > 0.9 * self._max_wal:
            return f"the write-ahead log holds {self._log.waiting_bytes} of {self._max_wal} bytes"
        return None

    @property
    def waiting_bytes(self) -> int:
        return self._log.waiting_bytes

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Log and insert all that was accepted; whether all of it is stored. What is not stays in the log."""
        self._log.close()
        return self._writer.close(timeout_s)
