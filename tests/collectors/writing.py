"""A writer and its segments, as a collector of one signal has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from collectors.otlp.ids import span_ids
from collectors.otlp.signals import TRACES, Signal
from collectors.stats import Stats
from collectors.wal import Segment, encode_record
from collectors.writer import Inserter, Writer
from monitor.store.segments import is_data_error
from tests.tools.waiting import wait_until


def write_segment(folder: Path, name: str, bodies: list[tuple[bytes, int]]) -> Segment:
    """A segment of these requests, each with the number of its items."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.segment"
    path.write_bytes(b"".join(encode_record(content, items) for content, items in bodies))
    return Segment(path=path, items=sum(items for _, items in bodies), bytes=path.stat().st_size)


class Writing:
    """A writer that has begun; the segments that it stored are collected."""

    def __init__(
        self, folder: Path, open_inserter: Callable[[], Inserter], *, signal: Signal = TRACES, threads: int = 2
    ) -> None:
        self.stats, self.stored, self.set_aside = Stats(), list[Segment](), folder / "set-aside"
        self.writer = Writer(
            threads=threads,
            open_inserter=open_inserter,
            is_data_error=is_data_error,
            forget=self.stored.append,
            span_ids=span_ids if signal is TRACES else None,
            normalise=signal.normalise,
            set_aside=self.set_aside,
            stats=self.stats,
        )
        self.writer.start()

    def submit(self, segment: Segment) -> None:
        self.stats.accept(segment.items, {}, {})
        self.writer.submit(segment)

    def wait(self, segments: int, timeout_s: float = 60) -> None:
        """Return as soon as so many segments are stored in all."""
        wait_until(lambda: len(self.stored) >= segments, lambda: self.writer.last_error, timeout_s)

    def wait_for_error(self, text: str, timeout_s: float) -> None:
        wait_until(lambda: text in (self.writer.last_error or ""), lambda: self.writer.last_error, timeout_s)
