"""When requests first came: one that is sent again is judged by the clock of its first arrival.

An answer may be lost, and the clock be set before the request comes again. Judged by the new clock, a span might be stored
at another time than at first, and so as another call. The same bytes are therefore checked against the same `now`; a note
behind each request in the write-ahead log tells it to the next process.
"""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable
from typing import Final

REMEMBER_S: Final = 600.0  # longer than exporters send again
MOST: Final = 32_768  # requests remembered, of each signal: 4 MB
_SAMPLE_BYTES: Final = 4096
# Two fields of the request that no reader knows, as the log's own: 1003 (which request), 1004 (its `now`); fixed64.
_NOTE: Final = struct.Struct("<2sQ2sQ")
_KEY_TAG: Final = b"\xd9\x3e"
_NOW_TAG: Final = b"\xe1\x3e"


class Arrivals:
    """The clocks by which the latest requests were judged, each for `REMEMBER_S / 2` to `REMEMBER_S`; for one thread."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._recent: dict[int, int] = {}
        self._older: dict[int, int] = {}
        self._begun_s = monotonic()

    def __len__(self) -> int:
        return len(self._recent) + len(self._older)

    def first_ns(self, key: int, now_ns: int) -> int:
        """The clock by which this request was judged when it first came, in Unix nanoseconds; `now_ns` if it is new."""
        known = self._recent.get(key) or self._older.get(key)
        if known is not None:
            return known
        self._turn()
        self._recent[key] = now_ns
        return now_ns

    def recover(self, logged: bytes | memoryview) -> None:
        """Take up what the note at the end of a logged request says; an older version left none."""
        data = memoryview(logged)[-_NOTE.size :]
        if len(data) == _NOTE.size:
            key_tag, key, now_tag, now_ns = _NOTE.unpack(data)
            if (key_tag, now_tag) == (_KEY_TAG, _NOW_TAG):
                self.first_ns(key, now_ns)

    def _turn(self) -> None:
        """Forget the older half when the recent one is full or old."""
        now_s = self._monotonic()
        age_s = now_s - self._begun_s
        if age_s >= REMEMBER_S / 2 or len(self._recent) >= MOST // 2:
            self._older = {} if age_s >= REMEMBER_S else self._recent
            self._recent, self._begun_s = {}, now_s


def request_key(body: bytes) -> int:
    """What tells a request from others, in 64 bits; its begin and its end, which hold ids and times, are looked at."""
    # Taken for another, a request is judged by a clock of ten minutes ago: no harm that all its bytes would be worth.
    data = memoryview(body)
    crc = zlib.crc32(data[-_SAMPLE_BYTES:], zlib.crc32(data[:_SAMPLE_BYTES]))
    return len(body) << 32 | crc


def make_note(key: int, now_ns: int) -> bytes:
    """What is logged behind a request, see `Arrivals.recover`."""
    return _NOTE.pack(_KEY_TAG, key, _NOW_TAG, now_ns)
