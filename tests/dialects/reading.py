"""Recorded requests, and their way into a store."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from collectors.otlp.check import check_traces
from collectors.otlp.checked import Limits
from collectors.wal import encode_record
from monitor.settings import load_settings
from monitor.store.client import Client
from monitor.store.flatten import FlattenOptions
from monitor.store.segments import SegmentInserter

RECORDED: Final = Path(__file__).parent / "recorded"


def recorded(emitter: str) -> list[bytes]:
    """The bodies that an emitter sent; `emitter` without its version."""
    (path,) = RECORDED.glob(f"{emitter}-[0-9]*.otlp")
    return list(_messages(path.read_bytes()))


def _messages(data: bytes) -> Iterator[bytes]:
    place = 0
    while place < len(data):
        length = shift = 0
        while True:
            byte = data[place]
            place += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        yield data[place : place + length]
        place += length


def store(client: Client, url: str, bodies: list[bytes], folder: Path, *, capture_content: bool = True) -> None:
    """Put requests into the store as the collector does: checked, logged, inserted as a segment."""
    settings = load_settings()
    # Whenever the recording was made.
    section = settings.collectors.model_copy(update={"max_past_days": 36_500.0})
    privacy = settings.privacy.model_copy(update={"capture_content": capture_content})
    settings = settings.model_copy(update={"collectors": section, "privacy": privacy})
    limits = Limits.from_settings(settings)
    checked = [check_traces(body, limits, time.time_ns()) for body in bodies]
    segment = folder / "recorded.segment"
    segment.write_bytes(b"".join(encode_record(one.body, one.items) for one in checked))
    SegmentInserter(client, url, FlattenOptions.from_settings(settings)).insert(segment, uuid.uuid4().hex)


def inferences(client: Client) -> list[dict[str, Any]]:
    """The rows, oldest first, each span once."""
    return list(client.query("SELECT * FROM inferences FINAL ORDER BY timestamp, span_id").named_results())
