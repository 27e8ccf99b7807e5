"""The write-ahead log: what is acknowledged is on disk first, in the form that ClickHouse will read.

A segment is a file of length-delimited protobuf messages: each accepted request with its number of items and a checksum
behind it, as two fields of the same message that ClickHouse does not know and passes over. So the file that was synced
before the acknowledgement is, byte for byte, the body of the INSERT.

One thread writes. It takes whatever requests have come in, writes them, syncs once and only then resolves their
futures (group commit): under load one sync serves many requests. A segment is closed when it is big or old enough, and
handed on; after a crash what is on disk is cut at the last whole request and handed on first.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import queue
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from monitor.errors import BadInput, Retryable, StoreError

logger = logging.getLogger(__name__)

# Field numbers above the last one that the protocol uses, as fixed32 (tag = number * 8 + 5). A message's last value of
# a field wins, so a sender cannot set them.
_ITEMS_TAG: Final = b"\xd5\x3e"  # field 1002: items (spans, log records, data points) in this request
_CRC_TAG: Final = b"\xcd\x3e"  # field 1001: CRC-32 of all that comes before it
TRAILER_BYTES: Final = len(_ITEMS_TAG) + 4 + len(_CRC_TAG) + 4
SUFFIX: Final = ".segment"
INSERT_SHARE: Final = 0.125  # most of the time that inserts of small segments may take
SMALL: Final = 16  # a segment with less than this part of the items of a full one is small
AGE_FACTOR: Final = 4  # times its usual age that a segment may reach for that


class LogFull(Retryable):
    """The log holds as much as it may; ClickHouse is behind, or away."""

    reason = "log_full"


class LogBroken(Retryable):
    """The log could not be written: disk full, or failing."""

    reason = "log_broken"


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A closed segment, and how many items (spans, log records, data points) are in it.

    Its `token` is the same after a crash, so that inserting it again changes nothing. One that was `recovered` may have
    been inserted, in part or whole, by the process that was before.
    """

    path: Path
    items: int
    bytes: int
    recovered: bool = False

    @property
    def token(self) -> str:
        return self.path.stem


@dataclass(frozen=True)
class _Append:
    """One record, in pieces so that the request is never copied."""

    prefix: bytes
    body: bytes
    trailer: bytes
    items: int
    done: Future[None]

    @property
    def size(self) -> int:
        return len(self.prefix) + len(self.body) + len(self.trailer)


def encode_record(body: bytes, items: int) -> bytes:
    """One length-delimited message: the request, its number of items, its checksum."""
    prefix, trailer = _around(body, items)
    return prefix + body + trailer


def _around(body: bytes, items: int, note: bytes = b"") -> tuple[bytes, bytes]:
    """What stands before and behind a request in the log."""
    behind = note + _ITEMS_TAG + items.to_bytes(4, "little")
    crc = zlib.crc32(behind, zlib.crc32(body))
    return _varint(len(body) + len(note) + TRAILER_BYTES), behind + _CRC_TAG + crc.to_bytes(4, "little")


def read_records(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(begin, end, items) of each whole record from the start; ends at the first that is torn or damaged."""
    at = 0
    while at < len(data):
        length, begin = _read_varint(data, at)
        end = begin + length
        if begin == at or end > len(data) or length < TRAILER_BYTES:
            return
        content = memoryview(data)[begin : end - 6]
        crc = data[end - 6 : end]
        items = data[end - TRAILER_BYTES : end - 6]
        if crc[:2] != _CRC_TAG or items[:2] != _ITEMS_TAG or zlib.crc32(content) != int.from_bytes(crc[2:], "little"):
            return
        yield at, end, int.from_bytes(items[2:], "little")
        at = end


def record_body(data: bytes, begin: int, end: int) -> bytes:
    """The request inside one record that `read_records` found, with its note."""
    return data[_read_varint(data, begin)[1] : end - TRAILER_BYTES]


class TooBig(BadInput):
    """One request is more than the log may hold at all."""

    reason = "too_large"


class Budget:
    """Bytes on disk that the logs of all signals share."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._taken = 0

    @property
    def taken(self) -> int:
        return self._taken

    def take(self, size: int, *, force: bool = False) -> bool:
        """Reserve so many bytes; whether they fit. What is on disk already is taken by force."""
        with self._lock:
            if not force and self._taken + size > self.limit:
                return False
            self._taken += size
            return True

    def give_back(self, size: int) -> None:
        with self._lock:
            self._taken -= size


class WriteAheadLog:
    """Durable queue of segments in one folder, which one process may own.

    Parameters
    ----------
    folder : Path
        Made if it is not there; readable by this user alone.
    segment_items, segment_bytes, segment_age_s
        A segment is closed at the first of these.
    budget : Budget
        Bytes on disk that may wait to be stored; beyond it `append` refuses.
    on_segment : callable
        Takes each closed segment, from the log's thread, in order.
    on_recovered : callable
        Takes each request that an earlier run left, with its length before it and its note behind it, while `start` runs.
    """

    def __init__(
        self,
        folder: Path,
        *,
        segment_items: int,
        segment_bytes: int,
        segment_age_s: float,
        budget: Budget,
        on_segment: Callable[[Segment], None],
        on_recovered: Callable[[memoryview], None] = lambda logged: None,
    ) -> None:
        self._folder = folder
        self._segment_items = segment_items
        self._segment_bytes = segment_bytes
        self._segment_age_s = self._age_s = segment_age_s
        self.budget = budget
        self._on_segment = on_segment
        self._on_recovered = on_recovered
        self._queue: queue.SimpleQueue[_Append | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closing = False
        self._broken: str | None = None
        self._run = uuid.uuid4().hex[:12]
        self._number = 0
        self._file: _OpenSegment | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _sync_parents(folder)
            probe = folder / f".probe-{self._run}"
            probe.touch(mode=0o600)
            probe.unlink()
        except OSError as error:
            raise StoreError(
                f"the write-ahead log folder {folder} cannot be written: {error.strerror}; correct it, or choose another with --data"
            ) from None
        self._thread = threading.Thread(target=self._write, name="wal", daemon=True)

    def trouble(self) -> str | None:
        """Why nothing can be logged, in words; None if it can.

        After a failure it is tried again here: nothing may come any more that would show that all is well.
        """
        if self._broken is None:
            return None
        probe = self._folder / f".probe-{self._run}"
        try:
            with probe.open("wb", buffering=0) as file:
                file.write(bytes(_PROBE_BYTES))
                os.fsync(file.fileno())
        except OSError:
            return self._broken
        finally:
            with contextlib.suppress(OSError):
                probe.unlink(missing_ok=True)
        self._broken = None
        return None

    def start(self) -> list[Segment]:
        """Recover what an earlier run left, hand it on, and begin to accept; returns what was recovered."""
        recovered = []
        for path in sorted(self._folder.glob(f"*{SUFFIX}")):
            try:
                segment = _recover(path, self._on_recovered)
            except OSError as error:
                raise StoreError(
                    f"the write-ahead segment {path} cannot be recovered: {error.strerror}; correct it, or move it away"
                ) from None
            if segment is None:
                continue
            self.budget.take(segment.bytes, force=True)
            recovered.append(segment)
            self._on_segment(segment)
        self._thread.start()
        return recovered

    def append(self, body: bytes, items: int, note: bytes = b"") -> Future[None]:
        """Log one accepted request; the future resolves when it is on disk.

        `note` is fields for `on_recovered` of the next run; like our own, fields of the request that ClickHouse does not know.

        Raises
        ------
        LogFull
            If the log holds as much as it may, or is closing.
        TooBig
            If the request alone is more than the log may hold.
        """
        prefix, trailer = _around(body, items, note)
        done: Future[None] = Future()
        record = _Append(prefix, body, trailer, items, done)
        if record.size > self.budget.limit:
            raise TooBig(f"a request of {len(body)} bytes is over the write-ahead log's limit of {self.budget.limit}")
        with self._lock:
            if self._closing:
                raise LogFull("the service is stopping; send again shortly")
            if not self.budget.take(record.size):
                raise LogFull(
                    f"the write-ahead log holds its limit of {self.budget.limit} bytes that ClickHouse has not taken yet"
                )
            done.set_running_or_notify_cancel()  # a client that goes away must not cancel what is being written
            self._queue.put(record)
        return done

    def pace(self, insert_s: float, items: int) -> None:
        """Make segments that are small as old as to leave the store in peace: an insert has a price, however small it is.

        What an insert of many items took says nothing of that price, and such need not wait.
        """
        least = self._segment_age_s
        small = items * SMALL < self._segment_items
        self._age_s = min(max(least, insert_s / INSERT_SHARE), AGE_FACTOR * least) if small else least

    def forget(self, segment: Segment) -> None:
        """Delete a segment whose rows are stored."""
        try:
            segment.path.unlink(missing_ok=True)
        except OSError as error:
            # Harmless: it is inserted again at the next start, and its token makes that change nothing.
            logger.error("segment %s is stored but cannot be deleted: %s", segment.path, error.strerror)
        self.budget.give_back(segment.bytes)

    def close(self) -> None:
        """Write and hand on all that was accepted; nothing can be appended after."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
            self._queue.put(None)
        if self._thread.ident is not None:  # never started if recovery failed
            self._thread.join()

    # --- the log's thread -----------------------------------------------------------------------------------------

    def _write(self) -> None:
        open_to_end = True
        while open_to_end:
            group, open_to_end = self._next_group()
            if group:
                self._commit(group)
            self._rotate(force=not open_to_end)

    def _next_group(self) -> tuple[list[_Append], bool]:
        """All that waits, or nothing if the open segment is due before anything comes."""
        # In short waits: `pace` may say meanwhile that the segment is due sooner.
        due = None if self._file is None else max(0.0, self._file.opened + self._age_s - time.monotonic())
        timeout = None if due is None else min(due, self._segment_age_s / 4)
        group: list[_Append] = []
        size = 0
        try:
            record = self._queue.get(timeout=timeout)
            while record is not None:
                group.append(record)
                size += record.size
                if size >= self._segment_bytes or len(group) >= _GROUP_MAX:
                    return group, True
                record = self._queue.get_nowait()
        except queue.Empty:
            return group, True
        return group, False

    def _commit(self, group: list[_Append]) -> None:
        try:
            for part in self._split(group):
                if self._file is None:
                    self._file = self._open()
                self._file.append(part)
                self._broken = None
                for record in part:
                    record.done.set_result(None)
                self._rotate(force=False)
        except OSError as error:
            self._fail(group, error)
        except Exception as error:  # the thread must live on: without it nothing is ever acknowledged again
            logger.exception("write-ahead log: unexpected error")
            self._fail(group, OSError(errno.EIO, str(error)))

    def _split(self, group: list[_Append]) -> Iterator[list[_Append]]:
        """Parts that each fit the open segment; a request is never split, so a part may exceed it by one."""
        part: list[_Append] = []
        items = self._file.items if self._file else 0
        for record in group:
            part.append(record)
            items += record.items
            if items >= self._segment_items:
                yield part
                part, items = [], 0
        if part:
            yield part

    def _fail(self, group: list[_Append], error: OSError) -> None:
        reason = "disk full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror
        if self._broken is None:  # said once, not for each request
            logger.error("write-ahead log %s cannot be written: %s", self._folder, reason)
        self._broken = f"the write-ahead log {self._folder} cannot be written: {reason}"
        for record in group:
            if not record.done.done():
                self.budget.give_back(record.size)
                record.done.set_exception(LogBroken(f"the write-ahead log cannot be written: {reason}"))
        # After a failed sync nobody knows what the disk holds behind the last good one: cut there, and go on in a new file.
        if self._file is not None:
            file, self._file = self._file, None
            self._hand_on(file)

    def _rotate(self, *, force: bool) -> None:
        file = self._file
        if file is None:
            return
        full = file.items >= self._segment_items or file.bytes >= self._segment_bytes
        old = time.monotonic() - file.opened >= self._age_s
        if force or full or old:
            self._file = None
            self._hand_on(file)

    def _hand_on(self, file: _OpenSegment) -> None:
        try:
            segment = file.close()
        except OSError as error:
            logger.error("segment %s cannot be closed: %s", file.path.name, error.strerror)
            try:
                segment = _recover(file.path)
            except OSError as again:  # the thread must live on
                logger.error("segment %s is left for the next start: %s", file.path.name, again.strerror)
                return
        if segment is not None:
            self._on_segment(segment)

    def _open(self) -> _OpenSegment:
        # The name sorts by age and is unique over runs and machines: it is the deduplication token.
        self._number += 1
        name = f"{time.time_ns():020d}-{self._run}-{self._number:08d}{SUFFIX}"
        file = _OpenSegment(self._folder / name)
        try:
            _sync_folder(self._folder)
        except OSError:
            file.close()
            raise
        return file


_PROBE_BYTES: Final = 64 * 1024
_GROUP_MAX: Final = 4096
_PIECES_MAX: Final = 1024  # most that the system takes in one call (IOV_MAX)


class _OpenSegment:
    """The one file that is being written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.opened = time.monotonic()
        self.items = 0
        self.bytes = 0
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def append(self, records: list[_Append]) -> None:
        """Write and sync these; what was not synced when an error is raised is cut off by `close`."""
        pieces = [memoryview(piece) for record in records for piece in (record.prefix, record.body, record.trailer)]
        at = 0
        while at < len(pieces):
            written = os.writev(self._fd, pieces[at : at + _PIECES_MAX])
            while written and written >= len(pieces[at]):
                written -= len(pieces[at])
                at += 1
            if written:  # the disk took a part of a piece only
                pieces[at] = pieces[at][written:]
        os.fdatasync(self._fd)
        self.items += sum(record.items for record in records)
        self.bytes += sum(record.size for record in records)

    def close(self) -> Segment | None:
        """Cut off what was not synced; None if nothing was."""
        try:
            os.ftruncate(self._fd, self.bytes)
        finally:
            os.close(self._fd)
        if not self.bytes:
            self.path.unlink(missing_ok=True)
            return None
        return Segment(path=self.path, items=self.items, bytes=self.bytes)


def _recover(path: Path, on_recovered: Callable[[memoryview], None] = lambda logged: None) -> Segment | None:
    """Cut a segment at its last whole record; None if nothing is left."""
    data = path.read_bytes()
    good, items = 0, 0
    for begin, end, count in read_records(data):
        good, items = end, items + count
        on_recovered(memoryview(data)[begin : end - TRAILER_BYTES])
    if good < len(data):
        logger.warning("segment %s: %d bytes of an unacknowledged request cut off", path.name, len(data) - good)
    if not good:
        path.unlink()
        return None
    if good < len(data):
        with path.open("r+b") as file:
            file.truncate(good)
            os.fsync(file.fileno())
    return Segment(path=path, items=items, bytes=good, recovered=True)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):  # some network file systems refuse to sync a folder
            os.fsync(fd)
    finally:
        os.close(fd)


def _sync_parents(folder: Path) -> None:
    """A folder that was just made is on disk only when the one that holds it is; `wal/traces` is two deep."""
    for parent in folder.parents[:3]:
        with contextlib.suppress(OSError):  # not ours to read
            _sync_folder(parent)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append((value & 0x7F) | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Value, and where it ends; the end is `at` itself if it is cut off."""
    value = shift = 0
    for end in range(at, min(at + 10, len(data))):
        value |= (data[end] & 0x7F) << shift
        shift += 7
        if data[end] < 0x80:
            return value, end + 1
    return 0, at
