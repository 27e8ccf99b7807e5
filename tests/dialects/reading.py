"""Recorded requests, and their way into a store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

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
