"""Sends the demo's traffic: calls as traces, judgements as logs, GPU readings as metrics, each by a sender of its own."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from collectors.simulate.calls import Calls
from collectors.simulate.events import Record, logs_request
from collectors.simulate.replay import open_sender, slices
from collectors.simulate.send import ReplayResult, Sender
from collectors.simulate.spans import Batch, Encoder
from collectors.simulate.workload import Ints

BATCH_SPANS: Final = 512
BATCH_RECORDS: Final = 1_000


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What became of the spans, of the judgements and of the GPU readings (points of metrics)."""

    spans: ReplayResult = field(default_factory=ReplayResult)
    judgements: ReplayResult = field(default_factory=ReplayResult)
    readings: ReplayResult = field(default_factory=ReplayResult)

    def __add__(self, other: Sent) -> Sent:
        return Sent(
            spans=self.spans + other.spans,
            judgements=self.judgements + other.judgements,
            readings=self.readings + other.readings,
        )


@dataclass(frozen=True, kw_only=True)
class Senders:
    spans: Sender
    judgements: Sender
    readings: Sender

    @property
    def sent(self) -> Sent:
        return Sent(spans=self.spans.result, judgements=self.judgements.result, readings=self.readings.result)


@contextmanager
def open_senders(
    endpoint: str,
    *,
    protocol: str,
    headers: Mapping[str, str] | None,
    in_flight: int,
    patience_s: float,
    stop: threading.Event,
    on_spans: Callable[[Batch, int], None] | None = None,
) -> Iterator[Senders]:
    """Senders of the three signals to one endpoint; leaving the block waits for all answers."""
    with (
        open_sender(
            endpoint, protocol=protocol, headers=headers, in_flight=in_flight, patience_s=patience_s, stop=stop,
            on_batch=on_spans,
        ) as spans,
        open_sender(
            endpoint, protocol=protocol, headers=headers, in_flight=1, patience_s=patience_s, stop=stop, signal="logs"
        ) as judgements,
        open_sender(
            endpoint, protocol=protocol, headers=headers, in_flight=1, patience_s=patience_s, stop=stop,
            signal="metrics",
        ) as readings,
    ):  # fmt: skip
        yield Senders(spans=spans, judgements=judgements, readings=readings)


class Waiting:
    """Judgements whose time has not come, each with the ids of its call."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Record, bytes]] = []
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, record: Record, ids: bytes) -> None:
        heapq.heappush(self._heap, (record.time_ns, next(self._numbers), record, ids))

    def due(self, now_ns: int) -> list[tuple[Record, bytes]]:
        """Take out what is due, in order."""
        found = []
        while self._heap and self._heap[0][0] <= now_ns:
            _, _, record, ids = heapq.heappop(self._heap)
            found.append((record, ids))
        return found


def send_calls(
    sender: Sender, encoder: Encoder, calls: Calls, order: Ints, *, stop: threading.Event
) -> Iterator[tuple[int, bytes]]:
    """Send these calls (indices, in this order); yields the ids that each of them got."""
    for picked in slices(calls, order, BATCH_SPANS):
        if stop.is_set():
            return
        batch = encoder.encode(calls, picked)
        sender.put(batch)
        yield from zip(picked.tolist(), batch.call_ids, strict=True)


def send_records(sender: Sender, records: Sequence[tuple[Record, bytes]], *, stop: threading.Event) -> None:
    for first in range(0, len(records), BATCH_RECORDS):
        if stop.is_set():
            return
        sender.put(logs_request(records[first : first + BATCH_RECORDS]))


def send_readings(sender: Sender, batches: Iterable[Batch], *, stop: threading.Event) -> None:
    for batch in batches:
        if stop.is_set():
            return
        sender.put(batch)


def by_end(calls: Calls) -> Ints:
    """Indices of the calls in the order in which their last spans end."""
    return np.argsort(calls.end_ns, kind="stable")
