"""From closed segments to ClickHouse: insert with the segment's token, then delete the segment.

A failure that may pass is tried again, for as long as it takes; the log's size limit is what holds senders back
meanwhile. Should ClickHouse say that the bytes themselves are at fault, the segment's requests are decoded and written
anew: the protobuf parser of the check is laxer than ClickHouse's (a field of the wrong wire type is unknown to the one and
an error to the other). If ClickHouse cannot read even that, it is halved until the bad request is found and set aside.
"""

from __future__ import annotations

import logging
import os
import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol

from collectors.stats import Stats
from collectors.wal import Segment, encode_record, read_records, record_body
from monitor.store.broken import WritesFailed
from monitor.store.client import reason
from monitor.store.unsure import SpanId

logger = logging.getLogger(__name__)

FIRST_DELAY_S: Final = 0.2
LONGEST_DELAY_S: Final = 5.0
SETTLE_S: Final = 1.0
SURE_ROUNDS: Final = 3
LOOK_S: Final = 10.0  # well below the time for which `monitor/store/chdb.xml` keeps parts that were merged
GIVE_UP_S: Final = 3.0  # a store that failed for so long on end while we stop is away
_ON_THE_WAY: Final = 8  # more threads than that insert nowhere
_SAID_MAX: Final = 20  # different reasons that are remembered as said


class Inserter(Protocol):
    """What a writer needs of the store."""

    def insert(self, path: Path, token: str) -> None: ...

    def absent(self, spans: Sequence[SpanId]) -> set[SpanId]: ...

    def look(self) -> None: ...

    def close(self) -> None: ...


class Writer:
    """A pool of threads that insert segments.

    Parameters
    ----------
    open_inserter : callable
        Makes an inserter for one thread.
    is_data_error : callable
        Whether an error of `insert` says that the bytes are at fault.
    forget : callable
        Takes each segment whose rows are stored.
    took : callable
        Takes the seconds and the items of each insert.
    span_ids : callable, optional
        The ids of the spans of a request, by which they are looked for after an insert that was cut off.
    normalise : callable
        Writes a request anew so that only what ClickHouse knows is in it; tried on one that it cannot read.
    set_aside : Path
        Folder for requests that ClickHouse cannot read even so.
    """

    def __init__(
        self,
        *,
        threads: int,
        open_inserter: Callable[[], Inserter],
        is_data_error: Callable[[BaseException], bool],
        forget: Callable[[Segment], None],
        took: Callable[[float, int], None] = lambda seconds, items: None,
        span_ids: Callable[[bytes], list[SpanId]] | None = None,
        normalise: Callable[[bytes], bytes],
        set_aside: Path,
        stats: Stats,
    ) -> None:
        self._open_inserter = open_inserter
        self._is_data_error = is_data_error
        self._forget = forget
        self._took = took
        self._span_ids = span_ids
        self._normalise = normalise
        self._set_aside = set_aside
        self._stats = stats
        self._queue: queue.SimpleQueue[Segment | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._last_error: str | None = None
        self._said: set[str] = set()
        self._left = 0
        self._recovered = 0
        self._left_lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, name=f"inserter-{index}", daemon=True) for index in range(threads)
        ]

    @property
    def last_error(self) -> str | None:
        """Why the latest insert failed; None once one succeeded."""
        return self._last_error

    def submit(self, segment: Segment) -> None:
        self._count_left(1)
        if segment.recovered:
            # They are in the order of their age, and only so many of the oldest can have been on their way to ClickHouse.
            self._recovered += 1
            segment = replace(segment, recovered=self._recovered <= max(_ON_THE_WAY, len(self._threads)))
        self._queue.put(segment)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def close(self, timeout_s: float) -> bool:
        """Insert what was submitted, give up after `timeout_s`; whether all of it is stored.

        Sooner where the store takes nothing. What is left stays in the log for the next start.
        """
        for _ in self._threads:
            self._queue.put(None)
        self._join(timeout_s, while_failing_s=GIVE_UP_S)
        self._stopping.set()
        self._join(LONGEST_DELAY_S, while_failing_s=LONGEST_DELAY_S)
        return not self._left

    def _join(self, timeout_s: float, *, while_failing_s: float) -> None:
        """Wait for the threads to end, all of them together; no longer than `while_failing_s` on end with failures."""
        now = time.monotonic()
        deadline, patience = now + timeout_s, now + while_failing_s
        for thread in self._threads:
            while thread.is_alive() and (now := time.monotonic()) < min(deadline, patience):
                thread.join(0.02)
                if self._last_error is None:
                    patience = now + while_failing_s

    def _count_left(self, change: int) -> None:
        with self._left_lock:
            self._left += change

    def _run(self) -> None:
        inserter: Inserter | None = None
        while True:
            try:
                segment = self._queue.get(timeout=LOOK_S)
            except queue.Empty:
                _look(inserter)
                continue
            if segment is None:
                break
            inserter = self._store(segment, inserter)
            if self._stopping.is_set():
                break
        if inserter is not None:
            inserter.close()

    def _store(self, segment: Segment, inserter: Inserter | None) -> Inserter | None:
        delay_s = FIRST_DELAY_S
        unsure = segment.recovered
        unwritten = 0
        while not self._stopping.is_set():
            try:
                inserter = inserter or self._open_inserter()
                self._insert(segment, inserter, unsure=unsure, unwritten=unwritten)
            except Exception as error:
                unsure = True
                unwritten += isinstance(error, WritesFailed)
                self._note_failure(segment, error)
                self._stopping.wait(delay_s * random.uniform(0.5, 1.0))
                delay_s = min(delay_s * 2, LONGEST_DELAY_S)
            else:
                self._last_error = None
                self._said.clear()
                self._forget(segment)
                self._count_left(-1)
                return inserter
        return inserter

    def _note_failure(self, segment: Segment, error: Exception) -> None:
        why = reason(error)
        if why not in self._said:  # said once, not at each attempt, though the threads may see it each in its way
            if len(self._said) >= _SAID_MAX:
                self._said.clear()
            self._said.add(why)
            logger.warning("segment %s not stored, trying again: %s", segment.token, why)
        self._last_error = why
        self._stats.retry()

    def _insert(self, segment: Segment, inserter: Inserter, *, unsure: bool, unwritten: int) -> None:
        """Insert a segment whose rows the store may have (`unsure`) and has taken and lost so often (`unwritten`)."""
        began = time.monotonic()
        # By the same token it would be taken for rows that are there. What has no ids to look for is then rather twice.
        token = f"{segment.token}/unwritten/{unwritten}" if unwritten and not self._span_ids else segment.token
        try:
            inserter.insert(segment.path, token)
        except Exception as error:
            if not self._is_data_error(error):
                raise
            logger.error("segment %s holds a request that ClickHouse cannot read: %s", segment.token, reason(error))
            bad = self._insert_anew(segment, inserter)
            self._stats.store(segment.items - bad)
        else:
            self._took(time.monotonic() - began, segment.items)
            if unsure and self._span_ids is not None:
                self._make_sure(segment, inserter, self._span_ids, f"{segment.token}/again/{unwritten}")
            self._stats.store(segment.items)

    def _make_sure(
        self, segment: Segment, inserter: Inserter, span_ids: Callable[[bytes], list[SpanId]], token: str
    ) -> None:
        """Insert once more, by another token, what ClickHouse only believes to have.

        The token that it was first sent with may have outlived its rows (see `monitor.store.unsure`).
        """
        data = segment.path.read_bytes()
        records = {(begin, end): span_ids(record_body(data, begin, end)) for begin, end, _ in read_records(data)}
        spans = [span for ids in records.values() for span in ids]
        for round_ in range(1, SURE_ROUNDS + 1):
            # An insert that is still on its way has noted its token a moment before its rows can be seen.
            if not inserter.absent(spans):
                return
            self._stopping.wait(SETTLE_S)
            if not (lost := inserter.absent(spans)):
                return
            logger.warning(
                "segment %s: %d spans were lost by ClickHouse and are inserted again", segment.token, len(lost)
            )
            part = segment.path.with_suffix(".part")
            _write_private(part, b"".join(data[a:b] for (a, b), ids in records.items() if not lost.isdisjoint(ids)))
            inserter.insert(part, f"{token}/{round_}")
            part.unlink(missing_ok=True)
        if lost := inserter.absent(spans):
            # Such as of days that are past their retention: they are gone as soon as they are stored.
            logger.error("segment %s: %d spans cannot be seen after they were stored", segment.token, len(lost))

    def _insert_anew(self, segment: Segment, inserter: Inserter) -> int:
        """Insert a segment that ClickHouse cannot read, each request written anew; returns how many items it cannot even so.

        All at once first: halving for each bad request among many would take an insert for each half.
        """
        data = segment.path.read_bytes()
        records = list(read_records(data))
        anew = [encode_record(self._normalise(record_body(data, begin, end)), items) for begin, end, items in records]
        part = segment.path.with_suffix(".part")
        bad_items = 0
        ranges = [(0, len(records))]
        while ranges:
            low, high = ranges.pop()
            _write_private(part, b"".join(anew[low:high]))
            try:
                # The same halves at each attempt, so the same tokens.
                inserter.insert(part, f"{segment.token}/anew/{low}-{high}")
            except Exception as error:
                if not self._is_data_error(error):
                    raise
                if high - low > 1:
                    middle = (low + high) // 2
                    ranges += [(middle, high), (low, middle)]
                    continue
                begin, end, items = records[low]
                bad_items += items
                self._keep_bad(segment, low, data[begin:end])
        part.unlink(missing_ok=True)
        if bad_items:
            self._stats.set_aside(bad_items, "unreadable")
        return bad_items

    def _keep_bad(self, segment: Segment, index: int, record: bytes) -> None:
        self._set_aside.mkdir(parents=True, exist_ok=True, mode=0o700)
        target = self._set_aside / f"{segment.token}-{index}.request"
        # Synced: the segment that also holds it is deleted next.
        _write_private(target, record, sync=True)
        logger.error("request set aside as %s", target)


def _look(inserter: Inserter | None) -> None:
    """Between two inserts: what is wrong with the store is put right or said, and stops nobody."""
    if inserter is not None:
        try:
            inserter.look()
        except Exception as error:
            logger.warning("while there was nothing to store: %s", reason(error))


def _write_private(path: Path, data: bytes, *, sync: bool = False) -> None:
    """Write a file that only this user may read, from its first byte."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(data)
        if sync:
            file.flush()
            os.fsync(file.fileno())
